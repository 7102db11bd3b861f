//! What every side writes beside the product's row: the call's barrier row with its answer, the reservation, the event. One
//! reservation or a whole batch of them, by the same statements.

use anyhow::anyhow;
use sqlx::{Postgres, Transaction};
use steadfast_core::{Classified, Clock, ErrorKind, NewEvent, Op, SagaId, StepKey, sha256};
use steadfast_host::clock::System;
use steadfast_outbox::append_many;

pub(super) type Tx = Transaction<'static, Postgres>;

const ANSWER: &[u8] = br#"{"status":"reserved"}"#;

/// What went wrong, for anyhow, and its kind, for whoever may try again.
#[derive(Debug)]
pub(super) struct Broken {
    kind: ErrorKind,
    pub(super) cause: anyhow::Error,
}

impl Classified for Broken {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl<E: std::error::Error + Classified + Send + Sync + 'static> From<E> for Broken {
    fn from(error: E) -> Self {
        Self { kind: error.kind(), cause: error.into() }
    }
}

/// As the database library classifies it.
pub(super) fn sql(error: sqlx::Error) -> Broken {
    steadfast_db::Error::from(error).into()
}

/// One that a call of a saga asks for.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    order: SagaId,
    key: String,
}

impl Reservation {
    /// A new one; its step is called as the product.
    pub(super) fn new(product: &str) -> Self {
        let mut random = [0; 10];
        fastrand::fill(&mut random);
        let order = SagaId::from_parts(System.now(), random);
        let key = StepKey { saga: order, step: product.to_owned(), op: Op::Action }.to_string();
        Self { order, key }
    }
}

/// Everything but product and event, none of which anybody else waits for.
pub(super) async fn promise(tx: &mut Tx, product: &str, all: &[&Reservation]) -> Result<(), Broken> {
    let keys: Vec<&str> = all.iter().map(|it| it.key.as_str()).collect();
    let orders: Vec<String> = all.iter().map(|it| it.order.to_string()).collect();
    let barred: i64 = sqlx::query_scalar(include_str!("enter.sql"))
        .bind(&keys)
        .bind(System.now().as_millis())
        .bind(sha256(&[product.as_bytes()]).as_slice())
        .fetch_one(&mut **tx)
        .await
        .map_err(sql)?;
    if barred > 0 {
        return Err(Broken { kind: ErrorKind::Invalid, cause: anyhow!("the barrier holds {barred} new calls back") });
    }
    sqlx::query(include_str!("reserve.sql")).bind(&orders).bind(product).execute(&mut **tx).await.map_err(sql)?;
    sqlx::query(include_str!("leave.sql")).bind(&keys).bind(ANSWER).execute(&mut **tx).await.map_err(sql)?;
    Ok(())
}

/// The events of so many changes, of which the last has made this version.
pub(super) async fn tell(tx: &mut Tx, product: &str, last: i64, changes: i64) -> Result<(), Broken> {
    let event = |version| {
        let payload = serde_json::json!({"product": product, "quantity": 1});
        NewEvent::new("stock", product, "stock.reserved.v1", payload).with_sequence(version)
    };
    let events: Vec<NewEvent> = (last - changes + 1..=last).map(event).collect();
    append_many(tx, &events, System.now()).await?;
    Ok(())
}
