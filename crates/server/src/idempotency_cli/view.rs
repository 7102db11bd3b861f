//! A record as operators see it: what was asked for and how it stands, and nothing about whom.

use serde_json::{Value, json};
use steadfast_core::{Timestamp, hex, sha256};
use steadfast_idempotency::{Record, RecordId, State};

/// So much of a user's hash tells whether two records are the same user's.
const MASK: usize = 12;

/// The record, without the names of its user and login and without what the answer says.
pub(super) fn view(id: RecordId, record: &Record, now: Timestamp) -> Value {
    let mut view = json!({
        "id": id.to_string(),
        "scope": &*record.scope,
        "user": hex(&sha256(&[b"user", record.subject.as_bytes()]))[..MASK],
        "attempt": record.attempt,
        "claimed_at": record.claimed_at.as_millis(),
        "expires_at": record.expires_at.map(Timestamp::as_millis),
        "mark": hex(record.owner.as_bytes()),
    });
    let (state, since) = match &record.state {
        State::Pending { lease_until } if *lease_until > now => ("executing", None),
        State::Pending { lease_until } => ("lapsed", Some(*lease_until)),
        State::Unknown { since } => ("unknown", Some(*since)),
        State::Done(answer) => {
            view["status"] = answer.status.as_u16().into();
            view["body_bytes"] = answer.body.as_ref().map(bytes::Bytes::len).into();
            (if answer.body.is_some() { "done" } else { "tombstone" }, None)
        }
    };
    view["state"] = state.into();
    view["since"] = since.map(Timestamp::as_millis).into();
    view
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::StatusCode;
    use steadfast_idempotency::{Answer, Fingerprint, Owner};

    use super::*;

    fn record(state: State) -> Record {
        Record {
            scope: "POST /v1/cards".into(),
            subject: "anna@example.com".into(),
            fingerprint: Fingerprint::of_data(b"1"),
            owner: Owner::from_bytes([7; 16]),
            attempt: 1,
            unsure: false,
            login: Some("login-of-anna".into()),
            forgotten: false,
            claimed_at: Timestamp::from_millis(1),
            expires_at: None,
            state,
        }
    }

    #[test]
    fn a_view_tells_the_state_and_neither_user_nor_body() {
        let answer = Answer::new(StatusCode::CREATED).with_body("card 4711 of Anna");
        let id = RecordId::derive("POST /v1/cards", "anna@example.com", "k");
        let at = Timestamp::from_millis;
        for (state, word) in [
            (State::Pending { lease_until: at(9) }, "executing"),
            (State::Pending { lease_until: at(5) }, "lapsed"),
            (State::Unknown { since: at(3) }, "unknown"),
            (State::Done(Arc::new(answer)), "done"),
        ] {
            let view = view(id, &record(state), at(5));
            assert_eq!(view["state"], word);
            assert_eq!(view["mark"], "07".repeat(16));
            let text = view.to_string();
            assert!(!["anna", "Anna", "4711"].iter().any(|name| text.contains(name)), "{text}");
        }
    }
}
