//! One writer: transactions of every shape, as chance has it.

use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, Postgres, Transaction};
use steadfast_core::{NewEvent, Timestamp};
use steadfast_db::postgres::Db;
use tokio::time::{Instant, sleep};

use super::{Plan, Written};
use crate::{Error, append_many};

/// Aggregates whose events carry the version.
const GIVEN: &str = "trial_given";
/// Aggregates whose numbers the outbox draws: they must be the versions all the same.
const DRAWN: &str = "trial_drawn";

/// How a transaction ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Committed,
    RolledBack,
}

pub(super) async fn write(db: &Db, plan: &Plan, number: u32, until: Instant) -> Written {
    let mut random = fastrand::Rng::with_seed(plan.seed ^ (u64::from(number) << 32));
    let mut written = Written::default();
    while Instant::now() < until {
        match transaction(db, plan, &mut random).await {
            Ok(End::Committed) => written.committed += 1,
            Ok(End::RolledBack) => written.rolled_back += 1,
            Err(error) => {
                tracing::debug!(%error, "a transaction of the trial has failed");
                written.failed += 1;
                sleep(Duration::from_millis(random.u64(1..20))).await;
            }
        }
        sleep(plan.rest.mul_f64(random.f64())).await;
    }
    written
}

async fn pause(random: &mut fastrand::Rng, up_to: u64) {
    sleep(Duration::from_millis(random.u64(1..=up_to))).await;
}

async fn transaction(db: &Db, plan: &Plan, random: &mut fastrand::Rng) -> Result<End, Error> {
    let mut tx = db.begin().await?;
    if random.u8(..16) == 0 {
        sqlx::query("set transaction isolation level repeatable read").execute(&mut *tx).await?;
    }
    if random.u8(..16) == 0 {
        // A transaction id, and with REPEATABLE READ a snapshot, long before anything is written.
        sqlx::query("select pg_current_xact_id()::text").execute(&mut *tx).await?;
        pause(random, 30).await;
    }
    // In order, so that writers wait for each other and never for ever.
    let mut aggregates: Vec<u32> = (0..random.usize(1..=3)).map(|_| random.u32(..plan.aggregates)).collect();
    aggregates.sort_unstable();
    aggregates.dedup();
    let kind = if random.bool() { GIVEN } else { DRAWN };
    if random.u8(..12) == 0 {
        sqlx::query("savepoint s").execute(&mut *tx).await?;
        change(&mut tx, plan, kind, &aggregates, random).await?;
        sqlx::query("rollback to savepoint s").execute(&mut *tx).await?;
    }
    change(&mut tx, plan, kind, &aggregates, random).await?;
    if random.u8(..16) == 0 {
        pause(random, 30).await;
    }
    end(db, tx, random).await
}

/// Bumps the aggregates and appends an event for each new version, by one of the ways there are.
async fn change(
    tx: &mut Transaction<'_, Postgres>,
    plan: &Plan,
    kind: &str,
    aggregates: &[u32],
    random: &mut fastrand::Rng,
) -> Result<(), Error> {
    let mut events = Vec::new();
    for aggregate in aggregates {
        let id = format!("t-{aggregate}");
        let version: i64 =
            sqlx::query_scalar(include_str!("bump_version.sql")).bind(kind).bind(&id).fetch_one(&mut **tx).await?;
        let event_type = format!("trial.changed.v{}", version % i64::from(plan.event_types.max(1)) + 1);
        let event = NewEvent::new(kind, id, event_type, json!({"version": version}));
        events.push(if kind == GIVEN { event.with_sequence(version) } else { event });
    }
    match random.u8(..4) {
        0 if kind == DRAWN => insert(tx, &events).await?,
        1 => call(tx, &events).await?,
        // The database's clock dates what comes without a time; the library's callers bring their own.
        _ => {
            let now = Timestamp::from_millis(millis(tx).await?);
            append_many(tx, &events, now).await?;
        }
    }
    Ok(())
}

async fn millis(tx: &mut Transaction<'_, Postgres>) -> Result<i64, Error> {
    let sql = "select (date_part('epoch', clock_timestamp()) * 1000)::bigint";
    Ok(sqlx::query_scalar(sql).fetch_one(&mut **tx).await?)
}

/// A plain INSERT of the user's six columns.
async fn insert(tx: &mut Transaction<'_, Postgres>, events: &[NewEvent]) -> Result<(), Error> {
    for event in events {
        sqlx::query(
            "insert into outbox (aggregate_id, aggregate_type, event_type, payload, created_at, published_at)
             values ($1, $2, $3, $4::json, now(), null)",
        )
        .bind(&event.aggregate_id)
        .bind(&event.aggregate_type)
        .bind(&event.event_type)
        .bind(event.payload.to_string())
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// The SQL function for many events.
async fn call(tx: &mut Transaction<'_, Postgres>, events: &[NewEvent]) -> Result<(), Error> {
    let events: Vec<_> = events
        .iter()
        .map(|event| {
            json!({
                "aggregate_type": event.aggregate_type, "aggregate_id": event.aggregate_id,
                "event_type": event.event_type, "payload": event.payload, "sequence": event.sequence,
            })
        })
        .collect();
    sqlx::query("select outbox_append_many($1::jsonb)").bind(json!(events).to_string()).execute(&mut **tx).await?;
    Ok(())
}

async fn end(db: &Db, mut tx: Transaction<'_, Postgres>, random: &mut fastrand::Rng) -> Result<End, Error> {
    match random.u8(..32) {
        0..4 => {
            tx.rollback().await?;
            Ok(End::RolledBack)
        }
        4 => {
            let name = format!("trial-{:016x}", random.u64(..));
            // Safe: the name is ours.
            let prepared = sqlx::query(AssertSqlSafe(format!("prepare transaction '{name}'"))).execute(&mut *tx).await;
            // The connection is out of the transaction, which now belongs to nobody, also where the answer was lost.
            tx.rollback().await.ok();
            pause(random, 40).await;
            let rolled_back = prepared.is_err() || random.u8(..4) == 0;
            let (word, end) = if rolled_back { ("rollback", End::RolledBack) } else { ("commit", End::Committed) };
            // Safe: as above.
            let sql = format!("{word} prepared '{name}'");
            while let Err(error) = sqlx::query(AssertSqlSafe(sql.clone())).execute(db.pool()).await {
                // It holds locks until somebody ends it, also over a restart of the server.
                if error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("42704")) {
                    break;
                }
                pause(random, 100).await;
            }
            Ok(end)
        }
        _ => {
            tx.commit().await?;
            Ok(End::Committed)
        }
    }
}
