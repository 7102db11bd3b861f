//! A document as a tree whose nodes know where they stand.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{MergeKeyPolicy, Spanned};

use super::fault::Fault;

/// The longest text of a definition, in bytes.
pub(super) const TEXT_MAX: usize = 256 * 1024;

/// The deepest nesting of a definition.
const DEPTH_MAX: usize = 32;

/// Where a node stands; 0 where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) line: u32,
    pub(super) column: u32,
}

impl At {
    fn of(location: serde_saphyr::Location) -> Self {
        let narrow = |n: u64| u32::try_from(n).unwrap_or(0);
        Self { line: narrow(location.line()), column: narrow(location.column()) }
    }

    /// A fault here.
    pub(super) fn fault(self, path: impl fmt::Display, fault: impl Into<String>, way_out: impl Into<String>) -> Fault {
        Fault {
            path: path.to_string(),
            line: (self.line > 0).then_some(self.line),
            column: (self.column > 0).then_some(self.column),
            fault: fault.into(),
            way_out: way_out.into(),
        }
    }
}

/// A node and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) kind: Kind,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text; keys are unique.
    Map(Vec<Entry>),
}

/// A member of a map.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) at: At,
    pub(super) key: String,
    pub(super) value: Node,
}

impl Node {
    /// What it is, for a fault.
    pub(super) fn noun(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// The same content as JSON.
    pub(super) fn to_json(&self) -> Value {
        match &self.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Bool(*value),
            Kind::Number(value) => Value::Number(value.clone()),
            Kind::Text(value) => Value::String(value.clone()),
            Kind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|e| (e.key.clone(), e.value.to_json())).collect::<Map<_, _>>())
            }
        }
    }
}

/// Reads YAML, of which JSON is a part but for a few escapes; those are read as JSON, without lines.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > TEXT_MAX {
        return Err(At::default().fault(
            "",
            format!("the definition is longer than {} KiB", TEXT_MAX / 1024),
            "move schemas into files of their own, split the saga",
        ));
    }
    match serde_saphyr::from_str_with_options::<Located>(text, options()) {
        Ok(located) => Ok(located.into_node()),
        Err(error) => {
            if text.trim_start().starts_with('{')
                && let Ok(plain) = serde_json::from_str::<Plain>(text)
            {
                return Ok(plain.into_node());
            }
            let at = error.location().map(At::of).unwrap_or_default();
            Err(at.fault("", syntax_message(&error), "the text must be one YAML or JSON document"))
        }
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: 60_000,
            max_nodes: 20_000,
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_documents: 1,
            max_aliases: 200,
            max_anchors: 100,
            max_recorded_anchor_events: 20_000,
            max_recorded_anchor_bytes: 1 << 20,
            max_total_scalar_bytes: 2 * TEXT_MAX,
            max_merge_keys: 0,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 10_000,
            max_replay_stack_depth: 8,
        },
        merge_keys: MergeKeyPolicy::Error,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    }
}

/// One line of what the parser says, without the position, which stands in the fault.
fn syntax_message(error: &serde_saphyr::Error) -> String {
    let message = error.to_string();
    let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or("the text cannot be read");
    let line = line.trim().trim_start_matches("error: ");
    // "… at line 3, column 5": said by the fault itself.
    line.split(" at line ").next().unwrap_or(line).chars().take(300).collect()
}

/// What both readers build: `K` is a key, `T` a value.
enum Content<K, T> {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<T>),
    Map(Vec<(K, T)>),
}

/// A node as YAML gives it.
struct Located(Spanned<Content<Spanned<String>, Located>>);

/// A node as JSON gives it.
struct Plain(Content<String, Plain>);

impl<'de> Deserialize<'de> for Located {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Content::deserialize(deserializer).map(Self)
    }
}

impl Located {
    fn into_node(self) -> Node {
        let key = |key: Spanned<String>| (At::of(key.referenced), key.value);
        self.0.value.into_node(At::of(self.0.referenced), key, Self::into_node)
    }
}

impl Plain {
    fn into_node(self) -> Node {
        self.0.into_node(At::default(), |key| (At::default(), key), Self::into_node)
    }
}

