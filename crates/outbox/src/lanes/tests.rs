//! Cases by hand, and a model: an outbox, a log and an operator around a lane, every interleaving by property.

use std::collections::{BTreeMap, HashSet};

use proptest::prelude::*;

use super::*;

const BATCH: usize = 4;
const MAX_ATTEMPTS: u32 = 3;
const NOW: Timestamp = Timestamp::from_millis(1_000);

fn limits() -> Limits {
    let backoff = Backoff { base: Duration::from_millis(100), cap: Duration::from_secs(1) };
    Limits { batch: BATCH, max_attempts: MAX_ATTEMPTS, parked: backoff, retry: backoff }
}

fn aggregate(name: &str) -> Aggregate {
    ("order".to_owned(), name.to_owned())
}

fn entry(id: i64, name: &str) -> Entry<i64> {
    Entry { id, spot: Spot::default(), aggregate: aggregate(name), created_at: Timestamp::from_millis(id), item: id }
}

fn refused() -> Verdict {
    Verdict::Refused("no".to_owned())
}

fn lane_with(entries: &[(i64, &str)]) -> Lane<i64> {
    let mut lane = Lane::new(limits());
    assert_eq!(lane.next_read(), Some(Whence::On));
    lane.on_read(entries.iter().map(|(id, name)| entry(*id, name)).collect());
    lane
}

fn acked(amount: usize) -> Vec<Verdict> {
    vec![Verdict::Acked; amount]
}

#[test]
fn read_append_and_mark_overlap() {
    let mut lane = lane_with(&[(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "a")]);
    assert_eq!(lane.next_batch(), [1, 2, 3, 4]);
    assert_eq!(lane.next_read(), Some(Whence::On), "the next batch is read while this one is in flight");
    assert_eq!(lane.next_batch(), [] as [i64; 0], "one batch at a time keeps the order");
    let outcome = lane.on_produced(acked(4), NOW, 0);
    assert_eq!(outcome.published.len(), 4);
    let marks = lane.take_marks().unwrap();
    assert_eq!(marks.published, [1, 2, 3, 4]);
    assert_eq!(lane.next_batch(), [5], "the next batch is in flight while this one is marked");
    lane.on_produced(acked(1), NOW, 0);
    assert_eq!(lane.take_marks(), None, "one commit at a time");
    lane.on_marked();
    assert_eq!(lane.take_marks().unwrap().published, [5]);
}

#[test]
fn no_more_than_two_batches_are_in_doubt() {
    let mut lane = lane_with(&[(1, "a"), (2, "a"), (3, "a"), (4, "a")]);
    assert_eq!(lane.next_batch().len(), 4);
    lane.on_produced(acked(4), NOW, 0);
    lane.on_read((5..9).map(|id| entry(id, "a")).collect());
    assert_eq!(lane.next_batch().len(), 4);
    lane.on_produced(acked(4), NOW, 0);
    lane.on_read(vec![entry(9, "a")]);
    assert!(lane.next_batch().is_empty());
    lane.take_marks().unwrap();
    assert!(lane.next_batch().is_empty());
    lane.on_marked();
    assert_eq!(lane.next_batch(), [9]);
}

#[test]
fn a_failure_blames_nobody_and_everything_is_read_anew() {
    let mut lane = lane_with(&[(1, "a"), (2, "b")]);
    lane.next_batch();
    lane.on_read(vec![entry(3, "b")]);
    let outcome = lane.on_produced(vec![Verdict::Acked, Verdict::Failed], NOW, 55);
    assert_eq!((outcome.failed, outcome.refused), (1, 0));
    assert!(outcome.pause.is_some());
    assert!(lane.next_batch().is_empty(), "3 may not overtake 2");
    assert_eq!(lane.next_read(), None, "not while 1 is unmarked");
    assert!(lane.marks_are_urgent());
    assert_eq!(lane.take_marks().unwrap().parked, []);
    lane.on_marked();
    assert_eq!(lane.next_read(), Some(Whence::From(2)));
}

#[test]
fn an_answer_that_is_missing_is_a_failure() {
    let mut lane = lane_with(&[(1, "a"), (2, "b")]);
    lane.next_batch();
    assert_eq!(lane.on_produced(acked(1), NOW, 0).failed, 1);
}

