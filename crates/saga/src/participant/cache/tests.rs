//! What is kept, for whom, and who asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde_json::json;
use tokio::sync::Notify;

use super::*;

const TTL: Duration = Duration::from_mins(1);
const LIMIT: Duration = Duration::from_secs(10);
static NO_OUTCOMES: Outcomes = Outcomes { types: Vec::new(), statuses: Vec::new() };

fn question(path: &str) -> Question<'_> {
    Question { method: "GET", path, body: b"", user: "till-7", scope: "stock.read", outcomes: &NO_OUTCOMES }
}

fn done(body: serde_json::Value) -> Meaning {
    Meaning::Done { status: 200, body, replayed: false, fault: None }
}

fn vague() -> Meaning {
    Meaning::Unknown { free: false, retry_after: None, reason: "http-503".into() }
}

/// Asks for `path`; counts, and answers with `answer`.
async fn ask(cache: &Cache, path: &str, asked: &AtomicUsize, answer: Meaning) -> Meaning {
    cache
        .through(question(path), TTL, LIMIT, |_| async {
            asked.fetch_add(1, Ordering::SeqCst);
            (answer, None)
        })
        .await
        .0
}

#[tokio::test]
async fn a_question_is_asked_once_until_its_time_is_up() {
    let (cache, asked) = (Cache::new(Bounds::default()), AtomicUsize::new(0));
    for _ in 0..3 {
        assert_eq!(ask(&cache, "/stock/1", &asked, done(json!({"left": 3}))).await, done(json!({"left": 3})));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    ask(&cache, "/stock/2", &asked, done(json!({}))).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    let key = question("/stock/1").key();
    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    assert!(cache.lock().store.get(&key, later(59)).is_some());
    assert!(cache.lock().store.get(&key, later(60)).is_none());
    assert!(cache.lock().store.get(&key, later(0)).is_none(), "what was found stale is gone");
}

#[tokio::test]
async fn only_what_is_definitely_done_is_kept() {
    let no_json = Meaning::Done { status: 200, body: json!(null), replayed: false, fault: Some("no JSON") };
    let refused = Meaning::Refused { code: "x".into(), detail: String::new(), stored: true, replayed: true };
    let unsent = Meaning::NotSent { reason: String::new() };
    let misconfigured = Meaning::Misconfigured { code: "http-404".into(), detail: String::new() };
    for answer in [vague(), no_json, refused, unsent, misconfigured] {
        let (cache, asked) = (Cache::new(Bounds::default()), AtomicUsize::new(0));
        for round in 1..=3 {
            assert_eq!(ask(&cache, "/stock/1", &asked, answer.clone()).await, answer);
            assert_eq!(asked.load(Ordering::SeqCst), round);
        }
    }
}

#[test]
fn each_part_of_a_question_counts() {
    let outcomes = Outcomes { types: Vec::new(), statuses: vec![(404, Outcome::Done)] };
    let base = question("/stock/1");
    let others = [
        Question { method: "POST", ..base },
        Question { path: "/stock/2", ..base },
        Question { body: b"{}", ..base },
        Question { user: "till-8", ..base },
        Question { scope: "stock.write", ..base },
        Question { outcomes: &outcomes, ..base },
        // What moves from one part to the next.
        Question { method: "GET/", path: "stock/1", ..base },
        Question { user: "till-7s", scope: "tock.read", ..base },
    ];
    assert_eq!(base.key(), question("/stock/1").key());
    for other in others {
        assert_ne!(base.key(), other.key());
    }
}

#[tokio::test]
async fn those_who_ask_the_same_at_once_wait_for_one_answer() {
    let (cache, asked, answer) = (Cache::new(Bounds::default()), AtomicUsize::new(0), Notify::new());
    let one = || {
        cache.through(question("/stock/1"), TTL, LIMIT, |_| async {
            asked.fetch_add(1, Ordering::SeqCst);
            answer.notified().await;
            (done(json!(7)), None)
        })
    };
    let all = futures_util::future::join_all((0..50).map(|_| one()));
    let (answers, ()) = tokio::join!(all, async { answer.notify_one() });
    assert!(answers.iter().all(|(meaning, _)| *meaning == done(json!(7))));
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert!(cache.lock().asked.is_empty());
}

#[tokio::test]
async fn where_the_one_answer_is_none_each_asks_for_itself() {
    let (cache, asked) = (Cache::new(Bounds::default()), AtomicUsize::new(0));
    let one = |wait: Duration| {
        cache.through(question("/stock/1"), TTL, LIMIT, {
            let asked = &asked;
            move |left| async move {
                assert!(left <= LIMIT && left > LIMIT / 2, "{left:?}");
                tokio::time::sleep(wait).await;
                if asked.fetch_add(1, Ordering::SeqCst) == 0 { (vague(), None) } else { (done(json!(1)), None) }
            }
        })
    };
    let answers = futures_util::future::join_all((0..8).map(|_| one(Duration::from_millis(5)))).await;
    assert_eq!(asked.load(Ordering::SeqCst), 8);
    assert_eq!(answers.iter().filter(|(meaning, _)| *meaning == vague()).count(), 1);
}

#[tokio::test]
async fn who_waits_too_long_or_for_somebody_who_is_gone_asks() {
    let (cache, asked) = (Arc::new(Cache::new(Bounds::default())), AtomicUsize::new(0));
    let stuck = cache.through(question("/stock/1"), TTL, LIMIT, |_| std::future::pending());
    let mut stuck = Box::pin(stuck);
    assert!(futures_util::poll!(&mut stuck).is_pending());
    let short = Duration::from_millis(40);
    let start = Instant::now();
    let second = cache.through(question("/stock/1"), TTL, short, |left| async move {
        assert!(left <= short / 2, "{left:?}");
        (vague(), None)
    });
    assert_eq!(second.await.0, vague());
    assert!(start.elapsed() >= short / 2);
    let waiting = ask(&cache, "/stock/1", &asked, done(json!(2)));
    let (answer, ()) = tokio::join!(waiting, async { drop(stuck) });
    assert_eq!((answer, asked.load(Ordering::SeqCst)), (done(json!(2)), 1));
    assert!(cache.lock().asked.is_empty());
}

proptest! {
    #[test]
    fn the_bounds_hold_whatever_is_kept(
        puts in proptest::collection::vec((0_u8..40, 0_usize..3_000, 0_u64..100), 1..300),
    ) {
        let bounds = Bounds { entries: 16, bytes: 16_000 };
        let (mut store, start) = (Store::new(bounds), Instant::now());
        for (now, (key, length, ttl)) in puts.into_iter().enumerate() {
            let now = start + Duration::from_secs(now as u64);
            let answer = done(json!("x".repeat(length)));
            store.put([key; 32], &answer, Duration::from_secs(ttl), now);
            let (entries, weight, places) = store.size();
            prop_assert!(entries <= 16 && weight <= 16_000 && places <= 33, "{entries} {weight} {places}");
            let kept = ttl > 0 && length + 232 <= 2_000;
            if kept {
                prop_assert_eq!(store.get(&[key; 32], now), Some(answer));
            }
        }
    }
}
