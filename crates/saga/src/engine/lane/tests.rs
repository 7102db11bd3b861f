//! How the lane behaves over a journal that fails, loses acknowledgements and is slow.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use steadfast_core::{Clock, NewEvent, Op, SagaId, Timestamp};
use steadfast_testkit::{SeededClock, wait_for};
use tokio::sync::Semaphore;

use super::task::{Severity, severity};
use super::{Bounds, Committed, Lane, Listener, Part, Target};
use crate::Error;
use crate::journal::{
    self, Appended, Attend, Attendance, Batch, Erased, Filter, Head, History, Hold, Journal, Memory, NewSaga, Put, Row,
    Stored,
};
use crate::machine::{Entry, Status};
use crate::metrics::Metrics;

const NOON: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LIMIT: Duration = Duration::from_secs(10);
/// Nothing goes but what somebody waits for.
const PATIENT: Bounds = Bounds { rows: 100, bytes: 1 << 20, age: Duration::from_hours(1) };

/// What an append does beside its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Fails without a trace.
    Fails,
    /// Is written, and its acknowledgement is lost.
    Lost,
}

/// A memory journal with a script.
#[derive(Debug)]
struct Scripted {
    memory: Memory,
    fates: Mutex<Vec<Fate>>,
    away: AtomicBool,
    poison: Mutex<Option<SagaId>>,
    /// Appends wait for a permit, where it is closed.
    gate: Semaphore,
    gated: AtomicBool,
    appends: AtomicUsize,
    batches: Mutex<Vec<Tried>>,
}

/// Whether it was tried again, and its rows.
type Tried = (bool, Vec<(SagaId, i64)>);

fn transient() -> Error {
    Error::from(sqlx::Error::PoolTimedOut)
}

#[async_trait]
impl Journal for Scripted {
    fn is_shared(&self) -> bool {
        self.memory.is_shared()
    }

    async fn take_lane(&self, hold: Hold<'_>) -> Result<journal::Lane, Error> {
        self.memory.take_lane(hold).await
    }

    async fn take_over(&self, seen: journal::Lane, hold: Hold<'_>) -> Result<Option<journal::Lane>, Error> {
        self.memory.take_over(seen, hold).await
    }

    async fn attend(&self, attend: Attend<'_>) -> Result<Attendance, Error> {
        self.memory.attend(attend).await
    }

    async fn release(&self, lanes: &[journal::Lane]) -> Result<(), Error> {
        self.memory.release(lanes).await
    }

    async fn claim(&self, lane: journal::Lane, limit: u32) -> Result<Vec<Row>, Error> {
        self.memory.claim(lane, limit).await
    }

    async fn adopt(&self, lane: journal::Lane, id: SagaId) -> Result<Option<Row>, Error> {
        self.memory.adopt(lane, id).await
    }

    async fn send_command(&self, id: SagaId, text: &str, now: Timestamp) -> Result<i64, Error> {
        self.memory.send_command(id, text, now).await
    }

    async fn answer_command(&self, no: i64, answer: &str) -> Result<(), Error> {
        self.memory.answer_command(no, answer).await
    }

    async fn command_answer(&self, no: i64) -> Result<Option<String>, Error> {
        self.memory.command_answer(no).await
    }

    async fn forget_command(&self, no: i64) -> Result<(), Error> {
        self.memory.forget_command(no).await
    }

    async fn hinted(&self) {
        self.memory.hinted().await;
    }

    async fn standings(&self, ids: &[SagaId]) -> Result<Vec<Option<Head>>, Error> {
        self.memory.standings(ids).await
    }

    async fn tend(&self, now: Timestamp) -> Result<(), Error> {
        self.memory.tend(now).await
    }

