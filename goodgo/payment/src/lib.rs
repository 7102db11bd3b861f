//! The payment service of GoodGo: what was paid for orders, what was given back, and a ledger of every movement.
//!
//! It takes part in two sagas (`place_order`: capture, void; `return_order`: refund) and lets people adjust accounts.
//! Every change tells of itself by an event in the same transaction. It calls nobody.
//!
//! | route | who may | how a repeat is safe |
//! |---|---|---|
//! | `POST /saga/payments`, `…/refund` | the orchestrator, for `payment.process` | barrier |
//! | `POST /saga/refunds` | the orchestrator, for `order.return` | barrier |
//! | `GET /v1/payments/{order_id}` | any user | reads |
//! | `POST /v1/accounts/{customer}/adjustments` | `payment.adjust` | idempotency record in the change's transaction |

mod error;
mod http;
mod payment;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use steadfast::core::Clock;
use steadfast::db;
use steadfast::host::auth::Verifier;
use steadfast::idempotency::Drain;
use steadfast::locking::{Limiter, Quota};
use steadfast::saga::barrier;
use steadfast::saga::participant::token;
use steadfast::{idempotency, outbox};

use store::Store;

pub use error::Error;
pub use store::{Home, Rows};

/// What the orchestrator and the per-call tokens know this service by.
pub const NAME: &str = "payment";

/// How many updates one user may make, where the configuration says nothing else.
pub const UPDATES: Quota = Quota { name: "updates", burst: 5_000, window: Duration::from_mins(1) };

/// So many idempotency records are looked at in one transaction.
const CLEANING_BATCH: u32 = 500;

/// What the service needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The key that it shares with the orchestrator.
    pub call_key: token::Key,
    /// Whose tokens it accepts from users.
    pub verifier: Verifier,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wakes the relay of this process.
    pub hint: outbox::Hint,
    /// How many updates one user may make.
    pub updates: Quota,
}

/// The service on a database; clones share everything.
#[derive(Clone, Debug)]
pub struct Service<B>(Arc<Shared<B>>);

#[derive(Debug)]
pub(crate) struct Shared<B> {
    db: B,
    store: Arc<Store>,
    config: Config,
    limiter: Arc<Limiter>,
    drain: Drain,
}

impl<B: Home> Service<B> {
    /// The service on this database, which is brought to the newest version.
    pub async fn open(db: B, config: Config) -> Result<Self, Error> {
        for line in [&store::LINE, &outbox::LINE, &barrier::LINE, &idempotency::LINE] {
            db::migrate(&db, line).await?;
        }
        let limiter = Arc::new(Limiter::new(config.updates));
        Ok(Self(Arc::new(Shared { db, store: Arc::new(Store::new()?), config, limiter, drain: Drain::new() })))
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        http::router(&self.0)
    }

    /// Removes the records of idempotency keys that have expired. To be called from time to time; a call looks at all of
    /// them, in small steps.
    pub async fn clean(&self) -> Result<(), Error> {
        let shared = &*self.0;
        let keys = shared.db.keys(Arc::clone(&shared.config.clock));
        while !keys.clean(CLEANING_BATCH).await?.ended {}
        Ok(())
    }

    /// Waits for requests that outlive their connection. Call it after the listener has been closed.
    pub async fn drain(&self) {
        self.0.drain.wait().await;
    }
}
