//! The tables in PostgreSQL, under READ COMMITTED. A batch locks the rows of its aggregates in the order of their keys and
//! looks at what is parked in a later statement: of two workers that hold consecutive events of one aggregate, the second
//! sees what the first has parked or applied.

use std::collections::HashMap;

use async_trait::async_trait;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Either, Executor, Postgres, Row, SqlSafeStr, Statement as _, TypeInfo};
use steadfast_bus::Partition;
use steadfast_core::{Event, Timestamp};
use steadfast_db::migrate;
use steadfast_db::postgres::Db;

use super::{
    Aggregate, Head, Move, ParkRow, Prepared, Savepoint, SequenceRow, SkipRow, State, Store, Tx, Waiting, corrupt,
    event_id, sealed,
};
use crate::error::is_transient;
use crate::ordering::{Mark, Parked, Standing};
use crate::parking::{ParkedEvent, Reason, SkippedEvent};
use crate::statement::{Dialect, Statement};
use crate::{Error, LINE};

/// PostgreSQL's integers have signs.
fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn unsigned(table: &'static str, number: impl TryInto<u32>) -> Result<u32, Error> {
    number.try_into().map_err(|_| corrupt(table, "a number that is negative or too large"))
}

fn parse_partition(table: &'static str, topic: &str, number: i32) -> Result<Partition, Error> {
    Ok(Partition::from_stored(topic, unsigned(table, number)?))
}

fn keys<'a>(aggregates: &[&'a Aggregate]) -> (Vec<&'a str>, Vec<&'a str>) {
    aggregates.iter().map(|Aggregate(kind, id)| (kind.as_str(), id.as_str())).unzip()
}

/// Locks those of the aggregates that have a row, and says where they stand.
async fn lock(
    tx: &mut Tx<Db>,
    projection: i64,
    aggregates: &[&Aggregate],
    found: &mut HashMap<Aggregate, Waiting>,
) -> Result<(), Error> {
    let (kinds, ids) = keys(aggregates);
    let sql = sqlx::query(include_str!("postgres/lock_sequences.sql")).bind(projection).bind(kinds).bind(ids);
    for row in sql.fetch_all(&mut **tx).await? {
        let id: Option<&[u8]> = row.try_get(3)?;
        let standing = Standing {
            last: row.try_get(2)?,
            last_id: id.map(|id| event_id("aggregate_sequence", id)).transpose()?,
            parked: Vec::new(),
        };
        found.insert(Aggregate(row.try_get(0)?, row.try_get(1)?), Waiting { standing, ..Waiting::default() });
    }
    Ok(())
}

impl sealed::Sealed for Db {}

#[async_trait]
impl Store for Db {
    type Sql = Postgres;

