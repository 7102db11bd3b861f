//! Order, duplicates, versions and what a runner does not know.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use steadfast_bus::{Partition, Producer, Start, Topics, embedded::Log, headers, partition_of};
use steadfast_core::Clock;
use steadfast_projection::ordering::GapPolicy;
use steadfast_projection::{Config, Runner, Tally, parking};
use steadfast_testkit::{SystemClock, database};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Ledger, Lite, MemoryLog, PARTITIONS, Pg, Read, START, both, change, clock, config, count, drain, event, runner,
    seen, typed,
};

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

both!(
    a_gap_parks_and_its_filling_releases,
    a_gap_that_lasts_alarms_or_is_skipped_with_a_record,
    old_versions_are_brought_up_to_date_and_stored_as_they_came,
    unknown_types_count_as_applied_and_strangers_not_at_all,
    what_is_no_event_and_what_takes_anothers_number_is_written_down,
    events_flow_from_the_embedded_log,
);

async fn whatever_the_arrival<R: Read>(arrivals: &[usize], batch: usize) {
    let db = R::fresh().await;
    let log = MemoryLog::default();
    // Four accounts with ten events each.
    let events: Vec<_> = (0..40_i64).map(|n| change(&format!("a{}", n % 4), n / 4 + 1)).collect();
    log.append_all(arrivals.iter().map(|n| &events[*n]));
    let mut runner = runner::<R>(db.store(), &Ledger::new(), &log, Config { batch, ..config() }).await;
    let tally = drain(&mut runner).await;
    // Those that were parked first are applied by a later batch, or duplicates of parked ones.
    assert_eq!((tally.applied, tally.duplicate, tally.poison, tally.skipped), (40, 15, 0, 0));
    let expected: Vec<_> = (0..4).map(|n| (format!("a{n}"), 550, 10)).collect();
    assert_eq!(db.ledger().await, expected);
    for n in 0..4 {
        assert_eq!(seen(&db, &format!("a{n}")).await, (1..=10).collect::<Vec<_>>());
    }
    assert_eq!(count(&db, "select count(*) from parked_event").await, 0);
}

