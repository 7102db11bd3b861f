//! Whether a platform is at rest, so that what it holds can be compared.

use std::collections::HashMap;

use super::read::{count, rows};
use super::{Error, Stores};

/// What is still under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnderWay {
    /// Sagas that are neither settled nor parked.
    pub sagas: u64,
    /// Events that are not published.
    pub unpublished: u64,
    /// Partitions of the log that the read model has not read to their end.
    pub unread: u64,
    /// Events that the read model has put aside until an earlier one comes, or since they cannot be applied.
    pub put_aside: u64,
}

impl UnderWay {
    /// Nothing is.
    pub const fn is_nothing(self) -> bool {
        self.sagas == 0 && self.unpublished == 0 && self.unread == 0 && self.put_aside == 0
    }
}

/// Looks what is still under way. Ask until [nothing](UnderWay::is_nothing) is, or for as long as you have patience, then
/// [`check`](super::check()).
pub async fn under_way(stores: &Stores<'_>) -> Result<UnderWay, Error> {
    let mut under_way = UnderWay {
        sagas: count(stores.orchestrator, "orchestrator's", include_str!("sqlite/count_unsettled.sql")).await?,
        ..UnderWay::default()
    };
    for (database, db) in [
        ("order", stores.order),
        ("payment", stores.payment),
        ("inventory", stores.inventory),
        ("orchestrator's", stores.orchestrator),
    ] {
        under_way.unpublished += count(db, database, include_str!("sqlite/count_unpublished.sql")).await?;
    }
    // The log is large: it is looked at only when nothing is on its way to it.
    if under_way.sagas + under_way.unpublished == 0 {
        let ends: Vec<(i64, i64)> = rows(stores.log, "log's", include_str!("sqlite/read_log_ends.sql")).await?;
        let positions: HashMap<i64, i64> =
            rows(stores.read_model, "read model's", include_str!("sqlite/read_positions.sql"))
                .await?
                .into_iter()
                .collect();
        under_way.unread = unread(&ends, &positions);
        under_way.put_aside =
            count(stores.read_model, "read model's", include_str!("sqlite/count_waiting.sql")).await?;
    }
    Ok(under_way)
}

/// Partitions whose last record has not been read.
fn unread(ends: &[(i64, i64)], positions: &HashMap<i64, i64>) -> u64 {
    let is_unread = |(partition, end): &&(i64, i64)| positions.get(partition).is_none_or(|position| position <= end);
    ends.iter().filter(is_unread).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_when_the_next_offset_lies_behind_its_end() {
        let positions = [(0, 6), (1, 5)].into();
        assert_eq!(unread(&[(0, 5)], &positions), 0);
        assert_eq!(unread(&[(0, 5), (1, 5), (2, 1)], &positions), 2);
    }
}