    const DIALECT: Dialect = Dialect::Postgres;

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
        if let Some(id) = self.find(name).await? {
            return Ok(id);
        }
        sqlx::query(include_str!("postgres/insert_projection.sql")).bind(name).execute(self.pool()).await?;
        Ok(sqlx::query_scalar(include_str!("postgres/read_projection.sql")).bind(name).fetch_one(self.pool()).await?)
    }

    async fn find(&self, name: &str) -> Result<Option<i64>, Error> {
        let sql = sqlx::query_scalar(include_str!("postgres/read_projection.sql")).bind(name);
        Ok(sql.fetch_optional(self.pool()).await?)
    }

    async fn names(&self) -> Result<Vec<String>, Error> {
        Ok(sqlx::query_scalar(include_str!("postgres/list_projections.sql")).fetch_all(self.pool()).await?)
    }

    async fn positions(&self, projection: i64) -> Result<Vec<(Partition, i64)>, Error> {
        let sql = sqlx::query(include_str!("postgres/read_checkpoints.sql")).bind(projection);
        let rows = sql.fetch_all(self.pool()).await?;
        rows.iter()
            .map(|row| Ok((parse_partition("checkpoint", row.try_get(0)?, row.try_get(1)?)?, row.try_get(2)?)))
            .collect()
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
            let (topics, numbers): (Vec<_>, Vec<_>) =
                first.iter().map(|(one, _)| (one.topic(), signed(one.number))).unzip();
            let positions: Vec<i64> = first.iter().map(|(_, position)| *position).collect();
            let sql = sqlx::query(include_str!("postgres/insert_checkpoints.sql")).bind(projection);
            sql.bind(topics).bind(numbers).bind(positions).bind(now.as_millis()).execute(&mut **tx).await?;
        }
        let (topics, numbers): (Vec<_>, Vec<_>) =
            moves.iter().map(|one| (one.partition.topic(), signed(one.partition.number))).unzip();
        let (expected, next): (Vec<_>, Vec<_>) = moves.iter().map(|one| (one.expected, one.next)).unzip();
        let sql = sqlx::query(include_str!("postgres/move_checkpoints.sql")).bind(projection);
        let sql = sql.bind(topics).bind(numbers).bind(expected).bind(next).bind(now.as_millis());
        Ok(sql.execute(&mut **tx).await?.rows_affected() == moves.len() as u64)
    }

    async fn standings(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        aggregates: &[&Aggregate],
    ) -> Result<HashMap<Aggregate, Waiting>, Error> {
        let mut found: HashMap<Aggregate, Waiting> = HashMap::with_capacity(aggregates.len());
        let (kinds, ids) = keys(aggregates);
        let sql = sqlx::query(include_str!("postgres/insert_sequences.sql")).bind(projection).bind(kinds).bind(ids);
        sql.execute(&mut **tx).await?;
        lock(tx, projection, aggregates, &mut found).await?;
        if found.len() < aggregates.len() {
            return Err(corrupt("aggregate_sequence", "a row that can be neither made nor found"));
        }
        let (kinds, ids) = keys(aggregates);
        let parked = sqlx::query(include_str!("postgres/read_parked.sql")).bind(projection).bind(kinds).bind(ids);
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
        let (kinds, ids): (Vec<_>, Vec<_>) = rows.iter().map(|(kind, id, ..)| (*kind, *id)).unzip();
        let (lasts, events): (Vec<_>, Vec<_>) =
            rows.iter().map(|(.., last, event)| (*last, event.as_ref().map(|id| &id.as_bytes()[..]))).unzip();
        let sql = sqlx::query(include_str!("postgres/save_sequences.sql")).bind(projection);
        sql.bind(kinds).bind(ids).bind(lasts).bind(events).execute(&mut **tx).await?;
        Ok(())
    }

    async fn park(&self, tx: &mut Tx<Self>, projection: i64, rows: &[ParkRow], now: Timestamp) -> Result<(), Error> {
        let (kinds, ids): (Vec<_>, Vec<_>) = rows.iter().map(|row| (row.0.as_str(), row.1.as_str())).unzip();
        let (numbers, event_ids): (Vec<_>, Vec<_>) = rows.iter().map(|row| (row.2, &row.3.as_bytes()[..])).unzip();
        let (events, states): (Vec<_>, Vec<_>) = rows.iter().map(|row| (row.4.as_str(), row.5.as_str())).unzip();
        let errors: Vec<Option<String>> = rows.iter().map(|row| row.6.as_deref().map(super::printable)).collect();
        let sql = sqlx::query(include_str!("postgres/park_events.sql")).bind(projection).bind(kinds).bind(ids);
        let sql = sql.bind(numbers).bind(event_ids).bind(events).bind(states).bind(errors).bind(now.as_millis());
        sql.execute(&mut **tx).await?;
        Ok(())
    }

    async fn record_skips(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        rows: &[SkipRow],
        now: Timestamp,
    ) -> Result<(), Error> {
        let reasons: Vec<_> = rows.iter().map(|row| row.reason).collect();
        let (kinds, ids): (Vec<Option<&str>>, Vec<Option<&str>>) =
            rows.iter().map(|row| row.aggregate.as_ref().map(|one| (one.0.as_str(), one.1.as_str())).unzip()).unzip();
        let (firsts, lasts): (Vec<Option<i64>>, Vec<Option<i64>>) = rows.iter().map(|row| row.numbers.unzip()).unzip();
        let events: Vec<_> = rows.iter().map(|row| row.event.as_deref()).collect();
        let topics: Vec<_> = rows.iter().map(|row| row.place.as_ref().map(|(one, _)| one.topic())).collect();
        let numbers: Vec<_> = rows.iter().map(|row| row.place.as_ref().map(|(one, _)| signed(one.number))).collect();
        let positions: Vec<_> = rows.iter().map(|row| row.place.as_ref().map(|(_, at)| *at)).collect();
        let details: Vec<_> = rows.iter().map(|row| row.detail.as_str()).collect();
        let sql = sqlx::query(include_str!("postgres/record_skips.sql")).bind(projection).bind(reasons).bind(kinds);
        let sql = sql.bind(ids).bind(firsts).bind(lasts).bind(events).bind(topics).bind(numbers).bind(positions);
        sql.bind(details).bind(now.as_millis()).execute(&mut **tx).await?;
        Ok(())
    }

    async fn mark_parked(
        &self,
        tx: &mut Tx<Self>,
        projection: i64,
        rows: &[(&str, &str)],
        to: State,
    ) -> Result<(), Error> {
        let (kinds, ids): (Vec<_>, Vec<_>) = rows.iter().copied().unzip();
        let sql = sqlx::query(include_str!("postgres/mark_parked.sql")).bind(projection).bind(kinds).bind(ids);
        sql.bind(to.as_str()).execute(&mut **tx).await?;
        Ok(())
    }

    async fn release(&self, tx: &mut Tx<Self>, projection: i64, rows: &[(&str, &str, i64)]) -> Result<(), Error> {
        let (kinds, ids): (Vec<_>, Vec<_>) = rows.iter().map(|(kind, id, _)| (*kind, *id)).unzip();
        let numbers: Vec<i64> = rows.iter().map(|(.., number)| *number).collect();
        let sql = sqlx::query(include_str!("postgres/release_parked.sql")).bind(projection);
        sql.bind(kinds).bind(ids).bind(numbers).execute(&mut **tx).await?;
        Ok(())
    }

    async fn find_due(&self, projection: i64, before: Timestamp, limit: u32) -> Result<Vec<Aggregate>, Error> {
        let sql = sqlx::query_as(include_str!("postgres/find_due.sql")).bind(projection).bind(before.as_millis());
        let rows: Vec<(String, String)> = sql.bind(i64::from(limit)).fetch_all(self.pool()).await?;
        Ok(rows.into_iter().map(|(kind, id)| Aggregate(kind, id)).collect())
    }

    async fn count_parked(&self, projection: i64) -> Result<(u32, u32), Error> {
        let sql = sqlx::query_as(include_str!("postgres/count_parked.sql")).bind(projection);
        let (parked, poison): (i64, i64) = sql.fetch_one(self.pool()).await?;
        Ok((unsigned("parked_event", parked)?, unsigned("parked_event", poison)?))
    }

    async fn list_parked(
        &self,
        name: &str,
        aggregate: Option<&Aggregate>,
        limit: u32,
    ) -> Result<Vec<ParkedEvent>, Error> {
        let (kind, id) = aggregate.map(|Aggregate(kind, id)| (kind, id)).unzip();
        let rows = sqlx::query(include_str!("postgres/list_parked.sql")).bind(name).bind(i64::from(limit));
        let rows = rows.bind(kind).bind(id);
        rows.fetch_all(self.pool()).await?.iter().map(parked_event).collect()
    }

    async fn list_skipped(&self, name: &str, limit: u32) -> Result<Vec<SkippedEvent>, Error> {
        let rows = sqlx::query(include_str!("postgres/list_skipped.sql")).bind(name).bind(i64::from(limit));
        rows.fetch_all(self.pool()).await?.iter().map(skipped_event).collect()
    }

    async fn replay(&self, name: &str, aggregate: Option<&Aggregate>) -> Result<u64, Error> {
        let sql = match aggregate {
            Some(Aggregate(kind, id)) => {
                sqlx::query(include_str!("postgres/replay_aggregate.sql")).bind(name).bind(kind).bind(id)
            }
            None => sqlx::query(include_str!("postgres/replay_all.sql")).bind(name),
        };
        Ok(sql.execute(self.pool()).await?.rows_affected())
    }

    async fn head(&self, tx: &mut Tx<Self>, projection: i64, aggregate: &Aggregate) -> Result<Option<Head>, Error> {
        let sql = sqlx::query(include_str!("postgres/read_head.sql")).bind(projection);
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
        let sql = sqlx::query(include_str!("postgres/wake_aggregate.sql")).bind(projection);
        sql.bind(&aggregate.0).bind(&aggregate.1).execute(&mut **tx).await?;
        Ok(())
    }

    async fn prepare(&self, statement: &Statement) -> Result<Result<Prepared, String>, Error> {
        let mut connection = self.pool().acquire().await?;
        let bare = statement.render(|number| format!("${number}"));
        let types: Vec<String> = match describe(&mut connection, &bare).await? {
            Ok(types) => types,
            Err(fault) => return Ok(Err(fault)),
        };
        // Values come as texts, which PostgreSQL reads as the type that the statement wants.
        let kind = |number: usize| types.get(number - 1).map_or("text", String::as_str);
        let sql = statement.render(|number| format!("(${number}::text)::{}", kind(number)));
        let json = types.iter().map(|kind| kind.starts_with("json")).collect();
        Ok(describe(&mut connection, &sql).await?.map(|_| Prepared { sql, json }))
    }

    async fn read_sagas(&self, accepted: Timestamp, within: i64) -> Result<(i64, i64, Option<f64>, i64), Error> {
        let sql = sqlx::query_as(include_str!("../auditor/postgres/read_summary.sql")).bind(accepted.as_millis());
        Ok(sql.bind(within).fetch_one(self.pool()).await?)
    }
}

