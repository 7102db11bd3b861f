//! `Retry-After`: seconds or a date. Pure.

use std::time::Duration;

use steadfast_core::Timestamp;

/// The longest pause that a participant can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date in any of the three forms of section 5.6.7. What is
/// neither is as if absent; a date in the past means at once.
pub fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a u64 holds are a long pause all the same.
        return Some(text.parse().map_or(RETRY_AFTER_MAX, Duration::from_secs).min(RETRY_AFTER_MAX));
    }
    let seconds = http_date(text)?;
    let at = Timestamp::from_millis(seconds.checked_mul(1_000)?);
    Some(at.since(now).min(RETRY_AFTER_MAX))
}

/// Seconds since the Unix epoch of an HTTP date: `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` or
/// `Sun Nov  6 08:49:37 1994`.
fn http_date(text: &str) -> Option<i64> {
    let words: Vec<&str> = text.split([' ', ',', '-']).filter(|word| !word.is_empty()).collect();
    let ([_, day, month, year, clock, "GMT"] | [_, month, day, clock, year]) = words.as_slice() else {
        return None;
    };
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<i64>().ok()).flatten();
    let year = match (year.len(), number(year)?) {
        // RFC 9110: a year that seems more than 50 years ahead is the past one; no such header outlives this rule.
        (2, short) if short < 70 => 2000 + short,
        (2, short) => 1900 + short,
        (4, full) => full,
        _ => return None,
    };
    let month = 1 + MONTHS.iter().position(|name| name == month)?;
    let day = number(day).filter(|day| (1..=31).contains(day))?;
    let mut clock = clock.split(':').map(number);
    let (Some(Some(hour)), Some(Some(minute)), Some(Some(second)), None) =
        (clock.next(), clock.next(), clock.next(), clock.next())
    else {
        return None;
    };
    let valid = hour < 24 && minute < 60 && second <= 60;
    valid.then(|| days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: usize, day: i64) -> i64 {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let past = year - 1;
    let days_to_year = past * 365 + past / 4 - past / 100 + past / 400 - 719_162;
    days_to_year + BEFORE[month - 1] + i64::from(month > 2 && leap(year)) + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

    #[test]
    fn retry_after_in_all_its_forms() {
        let day = RETRY_AFTER_MAX.as_secs();
        for (text, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(day)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            ("Sun Nov  6 08:50:37 1994", Some(60)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("Tue, 29 Feb 2028 00:00:00 GMT", Some(day)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
            ("Sun, 06 Nov 1994 08:50:37 CET", None),
            ("Sun, 06 Nov 1994 25:50:37 GMT", None),
            ("Sun, 32 Nov 1994 08:50:37 GMT", None),
            ("Sun, 06 Noe 1994 08:50:37 GMT", None),
            ("Sun, 06 Nov 99999999999999 08:50:37 GMT", None),
        ] {
            assert_eq!(parse_retry_after(text, NOW), seconds.map(Duration::from_secs), "{text}");
        }
        assert_eq!(http_date("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(http_date("Wed, 31 Dec 1969 23:59:59 GMT"), Some(-1));
        assert_eq!(http_date("Wed, 01 Mar 2000 00:00:00 GMT"), Some(951_868_800));
        assert_eq!(http_date("Tue, 24 Nov 2026 09:10:00 GMT"), Some(1_795_511_400));
    }
}
