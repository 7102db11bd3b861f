//! Fetches the rows. Every statement reads one database at rest.

use std::collections::HashMap;

use steadfast::core::{SagaId, Timestamp};
use uuid::Uuid;

use super::events::{EventRow, Outbox};
use super::facts::{Facts, LedgerRow, LineRow, OrderRow, ReturnRow, Saga, StockRow};
use super::read_model::{DayRow, LevelRow, ReadModel, SummaryRow};
use super::stores::{Statement, Store, Stores, count, rows, statement};
use super::{Error, journal};

fn uuid(database: &'static str, what: &str, bytes: &[u8]) -> Result<Uuid, Error> {
    Uuid::from_slice(bytes).map_err(|_| Error::Corrupt { database, fault: format!("an id of {what} without 16 bytes") })
}

pub(super) async fn facts(stores: &Stores) -> Result<Facts, Error> {
    Ok(Facts {
        sagas: sagas(&stores.orchestrator).await?,
        orders: orders(&stores.order).await?,
        returns: returns(&stores.order).await?,
        ledger: ledger(&stores.payment).await?,
        stock: stock(&stores.inventory).await?,
    })
}

/// Id, definition, status, start, end, business key, order id, return id, journal.
type SagaColumns = (Vec<u8>, String, String, i64, Option<i64>, Option<String>, String, String, Option<String>);

