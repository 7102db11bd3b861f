//! How much the lane writes to a SQLite database in which every commit is flushed. Not run by default: it takes seconds
//! and what it shows depends on the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use steadfast_core::{Clock, Op, SagaId, Timestamp};
use steadfast_db::Db;
use steadfast_testkit::{SystemClock, database};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Bounds, Committed, Lane, Listener, Part, Target};
use crate::Error;
use crate::journal::{Head, Hold, Journal, Memory, NewSaga, Sqlite};
use crate::machine::{Entry, Status};
use crate::metrics::Metrics;

const HOLD: Hold<'static> = Hold { node: "measure", lease: Duration::from_hours(1), now: Timestamp::from_millis(1) };

#[derive(Debug, Default)]
struct Waiters {
    waiting: Mutex<HashMap<SagaId, oneshot::Sender<()>>>,
    commits: Mutex<u64>,
}

impl Listener for Waiters {
    fn committed(&self, commits: &[Committed]) {
        *self.commits.lock().unwrap() += 1;
        let mut waiting = self.waiting.lock().unwrap();
        for commit in commits {
            if let Some(waiter) = waiting.remove(&commit.id) {
                waiter.send(()).unwrap();
            }
        }
    }

    fn fenced(&self, error: &Error) {
        panic!("{error}");
    }

    fn failing(&self, error: &Error) {
        panic!("{error}: {error:?}");
    }

    fn recovered(&self) {}
}

async fn commit(lane: &Lane, waiters: &Waiters, part: Part) {
    let (sender, done) = oneshot::channel();
    waiters.waiting.lock().unwrap().insert(part.id, sender);
    lane.enqueue(part);
    done.await.unwrap();
}

/// A start, three steps whose results nobody waits for, and an end.
async fn saga(lane: &Lane, waiters: &Waiters, id: SagaId) {
    let now = SystemClock.now();
    let head = |status: Status| Head {
        status,
        held: false,
        overdue: false,
        wake_at: (status == Status::Running).then(|| now + Duration::from_secs(30)),
        ended_at: None,
        cause: None,
    };
    let new = NewSaga {
        id,
        definition: "place_order".to_owned(),
        version: 1,
        business_key: Some(id.to_string()),
        principal: "till-7".to_owned(),
        started_at: now,
        input:
            json!({"order_no": id.to_string(), "lines": [{"sku": "espresso-beans-1kg", "quantity": 2, "price": 1990}]})
                .to_string(),
        context: json!({"user": "till-7", "permissions": ["order.place", "payment.process"]}).to_string(),
        key: None,
        queued: false,
    };
    let asked = |step: usize| Entry::Asked { step, op: Op::Action, at: now, knowledge: None };
    let done = |step: usize| Entry::Done {
        step,
        at: now,
        attempts: 1,
        output: json!({"id": format!("{id}-{step}")}).into(),
        assumed: None,
    };
    let part = |entries: Vec<Entry>, status: Status, urgent: bool| Part {
        id,
        target: Target::Known,
        entries,
        head: head(status),
        event: None,
        urgent,
    };
    let entries = vec![Entry::Started { at: now, admitted: true }, asked(0)];
    let target = Target::New(Box::new(new));
    commit(lane, waiters, Part { target, ..part(entries, Status::Running, true) }).await;
    lane.enqueue(part(vec![done(0), asked(1)], Status::Running, false));
    lane.enqueue(part(vec![done(1), asked(2)], Status::Running, false));
    commit(lane, waiters, part(vec![done(2), Entry::Completed { at: now }], Status::Completed, true)).await;
    lane.forget(id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement of some seconds"]
async fn sagas_per_second() {
    for concurrent in [1, 32, 128] {
        let db = database().await;
        let journal = Sqlite::open(Db::clone(&db), None).await.unwrap();
        measure("SQLite, flushed", Arc::new(journal), concurrent).await;
    }
    measure("memory", Arc::new(Memory::new()), 128).await;
}

async fn measure(name: &str, journal: Arc<dyn Journal>, concurrent: u64) {
    let owner = journal.take_lane(HOLD).await.unwrap();
    let waiters = Arc::new(Waiters::default());
    let listener = Arc::clone(&waiters) as _;
    let lane = Lane::open(journal, owner, Arc::new(SystemClock), Bounds::default(), listener, Metrics::new());
    let until = Instant::now() + Duration::from_secs(3);
    let started = Instant::now();
    let mut users = JoinSet::new();
    for user in 0..concurrent {
        let (lane, waiters) = (lane.clone(), Arc::clone(&waiters));
        users.spawn(async move {
            let mut count = 0_u64;
            while Instant::now() < until {
                saga(&lane, &waiters, SagaId::derive("measure", &user.to_string(), &count.to_string())).await;
                count += 1;
            }
            count
        });
    }
    let sagas: u64 = users.join_all().await.iter().sum();
    let seconds = started.elapsed().as_secs_f64();
    let commits = *waiters.commits.lock().unwrap();
    lane.close().await;
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let (rate, per_commit) = (sagas as f64 / seconds, 2.0 * sagas as f64 / commits as f64);
    println!("{name}, {concurrent} at once: {rate:.0} sagas/s, {commits} commits, {per_commit:.1} rows a commit");
}
