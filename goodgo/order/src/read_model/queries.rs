//! What is asked of the read model.

use serde::Serialize;
use serde_json::Value;
use steadfast::db::Db;
use uuid::Uuid;

use crate::Error;

/// An order as it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Order {
    #[serde(rename = "order_id")]
    id: String,
    #[serde(rename = "order_no")]
    number: String,
    customer: Option<String>,
    /// Milliseconds since 1970, UTC; shown by the route as RFC 3339.
    #[serde(skip)]
    pub(crate) placed_at: i64,
    currency: String,
    status: String,
    total: i64,
    paid: i64,
    refunded: i64,
    returned: i64,
    lines: Value,
}

/// What was sold of a product.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sale {
    product: String,
    quantity: i64,
    revenue: i64,
}

/// What is there of a product.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Level {
    product: String,
    on_hand: i64,
    reserved: i64,
}

type OrderRow = (String, String, i64, String, String, i64, i64, i64, i64, String);

/// An order, once it has been heard of.
pub(crate) async fn order(db: &Db, id: Uuid) -> Result<Option<Order>, Error> {
    let row: Option<OrderRow> = sqlx::query_as(include_str!("sqlite/read_order.sql"))
        .bind(id.as_bytes().as_slice())
        .fetch_optional(db.readers())
        .await?;
    let Some((number, customer, placed_at, currency, status, total, paid, refunded, returned, lines)) = row else {
        return Ok(None);
    };
    let lines = serde_json::from_str(&lines).map_err(|_| Error::Corrupt(format!("the lines of order {id}")))?;
    let customer = (!customer.is_empty()).then_some(customer);
    let id = id.to_string();
    Ok(Some(Order { id, number, customer, placed_at, currency, status, total, paid, refunded, returned, lines }))
}

/// The sales of a day.
pub(crate) async fn sales_of(db: &Db, day: &str) -> Result<Vec<Sale>, Error> {
    let rows: Vec<(String, i64, i64)> =
        sqlx::query_as(include_str!("sqlite/read_sales.sql")).bind(day).fetch_all(db.readers()).await?;
    Ok(rows.into_iter().map(|(product, quantity, revenue)| Sale { product, quantity, revenue }).collect())
}

/// What is there of a product.
pub(crate) async fn stock_of(db: &Db, product: &str) -> Result<Option<Level>, Error> {
    let row: Option<(i64, i64)> =
        sqlx::query_as(include_str!("sqlite/read_stock.sql")).bind(product).fetch_optional(db.readers()).await?;
    Ok(row.map(|(on_hand, reserved)| Level { product: product.to_owned(), on_hand, reserved }))
}
