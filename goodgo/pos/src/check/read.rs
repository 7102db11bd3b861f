//! Fetches the rows. Every statement reads one database at rest.

use std::collections::HashMap;

use futures_util::TryStreamExt;
use serde::Deserialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, Sqlite};
use steadfast::bus::headers;
use steadfast::core::{EventId, SagaId, Timestamp};
use steadfast::db::Db;
use uuid::Uuid;

use super::events::{EventRow, Outbox};
use super::facts::{Facts, LedgerRow, LineRow, OrderRow, ReturnRow, Saga, StockRow};
use super::read_model::{DayRow, LevelRow, ReadModel, SummaryRow};
use super::{Error, Stores, journal};

/// All rows of a query.
pub(super) async fn rows<T>(db: &Db, database: &'static str, sql: &'static str) -> Result<Vec<T>, Error>
where
    T: for<'r> FromRow<'r, SqliteRow> + Send + Unpin,
{
    sqlx::query_as::<Sqlite, T>(sql)
        .fetch_all(db.readers())
        .await
        .map_err(|source| Error::Read { database, source: source.into() })
}

/// The one number of a query.
pub(super) async fn count(db: &Db, database: &'static str, sql: &'static str) -> Result<u64, Error> {
    let found: Vec<(i64,)> = rows(db, database, sql).await?;
    Ok(found.first().map_or(0, |(count,)| u64::try_from(*count).unwrap_or(0)))
}

fn uuid(database: &'static str, what: &str, bytes: &[u8]) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes).map_err(|_| Error::Corrupt { database, fault: format!("an id of {what} without 16 bytes") })
}

pub(super) async fn facts(stores: &Stores<'_>) -> Result<Facts, Error> {
    Ok(Facts {
        sagas: sagas(stores.orchestrator).await?,
        orders: orders(stores.order).await?,
        returns: returns(stores.order).await?,
        ledger: ledger(stores.payment).await?,
        stock: stock(stores.inventory).await?,
    })
}

/// Id, definition, status, start, end, business key, order id, return id, journal.
type SagaColumns = (Vec<u8>, String, String, i64, Option<i64>, Option<String>, String, String, Option<String>);

async fn sagas(db: &Db) -> Result<Vec<Saga>, Error> {
    const DATABASE: &str = "orchestrator's";
    let columns: Vec<SagaColumns> = rows(db, DATABASE, include_str!("sqlite/read_sagas.sql")).await?;
    let saga = |(id, definition, status, started, ended, number, order, back, commits): SagaColumns| {
        let id = SagaId::from(uuid(DATABASE, "a saga", &id)?);
        let corrupt = |fault: String| Error::Corrupt { database: DATABASE, fault: format!("saga {id}: {fault}") };
        // A return names its order too.
        let subject = if back.is_empty() { &order } else { &back };
        let subject = subject.parse().map_err(|_| corrupt("its input names neither order_id nor return_id".into()))?;
        let commits: Vec<String> = match &commits {
            Some(json) => serde_json::from_str(json).map_err(|error| corrupt(error.to_string()))?,
            None => vec![],
        };
        let remains = journal::remains(&definition, commits.iter().map(String::as_str))
            .map_err(|error| corrupt(format!("its journal cannot be read: {error}")))?;
        Ok(Saga {
            id,
            definition,
            status,
            started_at: Timestamp::from_millis(started),
            ended_at: ended.map(Timestamp::from_millis),
            number: number.unwrap_or_default(),
            subject,
            remains,
        })
    };
    columns.into_iter().map(saga).collect()
}

/// The lines of each order or return, by its key.
async fn lines(db: &Db, sql: &'static str) -> Result<HashMap<i64, Vec<LineRow>>, Error> {
    let mut lines: HashMap<i64, Vec<LineRow>> = HashMap::new();
    for (key, product, quantity, unit_price) in rows::<(i64, String, i64, i64)>(db, "order", sql).await? {
        lines.entry(key).or_default().push(LineRow { product, quantity, unit_price });
    }
    Ok(lines)
}