/// Prepares a statement and answers with the types of its parameters, or with its fault.
async fn describe(connection: &mut PgConnection, sql: &str) -> Result<Result<Vec<String>, String>, Error> {
    let statement = match connection.prepare(AssertSqlSafe(sql).into_sql_str()).await {
        Ok(statement) => statement,
        Err(error) if is_transient(&error) => return Err(error.into()),
        Err(sqlx::Error::Database(error)) => return Ok(Err(error.message().to_owned())),
        Err(error) => return Err(error.into()),
    };
    let types = match statement.parameters() {
        Some(Either::Left(types)) => types.iter().map(|kind| kind.name().to_lowercase()).collect(),
        Some(Either::Right(count)) => vec!["text".to_owned(); count],
        None => Vec::new(),
    };
    Ok(Ok(types))
}

fn parked_event(row: &PgRow) -> Result<ParkedEvent, Error> {
    let event: Event =
        serde_json::from_str(row.try_get(4)?).map_err(|error| corrupt("parked_event", error.to_string()))?;
    Ok(ParkedEvent {
        aggregate_type: row.try_get(0)?,
        aggregate_id: row.try_get(1)?,
        sequence: row.try_get(2)?,
        event_id: event_id("parked_event", row.try_get(3)?)?,
        event_type: event.event_type,
        poison: State::parse(row.try_get(5)?)? == State::Poison,
        error: row.try_get(6)?,
        attempts: unsigned("parked_event", row.try_get::<i32, _>(7)?)?,
        parked_at: Timestamp::from_millis(row.try_get(8)?),
    })
}

