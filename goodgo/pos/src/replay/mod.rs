//! Carries a plan out through the services' public API, with the bad manners of real tills.
//!
//! Each step has a key of its own, made from its invoice, and is sent under it until it is answered: through cut
//! connections, time-outs, 409 in flight, 429 and 503, with growing pauses, for at most [`Settings::patience`]. So an
//! orchestrator that is killed loses no order. A return is sent once its order has completed; if it did not complete,
//! there is nothing to return, and it is skipped and counted.
//!
//! | manner ([`Manner`]) | what the till does | what must come of it |
//! |---|---|---|
//! | `Declined` | pays with a card that is declined | the order is compensated |
//! | `TwiceAtOnce`, `TwiceInTurn` | sends the order twice under one key | both answers are equal |
//! | `HangUpMidRequest`, `HangUpBeforeAnswer` | hangs up, then sends again | one order |
//! | `OtherBody` | sends another order under a used key | 422 |
//! | `TwoEditors` | two clients edit one product from the same `ETag` | one 200, one 412, and the loser's retry succeeds |
//!
//! What was promised and not kept is in [`Outcome::broken`]; what the databases hold is the checker's business.

mod adjust;
mod edit;
mod manner;
mod message;
mod outcome;
mod place;
mod run;
mod send;
mod take_back;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::client::{Client, Limits};
use crate::invoice::Plan;

pub use manner::{Manner, client_share, manner, participant_share};
pub use outcome::{Applied, OrderEnd, Outcome, Progress};

/// Makes the bearer token of a principal.
pub type Mint = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Base URLs, such as `http://127.0.0.1:8081`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The order service.
    pub order: String,
    /// The payment service.
    pub payment: String,
    /// The inventory service.
    pub inventory: String,
}

/// How to replay.
#[derive(Clone)]
pub struct Settings {
    /// Where the services are.
    pub addresses: Addresses,
    /// Steps at once; at least 1.
    pub concurrency: usize,
    /// Decides the manners.
    pub seed: u64,
    /// The share of orders that meet some fault, of the till's making or of the participants', from 0 to 1. The till
    /// takes [`client_share`] of it; give the rest, [`participant_share`], to the participants.
    pub failure_rate: f64,
    /// Makes a principal's token; they are named `till-…` and need `order.place`, `order.return`, `payment.process`,
    /// `stock.adjust`, `payment.adjust` and `product.edit`.
    pub mint: Mint,
    /// How long one step is tried.
    pub patience: Duration,
    /// How long a service is asked to wait for a saga's end (`Prefer: wait`).
    pub wait: Duration,
    /// Ends the run early: no further step is begun.
    pub stop: CancellationToken,
}

impl Settings {
    /// Eight steps at once, no faults, 90 s of patience, waiting 20 s for an end.
    pub fn new(addresses: Addresses, mint: Mint) -> Self {
        Self {
            addresses,
            concurrency: 8,
            seed: 0,
            failure_rate: 0.0,
            mint,
            patience: Duration::from_secs(90),
            wait: Duration::from_secs(20),
            stop: CancellationToken::new(),
        }
    }
}

impl fmt::Debug for Settings {
    /// Without what makes tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("addresses", &self.addresses)
            .field("concurrency", &self.concurrency)
            .field("seed", &self.seed)
            .field("failure_rate", &self.failure_rate)
            .finish_non_exhaustive()
    }
}

/// A plan that is to be carried out.
#[derive(Clone, Debug)]
pub struct Replay {
    plan: Arc<Plan>,
    settings: Arc<Settings>,
    client: Client,
}

impl Replay {
    /// Makes ready; nothing is sent yet.
    pub fn new(plan: impl Into<Arc<Plan>>, settings: Settings) -> Self {
        let limits = Limits { time: settings.wait + Duration::from_secs(15), ..Limits::default() };
        Self { plan: plan.into(), settings: Arc::new(settings), client: Client::new(limits) }
    }

    /// Carries the plan out, and tells after each step how far it is.
    pub async fn run(&self, progress: impl Fn(Progress) + Send + Sync + 'static) -> Outcome {
        run::run(self, Arc::new(progress)).await
    }
}
