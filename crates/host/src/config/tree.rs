//! The configuration as a tree in which each value knows where it comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    File(Arc<str>, usize),
    Variable(String),
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, line) => write!(f, "{name}, line {line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A value and where it was set.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Option<Origin>,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Table(BTreeMap<String, Node>),
    Array(Vec<Node>),
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// From the environment or a flag: it becomes what the key's type wants.
    Raw(String),
}

impl Node {
    pub(super) fn empty() -> Self {
        Self { value: Value::Table(BTreeMap::new()), origin: None }
    }

    /// Sets the value at a path, making tables on the way. What stood there, or stands in the way, is replaced.
    pub(super) fn set(&mut self, path: &[String], node: Self) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Table(_)) {
            *self = Self { value: Value::Table(BTreeMap::new()), origin: node.origin.clone() };
        }
        if let Value::Table(table) = &mut self.value {
            let below = table
                .entry(first.clone())
                .or_insert_with(|| Self { value: Value::Table(BTreeMap::new()), origin: node.origin.clone() });
            below.set(rest, node);
        }
    }

    /// Lays another tree over this one.
    pub(super) fn overlay(&mut self, above: Self) {
        match (&mut self.value, above.value) {
            (Value::Table(mine), Value::Table(theirs)) => {
                for (key, node) in theirs {
                    match mine.get_mut(&key) {
                        Some(below) => below.overlay(node),
                        None => drop(mine.insert(key, node)),
                    }
                }
            }
            (_, value) => *self = Self { value, origin: above.origin },
        }
    }
}

/// Reads TOML.
pub(super) fn parse(name: &str, text: &str) -> Result<Node, Fault> {
    let name: Arc<str> = name.into();
    let lines = Lines { text, name: &name };
    let table = DeTable::parse(text).map_err(|error| {
        let origin = lines.at(error.span().map_or(0, |span| span.start)).to_string();
        Fault { key: None, origin: Some(origin), what: format!("is not TOML: {}", error.message()) }
    })?;
    Ok(Node { value: self::table(table.get_ref(), &lines)?, origin: None })
}

struct Lines<'a> {
    text: &'a str,
    name: &'a Arc<str>,
}

impl Lines<'_> {
    fn at(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Origin::File(Arc::clone(self.name), 1 + before.split(|byte| *byte == b'\n').count().saturating_sub(1))
    }
}

fn table(table: &DeTable<'_>, lines: &Lines<'_>) -> Result<Value, Fault> {
    let mut out = BTreeMap::new();
    for (key, value) in table {
        let origin = Some(lines.at(key.span().start));
        out.insert(key.get_ref().to_string(), Node { value: self::value(value, lines)?, origin });
    }
    Ok(Value::Table(out))
}

fn value(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Result<Value, Fault> {
    let number = |what: &str| {
        let origin = lines.at(value.span().start).to_string();
        Fault { key: None, origin: Some(origin), what: format!("holds a number that is too large: {what}") }
    };
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(it) => {
            Value::Integer(i64::from_str_radix(it.as_str(), it.radix()).map_err(|_| number(it.as_str()))?)
        }
        DeValue::Float(it) => Value::Float(it.as_str().parse().map_err(|_| number(it.as_str()))?),
        DeValue::Boolean(it) => Value::Bool(*it),
        DeValue::Datetime(it) => Value::Text(it.to_string()),
        DeValue::Array(array) => {
            let nodes = array
                .iter()
                .map(|it| Ok(Node { value: self::value(it, lines)?, origin: Some(lines.at(it.span().start)) }));
            Value::Array(nodes.collect::<Result<_, Fault>>()?)
        }
        DeValue::Table(table) => self::table(table, lines)?,
    })
}
