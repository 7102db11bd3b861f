//! The table, row by row.

use steadfast_core::problem;

use super::reading::DETAIL_MAX;
use super::*;

const NOW: Timestamp = Timestamp::from_millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT

fn problem_json(code: &str) -> String {
    let kind = problem::ALL.iter().find(|kind| kind.code == code).unwrap();
    String::from_utf8(kind.with("said so").to_json()).unwrap()
}

fn reply(status: u16, body: &str) -> Reply<'_> {
    let problem = body.starts_with('{');
    Reply {
        status,
        content_type: problem.then_some("application/problem+json; charset=utf-8"),
        body: Body::Whole(body.as_bytes()),
        ..Reply::default()
    }
}

fn meaning(reply: Reply<'_>) -> Meaning {
    read(Exchange::Replied(reply), &Outcomes::default(), false, NOW)
}

fn word(meaning: &Meaning) -> &'static str {
    match meaning {
        Meaning::Done { .. } => "done",
        Meaning::Refused { .. } => "refused",
        Meaning::Unknown { free: false, .. } => "unknown",
        Meaning::Unknown { free: true, .. } => "unknown, free",
        Meaning::NotSent { .. } => "not sent",
        Meaning::Misconfigured { .. } => "misconfigured",
    }
}

const THEIRS: &str = r#"{"type": "https://shop.example/sold-out", "title": "Sold out", "detail": "none left"}"#;

/// Every row of the table, for every status, with and without a problem.
#[test]
fn every_status() {
    for status in 100..=999 {
        let bare = match status {
            200..=299 => "done",
            408 | 425 | 429 | 500..=599 => "unknown",
            _ => "misconfigured",
        };
        assert_eq!(word(&meaning(reply(status, ""))), bare, "{status} bare");
        assert_eq!(word(&meaning(Reply { content_type: Some("text/html"), ..reply(status, "<p>") })), bare);
        let with_problem = match status {
            400 | 402 | 409 | 410 | 412 | 422 => "refused",
            _ => bare,
        };
        assert_eq!(word(&meaning(reply(status, THEIRS))), with_problem, "{status} with a problem");
        assert_eq!(word(&meaning(reply(status, "{}"))), with_problem, "{status} with an empty problem");
        let later = match status {
            200..=299 => "done",
            400..=599 => "unknown, free",
            _ => "misconfigured",
        };
        for body in ["", THEIRS] {
            let asked = Reply { retry_after: Some("3"), ..reply(status, body) };
            assert_eq!(word(&meaning(asked)), later, "{status} with Retry-After");
        }
        for outcome in ["done", "refused", "unknown"] {
            let spoken = Reply { outcome: Some(outcome), ..reply(status, THEIRS) };
            assert_eq!(word(&meaning(spoken)), outcome, "{status} with Saga-Outcome");
        }
    }
}

#[test]
fn no_reply() {
    let table = [
        (Exchange::NotSent("refused"), "not sent"),
        (Exchange::Cut { reason: "timed out", trial: false }, "unknown"),
        (Exchange::Cut { reason: "timed out", trial: true }, "unknown, free"),
    ];
    for (exchange, expected) in table {
        assert_eq!(word(&read(exchange, &Outcomes::default(), true, NOW)), expected);
    }
}

/// Each of our types, at its own status.
#[test]
fn every_type_of_ours() {
    for kind in problem::ALL {
        let expected = match kind.code {
            "in-flight" | "conflict" | "rate-limited" | "overloaded" => "unknown, free",
            "outcome-unknown" | "result-unavailable" | "internal" | "unavailable" => "unknown",
            "voided"
            | "too-late"
            | "action-not-found"
            | "refused"
            | "invalid-request"
            | "version-mismatch"
            | "etag-invalid"
            | "version-in-body"
            | "invalid-definition"
            | "invalid-input"
            | "commit-point-passed" => "refused",
            _ => "misconfigured",
        };
        let body = problem_json(kind.code);
        let found = meaning(reply(kind.status, &body));
        assert_eq!(word(&found), expected, "{}", kind.code);
        if let Meaning::Refused { code, detail, .. } | Meaning::Misconfigured { code, detail } = found {
            assert_eq!((code.as_str(), detail.as_str()), (kind.code, "said so"));
        }
    }
}

