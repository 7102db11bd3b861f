//! The tables in SQLite. `BEGIN IMMEDIATE` is the lock on the aggregates' sequence rows: whoever reads them in such a
//! transaction is alone until its end.

use std::collections::HashMap;

use async_trait::async_trait;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr, Sqlite};
use steadfast_bus::Partition;
use steadfast_core::{EventId, Timestamp};
use steadfast_db::{Db, migrate};

use super::{
    Aggregate, Head, Move, ParkRow, Prepared, Savepoint, SequenceRow, SkipRow, State, Store, Tx, Waiting, corrupt,
    event_id, sealed,
};
use crate::ordering::{Mark, Parked, Standing};
use crate::parking::{ParkedEvent, Reason, SkippedEvent};
use crate::statement::{Dialect, Statement};
use crate::{Error, LINE};

fn json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| corrupt("(an argument)", error.to_string()))
}

fn hex(id: &EventId) -> String {
    steadfast_core::hex(id.as_bytes())
}

async fn write(
    tx: &mut Tx<Db>,
    sql: &'static str,
    projection: i64,
    rows: String,
    now: Timestamp,
) -> Result<u64, Error> {
    let done = sqlx::query(sql).bind(projection).bind(rows).bind(now.as_millis()).execute(&mut **tx).await?;
    Ok(done.rows_affected())
}

impl sealed::Sealed for Db {}

#[async_trait]
impl Store for Db {
    type Sql = Sqlite;

    const DIALECT: Dialect = Dialect::Sqlite;

    async fn migrate(&self) -> Result<(), Error> {
        Ok(migrate(self, &LINE).await?)
    }

    async fn begin(&self) -> Result<Tx<Self>, Error> {
        Ok(Self::begin(self).await?)
    }

    async fn commit(&self, tx: Tx<Self>) -> Result<(), Error> {
        tx.commit().await.map_err(steadfast_db::Error::of_commit)?;
        Ok(())
    }

    async fn savepoint(&self, tx: &mut Tx<Self>, act: Savepoint) -> Result<(), Error> {
        sqlx::query(act.sql()).execute(&mut **tx).await?;
        Ok(())
    }

    async fn register(&self, name: &str) -> Result<i64, Error> {
        let mut tx = Self::begin(self).await?;
        sqlx::query(include_str!("sqlite/insert_projection.sql")).bind(name).execute(&mut *tx).await?;
        let id = sqlx::query_scalar(include_str!("sqlite/read_projection.sql")).bind(name).fetch_one(&mut *tx).await?;
        Store::commit(self, tx).await?;
        Ok(id)
    }

    async fn find(&self, name: &str) -> Result<Option<i64>, Error> {
        let sql = sqlx::query_scalar(include_str!("sqlite/read_projection.sql")).bind(name);
        Ok(sql.fetch_optional(self.readers()).await?)
    }

    async fn names(&self) -> Result<Vec<String>, Error> {
        Ok(sqlx::query_scalar(include_str!("sqlite/list_projections.sql")).fetch_all(self.readers()).await?)
    }

    async fn positions(&self, projection: i64) -> Result<Vec<(Partition, i64)>, Error> {
        let sql = sqlx::query_as(include_str!("sqlite/read_checkpoints.sql")).bind(projection);
        let rows: Vec<(String, u32, i64)> = sql.fetch_all(self.readers()).await?;
        Ok(rows.into_iter().map(|(topic, number, at)| (Partition::from_stored(&topic, number), at)).collect())
    }

    async fn fence(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        moves: &[Move],
        first: &[(Partition, i64)],
        now: Timestamp,
    ) -> Result<bool, Error> {
        if !first.is_empty() {
            let rows: Vec<_> = first.iter().map(|(one, at)| (one.topic(), one.number, at)).collect();
            write(tx, include_str!("sqlite/insert_checkpoints.sql"), projection, json(&rows)?, now).await?;
        }
        let rows: Vec<_> =
            moves.iter().map(|one| (one.partition.topic(), one.partition.number, one.expected, one.next)).collect();
        let done = write(tx, include_str!("sqlite/move_checkpoints.sql"), projection, json(&rows)?, now).await?;
        Ok(done == moves.len() as u64)
    }

