//! The transactional form beside the bare transaction: a payment that counts into an account, books what it was and tells
//! of it, as GoodGo's does.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use http::StatusCode;
use serde_json::json;
use sqlx::{Postgres, Transaction};
use steadfast_core::{Classified, Clock, ErrorKind, NewEvent};
use steadfast_db::postgres::Db;
use steadfast_db::{migrate, tx};
use steadfast_host::clock::System;
use steadfast_idempotency::{Answer, Fingerprint, IdempotencyKey, Keyed, LINE, Outcome, Policy, Scope, run};
use steadfast_outbox::append;

use super::{Arguments, WORK};
use crate::bench::beside::{alternate, metered, sql_line};
use crate::bench::load::Work;
use crate::bench::report::Line;
use crate::bench::store::Scratch;

const TABLES: &str = include_str!("payment_tables.sql");
const COUNT: &str = "update account set balance = balance + 1, version = version + 1 where id = $1";
const BOOK: &str = "insert into payment (account, amount) values ($1, 1)";
/// As many as `TABLES` makes.
const ACCOUNTS: i64 = 65_536;

pub(super) async fn measure(url: &str, arguments: &Arguments) -> Result<Vec<Line>> {
    let scratch = Scratch::create(url).await?;
    let outcome = in_database(&scratch, arguments).await;
    scratch.drop().await?;
    outcome
}

async fn in_database(scratch: &Scratch, arguments: &Arguments) -> Result<Vec<Line>> {
    migrate(&scratch.db, &LINE).await?;
    migrate(&scratch.db, &steadfast_outbox::LINE).await?;
    sqlx::raw_sql(TABLES).execute(scratch.db.pool()).await?;
    let pace = &arguments.pace;
    let policy = Arc::new(Policy::new(Arc::new(System)));
    let kept = async |at_once: usize, length: Duration| {
        let one = |_| Kept { db: scratch.db.clone(), policy: Arc::clone(&policy) };
        metered(scratch, (0..at_once).map(one).collect(), length).await
    };
    let bare = async |at_once: usize, length: Duration| {
        metered(scratch, (0..at_once).map(|_| Bare(scratch.db.clone())).collect(), length).await
    };
    kept(8, pace.warming()).await?;
    bare(8, pace.warming()).await?;
    let mut lines = Vec::new();
    for &at_once in &arguments.at_once {
        let ours = async || kept(at_once, pace.length()).await;
        let (ours, limit) = alternate(pace.rounds, ours, async || bare(at_once, pace.length()).await).await?;
        let setting = format!("PostgreSQL, transactional, beside the bare transaction, {at_once} at once");
        lines.push(sql_line(WORK, setting, &ours, &limit));
    }
    Ok(lines)
}

async fn pay(tx: &mut Transaction<'static, Postgres>, account: i64) -> Result<(), Fault> {
    for statement in [COUNT, BOOK] {
        sqlx::query(statement).bind(account).execute(&mut **tx).await.map_err(steadfast_db::Error::from)?;
    }
    let payload = json!({"account": account, "amount": 1});
    append(tx, &NewEvent::new("account", account.to_string(), "account.adjusted.v1", payload), System.now()).await?;
    Ok(())
}

/// What a payment fails by, and whether it may be tried again.
#[derive(Debug)]
struct Fault {
    kind: ErrorKind,
    error: anyhow::Error,
}

impl Classified for Fault {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl<E: Classified + std::error::Error + Send + Sync + 'static> From<E> for Fault {
    fn from(error: E) -> Self {
        Self { kind: error.kind(), error: error.into() }
    }
}

struct Bare(Db);

impl Work for Bare {
    async fn once(&mut self) -> Result<()> {
        let account = fastrand::i64(0..ACCOUNTS);
        let paid = tx::run(&self.0, &tx::Policy::default(), |tx| Box::pin(pay(tx, account))).await;
        paid.map_err(|fault: Fault| fault.error)
    }
}

struct Kept {
    db: Db,
    policy: Arc<Policy>,
}

impl Work for Kept {
    async fn once(&mut self) -> Result<()> {
        let account = fastrand::i64(0..ACCOUNTS);
        let key = IdempotencyKey::new(&format!("{:032x}", fastrand::u128(..)))?;
        let keyed = Keyed::new(&Scope::new("bench.pay"), "bench", &key, Fingerprint::of_data(b"{}"));
        let outcome = run(&self.db, &keyed, &self.policy, |tx| {
            Box::pin(async move {
                pay(tx, account).await?;
                Ok::<_, Fault>(Answer::new(StatusCode::CREATED).with_body("{\"payment\":1}"))
            })
        });
        let outcome = outcome.await.map_err(|fault| fault.error)?;
        ensure!(matches!(outcome, Outcome::Executed(_)), "a new payment was not made: {outcome:?}");
        Ok(())
    }
}