#[test]
fn failures_in_a_row_are_followed_by_longer_pauses() {
    let mut lane = lane_with(&[(1, "a")]);
    let mut pauses = Vec::new();
    for _ in 0..3 {
        lane.next_batch();
        pauses.push(lane.on_produced(vec![Verdict::Failed], NOW, u64::MAX).pause.unwrap());
        assert_eq!(lane.next_read(), Some(Whence::From(1)));
        lane.on_read(vec![entry(1, "a")]);
    }
    let ceilings: Vec<_> = (1..=3).map(|n| limits().retry.ceiling(n)).collect();
    assert!(pauses.iter().zip(&ceilings).all(|(pause, ceiling)| pause <= ceiling));
    assert!(pauses.iter().any(|pause| *pause > ceilings[0]), "{pauses:?}");
}

#[test]
fn a_refused_event_holds_its_aggregate_and_nothing_else() {
    let mut lane = lane_with(&[(1, "a"), (2, "b"), (3, "a"), (4, "c"), (5, "a"), (6, "b")]);
    lane.next_batch();
    let outcome = lane.on_produced(vec![refused(), Verdict::Acked, refused(), Verdict::Acked], NOW, 0);
    assert_eq!((outcome.refused, outcome.pause), (2, None));
    let marks = lane.take_marks().unwrap();
    assert_eq!(marks.published, [2, 4]);
    assert_eq!(marks.parked.iter().map(|p| (p.event, p.attempts, p.dead)).collect::<Vec<_>>(), [(1, 1, false)]);
    assert!(marks.parked[0].next_attempt_at >= NOW + Duration::from_millis(100));
    assert_eq!(lane.next_batch(), [6], "5 waits for 1");
    lane.on_read(vec![entry(7, "a"), entry(8, "c")]);
    lane.on_produced(acked(1), NOW, 0);
    assert_eq!(lane.next_batch(), [8], "7 waits for 1");
}

#[test]
fn a_held_event_is_tried_again_and_ends_as_a_dead_letter() {
    let mut lane = lane_with(&[(1, "a")]);
    lane.next_batch();
    for attempt in 1..=MAX_ATTEMPTS {
        lane.on_produced(vec![refused()], NOW, 0);
        let marks = lane.take_marks().unwrap();
        assert_eq!((marks.parked[0].attempts, marks.parked[0].dead), (attempt, attempt == MAX_ATTEMPTS));
        let known = |due| Known { aggregate: aggregate("a"), event: 1, attempts: attempt, due };
        assert!(lane.refresh(&[known(true)]).is_empty(), "the database's view is old until the marks are committed");
        lane.on_marked();
        assert!(lane.refresh(&[known(false)]).is_empty());
        assert_eq!(lane.refresh(&[known(true)]), [1]);
        lane.on_retries(&[1], vec![entry(1, "a")]);
        assert!(lane.refresh(&[known(true)]).is_empty(), "it is being tried");
        assert_eq!(lane.next_batch(), [1]);
    }
}

#[test]
fn a_released_aggregate_goes_on_in_order() {
    let mut lane = lane_with(&[(1, "a"), (2, "a")]);
    lane.next_batch();
    lane.on_produced(vec![refused(), refused()], NOW, 0);
    lane.take_marks().unwrap();
    lane.on_marked();
    let known = Known { aggregate: aggregate("a"), event: 1, attempts: 1, due: true };
    assert_eq!(lane.refresh(std::slice::from_ref(&known)), [1]);
    lane.on_retries(&[1], vec![entry(1, "a")]);
    lane.on_read(vec![entry(3, "a")]);
    assert_eq!(lane.next_batch(), [1], "3 waits for 2");
    lane.on_produced(acked(1), NOW, 0);
    let marks = lane.take_marks().unwrap();
    assert_eq!((marks.published, marks.released), (vec![1], vec![1]));
    lane.on_marked();
    assert_eq!(lane.next_read(), Some(Whence::From(1)));
    lane.on_read(vec![entry(2, "a"), entry(3, "a")]);
    assert_eq!(lane.next_batch(), [2, 3]);
}

