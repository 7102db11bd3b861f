//! Results to stdout, talk to stderr.

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

/// How results look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// One JSON object; of `watch`, one a line.
    Json,
    /// Ids only, one a line.
    Id,
}

/// A result.
pub(crate) fn say(line: &str) {
    crate::cli::say(line);
}

/// Not a result.
#[expect(clippy::print_stderr, reason = "stdout is for results")]
pub(crate) fn talk(line: &str) {
    eprintln!("{line}");
}

/// A table without lines: it reads well and cuts well.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|name| name.to_uppercase()));
    table
}

/// The whole table, without blanks at the ends of its lines.
pub(crate) fn show(table: &Table) {
    for line in table.to_string().lines() {
        say(line.trim());
    }
}

/// A member as text; empty where there is none.
pub(crate) fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        // What others wrote must not move the cursor.
        Some(Value::String(text)) => text.chars().filter(|c| !c.is_control()).collect(),
        Some(other) => other.to_string(),
    }
}

/// A member that is a moment, in UTC.
pub(crate) fn moment(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_i64).map_or(String::new(), utc)
}

/// Milliseconds since the Unix epoch as RFC 3339 has them.
fn utc(millis: i64) -> String {
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    // Civil from days, after Howard Hinnant: years begin in March, so that the leap day is the last.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (seconds, millis) = (of_day / 1_000, of_day % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_511_400_123, "2026-11-24T09:10:00.123Z"),
        ] {
            assert_eq!(utc(millis), expected);
        }
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        let value = serde_json::json!({ "a": "x\u{1b}[2Jy", "b": null, "c": 3 });
        assert_eq!(
            (text(&value, "a"), text(&value, "b"), text(&value, "c")),
            ("x[2Jy".into(), String::new(), "3".into())
        );
    }
}
