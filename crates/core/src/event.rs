//! The domain event: a fact in the past tense, versioned, numbered within its aggregate.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{EventId, SagaId, Timestamp};

/// An event that is about to be appended to an outbox.
///
/// ```
/// use steadfast_core::NewEvent;
///
/// let event = NewEvent::new("order", "o-1", "order.created.v1", serde_json::json!({"total": 1200})).with_sequence(1);
/// assert_eq!(event.event_type, "order.created.v1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The kind of thing that changed, such as `order`.
    pub aggregate_type: String,
    /// Which one of them.
    pub aggregate_id: String,
    /// What happened, with its version: `order.created.v1`. Also the topic's name.
    pub event_type: String,
    /// The facts.
    pub payload: Value,
    /// The aggregate's version after this change, where the aggregate has one; `None` draws the next number.
    /// One aggregate type uses one of the two ways, never both.
    pub sequence: Option<i64>,
    /// The saga on whose behalf this happened.
    pub saga: Option<SagaId>,
    /// W3C trace context of the writer.
    pub traceparent: Option<String>,
}

impl NewEvent {
    /// An event without sequence, saga and trace.
    pub fn new(
        aggregate_type: impl Into<String>,
        aggregate_id: impl Into<String>,
        event_type: impl Into<String>,
        payload: Value,
    ) -> Self {
        Self {
            aggregate_type: aggregate_type.into(),
            aggregate_id: aggregate_id.into(),
            event_type: event_type.into(),
            payload,
            sequence: None,
            saga: None,
            traceparent: None,
        }
    }

    /// Numbers the event by the version that its aggregate has after the change.
    #[must_use]
    pub fn with_sequence(mut self, version: i64) -> Self {
        self.sequence = Some(version);
        self
    }

    /// Names the saga on whose behalf this happened.
    #[must_use]
    pub fn with_saga(mut self, saga: SagaId) -> Self {
        self.saga = Some(saga);
        self
    }

    /// Carries the writer's W3C trace context.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: Option<String>) -> Self {
        self.traceparent = traceparent;
        self
    }
}

/// An event as it stands in an outbox and travels over a bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Unique per event; consumers deduplicate by it.
    pub event_id: EventId,
    /// The kind of thing that changed.
    pub aggregate_type: String,
    /// Which one of them.
    pub aggregate_id: String,
    /// What happened, with its version.
    pub event_type: String,
    /// 1, 2, 3 … within the aggregate, without a gap; consumers order by it.
    pub sequence: i64,
    /// The facts.
    pub payload: Value,
    /// When it was written.
    pub created_at: Timestamp,
    /// The saga on whose behalf this happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saga: Option<SagaId>,
    /// W3C trace context of the writer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}