    async fn append(&self, batch: &Batch) -> Result<Vec<Appended>, Error> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        if self.gated.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        let rows = batch.rows.iter().map(|row| (row.target.id(), row.seq)).collect();
        self.batches.lock().unwrap().push((batch.again, rows));
        if self.away.load(Ordering::SeqCst) {
            return Err(transient());
        }
        let poison = *self.poison.lock().unwrap();
        if batch.rows.iter().any(|row| Some(row.target.id()) == poison) {
            return Err(Error::Corrupt("poison".to_owned()));
        }
        let fate = self.fates.lock().unwrap().pop();
        if fate == Some(Fate::Fails) {
            return Err(transient());
        }
        let outcomes = self.memory.append(batch).await?;
        if fate == Some(Fate::Lost) { Err(transient()) } else { Ok(outcomes) }
    }

    async fn unsettled(&self, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error> {
        self.memory.unsettled(lane, after, limit).await
    }

    async fn histories(&self, rows: &[Row]) -> Result<Vec<Option<History>>, Error> {
        self.memory.histories(rows).await
    }

    async fn erase_key(&self, id: SagaId) -> Result<Erased, Error> {
        self.memory.erase_key(id).await
    }

    async fn find(&self, id: SagaId) -> Result<Option<Row>, Error> {
        self.memory.find(id).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, Error> {
        self.memory.list(filter).await
    }

    async fn count_parked(&self) -> Result<i64, Error> {
        self.memory.count_parked().await
    }

    async fn oldest_start(&self) -> Result<Option<Timestamp>, Error> {
        self.memory.oldest_start().await
    }

    async fn count_unarmed(&self) -> Result<i64, Error> {
        self.memory.count_unarmed().await
    }

    async fn put_definition(&self, stored: &Stored) -> Result<Put, Error> {
        self.memory.put_definition(stored).await
    }

    async fn definitions(&self) -> Result<Vec<Stored>, Error> {
        self.memory.definitions().await
    }
}

#[derive(Debug, Default)]
struct Heard {
    commits: Mutex<Vec<Committed>>,
    /// In order: failing, recovered, fenced.
    ground: Mutex<Vec<&'static str>>,
    stuck: Mutex<Vec<SagaId>>,
}

impl Listener for Heard {
    fn committed(&self, commits: &[Committed]) {
        self.commits.lock().unwrap().extend(commits);
    }

    fn fenced(&self, _error: &Error) {
        self.ground.lock().unwrap().push("fenced");
    }

    fn failing(&self, _error: &Error) {
        self.ground.lock().unwrap().push("failing");
    }

    fn recovered(&self) {
        self.ground.lock().unwrap().push("recovered");
    }

    fn stuck(&self, id: SagaId, _error: &Error) {
        self.stuck.lock().unwrap().push(id);
    }
}

struct World {
    journal: Arc<Scripted>,
    heard: Arc<Heard>,
    owner: journal::Lane,
    lane: Lane,
}

fn hold(node: &str, now: Timestamp) -> Hold<'_> {
    Hold { node, lease: Duration::from_secs(6), now }
}

fn open(journal: &Arc<Scripted>, owner: journal::Lane, bounds: Bounds) -> (Lane, Arc<Heard>) {
    let heard = Arc::new(Heard::default());
    let clock: Arc<dyn Clock> = Arc::new(SeededClock::new(NOON));
    let lane = Lane::open(Arc::clone(journal) as _, owner, clock, bounds, Arc::clone(&heard) as _, Metrics::new());
    (lane, heard)
}

impl World {
    async fn new(bounds: Bounds) -> Self {
        let journal = Arc::new(Scripted {
            memory: Memory::new(),
            fates: Mutex::default(),
            away: AtomicBool::new(false),
            poison: Mutex::default(),
            gate: Semaphore::new(0),
            gated: AtomicBool::new(false),
            appends: AtomicUsize::new(0),
            batches: Mutex::default(),
        });
        let owner = journal.take_lane(hold("first", NOON)).await.unwrap();
        let (lane, heard) = open(&journal, owner, bounds);
        Self { journal, heard, owner, lane }
    }

    /// The lane as another process has it: it knows nothing of what was written before.
    async fn opened_anew(&self) -> (Lane, Arc<Heard>) {
        let owner = self.taken_over().await;
        open(&self.journal, owner, PATIENT)
    }

    /// Another process takes the lane, once its lease has ended.
    async fn taken_over(&self) -> journal::Lane {
        let later = NOON + Duration::from_hours(1);
        self.journal.take_over(self.owner, hold("second", later)).await.unwrap().expect("it has lapsed")
    }

