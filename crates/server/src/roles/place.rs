//! The databases that any role's configuration names: for commands that work in them without the role.

use std::collections::BTreeMap;
use std::fmt;
#[cfg(feature = "kafka")]
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use steadfast_db::postgres::Db;

#[cfg(feature = "kafka")]
use super::arguments::source;
use super::database::Database;

/// What a configuration says about databases. Its other keys are not looked at: the role itself checks them.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// `[database]`.
    pub(crate) database: Option<Database>,
    /// `[databases.name]`.
    databases: BTreeMap<String, Database>,
    /// `sqlite`.
    pub(crate) sqlite: Option<PathBuf>,
}

/// Reads a configuration file, and the environment.
#[cfg(feature = "kafka")]
pub(crate) fn load(config: Option<&Path>) -> Result<Places> {
    Ok(source(config)?.load()?.value)
}

impl Places {
    /// Handles on all databases, by name; the only one of a role that has one is called by its address. None has
    /// connected yet.
    pub(crate) fn named(&self) -> Result<BTreeMap<String, Db>> {
        let mut all = BTreeMap::new();
        if let Some(database) = &self.database {
            database.check("database")?;
            let db = database.handle("operator")?;
            all.insert(db.name().to_owned(), db);
        }
        for (name, database) in &self.databases {
            database.check(&format!("databases.{name}"))?;
            all.insert(name.clone(), database.handle("operator")?);
        }
        Ok(all)
    }
}

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = Places;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a configuration")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Places, M::Error> {
                let mut places = Places::default();
                while let Some(key) = map.next_key::<String>()? {
                    match key.as_str() {
                        "database" => places.database = Some(map.next_value()?),
                        "databases" => places.databases = map.next_value()?,
                        "sqlite" => places.sqlite = Some(map.next_value()?),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(places)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}
