//! Killed at each statement, before it reaches the database and after it was done: the read model is the fold all the same.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::json;
use sqlx::{Database, Transaction};
use steadfast_core::Event;
use steadfast_projection::{
    BoxError, Config, CrashPoint, Error, Faults, Projection, Runner, Store, Subscription, Turn, Upcasters, parking,
};

use crate::support::{
    Ledger, MemoryLog, Read, START, Stored, both, change, clock, config, count, drain, event, runner, seen,
};

both!(killed_at_each_statement_each_event_is_applied_once, an_act_killed_at_each_statement_is_done_whole_or_not_at_all);

/// Counts a projection's own work among the statements.
#[derive(Debug)]
struct Mortal<S: Store> {
    faults: Faults<S>,
    projection: Arc<dyn Projection<S::Sql>>,
}

#[async_trait]
impl<S: Store> Projection<S::Sql> for Mortal<S> {
    fn name(&self) -> &str {
        self.projection.name()
    }

    fn subscribes(&self) -> Subscription {
        self.projection.subscribes()
    }

    fn upcasters(&self) -> Upcasters {
        self.projection.upcasters()
    }

    async fn apply(&self, tx: &mut Transaction<'static, S::Sql>, events: &[Event]) -> Result<(), BoxError> {
        // As a driver's error comes out of a projection.
        let died = |_: Error| steadfast_db::Error::from(sqlx::Error::WorkerCrashed);
        self.faults.before().map_err(died)?;
        self.projection.apply(tx, events).await?;
        Ok(self.faults.after().map_err(died)?)
    }
}

async fn mortal<R: Read>(
    db: &R,
    log: &MemoryLog,
    fault: CrashPoint,
) -> (Faults<R::Store>, Result<Runner<Faults<R::Store>>, Error>)
where
    <Stored<R> as Store>::Sql: Database,
{
    let faults = Faults::new(db.store().clone(), fault);
    let projection = Arc::new(Mortal { faults: faults.clone(), projection: R::projection(&Ledger::new()) });
    let config = Config { batch: 4, ..config() };
    let open = Runner::open(faults.clone(), projection as Arc<_>, log.consumer(), Arc::new(clock()), config);
    let opened = open.await;
    (faults, opened)
}

async fn killed_at_each_statement_each_event_is_applied_once<R: Read>() {
    // All that a transaction can do: apply, park, release, find poison, stand behind it, record a skip.
    let mut twin = change("a", 1);
    twin.event_id = change("z", 9).event_id;
    let events = [
        change("a", 1),
        change("a", 3),
        twin,
        change("b", 1),
        event("c", 1, json!({"amount": 1, "poison": true})),
        change("c", 2),
        change("a", 1),
        change("b", 2),
        change("a", 2),
        change("c", 3),
        change("b", 3),
    ];
    let db = R::fresh().await;
    db.store().migrate().await.unwrap();
    let mut at = 1;
    loop {
        let mut died = false;
        for fault in [CrashPoint::Before(at), CrashPoint::After(at)] {
            let log = MemoryLog::default();
            log.append_all(&events);
            db.clear().await;
            let (faults, opened) = mortal(&db, &log, fault).await;
            if let Ok(mut first) = opened {
                while !faults.is_dead() && !matches!(first.turn().await, Ok(Turn::Idle)) {}
            }
            died |= faults.is_dead();
            let mut second = runner::<R>(db.store(), &Ledger::new(), &log, config()).await;
            drain(&mut second).await;
            let expected = [("a".to_owned(), 60, 3), ("b".to_owned(), 60, 3)];
            assert_eq!(db.ledger().await, expected, "{fault:?}");
            assert_eq!(seen(&db, "a").await, [1, 2, 3], "{fault:?}");
            assert_eq!(count(&db, "select count(*) from parked_event where aggregate_id = 'c'").await, 3, "{fault:?}");
            assert_eq!(count(&db, "select count(*) from parked_event").await, 3, "{fault:?}");
            assert_eq!(count(&db, "select count(*) from skipped_event").await, 1, "{fault:?}");
        }
        if !died {
            break;
        }
        at += 1;
    }
    assert!(at > 25, "the work has more statements than {at}");
}

async fn an_act_killed_at_each_statement_is_done_whole_or_not_at_all<R: Read>() {
    let db = R::fresh().await;
    db.store().migrate().await.unwrap();
    let mut at = 1;
    loop {
        db.clear().await;
        let (log, ledger) = (MemoryLog::default(), Ledger::new());
        log.append_all(&[event("a", 1, json!({"amount": 1, "poison": true})), change("a", 2)]);
        let mut runner = runner::<R>(db.store(), &ledger, &log, config()).await;
        drain(&mut runner).await;
        let faults = Faults::new(db.store().clone(), CrashPoint::Before(at));
        let discarded = parking::discard(&faults, "ledger", "account", "a", "by hand", START).await.is_ok();
        drain(&mut runner).await;
        let expected: &[i64] = if discarded { &[2] } else { &[] };
        assert_eq!(seen(&db, "a").await, expected, "killed at {at}");
        let skipped = parking::skipped(db.store(), "ledger", 9).await.unwrap();
        assert_eq!(skipped.len(), usize::from(discarded), "killed at {at}");
        let parked = parking::list(db.store(), "ledger", 9).await.unwrap();
        assert_eq!(parked.len(), if discarded { 0 } else { 2 }, "killed at {at}");
        if discarded {
            break;
        }
        at += 1;
    }
    assert!(at > 8, "an act has more statements than {at}");
}
