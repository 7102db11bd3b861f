//! Keys of rows, and values of columns, without a word about the database that stores them.

use std::fmt;

use steadfast_core::{Timestamp, hex};
use uuid::Uuid;

use crate::Version;

/// One column of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// An integer.
    Int(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A UUID: of that type in PostgreSQL, 16 bytes in SQLite.
    Uuid(Uuid),
}

/// The key of a row: one part for each key column of the [`Entity`](crate::Entity). Its order is the order in which rows
/// are locked.
///
/// ```
/// use steadfast_locking::Key;
///
/// assert_eq!(Key::from("A-1").to_string(), "A-1");
/// assert_eq!(Key::from(("London", 7)).to_string(), "(London, 7)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub(crate) Vec<Part>);

impl Key {
    /// The parts, in the order of the key columns.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => f.write_str(&hex(bytes)),
            Self::Uuid(id) => id.fmt(f),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [part] = self.0.as_slice() else {
            f.write_str("(")?;
            for (index, part) in self.0.iter().enumerate() {
                write!(f, "{}{part}", if index == 0 { "" } else { ", " })?;
            }
            return f.write_str(")");
        };
        part.fmt(f)
    }
}

macro_rules! parts {
    ($($from:ty => |$value:ident| $part:expr;)*) => {$(
        impl From<$from> for Part {
            fn from($value: $from) -> Self {
                $part
            }
        }

        impl From<$from> for Key {
            fn from(value: $from) -> Self {
                Self(vec![value.into()])
            }
        }
    )*};
}

parts! {
    i64 => |value| Part::Int(value);
    i32 => |value| Part::Int(value.into());
    u32 => |value| Part::Int(value.into());
    &str => |value| Part::Text(value.to_owned());
    String => |value| Part::Text(value);
    &String => |value| Part::Text(value.clone());
    &[u8] => |value| Part::Bytes(value.to_owned());
    Vec<u8> => |value| Part::Bytes(value);
    [u8; 16] => |value| Part::Bytes(value.to_vec());
    &[u8; 16] => |value| Part::Bytes(value.to_vec());
    Uuid => |value| Part::Uuid(value);
}

impl From<&Self> for Key {
    fn from(key: &Self) -> Self {
        key.clone()
    }
}

impl<A: Into<Part>, B: Into<Part>> From<(A, B)> for Key {
    fn from((a, b): (A, B)) -> Self {
        Self(vec![a.into(), b.into()])
    }
}

impl<A: Into<Part>, B: Into<Part>, C: Into<Part>> From<(A, B, C)> for Key {
    fn from((a, b, c): (A, B, C)) -> Self {
        Self(vec![a.into(), b.into(), c.into()])
    }
}

/// The value of a column. Its `Debug` shows only the type: values may be personal data.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A boolean: 0 or 1 where the database has no such type.
    Bool(bool),
    /// An integer, also a moment in milliseconds.
    Int(i64),
    /// A floating-point number.
    Real(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A UUID: of that type in PostgreSQL, 16 bytes in SQLite.
    Uuid(Uuid),
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "Null",
            Self::Bool(_) => "Bool(..)",
            Self::Int(_) => "Int(..)",
            Self::Real(_) => "Real(..)",
            Self::Text(_) => "Text(..)",
            Self::Bytes(_) => "Bytes(..)",
            Self::Uuid(_) => "Uuid(..)",
        })
    }
}

macro_rules! values {
    ($($from:ty => |$value:ident| $to:expr;)*) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $to
            }
        }
    )*};
}

values! {
    i64 => |value| Self::Int(value);
    i32 => |value| Self::Int(value.into());
    u32 => |value| Self::Int(value.into());
    bool => |value| Self::Bool(value);
    f64 => |value| Self::Real(value);
    &str => |value| Self::Text(value.to_owned());
    String => |value| Self::Text(value);
    &String => |value| Self::Text(value.clone());
    &[u8] => |value| Self::Bytes(value.to_owned());
    Vec<u8> => |value| Self::Bytes(value);
    Uuid => |value| Self::Uuid(value);
    Timestamp => |value| Self::Int(value.as_millis());
    Version => |value| Self::Int(value.get());
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl From<&Part> for Value {
    fn from(part: &Part) -> Self {
        match part {
            Part::Int(number) => Self::Int(*number),
            Part::Text(text) => Self::Text(text.clone()),
            Part::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Part::Uuid(id) => Self::Uuid(*id),
        }
    }
}
