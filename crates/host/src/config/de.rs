//! Reading a type from the tree. The type itself says which keys it knows, and the environment's text becomes what the
//! key's type wants.

use std::cell::RefCell;
use std::fmt::Display;
use std::path::Path;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::fault::Fault;
use super::secret;
use super::source::Setting;
use super::tree::{Node, Origin, Value};

/// What is gathered on the way.
#[derive(Debug, Default)]
pub(super) struct Context(RefCell<Vec<Setting>>);

impl Context {
    pub(super) fn into_settings(self) -> Vec<Setting> {
        self.0.into_inner()
    }
}

/// One place in the tree.
pub(super) struct Reader<'a> {
    node: &'a Node,
    key: String,
    context: &'a Context,
}

impl<'a> Reader<'a> {
    pub(super) fn root(node: &'a Node, context: &'a Context) -> Self {
        Self { node, key: String::new(), context }
    }

    fn origin(&self) -> Option<String> {
        self.node.origin.as_ref().map(Origin::to_string)
    }

    fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::new(what).at(&self.key, self.origin().as_deref())
    }

    /// Notes a value that was set, and adds the place to whatever is wrong with it.
    fn scalar<T>(&self, shown: &dyn Display, result: Result<T, Fault>) -> Result<T, Fault> {
        self.note(shown.to_string());
        result.map_err(|fault| fault.at(&self.key, self.origin().as_deref()))
    }

    fn note(&self, value: String) {
        if let Some(origin) = self.origin() {
            self.context.0.borrow_mut().push(Setting { key: self.key.clone(), value, origin });
        }
    }

    /// Text from the environment or a flag as some other type.
    fn parsed<T: std::str::FromStr>(&self, text: &str, expected: &str) -> Result<T, Fault> {
        text.trim().parse().map_err(|_| self.fault(format!("is {text:?}: expected {expected}")))
    }

    fn below(&self, key: &str) -> String {
        if self.key.is_empty() { key.to_owned() } else { format!("{}.{key}", self.key) }
    }

    fn secret(&self) -> Result<String, Fault> {
        let text = match &self.node.value {
            Value::Raw(text) => text.clone(),
            Value::Table(table) if table.len() == 1 => match table.get("file").map(|node| &node.value) {
                Some(Value::Text(path) | Value::Raw(path)) => self.secret_file(Path::new(path))?,
                _ => return Err(self.fault("is no secret: write { file = \"path\" }")),
            },
            _ => {
                return Err(self.fault(
                    "is a secret and does not belong in the configuration: write { file = \"path\" }, or set it in the environment",
                ));
            }
        };
        if text.is_empty() {
            return Err(self.fault("is an empty secret"));
        }
        self.note("(hidden)".to_owned());
        Ok(text)
    }

    fn secret_file(&self, path: &Path) -> Result<String, Fault> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| self.fault(format!("names the file {}, which cannot be read: {error}", path.display())))?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// The key that was meant, where one is near.
fn nearest(unknown: &str, known: &[&str]) -> Option<String> {
    known
        .iter()
        .map(|it| (strsim::damerau_levenshtein(unknown, it), it))
        .filter(|(distance, it)| *distance <= (it.len() / 3).max(2))
        .min()
        .map(|(_, it)| (*it).to_owned())
}

