//! The journal in SQLite: one transaction per commit on the one writer, a handful of statements whatever the number of
//! sagas, each over one JSON array (`json_each`).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use steadfast_core::{NewEvent, SagaId, Timestamp, hex, problem};
use steadfast_db::tx::Tx;
use steadfast_db::{Db, EventSink, Line, Migration, migrate};

use super::{
    Append, Appended, Batch, Commit, Erased, Filter, Head, History, Journal, Lane, Put, Row, Stored, Target,
    is_unsettled, status_from,
};
use crate::Error;
use crate::machine::Status;

/// The migrations of the orchestrator's own tables.
pub const LINE: Line = Line {
    name: "saga",
    sqlite: &[
        Migration { version: 1, name: "saga", sql: include_str!("../../migrations/coordinator/sqlite/0001_saga.sql") },
        Migration {
            version: 2,
            name: "saga_key",
            sql: include_str!("../../migrations/coordinator/sqlite/0002_saga_key.sql"),
        },
    ],
};

/// How long the emptying of the log waits for those who read it.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

/// A journal in a SQLite database.
#[derive(Clone, Debug)]
pub struct Sqlite {
    db: Db,
    sink: Option<Arc<dyn EventSink<sqlx::Sqlite>>>,
}

impl Sqlite {
    /// A journal in this database, whose tables are created where they are missing. `sink` takes the sagas' own events,
    /// in the transaction of the entries that they report.
    pub async fn open(db: Db, sink: Option<Arc<dyn EventSink<sqlx::Sqlite>>>) -> Result<Self, Error> {
        migrate(&db, &LINE).await?;
        // What is deleted or moved within pages is overwritten, so that an erased key leaves no copy in free space. As a
        // property of the one writer it is set once; it costs no further page.
        let mut tx = db.begin().await?;
        sqlx::query(include_str!("sqlite/overwrite_deleted.sql")).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(Self { db, sink })
    }

    /// Empties the log: it may hold pages with what was erased since. By a connection of its own, because the writer is
    /// handed out within transactions only.
    async fn empty_log(&self) -> Result<(), Error> {
        let mut connection =
            SqliteConnectOptions::new().filename(self.db.path()).busy_timeout(LOG_PATIENCE).connect().await?;
        let busy: i64 = sqlx::query_scalar(include_str!("sqlite/empty_log.sql")).fetch_one(&mut connection).await?;
        connection.close().await?;
        if busy == 0 {
            return Ok(());
        }
        let detail = "the key is erased, but others still read the log that holds a copy of it: ask again in a moment";
        Err(problem::UNAVAILABLE.with(detail).retry_after(1).into())
    }

    /// Which rows of a batch stand already, after an attempt whose outcome is unknown.
    async fn standing(&self, tx: &mut Tx, batch: &Batch) -> Result<Vec<Place>, Error> {
        let mut standing = Vec::with_capacity(batch.rows.len());
        for row in &batch.rows {
            let found = sqlx::query(include_str!("sqlite/read_own_entries.sql"))
                .bind(row.target.id().as_bytes().as_slice())
                .bind(row.seq)
                .fetch_optional(&mut **tx)
                .await?;
            let Some(found) = found else {
                standing.push(Place::Open);
                continue;
            };
            let same = found.try_get::<i64, _>("epoch")? == batch.lane.epoch
                && same_json(found.try_get("entries")?, &row.entries);
            standing.push(match (&row.target, same) {
                (Target::New(_), true) => Place::Stands(Appended::Started(found.try_get("no")?)),
                (Target::New(_), false) => Place::Stands(Appended::Known),
                (Target::Known { .. }, true) => Place::Stands(Appended::Written),
                (Target::Known { id, .. }, false) => {
                    return Err(Error::Corrupt(format!(
                        "saga {id}: row {} of its journal is not the one we wrote",
                        row.seq
                    )));
                }
            });
        }
        Ok(standing)
    }
}

