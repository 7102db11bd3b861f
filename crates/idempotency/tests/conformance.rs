//! The suite that every store passes: each transition of the record, on each backend.

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, StatusCode, header};
use steadfast_core::{Classified, ErrorKind};
use steadfast_idempotency::{
    Answer, Decision, Owner, Prior, Record, RecordId, Report, Reported, Resolution, Resolved, State, Store,
};

use crate::support::{backends, claim, sqlite};

const TTL: Duration = Duration::from_hours(24);
const LEASE: Duration = Duration::from_secs(30);

fn id(key: &str) -> RecordId {
    claim(key, 0, "", false).id
}

fn owner(token: u8) -> Owner {
    Owner::from_bytes([token; 16])
}

fn answer(body: &str) -> Arc<Answer> {
    let answer = Answer::new(StatusCode::CREATED)
        .with_header(header::LOCATION, HeaderValue::from_static("/orders/1"))
        .with_body(body.to_owned());
    Arc::new(answer)
}

fn first() -> Decision {
    Decision::Execute { attempt: 1, prior: Prior::None }
}

async fn report(store: &dyn Store, key: &str, token: u8, report: Report) -> Reported {
    store.report(id(key), owner(token), report, TTL).await.unwrap()
}

async fn decide(store: &dyn Store, key: &str, token: u8, body: &str, take_over: bool) -> Decision {
    store.claim(&claim(key, token, body, take_over)).await.unwrap()
}

#[tokio::test]
async fn the_life_of_a_record() {
    for backend in backends().await {
        let store = &*backend.store;
        assert_eq!(decide(store, "k", 1, "a", false).await, first());
        assert_eq!(decide(store, "k", 2, "a", false).await, Decision::InFlight);
        assert_eq!(report(store, "k", 1, Report::Complete(answer("x"))).await, Reported::Accepted);
        assert_eq!(decide(store, "k", 3, "a", false).await, Decision::Replay(answer("x")));
        // From the completion, not from the claim.
        backend.advance(TTL.saturating_sub(backend.moment())).await;
        assert_eq!(decide(store, "k", 3, "a", false).await, Decision::Replay(answer("x")));
        backend.advance(backend.moment()).await;
        assert_eq!(store.show(id("k")).await.unwrap(), None);
        assert_eq!(decide(store, "k", 4, "b", false).await, first());
    }
}

#[tokio::test]
async fn a_claim_whose_reply_was_lost_is_recognised_as_its_own() {
    for backend in backends().await {
        let store = &*backend.store;
        assert_eq!(decide(store, "k", 1, "a", false).await, first());
        assert_eq!(decide(store, "k", 1, "a", false).await, first());
        assert_eq!(decide(store, "k", 2, "a", false).await, Decision::InFlight);
        let done = Report::Complete(answer("x"));
        assert_eq!(report(store, "k", 1, done.clone()).await, Reported::Accepted);
        assert_eq!(report(store, "k", 1, done).await, Reported::Accepted);
        assert_eq!(report(store, "k", 1, Report::Abandon).await, Reported::Accepted);
        assert_eq!(decide(store, "k", 3, "a", false).await, Decision::Replay(answer("x")), "nothing took it back");
    }
}

#[tokio::test]
async fn another_body_is_a_mismatch_in_flight_done_held_and_as_a_tombstone_and_new_after_its_time() {
    for backend in backends().await {
        let store = &*backend.store;
        for key in ["flight", "done", "tombstone", "held"] {
            decide(store, key, 1, "a", false).await;
        }
        report(store, "done", 1, Report::Complete(answer("x"))).await;
        let mut tombstone = Answer::new(StatusCode::CREATED);
        tombstone.body = None;
        let tombstone = Arc::new(tombstone);
        report(store, "tombstone", 1, Report::Complete(Arc::clone(&tombstone))).await;
        report(store, "held", 1, Report::Unknown).await;
        for key in ["flight", "done", "tombstone", "held"] {
            assert_eq!(decide(store, key, 2, "b", true).await, Decision::Mismatch, "{key}");
        }
        assert_eq!(decide(store, "tombstone", 2, "a", false).await, Decision::Gone(tombstone));
        backend.advance(TTL).await;
        assert_eq!(decide(store, "done", 2, "b", false).await, first());
        assert_eq!(decide(store, "tombstone", 2, "b", false).await, first());
    }
}

