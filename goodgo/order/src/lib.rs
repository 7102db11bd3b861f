//! The order service of GoodGo: takes orders and returns, and starts the sagas that carry them out.
//!
//! It writes nothing when it takes an order: it makes one call, to the orchestrator, and the saga's first step comes back
//! to create the order here. Reads come from a read model of its own, which events of all services keep up to date.
//!
//! | route | who may | how a repeat is safe |
//! |---|---|---|
//! | `POST /v1/orders` | `order.place` | idempotency record, leased; a repeat of the call starts the same saga |
//! | `POST /v1/returns` | `order.return` | as above |
//! | `GET /v1/orders/{id}`, `/v1/sales?day=`, `/v1/stock-view/{product}` | any user | reads |
//! | `POST /saga/orders`, `…/cancel`, `…/confirm` | the orchestrator, for `order.place` | barrier |
//! | `POST /saga/returns`, `…/cancel`, `…/confirm` | the orchestrator, for `order.return` | barrier |

mod error;
mod http;
mod keys;
mod orchestrator;
mod order;
mod pushback;
mod returns;
mod store;

pub mod read_model;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use steadfast::core::Clock;
use steadfast::db::{self, Backend};
use steadfast::host::auth::Verifier;
use steadfast::idempotency::Drain;
use steadfast::locking::{Limiter, Quota};
use steadfast::saga::barrier;
use steadfast::saga::participant::token;
use steadfast::{idempotency, outbox};

use orchestrator::Orchestrator;
use store::Store;

pub use error::Error;
pub use keys::{Home, Keys};
pub use store::Rows;

/// What the orchestrator and the per-call tokens know this service by.
pub const NAME: &str = "order";

/// How many updates one user may make, where the configuration says nothing else.
pub const UPDATES: Quota = Quota { name: "updates", burst: 5_000, window: Duration::from_mins(1) };

/// So many idempotency records are looked at in one transaction.
const CLEANING_BATCH: u32 = 500;

/// What the service needs.
#[derive(Clone, Debug)]
pub struct Config<B> {
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
    /// Where the orchestrator is: `http://127.0.0.1:8080`.
    pub orchestrator: String,
    /// Where the keys of users' requests are remembered: in the service's database, or in Redis; [`Keys`] opens either.
    pub keys: Arc<dyn idempotency::Store>,
    /// The database of the read model, of the same kind as the service's own.
    pub read_model: B,
}

/// The service on a database; clones share everything.
#[derive(Clone, Debug)]
pub struct Service<B>(Arc<Shared<B>>);

#[derive(Debug)]
pub(crate) struct Shared<B> {
    db: B,
    store: Arc<Store>,
    orchestrator: Orchestrator,
    config: Config<B>,
    limiter: Arc<Limiter>,
    drain: Drain,
}

impl<B: Backend<Sql: Rows>> Service<B> {
    /// The service on these databases, which are brought to the newest version.
    pub async fn open(db: B, config: Config<B>) -> Result<Self, Error> {
        for line in [&store::LINE, &outbox::LINE, &barrier::LINE, &idempotency::LINE] {
            db::migrate(&db, line).await?;
        }
        db::migrate(&config.read_model, &read_model::LINE).await?;
        Ok(Self(Arc::new(Shared {
            store: Arc::new(Store::new()?),
            orchestrator: Orchestrator::new(&config.orchestrator)?,
            limiter: Arc::new(Limiter::new(config.updates)),
            drain: Drain::new(),
            db,
            config,
        })))
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        http::router(&self.0)
    }

    /// Removes the records of idempotency keys that have expired. To be called from time to time; a call looks at all of
    /// them, in small steps.
    pub async fn clean(&self) -> Result<(), Error> {
        let shared = &*self.0;
        while !shared.config.keys.clean(CLEANING_BATCH).await?.ended {}
        Ok(())
    }

    /// Waits for requests that outlive their connection, and ends the connections to the orchestrator. Call it after the
    /// listener has been closed.
    pub async fn drain(&self) {
        self.0.drain.wait().await;
        self.0.orchestrator.close().await;
    }
}
