//! What a projection is: a fold of events into rows.

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;
use sqlx::{Database, Sqlite, Transaction};
use steadfast_core::Event;
use steadfast_db::BoxError;

use crate::Upcasters;

/// A fold of events into a read model, in SQLite unless it says otherwise: `impl Projection<sqlx::Postgres> for …`.
///
/// [`apply`](Projection::apply) is called with the events of a batch: each event once, those of one aggregate in the
/// order of their numbers, in the transaction that also moves the checkpoint. Fold them in memory by key and write one
/// multi-row upsert per table: that is what makes a projection fast.
#[async_trait]
pub trait Projection<DB: Database = Sqlite>: Debug + Send + Sync {
    /// The name that checkpoint and parked events are kept under. Another name begins from the start.
    fn name(&self) -> &str;

    /// Which events it wants.
    fn subscribes(&self) -> Subscription;

    /// How events of older versions become ones that it knows.
    fn upcasters(&self) -> Upcasters {
        Upcasters::default()
    }

    /// Applies events to the read model, within the transaction.
    ///
    /// It must not remember anything of the events outside the transaction: after a failure the same events come again,
    /// perhaps in smaller groups.
    ///
    /// # Errors
    /// An error whose cause is a busy, locked or full database rolls the batch back, and it is tried again. Any other
    /// is taken for the fault of an event: that one is found, parked with its aggregate and the error, and the rest of
    /// the batch is applied.
    async fn apply(&self, tx: &mut Transaction<'static, DB>, events: &[Event]) -> Result<(), BoxError>;
}

/// Which events a projection wants.
///
/// Order is restored from the numbers of an aggregate, so a projection is given **all** events of the aggregates it
/// names; types that it does not know count as applied and never reach it.
///
/// ```
/// use steadfast_projection::Subscription;
///
/// let orders = Subscription::aggregates(["order"]).types(["order.created.v1", "order.cancelled.v1"]);
/// assert!(orders.wants("order") && !orders.wants("payment"));
/// assert!(orders.knows("order.created.v1") && !orders.knows("order.created.v2"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    aggregates: Option<BTreeSet<String>>,
    types: Option<BTreeSet<String>>,
}

impl Subscription {
    /// Every event of every aggregate.
    pub fn all() -> Self {
        Self { aggregates: None, types: None }
    }

    /// The events of these aggregate types.
    pub fn aggregates(types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { aggregates: Some(types.into_iter().map(Into::into).collect()), types: None }
    }

    /// Of those, only these event types; without this call all of them.
    #[must_use]
    pub fn types(mut self, types: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.types = Some(types.into_iter().map(Into::into).collect());
        self
    }

    /// Whether it wants events of this aggregate type.
    pub fn wants(&self, aggregate_type: &str) -> bool {
        self.aggregates.as_ref().is_none_or(|wanted| wanted.contains(aggregate_type))
    }

    /// Whether it knows this event type.
    pub fn knows(&self, event_type: &str) -> bool {
        self.types.as_ref().is_none_or(|known| known.contains(event_type))
    }

    /// The aggregate types that it names; `None` where it wants all.
    pub fn aggregate_types(&self) -> Option<&BTreeSet<String>> {
        self.aggregates.as_ref()
    }

    /// The event types that it names; `None` where it wants all.
    pub fn event_types(&self) -> Option<&BTreeSet<String>> {
        self.types.as_ref()
    }

    /// What either of the two wants.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let join = |one: Option<BTreeSet<String>>, two: Option<BTreeSet<String>>| Some(&one? | &two?);
        Self { aggregates: join(self.aggregates, other.aggregates), types: join(self.types, other.types) }
    }
}
