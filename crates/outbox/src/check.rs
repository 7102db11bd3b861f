//! What an event may look like, so that whatever is appended can also be published.

use serde_json::Value;
use steadfast_bus::headers;
use steadfast_core::NewEvent;

use crate::Error;

/// The largest payload, as JSON.
pub const PAYLOAD_LIMIT: usize = 1024 * 1024;

const TYPE_LENGTH: usize = 128;
const ID_LENGTH: usize = 255;
/// An event type is a topic's name, which Kafka bounds.
const EVENT_TYPE_LENGTH: usize = 249;
/// A trace context of version 00 has 55 characters; later versions may have more.
const TRACE_LENGTH: usize = 128;

fn is_word(text: &str, length: usize) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    !text.is_empty() && text.len() <= length && text.bytes().all(legal) && text != "." && text != ".."
}

/// Checks an event's names; the payload is checked where it is serialized.
pub(crate) fn names(event: &NewEvent) -> Result<(), Error> {
    let fault = |field, rule| Err(Error::Name { field, rule });
    if !is_word(&event.aggregate_type, TYPE_LENGTH) {
        return fault("aggregate_type", "use 1 to 128 of letters, digits, '.', '_' and '-'");
    }
    let id = &event.aggregate_id;
    if id.is_empty() || id.len() > ID_LENGTH || id.chars().any(char::is_control) {
        return fault("aggregate_id", "use 1 to 255 bytes without control characters");
    }
    if !is_word(&event.event_type, EVENT_TYPE_LENGTH) {
        return fault("event_type", "use 1 to 249 of letters, digits, '.', '_' and '-', such as order.created.v1");
    }
    if event.sequence.is_some_and(|sequence| sequence < 1) {
        return fault("sequence", "versions count from 1");
    }
    Ok(())
}

/// The payload as JSON, if it is not too large.
pub(crate) fn payload(event: &NewEvent) -> Result<String, Error> {
    let json = event.payload.to_string();
    if json.len() > PAYLOAD_LIMIT {
        return Err(Error::PayloadTooLarge {
            event_type: event.event_type.clone(),
            size: json.len(),
            limit: PAYLOAD_LIMIT,
        });
    }
    Ok(json)
}

/// What travels beside the envelope, as a JSON object in text; none where there is nothing.
pub(crate) fn headers(event: &NewEvent) -> Option<String> {
    let saga = event.saga.map(|saga| (headers::SAGA_ID.to_owned(), Value::from(saga.to_string())));
    let trace = trace(event).map(|trace| (headers::TRACEPARENT.to_owned(), Value::from(trace)));
    let object: serde_json::Map<_, _> = saga.into_iter().chain(trace).collect();
    (!object.is_empty()).then(|| Value::from(object).to_string())
}

/// The trace context, where it can travel as a header. One that cannot is left out, as W3C asks: no business
/// transaction fails for the sake of its trace.
fn trace(event: &NewEvent) -> Option<&str> {
    event
        .traceparent
        .as_deref()
        .filter(|t| !t.is_empty() && t.len() <= TRACE_LENGTH && t.bytes().all(|b| b.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event() -> NewEvent {
        NewEvent::new("order", "o-1", "order.created.v1", json!({}))
    }

    #[test]
    fn each_field_is_named_when_it_is_at_fault() {
        type Spoil = fn(&mut NewEvent);
        assert!(names(&event()).is_ok());
        let cases: [(&str, Spoil); 8] = [
            ("aggregate_type", |e| e.aggregate_type.clear()),
            ("aggregate_type", |e| e.aggregate_type = "x".repeat(129)),
            ("aggregate_id", |e| e.aggregate_id.clear()),
            ("aggregate_id", |e| e.aggregate_id = "o\n1".into()),
            ("aggregate_id", |e| e.aggregate_id = "x".repeat(256)),
            ("event_type", |e| e.event_type = "order created".into()),
            ("event_type", |e| e.event_type = "x".repeat(250)),
            ("sequence", |e| e.sequence = Some(0)),
        ];
        for (expected, spoil) in cases {
            let mut spoilt = event();
            spoil(&mut spoilt);
            assert!(matches!(names(&spoilt), Err(Error::Name { field, .. }) if field == expected), "{spoilt:?}");
        }
    }

    #[test]
    fn a_payload_has_a_bound() {
        // Two bytes are its quotes.
        let sized = |size: usize| NewEvent { payload: json!("x".repeat(size - 2)), ..event() };
        assert!(payload(&sized(PAYLOAD_LIMIT)).is_ok());
        let error = payload(&sized(PAYLOAD_LIMIT + 1));
        assert!(matches!(error, Err(Error::PayloadTooLarge { size, .. }) if size == PAYLOAD_LIMIT + 1), "{error:?}");
    }

    #[test]
    fn a_trace_that_cannot_travel_is_left_out() {
        let with = |trace: &str| event().with_traceparent(Some(trace.to_owned()));
        assert_eq!(trace(&with("00-ab-cd-01")), Some("00-ab-cd-01"));
        for bad in ["", "a b", "ä", &"x".repeat(129)] {
            assert_eq!(trace(&with(bad)), None);
        }
    }
}
