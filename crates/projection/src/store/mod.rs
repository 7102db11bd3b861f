//! What a projector keeps beside its read models. A backend is a file named for it.

mod sqlite;

pub(crate) use sqlite::{
    Waiting, count_parked, discard, fence, find_due, list_parked, list_skipped, mark_parked, park, positions,
    record_skips, register, release, replay, replay_all, save_sequences, skip_gap, standings,
};

use serde::{Serialize, Serializer};
use steadfast_core::EventId;

/// An aggregate: its type and its id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct Aggregate(pub(crate) String, pub(crate) String);

/// The checkpoint's move of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Move {
    pub(crate) partition: u32,
    pub(crate) expected: i64,
    pub(crate) next: i64,
}

/// How an event is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Waiting,
    Poison,
    Behind,
    Retry,
}

impl State {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Poison => "poison",
            Self::Behind => "behind",
            Self::Retry => "retry",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Waiting, Self::Poison, Self::Behind, Self::Retry].into_iter().find(|state| state.as_str() == text)
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A row of `aggregate_sequence`: type, id, last, event id in hexadecimal.
pub(crate) type SequenceRow<'a> = (&'a str, &'a str, i64, Option<String>);

/// A row of `parked_event`: type, id, sequence, event id in hexadecimal, event, state, error.
pub(crate) type ParkRow = (String, String, i64, String, String, State, Option<String>);

/// A row of `skipped_event`: reason, type, id, first, last, event, partition, position, detail.
pub(crate) type SkipRow = (
    &'static str,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<String>,
    Option<u32>,
    Option<i64>,
    String,
);

pub(crate) fn hex(id: &EventId) -> String {
    steadfast_core::hex(id.as_bytes())
}
