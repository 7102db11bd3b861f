//! What is wrong with a configuration, and where.

use std::fmt;

use serde::de;

/// A fault of the configuration: the key, where it was set, what is wrong with it, and the way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    pub(super) key: Option<String>,
    pub(super) origin: Option<String>,
    pub(super) what: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { key: None, origin: None, what: what.into() }
    }

    /// Adds the place, unless a more exact one is known.
    pub(super) fn at(mut self, key: &str, origin: Option<&str>) -> Self {
        if self.key.is_none() {
            self.key = Some(key.to_owned());
            self.origin = origin.map(str::to_owned);
        }
        self
    }

    /// The key, such as `server.listen`.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref().filter(|key| !key.is_empty())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.key(), &self.origin) {
            (Some(key), Some(origin)) => write!(f, "{key} ({origin}) {}", self.what),
            (Some(key), None) => write!(f, "{key} {}", self.what),
            (None, Some(origin)) => write!(f, "{origin} {}", self.what),
            (None, None) => write!(f, "the configuration {}", self.what),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(format!("is not valid: {message}"))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(format!("\u{0}{field}"))
    }
}