#[tokio::test]
async fn a_renewed_lease_stands_and_one_that_is_over_is_evidence() {
    for backend in backends().await {
        let store = &*backend.store;
        decide(store, "k", 1, "a", false).await;
        for _ in 0..5 {
            backend.advance(LEASE.saturating_sub(backend.moment())).await;
            assert_eq!(report(store, "k", 1, Report::Renew { lease: LEASE }).await, Reported::Accepted);
            assert_eq!(decide(store, "k", 2, "a", true).await, Decision::InFlight);
        }
        backend.advance(LEASE).await;
        assert_eq!(decide(store, "k", 2, "a", false).await, Decision::Held);
        // The owner was only slow: nobody has taken over, so its answer counts.
        assert_eq!(report(store, "k", 1, Report::Complete(answer("x"))).await, Reported::Accepted);
        assert_eq!(decide(store, "k", 2, "a", false).await, Decision::Replay(answer("x")));
    }
}

#[tokio::test]
async fn an_outcome_that_nobody_knows_does_not_become_a_second_execution_by_waiting() {
    for backend in backends().await {
        let store = &*backend.store;
        decide(store, "crashed", 1, "a", false).await;
        decide(store, "unknown", 1, "a", false).await;
        report(store, "unknown", 1, Report::Unknown).await;
        backend.advance(TTL * 30).await;
        while !store.clean(10).await.unwrap().ended {}
        for key in ["crashed", "unknown"] {
            assert_eq!(decide(store, key, 2, "a", false).await, Decision::Held, "{key}");
        }
    }
}

#[tokio::test]
async fn a_late_finisher_is_refused_and_sees_the_winner() {
    for backend in backends().await {
        let store = &*backend.store;
        decide(store, "k", 1, "a", true).await;
        backend.advance(LEASE).await;
        let takeover = Decision::Execute { attempt: 2, prior: Prior::Lapsed };
        assert_eq!(decide(store, "k", 2, "a", true).await, takeover);
        assert_eq!(decide(store, "k", 2, "a", true).await, takeover, "a repeat of the same claim");
        assert_eq!(decide(store, "k", 3, "a", true).await, Decision::InFlight);
        for late in [Report::Renew { lease: LEASE }, Report::Unknown, Report::Abandon, Report::Complete(answer("late"))]
        {
            let Reported::Lost(Some(Record { state: State::Pending { .. }, owner: now, .. })) =
                report(store, "k", 1, late).await
            else {
                panic!("the claim is lost");
            };
            assert_eq!(now, owner(2));
        }
        assert_eq!(report(store, "k", 2, Report::Complete(answer("won"))).await, Reported::Accepted);
        let Reported::Lost(Some(record)) = report(store, "k", 1, Report::Complete(answer("late"))).await else {
            panic!("the claim is lost");
        };
        assert_eq!(record.state, State::Done(answer("won")));
        assert_eq!(decide(store, "k", 4, "a", true).await, Decision::Replay(answer("won")));
    }
}

#[tokio::test]
async fn abandoned_is_absent_unless_an_earlier_attempt_is_in_doubt() {
    for backend in backends().await {
        let store = &*backend.store;
        decide(store, "k", 1, "a", true).await;
        assert_eq!(report(store, "k", 1, Report::Abandon).await, Reported::Accepted);
        assert_eq!(report(store, "k", 1, Report::Abandon).await, Reported::Accepted);
        assert_eq!(decide(store, "k", 2, "b", true).await, first());
        backend.advance(LEASE).await;
        assert_eq!(decide(store, "k", 3, "b", true).await, Decision::Execute { attempt: 2, prior: Prior::Lapsed });
        report(store, "k", 3, Report::Abandon).await;
        assert_eq!(decide(store, "k", 4, "b", false).await, Decision::Held);
        assert_eq!(decide(store, "k", 4, "b", true).await, Decision::Execute { attempt: 3, prior: Prior::Unknown });
    }
}