async fn orders(db: &Db) -> Result<Vec<OrderRow>, Error> {
    type Columns = (i64, Vec<u8>, String, String, i64, i64, String);
    let columns: Vec<Columns> = rows(db, "order", include_str!("sqlite/read_orders.sql")).await?;
    let mut lines = lines(db, include_str!("sqlite/read_order_lines.sql")).await?;
    let order = |(key, id, number, customer, placed_at, total, status): Columns| {
        let id = uuid("order", "an order", &id)?;
        let lines = lines.remove(&key).unwrap_or_default();
        Ok(OrderRow { id, number, customer, placed_at, total, status, lines })
    };
    columns.into_iter().map(order).collect()
}

async fn returns(db: &Db) -> Result<Vec<ReturnRow>, Error> {
    type Columns = (i64, Vec<u8>, String, Option<Vec<u8>>, i64, i64, String);
    let columns: Vec<Columns> = rows(db, "order", include_str!("sqlite/read_returns.sql")).await?;
    let mut lines = lines(db, include_str!("sqlite/read_return_lines.sql")).await?;
    let back = |(key, id, number, order, placed_at, amount, status): Columns| {
        let id = uuid("order", "a return", &id)?;
        let order = order.map(|order| uuid("order", "an order", &order)).transpose()?;
        let lines = lines.remove(&key).unwrap_or_default();
        Ok(ReturnRow { id, number, order, placed_at, amount, status, lines })
    };
    columns.into_iter().map(back).collect()
}

async fn ledger(db: &Db) -> Result<Vec<LedgerRow>, Error> {
    type Columns = (String, String, Option<Vec<u8>>, i64);
    let columns: Vec<Columns> = rows(db, "payment", include_str!("sqlite/read_ledger.sql")).await?;
    let entry = |(customer, kind, order, amount): Columns| {
        let order = order.map(|order| uuid("payment", "an order", &order)).transpose()?;
        Ok(LedgerRow { customer, kind, order, amount })
    };
    columns.into_iter().map(entry).collect()
}

async fn stock(db: &Db) -> Result<Vec<StockRow>, Error> {
    type Columns = (String, i64, i64, i64);
    let columns: Vec<Columns> = rows(db, "inventory", include_str!("sqlite/read_stock.sql")).await?;
    let row = |(product, on_hand, reserved, moved)| StockRow { product, on_hand, reserved, moved };
    Ok(columns.into_iter().map(row).collect())
}

pub(super) async fn outbox(db: &Db) -> Result<Outbox, Error> {
    const DATABASE: &str = "outbox's";
    let events: Vec<(Vec<u8>, String, i64)> = rows(db, DATABASE, include_str!("sqlite/read_outbox.sql")).await?;
    let event = |(id, aggregate, sequence): (Vec<u8>, String, i64)| {
        Ok(EventRow { id: uuid(DATABASE, "an event", &id)?.into(), aggregate: aggregate.into(), sequence })
    };
    let numbers: Vec<(String, i64, i64)> = rows(db, DATABASE, include_str!("sqlite/read_outbox_numbers.sql")).await?;
    Ok(Outbox {
        events: events.into_iter().map(event).collect::<Result<_, Error>>()?,
        numbers: numbers.into_iter().map(|(aggregate, floor, last)| (aggregate.into(), floor, last)).collect(),
        unpublished: count(db, DATABASE, include_str!("sqlite/count_unpublished.sql")).await?,
    })
}

/// The events of the log, row by row: it is the largest of all tables.
pub(super) async fn log(db: &Db) -> Result<Vec<EventRow>, Error> {
    const DATABASE: &str = "log's";
    let unreadable = |source: sqlx::Error| Error::Read { database: DATABASE, source: source.into() };
    let mut found = Vec::new();
    let mut stream = sqlx::query_as::<Sqlite, (i64, String)>(include_str!("sqlite/read_log.sql")).fetch(db.readers());
    while let Some((offset, headers)) = stream.try_next().await.map_err(unreadable)? {
        let corrupt = |fault| Error::Corrupt { database: DATABASE, fault: format!("the record at {offset} {fault}") };
        found.push(envelope(&headers).ok_or_else(|| corrupt("is not an event"))?);
    }
    Ok(found)
}

