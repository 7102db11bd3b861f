//! The tills against a shop in memory: a few hundred real invoices each, in well under a second.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use goodgo_pos::invoice::{self, Plan, Step};
use goodgo_pos::replay::{Addresses, OrderEnd, Outcome, Progress, Replay, Settings};

use crate::shop::{Seen, Shop, router};
use crate::support::serve;

fn plan(orders: usize) -> Plan {
    let invoices = invoice::sample().unwrap().invoices;
    Plan::new(&invoices, &invoice::Settings { orders: Some(orders), seed: 7 })
}

async fn replay(shop: Shop, plan: &Plan, failure_rate: f64) -> (Outcome, Seen, Progress) {
    let shop = Arc::new(shop);
    let server = serve(router(&shop)).await;
    let base = server.base.clone();
    let addresses = Addresses { order: base.clone(), payment: base.clone(), inventory: base };
    let settings = Settings {
        concurrency: 8,
        seed: 7,
        failure_rate,
        patience: Duration::from_secs(20),
        ..Settings::new(addresses, Arc::new(|principal| format!("token-of-{principal}")))
    };
    let last = Arc::new(Mutex::new(Progress::default()));
    let seen = Arc::clone(&last);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let outcome = Replay::new(plan.clone(), settings)
        .run(move |progress| {
            counted.fetch_add(1, Ordering::Relaxed);
            let mut last = seen.lock().unwrap();
            if progress.done > last.done {
                *last = progress;
            }
        })
        .await;
    assert_eq!(calls.load(Ordering::Relaxed), plan.steps.len(), "told after each step");
    let seen = std::mem::take(&mut *shop.seen.lock().unwrap());
    let last = *last.lock().unwrap();
    (outcome, seen, last)
}

#[tokio::test]
async fn without_trouble_everything_is_sent_once() {
    let plan = plan(200);
    let (outcome, seen, last) = replay(Shop::default(), &plan, 0.0).await;
    assert_eq!(outcome.broken, Vec::<String>::new());
    assert_eq!(outcome.orders.len(), 200);
    assert!(outcome.orders.values().all(|end| matches!(end, OrderEnd::Completed { .. })));
    assert_eq!((last.done, last.orders, last.completed), (plan.steps.len(), 200, 200));
    assert!(seen.orders.len() == 200 && seen.orders.values().all(|times| *times == 1));
    let summary = &plan.summary;
    assert_eq!(outcome.returns, summary.returns() as u64);
    assert_eq!(outcome.returns_standalone, summary.standalone_returns as u64);
    assert_eq!(outcome.returns_matched, (summary.cancels + summary.partial_returns) as u64);
    assert_eq!((outcome.skipped_returns, outcome.retries, outcome.hang_ups), (0, 0, 0));
    for till in ["till-united-kingdom-1", "till-united-kingdom-8", "till-returns-2"] {
        assert!(seen.principals.contains_key(till), "{:?}", seen.principals);
    }
    let written_off: i64 = outcome.applied.write_offs.values().sum();
    let planned = plan.steps.iter().filter_map(|step| match step {
        Step::WriteOff(adjustment) => Some(adjustment.takes.values().sum::<i64>()),
        _ => None,
    });
    assert_eq!(written_off, planned.sum::<i64>());
    assert_eq!(written_off, -seen.adjustments.iter().map(|(_, body)| body["quantity"].as_i64().unwrap()).sum::<i64>());
}

#[tokio::test]
async fn through_trouble_and_bad_manners_every_order_is_carried_out_once() {
    let plan = plan(300);
    let (outcome, seen, _) = replay(Shop { trouble: 7, ..Shop::default() }, &plan, 0.6).await;
    assert_eq!(outcome.broken, Vec::<String>::new());
    assert_eq!(outcome.orders.len(), 300);
    assert!(seen.orders.len() == 300 && seen.orders.values().all(|times| *times == 1), "each once");
    assert!(
        outcome.orders.values().all(|end| matches!(end, OrderEnd::Completed { .. } | OrderEnd::Compensated { .. }))
    );
    let compensated = outcome.orders.values().filter(|end| matches!(end, OrderEnd::Compensated { .. })).count();
    assert!(compensated > 10, "{compensated}");
    assert!(outcome.duplicates_prevented > 20 && outcome.key_reuse_refused > 3, "{outcome:?}");
    assert!(outcome.hang_ups > 10 && outcome.retries > 50);
    assert!(outcome.conflicts > 3 && outcome.conflicts_resolved > 3, "{outcome:?}");
    assert_eq!(outcome.manners.len(), 7, "{:?}", outcome.manners);
    assert!(seen.edits > 6);
    assert_eq!(outcome.returns + outcome.skipped_returns, plan.summary.returns() as u64);
}

#[tokio::test]
async fn a_return_of_an_order_that_did_not_complete_is_skipped() {
    let plan = plan(400);
    let (outcome, seen, _) = replay(Shop::default(), &plan, 1.0).await;
    let skipped = plan.steps.iter().filter(|step| match step {
        Step::Return(back) => back.of.is_some_and(|of| {
            let order = plan.orders().nth(of).unwrap();
            !matches!(outcome.orders[&order.invoice], OrderEnd::Completed { .. })
        }),
        _ => false,
    });
    let skipped = skipped.count() as u64;
    assert!(skipped > 0, "another seed would have one");
    assert_eq!((outcome.skipped_returns, outcome.returns), (skipped, plan.summary.returns() as u64 - skipped));
    for (number, order) in &seen.returns {
        if let Some(order) = order {
            let sold = outcome.orders.values().any(|end| end.order_id() == Some(order));
            assert!(sold, "return {number} names an order that is ours");
        }
    }
}

#[tokio::test]
async fn a_shop_that_breaks_its_promises_is_found_out() {
    let plan = plan(300);
    let (outcome, ..) = replay(Shop { forgetful: true, ..Shop::default() }, &plan, 1.0).await;
    let broken = outcome.broken.join("\n");
    assert!(broken.contains("two submissions under one key were answered differently"), "{broken}");
    assert!(broken.contains("another body under a used key was answered with 2"), "{broken}");
    let (outcome, ..) = replay(Shop { careless: true, ..Shop::default() }, &plan, 1.0).await;
    let broken = outcome.broken.join("\n");
    assert!(broken.contains("two edits from the same ETag were both accepted"), "{broken}");
}