#[test]
fn what_an_operator_discards_or_replays_is_noticed() {
    let mut lane = lane_with(&[]);
    let dead = Known { aggregate: aggregate("a"), event: 1, attempts: 3, due: false };
    assert!(lane.refresh(std::slice::from_ref(&dead)).is_empty());
    lane.on_read(vec![entry(2, "a")]);
    assert!(lane.next_batch().is_empty());
    // Replayed: due again, with new attempts.
    assert_eq!(lane.refresh(&[Known { attempts: 0, due: true, ..dead.clone() }]), [1]);
    lane.on_retries(&[1], vec![entry(1, "a")]);
    lane.next_batch();
    lane.on_produced(vec![refused()], NOW, 0);
    assert_eq!(lane.take_marks().unwrap().parked[0].attempts, 1);
    lane.on_marked();
    // Discarded: no longer held.
    assert!(lane.refresh(&[]).is_empty());
    assert_eq!(lane.next_read(), Some(Whence::From(1)));
    lane.on_read(vec![entry(2, "a")]);
    assert_eq!(lane.next_batch(), [2]);
}

#[test]
fn a_held_event_that_no_longer_waits_releases_its_aggregate() {
    let mut lane = lane_with(&[]);
    let known = [Known { aggregate: aggregate("a"), event: 1, attempts: 1, due: true }];
    assert_eq!(lane.refresh(&known), [1]);
    lane.on_retries(&[1], vec![]);
    assert_eq!(lane.take_marks().unwrap().released, [1]);
    lane.on_marked();
    assert!(lane.held.is_empty());
}

#[test]
fn an_old_view_of_the_database_releases_nothing() {
    let mut lane = lane_with(&[(1, "a")]);
    lane.next_batch();
    lane.on_produced(vec![refused()], NOW, 0);
    assert!(lane.refresh(&[]).is_empty(), "the database was asked before the parking was written");
    lane.on_read(vec![entry(2, "a"), entry(3, "b")]);
    assert_eq!(lane.next_batch(), [3]);
}

#[test]
fn a_sweep_finds_what_waits_behind_the_position() {
    let mut lane = lane_with(&[(7, "a")]);
    lane.next_batch();
    lane.on_produced(acked(1), NOW, 0);
    lane.sweep();
    assert_eq!(lane.next_read(), None);
    lane.take_marks().unwrap();
    lane.on_marked();
    assert_eq!(lane.next_read(), Some(Whence::From(0)));
    assert_eq!(lane.on_read(vec![entry(3, "a"), entry(8, "a")]), 1);
    assert_eq!(lane.next_batch(), [3, 8]);
}

#[test]
fn the_floor_is_below_everything_that_a_crash_would_have_to_find() {
    let mut lane = lane_with(&[(3, "a"), (4, "b"), (5, "b"), (6, "c")]);
    assert_eq!(lane.floor(false), Some(3));
    lane.next_batch();
    lane.on_read(vec![entry(9, "d")]);
    assert_eq!(lane.floor(false), Some(3), "in flight");
    lane.on_produced(vec![refused(), Verdict::Acked, Verdict::Acked, Verdict::Acked], NOW, 0);
    assert_eq!(lane.floor(false), Some(3), "its parking is not written");
    lane.take_marks().unwrap();
    assert_eq!((lane.floor(true), lane.floor(false)), (Some(3), Some(9)), "being written");
    lane.on_marked();
    assert_eq!(lane.floor(true), Some(9), "a parked event is found without a mark");
    lane.rewind_from(2);
    assert_eq!(lane.floor(true), Some(2));
}

/// An outbox and a log around a lane.
struct World {
    lane: Lane<i64>,
    // By id - 1.
    rows: Vec<ModelRow>,
    parked: BTreeMap<u8, (i64, u32, bool)>,
    acked: HashSet<i64>,
    acked_in_this_life: HashSet<i64>,
    discarded: HashSet<i64>,
    read: Option<Vec<i64>>,
    // Where the store reads on from, and what it has handed out.
    position: i64,
    handed: HashSet<i64>,
    flying: Vec<i64>,
    marks: Option<Marks>,
    committed: bool,
    seen: Option<Vec<Known>>,
    retries: Option<(Vec<i64>, Vec<i64>)>,
}

struct ModelRow {
    aggregate: u8,
    published: bool,
    // Its transaction has not committed: nobody sees it, and its aggregate is locked.
    open: bool,
    // How often the log will still refuse it.
    poison: u32,
}

