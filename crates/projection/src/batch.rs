//! What a poll delivered, sorted into what the projection wants and how the checkpoint moves.

use std::collections::BTreeMap;

use steadfast_bus::{Delivered, headers};
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

/// Sorts what was delivered. `positions` are the next offsets to read; what lies before them has been applied.
pub(crate) fn read(delivered: Vec<Delivered>, positions: &BTreeMap<u32, i64>, wanted: &Subscription) -> Batch {
    let mut batch = Batch::default();
    let mut moves: BTreeMap<u32, Move> = BTreeMap::new();
    for Delivered { topic, partition, offset, record } in delivered {
        let one = moves.entry(partition).or_insert_with(|| {
            let expected = positions.get(&partition).copied().unwrap_or(offset);
            Move { partition, expected, next: expected }
        });
        if offset < one.next {
            continue;
        }
        one.next = offset + 1;
        match headers::decode(&record) {
            Ok(event) if wanted.wants(&event.aggregate_type) => batch.events.push(event),
            Ok(_) => {}
            Err(error) => {
                let detail = format!("{topic}: {}", chain(&error));
                let row = ("unreadable", None, None, None, None, None, Some(partition), Some(offset), detail);
                batch.unreadable.push(row);
            }
        }
    }
    batch.moves = moves.into_values().filter(|one| one.next > one.expected).collect();
    batch
}
