//! A false match costs money: a hundred thousand pairs of requests that differ in something that matters.

use ::http::{HeaderMap, HeaderValue, Method, header};
use proptest::prelude::*;
use steadfast_idempotency::{Fingerprint, FingerprintRequest};

fn of(content_type: &'static str, body: &[u8]) -> Fingerprint {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Fingerprint::of(&FingerprintRequest { method: &Method::POST, target: "/o", headers: &headers, chosen: &[], body })
}

/// A document, with numbers as they are written and members in their order.
#[derive(Clone, Debug, PartialEq)]
enum Json {
    Word(&'static str),
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The same document for every reader, if members are compared without their order.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (Self::Object(a), Self::Object(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(name, value)| b.iter().any(|(other, of)| name == other && value.same(of)))
            }
            (a, b) => a == b,
        }
    }

    /// Writes it in one of many ways: white space, order of members and escapes by `random`.
    fn write(&self, random: &mut fastrand::Rng, out: &mut String) {
        let space = |random: &mut fastrand::Rng, out: &mut String| {
            out.push_str(["", "", " ", "\n", "\t \r\n"][random.usize(..5)]);
        };
        space(random, out);
        match self {
            Self::Word(word) => out.push_str(word),
            Self::Number(lexeme) => out.push_str(lexeme),
            Self::Text(text) => write_text(text, random, out),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    item.write(random, out);
                }
                space(random, out);
                out.push(']');
            }
            Self::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                random.shuffle(&mut members);
                out.push('{');
                for (index, (name, value)) in members.into_iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    space(random, out);
                    write_text(name, random, out);
                    space(random, out);
                    out.push(':');
                    value.write(random, out);
                }
                space(random, out);
                out.push('}');
            }
        }
        space(random, out);
    }
}

fn write_text(text: &str, random: &mut fastrand::Rng, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') || character < ' ' || random.u8(..8) == 0 {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                let escape = format!("\\u{unit:04x}");
                out.push_str(&if random.bool() { escape.to_uppercase().replace("\\U", "\\u") } else { escape });
            }
        } else {
            out.push(character);
        }
    }
    out.push('"');
}

fn document(random: &mut fastrand::Rng, depth: u32) -> Json {
    const NAMES: [&str; 6] = ["id", "qty", "price", "a", "A", "\u{e9}"];
    const NUMBERS: [&str; 9] = ["0", "-0", "1", "1.0", "1e0", "10", "0.1", "9007199254740993", "9007199254740992"];
    const TEXTS: [&str; 9] = ["", "1", "null", "a", "\u{e9}", "e\u{301}", "\u{1f600}", "\"", "\n\\"];
    match random.u32(..if depth == 0 { 3 } else { 5 }) {
        0 => Json::Word(["true", "false", "null"][random.usize(..3)]),
        1 => Json::Number(NUMBERS[random.usize(..NUMBERS.len())].to_owned()),
        2 => Json::Text(TEXTS[random.usize(..TEXTS.len())].to_owned()),
        3 => Json::List((0..random.usize(..4)).map(|_| document(random, depth - 1)).collect()),
        _ => {
            let mut names = NAMES;
            random.shuffle(&mut names);
            let members = names.iter().take(random.usize(..4));
            Json::Object(members.map(|name| ((*name).to_owned(), document(random, depth - 1))).collect())
        }
    }
}

/// Changes one thing somewhere.
fn mutate(json: &Json, random: &mut fastrand::Rng) -> Json {
    let mut json = json.clone();
    match &mut json {
        Json::List(items) if !items.is_empty() => match random.u8(..4) {
            0 => {
                let at = random.usize(..items.len());
                items.remove(at);
            }
            1 => random.shuffle(items),
            _ => {
                let at = random.usize(..items.len());
                items[at] = mutate(&items[at], random);
            }
        },
        Json::Object(members) if !members.is_empty() => {
            let at = random.usize(..members.len());
            if random.bool() { members[at].1 = mutate(&members[at].1, random) } else { drop(members.remove(at)) }
        }
        other => *other = document(random, 1),
    }
    json
}

#[test]
fn of_a_hundred_thousand_pairs_none_matches_falsely_and_every_rewriting_matches() {
    check(100_000, 4);
}

#[test]
#[ignore = "ten times as long as its smaller brother: for a night"]
fn of_a_million_pairs_none_matches_falsely_and_every_rewriting_matches() {
    check(1_000_000, 5);
}

fn check(pairs: u32, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut different, mut same) = (0, 0);
    for _ in 0..pairs {
        let one = document(&mut random, 3);
        let other = if random.bool() { mutate(&one, &mut random) } else { document(&mut random, 3) };
        let [mut first, mut again, mut changed] = [const { String::new() }; 3];
        one.write(&mut random, &mut first);
        one.write(&mut random, &mut again);
        other.write(&mut random, &mut changed);
        let fingerprint = of("application/json", first.as_bytes());
        assert!(fingerprint.matches(&of("application/json", again.as_bytes())), "{first}\n{again}");
        let matches = fingerprint.matches(&of("application/json", changed.as_bytes()));
        assert_eq!(matches, one.same(&other), "{first}\n{changed}");
        if matches { same += 1 } else { different += 1 }
    }
    assert!(different > pairs / 2 && same > pairs / 100, "{different} different, {same} the same");
}

const FORM: &str = "application/x-www-form-urlencoded";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn forms_match_exactly_when_their_pairs_do(
        one in prop::collection::vec(("[a-c&=+% ]{0,2}", "[a-c&=+% \u{e9}]{0,3}"), 1..4),
        other in prop::collection::vec(("[a-c&=+% ]{0,2}", "[a-c&=+% \u{e9}]{0,3}"), 1..4),
    ) {
        let encode = |pairs: &[(String, String)], upper: bool| {
            let part = |text: &str| -> String {
                let escape = |byte: u8| if upper { format!("%{byte:02X}") } else { format!("%{byte:02x}") };
                text.bytes()
                    .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { escape(byte) })
                    .collect()
            };
            pairs.iter().map(|(name, value)| format!("{}={}", part(name), part(value))).collect::<Vec<_>>().join("&")
        };
        let fingerprint = of(FORM, encode(&one, true).as_bytes());
        prop_assert!(fingerprint.matches(&of(FORM, encode(&one, false).as_bytes())));
        prop_assert_eq!(fingerprint.matches(&of(FORM, encode(&other, false).as_bytes())), one == other);
    }

    #[test]
    fn any_bytes_have_a_fingerprint_and_match_only_themselves_unless_they_are_one_document(
        one in prop::collection::vec(any::<u8>(), 0..40),
        other in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        for content_type in ["application/json", "multipart/form-data; boundary=x", "text/plain"] {
            prop_assert_eq!(of(content_type, &one).matches(&of(content_type, &other)), one == other);
        }
    }
}
