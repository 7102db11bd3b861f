//! An operator's acts that take several statements, the same for each backend.

use steadfast_core::Timestamp;

use super::{Aggregate, Head, SkipRow, State, Store, Tx};
use crate::Error;

/// The projection's number.
async fn number<S: Store>(store: &S, name: &str, aggregate: &Aggregate) -> Result<i64, Error> {
    store.find(name).await?.ok_or_else(|| not_parked(name, aggregate))
}

/// Takes the aggregate for itself and looks at its first parked event.
async fn head<S: Store>(
    store: &S,
    tx: &mut Tx<S>,
    (projection, name): (i64, &str),
    aggregate: &Aggregate,
) -> Result<Head, Error> {
    store.standings(tx, projection, &[aggregate]).await?;
    store.head(tx, projection, aggregate).await?.ok_or_else(|| not_parked(name, aggregate))
}

fn not_parked(name: &str, aggregate: &Aggregate) -> Error {
    Error::NotParked {
        projection: name.to_owned(),
        aggregate_type: aggregate.0.clone(),
        aggregate_id: aggregate.1.clone(),
    }
}

fn refuse<T>(act: &'static str, aggregate: &Aggregate, way_out: &'static str) -> Result<T, Error> {
    let Aggregate(aggregate_type, aggregate_id) = aggregate.clone();
    Err(Error::NotApplicable { act, aggregate_type, aggregate_id, way_out })
}

/// Gives up the poison event that holds the aggregate.
pub(crate) async fn discard<S: Store>(
    store: &S,
    name: &str,
    aggregate: &Aggregate,
    detail: &str,
    now: Timestamp,
) -> Result<i64, Error> {
    let projection = number(store, name, aggregate).await?;
    let mut tx = store.begin().await?;
    let head = head(store, &mut tx, (projection, name), aggregate).await?;
    if head.state != State::Poison {
        return refuse("discard", aggregate, "no event of it has failed; to give up missing numbers, skip the gap");
    }
    let Aggregate(kind, id) = aggregate;
    let number = head.sequence;
    store.release(&mut tx, projection, &[(kind, id, number)]).await?;
    store.save_sequences(&mut tx, projection, &[(kind, id, number, Some(head.event_id))]).await?;
    let skip = SkipRow::of("discarded", aggregate, (number, number), Some(head.event), detail);
    store.record_skips(&mut tx, projection, &[skip], now).await?;
    store.wake(&mut tx, projection, aggregate).await?;
    store.commit(tx).await?;
    Ok(number)
}

/// Gives up the numbers that the aggregate waits for.
pub(crate) async fn skip_gap<S: Store>(
    store: &S,
    name: &str,
    aggregate: &Aggregate,
    detail: &str,
    now: Timestamp,
) -> Result<(i64, i64), Error> {
    let projection = number(store, name, aggregate).await?;
    let mut tx = store.begin().await?;
    let head = head(store, &mut tx, (projection, name), aggregate).await?;
    let gap = (head.last + 1, head.sequence - 1);
    if gap.0 > gap.1 {
        return refuse("skip gap", aggregate, "no number is missing; replay or discard the event that failed");
    }
    let Aggregate(kind, id) = aggregate;
    store.save_sequences(&mut tx, projection, &[(kind, id, gap.1, None)]).await?;
    store.record_skips(&mut tx, projection, &[SkipRow::of("gap", aggregate, gap, None, detail)], now).await?;
    store.wake(&mut tx, projection, aggregate).await?;
    store.commit(tx).await?;
    Ok(gap)
}
