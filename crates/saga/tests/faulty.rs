//! A journal with faults between it and an engine: it is away, it is stopped with the process, it loses acknowledgements.

use std::collections::HashSet;
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use steadfast_core::{SagaId, Timestamp};
use steadfast_saga::Error;
use steadfast_saga::journal::{
    Append, Appended, Attend, Attendance, Batch, Erased, Filter, Head, History, Hold, Journal, Lane, Put, Row, Stored,
};
use tokio::sync::watch;

/// One engine's view of a journal that others share.
pub(crate) struct Faulty {
    inner: Arc<dyn Journal>,
    away: AtomicBool,
    stopped: watch::Sender<bool>,
    held: watch::Sender<bool>,
    /// What a fence refuses is written all the same: to see that a test notices.
    unfenced: AtomicBool,
    /// Of a thousand calls that write, so many fail before they are written.
    failing: AtomicU32,
    /// Of a thousand calls that write, so many are written without an answer.
    losing: AtomicU32,
    random: Mutex<fastrand::Rng>,
    /// Sagas whose history cannot be read.
    poisoned: Mutex<HashSet<SagaId>>,
    /// What was asked, without the appends.
    asked: AtomicUsize,
    appended: AtomicUsize,
    /// The rows that were written, as (saga, row, epoch).
    written: Mutex<Vec<(SagaId, i64, i64)>>,
}

fn transient() -> Error {
    Error::from(sqlx::Error::PoolTimedOut)
}

impl Faulty {
    pub(crate) fn new(inner: Arc<dyn Journal>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            inner,
            away: AtomicBool::new(false),
            stopped: watch::Sender::new(false),
            held: watch::Sender::new(false),
            unfenced: AtomicBool::new(false),
            failing: AtomicU32::new(0),
            losing: AtomicU32::new(0),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
            poisoned: Mutex::default(),
            asked: AtomicUsize::new(0),
            appended: AtomicUsize::new(0),
            written: Mutex::default(),
        })
    }

    /// Every call fails.
    pub(crate) fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::SeqCst);
    }

    /// No call comes back: the process is stopped, or its network is. What was asked for is done once it is woken.
    pub(crate) fn set_stopped(&self, stopped: bool) {
        self.stopped.send_replace(stopped);
    }

    /// Histories do not come until they are let go.
    pub(crate) fn hold_histories(&self, held: bool) {
        self.held.send_replace(held);
    }

    pub(crate) fn set_rates(&self, failing: u32, losing: u32) {
        self.failing.store(failing, Ordering::SeqCst);
        self.losing.store(losing, Ordering::SeqCst);
    }

    pub(crate) fn set_unfenced(&self) {
        self.unfenced.store(true, Ordering::SeqCst);
    }

    pub(crate) fn poison(&self, id: SagaId) {
        self.poisoned.lock().unwrap().insert(id);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub(crate) fn appended(&self) -> usize {
        self.appended.load(Ordering::SeqCst)
    }

    pub(crate) fn written(&self) -> Vec<(SagaId, i64, i64)> {
        self.written.lock().unwrap().clone()
    }

    async fn gate(&self) -> Result<(), Error> {
        let mut stopped = self.stopped.subscribe();
        stopped.wait_for(|stopped| !stopped).await.unwrap();
        if self.away.load(Ordering::SeqCst) { Err(transient()) } else { Ok(()) }
    }

    fn draw(&self) -> u32 {
        self.random.lock().unwrap().u32(..1_000)
    }

    /// Before something is read.
    async fn read(&self) -> Result<(), Error> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.gate().await
    }

    /// Before something is written.
    async fn write(&self) -> Result<(), Error> {
        self.gate().await?;
        if self.draw() < self.failing.load(Ordering::SeqCst) { Err(transient()) } else { Ok(()) }
    }

    /// After it was.
    fn answered<T>(&self, answer: Result<T, Error>) -> Result<T, Error> {
        if answer.is_ok() && self.draw() < self.losing.load(Ordering::SeqCst) { Err(transient()) } else { answer }
    }
}

impl Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").finish_non_exhaustive()
    }
}

