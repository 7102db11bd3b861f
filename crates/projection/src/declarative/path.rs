//! Where a parameter's value stands in an event: `$.aggregate_id`, `$.payload.lines[0].sku`.

use serde_json::Value;
use steadfast_core::Event;

/// A compiled path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Path {
    root: Root,
    rest: Vec<Segment>,
    optional: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    EventId,
    AggregateType,
    AggregateId,
    EventType,
    Sequence,
    CreatedAt,
    Saga,
    Payload,
}

const ROOTS: [(&str, Root); 8] = [
    ("event_id", Root::EventId),
    ("aggregate_type", Root::AggregateType),
    ("aggregate_id", Root::AggregateId),
    ("event_type", Root::EventType),
    ("sequence", Root::Sequence),
    ("created_at", Root::CreatedAt),
    ("saga", Root::Saga),
    ("payload", Root::Payload),
];

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Key(String),
    Index(usize),
}

/// A value as it is bound.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
}

/// What is wrong with a path, and the way out.
pub(super) type PathFault = (String, String);

impl Path {
    pub(super) fn parse(text: &str) -> Result<Self, PathFault> {
        let example =
            || "write $.aggregate_id or $.payload.lines[0].sku; a ? at the end allows it to be missing".to_owned();
        let (body, optional) = text.strip_suffix('?').map_or((text, false), |body| (body, true));
        let Some(body) = body.strip_prefix("$.") else {
            return Err((format!("{text:?} does not begin with $."), example()));
        };
        let mut segments = Vec::new();
        for part in body.split('.') {
            let (key, indices) = part.split_at(part.find('[').unwrap_or(part.len()));
            if key.is_empty() {
                return Err((format!("{text:?} has an empty part"), example()));
            }
            segments.push(Segment::Key(key.to_owned()));
            for index in indices.split_terminator(']') {
                let number = index.strip_prefix('[').and_then(|index| index.parse().ok());
                segments.push(Segment::Index(number.ok_or_else(|| (format!("{text:?} has a bad index"), example()))?));
            }
            if !indices.is_empty() && !indices.ends_with(']') {
                return Err((format!("{text:?} has an open bracket"), example()));
            }
        }
        let rest = segments.split_off(1);
        let Some(Segment::Key(first)) = segments.pop() else {
            return Err((format!("{text:?} is empty"), example()));
        };
        let Some((_, root)) = ROOTS.into_iter().find(|(name, _)| *name == first) else {
            let way_out = match super::nearest(&first, ROOTS.iter().map(|(name, _)| *name)) {
                Some(near) => format!("did you mean $.{near}?"),
                None => format!("an event's facts are under $.payload: $.payload.{first}"),
            };
            return Err((format!("an event has no {first:?}"), way_out));
        };
        if root != Root::Payload && !rest.is_empty() {
            return Err((format!("$.{first} has no parts"), format!("write $.{first}")));
        }
        Ok(Self { root, rest, optional })
    }

    /// The value, or, if JSON is wanted, its JSON text; `None` where it is missing and may not be.
    pub(super) fn find(&self, event: &Event, json: bool) -> Option<Bound> {
        if json {
            return self.find_json(event);
        }
        let found = match self.root {
            Root::EventId => Some(Bound::Text(event.event_id.to_string())),
            Root::AggregateType => Some(Bound::Text(event.aggregate_type.clone())),
            Root::AggregateId => Some(Bound::Text(event.aggregate_id.clone())),
            Root::EventType => Some(Bound::Text(event.event_type.clone())),
            Root::Sequence => Some(Bound::Integer(event.sequence)),
            Root::CreatedAt => Some(Bound::Integer(event.created_at.as_millis())),
            Root::Saga => event.saga.map(|saga| Bound::Text(saga.to_string())),
            Root::Payload => self.rest.iter().try_fold(&event.payload, step).map(bound),
        };
        found.or_else(|| self.optional.then_some(Bound::Null))
    }