impl World {
    fn new() -> Self {
        Self {
            lane: Lane::new(limits()),
            rows: vec![],
            parked: BTreeMap::new(),
            acked: HashSet::new(),
            acked_in_this_life: HashSet::new(),
            discarded: HashSet::new(),
            read: None,
            position: 0,
            handed: HashSet::new(),
            flying: vec![],
            marks: None,
            committed: false,
            seen: None,
            retries: None,
        }
    }

    fn row(&mut self, id: i64) -> &mut ModelRow {
        &mut self.rows[usize::try_from(id).unwrap() - 1]
    }

    fn entry(&self, id: i64) -> Entry<i64> {
        entry(id, &self.rows[usize::try_from(id).unwrap() - 1].aggregate.to_string())
    }

    /// What a read sees: the next events, and those behind that came late; `again` also what was handed out already.
    fn waiting(&self, again: bool) -> Vec<i64> {
        let mut room = BATCH;
        (1..)
            .zip(&self.rows)
            .filter(|(_, row)| !row.open && !row.published && !self.parked.contains_key(&row.aggregate))
            .filter(|(id, _)| {
                if *id > self.position {
                    room = room.saturating_sub(1);
                    return room > 0;
                }
                again || !self.handed.contains(id)
            })
            .map(|(id, _)| id)
            .collect()
    }

    fn append(&mut self, aggregate: u8, poison: u32, open: bool) {
        if !self.rows.iter().any(|row| row.open && row.aggregate == aggregate) {
            self.rows.push(ModelRow { aggregate, published: false, open, poison });
        }
    }

    /// The first open transaction commits.
    fn close(&mut self) {
        if let Some(row) = self.rows.iter_mut().find(|row| row.open) {
            row.open = false;
        }
    }

    /// A read begins, which fixes what it sees.
    fn begin_read(&mut self, again: bool) {
        if self.read.is_none() {
            let Some(whence) = self.lane.next_read() else { return };
            if let Whence::From(from) = whence {
                self.position = self.position.min(from - 1);
            }
            self.read = Some(self.waiting(again));
        }
    }

    fn end_read(&mut self) {
        if let Some(ids) = self.read.take() {
            self.position = ids.last().copied().unwrap_or(0).max(self.position);
            self.handed.extend(&ids);
            let entries = ids.into_iter().map(|id| self.entry(id)).collect();
            self.lane.on_read(entries);
        }
    }

    fn send(&mut self) {
        let batch = self.lane.next_batch();
        for (place, id) in batch.iter().enumerate() {
            assert!(!self.acked_in_this_life.contains(id), "{id} is sent twice by a living relay");
            let aggregate = self.row(*id).aggregate;
            for (earlier, row) in (1..*id).zip(&self.rows) {
                let gone = self.acked.contains(&earlier) || self.discarded.contains(&earlier);
                let ahead = batch[..place].contains(&earlier);
                assert!(row.aggregate != aggregate || gone || ahead, "{id} overtakes {earlier}");
            }
        }
        self.flying.extend(batch);
        let in_doubt =
            self.acked_in_this_life.iter().filter(|id| !self.rows[usize::try_from(**id).unwrap() - 1].published);
        assert!(in_doubt.count() + self.flying.len() <= 2 * BATCH, "too many would be repeated by a crash");
    }

    /// The log answers; from `fails_from` on it fails.
    fn answer(&mut self, fails_from: usize) {
        let flying = std::mem::take(&mut self.flying);
        let mut verdicts = Vec::new();
        for (place, id) in flying.into_iter().enumerate() {
            verdicts.push(if place >= fails_from {
                Verdict::Failed
            } else if self.row(id).poison > 0 {
                self.row(id).poison -= 1;
                refused()
            } else {
                self.acked.insert(id);
                self.acked_in_this_life.insert(id);
                Verdict::Acked
            });
        }
        self.lane.on_produced(verdicts, NOW, 0);
    }

    fn begin_marks(&mut self) {
        if self.marks.is_none() {
            self.marks = self.lane.take_marks();
            self.committed = false;
        }
    }

    fn commit_marks(&mut self) {
        let Some(marks) = self.marks.clone().filter(|_| !self.committed) else { return };
        self.committed = true;
        for id in marks.published {
            self.row(id).published = true;
        }
        self.parked.retain(|_, (event, ..)| !marks.released.contains(event));
        for park in marks.parked {
            let aggregate = self.row(park.event).aggregate;
            self.parked.insert(aggregate, (park.event, park.attempts, park.dead));
        }
    }

