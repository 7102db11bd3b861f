//! What every participant must do, whatever it is written in.

use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use steadfast_core::{Clock, Knowledge};
use steadfast_db::tx::Policy;
use steadfast_saga::barrier;
use steadfast_testkit::{SystemClock, wait_for};
use tokio::task::JoinSet;

use super::caller::{Call, Reply, STARTED};
use super::service::{KEY, Service};

/// The whole table, on one service. The last case moves the horizon past all sagas.
pub(crate) async fn run(mut service: Service) {
    a_repeat_gets_the_same_bytes(&service).await;
    of_many_at_once_one_takes_effect(&service).await;
    a_done_action_is_taken_back_once(&service).await;
    an_early_compensation_stops_a_late_action(&service).await;
    a_done_action_that_is_not_here_is_told(&service).await;
    a_refusal_is_final_and_leaves_nothing(&service).await;
    another_body_gets_the_stored_answer(&service).await;
    who_cannot_be_believed_does_nothing(&service).await;
    beside_an_action_in_flight_a_compensation_waits_outside(&service).await;
    a_service_killed_before_its_commit_does_it_once(&mut service).await;
    a_service_killed_before_its_answer_does_it_once(&mut service).await;
    a_lost_database_connection_is_not_a_refusal(&service).await;
    behind_the_horizon_it_is_too_late(&service).await;
    assert!(service.is_balanced().await, "the service's state is the sum of its effects");
}

async fn a_repeat_gets_the_same_bytes(service: &Service) {
    let call = service.action(1);
    let first = service.once(&call).await;
    assert_eq!((first.status, first.is_replayed()), (201, false), "{first:?}");
    assert_eq!(first.header("content-type"), Some("application/json"));
    for _ in 0..3 {
        let again = service.once(&call).await;
        assert!(again.is_replayed(), "{again:?}");
        assert_eq!((again.status, &again.body), (201, &first.body));
        assert_eq!(again.header("content-type"), Some("application/json"));
    }
    assert_eq!(service.effects(&call.saga()).await, (1, 0));
}

async fn of_many_at_once_one_takes_effect(service: &Service) {
    let call = service.action(2);
    let mut set = JoinSet::new();
    for _ in 0..12 {
        let (call, address) = (call.clone(), service.address.clone());
        set.spawn(async move { call.send(&address).await.unwrap() });
    }
    let replies = set.join_all().await;
    let fresh = |reply: &&Reply| reply.status == 201 && !reply.is_replayed();
    assert_eq!(replies.iter().filter(fresh).count(), 1, "{replies:?}");
    assert!(replies.iter().all(|reply| reply.status == 201 || reply.problem().as_deref() == Some("in-flight")));
    assert_eq!(service.effects(&call.saga()).await, (1, 0));
}

async fn a_done_action_is_taken_back_once(service: &Service) {
    let call = service.action(3);
    let done = service.once(&call).await;
    assert_eq!(done.status, 201);
    for (knowledge, replayed) in [(Knowledge::Done, false), (Knowledge::Unknown, true)] {
        let reply = service.once(&call.compensation(knowledge)).await;
        assert_eq!((reply.status, reply.body.len(), reply.is_replayed()), (204, 0, replayed), "{reply:?}");
    }
    let late = service.once(&call).await;
    assert!(late.is_replayed() && late.body == done.body, "{late:?}");
    assert_eq!((service.effects(&call.saga()).await, service.rows(&call.saga()).await), ((1, 1), 2));
}

async fn an_early_compensation_stops_a_late_action(service: &Service) {
    let call = service.action(4);
    for _ in 0..2 {
        assert_eq!(service.once(&call.compensation(Knowledge::Unknown)).await.status, 204);
    }
    for _ in 0..2 {
        let late = service.once(&call).await;
        assert_eq!((late.status, late.problem().as_deref()), (409, Some("voided")), "{late:?}");
    }
    assert_eq!((service.effects(&call.saga()).await, service.rows(&call.saga()).await), ((0, 0), 1));
}

async fn a_done_action_that_is_not_here_is_told(service: &Service) {
    let call = service.action(5);
    let reply = service.once(&call.compensation(Knowledge::Done)).await;
    assert_eq!((reply.status, reply.problem().as_deref()), (409, Some("action-not-found")), "{reply:?}");
    assert_eq!((service.effects(&call.saga()).await, service.rows(&call.saga()).await), ((0, 0), 0));
}