/// How far a row of a batch has come.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Nothing of it is written.
    Open,
    /// The start was inserted under this number; its entries are to be written.
    Inserted(i64),
    /// All of it stands, or nothing of it is to be written.
    Stands(Appended),
}

impl Place {
    fn outcome(self) -> Appended {
        match self {
            Self::Open => Appended::Written,
            Self::Inserted(no) => Appended::Started(no),
            Self::Stands(outcome) => outcome,
        }
    }

    /// The saga's number, where its entries are to be written.
    fn number(self, row: &Append) -> Option<i64> {
        match (self, &row.target) {
            (Self::Inserted(no), _) => Some(no),
            (Self::Open, Target::Known { no, .. }) => Some(*no),
            _ => None,
        }
    }
}

/// The database keeps the text minified; ours may not be.
fn same_json(stored: &str, ours: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    stored == ours || parse(stored).is_some_and(|stored| Some(stored) == parse(ours))
}

#[async_trait]
impl Journal for Sqlite {
    async fn take_lane(&self, lane: i64, now: Timestamp) -> Result<Lane, Error> {
        let mut tx = self.db.begin().await?;
        let epoch = sqlx::query_scalar(include_str!("sqlite/bump_epoch.sql"))
            .bind(lane)
            .bind(now.as_millis())
            .fetch_one(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Lane { id: lane, epoch })
    }

    async fn append(&self, batch: &Batch) -> Result<Vec<Appended>, Error> {
        if batch.rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.db.begin().await?;
        fence(&mut tx, batch.lane).await?;
        let mut places =
            if batch.again { self.standing(&mut tx, batch).await? } else { vec![Place::Open; batch.rows.len()] };
        insert_sagas(&mut tx, batch, &mut places).await?;
        insert_entries(&mut tx, batch, &places).await?;
        update_sagas(&mut tx, batch, &places).await?;
        if let Some(sink) = &self.sink {
            let events = events(batch, &places);
            if !events.is_empty() {
                sink.append_many(&mut tx, &events, batch.at).await.map_err(Error::Sink)?;
            }
        }
        tx.commit().await?;
        Ok(places.into_iter().map(Place::outcome).collect())
    }

    async fn unsettled(&self, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error> {
        let rows = sqlx::query(include_str!("sqlite/read_unsettled.sql"))
            .bind(lane)
            .bind(after)
            .bind(limit)
            .fetch_all(self.db.readers())
            .await?;
        rows.iter().map(saga).collect()
    }

    async fn histories(&self, rows: &[Row]) -> Result<Vec<Option<History>>, Error> {
        let keys = json_rows(rows, |out, row| {
            let _ = write!(out, "{},{}", row.started_at.day(), row.no);
        });
        let mut found: HashMap<i64, History> = HashMap::with_capacity(rows.len());
        // Both within one snapshot is not needed: a payload never changes, and the reader of a saga that is being
        // written sees a prefix of its journal.
        for row in
            sqlx::query(include_str!("sqlite/read_payloads.sql")).bind(&keys).fetch_all(self.db.readers()).await?
        {
            let history = History {
                input: row.try_get("input")?,
                context: row.try_get("context")?,
                key: row.try_get("wrapped")?,
                commits: Vec::new(),
            };
            found.insert(row.try_get("saga_no")?, history);
        }
        for row in sqlx::query(include_str!("sqlite/read_entries.sql")).bind(&keys).fetch_all(self.db.readers()).await?
        {
            if let Some(history) = found.get_mut(&row.try_get::<i64, _>("saga_no")?) {
                history.commits.push(Commit {
                    seq: row.try_get("seq")?,
                    epoch: row.try_get("epoch")?,
                    at: Timestamp::from_millis(row.try_get("at")?),
                    entries: row.try_get("entries")?,
                });
            }
        }
        Ok(rows.iter().map(|row| found.remove(&row.no).filter(|history| !history.commits.is_empty())).collect())
    }

    async fn erase_key(&self, id: SagaId) -> Result<Erased, Error> {
        let mut tx = self.db.begin().await?;
        sqlx::query(include_str!("sqlite/overwrite_freed.sql")).execute(&mut *tx).await?;
        let erased = sqlx::query(include_str!("sqlite/delete_key.sql"))
            .bind(id.as_bytes().as_slice())
            .execute(&mut *tx)
            .await?
            .rows_affected();
        sqlx::query(include_str!("sqlite/overwrite_deleted.sql")).execute(&mut *tx).await?;
        let status: Option<String> = sqlx::query_scalar(include_str!("sqlite/read_status.sql"))
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&mut *tx)
            .await?;
        tx.commit().await?;
        if status.and_then(|status| status_from(&status)).is_some_and(is_unsettled) {
            return Ok(Erased::Unsettled);
        }
        // Also where nothing was left to delete: the one before may have ended between the two.
        self.empty_log().await?;
        Ok(if erased == 0 { Erased::Absent } else { Erased::Erased })
    }

