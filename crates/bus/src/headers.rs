//! An event on the wire: `CloudEvents` 1.0 in binary mode, with the names of its Kafka protocol binding, plus what orders
//! and traces the event. The payload is the event's payload alone.
//!
//! | header | value |
//! |---|---|
//! | `ce_specversion` | `1.0` |
//! | `ce_id` | the event's id; consumers deduplicate by it |
//! | `ce_type` | the event's type, which is also the topic |
//! | `ce_source` | who wrote it |
//! | `ce_subject` | the aggregate's id, which is also the key |
//! | `ce_time` | when it was written (RFC 3339, UTC, milliseconds) |
//! | `content-type` | `application/json` |
//! | `sequence` | its number within the aggregate; consumers order by it |
//! | `aggregate-type` | what kind of aggregate |
//! | `saga-id` | the saga on whose behalf it happened, if any |
//! | `traceparent` | the writer's trace context, if any |

use bytes::Bytes;
use steadfast_core::{Event, EventId, SagaId, Timestamp, header};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Error, Record};

/// The version of `CloudEvents`.
pub const SPECVERSION: &str = "ce_specversion";
/// The event's id.
pub const ID: &str = "ce_id";
/// The event's type.
pub const TYPE: &str = "ce_type";
/// Who wrote it.
pub const SOURCE: &str = "ce_source";
/// The aggregate's id.
pub const SUBJECT: &str = "ce_subject";
/// When it was written.
pub const TIME: &str = "ce_time";
/// The payload's media type.
pub const CONTENT_TYPE: &str = "content-type";
/// The number within the aggregate.
pub const SEQUENCE: &str = "sequence";
/// What kind of aggregate.
pub const AGGREGATE_TYPE: &str = "aggregate-type";
/// The saga.
pub const SAGA_ID: &str = header::SAGA_ID;
/// The writer's trace context.
pub const TRACEPARENT: &str = header::TRACEPARENT;

/// The event's id in Debezium's form.
pub const DEBEZIUM_ID: &str = "id";
/// What Debezium's topics begin with, before the aggregate's type.
pub const DEBEZIUM_TOPIC: &str = "outbox.event.";

const VERSION: &str = "1.0";
const JSON: &str = "application/json";

/// An event's envelope, for a caller that holds the payload as bytes already.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The event's id.
    pub event_id: EventId,
    /// What kind of aggregate.
    pub aggregate_type: &'a str,
    /// Which one.
    pub aggregate_id: &'a str,
    /// What happened.
    pub event_type: &'a str,
    /// The number within the aggregate.
    pub sequence: i64,
    /// When it was written.
    pub created_at: Timestamp,
    /// Who wrote it.
    pub source: &'a str,
}

impl Envelope<'_> {
    /// The record that carries this event; `extra` are further headers.
    pub fn record(&self, extra: impl IntoIterator<Item = (String, String)>, payload: Bytes) -> Record {
        let own = |name: &str, value: String| (name.to_owned(), value);
        let mut headers = Vec::with_capacity(11);
        headers.extend([
            own(SPECVERSION, VERSION.to_owned()),
            own(ID, self.event_id.to_string()),
            own(TYPE, self.event_type.to_owned()),
            own(SOURCE, self.source.to_owned()),
            own(SUBJECT, self.aggregate_id.to_owned()),
            own(TIME, rfc3339(self.created_at)),
            own(CONTENT_TYPE, JSON.to_owned()),
            own(SEQUENCE, self.sequence.to_string()),
            own(AGGREGATE_TYPE, self.aggregate_type.to_owned()),
        ]);
        headers.extend(extra);
        Record { topic: self.event_type.to_owned(), key: self.aggregate_id.to_owned(), headers, payload }
    }
}

/// Puts an event into a record. `source` says who wrote it, as a URI reference such as `/orders`.
pub fn encode(event: &Event, source: &str) -> Record {
    let envelope = Envelope {
        event_id: event.event_id,
        aggregate_type: &event.aggregate_type,
        aggregate_id: &event.aggregate_id,
        event_type: &event.event_type,
        sequence: event.sequence,
        created_at: event.created_at,
        source,
    };
    let saga = event.saga.map(|saga| (SAGA_ID.to_owned(), saga.to_string()));
    let trace = event.traceparent.clone().map(|trace| (TRACEPARENT.to_owned(), trace));
    // A JSON value has string keys only, so it always serializes.
    let payload = serde_json::to_vec(&event.payload).unwrap_or_default();
    envelope.record(saga.into_iter().chain(trace), payload.into())
}

/// The same record in the form of Debezium's outbox event router, for consumers that read that: its topic, named after the
/// aggregate's type, and its header `id`. Ours stay beside it, so that [`decode`] reads both forms.
#[must_use]
pub fn as_debezium(mut record: Record) -> Record {
    let aggregate_type = record.header(AGGREGATE_TYPE).unwrap_or_default();
    record.topic = format!("{DEBEZIUM_TOPIC}{aggregate_type}");
    if let Some(id) = record.header(ID).map(str::to_owned) {
        record.headers.insert(0, (DEBEZIUM_ID.to_owned(), id));
    }
    record
}

