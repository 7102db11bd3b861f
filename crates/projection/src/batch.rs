//! What a poll delivered, sorted into what the projection wants and how the checkpoint moves.

use std::collections::BTreeMap;

use steadfast_bus::{Delivered, Partition, headers};
use steadfast_core::Event;

use crate::Subscription;
use crate::error::chain;
use crate::store::{Move, SkipRow};

/// A batch.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// What the projection wants, in the order of arrival.
    pub(crate) events: Vec<Event>,
    /// Records that are no events.
    pub(crate) unreadable: Vec<SkipRow>,
    /// How the checkpoint moves.
    pub(crate) moves: Vec<Move>,
}

/// A record as far as it can be read without knowing how far the projection has come.
#[derive(Debug)]
pub(crate) struct Decoded {
    partition: Partition,
    offset: i64,
    /// The event, if the projection wants it; or why it is none.
    event: Result<Option<Event>, String>,
}

/// Reads records.
pub(crate) fn decode(delivered: Vec<Delivered>, wanted: &Subscription) -> Vec<Decoded> {
    let decode = |Delivered { topic, partition, offset, record }| {
        let event = match headers::decode(&record) {
            Ok(event) if !wanted.wants(&event.aggregate_type) => Ok(None),
            Ok(event) if has_nul(&event) => {
                Err(format!("{topic}: the aggregate's type or id holds a NUL, which no database stores"))
            }
            Ok(event) => Ok(Some(event)),
            Err(error) => Err(format!("{topic}: {}", chain(&error))),
        };
        Decoded { partition, offset, event }
    };
    delivered.into_iter().map(decode).collect()
}

/// Sorts what was read. `positions` are the next offsets to read; what lies before them has been applied.
pub(crate) fn read(decoded: Vec<Decoded>, positions: &BTreeMap<Partition, i64>) -> Batch {
    let mut batch = Batch::default();
    let mut moves: BTreeMap<Partition, Move> = BTreeMap::new();
    for Decoded { partition, offset, event } in decoded {
        let one = moves.entry(partition).or_insert_with_key(|partition| {
            let expected = positions.get(partition).copied().unwrap_or(offset);
            Move { partition: partition.clone(), expected, next: expected }
        });
        if offset < one.next {
            continue;
        }
        one.next = offset + 1;
        match event {
            Ok(event) => batch.events.extend(event),
            Err(fault) => batch.unreadable.push(SkipRow::unreadable(&one.partition, offset, &fault)),
        }
    }
    batch.moves = moves.into_values().filter(|one| one.next > one.expected).collect();
    batch
}

/// PostgreSQL stores no NUL in a text, and an event that it refuses would stop all others for ever.
fn has_nul(event: &Event) -> bool {
    event.aggregate_type.contains('\0') || event.aggregate_id.contains('\0')
}
