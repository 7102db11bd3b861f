//! How soon a lane that has lost its owner has another: seen in the database, twenty times a second.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Row;
use sqlx::postgres::PgPool;
use tokio::time::{Instant, sleep, timeout};

const STEP: Duration = Duration::from_millis(50);
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// A lane as it was at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    /// The node's name and what one start of its process adds to it.
    owner: String,
    epoch: i64,
    /// It holds sagas that are not at rest. Nobody hurries to take one that holds none.
    busy: bool,
}

/// When which lane that held sagas was seen with a new owner.
#[derive(Debug)]
struct Change {
    at: Instant,
    lane: i64,
}

/// A node was struck while it held these lanes.
#[derive(Debug)]
struct Strike {
    at: Instant,
    kind: &'static str,
    lanes: Vec<i64>,
}

#[derive(Debug, Default)]
struct Seen {
    held: BTreeMap<i64, Held>,
    changes: Vec<Change>,
    strikes: Vec<Strike>,
}

impl Seen {
    fn see(&mut self, at: Instant, lanes: BTreeMap<i64, Held>) {
        for (lane, now) in &lanes {
            if self.held.get(lane).is_some_and(|before| before.busy && before.epoch != now.epoch) {
                self.changes.push(Change { at, lane: *lane });
            }
        }
        self.held = lanes;
    }

    fn strike(&mut self, at: Instant, kind: &'static str, node: &str) {
        let prefix = format!("{node}-");
        let lanes = self.held.iter().filter(|(_, held)| held.owner.starts_with(&prefix)).map(|(lane, _)| *lane);
        let lanes = lanes.collect();
        self.strikes.push(Strike { at, kind, lanes });
    }

    /// From each strike to the moment at which each of its lanes had an owner again.
    fn times(&self) -> BTreeMap<&'static str, Vec<u64>> {
        let mut times: BTreeMap<&'static str, Vec<u64>> = BTreeMap::new();
        for strike in &self.strikes {
            for lane in &strike.lanes {
                let next = self.changes.iter().find(|change| change.lane == *lane && change.at >= strike.at);
                if let Some(change) = next {
                    let millis = u64::try_from((change.at - strike.at).as_millis()).unwrap_or(u64::MAX);
                    times.entry(strike.kind).or_default().push(millis);
                }
            }
        }
        times
    }
}

/// Watches lanes.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch(Arc<Mutex<Seen>>);

impl Watch {
    /// Looks until it is dropped. While the database is away it sees nothing, and the time goes on.
    pub(super) async fn run(self, db: PgPool) {
        loop {
            if let Ok(Ok(rows)) =
                timeout(ASK_LIMIT, sqlx::query(include_str!("sql/select_lanes.sql")).fetch_all(&db)).await
            {
                let held = |row: &sqlx::postgres::PgRow| {
                    (row.get("lane"), Held { owner: row.get("owner"), epoch: row.get("epoch"), busy: row.get("busy") })
                };
                let lanes = rows.iter().map(held).collect();
                self.0.lock().unwrap_or_else(PoisonError::into_inner).see(Instant::now(), lanes);
            }
            sleep(STEP).await;
        }
    }

    /// Notes that a node can no longer hold what it holds.
    pub(super) fn strike(&self, kind: &'static str, node: usize) {
        let name = format!("orchestrator-{}", node + 1);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).strike(Instant::now(), kind, &name);
    }

    /// Milliseconds by the kind of fault.
    pub(super) fn times(&self) -> BTreeMap<&'static str, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).times()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(all: &[(i64, &str, i64)]) -> BTreeMap<i64, Held> {
        let held = |(lane, owner, epoch): &(i64, &str, i64)| {
            (*lane, Held { owner: (*owner).to_owned(), epoch: *epoch, busy: true })
        };
        all.iter().map(held).collect()
    }

    #[tokio::test]
    async fn a_takeover_is_timed_from_the_strike_to_the_new_epoch() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut seen = Seen::default();
        seen.see(at(0), lanes(&[(1, "orchestrator-1-9-a", 5), (2, "orchestrator-11-9-b", 6)]));
        seen.strike(at(100), "killed", "orchestrator-1");
        seen.see(at(200), lanes(&[(1, "orchestrator-1-9-a", 5), (2, "orchestrator-11-9-b", 7)]));
        seen.see(at(6_100), lanes(&[(1, "orchestrator-2-7-c", 8), (2, "orchestrator-11-9-b", 7)]));
        assert_eq!(seen.times(), BTreeMap::from([("killed", vec![6_000])]));
    }
}