    fn end_marks(&mut self) {
        if self.committed && self.marks.take().is_some() {
            self.lane.on_marked();
        }
    }

    fn begin_check(&mut self) {
        if self.seen.is_none() && self.retries.is_none() {
            let known = self.parked.iter().map(|(name, (event, attempts, dead))| Known {
                aggregate: aggregate(&name.to_string()),
                event: *event,
                attempts: *attempts,
                due: !dead,
            });
            self.seen = Some(known.collect());
        }
    }

    fn end_check(&mut self) {
        if let Some((asked, found)) = self.retries.take() {
            let entries = found.into_iter().map(|id| self.entry(id)).collect();
            self.lane.on_retries(&asked, entries);
        } else if let Some(known) = self.seen.take() {
            let due = self.lane.refresh(&known);
            let found = due.iter().copied().filter(|id| !self.rows[usize::try_from(*id).unwrap() - 1].published);
            self.retries = (!due.is_empty()).then(|| (due.clone(), found.collect()));
        }
    }

    /// An operator gives up the first dead letter, or tries it again.
    fn operate(&mut self, discard: bool) {
        let Some((&aggregate, &(event, ..))) = self.parked.iter().find(|(_, (_, _, dead))| *dead) else { return };
        if discard {
            self.parked.remove(&aggregate);
            self.row(event).published = true;
            self.discarded.insert(event);
        } else {
            self.parked.insert(aggregate, (event, 0, false));
        }
    }

    /// The process dies; what was in flight may have reached the log, and the marks the database.
    fn crash(&mut self, reached: bool) {
        if reached {
            for id in std::mem::take(&mut self.flying) {
                if self.row(id).poison == 0 {
                    self.acked.insert(id);
                }
            }
            self.commit_marks();
        }
        self.lane = Lane::new(limits());
        self.acked_in_this_life.clear();
        self.flying.clear();
        (self.position, self.handed) = (0, HashSet::new());
        (self.read, self.marks, self.seen, self.retries) = (None, None, None, None);
    }

    /// Everything works from now on.
    fn settle(&mut self) {
        for _ in 0..self.rows.len() * 4 + 40 {
            self.close();
            self.begin_check();
            self.end_check();
            self.end_check();
            self.begin_read(false);
            self.end_read();
            self.send();
            self.answer(usize::MAX);
            self.begin_marks();
            self.commit_marks();
            self.end_marks();
        }
    }

    fn assert_complete(&self) {
        for (id, row) in (1..).zip(&self.rows) {
            let dead = self.parked.get(&row.aggregate);
            match dead {
                // In flight with the dead one, a later event may have passed; nothing before it may wait.
                Some((event, _, dead)) => assert!(*dead && (row.published || id >= *event), "{id}"),
                None => assert!(row.published, "{id} was lost"),
            }
            assert!(
                !row.published || self.acked.contains(&id) || self.discarded.contains(&id),
                "{id} was marked unsent"
            );
        }
    }
}

fn step(world: &mut World, op: u8, value: u8) {
    match op {
        0..=2 => world.append(value % 4, if value >= 240 { u32::from(value % 5) } else { 0 }, value % 16 > 12),
        3 => world.begin_read(value.is_multiple_of(2)),
        4 => world.end_read(),
        5 | 6 => world.send(),
        7 | 8 => world.answer(if value >= 200 { usize::from(value % 4) } else { usize::MAX }),
        9 => world.begin_marks(),
        10 => world.commit_marks(),
        11 => world.end_marks(),
        12 => world.begin_check(),
        13 => world.end_check(),
        14 => world.operate(value.is_multiple_of(2)),
        _ if value < 40 => world.crash(value.is_multiple_of(2)),
        _ if value < 80 => world.lane.sweep(),
        _ if value < 180 => world.close(),
        _ => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_is_lost_overtaken_or_needlessly_repeated(ops in prop::collection::vec((0..16_u8, any::<u8>()), 0..400)) {
        let mut world = World::new();
        for (op, value) in ops {
            step(&mut world, op, value);
        }
        world.settle();
        world.assert_complete();
    }
}
