//! Lanes, their leases, the queue and the commands, in memory. The clock is the caller's.

use steadfast_core::{SagaId, Timestamp};

use super::Tables;
use crate::journal::{Attend, Attendance, Command, Hold, Lane, Lapsed, QUEUE, Row, is_unsettled};
use crate::machine::Status;

/// Who holds a lane.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) epoch: i64,
    until: Timestamp,
    released: bool,
}

/// The journal's own election.
#[derive(Debug)]
pub(super) struct Leader {
    node: String,
    until: Timestamp,
}

/// A command and its answer.
#[derive(Debug)]
pub(super) struct Sent {
    saga: SagaId,
    text: String,
    pub(super) answer: Option<String>,
    pub(super) at: Timestamp,
    /// The saga's lane at that time.
    lane: Option<i64>,
}

impl Held {
    fn is_lapsed(&self, now: Timestamp) -> bool {
        self.released || self.until <= now
    }

    /// No two lanes share an epoch: a row is known again by the epoch that it was written in.
    fn take(&mut self, newest: i64, hold: Hold<'_>) -> i64 {
        self.epoch = (newest + 1).max(hold.now.as_millis());
        self.until = hold.now + hold.lease;
        self.released = false;
        self.epoch
    }
}

impl Tables {
    pub(super) fn take_lane(&mut self, hold: Hold<'_>) -> Lane {
        let idle = |(id, held): (&i64, &Held)| (held.is_lapsed(hold.now) && !self.holds_work(*id)).then_some(*id);
        let free = self.lanes.iter().find_map(idle);
        let id = free.unwrap_or_else(|| self.lanes.keys().last().map_or(QUEUE + 1, |last| last + 1));
        let newest = self.newest_epoch();
        let lane = self.lanes.entry(id).or_insert(Held { epoch: 0, until: hold.now, released: true });
        Lane { id, epoch: lane.take(newest, hold) }
    }

    fn newest_epoch(&self) -> i64 {
        self.lanes.values().map(|lane| lane.epoch).max().unwrap_or(0)
    }

    pub(super) fn take_over(&mut self, seen: Lane, hold: Hold<'_>) -> Option<Lane> {
        let newest = self.newest_epoch();
        let lane = self.lanes.get_mut(&seen.id)?;
        let free = lane.epoch == seen.epoch && lane.is_lapsed(hold.now);
        free.then(|| Lane { id: seen.id, epoch: lane.take(newest, hold) })
    }

    pub(super) fn release(&mut self, lanes: &[Lane]) {
        for lane in lanes {
            if let Some(held) = self.lanes.get_mut(&lane.id).filter(|held| held.epoch == lane.epoch) {
                held.released = true;
            }
        }
    }

    pub(super) fn owns(&self, lane: Lane) -> bool {
        self.lanes.get(&lane.id).is_some_and(|held| held.epoch == lane.epoch)
    }

    fn holds_work(&self, lane: i64) -> bool {
        self.sagas.values().any(|record| record.lane == Some(lane) && is_unsettled(record.row.head.status))
    }

    pub(super) fn attend(&mut self, attend: Attend<'_>) -> Attendance {
        let now = attend.hold.now;
        let mut held = Vec::new();
        for lane in attend.lanes {
            let Some(mine) = self.lanes.get_mut(&lane.id) else { continue };
            if mine.epoch != lane.epoch || mine.released {
                continue;
            }
            if attend.renew {
                mine.until = now + attend.hold.lease;
            }
            held.push(lane.id);
        }
        let others = self.lanes.iter().filter(|(id, other)| {
            other.is_lapsed(now) && attend.lanes.iter().all(|lane| lane.id != **id) && self.holds_work(**id)
        });
        let lapsed = others.map(|(id, other)| Lapsed {
            lane: Lane { id: *id, epoch: other.epoch },
            since: now.since(other.until),
            released: other.released,
        });
        let lapsed = lapsed.collect();
        let commands = self.commands_of(&held);
        let waiting = self.sagas.values().filter(|record| record.lane == Some(QUEUE));
        let queued = waiting.take(attend.count as usize).count();
        Attendance {
            held,
            lapsed,
            commands,
            queued: u32::try_from(queued).unwrap_or(u32::MAX),
            definitions: i64::try_from(self.definitions.len()).unwrap_or(i64::MAX),
            leader: attend.stand && self.elect(attend.hold),
        }
    }

    fn commands_of(&self, held: &[i64]) -> Vec<Command> {
        let hears = |lane: Option<i64>| lane.filter(|lane| *lane != QUEUE).is_none_or(|lane| held.contains(&lane));
        let present =
            |saga: SagaId| self.by_id.get(&saga).and_then(|no| self.sagas.get(no)).and_then(|record| record.lane);
        let open = self.commands.iter().filter(|(_, sent)| sent.answer.is_none());
        let mine = open.filter(|(_, sent)| {
            let present = present(sent.saga).filter(|lane| *lane != QUEUE);
            hears(present.or(sent.lane))
        });
        mine.map(|(no, sent)| Command { no: *no, saga: sent.saga, text: sent.text.clone() }).collect()
    }

    fn elect(&mut self, hold: Hold<'_>) -> bool {
        let vacant = self.leader.as_ref().is_none_or(|leader| leader.node == hold.node || leader.until <= hold.now);
        if vacant {
            self.leader = Some(Leader { node: hold.node.to_owned(), until: hold.now + hold.lease });
        }
        vacant
    }

    pub(super) fn claim(&mut self, lane: Lane, limit: u32) -> Vec<Row> {
        if !self.owns(lane) {
            return Vec::new();
        }
        let waiting = self.sagas.values_mut().filter(|record| record.lane == Some(QUEUE));
        let claimed = waiting.take(limit as usize).map(|record| {
            record.lane = Some(lane.id);
            record.row.clone()
        });
        claimed.collect()
    }

    pub(super) fn adopt(&mut self, lane: Lane, id: SagaId) -> Option<Row> {
        if !self.owns(lane) {
            return None;
        }
        let record = self.by_id.get(&id).and_then(|no| self.sagas.get_mut(no))?;
        if record.row.head.status != Status::Failed && record.lane != Some(QUEUE) {
            return None;
        }
        record.lane = Some(lane.id);
        Some(record.row.clone())
    }

    pub(super) fn send_command(&mut self, saga: SagaId, text: &str, at: Timestamp) -> i64 {
        self.last_command += 1;
        let lane = self.by_id.get(&saga).and_then(|no| self.sagas.get(no)).and_then(|record| record.lane);
        self.commands.insert(self.last_command, Sent { saga, text: text.to_owned(), answer: None, at, lane });
        self.last_command
    }
}
