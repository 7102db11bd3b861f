//! One transaction for a batch of reservations, barrier rows and events included. What others do not wait for comes first;
//! the stock's rows are locked last, in the order of their keys, as everybody locks them.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use sqlx::{Postgres, Transaction};
use steadfast::core::NewEvent;
use steadfast::db;
use steadfast::db::postgres::Db;
use steadfast::locking::lane::{Commit, Committed, Decided, Seen, Sum, Verdict};
use steadfast::locking::{Key, Version};
use steadfast::outbox;
use steadfast::saga::barrier::Answer;
use uuid::Uuid;

use super::super::tables::told;
use super::Want;
use crate::Error;
use crate::stock::{Level, Move};

type Batch<'a> = [Decided<'a, Want>];
type Tx = Transaction<'static, Postgres>;
/// How many rows are as expected; a product with what is on hand, and what was reserved.
type TakenRow = (i64, Option<String>, Option<i64>, Option<i64>);

/// What the lane commits by.
#[derive(Clone, Debug)]
pub(in crate::store) struct Batches(Db);

impl Batches {
    pub(in crate::store) fn new(db: Db) -> Self {
        Self(db)
    }
}

#[async_trait]
impl Commit for Batches {
    type Payload = Want;
    type Error = Error;

    fn entity(&self) -> &'static str {
        "stock"
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Seen>>, Error> {
        let products = products(keys);
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(include_str!("../postgres/read_free_stock.sql"))
            .bind(&products)
            .fetch_all(self.0.pool())
            .await?;
        let seen = |(product, free, version)| (product, Seen { free, version: Version::from_stored(version) });
        let found: BTreeMap<String, Seen> = rows.into_iter().map(seen).collect();
        Ok(products.iter().map(|product| found.get(product).copied()).collect())
    }

    async fn commit(&self, sums: &[Sum], batch: &Batch<'_>) -> Result<Committed, Error> {
        let doubled = doubled(batch);
        if !doubled.is_empty() {
            return Ok(Committed::Known(doubled));
        }
        let mut tx = self.0.begin().await?;
        let outcome = write(&mut tx, sums, batch).await?;
        if outcome == Committed::All {
            tx.commit().await.map_err(db::Error::of_commit)?;
        } else {
            tx.rollback().await?;
        }
        Ok(outcome)
    }
}

/// Wants of one call, or of one order, in one batch: the first goes on, and the others meet what it has left.
fn doubled(batch: &Batch<'_>) -> Vec<usize> {
    let (mut calls, mut orders) = (HashSet::new(), HashSet::new());
    places(batch, |it| !calls.insert(&it.payload.key) | !orders.insert(it.payload.order_id))
}

fn places<'a>(batch: &'a Batch<'_>, mut of: impl FnMut(&'a Decided<'_, Want>) -> bool) -> Vec<usize> {
    batch.iter().enumerate().filter_map(|(place, it)| of(it).then_some(place)).collect()
}

async fn write(tx: &mut Tx, sums: &[Sum], batch: &Batch<'_>) -> Result<Committed, Error> {
    let known = enter(tx, batch).await?;
    if !known.is_empty() {
        return Ok(Committed::Known(known));
    }
    let known = reserve(tx, batch).await?;
    if !known.is_empty() {
        return Ok(Committed::Known(known));
    }
    leave(tx, batch).await?;
    let Some(levels) = take(tx, sums).await? else { return Ok(Committed::Stale) };
    let now = batch.iter().map(|it| it.payload.cause.now).max().unwrap_or_default();
    outbox::append_many(tx, &events(batch, levels), now).await?;
    Ok(Committed::All)
}