/// Reads the event back out of a record.
///
/// # Errors
/// [`Error::NotAnEvent`], naming the header that is missing or wrong. Headers beyond ours are ignored.
pub fn decode(record: &Record) -> Result<Event, Error> {
    let fault = |name, fault| Error::NotAnEvent { name, fault };
    let get = |name: &'static str| record.header(name).ok_or(fault(name, "is missing"));
    if get(SPECVERSION)? != VERSION {
        return Err(fault(SPECVERSION, "is not 1.0"));
    }
    let time = OffsetDateTime::parse(get(TIME)?, &Rfc3339).map_err(|_| fault(TIME, "is not a time of RFC 3339"))?;
    let millis = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000));
    let sequence = get(SEQUENCE)?.parse().ok().filter(|n| *n > 0);
    let saga = record.header(SAGA_ID).map(str::parse::<SagaId>).transpose();
    Ok(Event {
        event_id: get(ID)?.parse().map_err(|_| fault(ID, "is not a UUID"))?,
        aggregate_type: get(AGGREGATE_TYPE)?.to_owned(),
        aggregate_id: get(SUBJECT)?.to_owned(),
        event_type: get(TYPE)?.to_owned(),
        sequence: sequence.ok_or(fault(SEQUENCE, "is not a positive number"))?,
        payload: serde_json::from_slice(&record.payload).map_err(|_| fault("payload", "is not JSON"))?,
        created_at: Timestamp::from_millis(millis.map_err(|_| fault(TIME, "is out of range"))?),
        saga: saga.map_err(|_| fault(SAGA_ID, "is not a UUID"))?,
        traceparent: record.header(TRACEPARENT).map(str::to_owned),
    })
}

/// A moment as RFC 3339 in UTC, always with milliseconds. Times outside the years 0 to 9999 are drawn to the epoch.
fn rfc3339(at: Timestamp) -> String {
    let nanos = i128::from(at.as_millis()) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn event() -> Event {
        Event {
            event_id: EventId::from_parts(Timestamp::from_millis(1_700_000_000_000), [7; 10]),
            aggregate_type: "order".into(),
            aggregate_id: "o-1".into(),
            event_type: "order.created.v1".into(),
            sequence: 3,
            payload: json!({"note": "grüße"}),
            created_at: Timestamp::from_millis(1_700_000_000_042),
            saga: Some(SagaId::derive("till-7", "place_order", "receipt-1")),
            traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        }
    }

    #[test]
    fn the_wire_form_is_fixed() {
        let record = encode(&event(), "/orders");
        let mut lines = vec![format!("{} {}", record.topic, record.key)];
        lines.extend(record.headers.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.push(String::from_utf8(record.payload.to_vec()).unwrap());
        expect![[r#"
            order.created.v1 o-1
            ce_specversion: 1.0
            ce_id: 018bcfe5-6800-7707-8707-070707070707
            ce_type: order.created.v1
            ce_source: /orders
            ce_subject: o-1
            ce_time: 2023-11-14T22:13:20.042Z
            content-type: application/json
            sequence: 3
            aggregate-type: order
            saga-id: c3dbe336-46ac-829c-bfbc-84cfcb20f5f5
            traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
            {"note":"grüße"}"#]]
        .assert_eq(&lines.join("\n"));
    }

    #[test]
    fn debeziums_form_is_its_topic_and_id_and_still_ours() {
        let record = as_debezium(encode(&event(), "/orders"));
        assert_eq!((record.topic.as_str(), record.key.as_str()), ("outbox.event.order", "o-1"));
        assert_eq!(record.header("id"), Some("018bcfe5-6800-7707-8707-070707070707"));
        assert_eq!(decode(&record).unwrap(), event());
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        assert_eq!(decode(&encode(&event(), "/orders")).unwrap(), event());
        let bare = Event { saga: None, traceparent: None, ..event() };
        assert_eq!(decode(&encode(&bare, "/orders")).unwrap(), bare);
    }

    #[test]
    fn each_header_that_is_missing_or_wrong_is_named() {
        for name in [SPECVERSION, ID, TYPE, SUBJECT, TIME, SEQUENCE, AGGREGATE_TYPE] {
            let mut record = encode(&event(), "/orders");
            record.headers.retain(|(found, _)| found != name);
            assert!(matches!(decode(&record), Err(Error::NotAnEvent { name: n, .. }) if n == name), "{name} missing");
        }
        for (name, value) in
            [(SPECVERSION, "0.3"), (ID, "7"), (TIME, "today"), (SEQUENCE, "0"), (SEQUENCE, "x"), (SAGA_ID, "s")]
        {
            let mut record = encode(&event(), "/orders");
            for header in record.headers.iter_mut().filter(|(found, _)| found == name) {
                value.clone_into(&mut header.1);
            }
            assert!(matches!(decode(&record), Err(Error::NotAnEvent { name: n, .. }) if n == name), "{name}: {value}");
        }
        let mut record = encode(&event(), "/orders");
        record.payload = Bytes::from_static(b"{");
        assert!(matches!(decode(&record), Err(Error::NotAnEvent { name: "payload", .. })));
    }

    proptest! {
        #[test]
        fn any_moment_survives(millis in -62_135_596_800_000_i64..253_402_300_799_999) {
            let at = Event { created_at: Timestamp::from_millis(millis), ..event() };
            prop_assert_eq!(decode(&encode(&at, "/orders")).unwrap().created_at, at.created_at);
        }
    }
}