    fn find_json(&self, event: &Event) -> Option<Bound> {
        if self.root == Root::Payload {
            let found = self.rest.iter().try_fold(&event.payload, step).map(|value| Bound::Text(value.to_string()));
            return found.or_else(|| self.optional.then_some(Bound::Null));
        }
        self.find(event, false).map(|bound| match bound {
            Bound::Text(text) => Bound::Text(Value::String(text).to_string()),
            other => other,
        })
    }
}

fn step<'a>(value: &'a Value, segment: &Segment) -> Option<&'a Value> {
    match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(index),
    }
}

/// Objects and arrays are bound as JSON text.
fn bound(value: &Value) -> Bound {
    match value {
        Value::Null => Bound::Null,
        Value::Bool(truth) => Bound::Integer(i64::from(*truth)),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Bound::Integer(integer),
            (None, Some(real)) => Bound::Real(real),
            (None, None) => Bound::Text(number.to_string()),
        },
        Value::String(text) => Bound::Text(text.clone()),
        Value::Array(_) | Value::Object(_) => Bound::Text(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use steadfast_core::{EventId, Timestamp};

    use super::*;

    fn event() -> Event {
        Event {
            event_id: EventId::from_parts(Timestamp::from_millis(1), [1; 10]),
            aggregate_type: "order".into(),
            aggregate_id: "o-1".into(),
            event_type: "order.created.v1".into(),
            sequence: 7,
            payload: json!({"total": 12, "rate": 0.5, "paid": true, "note": null, "lines": [{"sku": "a"}, {"sku": "b"}]}),
            created_at: Timestamp::from_millis(42),
            saga: None,
            traceparent: None,
        }
    }

    #[test]
    fn values_are_found() {
        let find = |path| Path::parse(path).unwrap().find(&event(), false);
        assert_eq!(find("$.aggregate_id"), Some(Bound::Text("o-1".into())));
        assert_eq!(find("$.sequence"), Some(Bound::Integer(7)));
        assert_eq!(find("$.payload.total"), Some(Bound::Integer(12)));
        assert_eq!(find("$.payload.rate"), Some(Bound::Real(0.5)));
        assert_eq!(find("$.payload.paid"), Some(Bound::Integer(1)));
        assert_eq!(find("$.payload.note"), Some(Bound::Null));
        assert_eq!(find("$.payload.lines[1].sku"), Some(Bound::Text("b".into())));
        assert_eq!(find("$.payload.lines[0]"), Some(Bound::Text(r#"{"sku":"a"}"#.into())));
        assert_eq!(find("$.payload.lines[2].sku"), None);
        assert_eq!(find("$.payload.gone?"), Some(Bound::Null));
        assert_eq!(find("$.saga"), None);
        let json = |path| Path::parse(path).unwrap().find(&event(), true);
        assert_eq!(json("$.payload.lines[1].sku"), Some(Bound::Text(r#""b""#.into())));
        assert_eq!(json("$.payload.paid"), Some(Bound::Text("true".into())));
        assert_eq!(json("$.aggregate_id"), Some(Bound::Text(r#""o-1""#.into())));
        assert_eq!(json("$.payload.gone?"), Some(Bound::Null));
    }

    #[test]
    fn a_bad_path_says_what_would_be_right() {
        let fault = |path| Path::parse(path).unwrap_err().1;
        assert_eq!(fault("$.agregate_id"), "did you mean $.aggregate_id?");
        assert_eq!(fault("$.total"), "an event's facts are under $.payload: $.payload.total");
        assert_eq!(fault("$.sequence.x"), "write $.sequence");
        for bad in ["", "total", "$", "$.", "$.payload..x", "$.payload.a[x]", "$.payload.a[1", "$.payload.a[-1]"] {
            assert!(fault(bad).contains("$.payload.lines[0].sku"), "{bad}");
        }
    }
}