async fn a_refusal_is_final_and_leaves_nothing(service: &Service) {
    let call = Call { body: (service.kind.refused)(6), ..service.action(6) };
    let first = service.once(&call).await;
    assert_eq!((first.status, first.problem().as_deref()), (422, Some("refused")), "{first:?}");
    assert_eq!(first.header("saga-outcome"), Some("refused"));
    let again = service.once(&call).await;
    assert!(again.is_replayed(), "{again:?}");
    assert_eq!((again.status, &again.body, again.header("saga-outcome")), (422, &first.body, Some("refused")));
    assert_eq!(again.problem(), first.problem());
    assert_eq!(service.once(&call.compensation(Knowledge::Unknown)).await.status, 204);
    assert_eq!((service.effects(&call.saga()).await, service.rows(&call.saga()).await), ((0, 0), 1));
}

async fn another_body_gets_the_stored_answer(service: &Service) {
    let call = service.action(7);
    let first = service.once(&call).await;
    let other = service.once(&Call { body: (service.kind.body)(8), ..call.clone() }).await;
    assert!(other.is_replayed(), "{other:?}");
    assert_eq!((other.status, other.body), (201, first.body));
    assert_eq!(service.effects(&call.saga()).await, (1, 0));
}

async fn who_cannot_be_believed_does_nothing(service: &Service) {
    let (call, kind) = (service.action(9), service.kind);
    let now = SystemClock.now();
    let (past, future) = (now - Duration::from_mins(2), now + Duration::from_mins(2));
    let good = call.token(KEY, kind.name, kind.scope, now);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let other_step = service.action(10).token(KEY, kind.name, kind.scope, now);
    let bearers = [
        (String::new(), 401),
        ("nonsense".to_owned(), 401),
        (format!("{signed}."), 401),
        (format!("eyJhbGciOiJub25lIn0.{}.", signed.split('.').nth(1).unwrap()), 401),
        (call.token("another key of thirty-two bytes!", kind.name, kind.scope, now), 401),
        (call.token(KEY, "another service", kind.scope, now), 401),
        (call.token(KEY, kind.name, kind.scope, past), 401),
        (call.token(KEY, kind.name, kind.scope, future), 401),
        (call.token(KEY, kind.name, "another.permission", now), 403),
        (call.compensation(Knowledge::Unknown).token(KEY, kind.name, kind.scope, now), 403),
        (other_step, 403),
    ];
    for (bearer, status) in bearers {
        let reply = service.once(&Call { bearer: Some(bearer.clone()), ..call.clone() }).await;
        assert_eq!((reply.status, reply.problem().is_some()), (status, true), "{bearer}: {reply:?}");
    }
    let undo = call.compensation(Knowledge::Unknown);
    for (call, header, status) in [
        (&call, "Authorization", 401),
        (&call, "Idempotency-Key", 403),
        (&call, "Saga-Started", 403),
        (&undo, "Saga-Action", 403),
    ] {
        let reply = service.once(&Call { without: Some(header), ..call.clone() }).await;
        assert_eq!(reply.status, status, "without {header}: {reply:?}");
    }
    for (call, path) in [(&call, kind.compensate), (&undo, kind.action)] {
        let reply = service.once(&Call { path: Some(path), ..call.clone() }).await;
        assert_eq!(reply.status, 403, "{} at {path}: {reply:?}", call.key);
    }
    assert_eq!((service.effects(&call.saga()).await, service.rows(&call.saga()).await), ((0, 0), 0));
}

/// Nobody else can write into the barrier while this is held: a service stops between its effect and the barrier's row.
async fn hold_barrier(service: &Service) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut tx = service.db.begin().await.unwrap();
    sqlx::query("lock table saga_barrier in share mode").execute(&mut *tx).await.unwrap();
    tx
}

async fn beside_an_action_in_flight_a_compensation_waits_outside(service: &Service) {
    let call = service.action(11);
    let held = hold_barrier(service).await;
    let beside = async {
        service.is_stopped().await;
        for other in [call.compensation(Knowledge::Unknown), call.clone()] {
            let reply = service.once(&other).await;
            assert_eq!((reply.status, reply.problem().as_deref()), (409, Some("in-flight")), "{reply:?}");
        }
        held.rollback().await.unwrap();
    };
    let (done, ()) = tokio::join!(service.once(&call), beside);
    assert_eq!(done.status, 201, "{done:?}");
    assert_eq!(service.ask(&call.compensation(Knowledge::Unknown)).await.status, 204);
    assert_eq!(service.effects(&call.saga()).await, (1, 1));
}

