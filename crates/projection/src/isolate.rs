//! Applying events, and finding the one that cannot be applied: by halves, each within a savepoint, so that one poison
//! event among a thousand costs some twenty attempts and not a thousand.

use std::collections::HashSet;

use steadfast_core::Event;
use steadfast_db::BoxError;

use crate::error::is_transient;
use crate::store::{Savepoint, Store, Tx};
use crate::{Error, Projection};

/// Events in order, each with the number of the item that it belongs to.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    pub(crate) events: Vec<Event>,
    pub(crate) items: Vec<usize>,
}

impl Chunk {
    pub(crate) fn push(&mut self, item: usize, event: Event) {
        self.items.push(item);
        self.events.push(event);
    }

    fn halve(mut self) -> (Self, Self) {
        let middle = self.events.len() / 2;
        let (events, items) = (self.events.split_off(middle), self.items.split_off(middle));
        (self, Self { events, items })
    }
}

/// What could not be applied.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Events that failed.
    pub(crate) poison: Vec<(usize, Event, BoxError)>,
    /// Events of the same aggregates behind them, which were not tried.
    pub(crate) behind: Vec<(usize, Event)>,
}

/// Applies all events at once; an error fails the transaction.
pub(crate) async fn apply<S: Store>(
    projection: &dyn Projection<S::Sql>,
    tx: &mut Tx<S>,
    chunk: &Chunk,
) -> Result<(), Error> {
    if chunk.events.is_empty() {
        return Ok(());
    }
    projection
        .apply(tx, &chunk.events)
        .await
        .map_err(|source| Error::Apply { projection: projection.name().to_owned(), source })
}

/// Applies what can be applied and hands back the rest. `aggregate_of` tells the aggregate of an item. An error of the
/// world still fails the transaction.
pub(crate) async fn apply_each<S: Store>(
    store: &S,
    projection: &dyn Projection<S::Sql>,
    tx: &mut Tx<S>,
    chunk: Chunk,
    aggregate_of: impl Fn(usize) -> usize,
) -> Result<Held, Error> {
    let mut result = Held::default();
    let mut held = HashSet::new();
    let mut stack = vec![chunk];
    while let Some(chunk) = stack.pop() {
        let mut open = Chunk::default();
        for (item, event) in chunk.items.into_iter().zip(chunk.events) {
            if held.contains(&aggregate_of(item)) {
                result.behind.push((item, event));
            } else {
                open.push(item, event);
            }
        }
        if open.events.is_empty() {
            continue;
        }
        store.savepoint(tx, Savepoint::Set).await?;
        let Err(source) = projection.apply(tx, &open.events).await else {
            store.savepoint(tx, Savepoint::Release).await?;
            continue;
        };
        if is_transient(source.as_ref()) {
            return Err(Error::Apply { projection: projection.name().to_owned(), source });
        }
        store.savepoint(tx, Savepoint::RollBack).await?;
        store.savepoint(tx, Savepoint::Release).await?;
        if open.events.len() == 1 {
            if let (Some(item), Some(event)) = (open.items.pop(), open.events.pop()) {
                held.insert(aggregate_of(item));
                result.poison.push((item, event, source));
            }
        } else {
            let (left, right) = open.halve();
            stack.push(right);
            stack.push(left);
        }
    }
    Ok(result)
}
