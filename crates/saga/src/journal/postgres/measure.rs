//! What an append costs here:
//! `cargo test --release -p steadfast-saga --all-features postgres::measure -- --ignored --nocapture`

use std::io::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::tests::{World, batch, ended, more, number, start};
use crate::journal::{Append, Journal as _};
use crate::machine::Status;

const TIME: Duration = Duration::from_secs(3);

async fn scalar(world: &World, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(world.db.pool()).await.unwrap()
}

/// Rows a second, and what a saga of two rows costs: half of each commit's rows start one, the others end one.
async fn measure(rows: usize) {
    let world = World::new().await;
    world.journal.tend(super::tests::NOON).await.unwrap();
    let lane = world.take("n").await;
    let mut open: Vec<(String, i64)> = Vec::new();
    let (mut sagas, mut commits, mut written) = (0_u32, 0_u32, 0_u32);
    let wal = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";
    let (mut before, mut began) = (scalar(&world, wal).await, Instant::now());
    let warm = Instant::now() + Duration::from_secs(1);
    let mut warming = true;
    while began.elapsed() < TIME {
        if warming && Instant::now() > warm {
            warming = false;
            (sagas, commits, written) = (0, 0, 0);
            before = scalar(&world, wal).await;
            began = Instant::now();
        }
        let ends = if rows == 1 { usize::from(!open.is_empty()) } else { open.len().min(rows / 2) };
        let mut parts: Vec<Append> = Vec::with_capacity(rows);
        for (key, no) in open.drain(..ends) {
            parts.push(more(&key, no, 2, ended(Status::Completed)));
        }
        let mut keys = Vec::new();
        for index in 0..rows - ends {
            let key = format!("{rows}-{commits}-{index}-{warming}");
            parts.push(start(&key));
            keys.push(key);
        }
        let outcomes = world.journal.append(&batch(lane, parts)).await.unwrap();
        for (key, outcome) in keys.into_iter().zip(&outcomes[ends..]) {
            open.push((key, number(*outcome)));
            sagas += 1;
        }
        commits += 1;
        written += u32::try_from(rows).unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    let wal = scalar(&world, wal).await - before;
    let mut out = std::io::stderr();
    let (rate, bytes) =
        (f64::from(written) / seconds, f64::from(u32::try_from(wal).unwrap_or(u32::MAX)) / f64::from(sagas));
    writeln!(out, "{rows:>4} rows a commit: {rate:>8.0} rows/s, {bytes:>6.0} bytes of WAL a saga, {commits} commits")
        .unwrap();
}

#[tokio::test]
#[ignore = "a measurement: it takes seconds and asserts nothing"]
async fn rows_a_second() {
    for rows in [1, 32, 128] {
        measure(rows).await;
    }
}
