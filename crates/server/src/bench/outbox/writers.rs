//! What an event costs the transaction that writes it: commits a second of writers that bump a version, alone and with an
//! event, in the several ways of writing one.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::{Postgres, Transaction};
use steadfast_core::{Clock, NewEvent};
use steadfast_db::migrate;
use steadfast_db::postgres::Db;
use steadfast_host::clock::System;
use steadfast_outbox::{LINE, append};

use super::Arguments;
use crate::bench::beside::{metered, sql_line};
use crate::bench::load::{Run, Work, median};
use crate::bench::report::Line;
use crate::bench::store::Scratch;

const THINGS: i32 = 2_000;
const EVENT: &str = "bench.changed.v1";

/// What is written beside the change.
#[derive(Clone, Copy, Debug)]
enum Event {
    Nothing,
    /// A row in a table that keeps no order.
    Unordered,
    /// The library's `append`.
    Append,
    /// A plain INSERT of the user's columns.
    Insert,
}

const EVENTS: [Event; 4] = [Event::Nothing, Event::Unordered, Event::Append, Event::Insert];

struct Writer {
    db: Db,
    event: Event,
    random: fastrand::Rng,
    text: String,
}

impl Work for Writer {
    async fn once(&mut self) -> Result<()> {
        let id = self.random.i32(..THINGS);
        let mut tx = self.db.begin().await?;
        let update = sqlx::query("update thing set version = version + 1 where id = $1");
        update.bind(id).execute(&mut *tx).await?;
        self.write(&mut tx, id).await?;
        tx.commit().await.context("a commit")
    }
}

impl Writer {
    async fn write(&self, tx: &mut Transaction<'_, Postgres>, id: i32) -> Result<()> {
        const COLUMNS: &str = "(aggregate_id, aggregate_type, event_type, payload, created_at)
                               values ($1, 'bench', $2, $3::json, now())";
        let (id, payload) = (format!("t-{id}"), json!({ "text": self.text }));
        let table = match self.event {
            Event::Nothing => return Ok(()),
            Event::Append => {
                append(tx, &NewEvent::new("bench", id, EVENT, payload), System.now()).await?;
                return Ok(());
            }
            Event::Unordered => "unordered",
            Event::Insert => "outbox",
        };
        let insert = sqlx::AssertSqlSafe(format!("insert into {table} {COLUMNS}"));
        sqlx::query(insert).bind(id).bind(EVENT).bind(payload.to_string()).execute(&mut **tx).await?;
        Ok(())
    }
}

pub(super) async fn measure(arguments: &Arguments, length: Duration) -> Result<Vec<Line>> {
    let scratch = Scratch::create(&arguments.servers.postgres).await?;
    let outcome = measure_in(&scratch, arguments, length).await;
    scratch.drop().await?;
    outcome
}

async fn measure_in(scratch: &Scratch, arguments: &Arguments, length: Duration) -> Result<Vec<Line>> {
    migrate(&scratch.db, &LINE).await?;
    sqlx::raw_sql(include_str!("make_tables.sql")).execute(scratch.db.pool()).await?;
    let mut runs: [Vec<Run>; 4] = Default::default();
    for round in 0..=arguments.pace.rounds {
        for (event, runs) in EVENTS.into_iter().zip(&mut runs) {
            let run = write(scratch, event, arguments.writers, length).await?;
            // The first round warms connections, plans and pages.
            if round > 0 {
                runs.push(run);
            }
        }
    }
    let [nothing, unordered, append, insert] = runs.map(median);
    let (nothing, unordered) = (nothing?, unordered?.per_s);
    let line = |way: &str, run: &Run| {
        let setting = format!("commits of {} writers, {way}", arguments.writers);
        let mut line = sql_line("outbox", setting, run, &nothing);
        line.more.insert("unordered_per_s", unordered);
        line
    };
    Ok(vec![line("append", &append?), line("plain INSERT", &insert?)])
}

async fn write(scratch: &Scratch, event: Event, writers: u32, length: Duration) -> Result<Run> {
    let writers = (0..writers)
        .map(|writer| Writer {
            db: scratch.db.clone(),
            event,
            random: fastrand::Rng::with_seed(u64::from(writer)),
            text: "x".repeat(189),
        })
        .collect();
    metered(scratch, writers, length).await
}
