//! The points at which an orchestrator can die: around every statement of its journal and around every call that it makes.
//! A dead one hears and writes nothing more.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use steadfast_core::{SagaId, Timestamp};
use steadfast_saga::Error;
use steadfast_saga::journal::{
    Append, Appended, Attend, Attendance, Batch, Erased, Filter, Head, History, Hold, Journal, Lane, Put, Row, Stored,
};
use tokio::sync::Notify;

/// Counts the points that are passed; at the chosen ones the orchestrator dies.
#[derive(Debug, Default)]
pub(super) struct Points {
    passed: AtomicUsize,
    deaths: Mutex<Vec<usize>>,
    /// What each point was, for a test that fails.
    names: Mutex<Vec<String>>,
    /// The life that is over; a call of it that comes later changes nothing here.
    dead: AtomicUsize,
    life: AtomicUsize,
    died: Notify,
    /// What the present life holds.
    lanes: Mutex<Vec<Lane>>,
}

impl Points {
    pub(super) fn new(deaths: Vec<usize>) -> Arc<Self> {
        Arc::new(Self { deaths: Mutex::new(deaths), ..Self::default() })
    }

    /// A new orchestrator begins.
    pub(super) fn begin(&self) -> usize {
        self.life.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.names.lock().unwrap().clone()
    }

    /// What a dead orchestrator held is free at once: tests of leases wait for theirs elsewhere.
    pub(super) async fn bury(&self, journal: &dyn Journal) {
        let lanes = std::mem::take(&mut *self.lanes.lock().unwrap());
        journal.release(&lanes).await.unwrap();
    }

    /// Until the present orchestrator dies.
    pub(super) async fn death(&self) {
        loop {
            let died = self.died.notified();
            if self.dead.load(Ordering::SeqCst) == self.life.load(Ordering::SeqCst) {
                return;
            }
            died.await;
        }
    }

    /// Passes a point; never returns to one that dies here, or has died.
    async fn pass(&self, life: usize, name: &str) {
        if life > self.dead.load(Ordering::SeqCst) {
            let point = self.passed.fetch_add(1, Ordering::SeqCst);
            self.names.lock().unwrap().push(name.to_owned());
            let mut deaths = self.deaths.lock().unwrap();
            if deaths.first() != Some(&point) {
                return;
            }
            deaths.remove(0);
            self.dead.store(life, Ordering::SeqCst);
            drop(deaths);
            self.died.notify_waiters();
        }
        std::future::pending::<()>().await;
    }
}

/// The journal of one life.
#[derive(Debug)]
pub(super) struct Mortal {
    pub(super) journal: Arc<dyn Journal>,
    pub(super) points: Arc<Points>,
    pub(super) life: usize,
}

impl Mortal {
    async fn around<T>(&self, name: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.points.pass(self.life, &format!("before {name}")).await;
        let outcome = work.await;
        self.points.pass(self.life, &format!("after {name}")).await;
        outcome
    }
}

/// Ticks come when they come: points there would not be the same ones twice.
#[async_trait]
impl Journal for Mortal {
    fn is_shared(&self) -> bool {
        self.journal.is_shared()
    }

    async fn take_lane(&self, hold: Hold<'_>) -> Result<Lane, Error> {
        let lane = self.journal.take_lane(hold).await?;
        self.points.lanes.lock().unwrap().push(lane);
        Ok(lane)
    }

    async fn take_over(&self, seen: Lane, hold: Hold<'_>) -> Result<Option<Lane>, Error> {
        self.points.pass(self.life, "before take_over").await;
        let taken = self.journal.take_over(seen, hold).await?;
        // A dead orchestrator's lanes are known to the database too.
        self.points.lanes.lock().unwrap().extend(taken);
        self.points.pass(self.life, "after take_over").await;
        Ok(taken)
    }

    async fn attend(&self, attend: Attend<'_>) -> Result<Attendance, Error> {
        if self.points.dead.load(Ordering::SeqCst) >= self.life {
            std::future::pending::<()>().await;
        }
        self.journal.attend(attend).await
    }

    async fn release(&self, lanes: &[Lane]) -> Result<(), Error> {
        self.journal.release(lanes).await
    }

    async fn claim(&self, lane: Lane, limit: u32) -> Result<Vec<Row>, Error> {
        self.journal.claim(lane, limit).await
    }

    async fn adopt(&self, lane: Lane, id: SagaId) -> Result<Option<Row>, Error> {
        self.journal.adopt(lane, id).await
    }

    async fn send_command(&self, id: SagaId, text: &str, now: Timestamp) -> Result<i64, Error> {
        self.journal.send_command(id, text, now).await
    }

    async fn answer_command(&self, no: i64, answer: &str) -> Result<(), Error> {
        self.journal.answer_command(no, answer).await
    }

    async fn command_answer(&self, no: i64) -> Result<Option<String>, Error> {
        self.journal.command_answer(no).await
    }

    async fn forget_command(&self, no: i64) -> Result<(), Error> {
        self.journal.forget_command(no).await
    }

    async fn hinted(&self) {
        self.journal.hinted().await;
    }

    async fn standings(&self, ids: &[SagaId]) -> Result<Vec<Option<Head>>, Error> {
        self.journal.standings(ids).await
    }

    async fn tend(&self, now: Timestamp) -> Result<(), Error> {
        self.journal.tend(now).await
    }

    async fn append(&self, batch: &Batch) -> Result<Vec<Appended>, Error> {
        let entries: Vec<&str> = batch.rows.iter().map(|Append { entries, .. }| entries.as_str()).collect();
        self.around(&format!("append {}", entries.join(" ")), self.journal.append(batch)).await
    }

    async fn unsettled(&self, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error> {
        self.around("unsettled", self.journal.unsettled(lane, after, limit)).await
    }

    async fn histories(&self, rows: &[Row]) -> Result<Vec<Option<History>>, Error> {
        self.journal.histories(rows).await
    }

    async fn erase_key(&self, id: SagaId) -> Result<Erased, Error> {
        self.journal.erase_key(id).await
    }

    async fn find(&self, id: SagaId) -> Result<Option<Row>, Error> {
        self.journal.find(id).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, Error> {
        self.journal.list(filter).await
    }

    async fn count_parked(&self) -> Result<i64, Error> {
        self.journal.count_parked().await
    }

    async fn oldest_start(&self) -> Result<Option<Timestamp>, Error> {
        self.journal.oldest_start().await
    }

    async fn count_unarmed(&self) -> Result<i64, Error> {
        self.journal.count_unarmed().await
    }

    async fn put_definition(&self, stored: &Stored) -> Result<Put, Error> {
        self.journal.put_definition(stored).await
    }

    async fn definitions(&self) -> Result<Vec<Stored>, Error> {
        self.journal.definitions().await
    }
}

/// Around a participant's routes: the request arrives or not, its reply arrives or not. The work between is done also for a
/// caller that has died.
pub(super) async fn called(State(points): State<Arc<Points>>, request: Request, next: Next) -> Response {
    let life = points.life.load(Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    points.pass(life, &format!("before {path}")).await;
    let response = next.run(request).await;
    points.pass(life, &format!("after {path}")).await;
    response
}