impl<K, T> Content<K, T> {
    fn into_node(self, at: At, key: impl Fn(K) -> (At, String), value: impl Fn(T) -> Node) -> Node {
        let kind = match self {
            Self::Null => Kind::Null,
            Self::Bool(value) => Kind::Bool(value),
            Self::Number(value) => Kind::Number(value),
            Self::Text(value) => Kind::Text(value),
            Self::List(items) => Kind::List(items.into_iter().map(value).collect()),
            Self::Map(entries) => {
                let entry = |(k, v)| {
                    let (at, key) = key(k);
                    Entry { at, key, value: value(v) }
                };
                Kind::Map(entries.into_iter().map(entry).collect())
            }
        };
        Node { at, kind }
    }
}

/// A key that can be compared.
trait Key {
    fn text(&self) -> &str;
}

impl Key for Spanned<String> {
    fn text(&self) -> &str {
        &self.value
    }
}

impl Key for String {
    fn text(&self) -> &str {
        self
    }
}

impl<'de, K: Key + Deserialize<'de>, T: Deserialize<'de>> Deserialize<'de> for Content<K, T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor(PhantomData))
    }
}

struct ContentVisitor<K, T>(PhantomData<(K, T)>);

impl<'de, K: Key + Deserialize<'de>, T: Deserialize<'de>> Visitor<'de> for ContentVisitor<K, T> {
    type Value = Content<K, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Content::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Content::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Content::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Content::Number(value.into()))
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<Self::Value, E> {
        Err(E::custom("an integer is beyond 64 bits"))
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<Self::Value, E> {
        Err(E::custom("an integer is beyond 64 bits"))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Self::Value, E> {
        Number::from_f64(value).map(Content::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Content::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(Content::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut entries: Vec<(K, T)> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(key) = map.next_key::<K>()? {
            if !seen.insert(key.text().to_owned()) {
                return Err(de::Error::custom(format_args!("duplicate key {:?}", key.text())));
            }
            entries.push((key, map.next_value()?));
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_node_and_key_knows_its_place() {
        let node = read("saga: x\nsteps:\n  a: { after: [b, c] }\n").unwrap();
        let Kind::Map(top) = &node.kind else { panic!("{node:?}") };
        assert_eq!((top[1].key.as_str(), top[1].at), ("steps", At { line: 2, column: 1 }));
        let Kind::Map(steps) = &top[1].value.kind else { panic!() };
        assert_eq!(steps[0].at, At { line: 3, column: 3 });
        let Kind::Map(step) = &steps[0].value.kind else { panic!() };
        let Kind::List(after) = &step[0].value.kind else { panic!() };
        assert_eq!(after[1].at, At { line: 3, column: 19 });
    }

    #[test]
    fn an_alias_stands_where_it_is_used() {
        let node = read("a: &x foo\nb: *x\n").unwrap();
        let Kind::Map(top) = &node.kind else { panic!() };
        assert_eq!(top[1].value.at.line, 2);
        assert_eq!(node.to_json(), json!({"a": "foo", "b": "foo"}));
    }

    #[test]
    fn json_keeps_its_types() {
        let text = r#"{"a": [1, 2.5, true, null, "yes", "007", "\ud83d\ude00"], "b": 9007199254740993}"#;
        assert_eq!(read(text).unwrap().to_json(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn words_that_only_look_like_values_stay_texts() {
        assert_eq!(
            read("[yes, no, on, none, 007, 1_000]").unwrap().to_json(),
            json!(["yes", "no", "on", "none", "007", "1_000"])
        );
    }

    #[test]
    fn what_is_no_document_is_one_located_fault() {
        for (text, line, word) in [
            ("a: 1\na: 2\n", 2, "duplicate"),
            ("a: [1, 2", 1, ""),
            ("a: 1\n---\nb: 2\n", 2, ""),
            ("a: &x 1\nb:\n  <<: *x\n", 3, ""),
            ("a: !!python/object x\n", 1, ""),
            (&"[".repeat(40), 1, ""),
        ] {
            let fault = read(text).unwrap_err();
            assert!(fault.line.is_some_and(|found| found >= line), "{text:?}: {fault:?}");
            assert!(fault.fault.contains(word), "{text:?}: {fault:?}");
        }
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = format!("*a{}", level - 1);
            let line = format!("a{level}: &a{level} [{}]\n", vec![before; 9].join(", "));
            text.push_str(&line);
        }
        assert!(read(&text).is_err());
    }
}
