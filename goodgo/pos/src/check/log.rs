//! Fetches the events of the log, and where it ends. It is the largest of all tables.

use futures_util::TryStreamExt;
use serde::Deserialize;
use sqlx::Sqlite;
#[cfg(feature = "kafka")]
use std::{collections::HashMap, time::Duration};
use steadfast::bus::headers;
#[cfg(feature = "kafka")]
use steadfast::bus::{Consumer, Record, Start, Topics, kafka};
use steadfast::core::EventId;
use steadfast::db::Db;

use super::Error;
use super::events::EventRow;
use super::stores::EventLog;

const DATABASE: &str = "log's";
/// Records of one answer of a broker, and how long one may take.
#[cfg(feature = "kafka")]
const BATCH: usize = 10_000;
#[cfg(feature = "kafka")]
const WAIT: Duration = Duration::from_secs(1);
/// Waits in turn without any record after which the brokers are taken to be away.
#[cfg(feature = "kafka")]
const PATIENCE: u32 = 60;

/// All events.
pub(super) async fn events(log: &EventLog) -> Result<Vec<EventRow>, Error> {
    match log {
        EventLog::Sqlite(db) => embedded(db).await,
        #[cfg(feature = "kafka")]
        EventLog::Kafka { config, topics } => from_kafka(config, topics).await,
    }
}

/// Topic, number and last offset of each partition that holds a record.
pub(super) async fn ends(log: &EventLog) -> Result<Vec<(String, i64, i64)>, Error> {
    match log {
        EventLog::Sqlite(db) => sqlx::query_as::<Sqlite, _>(include_str!("sqlite/read_log_ends.sql"))
            .fetch_all(db.readers())
            .await
            .map_err(|source| Error::Read { database: DATABASE, source: source.into() }),
        #[cfg(feature = "kafka")]
        EventLog::Kafka { config, topics } => {
            let ends = kafka::ends(config, topics).await?;
            let last = |(partition, end): &(steadfast::bus::Partition, i64)| {
                (partition.topic().to_owned(), i64::from(partition.number), end - 1)
            };
            Ok(ends.iter().map(last).collect())
        }
    }
}

async fn embedded(db: &Db) -> Result<Vec<EventRow>, Error> {
    #[derive(Deserialize)]
    struct Pair(String, String);
    let unreadable = |source: sqlx::Error| Error::Read { database: DATABASE, source: source.into() };
    let mut found = Vec::new();
    let mut stream = sqlx::query_as::<Sqlite, (i64, String)>(include_str!("sqlite/read_log.sql")).fetch(db.readers());
    while let Some((offset, headers)) = stream.try_next().await.map_err(unreadable)? {
        let pairs: Option<Vec<Pair>> = serde_json::from_str(&headers).ok();
        let header = |name: &str| {
            pairs.as_ref()?.iter().find(|Pair(found, _)| found == name).map(|Pair(_, value)| value.as_str())
        };
        found.push(envelope(header).ok_or_else(|| not_an_event(&offset.to_string()))?);
    }
    Ok(found)
}

/// Reads up to where the log ended at the beginning.
#[cfg(feature = "kafka")]
async fn from_kafka(config: &kafka::Config, topics: &[String]) -> Result<Vec<EventRow>, Error> {
    let mut left: HashMap<_, _> = kafka::ends(config, topics).await?.into_iter().collect();
    let mut names: Vec<String> = left.keys().map(|partition| partition.topic().to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    let mut found = Vec::new();
    if left.is_empty() {
        return Ok(found);
    }
    // A group of one: nobody shares the partitions, and nothing is stored.
    let group = format!("goodgo-check-{:016x}", fastrand::u64(..));
    let mut member = kafka::Member::join(config, &group, Topics::Named(names), Start::Beginning)?;
    let mut silent = 0;
    while !left.is_empty() {
        let records = member.poll(BATCH, WAIT).await?;
        silent = if records.is_empty() { silent + 1 } else { 0 };
        if silent > PATIENCE {
            let waits = left.len();
            return Err(Error::Log(steadfast::bus::Error::Unavailable(format!(
                "{waits} partitions were not read to their end, and no further record came within {PATIENCE} s"
            ))));
        }
        for delivered in records {
            let header = |name: &str| Record::header(&delivered.record, name);
            let place = || format!("{} of {}", delivered.offset, delivered.partition);
            found.push(envelope(header).ok_or_else(|| not_an_event(&place()))?);
            if left.get(&delivered.partition).is_some_and(|end| delivered.offset + 1 >= *end) {
                left.remove(&delivered.partition);
            }
        }
    }
    member.leave().await;
    Ok(found)
}

fn not_an_event(place: &str) -> Error {
    Error::Corrupt { database: DATABASE, fault: format!("the record at {place} is not an event") }
}

fn envelope<'a>(header: impl Fn(&str) -> Option<&'a str>) -> Option<EventRow> {
    Some(EventRow {
        id: header(headers::ID)?.parse::<EventId>().ok()?,
        aggregate: format!("{}/{}", header(headers::AGGREGATE_TYPE)?, header(headers::SUBJECT)?).into(),
        sequence: header(headers::SEQUENCE)?.parse().ok()?,
    })
}
