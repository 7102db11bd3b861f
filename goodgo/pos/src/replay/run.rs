//! The steps of a plan, several at once, each begun in the order of the plan.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::{OrderEnd, Outcome, Progress, Replay, Settings};
use crate::client::Client;
use crate::invoice::{Order, Plan, Product, Step};

/// No manner tries an order more often than this for the whole of its patience.
const TRIES_OF_AN_ORDER: u32 = 4;

/// What the steps of a run share.
pub(super) struct Till {
    pub(super) settings: Arc<Settings>,
    pub(super) client: Client,
    plan: Arc<Plan>,
    /// Of each order, the index of its step.
    steps: Vec<usize>,
    ends: Vec<watch::Sender<Option<OrderEnd>>>,
    next: AtomicUsize,
    outcome: Mutex<Outcome>,
    progress: Mutex<Progress>,
}

pub(super) async fn run(replay: &Replay, report: Arc<dyn Fn(Progress) + Send + Sync>) -> Outcome {
    let began = Instant::now();
    let steps: Vec<usize> =
        (0..).zip(&replay.plan.steps).filter(|(_, step)| is_order(step)).map(|(at, _)| at).collect();
    let till = Arc::new(Till {
        settings: Arc::clone(&replay.settings),
        client: replay.client.clone(),
        plan: Arc::clone(&replay.plan),
        ends: steps.iter().map(|_| watch::Sender::new(None)).collect(),
        steps,
        next: AtomicUsize::new(0),
        outcome: Mutex::default(),
        progress: Mutex::new(Progress { total: replay.plan.steps.len(), ..Progress::default() }),
    });
    let mut workers = JoinSet::new();
    for _ in 0..replay.settings.concurrency.max(1) {
        workers.spawn(work(Arc::clone(&till), Arc::clone(&report)));
    }
    while let Some(ended) = workers.join_next().await {
        if let Err(error) = ended {
            till.broken(format!("a worker of the replay ended early: {error}"));
        }
    }
    let mut outcome = till.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
    outcome.took = began.elapsed();
    outcome
}

const fn is_order(step: &Step) -> bool {
    matches!(step, Step::Place(_))
}

async fn work(till: Arc<Till>, report: Arc<dyn Fn(Progress) + Send + Sync>) {
    while !till.settings.stop.is_cancelled() {
        // A step waits only for earlier ones, which are with other workers or done: nobody waits for ever.
        let Some(step) = till.plan.steps.get(till.next.fetch_add(1, Ordering::Relaxed)) else { return };
        match step {
            Step::Place(order) => {
                let end = till.place(order).await;
                till.end(order, end);
            }
            Step::Return(back) => till.take_back(back, back.of.and_then(|index| till.order(index))).await,
            Step::WriteOff(adjustment) => till.write_off(adjustment).await,
            Step::Account(adjustment) => till.adjust_account(adjustment).await,
        }
        report(till.step_done());
    }
}

impl Till {
    /// Notes something in the outcome.
    pub(super) fn count(&self, note: impl FnOnce(&mut Outcome)) {
        note(&mut self.outcome.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Notes a promise that was not kept.
    pub(super) fn broken(&self, what: String) {
        tracing::warn!(what, "a promise was not kept");
        self.count(|outcome| outcome.broken.push(what));
    }

    /// The end of an order that stands earlier in the plan; waits for it, for as long as its till can take. `None` where
    /// the run was stopped before.
    pub(super) async fn end_seen(&self, index: usize) -> Option<OrderEnd> {
        let mut end = self.ends.get(index)?.subscribe();
        let limit = self.settings.patience * TRIES_OF_AN_ORDER;
        let seen = async { timeout(limit, end.wait_for(Option::is_some)).await.ok()?.ok()?.clone() };
        tokio::select! {
            biased;
            seen = seen => seen,
            () = self.settings.stop.cancelled() => None,
        }
    }

    /// The product of this code.
    pub(super) fn product(&self, sku: &str) -> Option<&Product> {
        let at = self.plan.products.binary_search_by(|product| product.sku.as_str().cmp(sku)).ok()?;
        self.plan.products.get(at)
    }

    fn order(&self, index: usize) -> Option<&Order> {
        match self.plan.steps.get(*self.steps.get(index)?)? {
            Step::Place(order) => Some(order),
            _ => None,
        }
    }

    fn end(&self, order: &Order, end: OrderEnd) {
        {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            progress.orders += 1;
            match end {
                OrderEnd::Completed { .. } => progress.completed += 1,
                OrderEnd::Compensated { .. } => progress.compensated += 1,
                OrderEnd::Failed { .. } => progress.failed += 1,
                OrderEnd::Accepted { .. } | OrderEnd::Rejected { .. } | OrderEnd::Unanswered => {}
            }
        }
        self.count(|outcome| {
            outcome.orders.insert(order.invoice.clone(), end.clone());
        });
        if let Some(sender) = self.ends.get(order.index) {
            sender.send_replace(Some(end));
        }
    }

    fn step_done(&self) -> Progress {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.done += 1;
        *progress
    }
}
