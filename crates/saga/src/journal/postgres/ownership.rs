//! Lanes, leases, the queue and commands. Each is one autocommitted statement.

use std::time::Duration;

use serde::Deserialize;
use sqlx::{PgPool, Row as _};
use steadfast_core::{SagaId, Timestamp};

use super::rows::{kept, saga, sql};
use crate::Error;
use crate::journal::{Attend, Attendance, Command, Hold, Lane, Lapsed, Row};

/// How many lapsed lanes, and how many commands, are heard at once.
const HEARD: i64 = 100;
/// After this long nobody waits for the answer to a command.
const COMMAND_AGE: Duration = Duration::from_hours(1);
/// Partitions are made for yesterday, which another node's clock may still have, and for these days in all.
const PARTITIONS: i32 = 5;

#[derive(Deserialize)]
struct Gone(i64, i64, u64, bool);

#[derive(Deserialize)]
struct Sent(i64, SagaId, String);

fn lease(hold: Hold<'_>) -> f64 {
    hold.lease.as_secs_f64() * 1_000.0
}

fn split(lanes: &[Lane]) -> (Vec<i64>, Vec<i64>) {
    lanes.iter().map(|lane| (lane.id, lane.epoch)).unzip()
}

pub(super) async fn take(pool: &PgPool, hold: Hold<'_>) -> Result<Lane, Error> {
    let query = sqlx::query_as(include_str!("take_lane.sql")).bind(hold.node).bind(lease(hold));
    let (id, epoch) = query.fetch_one(pool).await.map_err(sql)?;
    Ok(Lane { id, epoch })
}

pub(super) async fn take_over(pool: &PgPool, seen: Lane, hold: Hold<'_>) -> Result<Option<Lane>, Error> {
    let query = sqlx::query_as(include_str!("take_over.sql")).bind(seen.id).bind(seen.epoch).bind(hold.node);
    let taken: Option<(i64, i64)> = query.bind(lease(hold)).fetch_optional(pool).await.map_err(sql)?;
    Ok(taken.map(|(id, epoch)| Lane { id, epoch }))
}

pub(super) async fn release(pool: &PgPool, lanes: &[Lane]) -> Result<(), Error> {
    let (ids, epochs) = split(lanes);
    sqlx::query(include_str!("release_lanes.sql")).bind(ids).bind(epochs).execute(pool).await.map_err(sql)?;
    Ok(())
}

pub(super) async fn attend(pool: &PgPool, attend: Attend<'_>) -> Result<Attendance, Error> {
    let (ids, epochs) = split(attend.lanes);
    let row = sqlx::query(include_str!("attend.sql"))
        .bind(ids)
        .bind(epochs)
        .bind(attend.hold.node)
        .bind(lease(attend.hold))
        .bind(attend.renew)
        .bind(attend.stand)
        .bind(HEARD)
        .bind(i64::from(attend.count))
        .fetch_one(pool)
        .await
        .map_err(sql)?;
    let queued: i64 = row.try_get("queued")?;
    Ok(Attendance {
        held: row.try_get::<Option<_>, _>("held")?.unwrap_or_default(),
        lapsed: list(row.try_get("lapsed")?)?.into_iter().map(lapsed).collect(),
        commands: list(row.try_get("commands")?)?.into_iter().map(command).collect(),
        queued: u32::try_from(queued).unwrap_or(u32::MAX),
        definitions: row.try_get("definitions")?,
        leader: row.try_get("leader")?,
    })
}

fn list<T: for<'de> Deserialize<'de>>(text: Option<&str>) -> Result<Vec<T>, Error> {
    let read = text.map(serde_json::from_str).transpose();
    Ok(read.map_err(|error| Error::Corrupt(format!("what a tick has heard: {error}")))?.unwrap_or_default())
}

fn lapsed(Gone(id, epoch, millis, released): Gone) -> Lapsed {
    Lapsed { lane: Lane { id, epoch }, since: Duration::from_millis(millis), released }
}

fn command(Sent(no, saga, text): Sent) -> Command {
    Command { no, saga, text }
}

pub(super) async fn claim(pool: &PgPool, lane: Lane, limit: u32) -> Result<Vec<Row>, Error> {
    let query = sqlx::query(include_str!("claim_sagas.sql")).bind(lane.id).bind(lane.epoch).bind(i64::from(limit));
    let rows = query.fetch_all(pool).await.map_err(sql)?;
    let mut claimed = rows.iter().map(saga).collect::<Result<Vec<_>, _>>()?;
    claimed.sort_unstable_by_key(|row| row.no);
    Ok(claimed)
}

pub(super) async fn adopt(pool: &PgPool, lane: Lane, id: SagaId) -> Result<Option<Row>, Error> {
    let query = sqlx::query(include_str!("adopt_saga.sql")).bind(lane.id).bind(lane.epoch).bind(id.to_string());
    query.fetch_optional(pool).await.map_err(sql)?.as_ref().map(saga).transpose()
}

pub(super) async fn send_command(pool: &PgPool, id: SagaId, text: &str, now: Timestamp) -> Result<i64, Error> {
    let query = sqlx::query_scalar(include_str!("insert_command.sql")).bind(id.to_string()).bind(now.as_millis());
    query.bind(kept(text)).fetch_one(pool).await.map_err(sql)
}

pub(super) async fn answer_command(pool: &PgPool, no: i64, answer: &str) -> Result<(), Error> {
    let query = sqlx::query(include_str!("answer_command.sql")).bind(no).bind(kept(answer));
    query.execute(pool).await.map_err(sql)?;
    Ok(())
}

pub(super) async fn command_answer(pool: &PgPool, no: i64) -> Result<Option<String>, Error> {
    let query = sqlx::query_scalar(include_str!("read_answer.sql")).bind(no);
    let answer: Option<Option<String>> = query.fetch_optional(pool).await.map_err(sql)?;
    Ok(answer.flatten())
}

pub(super) async fn forget_command(pool: &PgPool, no: i64) -> Result<(), Error> {
    sqlx::query(include_str!("delete_command.sql")).bind(no).execute(pool).await.map_err(sql)?;
    Ok(())
}

pub(super) async fn tend(pool: &PgPool, now: Timestamp) -> Result<(), Error> {
    let before = (now - COMMAND_AGE).as_millis();
    sqlx::query(include_str!("delete_old_commands.sql")).bind(before).execute(pool).await.map_err(sql)?;
    let yesterday = super::rows::int(now.day() - 1);
    let query = sqlx::query(include_str!("make_partitions.sql")).bind(yesterday).bind(PARTITIONS);
    query.execute(pool).await.map_err(sql)?;
    Ok(())
}

/// Wakes the other nodes. They look by themselves soon, so that a hint that fails fails nothing.
pub(super) async fn notify(pool: &PgPool) {
    if let Err(error) = sqlx::query(include_str!("notify.sql")).execute(pool).await {
        tracing::debug!(%error, "other nodes could not be woken");
    }
}