fn envelope(text: &str) -> Option<EventRow> {
    #[derive(Deserialize)]
    struct Pair(String, String);
    let pairs: Vec<Pair> = serde_json::from_str(text).ok()?;
    let header = |name| pairs.iter().find(|Pair(found, _)| found == name).map(|Pair(_, value)| value.as_str());
    Some(EventRow {
        id: header(headers::ID)?.parse::<EventId>().ok()?,
        aggregate: format!("{}/{}", header(headers::AGGREGATE_TYPE)?, header(headers::SUBJECT)?).into(),
        sequence: header(headers::SEQUENCE)?.parse().ok()?,
    })
}

/// When the last event of each saga became visible in the read model.
pub(super) async fn visible(db: &Db) -> Result<HashMap<SagaId, Timestamp>, Error> {
    let columns: Vec<(Vec<u8>, i64)> = rows(db, "read model's", include_str!("sqlite/read_visible.sql")).await?;
    let row = |(id, at): (Vec<u8>, i64)| Ok((uuid("read model's", "a saga", &id)?.into(), Timestamp::from_millis(at)));
    columns.into_iter().map(row).collect()
}

/// The read model.
pub(super) async fn read_model(db: &Db) -> Result<ReadModel, Error> {
    const DATABASE: &str = "read model's";
    let sales: Vec<(String, String, i64, i64)> = rows(db, DATABASE, include_str!("sqlite/read_sales.sql")).await?;
    let stock: Vec<(String, i64, i64)> = rows(db, DATABASE, include_str!("sqlite/read_stock_on_hand.sql")).await?;
    let day = |(day, product, quantity, revenue)| DayRow { day, product, quantity, revenue };
    let level = |(product, on_hand, reserved)| LevelRow { product, on_hand, reserved };
    Ok(ReadModel {
        orders: summaries(db, DATABASE).await?,
        returns: return_summaries(db, DATABASE).await?,
        sales: sales.into_iter().map(day).collect(),
        stock: stock.into_iter().map(level).collect(),
    })
}

/// What is null before the order's own event: number, customer, when, status, total.
type Own = (Option<String>, Option<String>, Option<i64>, Option<String>, Option<i64>);

async fn summaries(db: &Db, database: &'static str) -> Result<Vec<SummaryRow>, Error> {
    let unreadable = |source: sqlx::Error| Error::Read { database, source: source.into() };
    let rows = sqlx::query(include_str!("sqlite/read_summaries.sql")).fetch_all(db.readers()).await;
    rows.map_err(unreadable)?
        .iter()
        .map(|row| {
            let id: Vec<u8> = row.try_get(0).map_err(unreadable)?;
            let id = uuid(database, "an order", &id)?;
            let own = || Ok((row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?, row.try_get(5)?));
            let own: Own = own().map_err(unreadable)?;
            let lines: Option<String> = row.try_get(9).map_err(unreadable)?;
            let order = match (own, lines) {
                ((Some(number), Some(customer), Some(placed_at), Some(status), Some(total)), Some(lines)) => {
                    let lines = line_list(database, &number, &lines)?;
                    Some(OrderRow { id, number, customer, placed_at, total, status, lines })
                }
                _ => None,
            };
            let count = |column: usize| row.try_get::<i64, _>(column).map_err(unreadable);
            Ok(SummaryRow { id, order, paid: count(6)?, refunded: count(7)?, returned: count(8)? })
        })
        .collect()
}

async fn return_summaries(db: &Db, database: &'static str) -> Result<Vec<ReturnRow>, Error> {
    type Columns = (Vec<u8>, String, Option<Vec<u8>>, i64, i64, String, String);
    let columns: Vec<Columns> = rows(db, database, include_str!("sqlite/read_return_summaries.sql")).await?;
    let back = |(id, number, order, placed_at, amount, status, lines): Columns| {
        let id = uuid(database, "a return", &id)?;
        let order = order.map(|order| uuid(database, "an order", &order)).transpose()?;
        let lines = line_list(database, &number, &lines)?;
        Ok(ReturnRow { id, number, order, placed_at, amount, status, lines })
    };
    columns.into_iter().map(back).collect()
}

fn line_list(database: &'static str, number: &str, json: &str) -> Result<Vec<LineRow>, Error> {
    serde_json::from_str(json)
        .map_err(|error| Error::Corrupt { database, fault: format!("the lines of {number}: {error}") })
}

/// Counts here are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "rates for people: counts are far below 2^53")]
pub(super) const fn to_f64(count: u64) -> f64 {
    count as f64
}
