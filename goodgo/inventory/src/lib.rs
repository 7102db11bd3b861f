//! The inventory service of GoodGo: what the shop sells, what is there of it, and what is promised to orders.
//!
//! It takes part in two sagas (`place_order`: reserve, release, commit; `return_order`: take back), lets people edit
//! products under optimistic locking, and lets them adjust stock. Every change tells of itself by an event in the same
//! transaction. It calls nobody.
//!
//! On PostgreSQL reservations of a product that many want at once are combined in a lane ([`Hot`]), whichever replica they
//! come to: one lock of the product's row for all of them, and still a version and an event for each.
//!
//! | route | who may | how a repeat is safe |
//! |---|---|---|
//! | `POST /saga/reservations`, `…/release`, `…/commit` | the orchestrator, for `order.place` | barrier |
//! | `POST /saga/restocks` | the orchestrator, for `order.return` | barrier |
//! | `GET /v1/products/{product}` | any user | reads |
//! | `PUT /v1/products/{product}` | `product.edit` | idempotency record in the edit's transaction; `If-Match` |
//! | `POST /v1/stock/{product}/adjustments` | `stock.adjust` | idempotency record in the change's transaction |

mod error;
mod http;
mod stock;
mod store;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use steadfast::core::{Clock, Timestamp};
use steadfast::db;
use steadfast::host::auth::Verifier;
use steadfast::idempotency::Drain;
use steadfast::locking::{Etags, Limiter, Quota};
use steadfast::saga::barrier;
use steadfast::saga::participant::token;
use steadfast::{idempotency, outbox};

use store::{Cause, Front, Store};

pub use error::Error;
pub use store::OpeningStock;
pub use store::{Home, Hot, Rows};

/// What the orchestrator and the per-call tokens know this service by.
pub const NAME: &str = "inventory";

/// How many updates one user may make, where the configuration says nothing else.
pub const UPDATES: Quota = Quota { name: "updates", burst: 5_000, window: Duration::from_mins(1) };

/// So many products are opened in one transaction.
const OPENING_BATCH: usize = 1_000;

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
    /// What versions travel in.
    pub etags: Etags,
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
    front: Front,
    drain: Drain,
}

/// Lists products and opens their stock, in few transactions; what is listed already stays as it is. Says how many were
/// new. The database must have the service's tables.
pub async fn stock_up<B: Home>(db: &B, now: Timestamp, opening: &[OpeningStock]) -> Result<usize, Error> {
    let store = Store::new()?;
    let mut new = 0;
    for batch in opening.chunks(OPENING_BATCH) {
        let mut tx = db.begin().await?;
        let cause = Cause { now, ..Cause::default() };
        new += store.open(&mut tx, batch, &cause).await?;
        tx.commit().await?;
    }
    Ok(new)
}

impl<B: Home> Service<B> {
    /// The service on this database, which is brought to the newest version.
    pub async fn open(db: B, config: Config) -> Result<Self, Error> {
        Self::open_with(db, config, Hot::default()).await
    }

    /// As [`open`](Self::open), with a word on when reservations are combined.
    pub async fn open_with(db: B, config: Config, hot: Hot) -> Result<Self, Error> {
        for line in [&store::LINE, &outbox::LINE, &barrier::LINE, &idempotency::LINE] {
            db::migrate(&db, line).await?;
        }
        let limiter = Arc::new(Limiter::new(config.updates));
        let front = Front::new(hot, db.lane(hot.bounds));
        Ok(Self(Arc::new(Shared { db, store: Arc::new(Store::new()?), config, limiter, front, drain: Drain::new() })))
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        http::router(&self.0)
    }

    /// [`stock_up`] on the service's own database.
    pub async fn stock_up(&self, opening: &[OpeningStock]) -> Result<usize, Error> {
        let Shared { db, config, .. } = &*self.0;
        let new = stock_up(db, config.clock.now(), opening).await?;
        config.hint.notify();
        Ok(new)
    }

    /// Removes the records of idempotency keys that have expired. To be called from time to time; a call looks at all of
    /// them, in small steps.
    pub async fn clean(&self) -> Result<(), Error> {
        let shared = &*self.0;
        let keys = shared.db.keys(Arc::clone(&shared.config.clock));
        while !keys.clean(CLEANING_BATCH).await?.ended {}
        Ok(())
    }

    /// Waits for requests and reservations that outlive their connection. Call it after the listener has been closed.
    pub async fn drain(&self) {
        self.0.drain.wait().await;
        self.0.front.close().await;
    }
}
