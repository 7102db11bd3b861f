//! One step on a record that lies on the other side of a network: see it, decide, write only where it is still the same.

use steadfast_core::Timestamp;

use crate::Error;
use crate::decision::Change;
use crate::record::{Record, RecordId};

/// What was seen of a record, and when by the store's own clock.
pub(super) struct Seen<M> {
    pub(super) record: Option<Record>,
    pub(super) now: Timestamp,
    /// What the store knows this state of the record by.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only Redis compares by it"))]
    pub(super) mark: M,
}

/// A store that can read a record and replace exactly what it read.
pub(super) trait Slots: Sync {
    type Mark: Send + Sync;

    fn see(&self, id: RecordId) -> impl Future<Output = Result<Seen<Self::Mark>, Error>> + Send;

    /// Whether the record was still the one that was seen, and is now what was decided.
    fn set(
        &self,
        id: RecordId,
        seen: &Seen<Self::Mark>,
        change: &Change,
    ) -> impl Future<Output = Result<bool, Error>> + Send;
}

/// Sees, decides, writes; again from a fresh look as often as somebody else was faster. Whoever loses has seen another
/// make progress, and the caller's deadline ends it in any case.
pub(super) async fn step<S: Slots, T: Send>(
    slots: &S,
    id: RecordId,
    decide: impl Fn(Option<&Record>, Timestamp) -> (T, Option<Change>) + Send + Sync,
) -> Result<T, Error> {
    loop {
        let seen = slots.see(id).await?;
        let (outcome, change) = decide(seen.record.as_ref(), seen.now);
        let Some(change) = change else { return Ok(outcome) };
        if slots.set(id, &seen, &change).await? {
            return Ok(outcome);
        }
    }
}