    async fn standings(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        aggregates: &[&Aggregate],
    ) -> Result<HashMap<Aggregate, Waiting>, Error> {
        let keys = json(&aggregates)?;
        let mut found: HashMap<Aggregate, Waiting> = HashMap::with_capacity(aggregates.len());
        let sequences = sqlx::query(include_str!("sqlite/read_sequences.sql")).bind(projection).bind(&keys);
        for row in sequences.fetch_all(&mut **tx).await? {
            let id: Option<&[u8]> = row.try_get(3)?;
            let standing = Standing {
                last: row.try_get(2)?,
                last_id: id.map(|id| event_id("aggregate_sequence", id)).transpose()?,
                parked: Vec::new(),
            };
            found.insert(Aggregate(row.try_get(0)?, row.try_get(1)?), Waiting { standing, ..Waiting::default() });
        }
        let parked = sqlx::query(include_str!("sqlite/read_parked.sql")).bind(projection).bind(&keys);
        for row in parked.fetch_all(&mut **tx).await? {
            let waiting = found.entry(Aggregate(row.try_get(0)?, row.try_get(1)?)).or_default();
            let state = State::parse(row.try_get(4)?)?;
            let mark = Mark { sequence: row.try_get(2)?, event_id: event_id("parked_event", row.try_get(3)?)? };
            let since = Timestamp::from_millis(row.try_get(5)?);
            waiting.standing.parked.push(Parked { mark, since, poison: state == State::Poison });
            waiting.states.push(state);
            waiting.events.push(row.try_get(6)?);
        }
        Ok(found)
    }

