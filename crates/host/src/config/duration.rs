//! Lengths of time in words: `250ms`, `30s`, `2m`, `6h`, `7d`. For fields: `#[serde(with = "duration")]`.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

/// Reads a length of time.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text)
        .ok_or_else(|| D::Error::custom(format!("{text:?} is no length of time: write 250ms, 30s, 2m, 6h or 7d")))
}

/// The length of time that the text says.
pub fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    let at = text.find(|it: char| !it.is_ascii_digit())?;
    let number: u64 = text[..at].parse().ok()?;
    let millis = match text[at..].trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_lengths() {
        for (text, millis) in
            [("250ms", 250), ("30s", 30_000), ("2m", 120_000), ("6 h", 21_600_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "s", "-1s", "1.5s", "30 sec", "99999999999999999999d", "9999999999999999d"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
