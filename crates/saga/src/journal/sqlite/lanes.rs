//! The one lane, the queue and the commands.

use std::time::Duration;

use sqlx::Row as _;
use steadfast_core::{SagaId, Timestamp, hex};
use steadfast_db::Db;

use super::append::fence;
use super::rows::{head, json_rows, saga};
use crate::Error;
use crate::journal::{Attend, Attendance, Command, Head, Lane, Row};

/// The lane of the one process that can open the folder.
const LANE: i64 = 1;
/// How many commands are heard at once.
const COMMANDS: i64 = 100;
/// After this long nobody waits for the answer to a command.
const COMMAND_AGE: Duration = Duration::from_hours(1);

pub(super) async fn take(db: &Db, now: Timestamp) -> Result<Lane, Error> {
    let mut tx = db.begin().await?;
    let epoch =
        sqlx::query_scalar(include_str!("bump_epoch.sql")).bind(LANE).bind(now.as_millis()).fetch_one(&mut *tx).await?;
    tx.commit().await?;
    Ok(Lane { id: LANE, epoch })
}

/// Whoever asks is the one process: it leads, and no lane is another's.
pub(super) async fn attend(db: &Db, attend: Attend<'_>) -> Result<Attendance, Error> {
    let lanes = json_rows(attend.lanes, |out, lane| {
        use std::fmt::Write as _;
        let _ = write!(out, "{},{}", lane.id, lane.epoch);
    });
    let row = sqlx::query(include_str!("attend.sql")).bind(lanes).bind(attend.count).fetch_one(db.readers()).await?;
    let held: &str = row.try_get("held")?;
    let held = serde_json::from_str(held).map_err(|_| Error::Corrupt("the numbers of lanes".to_owned()))?;
    Ok(Attendance {
        held,
        lapsed: Vec::new(),
        commands: if row.try_get("commands")? { commands(db).await? } else { Vec::new() },
        queued: row.try_get("queued")?,
        definitions: row.try_get("definitions")?,
        leader: attend.stand,
    })
}

async fn commands(db: &Db) -> Result<Vec<Command>, Error> {
    let rows = sqlx::query(include_str!("read_commands.sql")).bind(COMMANDS).fetch_all(db.readers()).await?;
    let command = |row: &sqlx::sqlite::SqliteRow| {
        let id: &[u8] = row.try_get("saga")?;
        let no = row.try_get("no")?;
        let saga = SagaId::from_slice(id).ok_or_else(|| Error::Corrupt(format!("command {no}: its saga")))?;
        Ok(Command { no, saga, text: row.try_get("text")? })
    };
    rows.iter().map(command).collect()
}

pub(super) async fn claim(db: &Db, lane: Lane, limit: u32) -> Result<Vec<Row>, Error> {
    let mut tx = db.begin().await?;
    match fence(&mut tx, lane).await {
        Err(Error::Fenced { .. }) => return Ok(Vec::new()),
        other => other?,
    }
    let rows = sqlx::query(include_str!("claim_sagas.sql")).bind(lane.id).bind(limit).fetch_all(&mut *tx).await?;
    tx.commit().await?;
    let mut claimed = rows.iter().map(saga).collect::<Result<Vec<_>, _>>()?;
    claimed.sort_unstable_by_key(|row| row.no);
    Ok(claimed)
}

pub(super) async fn adopt(db: &Db, lane: Lane, id: SagaId) -> Result<Option<Row>, Error> {
    let mut tx = db.begin().await?;
    match fence(&mut tx, lane).await {
        Err(Error::Fenced { .. }) => return Ok(None),
        other => other?,
    }
    let row = sqlx::query(include_str!("adopt_saga.sql"))
        .bind(lane.id)
        .bind(id.as_bytes().as_slice())
        .fetch_optional(&mut *tx)
        .await?;
    tx.commit().await?;
    row.as_ref().map(saga).transpose()
}

pub(super) async fn send_command(db: &Db, id: SagaId, text: &str, now: Timestamp) -> Result<i64, Error> {
    let mut tx = db.begin().await?;
    let no = sqlx::query_scalar(include_str!("insert_command.sql"))
        .bind(id.as_bytes().as_slice())
        .bind(text)
        .bind(now.as_millis())
        .fetch_one(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(no)
}

pub(super) async fn answer_command(db: &Db, no: i64, answer: &str) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    sqlx::query(include_str!("answer_command.sql")).bind(no).bind(answer).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn forget_command(db: &Db, no: i64) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    sqlx::query(include_str!("delete_command.sql")).bind(no).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn forget_old_commands(db: &Db, now: Timestamp) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    let before = (now - COMMAND_AGE).as_millis();
    sqlx::query(include_str!("delete_old_commands.sql")).bind(before).execute(&mut *tx).await?;
    Ok(tx.commit().await?)
}

pub(super) async fn standings(db: &Db, ids: &[SagaId]) -> Result<Vec<Option<Head>>, Error> {
    let keys: Vec<_> = ids.iter().map(|id| hex(id.as_bytes())).collect();
    let keys = serde_json::to_string(&keys).unwrap_or_default();
    let mut standings = vec![None; ids.len()];
    for row in sqlx::query(include_str!("read_standings.sql")).bind(keys).fetch_all(db.readers()).await? {
        let place: i64 = row.try_get("place")?;
        if let Some(standing) = usize::try_from(place).ok().and_then(|place| standings.get_mut(place)) {
            *standing = Some(head(&row)?);
        }
    }
    Ok(standings)
}
