//! Reading a node as what it should be; each reader tells all that is wrong.

use std::time::Duration;

use super::fault::Faults;
use super::nearest;
use super::tree::{At, Entry, Kind, Node};

/// Gathers faults.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) faults: Faults,
}

/// A node with its path.
#[derive(Clone, Debug)]
pub(super) struct Field<'n> {
    pub(super) node: &'n Node,
    pub(super) path: String,
}

/// A map with its path.
#[derive(Clone, Debug)]
pub(super) struct Fields<'n> {
    pub(super) entries: &'n [Entry],
    pub(super) at: At,
    pub(super) path: String,
}

impl<'n> Fields<'n> {
    /// The member of this name.
    pub(super) fn get(&self, key: &str) -> Option<Field<'n>> {
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        Some(Field { node: &entry.value, path: join(&self.path, key) })
    }
}

/// `a.b`, or `b` at the top.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Reader {
    pub(super) fn fault(&mut self, at: At, path: &str, fault: impl Into<String>, way_out: impl Into<String>) {
        self.faults.push(at.fault(path, fault, way_out));
    }

    fn not_a(&mut self, field: &Field<'_>, wanted: &str, example: &str) {
        let fault = format!("this is {}, not {wanted}", field.node.noun());
        self.fault(field.node.at, &field.path, fault, format!("write it like {example}"));
    }

    /// A map of any keys.
    pub(super) fn map<'n>(&mut self, field: &Field<'n>, example: &str) -> Option<Fields<'n>> {
        if let Kind::Map(entries) = &field.node.kind {
            return Some(Fields { entries, at: field.node.at, path: field.path.clone() });
        }
        self.not_a(field, "a map", example);
        None
    }

    /// A map of these keys.
    pub(super) fn fields<'n>(&mut self, field: &Field<'n>, known: &[&str], example: &str) -> Option<Fields<'n>> {
        let fields = self.map(field, example)?;
        for entry in fields.entries {
            if !known.contains(&entry.key.as_str()) {
                let path = join(&fields.path, &entry.key);
                let (fault, way_out) = match path.as_str() {
                    "namespace" => ("`namespace` is reserved".to_owned(), "remove it: there is one tenant".to_owned()),
                    _ => {
                        (format!("the key `{}` is not known", shorten(&entry.key)), nearest::advise(&entry.key, known))
                    }
                };
                self.fault(entry.at, &path, fault, way_out);
            }
        }
        Some(fields)
    }

    /// A member that must be there.
    pub(super) fn required<'n>(&mut self, fields: &Fields<'n>, key: &str, example: &str) -> Option<Field<'n>> {
        let found = fields.get(key);
        if found.is_none() {
            self.fault(
                fields.at,
                &fields.path,
                format!("the key `{key}` is missing"),
                format!("write {key}: {example}"),
            );
        }
        found
    }

    pub(super) fn text<'n>(&mut self, field: &Field<'n>, example: &str) -> Option<&'n str> {
        if let Kind::Text(text) = &field.node.kind {
            return Some(text);
        }
        self.not_a(field, "a text", example);
        None
    }

    pub(super) fn boolean(&mut self, field: &Field<'_>) -> Option<bool> {
        if let Kind::Bool(value) = field.node.kind {
            return Some(value);
        }
        self.not_a(field, "a boolean", "true");
        None
    }

    pub(super) fn integer(&mut self, field: &Field<'_>, min: u32, max: u32) -> Option<u32> {
        if let Kind::Number(number) = &field.node.kind {
            let value = number.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| (min..=max).contains(n));
            if value.is_none() {
                self.fault(
                    field.node.at,
                    &field.path,
                    "the number is out of range",
                    format!("an integer from {min} to {max}"),
                );
            }
            return value;
        }
        self.not_a(field, "an integer", "5");
        None
    }

    /// A duration: `100ms`, `30s`, `2m`, `1h`.
    pub(super) fn duration(&mut self, field: &Field<'_>) -> Option<Duration> {
        const HOURS_MAX: u64 = 30 * 24;
        if let Kind::Text(text) = &field.node.kind
            && let Some(duration) = parse_duration(text)
        {
            if duration.is_zero() || duration > Duration::from_secs(HOURS_MAX * 3_600) {
                self.fault(field.node.at, &field.path, "the duration is out of range", "from 1ms to 720h");
                return None;
            }
            return Some(duration);
        }
        if matches!(field.node.kind, Kind::Number(_)) {
            self.fault(field.node.at, &field.path, "a duration without a unit", "write a unit: 100ms, 30s, 2m, 1h");
            return None;
        }
        self.not_a(field, "a duration", "100ms, 30s, 2m or 1h");
        None
    }

    /// A list.
    pub(super) fn list<'n>(&mut self, field: &Field<'n>, example: &str) -> Vec<Field<'n>> {
        if let Kind::List(items) = &field.node.kind {
            return items
                .iter()
                .enumerate()
                .map(|(index, node)| Field { node, path: format!("{}[{index}]", field.path) })
                .collect();
        }
        self.not_a(field, "a list", example);
        Vec::new()
    }

    /// A list of texts.
    pub(super) fn texts<'n>(&mut self, field: &Field<'n>, example: &str) -> Vec<(Field<'n>, &'n str)> {
        self.list(field, example)
            .into_iter()
            .filter_map(|item| {
                let text = self.text(&item, example)?;
                Some((item, text))
            })
            .collect()
    }

    /// One of these words.
    pub(super) fn word(&mut self, field: &Field<'_>, words: &[&str]) -> Option<usize> {
        let text = self.text(field, words.first().copied().unwrap_or_default())?;
        let found = words.iter().position(|word| *word == text);
        if found.is_none() {
            let fault = format!("`{}` is not known", shorten(text));
            self.fault(field.node.at, &field.path, fault, nearest::advise(text, words));
        }
        found
    }

    /// A name of lower-case letters, digits and underscores; with `dashes` also those.
    pub(super) fn check_name(&mut self, at: At, path: &str, name: &str, dashes: bool) {
        if let Some(fault) = name_fault(name, dashes) {
            let way_out =
                if dashes { "like order-service: [a-z][a-z0-9_-]*" } else { "like create_order: [a-z][a-z0-9_]*" };
            self.fault(at, path, format!("`{}` cannot be a name: {fault}", shorten(name)), way_out);
        }
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

/// What CEL keeps for itself.
const RESERVED: [&str; 20] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "while",
];

fn name_fault(name: &str, dashes: bool) -> Option<&'static str> {
    let mut bytes = name.bytes();
    if !bytes.next().is_some_and(|byte| byte.is_ascii_lowercase()) {
        return Some("it must begin with a letter from a to z");
    }
    if !bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || (dashes && b == b'-')) {
        return Some("a character is not allowed");
    }
    if name.len() > 64 {
        return Some("it is longer than 64 characters");
    }
    RESERVED.contains(&name).then_some("the word is reserved")
}

/// `100ms`, `30s`, `2m`, `1h`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        for (text, millis) in
            [("100ms", Some(100)), ("30s", Some(30_000)), ("2m", Some(120_000)), ("1h", Some(3_600_000))]
        {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        }
        for text in ["", "1", "ms", "1.5s", "-1s", "1 s", "1d", "99999999999999999999s", "9999999999999999999h", "1ſ"]
        {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
