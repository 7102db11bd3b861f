//! What an operator does with events that wait, fail or were passed over. Each act only changes the tables; the runner
//! sees it within its sweep interval and applies what has become applicable, in order.

use steadfast_bus::Partition;
use steadfast_core::{EventId, Timestamp};

use crate::Error;
use crate::store::{Aggregate, Store, acts};

/// An event that waits. Its content is not listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedEvent {
    /// The kind of aggregate.
    pub aggregate_type: String,
    /// Which one.
    pub aggregate_id: String,
    /// Its number.
    pub sequence: i64,
    /// Its id.
    pub event_id: EventId,
    /// Its type.
    pub event_type: String,
    /// Whether applying it failed: it holds its aggregate.
    pub poison: bool,
    /// The last error.
    pub error: Option<String>,
    /// How often applying it has failed.
    pub attempts: u32,
    /// Since when it waits.
    pub parked_at: Timestamp,
}

/// Why something was passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Numbers that never came.
    Gap,
    /// Another event already has the number.
    Collision,
    /// A record that is not an event.
    Unreadable,
    /// An operator gave the event up.
    Discarded,
}

impl Reason {
    /// As it stands in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Collision => "collision",
            Self::Unreadable => "unreadable",
            Self::Discarded => "discarded",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Gap, Self::Collision, Self::Unreadable, Self::Discarded].into_iter().find(|one| one.as_str() == text)
    }
}

/// What was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedEvent {
    /// Why.
    pub reason: Reason,
    /// The kind of aggregate, where there is one.
    pub aggregate_type: Option<String>,
    /// Which one.
    pub aggregate_id: Option<String>,
    /// The first number.
    pub first_sequence: Option<i64>,
    /// The last number.
    pub last_sequence: Option<i64>,
    /// The partition of an unreadable record.
    pub partition: Option<Partition>,
    /// Its offset.
    pub position: Option<i64>,
    /// The error, or the operator's words.
    pub detail: String,
    /// When.
    pub skipped_at: Timestamp,
}

/// The parked events of a projection, poison first, then the oldest.
pub async fn list<S: Store>(db: &S, projection: &str, limit: u32) -> Result<Vec<ParkedEvent>, Error> {
    db.list_parked(projection, None, limit).await
}

/// The parked events of one aggregate, in order.
pub async fn of_aggregate<S: Store>(
    db: &S,
    projection: &str,
    aggregate_type: &str,
    aggregate_id: &str,
) -> Result<Vec<ParkedEvent>, Error> {
    let aggregate = Aggregate(aggregate_type.to_owned(), aggregate_id.to_owned());
    let mut events = db.list_parked(projection, Some(&aggregate), u32::MAX).await?;
    events.sort_by_key(|event| event.sequence);
    Ok(events)
}

/// The projections that have ever run into this read database, by name.
pub async fn projections<S: Store>(db: &S) -> Result<Vec<String>, Error> {
    db.names().await
}

/// What a projection has passed over, newest first.
pub async fn skipped<S: Store>(db: &S, projection: &str, limit: u32) -> Result<Vec<SkippedEvent>, Error> {
    db.list_skipped(projection, limit).await
}

/// Lets the poison event of an aggregate be tried again, and what stands behind it with it.
///
/// # Errors
/// [`Error::NotApplicable`] when no event of that aggregate is poison.
pub async fn replay<S: Store>(db: &S, projection: &str, aggregate_type: &str, aggregate_id: &str) -> Result<(), Error> {
    let aggregate = Aggregate(aggregate_type.to_owned(), aggregate_id.to_owned());
    if db.replay(projection, Some(&aggregate)).await? == 0 {
        let Aggregate(aggregate_type, aggregate_id) = aggregate;
        let way_out = "no event of it has failed; list the parked events";
        return Err(Error::NotApplicable { act: "replay", aggregate_type, aggregate_id, way_out });
    }
    Ok(())
}

/// Lets every poison event of a projection be tried again, as after a repair, and says how many events that moves.
pub async fn replay_all<S: Store>(db: &S, projection: &str) -> Result<u64, Error> {
    db.replay(projection, None).await
}

/// Gives up the poison event that holds an aggregate, with a record of it and of the `reason`, and says which number
/// it had. What stands behind it is applied.
///
/// # Errors
/// [`Error::NotParked`] or [`Error::NotApplicable`] when no event of that aggregate is poison.
pub async fn discard<S: Store>(
    db: &S,
    projection: &str,
    aggregate_type: &str,
    aggregate_id: &str,
    reason: &str,
    now: Timestamp,
) -> Result<i64, Error> {
    let aggregate = Aggregate(aggregate_type.to_owned(), aggregate_id.to_owned());
    let sequence = acts::discard(db, projection, &aggregate, reason, now).await?;
    tracing::warn!(projection, aggregate_type, aggregate_id, sequence, reason, "a parked event was discarded");
    Ok(sequence)
}

/// Gives up the numbers that an aggregate waits for, with a record of them and of the `reason`, and says which they
/// are, first and last. What waits behind them is applied.
///
/// # Errors
/// [`Error::NotParked`] or [`Error::NotApplicable`] when that aggregate waits for no number.
pub async fn skip_gap<S: Store>(
    db: &S,
    projection: &str,
    aggregate_type: &str,
    aggregate_id: &str,
    reason: &str,
    now: Timestamp,
) -> Result<(i64, i64), Error> {
    let aggregate = Aggregate(aggregate_type.to_owned(), aggregate_id.to_owned());
    let (first, last) = acts::skip_gap(db, projection, &aggregate, reason, now).await?;
    tracing::warn!(projection, aggregate_type, aggregate_id, first, last, reason, "missing events were given up");
    Ok((first, last))
}