    /// From here on each append waits for [`pass`](Self::pass).
    fn close_gate(&self) {
        self.journal.gated.store(true, Ordering::SeqCst);
    }

    fn pass(&self, appends: usize) {
        self.journal.gate.add_permits(appends);
    }

    fn open_gate(&self) {
        self.journal.gated.store(false, Ordering::SeqCst);
        self.pass(1);
    }

    /// Unless a failure is due already.
    fn fail_once(&self, fate: Fate) {
        let mut fates = self.journal.fates.lock().unwrap();
        if fates.is_empty() {
            fates.push(fate);
        }
    }

    async fn appends(&self, count: usize) {
        wait_for("an append", LIMIT, async || self.journal.appends.load(Ordering::SeqCst) >= count).await;
    }

    fn commits_of(&self, id: SagaId) -> Vec<(u64, bool)> {
        let commits = self.heard.commits.lock().unwrap();
        let of_it = commits.iter().filter(|commit| commit.id == id);
        of_it.map(|commit| (commit.entries, commit.outcome == Appended::Known)).collect()
    }

    fn ground(&self) -> Vec<&'static str> {
        self.heard.ground.lock().unwrap().clone()
    }

    fn batches(&self) -> Vec<Tried> {
        self.journal.batches.lock().unwrap().clone()
    }

    async fn rows(&self, id: SagaId) -> Vec<(i64, Vec<String>)> {
        rows(&*self.journal, id).await
    }
}

/// The rows of a saga: numbers, and what its marks say.
async fn rows(journal: &dyn Journal, id: SagaId) -> Vec<(i64, Vec<String>)> {
    let Some(row) = journal.find(id).await.unwrap() else { return Vec::new() };
    let history = journal.histories(&[row]).await.unwrap().remove(0).unwrap();
    let said = |entry: &Entry| match entry {
        Entry::Late { said, .. } => said.clone(),
        Entry::Started { .. } => "started".to_owned(),
        _ => "other".to_owned(),
    };
    let read = |text: &str| serde_json::from_str::<Vec<Entry>>(text).unwrap().iter().map(said).collect();
    history.commits.iter().map(|commit| (commit.seq, read(&commit.entries))).collect()
}

fn id(key: &str) -> SagaId {
    SagaId::derive("t", "t", key)
}

fn head() -> Head {
    let (held, overdue, ended_at) = (false, false, None);
    Head { status: Status::Running, held, overdue, wake_at: Some(NOON), ended_at, cause: None }
}

fn mark(said: impl Into<String>) -> Entry {
    Entry::Late { step: 0, op: Op::Action, at: NOON, attempt: 1, said: said.into() }
}

fn start(key: &str) -> Part {
    let new = NewSaga {
        id: id(key),
        definition: "t".to_owned(),
        version: 1,
        business_key: None,
        principal: "t".to_owned(),
        started_at: NOON,
        input: "{}".to_owned(),
        context: "{}".to_owned(),
        key: None,
        queued: false,
    };
    let entries = vec![Entry::Started { at: NOON, admitted: true }];
    Part { id: id(key), target: Target::New(Box::new(new)), entries, head: head(), event: None, urgent: true }
}

fn part(key: &str, said: &[&str], urgent: bool) -> Part {
    let entries = said.iter().map(|said| mark(*said)).collect();
    Part { id: id(key), target: Target::Known, entries, head: head(), event: None, urgent }
}

fn texts(said: &[&str]) -> Vec<String> {
    said.iter().map(|said| (*said).to_owned()).collect()
}

#[tokio::test]
async fn what_comes_during_a_commit_is_one_row_of_the_next() {
    let world = World::new(PATIENT).await;
    world.close_gate();
    world.lane.enqueue(start("a"));
    world.appends(1).await;
    // Its number is not known yet.
    world.lane.enqueue(part("a", &["one"], false));
    world.lane.enqueue(part("a", &["two", "three"], true));
    world.lane.enqueue(part("a", &["four"], false));
    assert_eq!(world.lane.depth(), 1);
    world.open_gate();
    world.lane.flush().await;
    let expected = [(1, texts(&["started"])), (2, texts(&["one", "two", "three", "four"]))];
    assert_eq!(world.rows(id("a")).await, expected);
    assert_eq!(world.commits_of(id("a")), [(1, false), (4, false)]);
}