#[test]
fn the_type_is_found_whatever_its_status() {
    assert_eq!(word(&meaning(reply(422, &problem_json("in-flight")))), "unknown, free");
    assert_eq!(word(&meaning(reply(500, &problem_json("voided")))), "refused");
    assert_eq!(word(&meaning(reply(409, &problem_json("idempotency-mismatch")))), "misconfigured");
}

/// header > our type > outcomes by type > outcomes by status > table
#[test]
fn precedence() {
    let outcomes = Outcomes {
        types: vec![("https://shop.example/sold-out".to_owned(), Outcome::Unknown)],
        statuses: vec![(404, Outcome::Done), (409, Outcome::Done), (500, Outcome::Refused)],
    };
    let word = |reply| word(&read(Exchange::Replied(reply), &outcomes, true, NOW));
    let in_flight = problem_json("in-flight");
    assert_eq!(word(Reply { outcome: Some("Refused "), ..reply(409, &in_flight) }), "refused");
    assert_eq!(word(reply(409, &in_flight)), "unknown, free");
    assert_eq!(word(reply(409, THEIRS)), "unknown");
    assert_eq!(word(reply(409, "{}")), "done");
    assert_eq!(word(reply(404, "")), "done");
    assert_eq!(word(reply(500, "")), "refused");
    assert_eq!(word(Reply { retry_after: Some("1"), ..reply(404, "") }), "done");
    assert_eq!(word(reply(405, "")), "misconfigured");
}

#[test]
fn an_unreadable_outcome_is_never_taken_for_one() {
    assert_eq!(word(&meaning(Reply { outcome: Some("refsued"), ..reply(200, "") })), "misconfigured");
    assert_eq!(word(&meaning(Reply { outcome: Some(""), ..reply(200, "") })), "misconfigured");
}

#[test]
fn later_is_asked_again() {
    for (header, expected) in [(Some("true"), "unknown, free"), (Some("false"), "done"), (None, "done")] {
        assert_eq!(word(&meaning(Reply { saga_async: header, ..reply(202, "") })), expected);
    }
    assert_eq!(word(&meaning(Reply { saga_async: Some("true"), ..reply(200, "") })), "done");
}

#[test]
fn a_refusal_is_stored_only_where_a_barrier_says_so() {
    let stored = |barrier, reply| match read(Exchange::Replied(reply), &Outcomes::default(), barrier, NOW) {
        Meaning::Refused { stored, .. } => stored,
        other => panic!("{other:?}"),
    };
    let voided = problem_json("voided");
    let business = problem_json("refused");
    let invalid = problem_json("invalid-request");
    for (reply, with_barrier) in [
        (reply(422, THEIRS), false),
        (Reply { outcome: Some("refused"), ..reply(422, THEIRS) }, true),
        (Reply { replayed: Some("true"), ..reply(422, THEIRS) }, true),
        (Reply { replayed: Some("false"), ..reply(422, THEIRS) }, false),
        (reply(409, &voided), true),
        (reply(422, &business), true),
        (reply(400, &invalid), false),
    ] {
        assert_eq!(stored(true, reply), with_barrier, "{reply:?}");
        assert!(!stored(false, reply), "{reply:?}");
    }
}