#[tokio::test]
async fn records_of_others_are_apart_and_a_record_of_another_owner_is_corruption() {
    for backend in backends().await {
        let store = &*backend.store;
        decide(store, "k", 1, "a", false).await;
        let mut stranger = claim("k", 2, "a", false);
        stranger.id = RecordId::derive(&stranger.scope, "v", "k");
        stranger.subject = "v".into();
        assert_eq!(store.claim(&stranger).await.unwrap(), first());
        stranger.id = id("k");
        assert_eq!(store.claim(&stranger).await.unwrap(), Decision::Foreign);
    }
}

#[tokio::test]
async fn steps_of_the_clock_never_execute_twice() {
    for backend in backends().await {
        let store = &*backend.store;
        decide(store, "k", 1, "a", false).await;
        let step = Duration::from_secs(5);
        backend.back(step).await;
        assert_eq!(decide(store, "k", 2, "a", false).await, Decision::InFlight);
        backend.advance(step * 2).await;
        assert_eq!(decide(store, "k", 2, "a", false).await, Decision::InFlight);
        backend.back(TTL + step).await;
        assert_eq!(decide(store, "k", 2, "a", false).await, Decision::InFlight);
        report(store, "k", 1, Report::Complete(answer("x"))).await;
        backend.back(step).await;
        assert_eq!(decide(store, "k", 2, "a", false).await, Decision::Replay(answer("x")));
    }
}

#[tokio::test]
async fn an_operator_lists_shows_and_resolves_what_nobody_knows() {
    for backend in backends().await {
        let store = &*backend.store;
        for key in ["lapsed", "unknown", "retriable", "done"] {
            decide(store, key, 1, "a", key == "retriable").await;
        }
        report(store, "done", 1, Report::Complete(answer("x"))).await;
        report(store, "unknown", 1, Report::Unknown).await;
        assert_eq!(
            store.resolve(id("lapsed"), owner(1), Resolution::NotExecuted, TTL).await.unwrap(),
            Resolved::InFlight
        );
        backend.advance(LEASE).await;
        decide(store, "running", 1, "a", false).await;

        let mut listed = Vec::new();
        let mut after = None;
        loop {
            let page = store.unresolved(after, 1).await.unwrap();
            let Some((id, record)) = page.first() else { break };
            assert_eq!((&*record.scope, &*record.subject), ("POST /orders", "u"));
            assert_eq!(store.show(*id).await.unwrap().as_ref(), Some(record));
            after = Some(*id);
            listed.push(*id);
        }
        let mut expected = vec![id("lapsed"), id("unknown"), id("retriable")];
        expected.sort();
        assert_eq!(listed, expected);

        let executed = Resolution::Executed(answer("resolved"));
        let resolve = async |key: &str, token: u8, resolution: &Resolution| {
            store.resolve(id(key), owner(token), resolution.clone(), TTL).await.unwrap()
        };
        assert_eq!(resolve("nobody", 1, &executed).await, Resolved::Absent);
        assert_eq!(resolve("done", 1, &executed).await, Resolved::Changed);
        assert_eq!(resolve("unknown", 9, &executed).await, Resolved::Changed);
        assert_eq!(resolve("running", 1, &executed).await, Resolved::InFlight);
        assert_eq!(resolve("unknown", 1, &Resolution::NotExecuted).await, Resolved::Done);
        assert_eq!(decide(store, "unknown", 2, "a", false).await, first());
        assert_eq!(resolve("lapsed", 1, &executed).await, Resolved::Done);
        assert_eq!(decide(store, "lapsed", 2, "a", false).await, Decision::Replay(answer("resolved")));
        let late = report(store, "lapsed", 1, Report::Complete(answer("late"))).await;
        assert!(matches!(late, Reported::Lost(Some(_))), "the operator's word stands");
    }
}