#[async_trait]
impl Journal for Faulty {
    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }

    async fn take_lane(&self, hold: Hold<'_>) -> Result<Lane, Error> {
        self.write().await?;
        self.answered(self.inner.take_lane(hold).await)
    }

    async fn take_over(&self, seen: Lane, hold: Hold<'_>) -> Result<Option<Lane>, Error> {
        self.write().await?;
        self.answered(self.inner.take_over(seen, hold).await)
    }

    async fn attend(&self, attend: Attend<'_>) -> Result<Attendance, Error> {
        self.read().await?;
        self.answered(self.inner.attend(attend).await)
    }

    async fn release(&self, lanes: &[Lane]) -> Result<(), Error> {
        self.write().await?;
        self.answered(self.inner.release(lanes).await)
    }

    async fn claim(&self, lane: Lane, limit: u32) -> Result<Vec<Row>, Error> {
        self.write().await?;
        self.answered(self.inner.claim(lane, limit).await)
    }

    async fn adopt(&self, lane: Lane, id: SagaId) -> Result<Option<Row>, Error> {
        self.write().await?;
        self.answered(self.inner.adopt(lane, id).await)
    }

    async fn send_command(&self, id: SagaId, text: &str, now: Timestamp) -> Result<i64, Error> {
        self.write().await?;
        self.inner.send_command(id, text, now).await
    }

    async fn answer_command(&self, no: i64, answer: &str) -> Result<(), Error> {
        self.write().await?;
        self.answered(self.inner.answer_command(no, answer).await)
    }

    async fn command_answer(&self, no: i64) -> Result<Option<String>, Error> {
        self.read().await?;
        self.inner.command_answer(no).await
    }

    async fn forget_command(&self, no: i64) -> Result<(), Error> {
        self.write().await?;
        self.inner.forget_command(no).await
    }

    async fn hinted(&self) {
        self.inner.hinted().await;
    }

    async fn standings(&self, ids: &[SagaId]) -> Result<Vec<Option<Head>>, Error> {
        self.read().await?;
        self.inner.standings(ids).await
    }

    async fn tend(&self, now: Timestamp) -> Result<(), Error> {
        self.inner.tend(now).await
    }

    async fn append(&self, batch: &Batch) -> Result<Vec<Appended>, Error> {
        self.appended.fetch_add(1, Ordering::SeqCst);
        self.write().await?;
        let mut answer = self.inner.append(batch).await;
        if let Err(Error::Fenced { found, .. }) = &answer
            && self.unfenced.load(Ordering::SeqCst)
        {
            let forged = Batch { lane: Lane { epoch: *found, ..batch.lane }, ..batch.clone() };
            answer = self.inner.append(&forged).await;
        }
        if let Ok(outcomes) = &answer {
            let stands = |(row, outcome): (&Append, &Appended)| {
                let stands = matches!(outcome, Appended::Started(_) | Appended::Written);
                stands.then(|| (row.target.id(), row.seq, batch.lane.epoch))
            };
            self.written.lock().unwrap().extend(batch.rows.iter().zip(outcomes).filter_map(stands));
        }
        self.answered(answer)
    }

    async fn unsettled(&self, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error> {
        self.read().await?;
        self.inner.unsettled(lane, after, limit).await
    }

    async fn histories(&self, rows: &[Row]) -> Result<Vec<Option<History>>, Error> {
        self.read().await?;
        self.held.subscribe().wait_for(|held| !held).await.unwrap();
        let histories = self.inner.histories(rows).await?;
        let poisoned = self.poisoned.lock().unwrap();
        let readable = |(row, history): (&Row, Option<History>)| history.filter(|_| !poisoned.contains(&row.id));
        Ok(rows.iter().zip(histories).map(readable).collect())
    }

    async fn erase_key(&self, id: SagaId) -> Result<Erased, Error> {
        self.write().await?;
        self.inner.erase_key(id).await
    }

    async fn find(&self, id: SagaId) -> Result<Option<Row>, Error> {
        self.read().await?;
        self.inner.find(id).await
    }

    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, Error> {
        self.read().await?;
        self.inner.list(filter).await
    }

    async fn count_parked(&self) -> Result<i64, Error> {
        self.read().await?;
        self.inner.count_parked().await
    }

    async fn oldest_start(&self) -> Result<Option<Timestamp>, Error> {
        self.read().await?;
        self.inner.oldest_start().await
    }

    async fn count_unarmed(&self) -> Result<i64, Error> {
        self.read().await?;
        self.inner.count_unarmed().await
    }

    async fn put_definition(&self, stored: &Stored) -> Result<Put, Error> {
        self.write().await?;
        self.inner.put_definition(stored).await
    }

    async fn definitions(&self) -> Result<Vec<Stored>, Error> {
        self.read().await?;
        self.inner.definitions().await
    }
}
