//! Reads, after a run, what the services, the orchestrator, the log and the read model hold, and compares them with each
//! other and with the plan. No counter and no answer of a service is believed.
//!
//! | invariant ([`Violation::invariant`]) | file | holds when |
//! |---|---|---|
//! | `settled` | `settled.rs` | every accepted order has its saga; every saga is settled within 60 s of the end of the faults, or parked for a compensation that was refused on purpose; each order's and return's row agrees with its saga |
//! | `money` | `money.rs` | per customer, captured less refunded is the value of completed orders less returns, plus what parked sagas leave |
//! | `stock` | `stock.rs` | per product, opening stock less stock on hand is what completed orders took less returns, plus write-offs and what parked sagas leave; nothing else is reserved |
//! | `events` | `events.rs` | every committed event is in the log, once for a consumer that deduplicates, without a gap in its aggregate |
//! | `read_model` | `read_model.rs` | the read model is what a fold of the write side gives |
//! | `promises` | | the tills saw no promise broken |
//!
//! Each comparison is a pure function of rows; `read.rs` fetches them, from SQLite or from PostgreSQL, and `log.rs` the
//! events, from the embedded log or from Kafka. It is meant for platforms at rest ([`under_way`]): nobody writes while it
//! reads. It compares all that there is: the platform must have served nobody but the run.

mod consistency;
mod contract;
mod error;
mod events;
mod facts;
mod journal;
mod log;
mod money;
mod read;
mod read_model;
mod rest;
mod settled;
mod stock;
mod stores;
#[cfg(test)]
mod testing;

use std::fmt;

use serde::Serialize;
use steadfast::core::{StepKey, Timestamp};

use stores::{count, statement};

use crate::invoice::Plan;
use crate::replay::Outcome;

pub use consistency::Consistency;
pub use contract::topics;
pub use error::Error;
pub use rest::{UnderWay, under_way};
pub use stores::{EventLog, Store, Stores};

/// What the databases are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// What the tills saw.
    pub outcome: &'a Outcome,
    /// Compensations that were refused for good on purpose: [`Faults::refused`](crate::faults::Faults::refused).
    pub refused: &'a [StepKey],
    /// When the last fault was injected, the last kill included.
    pub faults_ended: Timestamp,
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// What is wrong: the thing, what it should be, what it is.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

/// A saga that waits for an operator, for a cause that the run injected on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parked {
    /// Its id.
    pub saga: String,
    /// Its definition.
    pub definition: String,
    /// The number of the order or return.
    pub number: String,
    /// The steps whose compensation was refused.
    pub refused: Vec<String>,
    /// The effects that are left in the world.
    pub left: Vec<String>,
}

/// How the orders ended, by the orchestrator's journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ends {
    /// All orders of the plan that were placed.
    pub orders: u64,
    /// Completed.
    pub completed: u64,
    /// Compensated.
    pub compensated: u64,
    /// Parked.
    pub failed: u64,
    /// Neither.
    pub pending: u64,
}

/// What a platform has served already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Sagas of the orchestrator.
    pub sagas: u64,
    /// Orders of the order service.
    pub orders: u64,
    /// Products of the inventory service.
    pub products: u64,
    /// Orders of the read model.
    pub summaries: u64,
}

impl Served {
    /// Whether it has served nobody.
    pub const fn is_nothing(self) -> bool {
        self.sagas == 0 && self.orders == 0 && self.products == 0 && self.summaries == 0
    }
}

impl fmt::Display for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sagas, orders, products, summaries } = self;
        write!(f, "{sagas} sagas, {orders} orders, {products} products, {summaries} orders in the read model")
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// What does not hold; empty when all is well.
    pub violations: Vec<Violation>,
    /// Sagas that are parked on purpose.
    pub parked: Vec<Parked>,
    /// How the orders ended.
    pub ends: Ends,
    /// Returns that the journal knows as completed.
    pub returns_completed: u64,
    /// How soon the sagas were consistent.
    pub consistency: Consistency,
    /// All sagas of the journal.
    pub sagas: u64,
    /// From the first saga's start to the last one's end.
    pub sagas_took_ms: u64,
    /// Events in the log, each once.
    pub events_published: u64,
}

impl Checked {
    /// Sagas that ended per second, while there were any.
    pub fn sagas_per_second(&self) -> f64 {
        if self.sagas_took_ms == 0 {
            return 0.0;
        }
        read::to_f64(self.sagas) * 1_000.0 / read::to_f64(self.sagas_took_ms)
    }
}

/// Whether a platform has served somebody already: its sagas, orders, products and read orders, where there are any.
///
/// # Errors
/// A database that cannot be read.
pub async fn served(stores: &Stores) -> Result<Served, Error> {
    Ok(Served {
        sagas: count(&stores.orchestrator, "orchestrator's", statement!("count_sagas")).await?,
        orders: count(&stores.order, "order", statement!("count_orders")).await?,
        products: count(&stores.inventory, "inventory", statement!("count_products")).await?,
        summaries: count(&stores.read_model, "read model's", statement!("count_summaries")).await?,
    })
}

/// Reads and compares everything.
///
/// # Errors
/// A database that cannot be read, or holds what it cannot hold.
pub async fn check(stores: &Stores, run: &Run<'_>) -> Result<Checked, Error> {
    let facts = read::facts(stores).await?;
    let injected = run.refused.iter().cloned().collect();
    let (mut violations, parked) = settled::check(&facts, run.outcome, &injected, run.faults_ended);
    violations.extend(money::check(&facts, run.plan, &run.outcome.applied));
    violations.extend(stock::check(&facts, run.plan, &run.outcome.applied));
    violations.extend(read_model::check(&facts, &read::read_model(&stores.read_model).await?));
    let promises = run.outcome.broken.iter();
    violations.extend(promises.map(|detail| Violation { invariant: "promises", detail: detail.clone() }));
    let log = events::Log::new(log::events(&stores.log).await?);
    let mut known = events::Known::default();
    for (name, store) in stores.outboxes() {
        violations.extend(events::check(name, &read::outbox(store).await?, &log, &mut known));
    }
    violations.extend(events::strays(&log, &known));
    let visible = read::visible(&stores.read_model).await?;
    Ok(Checked {
        ends: settled::ends(&facts.sagas, run.outcome),
        returns_completed: settled::completed_returns(&facts.sagas),
        consistency: consistency::consistency(&facts.sagas, &visible),
        sagas: facts.sagas.len() as u64,
        sagas_took_ms: consistency::span_ms(&facts.sagas),
        events_published: log.len() as u64,
        violations,
        parked,
    })
}

/// At most so many of one kind are listed; the rest is counted.
const LISTED: usize = 50;

/// The violations of one invariant, the first of them in full.
fn violations(invariant: &'static str, details: impl IntoIterator<Item = String>) -> Vec<Violation> {
    let mut details: Vec<String> = details.into_iter().collect();
    let more = details.len().saturating_sub(LISTED);
    if more > 0 {
        details.truncate(LISTED);
        details.push(format!("and {more} more of this kind"));
    }
    details.into_iter().map(|detail| Violation { invariant, detail }).collect()
}