#[tokio::test]
async fn others_wait_for_their_age_and_somebody_may_wait_for_what_is_there() {
    let world = World::new(PATIENT).await;
    world.lane.enqueue(start("a"));
    world.lane.enqueue(start("b"));
    world.lane.flush().await;
    world.lane.enqueue(part("a", &["one"], false));
    world.lane.enqueue(part("b", &["one"], true));
    wait_for("the urgent one", LIMIT, async || world.commits_of(id("b")).len() == 2).await;
    assert_eq!((world.commits_of(id("a")).len(), world.lane.depth()), (1, 1));
    // No entries: only somebody who waits now.
    world.lane.enqueue(part("a", &[], true));
    wait_for("the other one", LIMIT, async || world.commits_of(id("a")).len() == 2).await;
    world.lane.enqueue(part("a", &[], true));
    world.lane.flush().await;
    assert_eq!(world.rows(id("a")).await.len(), 2, "a row without entries is none");

    let aged = World::new(Bounds { age: Duration::from_millis(5), ..PATIENT }).await;
    aged.lane.enqueue(start("a"));
    aged.lane.flush().await;
    aged.lane.enqueue(part("a", &["one"], false));
    wait_for("its age", LIMIT, async || aged.commits_of(id("a")).len() == 2).await;
}

#[tokio::test]
async fn a_failed_or_unacknowledged_commit_is_made_again_with_the_same_rows() {
    let world = World::new(PATIENT).await;
    *world.journal.fates.lock().unwrap() = vec![Fate::Lost, Fate::Fails, Fate::Fails];
    world.close_gate();
    world.lane.enqueue(start("a"));
    world.appends(1).await;
    // Must not change the batch under way.
    world.lane.enqueue(part("a", &["one"], true));
    world.lane.enqueue(start("b"));
    world.open_gate();
    world.lane.flush().await;
    let first = vec![(id("a"), 1)];
    let expected = [
        (false, first.clone()),
        (true, first.clone()),
        (true, first.clone()),
        (true, first),
        (false, vec![(id("a"), 2), (id("b"), 1)]),
    ];
    assert_eq!(world.batches(), expected);
    assert_eq!(world.ground(), ["failing", "recovered"]);
    assert_eq!(world.commits_of(id("a")), [(1, false), (1, false)], "each entry is reported once");
}

#[tokio::test]
async fn a_fenced_lane_stops_and_waits_for_nothing() {
    let world = World::new(PATIENT).await;
    world.lane.enqueue(start("a"));
    world.lane.flush().await;
    world.taken_over().await;
    world.lane.enqueue(start("b"));
    world.lane.flush().await;
    assert_eq!(world.ground(), ["fenced"]);
    world.lane.enqueue(start("c"));
    assert_eq!(world.lane.depth(), 0, "nothing is held for a lane that writes no more");
    world.lane.flush().await;
    world.lane.close().await;
    assert_eq!(world.journal.find(id("b")).await.unwrap(), None);
}

#[tokio::test]
async fn a_saga_that_was_moved_to_another_lane_costs_its_own_row_only() {
    let world = World::new(PATIENT).await;
    let mut queued = start("a");
    if let Target::New(new) = &mut queued.target {
        new.queued = true;
    }
    world.lane.enqueue(queued);
    world.lane.enqueue(start("b"));
    world.lane.flush().await;
    let other = world.journal.take_lane(hold("second", NOON)).await.unwrap();
    assert_eq!(world.journal.claim(other, 10).await.unwrap().len(), 1);
    for key in ["a", "b"] {
        world.lane.enqueue(part(key, &["then"], true));
    }
    world.lane.flush().await;
    let moved = Committed { id: id("a"), seq: 2, entries: 0, outcome: Appended::Elsewhere };
    assert!(world.heard.commits.lock().unwrap().contains(&moved));
    assert_eq!((world.rows(id("a")).await.len(), world.rows(id("b")).await.len()), (1, 2));
    world.lane.enqueue(part("a", &["never"], true));
    world.lane.flush().await;
    assert_eq!((world.rows(id("a")).await.len(), world.ground().len()), (1, 0));
}