    async fn save_sequences(&self, tx: &mut Tx<Self>, projection: i64, rows: &[SequenceRow<'_>]) -> Result<(), Error> {
        let rows: Vec<_> =
            rows.iter().map(|(kind, id, last, event)| (kind, id, last, event.as_ref().map(hex))).collect();
        let sql = sqlx::query(include_str!("sqlite/save_sequences.sql")).bind(projection).bind(json(&rows)?);
        sql.execute(&mut **tx).await?;
        Ok(())
    }

    async fn park(&self, tx: &mut Tx<Self>, projection: i64, rows: &[ParkRow], now: Timestamp) -> Result<(), Error> {
        let rows: Vec<_> = rows.iter().map(|(a, b, c, id, d, e, f)| (a, b, c, hex(id), d, e, f)).collect();
        write(tx, include_str!("sqlite/park_events.sql"), projection, json(&rows)?, now).await?;
        Ok(())
    }

    async fn record_skips(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        rows: &[SkipRow],
        now: Timestamp,
    ) -> Result<(), Error> {
        let rows: Vec<_> = (rows.iter())
            .map(|row| {
                let (kind, id) = row.aggregate.as_ref().map(|Aggregate(kind, id)| (kind, id)).unzip();
                let (first, last) = row.numbers.unzip();
                let (partition, position) = row.place.as_ref().map(|(one, at)| (one, *at)).unzip();
                let (topic, number) = partition.map(|one| (one.topic(), one.number)).unzip();
                (row.reason, kind, id, first, last, &row.event, topic, number, position, &row.detail)
            })
            .collect();
        write(tx, include_str!("sqlite/record_skips.sql"), projection, json(&rows)?, now).await?;
        Ok(())
    }

    async fn mark_parked(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        rows: &[(&str, &str)],
        to: State,
    ) -> Result<(), Error> {
        let sql = sqlx::query(include_str!("sqlite/mark_parked.sql")).bind(projection).bind(json(&rows)?);
        sql.bind(to.as_str()).execute(&mut **tx).await?;
        Ok(())
    }

    async fn release(&self, tx: &mut Tx<Self>, projection: i64, rows: &[(&str, &str, i64)]) -> Result<(), Error> {
        let sql = sqlx::query(include_str!("sqlite/release_parked.sql")).bind(projection).bind(json(&rows)?);
        sql.execute(&mut **tx).await?;
        Ok(())
    }

    async fn find_due(&self, projection: i64, before: Timestamp, limit: u32) -> Result<Vec<Aggregate>, Error> {
        let sql = sqlx::query_as(include_str!("sqlite/find_due.sql")).bind(projection).bind(before.as_millis());
        let rows: Vec<(String, String)> = sql.bind(limit).fetch_all(self.readers()).await?;
        Ok(rows.into_iter().map(|(kind, id)| Aggregate(kind, id)).collect())
    }

    async fn count_parked(&self, projection: i64) -> Result<(u32, u32), Error> {
        let sql = sqlx::query_as(include_str!("sqlite/count_parked.sql")).bind(projection);
        Ok(sql.fetch_one(self.readers()).await?)
    }

    async fn list_parked(
        &self,
        name: &str,
        aggregate: Option<&Aggregate>,
        limit: u32,
    ) -> Result<Vec<ParkedEvent>, Error> {
        let (kind, id) = aggregate.map(|Aggregate(kind, id)| (kind, id)).unzip();
        let rows = sqlx::query(include_str!("sqlite/list_parked.sql")).bind(name).bind(limit).bind(kind).bind(id);
        rows.fetch_all(self.readers()).await?.iter().map(parked_event).collect()
    }

    async fn list_skipped(&self, name: &str, limit: u32) -> Result<Vec<SkippedEvent>, Error> {
        let rows = sqlx::query(include_str!("sqlite/list_skipped.sql")).bind(name).bind(limit);
        rows.fetch_all(self.readers()).await?.iter().map(skipped_event).collect()
    }

    async fn replay(&self, name: &str, aggregate: Option<&Aggregate>) -> Result<u64, Error> {
        let mut tx = Self::begin(self).await?;
        let sql = match aggregate {
            Some(Aggregate(kind, id)) => {
                sqlx::query(include_str!("sqlite/replay_aggregate.sql")).bind(name).bind(kind).bind(id)
            }
            None => sqlx::query(include_str!("sqlite/replay_all.sql")).bind(name),
        };
        let done = sql.execute(&mut *tx).await?;
        Store::commit(self, tx).await?;
        Ok(done.rows_affected())
    }

    async fn head(&self, tx: &mut Tx<Self>, projection: i64, aggregate: &Aggregate) -> Result<Option<Head>, Error> {
        let sql = sqlx::query(include_str!("sqlite/read_head.sql")).bind(projection);
        let row = sql.bind(&aggregate.0).bind(&aggregate.1).fetch_optional(&mut **tx).await?;
        row.map(|row| {
            Ok(Head {
                sequence: row.try_get(0)?,
                event_id: event_id("parked_event", row.try_get(1)?)?,
                state: State::parse(row.try_get(2)?)?,
                event: row.try_get(3)?,
                last: row.try_get(4)?,
            })
        })
        .transpose()
    }

    async fn wake(&self, tx: &mut Tx<Self>, projection: i64, aggregate: &Aggregate) -> Result<(), Error> {
        let sql = sqlx::query(include_str!("sqlite/wake_aggregate.sql")).bind(projection);
        sql.bind(&aggregate.0).bind(&aggregate.1).execute(&mut **tx).await?;
        Ok(())
    }

    async fn prepare(&self, statement: &Statement) -> Result<Result<Prepared, String>, Error> {
        let sql = statement.render(|number| format!("?{number}"));
        let mut connection = self.readers().acquire().await?;
        match connection.prepare(AssertSqlSafe(sql.as_str()).into_sql_str()).await {
            Ok(_) => Ok(Ok(Prepared { sql, json: vec![false; statement.names.len()] })),
            Err(sqlx::Error::Database(error)) => Ok(Err(error.message().to_owned())),
            Err(error) => Err(error.into()),
        }
    }

    async fn read_sagas(&self, accepted: Timestamp, within: i64) -> Result<(i64, i64, Option<f64>, i64), Error> {
        let sql = sqlx::query_as(include_str!("../auditor/sqlite/read_summary.sql")).bind(accepted.as_millis());
        Ok(sql.bind(within).fetch_one(self.readers()).await?)
    }
}

fn parked_event(row: &SqliteRow) -> Result<ParkedEvent, Error> {
    let text: &str = row.try_get(5)?;
    Ok(ParkedEvent {
        aggregate_type: row.try_get(0)?,
        aggregate_id: row.try_get(1)?,
        sequence: row.try_get(2)?,
        event_id: event_id("parked_event", row.try_get(3)?)?,
        event_type: row.try_get(4)?,
        poison: State::parse(text)? == State::Poison,
        error: row.try_get(6)?,
        attempts: row.try_get(7)?,
        parked_at: Timestamp::from_millis(row.try_get(8)?),
    })
}

fn skipped_event(row: &SqliteRow) -> Result<SkippedEvent, Error> {
    let reason: &str = row.try_get(0)?;
    Ok(SkippedEvent {
        reason: Reason::parse(reason).ok_or_else(|| corrupt("skipped_event", format!("the reason {reason:?}")))?,
        aggregate_type: row.try_get(1)?,
        aggregate_id: row.try_get(2)?,
        first_sequence: row.try_get(3)?,
        last_sequence: row.try_get(4)?,
        partition: partition(row.try_get(5)?, row.try_get(6)?),
        position: row.try_get(7)?,
        detail: row.try_get(8)?,
        skipped_at: Timestamp::from_millis(row.try_get(9)?),
    })
}

fn partition(topic: Option<&str>, number: Option<u32>) -> Option<Partition> {
    number.map(|number| Partition::from_stored(topic.unwrap_or_default(), number))
}
