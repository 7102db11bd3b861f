//! Gathering a configuration from its places.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::de::{Context, Reader};
use super::fault::Fault;
use super::tree::{Node, Origin, Value, parse};
use crate::Error;

/// A configuration in the making: each call lays something over what was there before.
#[derive(Clone, Debug)]
pub struct Source {
    root: Node,
    prefix: String,
    file: Option<String>,
}

/// A configuration, and where each of its values was set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Loaded<T> {
    /// The configuration.
    pub value: T,
    /// What was set, in the order of the type's fields; what is missing here has its default.
    pub settings: Vec<Setting>,
}

/// One value that was set.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setting {
    /// The key, such as `server.listen`.
    pub key: String,
    /// The value; `(hidden)` for a secret.
    pub value: String,
    /// Where: a file with its line, an environment variable, or a flag.
    pub origin: String,
}

impl Default for Source {
    fn default() -> Self {
        Self::new()
    }
}

impl Source {
    /// Nothing yet: every key has its default.
    pub fn new() -> Self {
        Self { root: Node::empty(), prefix: "STEADFAST".to_owned(), file: None }
    }

    /// Lays a TOML file over it. `named_by` says what named the file, for the error: `--config`, for example.
    pub fn file(self, path: &Path, named_by: &str) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
            path: path.to_owned(),
            names: format!("named by {named_by}"),
            source,
        })?;
        self.text(&path.display().to_string(), &text)
    }

    /// Lays TOML over it that was read elsewhere.
    pub fn text(mut self, name: &str, toml: &str) -> Result<Self, Error> {
        self.root.overlay(parse(name, toml)?);
        self.file = Some(name.to_owned());
        Ok(self)
    }

    /// Lays environment variables over it: with the prefix `STEADFAST`, `STEADFAST_SERVER__LISTEN` sets `server.listen`.
    /// Lists are separated by commas. `ignored` are variables with the prefix that are not part of the configuration.
    pub fn environment(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        ignored: &[&str],
    ) -> Result<Self, Error> {
        prefix.clone_into(&mut self.prefix);
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_')) else { continue };
            if ignored.contains(&name.as_str()) {
                continue;
            }
            let path: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
            if path.iter().any(String::is_empty) {
                let origin = Some(Origin::Variable(name).to_string());
                let what = format!("names no key: expected {prefix}_SECTION__KEY");
                return Err(Fault { key: None, origin, what }.into());
            }
            self.root.set(&path, Node { value: Value::Raw(value), origin: Some(Origin::Variable(name)) });
        }
        Ok(self)
    }

    /// Lays the process's own environment over it.
    pub fn process_environment(self, prefix: &str, ignored: &[&str]) -> Result<Self, Error> {
        let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        // A value that is not Unicode cannot be meant for us unless its name is ours.
        let variables = variables.map(|(name, value)| (name, value.to_string_lossy().into_owned()));
        self.environment(prefix, variables, ignored)
    }

    /// Sets one key, such as `server.listen`, as a flag of the command line does.
    #[must_use]
    pub fn flag(mut self, flag: &str, key: &str, value: impl Into<String>) -> Self {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        self.root.set(&path, Node { value: Value::Raw(value.into()), origin: Some(Origin::Flag(flag.to_owned())) });
        self
    }

    /// The configuration that all of it makes.
    pub fn load<T: DeserializeOwned>(&self) -> Result<Loaded<T>, Error> {
        let context = Context::default();
        match T::deserialize(Reader::root(&self.root, &context)) {
            Ok(value) => Ok(Loaded { value, settings: context.into_settings() }),
            Err(fault) => Err(self.explain(fault).into()),
        }
    }

    /// A missing key is explained here, where the names of its places are known.
    fn explain(&self, mut fault: Fault) -> Fault {
        let Some(field) = fault.what.strip_prefix('\u{0}') else { return fault };
        let key = match fault.key() {
            Some(above) => format!("{above}.{field}"),
            None => field.to_owned(),
        };
        let variable = format!("{}_{}", self.prefix, key.replace('.', "__").to_ascii_uppercase());
        let file = self.file.as_deref().unwrap_or("the configuration file");
        // A key inside a list has no environment variable.
        fault.what = if key.contains('[') {
            format!("is required: set it in {file}")
        } else {
            format!("is required: set it in {file}, or as {variable}")
        };
        fault.key = Some(key);
        fault.origin = None;
        fault
    }
}