/// Its last words are refused because it was elsewhere, and the answer comes when it is here again.
#[tokio::test]
async fn a_saga_that_comes_back_is_written_although_its_last_row_was_refused() {
    let world = World::new(PATIENT).await;
    let mut queued = start("a");
    if let Target::New(new) = &mut queued.target {
        new.queued = true;
    }
    world.lane.enqueue(queued);
    world.lane.flush().await;
    world.close_gate();
    world.lane.enqueue(part("a", &["refused"], true));
    world.appends(2).await;
    world.lane.forget(id("a"));
    // The row is refused as long as the saga is in the queue; the answer is held back.
    let row = world.journal.find(id("a")).await.unwrap().unwrap();
    world.lane.adopt(id("a"), row.no, NOON, 1);
    world.open_gate();
    world.lane.flush().await;
    assert_eq!(world.rows(id("a")).await.len(), 1);
    assert_eq!(world.journal.claim(world.owner, 1).await.unwrap().len(), 1);
    world.lane.enqueue(part("a", &["written"], true));
    world.lane.flush().await;
    assert_eq!(world.rows(id("a")).await, [(1, texts(&["started"])), (2, texts(&["written"]))]);
    assert!(world.ground().is_empty() && world.heard.stuck.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_row_that_cannot_be_written_costs_its_saga_only() {
    let world = World::new(PATIENT).await;
    *world.journal.poison.lock().unwrap() = Some(id("b"));
    world.close_gate();
    world.lane.enqueue(start("first"));
    world.appends(1).await;
    for key in ["a", "b", "c"] {
        world.lane.enqueue(start(key));
    }
    world.open_gate();
    world.lane.flush().await;
    assert_eq!(*world.heard.stuck.lock().unwrap(), [id("b")]);
    for (key, count) in [("a", 1), ("b", 0), ("c", 1)] {
        assert_eq!((world.rows(id(key)).await.len(), world.commits_of(id(key)).len()), (count, count), "{key}");
    }
    world.lane.enqueue(part("b", &["lost"], true));
    world.lane.flush().await;
    assert_eq!(world.lane.depth(), 0);
    // Mended, and taken up again.
    *world.journal.poison.lock().unwrap() = None;
    world.lane.forget(id("b"));
    world.lane.enqueue(start("b"));
    world.lane.flush().await;
    assert_eq!(world.commits_of(id("b")), [(1, false)]);
    assert!(world.ground().is_empty());
}

#[tokio::test]
async fn a_start_that_is_known_takes_what_follows_it_along() {
    let world = World::new(PATIENT).await;
    world.lane.enqueue(start("a"));
    world.lane.flush().await;
    let (lane, heard) = world.opened_anew().await;
    world.close_gate();
    lane.enqueue(start("a"));
    world.appends(2).await;
    lane.enqueue(part("a", &["never"], true));
    world.open_gate();
    lane.flush().await;
    let known = Committed { id: id("a"), seq: 1, entries: 0, outcome: Appended::Known };
    assert_eq!(*heard.commits.lock().unwrap(), [known]);
    lane.forget(id("a"));
    let row = world.journal.find(id("a")).await.unwrap().unwrap();
    lane.adopt(id("a"), row.no, NOON, 1);
    lane.enqueue(part("a", &["taken up"], true));
    lane.flush().await;
    assert_eq!(world.rows(id("a")).await, [(1, texts(&["started"])), (2, texts(&["taken up"]))]);
}

/// The saga was taken up in another lane while its start was repeated in this one, and ended there; the client asked again.
#[tokio::test]
async fn a_start_that_comes_while_a_forgotten_one_is_under_way_is_answered_with_it() {
    let world = World::new(PATIENT).await;
    world.lane.enqueue(start("a"));
    world.lane.flush().await;
    let (lane, heard) = world.opened_anew().await;
    world.close_gate();
    lane.enqueue(start("a"));
    world.appends(2).await;
    lane.forget(id("a"));
    lane.enqueue(start("a"));
    world.open_gate();
    lane.flush().await;
    let known = Committed { id: id("a"), seq: 1, entries: 0, outcome: Appended::Known };
    assert_eq!(*heard.commits.lock().unwrap(), [known]);
}

#[tokio::test]
async fn a_start_of_a_saga_that_has_left_is_known_without_a_commit() {
    let world = World::new(PATIENT).await;
    world.lane.enqueue(start("a"));
    world.lane.flush().await;
    world.lane.forget(id("a"));
    world.lane.enqueue(start("a"));
    wait_for("the answer", LIMIT, async || world.commits_of(id("a")) == [(1, false), (0, true)]).await;
    assert_eq!(world.journal.appends.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_a_saga_left_behind_is_written_but_not_reported_to_its_successor() {
    let world = World::new(PATIENT).await;
    world.lane.enqueue(start("a"));
    world.lane.flush().await;
    let no = world.journal.find(id("a")).await.unwrap().unwrap().no;
    world.close_gate();
    world.lane.enqueue(part("a", &["under way"], true));
    world.appends(2).await;
    world.lane.enqueue(part("a", &["late", "later"], false));
    world.lane.forget(id("a"));
    // Read from the journal before the commit: row 1 is its last.
    world.lane.adopt(id("a"), no, NOON, 1);
    world.lane.enqueue(part("a", &["recovered"], true));
    world.open_gate();
    world.lane.flush().await;
    let expected = [(1, texts(&["started"])), (2, texts(&["under way"])), (3, texts(&["late", "later", "recovered"]))];
    assert_eq!(world.rows(id("a")).await, expected);
    assert_eq!(world.commits_of(id("a")), [(1, false), (1, false)]);
    // After the end of all.
    world.lane.forget(id("a"));
    world.lane.enqueue(part("a", &["too late"], true));
    world.lane.flush().await;
    assert_eq!(world.rows(id("a")).await.last(), Some(&(4, texts(&["too late"]))));
    assert_eq!(world.commits_of(id("a")).len(), 2);
}

#[tokio::test]
async fn sagas_that_have_left_are_forgotten_in_the_end() {
    let world = World::new(Bounds { rows: 10_000, ..PATIENT }).await;
    for index in 0..3_000 {
        world.lane.enqueue(start(&index.to_string()));
    }
    world.lane.flush().await;
    for index in 0..3_000 {
        world.lane.forget(id(&index.to_string()));
    }
    world.lane.enqueue(part("0", &["nobody knows it"], true));
    world.lane.enqueue(part("2999", &["late"], true));
    world.lane.flush().await;
    assert_eq!((world.rows(id("0")).await.len(), world.rows(id("2999")).await.len()), (1, 2));
}

#[tokio::test]
async fn closing_writes_what_is_there_unless_the_journal_is_away() {
    let world = World::new(PATIENT).await;
    world.lane.enqueue(start("a"));
    world.lane.enqueue(part("a", &["one"], false));
    world.lane.close().await;
    assert!(world.lane.flush().await, "all is durable");
    assert_eq!(world.rows(id("a")).await.iter().map(|row| row.1.len()).sum::<usize>(), 2);

    let away = World::new(PATIENT).await;
    away.journal.away.store(true, Ordering::SeqCst);
    away.lane.enqueue(start("a"));
    wait_for("the failure", LIMIT, async || away.ground() == ["failing"]).await;
    let flushing = away.lane.clone();
    let flush = async move { flushing.flush().await };
    let (durable, ()) = tokio::time::timeout(LIMIT, async { tokio::join!(flush, away.lane.close()) }).await.unwrap();
    assert!(!durable, "nobody may take it for written");
    assert_eq!(away.journal.find(id("a")).await.unwrap(), None);
}

#[tokio::test]
async fn an_aborted_lane_answers_nobody() {
    let world = World::new(PATIENT).await;
    world.close_gate();
    world.lane.enqueue(start("a"));
    world.appends(1).await;
    world.lane.abort();
    assert!(!tokio::time::timeout(LIMIT, world.lane.flush()).await.unwrap());
    world.pass(1);
    assert!(world.commits_of(id("a")).is_empty());
}

#[tokio::test]
async fn the_end_stands_in_the_head_and_its_event_in_the_commit() {
    let world = World::new(PATIENT).await;
    let later = NOON + Duration::from_secs(5);
    let event = NewEvent::new("saga", "a", "saga.failed.v1", json!({}));
    world.lane.enqueue(start("a"));
    let failed = Head { status: Status::Failed, wake_at: None, ..head() };
    let end = vec![Entry::Failed { at: later }];
    let end = Part { entries: end, head: failed.clone(), event: Some(event.clone()), ..part("a", &[], false) };
    world.lane.enqueue(end);
    world.lane.enqueue(Part { head: failed.clone(), ..part("a", &["late"], false) });
    world.lane.flush().await;
    let found = async || world.journal.find(id("a")).await.unwrap().unwrap().head;
    assert_eq!(found().await, Head { ended_at: Some(later), ..failed.clone() });
    assert_eq!(world.journal.memory.events(), [event]);
    world.lane.enqueue(Part { head: failed.clone(), ..part("a", &["later still"], true) });
    world.lane.flush().await;
    assert_eq!(found().await.ended_at, Some(later));
    world.lane.enqueue(part("a", &["an operator retried"], true));
    world.lane.flush().await;
    assert_eq!(found().await, head());
}

#[test]
fn errors_are_told_apart() {
    let constraint = || Error::Corrupt("x".to_owned());
    assert_eq!(severity(&Error::Fenced { lane: 0, held: 1, found: 2 }), Severity::Fenced);
    assert_eq!(severity(&transient()), Severity::Away);
    assert_eq!(severity(&Error::Db(steadfast_db::Error::from(sqlx::Error::PoolClosed))), Severity::Away);
    assert_eq!(severity(&constraint()), Severity::Fault);
    assert_eq!(severity(&Error::Sink("the event is too large".into())), Severity::Fault);
    assert_eq!(severity(&Error::Sink(Box::new(transient()))), Severity::Away);
}

/// Whatever fails, each saga's entries stand in order and once, and each is reported once.
#[tokio::test]
async fn entries_stand_once_and_in_order_whatever_fails() {
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let bounds = Bounds { rows: 5, bytes: 700, age: Duration::from_micros(200) };
        let world = World::new(bounds).await;
        let mut expected: HashMap<String, Vec<String>> = HashMap::new();
        for step in 0..300 {
            // One at a time, or the pauses would grow.
            if random.u8(..) < 12 {
                world.fail_once(if random.bool() { Fate::Fails } else { Fate::Lost });
            }
            let key = random.u8(0..12).to_string();
            match expected.get_mut(&key) {
                None => {
                    world.lane.enqueue(start(&key));
                    expected.insert(key, texts(&["started"]));
                }
                Some(said) => {
                    let text = format!("{step} {}", "x".repeat(random.usize(0..200)));
                    world.lane.enqueue(part(&key, &[&text], random.u8(..) < 60));
                    said.push(text);
                }
            }
            if random.u8(..) < 100 {
                tokio::task::yield_now().await;
            }
        }
        world.lane.flush().await;
        for (key, said) in &expected {
            let rows = world.rows(id(key)).await;
            let all: Vec<_> = rows.iter().flat_map(|row| row.1.clone()).collect();
            assert_eq!(&all, said, "seed {seed}, saga {key}");
            assert!(rows.iter().map(|row| row.0).eq(1..=i64::try_from(rows.len()).unwrap()));
            let reported: u64 = world.commits_of(id(key)).iter().map(|commit| commit.0).sum();
            assert_eq!(reported, said.len() as u64, "seed {seed}, saga {key}");
        }
        let ground: BTreeMap<_, usize> = world.ground().iter().fold(BTreeMap::new(), |mut count, it| {
            *count.entry(*it).or_default() += 1;
            count
        });
        assert_eq!(ground.get("failing"), ground.get("recovered"), "seed {seed}");
    }
}