/// Asks the barrier about all of them: the places of those that have run before, never may, or are under way elsewhere.
async fn enter(tx: &mut Tx, batch: &Batch<'_>) -> Result<Vec<usize>, Error> {
    let calls = || batch.iter().map(|it| it.payload);
    let outcomes: Vec<String> = sqlx::query_scalar(include_str!("../postgres/enter_steps.sql"))
        .bind(calls().map(|want| want.key.to_string()).collect::<Vec<_>>())
        .bind(calls().map(|want| want.started.as_millis()).collect::<Vec<_>>())
        .bind(calls().map(|want| want.request.to_vec()).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
    Ok(outcomes.iter().enumerate().filter(|(_, outcome)| *outcome != "run").map(|(place, _)| place).collect())
}

/// Promises stock to the orders: the places of those to which something is promised already.
async fn reserve(tx: &mut Tx, batch: &Batch<'_>) -> Result<Vec<usize>, Error> {
    let taken: Vec<&Decided<'_, Want>> = batch.iter().filter(|it| is_taken(it)).collect();
    if taken.is_empty() {
        return Ok(vec![]);
    }
    let lines = || taken.iter().flat_map(|it| it.amounts.iter().map(|(key, n)| (it.payload.order_id, key, *n)));
    let fresh: Vec<Uuid> = sqlx::query_scalar(include_str!("../postgres/insert_reservations.sql"))
        .bind(taken.iter().map(|it| it.payload.order_id).collect::<Vec<_>>())
        .bind(taken.iter().map(|it| it.payload.cause.now.as_millis()).collect::<Vec<_>>())
        .bind(lines().map(|(order_id, ..)| order_id).collect::<Vec<_>>())
        .bind(lines().map(|(_, key, _)| key.to_string()).collect::<Vec<_>>())
        .bind(lines().map(|(.., quantity)| quantity).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
    let fresh: HashSet<Uuid> = fresh.into_iter().collect();
    Ok(places(batch, |it| is_taken(it) && !fresh.contains(&it.payload.order_id)))
}

const fn is_taken(it: &Decided<'_, Want>) -> bool {
    matches!(it.verdict, Verdict::Taken(_))
}

/// Records what is answered to each, so that every repeat hears the same.
async fn leave(tx: &mut Tx, batch: &Batch<'_>) -> Result<(), Error> {
    let done = include_str!("../postgres/leave_steps.sql");
    let refused = include_str!("../postgres/refuse_steps.sql");
    for (sql, of_taken) in [(done, true), (refused, false)] {
        let answers: Vec<(String, Answer)> = batch
            .iter()
            .filter(|it| is_taken(it) == of_taken)
            .map(|it| (it.payload.key.to_string(), (it.payload.answer)(it.payload.order_id, it.verdict)))
            .collect();
        if answers.is_empty() {
            continue;
        }
        sqlx::query(sql)
            .bind(answers.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>())
            .bind(answers.iter().map(|(_, answer)| i32::from(answer.status())).collect::<Vec<_>>())
            .bind(answers.iter().map(|(_, answer)| answer.content_type()).collect::<Vec<_>>())
            .bind(answers.iter().map(|(_, answer)| answer.body().to_vec()).collect::<Vec<_>>())
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Takes the sums, if every row is as it was thought to be: the levels before the batch, of the products that it changes.
async fn take(tx: &mut Tx, sums: &[Sum]) -> Result<Option<BTreeMap<String, Level>>, Error> {
    let rows: Vec<TakenRow> = sqlx::query_as(include_str!("../postgres/reserve_stock.sql"))
        .bind(products(sums.iter().map(|sum| &sum.key)))
        .bind(sums.iter().map(|sum| sum.expected.get()).collect::<Vec<_>>())
        .bind(sums.iter().map(|sum| sum.amount).collect::<Vec<_>>())
        .bind(sums.iter().map(|sum| sum.count).collect::<Vec<_>>())
        .fetch_all(&mut **tx)
        .await?;
    let as_expected = rows.first().and_then(|(locked, ..)| usize::try_from(*locked).ok());
    if as_expected != Some(sums.len()) {
        return Ok(None);
    }
    let level = |(_, product, on_hand, reserved)| Some((product?, Level { on_hand: on_hand?, reserved: reserved? }));
    Ok(Some(rows.into_iter().filter_map(level).collect()))
}

/// One event for each change of a row, in the order of their versions.
fn events(batch: &Batch<'_>, mut levels: BTreeMap<String, Level>) -> Vec<NewEvent> {
    let mut events = Vec::new();
    for it in batch {
        let Verdict::Taken(versions) = it.verdict else { continue };
        for (key, version) in versions {
            let (product, quantity) = (key.to_string(), it.amounts[key]);
            let Some(level) = levels.get_mut(&product) else { continue };
            level.reserved += quantity;
            let event_type = Move::Reserve.event_type();
            events.push(told(&it.payload.cause, event_type, &product, version.get(), quantity, *level));
        }
    }
    events
}

fn products<'a>(keys: impl IntoIterator<Item = &'a Key>) -> Vec<String> {
    keys.into_iter().map(ToString::to_string).collect()
}
