//! Reservations of what many want at once. Where a database has several writers, a hot product's row is a queue of
//! transactions that each wait for a flush: there a lane combines them. Where there is one writer, that one is the lane.

#[cfg(feature = "postgres")]
mod postgres;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use steadfast::core::{StepKey, Timestamp, sha256};
use steadfast::locking::Key;
use steadfast::locking::lane::{self, Amounts, Bounds, Commit, Heat, Lane, Verdict, Warm};
use steadfast::saga::barrier::Answer;
use steadfast::saga::participant::call::Call;
use uuid::Uuid;

use super::{Cause, Quantities};
use crate::Error;

#[cfg(feature = "postgres")]
pub(super) use postgres::Batches;

/// When reservations are combined.
#[derive(Clone, Copy, Debug)]
pub struct Hot {
    /// A product is hot while so many reservations of it are under way in this process.
    pub at_once: usize,
    /// What the lane takes.
    pub bounds: Bounds,
}

impl Default for Hot {
    /// From 4 at once, with the lane's own bounds.
    fn default() -> Self {
        Self { at_once: 4, bounds: Bounds::default() }
    }
}

/// A reservation on its way into a batch: what is written beside the stock.
#[derive(Debug)]
#[cfg_attr(not(feature = "postgres"), expect(dead_code, reason = "only PostgreSQL has a lane"))]
pub struct Want {
    pub(super) key: StepKey,
    pub(super) started: Timestamp,
    /// What the barrier knows the request's body by.
    pub(super) request: [u8; 32],
    pub(super) order_id: Uuid,
    pub(super) cause: Cause,
    /// What is answered, and remembered, to each verdict.
    pub(super) answer: fn(Uuid, &Verdict) -> Answer,
}

impl Want {
    pub(crate) fn new(
        call: &Call,
        body: &[u8],
        order_id: Uuid,
        cause: &Cause,
        answer: fn(Uuid, &Verdict) -> Answer,
    ) -> Self {
        Self {
            key: call.key.clone(),
            started: call.started,
            request: sha256(&[body]),
            order_id,
            cause: Cause { order_id: Some(order_id), ..cause.clone() },
            answer,
        }
    }
}

/// What combines reservations.
#[async_trait]
pub trait Combine: Debug + Send + Sync {
    /// Reserves all of this or nothing, in the next batch.
    async fn reserve(&self, amounts: Amounts, want: Want) -> Result<Verdict, lane::Error<Error>>;

    /// Takes nothing more, and commits what waits.
    async fn close(&self);
}

#[async_trait]
impl<C: Commit<Payload = Want, Error = Error>> Combine for Lane<C> {
    async fn reserve(&self, amounts: Amounts, want: Want) -> Result<Verdict, lane::Error<Error>> {
        self.take(amounts, want).await
    }

    async fn close(&self) {
        Self::close(self).await;
    }
}

/// Where every reservation comes by.
#[derive(Debug)]
pub(crate) struct Front {
    heat: Heat,
    lane: Option<Arc<dyn Combine>>,
}

impl Front {
    pub(crate) fn new(hot: Hot, lane: Option<Arc<dyn Combine>>) -> Self {
        Self { heat: Heat::new(hot.at_once), lane }
    }

    /// Comes to these products; what is given back is held until the reservation has ended.
    pub(crate) fn come(&self, quantities: &Quantities) -> Warm {
        self.heat.come(quantities.keys().map(Key::from))
    }

    /// The lane, where there is one and a product is hot.
    pub(crate) fn lane(&self, warm: &Warm) -> Option<&dyn Combine> {
        self.lane.as_deref().filter(|_| warm.is_hot())
    }

    /// Ends the lane, once what waits in it is committed.
    pub(crate) async fn close(&self) {
        if let Some(lane) = &self.lane {
            lane.close().await;
        }
    }
}

/// As the lane takes them.
pub(crate) fn amounts(quantities: &Quantities) -> Amounts {
    quantities.iter().map(|(product, quantity)| (Key::from(product), *quantity)).collect()
}