fn skipped_event(row: &PgRow) -> Result<SkippedEvent, Error> {
    let reason: &str = row.try_get(0)?;
    let (topic, number): (Option<&str>, Option<i32>) = (row.try_get(5)?, row.try_get(6)?);
    let partition = number.map(|number| parse_partition("skipped_event", topic.unwrap_or_default(), number));
    Ok(SkippedEvent {
        reason: Reason::parse(reason).ok_or_else(|| corrupt("skipped_event", format!("the reason {reason:?}")))?,
        aggregate_type: row.try_get(1)?,
        aggregate_id: row.try_get(2)?,
        first_sequence: row.try_get(3)?,
        last_sequence: row.try_get(4)?,
        partition: partition.transpose()?,
        position: row.try_get(7)?,
        detail: row.try_get(8)?,
        skipped_at: Timestamp::from_millis(row.try_get(9)?),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn workers_that_meet_new_aggregates_at_once_never_stand_in_each_others_way() {
        let db = Arc::new(steadfast_testkit::postgres().await);
        Store::migrate(&**db).await.unwrap();
        let projection = db.register("p").await.unwrap();
        let work = async |worker: u64| {
            let mut random = fastrand::Rng::with_seed(worker);
            for round in 0..40 {
                let chosen = random.choose_multiple(0..12, 6);
                let mut batch: Vec<_> =
                    chosen.iter().map(|n| Aggregate("order".to_owned(), format!("{}-{n}", round / 2))).collect();
                batch.sort();
                let mut tx = Store::begin(&**db).await?;
                let found = db.standings(&mut tx, projection, &batch.iter().collect::<Vec<_>>()).await?;
                assert_eq!(found.len(), batch.len());
                Store::commit(&**db, tx).await?;
            }
            Ok::<_, Error>(())
        };
        let outcomes = join_all((0..8).map(work)).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    }
}
