//! The seam between patterns: who must tell the world about a change without knowing how the world is told.

use std::error::Error as StdError;
use std::fmt::Debug;

use async_trait::async_trait;
use sqlx::{Database, Transaction};
use steadfast_core::{NewEvent, Timestamp};

/// Any error, with its cause kept.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Takes events within a transaction of the caller: they exist exactly if the caller's change does. An outbox is one.
#[async_trait]
pub trait EventSink<DB: Database>: Debug + Send + Sync {
    /// Appends the events in order. An error must fail the caller's transaction.
    async fn append_many(
        &self,
        tx: &mut Transaction<'_, DB>,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<(), BoxError>;
}
