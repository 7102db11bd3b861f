//! The platform in this process, in folders of the tests' own: what breaks it on purpose is SQL in its own databases, or
//! a layer that a test puts around its services. Each run takes a second or two, as each is a whole replay.

mod access;
mod breaks;
#[cfg(feature = "full")]
mod failpoints;
mod spans;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use goodgo_pos::check::Checked;
use goodgo_pos::faults::{Faults, Settings};
use goodgo_pos::invoice::{self, Plan};
use goodgo_pos::replay::{self, Outcome, Replay};
use steadfast_core::{Clock, Timestamp};
use steadfast_db::Db;
use steadfast_host::clock::System;
use tempfile::TempDir;

use super::platform::Platform;
use super::rest;
use super::run::{check_stores, checked, settings};

/// Some orders are compensated, since products run out, and some goods are returned.
const ORDERS: usize = 60;
const SEED: u64 = 7;
/// How long a platform that is not broken may take to come to rest.
const REST: Duration = Duration::from_secs(20);
/// How long a broken one is waited for.
const UNREST: Duration = Duration::from_secs(2);

/// A platform on a folder of its own, and what is to be replayed on it.
struct World {
    folder: TempDir,
    plan: Arc<Plan>,
    faults: Faults,
    platform: Platform,
}

impl World {
    /// Without faults.
    async fn new(orders: usize) -> Self {
        Self::with(orders, 0.0, |router| router).await
    }

    /// With a share of sagas that meet faults, and with a layer of the test's between faults and services.
    async fn with(orders: usize, rate: f64, layer: impl Fn(Router) -> Router + Sync) -> Self {
        let invoices = invoice::sample().unwrap().invoices;
        let plan = Arc::new(Plan::new(&invoices, &invoice::Settings { orders: Some(orders), seed: SEED }));
        let faults = Faults::new(Settings { seed: SEED, rate, refusal_rate: 0.0 });
        let folder = tempfile::tempdir().unwrap();
        let around = |router: Router| layer(router).layer(faults.layer());
        let platform = Platform::start(folder.path(), 0, false, &plan.products, &around).await.unwrap();
        Self { folder, plan, faults, platform }
    }

    /// Replays the plan; a till that is not answered soon gives up.
    async fn replay(&self) -> (Outcome, Timestamp) {
        let settings = replay::Settings {
            concurrency: 16,
            seed: SEED,
            patience: Duration::from_secs(3),
            wait: Duration::from_secs(2),
            ..settings(&self.platform)
        };
        let outcome = Replay::new(Arc::clone(&self.plan), settings).run(|_| {}).await;
        self.faults.stop();
        (outcome, System.now())
    }

    /// Waits for rest, at most so long: one that is broken need not come to it.
    async fn rest(&self, limit: Duration) -> bool {
        rest::wait(&check_stores(&self.platform), limit).await.unwrap()
    }

    async fn check(&self, (outcome, faults_ended): &(Outcome, Timestamp)) -> Checked {
        checked(&self.platform, &self.plan, outcome, &self.faults, *faults_ended).await.unwrap()
    }

    /// Ends it, and gives the folder back so that it may be opened again.
    async fn end(self) -> TempDir {
        let drained = tokio::time::timeout(REST, self.platform.drain()).await;
        drained.expect("a platform drains in time").unwrap();
        self.folder
    }
}

/// Which invariants do not hold.
fn broken(checked: &Checked) -> BTreeSet<&'static str> {
    checked.violations.iter().map(|violation| violation.invariant).collect()
}

/// Runs statements in one transaction.
async fn execute(db: &Db, statements: &[&'static str]) {
    let mut tx = db.begin().await.unwrap();
    for statement in statements {
        sqlx::query(*statement).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

async fn count(db: &Db, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db.readers()).await.unwrap()
}