macro_rules! numbers {
    ($($method:ident, $visit:ident, $type:ty, $expected:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
            match &self.node.value {
                Value::Raw(text) => {
                    let value: $type = self.parsed(text, $expected)?;
                    self.scalar(&value, visitor.$visit(value))
                }
                _ => self.deserialize_any(visitor),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Table(_) => self.deserialize_map(visitor),
            Value::Array(_) => self.deserialize_seq(visitor),
            Value::Text(text) | Value::Raw(text) => self.scalar(text, visitor.visit_str(text)),
            Value::Integer(it) => self.scalar(it, visitor.visit_i64(*it)),
            Value::Float(it) => self.scalar(it, visitor.visit_f64(*it)),
            Value::Bool(it) => self.scalar(it, visitor.visit_bool(*it)),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Raw(text) => {
                let value = self.parsed(text, "true or false")?;
                self.scalar(&value, visitor.visit_bool(value))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    numbers! {
        deserialize_i8, visit_i64, i64, "a whole number";
        deserialize_i16, visit_i64, i64, "a whole number";
        deserialize_i32, visit_i64, i64, "a whole number";
        deserialize_i64, visit_i64, i64, "a whole number";
        deserialize_u8, visit_u64, u64, "a whole number from 0";
        deserialize_u16, visit_u64, u64, "a whole number from 0";
        deserialize_u32, visit_u64, u64, "a whole number from 0";
        deserialize_u64, visit_u64, u64, "a whole number from 0";
        deserialize_f32, visit_f64, f64, "a number";
        deserialize_f64, visit_f64, f64, "a number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name == secret::MARK {
            return visitor.visit_string(self.secret()?);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (key, origin) = (self.key.clone(), self.origin());
        let nodes = match &self.node.value {
            Value::Array(nodes) => nodes.clone(),
            Value::Raw(text) => text
                .split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Node { value: Value::Raw(part.to_owned()), origin: self.node.origin.clone() })
                .collect(),
            _ => return Err(self.fault("must be a list: write [\"one\", \"two\"]")),
        };
        let items = Items { nodes: &nodes, next: 0, key: &self.key, context: self.context };
        visitor.visit_seq(items).map_err(|fault| fault.at(&key, origin.as_deref()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let (key, origin) = (self.key.clone(), self.origin());
        let Value::Table(table) = &self.node.value else {
            return Err(self.fault("must be a table: write its keys below it, each on a line of its own"));
        };
        let entries = Entries { left: table.iter(), value: None, above: &self };
        visitor.visit_map(entries).map_err(|fault| fault.at(&key, origin.as_deref()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if let Value::Table(table) = &self.node.value
            && let Some((key, node)) = table.iter().find(|(key, _)| !fields.contains(&key.as_str()))
        {
            let what = match nearest(key, fields) {
                Some(near) => format!("is not a key: did you mean {}?", self.below(&near)),
                None => format!("is not a key: there are {}", fields.join(", ")),
            };
            let origin = node.origin.as_ref().map(Origin::to_string);
            return Err(Fault::new(what).at(&self.below(key), origin.as_deref()));
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Text(text) | Value::Raw(text) => {
                if !variants.contains(&text.as_str()) {
                    let meant = nearest(text, variants).map(|it| format!(" (did you mean {it}?)")).unwrap_or_default();
                    return Err(self.fault(format!("is {text:?}: expected one of {}{meant}", variants.join(", "))));
                }
                let variant: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
                self.scalar(text, visitor.visit_enum(variant))
            }
            Value::Table(table) if table.len() == 1 => {
                let (key, origin) = (self.key.clone(), self.origin());
                let entries = Entries { left: table.iter(), value: None, above: &self };
                visitor
                    .visit_enum(MapAccessDeserializer::new(entries))
                    .map_err(|fault| fault.at(&key, origin.as_deref()))
            }
            _ => Err(self.fault(format!("must be one of {}", variants.join(", ")))),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

struct Items<'a> {
    nodes: &'a [Node],
    next: usize,
    key: &'a str,
    context: &'a Context,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.nodes.get(self.next) else { return Ok(None) };
        let key = format!("{}[{}]", self.key, self.next);
        self.next += 1;
        read(seed, node, key, self.context).map(Some)
    }
}

struct Entries<'a> {
    left: std::collections::btree_map::Iter<'a, String, Node>,
    value: Option<(&'a str, &'a Node)>,
    above: &'a Reader<'a>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        let Some((key, node)) = self.left.next() else { return Ok(None) };
        self.value = Some((key, node));
        let text: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(text).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Some((key, node)) = self.value.take() else { return Err(Fault::custom("a value without a key")) };
        read(seed, node, self.above.below(key), self.above.context)
    }
}

/// Reads one value below; a fault that its type found afterwards gets its place here.
fn read<'de, T: DeserializeSeed<'de>>(seed: T, node: &Node, key: String, context: &Context) -> Result<T::Value, Fault> {
    let place = key.clone();
    seed.deserialize(Reader { node, key, context }).map_err(|fault| {
        let origin = node.origin.as_ref().map(Origin::to_string);
        fault.at(&place, origin.as_deref())
    })
}
