//! The values of expressions: borrowed from JSON where they can be, and their one way out, as JSON text.

use std::cmp::Ordering;
use std::rc::Rc;

use serde_json::{Map, Number, Value};

/// The longest text that a rendering may produce, in bytes.
pub(in crate::definition) const OUTPUT_MAX: usize = 8 << 20;

/// A value.
#[derive(Clone, Debug)]
pub(in crate::definition) enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// An integer beyond 64 signed bits: passed on as it stands, never reckoned with.
    Big(&'a Number),
    Str(&'a str),
    Text(Rc<str>),
    JsonList(&'a [Value]),
    JsonMap(&'a Map<String, Value>),
    List(Rc<[Val<'a>]>),
    /// Keys are unique and sorted.
    Map(Rc<[(Val<'a>, Val<'a>)]>),
}

impl<'a> Val<'a> {
    /// The value of a JSON value, without a copy.
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(int) => Self::Int(int),
                None if number.is_u64() => Self::Big(number),
                None => number.as_f64().map_or(Self::Big(number), Self::Double),
            },
            Value::String(text) => Self::Str(text),
            Value::Array(items) => Self::JsonList(items),
            Value::Object(members) => Self::JsonMap(members),
        }
    }

    /// What it is, for an error.
    pub(in crate::definition) fn noun(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Double(_) => "a double",
            Self::Big(_) => "an integer beyond 64 bits",
            Self::Str(_) | Self::Text(_) => "a string",
            Self::JsonList(_) | Self::List(_) => "a list",
            Self::JsonMap(_) | Self::Map(_) => "a map",
        }
    }

    /// The text, if it is one.
    pub(in crate::definition) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The member of this name; `None` also where this is no map.
    pub(super) fn member(&self, name: &str) -> Option<Val<'a>> {
        match self {
            Self::JsonMap(members) => members.get(name).map(Self::of),
            Self::Map(entries) => entries
                .binary_search_by(|(key, _)| key.as_str().unwrap_or_default().cmp(name))
                .ok()
                .map(|index| entries[index].1.clone()),
            _ => None,
        }
    }

    /// The number of characters, items or members.
    pub(super) fn size(&self) -> Option<usize> {
        Some(match self {
            Self::Str(text) => text.chars().count(),
            Self::Text(text) => text.chars().count(),
            Self::JsonList(items) => items.len(),
            Self::List(items) => items.len(),
            Self::JsonMap(members) => members.len(),
            Self::Map(entries) => entries.len(),
            _ => return None,
        })
    }

    /// The item at an index of a list.
    pub(super) fn item(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Self::JsonList(items) => items.get(index).map(Self::of),
            Self::List(items) => items.get(index).cloned(),
            _ => None,
        }
    }
}

/// The value as JSON, apart from what it was borrowed from.
pub(in crate::definition) fn to_json(val: &Val<'_>) -> Result<Value, String> {
    let list = |items: &[Val<'_>]| items.iter().map(to_json).collect::<Result<Vec<_>, _>>().map(Value::Array);
    Ok(match val {
        Val::Null => Value::Null,
        Val::Bool(value) => Value::Bool(*value),
        Val::Int(value) => Value::from(*value),
        Val::Double(value) => Number::from_f64(*value)
            .map(Value::Number)
            .ok_or_else(|| "the result is a number that JSON has no form for".to_owned())?,
        Val::Big(number) => Value::Number((*number).clone()),
        Val::Str(text) => Value::String((*text).to_owned()),
        Val::Text(text) => Value::String(String::from(&**text)),
        Val::JsonList(items) => Value::Array(items.to_vec()),
        Val::JsonMap(members) => Value::Object((*members).clone()),
        Val::List(items) => list(items)?,
        Val::Map(entries) => {
            let mut members = Map::new();
            for (key, value) in entries.iter() {
                members.insert(key.as_str().unwrap_or_default().to_owned(), to_json(value)?);
            }
            Value::Object(members)
        }
    })
}

/// Compares a JSON-like integer with a double without losing digits.
pub(super) fn compare_mixed(int: i64, double: f64) -> Option<Ordering> {
    // 2^63 is exact as a double; every double within lies on an integer part that fits.
    const BOUND: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() {
        return None;
    }
    if double >= BOUND {
        return Some(Ordering::Less);
    }
    if double < -BOUND {
        return Some(Ordering::Greater);
    }
    #[expect(clippy::cast_possible_truncation, reason = "the bounds above make the integer part fit")]
    let whole = double.trunc() as i64;
    Some(int.cmp(&whole).then_with(|| 0.0_f64.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal)))
}

/// Writes a value as JSON: no blanks, members sorted by the bytes of their names, numbers as they came.
pub(in crate::definition) fn write_json(out: &mut Vec<u8>, val: &Val<'_>) -> Result<(), String> {
    if out.len() > OUTPUT_MAX {
        return Err(format!("the result is longer than {} MiB", OUTPUT_MAX >> 20));
    }
    match val {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Val::Int(value) => scalar(out, value)?,
        Val::Double(value) if value.is_finite() => scalar(out, value)?,
        Val::Double(_) => return Err("the result is a number that JSON has no form for".to_owned()),
        Val::Big(number) => scalar(out, number)?,
        Val::Str(text) => scalar(out, text)?,
        Val::Text(text) => scalar(out, &**text)?,
        Val::JsonList(items) => list(out, items.iter().map(Val::of))?,
        Val::List(items) => list(out, items.iter().cloned())?,
        Val::JsonMap(members) if members.keys().is_sorted() => {
            map(out, members.iter().map(|(key, value)| (Val::Str(key), Val::of(value))))?;
        }
        Val::JsonMap(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            map(out, sorted.into_iter().map(|(key, value)| (Val::Str(key), Val::of(value))))?;
        }
        Val::Map(entries) => map(out, entries.iter().cloned())?,
    }
    Ok(())
}

fn scalar<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), String> {
    serde_json::to_writer(out, value).map_err(|_| "the result has no form in JSON".to_owned())
}

fn list<'a>(out: &mut Vec<u8>, items: impl Iterator<Item = Val<'a>>) -> Result<(), String> {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json(out, &item)?;
    }
    out.push(b']');
    Ok(())
}

fn map<'a>(out: &mut Vec<u8>, entries: impl Iterator<Item = (Val<'a>, Val<'a>)>) -> Result<(), String> {
    out.push(b'{');
    for (index, (key, value)) in entries.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_json(out, &key)?;
        out.push(b':');
        write_json(out, &value)?;
    }
    out.push(b'}');
    Ok(())
}

/// Writes a scalar as it stands within a text.
pub(in crate::definition) fn write_text(out: &mut String, val: &Val<'_>) -> Result<(), String> {
    use std::fmt::Write as _;

    let written = match val {
        Val::Bool(value) => write!(out, "{value}"),
        Val::Int(value) => write!(out, "{value}"),
        Val::Double(value) => write!(out, "{value}"),
        Val::Big(number) => write!(out, "{number}"),
        Val::Str(text) => out.write_str(text),
        Val::Text(text) => out.write_str(text),
        other => return Err(format!("{} cannot stand within a text", other.noun())),
    };
    written.map_err(|_| "the text cannot be written".to_owned())?;
    if out.len() > OUTPUT_MAX {
        return Err(format!("the result is longer than {} MiB", OUTPUT_MAX >> 20));
    }
    Ok(())
}
