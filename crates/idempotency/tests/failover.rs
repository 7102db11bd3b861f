//! A master of a cluster is killed and its replica promoted, under load: what is lost is counted, and nothing that stands
//! is overwritten.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::StatusCode;
use steadfast_idempotency::redis::{Options, Redis, Wait};
use steadfast_idempotency::{Answer, Claim, Decision, Error, Owner, RecordId, Report, Reported, State, Store};
use steadfast_testkit::{SystemClock, wait_for};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::own_servers::Cluster;
use crate::servers::secrets;
use crate::support::claim;

const PROMOTION: Duration = Duration::from_secs(30);

fn nth(number: u64, second: bool) -> Claim {
    let mut token = [u8::from(second); 16];
    token[..8].copy_from_slice(&number.to_be_bytes());
    Claim {
        id: RecordId::derive("s", "u", &number.to_string()),
        owner: Owner::from_bytes(token),
        // Longer than the look at every key takes.
        lease: Duration::from_hours(1),
        ..claim("", 0, "a", true)
    }
}

fn answer(word: &'static str) -> Report {
    Report::Complete(Arc::new(Answer::new(StatusCode::OK).with_body(word)))
}

/// What a failover did.
#[derive(Debug, Default)]
struct Toll {
    /// Claims that were acknowledged, and a quarter of those completed.
    acknowledged: usize,
    /// Of them, those that could be claimed again: a second execution.
    repeats: usize,
    /// Of them, those whose answer had been stored.
    forgotten: usize,
    refused: u64,
    slowest: Duration,
    /// From the kill to the first claim through the new master.
    outage: Duration,
}

/// The store's answer, asked again while it does not give one: every step may be.
async fn surely<T, F: Future<Output = Result<T, Error>>>(step: impl Fn() -> F) -> T {
    for _ in 0..100 {
        if let Ok(value) = step().await {
            return value;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the store does not answer");
}

async fn failover(cluster: &mut Cluster, wait: Option<Wait>) -> Toll {
    let options = Options { wait, ..Options::default() };
    let store = Redis::open_cluster(&secrets(&cluster.urls()), Arc::new(SystemClock), options).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let (stop, next, refused) =
        (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let slowest = Arc::new(Mutex::new(Duration::ZERO));
    let mut load = JoinSet::new();
    for _ in 0..16 {
        let (store, stop, next, refused) =
            (Arc::clone(&store), Arc::clone(&stop), Arc::clone(&next), Arc::clone(&refused));
        let (acknowledged, slowest) = (Arc::clone(&acknowledged), Arc::clone(&slowest));
        load.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let number = next.fetch_add(1, Ordering::SeqCst);
                let one = nth(number, false);
                let start = Instant::now();
                let claimed = store.claim(&one).await;
                {
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = slowest.max(start.elapsed());
                }
                if let Ok(decision) = claimed {
                    assert!(matches!(decision, Decision::Execute { attempt: 1, .. }), "{decision:?}");
                    let stored = number.is_multiple_of(4)
                        && store.report(one.id, one.owner, answer("first"), one.ttl).await.is_ok();
                    acknowledged.lock().unwrap().push((number, stored));
                } else {
                    refused.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                // So that the load is the same with and without a wait.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    wait_for("some load", PROMOTION, || async { next.load(Ordering::SeqCst) > 2_000 }).await;
    let killed = Instant::now();
    cluster.kill_first();
    wait_for("the promotion", PROMOTION, || async { cluster.is_promoted() }).await;
    // Whoever asks for a replica of each write must have one.
    cluster.revive_first().await;
    wait_for("the slots", PROMOTION, || async {
        let tries: Vec<_> = (0..8).map(|_| nth(next.fetch_add(1, Ordering::SeqCst), false)).collect();
        let mut fine = true;
        for one in &tries {
            fine &= store.claim(one).await.is_ok();
        }
        fine
    })
    .await;
    let outage = killed.elapsed();
    stop.store(true, Ordering::SeqCst);
    load.join_all().await;

    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    let mut toll = Toll {
        acknowledged: acknowledged.len(),
        refused: refused.load(Ordering::SeqCst),
        slowest: *slowest.lock().unwrap(),
        outage,
        ..Toll::default()
    };
    for (number, stored) in acknowledged {
        let second = nth(number, true);
        match surely(|| store.claim(&second)).await {
            Decision::Execute { attempt: 1, .. } => {
                toll.repeats += 1;
                toll.forgotten += usize::from(stored);
                // The first still runs, and finishes late.
                let first = nth(number, false);
                let late = surely(|| store.report(first.id, first.owner, answer("late"), first.ttl)).await;
                assert!(matches!(late, Reported::Lost(Some(_))), "{late:?}");
                let won = surely(|| store.report(second.id, second.owner, answer("second"), second.ttl)).await;
                assert_eq!(won, Reported::Accepted);
                let State::Done(kept) = surely(|| store.show(second.id)).await.unwrap().state else { panic!("done") };
                assert_eq!(kept.body.as_deref(), Some(&b"second"[..]));
            }
            // Also where the reply to its completion was lost.
            Decision::Replay(kept) => assert_eq!(kept.body.as_deref(), Some(&b"first"[..])),
            Decision::InFlight => {}
            other => panic!("{other:?}"),
        }
    }
    toll
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_master_loses_little_overwrites_nothing_and_keeps_nobody_waiting() {
    let mut cluster = Cluster::start(Duration::from_millis(20), 0).await;
    let toll = failover(&mut cluster, None).await;
    println!("{toll:?}");
    assert!(toll.repeats > 0, "with a replication that lags by 20 ms the loss is seen: {toll:?}");
    assert!(toll.slowest < Duration::from_secs(1), "{toll:?}");
    // The record is gone: the first, still running, finishes before anybody else comes.
    let (slots, urls) = (nth(u64::MAX, false), cluster.urls());
    let store = Redis::open_cluster(&secrets(&urls), Arc::new(SystemClock), Options::default()).await.unwrap();
    let late = surely(|| store.report(slots.id, slots.owner, answer("late"), slots.ttl)).await;
    assert_eq!(late, Reported::Lost(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures: a minute and more"]
async fn repeats_for_each_failover_with_and_without_wait_and_min_replicas() {
    let wait = Some(Wait { replicas: 1, limit: Duration::from_millis(100) });
    for lag in [0, 1, 5, 20] {
        for (name, wait, min_replicas) in
            [("neither", None, 0), ("min-replicas-to-write 1", None, 1), ("WAIT 1", wait, 0)]
        {
            let mut cluster = Cluster::start(Duration::from_millis(lag), min_replicas).await;
            let toll = failover(&mut cluster, wait).await;
            #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
            let per_thousand = toll.repeats as f64 * 1_000.0 / toll.acknowledged as f64;
            println!(
                "lag {lag} ms, {name}: {} repeats ({} of stored answers) of {} keys, {per_thousand:.2} per 1,000; {} refused, outage {:?}, slowest {:?}",
                toll.repeats, toll.forgotten, toll.acknowledged, toll.refused, toll.outage, toll.slowest
            );
        }
    }
}
