//! What is asked of the read model.

use serde::Serialize;
use serde_json::Value;
use steadfast::db::Backend;
use uuid::Uuid;

use super::Tables;
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

/// An order, once it has been heard of.
pub(crate) async fn order<B: Backend<Sql: Tables>>(db: &B, id: Uuid) -> Result<Option<Order>, Error> {
    let Some((number, customer, placed_at, currency, status, total, paid, refunded, returned, lines)) =
        B::Sql::find_order(db.readers(), id).await?
    else {
        return Ok(None);
    };
    let lines = serde_json::from_str(&lines).map_err(|_| Error::Corrupt(format!("the lines of order {id}")))?;
    let customer = (!customer.is_empty()).then_some(customer);
    let id = id.to_string();
    Ok(Some(Order { id, number, customer, placed_at, currency, status, total, paid, refunded, returned, lines }))
}

/// The sales of a day.
pub(crate) async fn sales_of<B: Backend<Sql: Tables>>(db: &B, day: &str) -> Result<Vec<Sale>, Error> {
    let rows = B::Sql::find_sales(db.readers(), day).await?;
    Ok(rows.into_iter().map(|(product, quantity, revenue)| Sale { product, quantity, revenue }).collect())
}

/// What is there of a product.
pub(crate) async fn stock_of<B: Backend<Sql: Tables>>(db: &B, product: &str) -> Result<Option<Level>, Error> {
    let row = B::Sql::find_stock(db.readers(), product).await?;
    Ok(row.map(|(on_hand, reserved)| Level { product: product.to_owned(), on_hand, reserved }))
}