    async fn find(&self, id: SagaId) -> Result<Option<Row>, Error> {
        let row = sqlx::query(include_str!("sqlite/find_saga.sql"))
            .bind(id.as_bytes().as_slice())
            .fetch_optional(self.db.readers())
            .await?;
        row.as_ref().map(saga).transpose()
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, Error> {
        let sql = match filter {
            Filter { business_key: Some(_), .. } => include_str!("sqlite/list_sagas_by_key.sql"),
            Filter { status: Some(Status::Failed), .. } => include_str!("sqlite/list_parked_sagas.sql"),
            Filter { status: Some(status), .. } if is_unsettled(*status) => {
                include_str!("sqlite/list_unsettled_sagas.sql")
            }
            _ => include_str!("sqlite/list_sagas.sql"),
        };
        let rows = sqlx::query(sql)
            .bind(filter.before.unwrap_or(i64::MAX))
            .bind(&filter.definition)
            .bind(filter.status.map(Status::as_str))
            .bind(&filter.business_key)
            .bind(filter.since.map(Timestamp::as_millis))
            .bind(filter.limit)
            .fetch_all(self.db.readers())
            .await?;
        rows.iter().map(saga).collect()
    }

    async fn count_parked(&self) -> Result<i64, Error> {
        Ok(sqlx::query_scalar(include_str!("sqlite/count_parked.sql")).fetch_one(self.db.readers()).await?)
    }

    async fn count_unarmed(&self) -> Result<i64, Error> {
        Ok(sqlx::query_scalar(include_str!("sqlite/count_unarmed.sql")).fetch_one(self.db.readers()).await?)
    }

    async fn put_definition(&self, stored: &Stored) -> Result<Put, Error> {
        let mut tx = self.db.begin().await?;
        let inserted = sqlx::query(include_str!("sqlite/insert_definition.sql"))
            .bind(&stored.name)
            .bind(stored.version)
            .bind(stored.hash.as_slice())
            .bind(&stored.source)
            .bind(&stored.schema)
            .bind(stored.uploaded_at.as_millis())
            .bind(&stored.uploaded_by)
            .execute(&mut *tx)
            .await?;
        if inserted.rows_affected() == 1 {
            tx.commit().await?;
            return Ok(Put::Added);
        }
        let hash: Vec<u8> = sqlx::query_scalar(include_str!("sqlite/read_definition_hash.sql"))
            .bind(&stored.name)
            .bind(stored.version)
            .fetch_one(&mut *tx)
            .await?;
        Ok(if hash == stored.hash { Put::Same } else { Put::Differs })
    }

    async fn definitions(&self) -> Result<Vec<Stored>, Error> {
        let rows = sqlx::query(include_str!("sqlite/read_definitions.sql")).fetch_all(self.db.readers()).await?;
        rows.iter()
            .map(|row| {
                let name: String = row.try_get("name")?;
                let hash: Vec<u8> = row.try_get("hash")?;
                let hash = hash.try_into().map_err(|_| Error::Corrupt(format!("definition {name}: its hash")))?;
                Ok(Stored {
                    name,
                    version: row.try_get("version")?,
                    hash,
                    source: row.try_get("source")?,
                    schema: row.try_get("schema")?,
                    uploaded_at: Timestamp::from_millis(row.try_get("uploaded_at")?),
                    uploaded_by: row.try_get("uploaded_by")?,
                })
            })
            .collect()
    }
}

async fn fence(tx: &mut Tx, lane: Lane) -> Result<(), Error> {
    let found: Option<i64> =
        sqlx::query_scalar(include_str!("sqlite/read_epoch.sql")).bind(lane.id).fetch_optional(&mut **tx).await?;
    if found == Some(lane.epoch) {
        return Ok(());
    }
    Err(Error::Fenced { lane: lane.id, held: lane.epoch, found: found.unwrap_or(0) })
}

/// Starts, and what they were started with. A known saga costs its own row only.
async fn insert_sagas(tx: &mut Tx, batch: &Batch, places: &mut [Place]) -> Result<(), Error> {
    let mut waiting = HashMap::new();
    let mut starts = Vec::new();
    for (index, (row, place)) in batch.rows.iter().zip(places.iter_mut()).enumerate() {
        if let (Target::New(new), Place::Open) = (&row.target, *place) {
            *place = Place::Stands(Appended::Known);
            // The same saga twice in one batch: the first is the start, the second finds it known.
            if waiting.insert(*new.id.as_bytes(), index).is_none() {
                starts.push((new, &row.head));
            }
        }
    }
    if starts.is_empty() {
        return Ok(());
    }
    let rows = json_rows(&starts, |out, (new, head)| {
        let _ = write!(out, "\"{}\",", hex(new.id.as_bytes()));
        text(out, &new.definition);
        let _ = write!(out, ",{},", new.version);
        let _ = write!(out, "\"{}\",{},{},", head.status.as_str(), u8::from(head.held), u8::from(head.overdue));
        number(out, head.wake_at);
        out.push(',');
        optional(out, new.business_key.as_deref());
        out.push(',');
        text(out, &new.principal);
        let _ = write!(out, ",{},", new.started_at.as_millis());
        number(out, head.ended_at);
        out.push(',');
        optional(out, head.cause.as_deref());
    });
    let inserted = sqlx::query(include_str!("sqlite/insert_sagas.sql"))
        .bind(rows)
        .bind(batch.lane.id)
        .fetch_all(&mut **tx)
        .await?;
    for row in &inserted {
        let id: &[u8] = row.try_get("id")?;
        if let Some(&index) = waiting.get(id) {
            places[index] = Place::Inserted(row.try_get("no")?);
        }
    }
    let payloads: Vec<_> = batch
        .rows
        .iter()
        .zip(places.iter())
        .filter_map(|(row, place)| match (&row.target, place) {
            (Target::New(new), Place::Inserted(no)) => Some((*no, new)),
            _ => None,
        })
        .collect();
    if payloads.is_empty() {
        return Ok(());
    }
    let rows = json_rows(&payloads, |out, (no, new)| {
        let _ = write!(out, "{no},{},{}", new.input, new.context);
    });
    sqlx::query(include_str!("sqlite/insert_payloads.sql")).bind(rows).execute(&mut **tx).await?;
    let keys: Vec<_> = payloads.iter().filter_map(|(no, new)| Some((*no, new.key.as_deref()?))).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let rows = json_rows(&keys, |out, (no, key)| {
        let _ = write!(out, "{no},");
        text(out, key);
    });
    sqlx::query(include_str!("sqlite/insert_keys.sql")).bind(rows).execute(&mut **tx).await?;
    Ok(())
}

async fn insert_entries(tx: &mut Tx, batch: &Batch, places: &[Place]) -> Result<(), Error> {
    let rows: Vec<_> =
        batch.rows.iter().zip(places).filter_map(|(row, place)| Some((place.number(row)?, row))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let json = json_rows(&rows, |out, (no, row)| {
        let day = row.target.started_at().day();
        let _ = write!(out, "{day},{no},{},{}", row.seq, row.entries);
    });
    sqlx::query(include_str!("sqlite/insert_entries.sql"))
        .bind(json)
        .bind(batch.lane.epoch)
        .bind(batch.at.as_millis())
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// A start carries its head in the insert; the others are updated.
async fn update_sagas(tx: &mut Tx, batch: &Batch, places: &[Place]) -> Result<(), Error> {
    let rows: Vec<_> = batch
        .rows
        .iter()
        .zip(places)
        .filter_map(|(row, place)| match (&row.target, place) {
            (Target::Known { no, .. }, Place::Open) => Some((*no, &row.head)),
            _ => None,
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let json = json_rows(&rows, |out, (no, head)| {
        let flags = (u8::from(head.held), u8::from(head.overdue));
        let _ = write!(out, "{no},\"{}\",{},{},", head.status.as_str(), flags.0, flags.1);
        number(out, head.wake_at);
        out.push(',');
        number(out, head.ended_at);
        out.push(',');
        optional(out, head.cause.as_deref());
    });
    let updated =
        sqlx::query(include_str!("sqlite/update_sagas.sql")).bind(json).bind(batch.lane.id).execute(&mut **tx).await?;
    if updated.rows_affected() != rows.len() as u64 {
        return Err(Error::Corrupt("a saga that runs is not in the table, or belongs to another lane".to_owned()));
    }
    Ok(())
}

/// The events of what is written here and now.
fn events(batch: &Batch, places: &[Place]) -> Vec<NewEvent> {
    let rows = batch.rows.iter().zip(places);
    rows.filter(|(row, place)| place.number(row).is_some()).filter_map(|(row, _)| row.event.clone()).collect()
}

fn saga(row: &SqliteRow) -> Result<Row, Error> {
    let id: &[u8] = row.try_get("id")?;
    let no = row.try_get("no")?;
    let corrupt = |what: &str| Error::Corrupt(format!("saga number {no}: its {what}"));
    let millis = |at: Option<i64>| at.map(Timestamp::from_millis);
    Ok(Row {
        no,
        id: SagaId::from_slice(id).ok_or_else(|| corrupt("id"))?,
        definition: row.try_get("definition")?,
        version: row.try_get("version")?,
        business_key: row.try_get("business_key")?,
        principal: row.try_get("principal")?,
        started_at: Timestamp::from_millis(row.try_get("started_at")?),
        head: Head {
            status: status_from(row.try_get("status")?).ok_or_else(|| corrupt("status"))?,
            held: row.try_get("held")?,
            overdue: row.try_get("overdue")?,
            wake_at: millis(row.try_get("wake_at")?),
            ended_at: millis(row.try_get("ended_at")?),
            cause: row.try_get("cause")?,
        },
    })
}

/// `[[…],[…]]`
fn json_rows<T>(rows: &[T], mut write: impl FnMut(&mut String, &T)) -> String {
    let mut out = String::with_capacity(2 + rows.len() * 192);
    out.push('[');
    for (index, row) in rows.iter().enumerate() {
        out.push_str(if index == 0 { "[" } else { ",[" });
        write(&mut out, row);
        out.push(']');
    }
    out.push(']');
    out
}

fn text(out: &mut String, text: &str) {
    // A string always has a form in JSON.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn optional(out: &mut String, value: Option<&str>) {
    match value {
        Some(value) => text(out, value),
        None => out.push_str("null"),
    }
}

fn number(out: &mut String, at: Option<Timestamp>) {
    let _ = match at {
        Some(at) => write!(out, "{}", at.as_millis()),
        None => write!(out, "null"),
    };
}
