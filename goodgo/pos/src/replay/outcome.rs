//! What came of a replay, as the tills saw it.

use std::collections::BTreeMap;
use std::time::Duration;

/// How an order ended, as its till saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderEnd {
    /// Completed.
    Completed {
        /// Its id at the order service.
        order_id: String,
    },
    /// Taken back as a whole.
    Compensated {
        /// Its id at the order service.
        order_id: String,
    },
    /// Waits for an operator.
    Failed {
        /// Its id at the order service.
        order_id: String,
    },
    /// Accepted, but its end was not seen in time.
    Accepted {
        /// Its id at the order service.
        order_id: String,
    },
    /// Turned away by the service for good: no order.
    Rejected {
        /// Why.
        detail: String,
    },
    /// No answer in time: whether there is an order is not known.
    Unanswered,
}

impl OrderEnd {
    /// Its id, where the order was accepted.
    pub fn order_id(&self) -> Option<&str> {
        match self {
            Self::Completed { order_id }
            | Self::Compensated { order_id }
            | Self::Failed { order_id }
            | Self::Accepted { order_id } => Some(order_id),
            Self::Rejected { .. } | Self::Unanswered => None,
        }
    }
}

/// What was adjusted, by the answers to the tills: the checker holds the databases against it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Written off, by product.
    pub write_offs: BTreeMap<String, i64>,
    /// Sent, but not answered in time: written off or not, by product.
    pub doubtful_write_offs: BTreeMap<String, i64>,
    /// Booked to accounts, in thousandths.
    pub adjusted: i64,
    /// Sent, but not answered in time.
    pub doubtful_adjustments: Vec<i64>,
}

/// What came of a replay, as the tills saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The end of each order that was placed, by invoice.
    pub orders: BTreeMap<String, OrderEnd>,
    /// Returns that were sent.
    pub returns: u64,
    /// Of them, those of an order.
    pub returns_matched: u64,
    /// Of them, those of no order that is known.
    pub returns_standalone: u64,
    /// Returns that were sent and refused.
    pub returns_refused: u64,
    /// Returns that were sent and not answered in time.
    pub returns_unanswered: u64,
    /// Returns that were not sent: their order did not complete.
    pub skipped_returns: u64,
    /// Products that were written off.
    pub write_offs: u64,
    /// Products of which more was to be written off than was free.
    pub write_offs_refused: u64,
    /// Accounts that were adjusted.
    pub account_adjustments: u64,
    /// Orders that reached a service twice and were carried out once.
    pub duplicates_prevented: u64,
    /// Keys that were used for another order, and refused.
    pub key_reuse_refused: u64,
    /// Edits of a product that met another's.
    pub conflicts: u64,
    /// Of them, those that a retry resolved.
    pub conflicts_resolved: u64,
    /// Times that a till hung up.
    pub hang_ups: u64,
    /// Requests that were sent again, for whatever reason.
    pub retries: u64,
    /// How often each manner occurred, by name.
    pub manners: BTreeMap<String, u64>,
    /// What was adjusted.
    pub applied: Applied,
    /// Promises that were not kept, as the tills saw it.
    pub broken: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Steps that are done.
    pub done: usize,
    /// Steps in all.
    pub total: usize,
    /// Orders that were placed.
    pub orders: usize,
    /// Of them, completed.
    pub completed: usize,
    /// Of them, compensated.
    pub compensated: usize,
    /// Of them, failed.
    pub failed: usize,
}