async fn sagas(db: &Store) -> Result<Vec<Saga>, Error> {
    const DATABASE: &str = "orchestrator's";
    let columns: Vec<SagaColumns> = rows(db, DATABASE, statement!("read_sagas")).await?;
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
async fn lines(db: &Store, sql: Statement) -> Result<HashMap<i64, Vec<LineRow>>, Error> {
    let mut lines: HashMap<i64, Vec<LineRow>> = HashMap::new();
    for (key, product, quantity, unit_price) in rows::<(i64, String, i64, i64)>(db, "order", sql).await? {
        lines.entry(key).or_default().push(LineRow { product, quantity, unit_price });
    }
    Ok(lines)
}

async fn orders(db: &Store) -> Result<Vec<OrderRow>, Error> {
    type Columns = (i64, Vec<u8>, String, String, i64, i64, String);
    let columns: Vec<Columns> = rows(db, "order", statement!("read_orders")).await?;
    let mut lines = lines(db, statement!("read_order_lines")).await?;
    let order = |(key, id, number, customer, placed_at, total, status): Columns| {
        let id = uuid("order", "an order", &id)?;
        let lines = lines.remove(&key).unwrap_or_default();
        Ok(OrderRow { id, number, customer, placed_at, total, status, lines })
    };
    columns.into_iter().map(order).collect()
}

async fn returns(db: &Store) -> Result<Vec<ReturnRow>, Error> {
    type Columns = (i64, Vec<u8>, String, Option<Vec<u8>>, i64, i64, String);
    let columns: Vec<Columns> = rows(db, "order", statement!("read_returns")).await?;
    let mut lines = lines(db, statement!("read_return_lines")).await?;
    let back = |(key, id, number, order, placed_at, amount, status): Columns| {
        let id = uuid("order", "a return", &id)?;
        let order = order.map(|order| uuid("order", "an order", &order)).transpose()?;
        let lines = lines.remove(&key).unwrap_or_default();
        Ok(ReturnRow { id, number, order, placed_at, amount, status, lines })
    };
    columns.into_iter().map(back).collect()
}

async fn ledger(db: &Store) -> Result<Vec<LedgerRow>, Error> {
    type Columns = (String, String, Option<Vec<u8>>, i64);
    let columns: Vec<Columns> = rows(db, "payment", statement!("read_ledger")).await?;
    let entry = |(customer, kind, order, amount): Columns| {
        let order = order.map(|order| uuid("payment", "an order", &order)).transpose()?;
        Ok(LedgerRow { customer, kind, order, amount })
    };
    columns.into_iter().map(entry).collect()
}

async fn stock(db: &Store) -> Result<Vec<StockRow>, Error> {
    type Columns = (String, i64, i64, i64);
    let columns: Vec<Columns> = rows(db, "inventory", statement!("read_stock")).await?;
    let row = |(product, on_hand, reserved, moved)| StockRow { product, on_hand, reserved, moved };
    Ok(columns.into_iter().map(row).collect())
}

pub(super) async fn outbox(db: &Store) -> Result<Outbox, Error> {
    const DATABASE: &str = "outbox's";
    let events: Vec<(Vec<u8>, String, i64)> = rows(db, DATABASE, statement!("read_outbox")).await?;
    let event = |(id, aggregate, sequence): (Vec<u8>, String, i64)| {
        Ok(EventRow { id: uuid(DATABASE, "an event", &id)?.into(), aggregate: aggregate.into(), sequence })
    };
    let numbers: Vec<(String, i64, i64)> = rows(db, DATABASE, statement!("read_outbox_numbers")).await?;
    Ok(Outbox {
        events: events.into_iter().map(event).collect::<Result<_, Error>>()?,
        numbers: numbers.into_iter().map(|(aggregate, floor, last)| (aggregate.into(), floor, last)).collect(),
        unpublished: count(db, DATABASE, statement!("count_unpublished")).await?,
    })
}

/// When the last event of each saga became visible in the read model.
pub(super) async fn visible(db: &Store) -> Result<HashMap<SagaId, Timestamp>, Error> {
    let columns: Vec<(Vec<u8>, i64)> = rows(db, "read model's", statement!("read_visible")).await?;
    let row = |(id, at): (Vec<u8>, i64)| Ok((uuid("read model's", "a saga", &id)?.into(), Timestamp::from_millis(at)));
    columns.into_iter().map(row).collect()
}

/// The read model.
pub(super) async fn read_model(db: &Store) -> Result<ReadModel, Error> {
    const DATABASE: &str = "read model's";
    let sales: Vec<(String, String, i64, i64)> = rows(db, DATABASE, statement!("read_sales")).await?;
    let stock: Vec<(String, i64, i64)> = rows(db, DATABASE, statement!("read_stock_on_hand")).await?;
    let day = |(day, product, quantity, revenue)| DayRow { day, product, quantity, revenue };
    let level = |(product, on_hand, reserved)| LevelRow { product, on_hand, reserved };
    Ok(ReadModel {
        orders: summaries(db, DATABASE).await?,
        returns: return_summaries(db, DATABASE).await?,
        sales: sales.into_iter().map(day).collect(),
        stock: stock.into_iter().map(level).collect(),
    })
}

/// Id; number, customer, when, status and total, which are null before the order's own event; paid, refunded, returned;
/// lines.
type Summary =
    (Vec<u8>, Option<String>, Option<String>, Option<i64>, Option<String>, Option<i64>, i64, i64, i64, Option<String>);

async fn summaries(db: &Store, database: &'static str) -> Result<Vec<SummaryRow>, Error> {
    let columns: Vec<Summary> = rows(db, database, statement!("read_summaries")).await?;
    let row = |(id, number, customer, placed_at, status, total, paid, refunded, returned, lines): Summary| {
        let id = uuid(database, "an order", &id)?;
        let order = match (number, customer, placed_at, status, total, lines) {
            (Some(number), Some(customer), Some(placed_at), Some(status), Some(total), Some(lines)) => {
                let lines = line_list(database, &number, &lines)?;
                Some(OrderRow { id, number, customer, placed_at, total, status, lines })
            }
            _ => None,
        };
        Ok(SummaryRow { id, order, paid, refunded, returned })
    };
    columns.into_iter().map(row).collect()
}

async fn return_summaries(db: &Store, database: &'static str) -> Result<Vec<ReturnRow>, Error> {
    type Columns = (Vec<u8>, String, Option<Vec<u8>>, i64, i64, String, String);
    let columns: Vec<Columns> = rows(db, database, statement!("read_return_summaries")).await?;
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
