//! A simple read model: totals by aggregate. Its projection and whoever writes it by hand share the statement.

use std::collections::BTreeMap;
use std::sync::Mutex;

use anyhow::Result;
use async_trait::async_trait;
use serde_json::json;
use sqlx::{Postgres, Transaction};
use steadfast_core::{Clock, Event, EventId};
use steadfast_db::postgres::Db;
use steadfast_host::clock::System;
use steadfast_projection::{BoxError, Projection, Subscription};

const TABLE: &str = "create table bench_total (
    id text primary key, total bigint not null, events bigint not null, last bigint not null
) with (fillfactor = 70)";

/// Makes the read model.
pub(super) async fn make_table(db: &Db) -> Result<()> {
    sqlx::query(TABLE).execute(db.pool()).await?;
    Ok(())
}

/// How many events the read model has taken.
pub(super) async fn counted(db: &Db) -> Result<i64> {
    let sql = "select coalesce(sum(events), 0)::bigint from bench_total";
    Ok(sqlx::query_scalar(sql).fetch_one(db.pool()).await?)
}

/// So many events of 200 bytes, in turn of so many aggregates.
pub(super) fn events(topic: &str, amount: u32, aggregates: u32) -> impl Iterator<Item = Event> {
    let now = System.now();
    let payload = json!({"amount": 12, "currency": "GBP", "note": "x".repeat(160)});
    (0..amount).map(move |n| Event {
        event_id: EventId::from_parts(now, std::array::from_fn(|_| fastrand::u8(..))),
        aggregate_type: "bench".to_owned(),
        aggregate_id: format!("b-{}", n % aggregates),
        event_type: topic.to_owned(),
        sequence: i64::from(n / aggregates) + 1,
        payload: payload.clone(),
        created_at: now,
        saga: None,
        traceparent: None,
    })
}

/// Folds a batch in memory and writes it by one statement.
pub(super) async fn upsert(tx: &mut Transaction<'static, Postgres>, events: &[Event]) -> Result<(), BoxError> {
    let mut totals: BTreeMap<&str, (i64, i64, i64)> = BTreeMap::new();
    for event in events {
        let total = totals.entry(&event.aggregate_id).or_default();
        total.0 += event.payload["amount"].as_i64().ok_or("there is no amount")?;
        total.1 += 1;
        total.2 = event.sequence;
    }
    let (mut ids, mut sums, mut counts, mut lasts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, (sum, count, last)) in totals {
        ids.push(id);
        sums.push(sum);
        counts.push(count);
        lasts.push(last);
    }
    let upsert = sqlx::query(include_str!("upsert_totals.sql")).bind(ids).bind(sums).bind(counts).bind(lasts);
    upsert.execute(&mut **tx).await?;
    Ok(())
}

/// The projection. It tells which events it was given, to be read once their batch has committed.
#[derive(Debug, Default)]
pub(super) struct Totals {
    given: Mutex<Vec<EventId>>,
}

impl Totals {
    /// The events that were given since this was last asked.
    pub(super) fn given(&self) -> Vec<EventId> {
        self.given.lock().map(|mut given| std::mem::take(&mut *given)).unwrap_or_default()
    }
}

#[async_trait]
impl Projection<Postgres> for Totals {
    fn name(&self) -> &'static str {
        "bench_total"
    }

    fn subscribes(&self) -> Subscription {
        Subscription::aggregates(["bench"])
    }

    async fn apply(&self, tx: &mut Transaction<'static, Postgres>, events: &[Event]) -> Result<(), BoxError> {
        upsert(tx, events).await?;
        if let Ok(mut given) = self.given.lock() {
            given.extend(events.iter().map(|event| event.event_id));
        }
        Ok(())
    }
}