#[tokio::test]
async fn the_end_of_a_login_leaves_the_fact_without_the_answer() {
    for backend in backends().await {
        let store = &*backend.store;
        let with = |key: &str, token: u8, login: &str| {
            let mut claim = claim(key, token, "a", false);
            claim.login = Some(login.into());
            claim
        };
        for (key, login) in [("done", "l1"), ("flight", "l1"), ("other", "l2")] {
            assert_eq!(store.claim(&with(key, 1, login)).await.unwrap(), first());
        }
        report(store, "done", 1, Report::Complete(answer("x"))).await;
        report(store, "other", 1, Report::Complete(answer("x"))).await;
        assert_eq!(store.forget_answers("v", "l1").await.unwrap(), 0);
        assert_eq!(store.forget_answers("u", "l1").await.unwrap(), 2);
        assert_eq!(store.forget_answers("u", "l1").await.unwrap(), 0);
        report(store, "flight", 1, Report::Complete(answer("x"))).await;
        for key in ["done", "flight"] {
            let Decision::Gone(left) = store.claim(&with(key, 2, "l3")).await.unwrap() else { panic!("{key} is gone") };
            assert_eq!((left.status, left.headers.len(), &left.body), (StatusCode::CREATED, 0, &None));
        }
        assert_eq!(store.claim(&with("other", 2, "l3")).await.unwrap(), Decision::Replay(answer("x")));
    }
}

#[tokio::test]
async fn what_has_ceased_to_be_is_removed_in_small_batches_and_nothing_else() {
    for backend in backends().await {
        let store = &*backend.store;
        for number in 0..100_u8 {
            let key = format!("old-{number}");
            decide(store, &key, number, "a", false).await;
            report(store, &key, number, Report::Complete(answer("x"))).await;
        }
        decide(store, "held", 1, "a", false).await;
        backend.advance(TTL).await;
        for number in 0..50_u8 {
            let key = format!("new-{number}");
            decide(store, &key, number, "a", false).await;
            report(store, &key, number, Report::Complete(answer("x"))).await;
        }
        let mut removed = 0;
        let mut calls = 0;
        loop {
            let cleaned = store.clean(20).await.unwrap();
            removed += cleaned.removed;
            calls += 1;
            if cleaned.ended {
                break;
            }
        }
        // Redis does it by itself.
        let by_itself = backend.name.starts_with("redis");
        assert_eq!(removed, if by_itself { 0 } else { 100 }, "{}", backend.name);
        assert!(by_itself || calls >= 5, "in small batches: {calls}");
        assert!(store.show(id("held")).await.unwrap().is_some());
        assert!(store.show(id("new-7")).await.unwrap().is_some());
        if let Some(count) = backend.count().await {
            assert_eq!(count, 51, "{}", backend.name);
        }
    }
}

#[tokio::test]
async fn a_damaged_row_is_reported_and_takes_no_other_request_with_it() {
    let backend = sqlite().await;
    let store = &backend.store;
    decide(&**store, "damaged", 1, "a", false).await;
    let mut tx = backend.sqlite_db().begin().await.unwrap();
    sqlx::raw_sql("update idempotency_record set fingerprint = x'02'").execute(&mut *tx).await.unwrap();
    // While the lock is held here, all of these gather for one commit.
    let mut all = tokio::task::JoinSet::new();
    for (token, key) in (10..).zip(["damaged", "k1", "k2", "damaged", "k3"]) {
        let (store, claim) = (Arc::clone(store), claim(key, token, "a", false));
        all.spawn(async move { (key, store.claim(&claim).await) });
    }
    tokio::task::yield_now().await;
    tx.commit().await.unwrap();
    for (key, result) in all.join_all().await {
        match result {
            Err(error) => assert_eq!((key, error.kind()), ("damaged", ErrorKind::Corrupt)),
            Ok(decision) => assert_eq!((key != "damaged", decision), (true, first())),
        }
    }
}

#[tokio::test]
async fn a_record_that_contradicts_itself_is_corruption_and_is_not_executed() {
    for backend in backends().await {
        let store = &*backend.store;
        decide(store, "damaged", 1, "a", true).await;
        if !backend.damage().await {
            continue;
        }
        assert_eq!(store.claim(&claim("damaged", 2, "a", true)).await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.show(id("damaged")).await.unwrap_err().kind(), ErrorKind::Corrupt);
        let done = store.report(id("damaged"), owner(1), Report::Unknown, TTL).await;
        assert_eq!(done.unwrap_err().kind(), ErrorKind::Corrupt, "{}", backend.name);
    }
}