async fn a_service_killed_before_its_commit_does_it_once(service: &mut Service) {
    let call = service.action(12);
    let held = hold_barrier(service).await;
    let address = service.address.clone();
    let killed = async {
        service.is_stopped().await;
        service.kill().await;
    };
    let (reply, ()) = tokio::join!(call.send(&address), killed);
    assert_eq!(reply, None);
    held.rollback().await.unwrap();
    service.start_again().await;
    let again = service.ask(&call).await;
    assert_eq!((again.status, again.is_replayed()), (201, false), "nothing stood: {again:?}");
    assert_eq!(service.effects(&call.saga()).await, (1, 0));
}

/// Stops every commit that has written to the barrier, after the effect and the row, for as long as the lock 4711 is held.
const STOP_COMMITS: &str = "
create function stop_commit() returns trigger language plpgsql as
$$ begin perform pg_advisory_xact_lock_shared(4711); return null; end $$;
create constraint trigger stop_commit after insert on saga_barrier deferrable initially deferred
for each row execute function stop_commit();";

async fn a_service_killed_before_its_answer_does_it_once(service: &mut Service) {
    let call = service.action(13);
    sqlx::raw_sql(STOP_COMMITS).execute(service.db.pool()).await.unwrap();
    let mut holder = PgConnection::connect(&service.db.url()).await.unwrap();
    sqlx::query("select pg_advisory_lock(4711)").execute(&mut holder).await.unwrap();
    let address = service.address.clone();
    let killed = async {
        service.is_stopped().await;
        service.kill().await;
    };
    let (reply, ()) = tokio::join!(call.send(&address), killed);
    assert_eq!(reply, None);
    holder.close().await.unwrap();
    wait_for("the commit to stand", Duration::from_secs(20), async || service.effects(&call.saga()).await == (1, 0))
        .await;
    sqlx::raw_sql("drop trigger stop_commit on saga_barrier; drop function stop_commit")
        .execute(service.db.pool())
        .await
        .unwrap();
    service.start_again().await;
    let again = service.ask(&call).await;
    assert!(again.status == 201 && again.is_replayed(), "{again:?}");
    assert_eq!(service.effects(&call.saga()).await, (1, 0));
}

/// Every connection of the service is cut, one of them in the middle of a call.
async fn a_lost_database_connection_is_not_a_refusal(service: &Service) {
    let call = service.action(14);
    let held = hold_barrier(service).await;
    let cut = async {
        service.is_stopped().await;
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                   where usename = 'steadfast_test_participant' and datname = current_database()";
        sqlx::query(cut).execute(service.db.pool()).await.unwrap();
        held.rollback().await.unwrap();
    };
    let (reply, ()) = tokio::join!(service.once(&call), cut);
    // A service may try again by itself, or say that it does not know.
    assert!(matches!(reply.status, 201 | 503), "{reply:?}");
    wait_for("the service to come back", Duration::from_secs(20), async || service.once(&call).await.status == 201)
        .await;
    assert_eq!(service.effects(&call.saga()).await, (1, 0));
}

async fn behind_the_horizon_it_is_too_late(service: &Service) {
    let kept = Call { started: STARTED + 1, ..service.action(15) };
    assert_eq!(service.once(&kept).await.status, 201);
    let horizon = STARTED + 1;
    let policy = Policy::default();
    let mut removed = 0;
    loop {
        let batch = steadfast_db::tx::run(&*service.db, &policy, |tx| {
            Box::pin(barrier::prune(tx, steadfast_core::Timestamp::from_millis(horizon), 4))
        })
        .await
        .unwrap();
        removed += batch;
        if batch < 4 {
            break;
        }
    }
    assert!(removed > 10, "{removed}");
    // One that has run and was pruned, and one that never ran: neither can be told from the other any more.
    for call in [service.action(1), service.action(16)] {
        for call in [call.clone(), call.compensation(Knowledge::Unknown), call.compensation(Knowledge::Done)] {
            let reply = service.once(&call).await;
            assert_eq!((reply.status, reply.problem().as_deref()), (409, Some("too-late")), "{reply:?}");
        }
    }
    assert_eq!(service.effects(&service.action(1).saga()).await, (1, 0));
    assert!(service.once(&kept).await.is_replayed());
}
