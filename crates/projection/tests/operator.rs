//! Poison, and what an operator does about it.

use std::sync::atomic::Ordering;

use serde_json::json;
use steadfast_core::Event;
use steadfast_projection::{Config, Error, Tally, parking};

use crate::support::{Ledger, MemoryLog, Read, START, both, change, config, count, drain, event, runner, seen};

both!(
    a_poison_event_holds_its_aggregate_and_the_rest_flows,
    several_poison_events_in_one_batch_are_all_found,
    an_operator_gives_up_an_event_or_a_gap_with_a_record,
);

fn poison(aggregate: &str, sequence: i64) -> Event {
    event(aggregate, sequence, json!({"amount": 1, "poison": true}))
}

async fn a_poison_event_holds_its_aggregate_and_the_rest_flows<R: Read>() {
    let db = R::fresh().await;
    let (log, ledger_of) = (MemoryLog::default(), Ledger::new());
    let mut runner = runner::<R>(db.store(), &ledger_of, &log, config()).await;
    let mut events: Vec<Event> = (1..=50).flat_map(|n| ["a", "b", "c"].map(|account| change(account, n))).collect();
    events.iter_mut().filter(|event| event.aggregate_id == "b" && event.sequence == 20).for_each(|event| {
        event.payload = json!({"amount": 1, "poison": true});
    });
    log.append_all(&events);
    assert_eq!(drain(&mut runner).await, Tally { applied: 119, poison: 1, parked: 30, ..Tally::default() });
    assert_eq!(seen(&db, "a").await.len(), 50);
    assert_eq!(seen(&db, "b").await, (1..20).collect::<Vec<_>>());

    log.append_all(&[change("b", 51), change("b", 20), change("a", 51)]);
    assert_eq!(drain(&mut runner).await, Tally { applied: 1, parked: 1, duplicate: 1, ..Tally::default() });
    let parked = parking::list(db.store(), "ledger", 100).await.unwrap();
    assert_eq!(parked.len(), 32);
    assert_eq!(parking::projections(db.store()).await.unwrap(), ["ledger"]);
    let of_b = parking::of_aggregate(db.store(), "ledger", "account", "b").await.unwrap();
    assert_eq!(of_b.iter().map(|event| event.sequence).collect::<Vec<_>>(), (20..=51).collect::<Vec<_>>());
    assert_eq!(parking::of_aggregate(db.store(), "ledger", "account", "a").await.unwrap(), []);
    assert_eq!((parked[0].sequence, parked[0].poison, parked[0].attempts), (20, true, 1));
    assert_eq!(parked[0].error.as_deref(), Some("it is poison"));

    // A replay that fails again leaves everything as it is.
    parking::replay(db.store(), "ledger", "account", "b").await.unwrap();
    drain(&mut runner).await;
    let parked = parking::list(db.store(), "ledger", 100).await.unwrap();
    assert_eq!((parked.len(), parked[0].poison, parked[0].attempts), (32, true, 2));
    assert_eq!(runner.status().snapshot(START).poison, 1);
    assert_eq!(count(&db, "select count(*) from parked_event where state = 'behind'").await, 31);

    ledger_of.repaired.store(true, Ordering::SeqCst);
    assert_eq!(parking::replay_all(db.store(), "ledger").await.unwrap(), 32);
    drain(&mut runner).await;
    assert_eq!(seen(&db, "b").await, (1..=51).collect::<Vec<_>>());
    assert_eq!(parking::list(db.store(), "ledger", 100).await.unwrap(), []);
    drain(&mut runner).await;
    assert_eq!(runner.status().snapshot(START).parked, 0);
}

async fn several_poison_events_in_one_batch_are_all_found<R: Read>() {
    let db = R::fresh().await;
    let (log, ledger_of) = (MemoryLog::default(), Ledger::new());
    let mut runner = runner::<R>(db.store(), &ledger_of, &log, Config { batch: 1_000, ..config() }).await;
    for account in 0..20 {
        let name = format!("a{account}");
        log.append(&change(&name, 1));
        log.append(&if account % 3 == 0 { poison(&name, 2) } else { change(&name, 2) });
        log.append(&if account % 6 == 0 { poison(&name, 3) } else { change(&name, 3) });
    }
    assert_eq!(drain(&mut runner).await, Tally { applied: 20 + 13 * 2, poison: 7, parked: 7, ..Tally::default() });
    assert_eq!(parking::list(db.store(), "ledger", 100).await.unwrap().iter().filter(|one| one.poison).count(), 7);
}

async fn an_operator_gives_up_an_event_or_a_gap_with_a_record<R: Read>() {
    let db = R::fresh().await;
    let (log, ledger_of) = (MemoryLog::default(), Ledger::new());
    let mut runner = runner::<R>(db.store(), &ledger_of, &log, config()).await;
    log.append_all(&[change("a", 1), poison("a", 2), change("a", 3), change("a", 6), change("b", 1)]);
    drain(&mut runner).await;

    let refused = parking::skip_gap(db.store(), "ledger", "account", "a", "why", START).await.unwrap_err();
    assert!(matches!(&refused, Error::NotApplicable { .. }) && refused.to_string().contains("replay or discard"));
    assert_eq!(parking::discard(db.store(), "ledger", "account", "a", "doubled by hand", START).await.unwrap(), 2);
    drain(&mut runner).await;
    assert_eq!(seen(&db, "a").await, [1, 3]);

    let refused = parking::discard(db.store(), "ledger", "account", "a", "why", START).await.unwrap_err();
    assert!(refused.to_string().contains("skip the gap"), "{refused}");
    assert!(matches!(parking::replay(db.store(), "ledger", "account", "a").await, Err(Error::NotApplicable { .. })));
    assert_eq!(
        parking::skip_gap(db.store(), "ledger", "account", "a", "lost in a restore", START).await.unwrap(),
        (4, 5)
    );
    drain(&mut runner).await;
    assert_eq!(seen(&db, "a").await, [1, 3, 6]);
    assert!(matches!(
        parking::discard(db.store(), "ledger", "account", "a", "why", START).await,
        Err(Error::NotParked { .. })
    ));

    let skipped = parking::skipped(db.store(), "ledger", 10).await.unwrap();
    assert_eq!((skipped[0].reason, skipped[0].detail.as_str()), (parking::Reason::Gap, "lost in a restore"));
    assert_eq!((skipped[1].reason, skipped[1].first_sequence), (parking::Reason::Discarded, Some(2)));
    assert_eq!(count(&db, "select count(*) from skipped_event where event like '%poison%'").await, 1);
}