#[tokio::test]
async fn a_database_that_is_closed_is_an_error_and_not_a_hang() {
    let backend = sqlite().await;
    backend.sqlite_db().close().await;
    let claim = claim("k", 1, "a", false);
    let error = tokio::time::timeout(LEASE, backend.store.claim(&claim)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transient);
}

#[tokio::test]
async fn every_plan_uses_its_index() {
    let backend = sqlite().await;
    let db = backend.sqlite_db();
    for (name, sql, expected) in [
        ("read_record", include_str!("../src/store/sqlite/read_record.sql"), "USING PRIMARY KEY (id=?)"),
        ("read_records", include_str!("../src/store/sqlite/read_records.sql"), "SEARCH r USING PRIMARY KEY (id=?)"),
        ("complete_record", include_str!("../src/store/sqlite/complete_record.sql"), "USING PRIMARY KEY (id=?)"),
        ("replace_record", include_str!("../src/store/sqlite/replace_record.sql"), "USING PRIMARY KEY (id=?)"),
        ("delete_record", include_str!("../src/store/sqlite/delete_record.sql"), "USING PRIMARY KEY (id=?)"),
        ("delete_expired", include_str!("../src/store/sqlite/delete_expired.sql"), "USING PRIMARY KEY (id>? AND id<?)"),
        ("read_window", include_str!("../src/store/sqlite/read_window.sql"), "USING PRIMARY KEY (id>?)"),
        ("read_login", include_str!("../src/store/sqlite/read_login.sql"), "USING INDEX idempotency_record_login"),
        (
            "list_unresolved",
            include_str!("../src/store/sqlite/list_unresolved.sql"),
            "USING INDEX idempotency_record_open",
        ),
    ] {
        let mut explain = sqlx::query(sqlx::AssertSqlSafe(format!("explain query plan {sql}")));
        for _ in 0..sql.matches('?').count().min(20) {
            explain = explain.bind(None::<i64>);
        }
        let plan: Vec<String> = explain
            .fetch_all(db.readers())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .iter()
            .map(|row| sqlx::Row::get(row, 3))
            .collect();
        assert!(plan.iter().any(|step| step.contains(expected)), "{name}: {plan:?}");
    }
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn every_plan_of_postgres_uses_its_index() {
    let db = crate::support::postgres_database().await;
    let mut connection = db.connect().await.unwrap();
    sqlx::raw_sql("set enable_seqscan = off").execute(&mut connection).await.unwrap();
    for (name, sql, expected) in [
        ("read_record", include_str!("../src/store/postgres/read_record.sql"), "idempotency_record_pkey"),
        ("lock_record", include_str!("../src/store/postgres/lock_record.sql"), "idempotency_record_pkey"),
        ("complete_record", include_str!("../src/store/postgres/complete_record.sql"), "Index Cond: (id = $1)"),
        ("replace_record", include_str!("../src/store/postgres/replace_record.sql"), "idempotency_record_pkey"),
        ("delete_record", include_str!("../src/store/postgres/delete_record.sql"), "idempotency_record_pkey"),
        ("delete_expired", include_str!("../src/store/postgres/delete_expired.sql"), "idempotency_record_expiry"),
        ("read_login", include_str!("../src/store/postgres/read_login.sql"), "idempotency_record_login"),
        ("list_unresolved", include_str!("../src/store/postgres/list_unresolved.sql"), "idempotency_record_open"),
    ] {
        let parameters = (1..=20).take_while(|number| sql.contains(&format!("${number}"))).count();
        let nulls = vec!["null"; parameters].join(", ");
        let prepare = format!("prepare {name} as {sql}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut connection).await.unwrap();
        let explain = format!("explain execute {name}({nulls})");
        let rows = sqlx::raw_sql(sqlx::AssertSqlSafe(explain)).fetch_all(&mut connection).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, 0)).collect();
        assert!(plan.iter().any(|step| step.contains(expected)), "{name}: {plan:#?}");
    }
}