fn arrivals() -> impl Strategy<Value = Vec<usize>> {
    Just((0_usize..40).chain(0..15).collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_read_model_equals_the_fold_whatever_the_arrival(arrivals in arrivals(), batch in 1_usize..20) {
        run(whatever_the_arrival::<Lite>(&arrivals, batch));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn the_read_model_in_postgresql_equals_the_fold_whatever_the_arrival(arrivals in arrivals(), batch in 1_usize..20) {
        run(whatever_the_arrival::<Pg>(&arrivals, batch));
    }
}

async fn a_gap_parks_and_its_filling_releases<R: Read>() {
    let db = R::fresh().await;
    let log = MemoryLog::default();
    let mut runner = runner::<R>(db.store(), &Ledger::new(), &log, config()).await;
    log.append_all(&[change("a", 1), change("a", 4), change("a", 3), change("b", 1)]);
    assert_eq!(drain(&mut runner).await, Tally { applied: 2, parked: 2, ..Tally::default() });
    drain(&mut runner).await;
    let status = runner.status().snapshot(START);
    assert_eq!((status.parked, status.poison), (2, 0));
    assert_eq!(parking::list(db.store(), "ledger", 10).await.unwrap().len(), 2);

    log.append(&change("a", 2));
    assert_eq!(drain(&mut runner).await, Tally { applied: 3, ..Tally::default() });
    assert_eq!(seen(&db, "a").await, [1, 2, 3, 4]);
    assert_eq!(parking::list(db.store(), "ledger", 10).await.unwrap(), []);
}

async fn a_gap_that_lasts_alarms_or_is_skipped_with_a_record<R: Read>() {
    for (policy, skips) in [
        (GapPolicy::Wait, false),
        (GapPolicy::Alarm { after: Duration::from_mins(1) }, false),
        (GapPolicy::Skip { after: Duration::from_mins(1) }, true),
    ] {
        let (db, clock, log) = (R::fresh().await, clock(), MemoryLog::default());
        let config = Config { gaps: policy, ..config() };
        let projection = R::projection(&Ledger::new());
        let open = Runner::open(db.store().clone(), projection, log.consumer(), Arc::new(clock.clone()), config);
        let mut runner = open.await.unwrap();
        log.append_all(&[change("a", 1), change("a", 4), change("a", 5)]);
        drain(&mut runner).await;

        clock.advance(Duration::from_secs(59));
        drain(&mut runner).await;
        assert_eq!(seen(&db, "a").await, [1]);
        assert_eq!(runner.status().snapshot(clock.now()).alarms, 0);

        clock.advance(Duration::from_secs(1));
        drain(&mut runner).await;
        let alarms = runner.status().snapshot(clock.now()).alarms;
        assert_eq!(alarms, u32::from(matches!(policy, GapPolicy::Alarm { .. })), "{policy:?}");
        let skipped = parking::skipped(db.store(), "ledger", 10).await.unwrap();
        if skips {
            assert_eq!(seen(&db, "a").await, [1, 4, 5]);
            assert_eq!((skipped[0].reason, skipped[0].first_sequence), (parking::Reason::Gap, Some(2)));
            assert_eq!((skipped.len(), skipped[0].last_sequence), (1, Some(3)));
        } else {
            assert_eq!(seen(&db, "a").await, [1]);
            assert_eq!(skipped, []);
        }
    }
}

async fn old_versions_are_brought_up_to_date_and_stored_as_they_came<R: Read>() {
    let db = R::fresh().await;
    let log = MemoryLog::default();
    let mut runner = runner::<R>(db.store(), &Ledger::new(), &log, config()).await;
    log.append_all(&[
        typed("a", 3, "account.changed.v0", json!({"pounds": 3})),
        typed("a", 2, "account.changed.v2", json!({"pounds": 2})),
    ]);
    drain(&mut runner).await;
    assert_eq!(parking::list(db.store(), "ledger", 10).await.unwrap()[1].event_type, "account.changed.v0");

    log.append(&change("a", 1));
    drain(&mut runner).await;
    assert_eq!(db.ledger().await, [("a".to_owned(), 10 + 200 + 300, 3)]);
    assert_eq!(count(&db, "select count(*) from seen where type = 'account.changed.v3'").await, 2);

    // One that cannot be lifted is poison, and what follows waits behind it.
    log.append_all(&[typed("a", 4, "account.changed.v2", json!({})), change("a", 5), change("b", 1)]);
    assert_eq!(drain(&mut runner).await, Tally { applied: 1, poison: 1, parked: 1, ..Tally::default() });
    let parked = parking::list(db.store(), "ledger", 10).await.unwrap();
    assert_eq!((parked[0].sequence, parked[0].error.as_deref()), (4, Some("pounds is not a number")));
    assert_eq!((parked[1].sequence, parked[1].poison), (5, false));
}

async fn unknown_types_count_as_applied_and_strangers_not_at_all<R: Read>() {
    let db = R::fresh().await;
    let log = MemoryLog::default();
    let mut runner = runner::<R>(db.store(), &Ledger::new(), &log, config()).await;
    log.append_all(&[
        change("a", 1),
        typed("a", 2, "account.renamed.v1", json!({})),
        change("a", 3),
        typed("s", 7, "stock.counted.v1", json!({})),
    ]);
    assert_eq!(drain(&mut runner).await, Tally { applied: 2, unknown: 1, ..Tally::default() });
    assert_eq!(seen(&db, "a").await, [1, 3]);
}

async fn what_is_no_event_and_what_takes_anothers_number_is_written_down<R: Read>() {
    let db = R::fresh().await;
    let log = MemoryLog::default();
    let mut runner = runner::<R>(db.store(), &Ledger::new(), &log, config()).await;
    let mut broken = headers::encode(&change("a", 1), "/test");
    broken.headers.retain(|(name, _)| name != headers::SEQUENCE);
    log.append_record(broken);
    let mut twin = change("a", 1);
    twin.event_id = change("b", 9).event_id;
    log.append_all(&[change("a", 1), twin, change("a", 1), change("a", 2)]);
    assert_eq!(drain(&mut runner).await, Tally { applied: 2, duplicate: 1, poison: 1, skipped: 1, ..Tally::default() });
    let skipped = parking::skipped(db.store(), "ledger", 10).await.unwrap();
    assert_eq!(skipped[0].reason, parking::Reason::Collision);
    assert_eq!((skipped[1].reason, skipped[1].position), (parking::Reason::Unreadable, Some(1)));
    assert!(skipped[1].detail.contains("sequence is missing"), "{}", skipped[1].detail);
    assert_eq!(skipped[1].partition, Some(Partition::of_log(partition_of("a", PARTITIONS))));
}

async fn events_flow_from_the_embedded_log<R: Read>() {
    let (read, events) = (R::fresh().await, database().await);
    let log = Log::open(events.clone(), 4).await.unwrap();
    let consumer = Box::new(log.consumer(Topics::All, Start::Beginning));
    let projection = R::projection(&Ledger::new());
    let config = Config { wait: Duration::from_secs(1), batch: 16, ..Config::default() };
    let runner = Runner::open(read.store().clone(), projection, consumer, Arc::new(SystemClock), config).await.unwrap();
    let (status, stop) = (runner.status(), CancellationToken::new());
    let work = async {
        for n in 0..100_i64 {
            let records = (0..3).map(|a| headers::encode(&change(&format!("a{a}"), 100 - n), "/test")).collect();
            assert!(log.produce(records).await.iter().all(Result::is_ok));
        }
        steadfast_testkit::wait_for("all events to be applied", Duration::from_secs(20), || async {
            count(&read, "select count(*) from seen").await == 300
        })
        .await;
        assert_eq!(status.stuck_since(SystemClock.now()), None);
        stop.cancel();
    };
    tokio::join!(runner.run(stop.clone()), work);
    assert!(status.snapshot(START).stopped);
    assert_eq!(seen(&read, "a1").await, (1..=100).collect::<Vec<_>>());

    // A new runner continues where that one stopped.
    let consumer = Box::new(log.consumer(Topics::All, Start::Beginning));
    let projection = R::projection(&Ledger::new());
    let config = crate::support::config();
    let mut next =
        Runner::open(read.store().clone(), projection, consumer, Arc::new(SystemClock), config).await.unwrap();
    assert_eq!(drain(&mut next).await, Tally::default());
    assert!(log.produce(vec![headers::encode(&event("a1", 101, json!({"amount": 1})), "/test")]).await[0].is_ok());
    assert_eq!(drain(&mut next).await, Tally { applied: 1, ..Tally::default() });
}
