//! Whether a platform is at rest, so that what it holds can be compared.

use std::collections::HashMap;

use super::stores::{Stores, count, rows, statement};
use super::{Error, log};

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
pub async fn under_way(stores: &Stores) -> Result<UnderWay, Error> {
    let mut under_way = UnderWay {
        sagas: count(&stores.orchestrator, "orchestrator's", statement!("count_unsettled")).await?,
        ..UnderWay::default()
    };
    for (name, store) in stores.outboxes() {
        under_way.unpublished += count(store, name, statement!("count_unpublished")).await?;
    }
    // The log is large: it is looked at only when nothing is on its way to it.
    if under_way.sagas + under_way.unpublished == 0 {
        let ends = log::ends(&stores.log).await?;
        let positions: Vec<(String, i64, i64)> =
            rows(&stores.read_model, "read model's", statement!("read_positions")).await?;
        let positions = positions.into_iter().map(|(topic, partition, position)| ((topic, partition), position));
        under_way.unread = unread(ends, &positions.collect());
        under_way.put_aside = count(&stores.read_model, "read model's", statement!("count_waiting")).await?;
    }
    Ok(under_way)
}

/// Partitions whose last record has not been read.
fn unread(ends: Vec<(String, i64, i64)>, positions: &HashMap<(String, i64), i64>) -> u64 {
    let unread = ends.into_iter().filter(|(topic, partition, end)| {
        positions.get(&(topic.clone(), *partition)).is_none_or(|position| position <= end)
    });
    unread.count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_read_when_the_next_offset_lies_behind_its_end() {
        let key = |topic: &str, partition| (topic.to_owned(), partition);
        let end = |topic: &str, partition, end| (topic.to_owned(), partition, end);
        let positions = [(key("", 0), 6), (key("", 1), 5), (key("a", 1), 6)].into();
        assert_eq!(unread(vec![end("", 0, 5)], &positions), 0);
        assert_eq!(unread(vec![end("", 0, 5), end("", 1, 5), end("", 2, 1)], &positions), 2);
        assert_eq!(unread(vec![end("a", 1, 5), end("b", 1, 5)], &positions), 1, "each topic has its own");
    }
}