#[test]
fn what_done_carries() {
    let done = |reply| match meaning(reply) {
        Meaning::Done { status, body, replayed, fault } => (status, body, replayed, fault.is_some()),
        other => panic!("{other:?}"),
    };
    let json = Reply { replayed: Some("true"), ..reply(201, r#"{"id": 9007199254740991}"#) };
    assert_eq!(done(json), (201, serde_json::json!({"id": 9_007_199_254_740_991_i64}), true, false));
    assert_eq!(done(reply(204, "")), (204, Value::Null, false, false));
    assert_eq!(done(reply(200, "hello")), (200, Value::Null, false, true));
    assert_eq!(done(Reply { body: Body::TooLarge, ..reply(200, "") }), (200, Value::Null, false, true));
}

#[test]
fn a_body_that_broke_off_is_asked_for_again() {
    for status in [200, 201, 409, 422, 503] {
        let cut = Reply { body: Body::Cut, ..reply(status, THEIRS) };
        assert_eq!(word(&meaning(cut)), "unknown", "{status}");
    }
}

#[test]
fn only_the_media_type_of_problems_makes_a_refusal() {
    for (content_type, expected) in [
        ("application/problem+json", "refused"),
        ("Application/Problem+JSON ; charset=UTF-8", "refused"),
        ("application/json", "misconfigured"),
        ("application/problem+xml", "misconfigured"),
        ("text/plain, application/problem+json", "misconfigured"),
    ] {
        let reply = Reply { content_type: Some(content_type), ..reply(409, "{}") };
        assert_eq!(word(&meaning(reply)), expected, "{content_type}");
    }
    for body in ["", "[]", "nothing", "{"] {
        let reply = Reply { content_type: Some("application/problem+json"), ..reply(409, body) };
        assert_eq!(word(&meaning(reply)), "misconfigured", "{body:?}");
    }
}

#[test]
fn what_strangers_write_is_cut_and_on_one_line() {
    let body = serde_json::json!({"type": "about:blank", "detail": format!("a\nb{}", "x".repeat(5_000))}).to_string();
    let Meaning::Refused { code, detail, .. } = meaning(reply(409, &body)) else { panic!() };
    assert_eq!(code, "http-409");
    assert!(detail.starts_with("a b") && detail.chars().count() == DETAIL_MAX);
}

#[test]
fn an_outcome_has_one_name() {
    for outcome in [Outcome::Done, Outcome::Refused, Outcome::Unknown] {
        assert_eq!(Outcome::parse(outcome.as_str()), Some(outcome));
    }
    assert_eq!(Outcome::parse("maybe"), None);
}

#[test]
fn a_trial_of_a_participant_that_is_down_costs_nothing() {
    for (status, expected) in [(500, "unknown, free"), (429, "unknown, free"), (200, "done"), (409, "refused")] {
        assert_eq!(word(&meaning(Reply { trial: true, ..reply(status, THEIRS) })), expected, "{status}");
    }
}

#[test]
fn what_is_encoded_is_not_read() {
    let encoded = |encoding, status| Reply { content_encoding: Some(encoding), ..reply(status, THEIRS) };
    for encoding in ["gzip", "br", "identity, gzip", "GZIP"] {
        let Meaning::Done { body: Value::Null, fault: Some(fault), .. } = meaning(encoded(encoding, 200)) else {
            panic!("{encoding}");
        };
        assert!(fault.contains("Content-Encoding"), "{fault}");
        let Meaning::Misconfigured { detail, .. } = meaning(encoded(encoding, 422)) else { panic!("{encoding}") };
        assert!(detail.contains(encoding), "{detail}");
        assert_eq!(word(&meaning(encoded(encoding, 503))), "unknown");
        let spoken = Reply { outcome: Some("refused"), ..encoded(encoding, 422) };
        assert_eq!(word(&meaning(spoken)), "refused");
    }
    for encoding in ["", "identity", " Identity "] {
        assert_eq!(word(&meaning(encoded(encoding, 422))), "refused", "{encoding}");
    }
    let empty = Reply { content_encoding: Some("gzip"), ..reply(204, "") };
    assert!(matches!(meaning(empty), Meaning::Done { fault: None, .. }), "no body, nothing to decode");
}

#[test]
fn a_refusal_that_cannot_be_read_says_why() {
    let Meaning::Misconfigured { detail, .. } = meaning(Reply { body: Body::TooLarge, ..reply(409, THEIRS) }) else {
        panic!();
    };
    assert!(detail.contains("too large"), "{detail}");
}
