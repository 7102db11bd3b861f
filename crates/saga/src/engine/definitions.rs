//! What others see of the definitions.

use serde::Serialize;
use serde_json::Value;
use steadfast_core::hex;

use super::Engine;
use crate::Error;
use crate::journal::Stored;

/// A version of a definition, without its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DefinitionSummary {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its canonical content, in hexadecimal.
    pub hash: String,
    /// When it was uploaded, milliseconds since the Unix epoch.
    pub uploaded_at: i64,
    /// By whom.
    pub uploaded_by: String,
}

/// A version of a definition as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DefinitionView {
    /// As in a list.
    #[serde(flatten)]
    pub summary: DefinitionSummary,
    /// The text it was uploaded as.
    pub definition: String,
    /// The JSON Schema of its input.
    pub schema: Option<Value>,
}

impl Engine {
    /// All versions of all definitions, or of this one; those uploaded last first.
    pub async fn definitions(&self, name: Option<&str>) -> Result<Vec<DefinitionSummary>, Error> {
        let mut stored = self.core.journal.definitions().await?;
        stored.retain(|stored| name.is_none_or(|name| stored.name == name));
        stored.sort_by(|a, b| {
            (b.uploaded_at, b.version).cmp(&(a.uploaded_at, a.version)).then_with(|| a.name.cmp(&b.name))
        });
        Ok(stored.iter().map(summary).collect())
    }

    /// One version of a definition; `None` where there is none.
    pub async fn definition(&self, name: &str, version: u32) -> Result<Option<DefinitionView>, Error> {
        let stored = self.core.journal.definitions().await?;
        let found = stored.into_iter().find(|stored| stored.name == name && stored.version == version);
        found.map(view).transpose()
    }
}

fn summary(stored: &Stored) -> DefinitionSummary {
    DefinitionSummary {
        name: stored.name.clone(),
        version: stored.version,
        hash: hex(&stored.hash),
        uploaded_at: stored.uploaded_at.as_millis(),
        uploaded_by: stored.uploaded_by.clone(),
    }
}

fn view(stored: Stored) -> Result<DefinitionView, Error> {
    let corrupt = |_| Error::Corrupt(format!("the schema of {} version {}", stored.name, stored.version));
    let schema = stored.schema.as_deref().map(serde_json::from_str).transpose().map_err(corrupt)?;
    Ok(DefinitionView { summary: summary(&stored), schema, definition: stored.source })
}
