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

/// A lane that held sagas when its owner was struck.
#[derive(Debug)]
struct Orphan {
    struck: Instant,
    kind: &'static str,
    lane: i64,
    node: String,
}

#[derive(Debug, Default)]
struct Seen {
    held: BTreeMap<i64, Held>,
    orphans: Vec<Orphan>,
    times: BTreeMap<&'static str, Vec<u64>>,
}

impl Seen {
    fn see(&mut self, at: Instant, lanes: BTreeMap<i64, Held>) {
        let Self { held: before, orphans, times } = self;
        orphans.retain(|orphan| {
            let (Some(before), Some(now)) = (before.get(&orphan.lane), lanes.get(&orphan.lane)) else { return false };
            if before.epoch == now.epoch {
                // One whose last saga has come to rest needs no new owner.
                return now.busy;
            }
            let millis = u64::try_from((at - orphan.struck).as_millis()).unwrap_or(u64::MAX);
            times.entry(orphan.kind).or_default().push(millis);
            false
        });
        self.held = lanes;
    }

    fn strike(&mut self, at: Instant, kind: &'static str, node: &str) {
        let prefix = format!("{node}-");
        let lost = self.held.iter().filter(|(_, held)| held.busy && held.owner.starts_with(&prefix));
        self.orphans.extend(lost.map(|(lane, _)| Orphan { struck: at, kind, lane: *lane, node: node.to_owned() }));
    }

    fn wake(&mut self, node: &str) {
        self.orphans.retain(|orphan| orphan.node != node);
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).strike(Instant::now(), kind, &name(node));
    }

    /// Notes that a paused node goes on: what nobody has taken meanwhile is still its own.
    pub(super) fn wake(&self, node: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).wake(&name(node));
    }

    /// From a strike to a new owner, in milliseconds, by the kind of fault.
    pub(super) fn times(&self) -> BTreeMap<&'static str, Vec<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).times.clone()
    }
}

/// As which a node holds its lanes, but for what each start adds.
fn name(node: usize) -> String {
    format!("orchestrator-{}", node + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(all: &[(i64, &str, i64, bool)]) -> BTreeMap<i64, Held> {
        let held = |(lane, owner, epoch, busy): &(i64, &str, i64, bool)| {
            (*lane, Held { owner: (*owner).to_owned(), epoch: *epoch, busy: *busy })
        };
        all.iter().map(held).collect()
    }

    #[tokio::test]
    async fn a_takeover_is_timed_from_the_strike_to_the_new_epoch() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let (one, other) = ("orchestrator-1-9-a", "orchestrator-11-9-b");
        let mut seen = Seen::default();
        seen.see(at(0), lanes(&[(1, one, 5, true), (2, other, 6, true), (3, one, 2, true), (4, one, 3, false)]));
        seen.strike(at(100), "killed", "orchestrator-1");
        // Lane 2 is another's, lane 3 comes to rest without a new owner, lane 4 held nothing.
        seen.see(at(200), lanes(&[(1, one, 5, true), (2, other, 7, true), (3, one, 2, false), (4, one, 3, true)]));
        // Lane 2 is struck too, but its owner wakes before anybody takes it.
        seen.strike(at(300), "paused", "orchestrator-11");
        seen.wake("orchestrator-11");
        let new = "orchestrator-2-7-c";
        seen.see(at(6_100), lanes(&[(1, new, 8, true), (2, new, 8, true), (3, new, 9, true), (4, new, 9, true)]));
        assert_eq!(seen.times, BTreeMap::from([("killed", vec![6_000])]));
    }
}
