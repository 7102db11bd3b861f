//! The consistency auditor.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use steadfast_core::{Clock, Event, SagaId};
use steadfast_projection::auditor::{self, Auditor, Summary};
use steadfast_projection::{Projection, Runner, Store, Tally, Together};
use steadfast_testkit::SeededClock;

use crate::support::{Ledger, MemoryLog, Read, START, Stored, both, change, clock, config, count, drain, event, typed};

both!(
    a_saga_is_consistent_when_its_last_event_is_visible_in_either_order,
    late_failed_and_open_sagas_are_not_consistent,
    a_read_model_that_lacks_an_event_makes_its_saga_late,
    nothing_is_consistent_and_an_event_without_times_is_poison,
);

struct Scene<R: Read> {
    db: R,
    log: MemoryLog,
    clock: SeededClock,
    auditor: Arc<Auditor>,
    runner: Runner<R::Store>,
}

async fn scene<R: Read>() -> Scene<R>
where
    Auditor: Projection<<Stored<R> as Store>::Sql>,
{
    let (db, log, clock) = (R::fresh().await, MemoryLog::default(), clock());
    let auditor = Arc::new(Auditor::new(Arc::new(clock.clone())));
    let own = Arc::clone(&auditor) as Arc<dyn Projection<<Stored<R> as Store>::Sql>>;
    let members = vec![R::projection(&Ledger::new()), own];
    let together = Arc::new(Together::new("shop", members));
    let open = Runner::open(db.store().clone(), together, log.consumer(), Arc::new(clock.clone()), config());
    let runner = open.await.unwrap();
    Scene { db, log, clock, auditor, runner }
}

fn saga(key: &str) -> SagaId {
    SagaId::derive("till", "place_order", key)
}

fn of(key: &str, mut event: Event) -> Event {
    event.saga = Some(saga(key));
    event
}

fn ended(key: &str, sequence: i64, event_type: &str, accepted: i64, settled: Option<i64>) -> Event {
    let at = |millis: i64| START.as_millis() + millis;
    typed(
        &saga(key).to_string(),
        sequence,
        event_type,
        json!({"accepted_at": at(accepted), "settled_at": settled.map(at)}),
    )
}

async fn summary<R: Read>(db: &R) -> (u64, u64, u64) {
    let Summary { accepted, consistent, open, .. } = auditor::summary(db.store()).await.unwrap();
    (accepted, consistent, open)
}

async fn a_saga_is_consistent_when_its_last_event_is_visible_in_either_order<R: Read>()
where
    Auditor: Projection<<Stored<R> as Store>::Sql>,
{
    for own_first in [true, false] {
        let Scene { db, log, clock, mut runner, .. } = scene::<R>().await;
        clock.advance(Duration::from_millis(100));
        let (own, first, second) =
            (ended("1", 1, "saga.completed.v1", 0, Some(50)), of("1", change("a", 1)), of("1", change("b", 1)));
        let order = if own_first { [own, first, second] } else { [first, second, own] };
        for event in &order {
            log.append(event);
            assert_eq!(drain(&mut runner).await.applied, 1);
            clock.advance(Duration::from_millis(100));
        }
        assert_eq!(summary(&db).await, (1, 1, 0));
        // Visible at 100, 200 and 300: the last counts.
        let mean = auditor::summary(db.store()).await.unwrap().mean_time_ms;
        assert!((mean - 300.0).abs() < 0.001, "{mean}");
        assert_eq!(count(&db, "select events from saga_consistency").await, 3);
        assert_eq!(count(&db, "select sum(total) from ledger").await, 20);
    }
}

async fn late_failed_and_open_sagas_are_not_consistent<R: Read>()
where
    Auditor: Projection<<Stored<R> as Store>::Sql>,
{
    let Scene { db, log, clock, auditor, mut runner } = scene::<R>().await;
    log.append(&ended("compensated", 1, "saga.compensated.v1", 0, Some(10)));
    log.append(&ended("failed", 1, "saga.failed.v1", 0, None));
    log.append(&of("open", change("a", 1)));
    log.append(&ended("late settled", 1, "saga.completed.v1", -70_000, Some(0)));
    log.append(&ended("late visible", 1, "saga.completed.v1", 0, Some(10)));
    drain(&mut runner).await;
    assert_eq!(summary(&db).await, (5, 2, 1), "so far two are settled in time");
    assert_eq!(
        auditor.refresh(db.store()).await.unwrap().accepted,
        1,
        "the others were accepted less than a minute ago"
    );

    clock.advance(Duration::from_secs(61));
    log.append(&of("late visible", change("a", 2)));
    drain(&mut runner).await;
    assert_eq!(summary(&db).await, (5, 1, 1));
    let refreshed = auditor.refresh(db.store()).await.unwrap();
    assert_eq!((refreshed.accepted, refreshed.consistent), (5, 1));
    assert!((refreshed.rate - 20.0).abs() < 0.001);

    // An operator brings the failed one to its end: too late.
    log.append(&ended("failed", 2, "saga.compensated.v1", 0, Some(61_000)));
    drain(&mut runner).await;
    assert_eq!(summary(&db).await, (5, 1, 1));
    assert_eq!(count(&db, "select count(*) from saga_consistency where outcome = 'failed'").await, 0);
}

async fn a_read_model_that_lacks_an_event_makes_its_saga_late<R: Read>()
where
    Auditor: Projection<<Stored<R> as Store>::Sql>,
{
    let Scene { db, log, clock, mut runner, .. } = scene::<R>().await;
    log.append(&ended("1", 1, "saga.completed.v1", 0, Some(10)));
    log.append(&of("1", event("a", 1, json!({"amount": 1, "poison": true}))));
    log.append(&of("2", change("b", 2)));
    let tally = drain(&mut runner).await;
    assert_eq!(tally, Tally { applied: 1, poison: 1, parked: 1, ..Tally::default() });
    assert_eq!(count(&db, "select sum(events) from saga_consistency").await, 1, "neither event is visible");
    assert_eq!(clock.now(), START);
}

async fn nothing_is_consistent_and_an_event_without_times_is_poison<R: Read>()
where
    Auditor: Projection<<Stored<R> as Store>::Sql>,
{
    let Scene { db, log, mut runner, .. } = scene::<R>().await;
    let nothing = auditor::summary(db.store()).await.unwrap();
    assert_eq!((nothing.accepted, nothing.rate.to_bits()), (0, 100.0_f64.to_bits()));
    log.append(&typed(&saga("1").to_string(), 1, "saga.completed.v1", json!({"accepted_at": 1})));
    assert_eq!(drain(&mut runner).await.poison, 1);
    let parked = steadfast_projection::parking::list(db.store(), "shop", 1).await.unwrap();
    assert_eq!(parked[0].error.as_deref(), Some("saga.completed.v1: settled_at must be a number of milliseconds"));
}
