//! What only PostgreSQL can be asked: the functions as a service in another language calls them, rights, plans, lost commits.

use std::collections::BTreeSet;

use secrecy::SecretString;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Postgres, Row};
use steadfast_core::{Classified, ErrorKind};
use steadfast_db::migrate;
use steadfast_db::postgres::{Db, Options};
use steadfast_testkit::{TestPostgres, postgres, wait_for};

use super::*;
use crate::barrier::decision::{Decision, Known, decide};

pub(super) struct OnPostgres {
    test: TestPostgres,
    /// With as many connections as a measurement needs.
    wide: Option<Db>,
}

impl Ground for OnPostgres {
    type Sql = Postgres;
    type Handle = Db;

    async fn open() -> Self {
        let db = postgres().await;
        migrate(&*db, &LINE).await.unwrap();
        sqlx::query("create table effect (what text not null)").execute(db.pool()).await.unwrap();
        Self { test: db, wide: None }
    }

    fn db(&self) -> &Db {
        self.wide.as_ref().unwrap_or(&self.test)
    }

    async fn reopen(&self) -> Db {
        self.test.reopen().await
    }

    fn write<'t>(tx: &'t mut Transaction<'static, Postgres>, what: &str) -> BoxFuture<'t, Result<(), Error>> {
        let what = what.to_owned();
        Box::pin(async move {
            let insert = sqlx::query("insert into effect (what) values ($1)").bind(what);
            insert.execute(&mut **tx).await.map_err(steadfast_db::Error::from)?;
            Ok(())
        })
    }

    async fn effects(&self, call: &Call) -> i64 {
        sqlx::query_scalar("select count(*) from effect where what = $1")
            .bind(call.key.to_string())
            .fetch_one(self.test.pool())
            .await
            .unwrap()
    }

    async fn rows(&self) -> i64 {
        sqlx::query_scalar("select count(*) from saga_barrier").fetch_one(self.test.pool()).await.unwrap()
    }
}

impl OnPostgres {
    pub(super) fn url(&self) -> String {
        self.test.url()
    }

    /// Works through this handle from now on.
    pub(super) fn widen(&mut self, db: Db) {
        self.wide = Some(db);
    }
}

async fn open() -> OnPostgres {
    <OnPostgres as Ground>::open().await
}

const ENTER: &str = "select outcome, status, headers::text, convert_from(body, 'UTF8') as body
                     from saga_barrier_enter($1, $2, $3, sha256($4))";

async fn enters(connection: &mut PgConnection, call: &Call) -> sqlx::postgres::PgRow {
    sqlx::query(ENTER)
        .bind(call.key.to_string())
        .bind(call.started.as_millis())
        .bind(call.knowledge.map(Knowledge::as_str))
        .bind(BODY)
        .fetch_one(connection)
        .await
        .unwrap()
}

/// Every combination of rows, horizon, operation and knowledge.
#[tokio::test]
async fn the_function_decides_as_the_pure_decision_does() {
    let ground = open().await;
    let mut tx = ground.test.begin().await.unwrap();
    let states = [None, Some(State::Done), Some(State::Refused), Some(State::Void)];
    let mut seen = BTreeSet::new();
    for (op, knowledge) in [Op::Action, Op::Compensate]
        .into_iter()
        .flat_map(|op| [Knowledge::Done, Knowledge::Unknown].map(|knowledge| (op, knowledge)))
    {
        for action in states {
            for compensation in [None, Some(State::Done)] {
                for behind_horizon in [false, true] {
                    let known = Known { action, compensation, behind_horizon };
                    let call = Call { knowledge: Some(knowledge), ..call("s", op) };
                    let outcome = outcome_of(&mut tx, &call, known).await;
                    let expected = match decide(op, knowledge, known) {
                        Decision::Run => "run",
                        Decision::Replay => "replayed",
                        Decision::Nothing => "nothing",
                        Decision::Void => "void",
                        Decision::Voided => "voided",
                        Decision::TooLate => "too-late",
                        Decision::ActionNotFound => "action-not-found",
                    };
                    assert_eq!(outcome, expected, "{op} {knowledge:?} {known:?}");
                    seen.insert(outcome);
                }
            }
        }
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}

async fn outcome_of(tx: &mut Transaction<'static, Postgres>, call: &Call, known: Known) -> String {
    let mut inner = tx.begin().await.unwrap();
    for (op, state) in [(1_i16, known.action), (2, known.compensation)] {
        let Some(state) = state else { continue };
        let (state, status) = match state {
            State::Done => (1_i16, 200_i16),
            State::Refused => (2, 422),
            State::Void => (3, 409),
        };
        sqlx::query("insert into saga_barrier (saga, step, op, state, status, request, started_at) values ($1::uuid, $2, $3, $4, $5, substr(sha256($6), 1, 8), 0)")
            .bind(call.key.saga.to_string())
            .bind(&call.key.step)
            .bind(op)
            .bind(state)
            .bind(status)
            .bind(BODY)
            .execute(&mut *inner)
            .await
            .unwrap();
    }
    let horizon = call.started.as_millis() + i64::from(known.behind_horizon);
    sqlx::query("update saga_barrier_horizon set started_before = $1")
        .bind(horizon)
        .execute(&mut *inner)
        .await
        .unwrap();
    let outcome = enters(&mut inner, call).await.get("outcome");
    inner.rollback().await.unwrap();
    outcome
}

#[tokio::test]
async fn the_functions_problems_are_those_of_the_platform() {
    let ground = open().await;
    let mut holder = ground.test.begin().await.unwrap();
    assert_eq!(enters(&mut holder, &action("held")).await.get::<String, _>("outcome"), "run");
    let mut tx = ground.test.begin().await.unwrap();
    enters(&mut tx, &compensation("void", Knowledge::Unknown)).await;
    sqlx::query("update saga_barrier_horizon set started_before = $1")
        .bind(START.as_millis())
        .execute(&mut *tx)
        .await
        .unwrap();
    let old = Call { started: Timestamp::from_millis(0), ..action("old") };
    for (call, expected) in [
        (action("void"), &problem::VOIDED),
        (old, &problem::TOO_LATE),
        (compensation("s", Knowledge::Done), &problem::ACTION_NOT_FOUND),
        (compensation("held", Knowledge::Unknown), &problem::IN_FLIGHT),
    ] {
        let row = enters(&mut tx, &call).await;
        let body: serde_json::Value = serde_json::from_str(row.get("body")).unwrap();
        assert_eq!(body["type"], expected.uri());
        assert_eq!(body["title"], expected.title);
        assert_eq!((body["status"].as_u64(), row.get::<i32, _>("status")), (Some(409), 409));
        assert!(body["detail"].as_str().unwrap().contains(&call.key.to_string()));
        let headers: serde_json::Value = serde_json::from_str(row.get("headers")).unwrap();
        assert_eq!(headers, json!({"Content-Type": "application/problem+json"}));
    }
}

#[tokio::test]
async fn a_call_beside_one_in_flight_is_not_kept_waiting() {
    let ground = open().await;
    let (mut tx, held) = pass(&ground, &action("s")).await.unwrap();
    for call in [action("s"), compensation("s", Knowledge::Unknown)] {
        let work = work::<OnPostgres>(&call, ok());
        let answer = run(ground.db(), &call, Route::Compensatable, BODY, NOW, work).await.unwrap();
        assert_eq!((answer.status(), answer.problem_code().as_deref()), (409, Some("in-flight")));
    }
    held.record(&mut tx, &ok(), NOW).await.unwrap();
    tx.commit().await.unwrap();
    let undo = compensation("s", Knowledge::Unknown);
    assert_eq!(make(&ground, &undo, Route::Compensatable, Answer::empty(204)).await.status(), 204);
    assert_eq!((ground.effects(&action("s")).await, ground.effects(&undo).await), (0, 1));
}

/// What a faster writer without the step's lock leaves: the insert waits for it, fails, and the stored answer is given.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_comes_by_another_way_is_replayed_and_not_doubled() {
    let ground = open().await;
    let call = action("s");
    let mut other = ground.test.begin().await.unwrap();
    sqlx::query("insert into saga_barrier (saga, step, op, state, status, body, request, started_at) values ($1::uuid, 'pay', 1, 1, 200, 'lane', substr(sha256($2), 1, 8), 0)")
        .bind(call.key.saga.to_string())
        .bind(BODY)
        .execute(&mut *other)
        .await
        .unwrap();
    let slow = make(&ground, &call, Route::Compensatable, ok());
    let release = async {
        wait_for("the insert to wait for the other writer", Duration::from_secs(20), async || {
            waiting(&ground.test).await > 0
        })
        .await;
        other.commit().await.unwrap();
    };
    let (answer, ()) = tokio::join!(slow, release);
    assert!(answer.is_replayed());
    assert_eq!((answer.body().as_ref(), ground.effects(&call).await), (&b"lane"[..], 0));
}

async fn waiting(db: &Db) -> i64 {
    sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
    .fetch_one(db.pool())
    .await
    .unwrap()
}

/// The backend dies in the middle of the commit, after the row stands: nothing is run again by itself, the next attempt
/// is told what has become of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_reported_and_not_run_again() {
    let ground = open().await;
    sqlx::raw_sql(
        "create function die() returns trigger language plpgsql as $$ begin perform pg_terminate_backend(pg_backend_pid()); return null; end $$;
         create constraint trigger die after insert on saga_barrier deferrable initially deferred for each row execute function die()",
    )
    .execute(ground.test.pool())
    .await
    .unwrap();
    let (call, mut ran) = (action("s"), 0);
    let mut inner = work::<OnPostgres>(&call, ok());
    let error = run::<_, Error, _>(ground.db(), &call, Route::Compensatable, BODY, NOW, |tx| {
        ran += 1;
        inner(tx)
    })
    .await
    .unwrap_err();
    assert!(matches!(error, Error::Db(steadfast_db::Error::CommitUnknown(_))), "{error:?}");
    assert_eq!((error.kind(), ran, ground.effects(&call).await), (ErrorKind::Transient, 1, 0));
    sqlx::raw_sql("drop trigger die on saga_barrier").execute(ground.test.pool()).await.unwrap();
    assert_eq!(make(&ground, &call, Route::Compensatable, ok()).await.status(), 201);
    assert_eq!(ground.effects(&call).await, 1);
}

/// A role of a service: it may execute, and nothing else.
async fn role(ground: &OnPostgres) -> PgConnection {
    sqlx::raw_sql(
        "do $$ begin create role steadfast_test_service login; exception when duplicate_object or unique_violation then null; end $$;
         grant execute on function saga_barrier_enter(text, bigint, text, bytea), saga_barrier_leave(text, integer, text, bytea), saga_barrier_refuse(text, integer, text, bytea) to steadfast_test_service",
    )
    .execute(ground.test.pool())
    .await
    .unwrap();
    PgConnection::connect(&ground.test.url().replace("postgres@", "steadfast_test_service@")).await.unwrap()
}

#[tokio::test]
async fn a_role_that_may_execute_needs_nothing_else_and_sees_nothing_else() {
    let ground = open().await;
    make(&ground, &action("of another"), Route::Compensatable, ok()).await;
    let mut service = role(&ground).await;
    for forbidden in [
        "select body from saga_barrier",
        "select count(*) from saga_barrier_horizon",
        "insert into saga_barrier (saga, step, op, state, status, request, started_at) values (gen_random_uuid(), 'x', 1, 1, 200, '', 0)",
        "delete from saga_barrier",
        "select saga_barrier_prune(9999999999999, 1000)",
    ] {
        let error = sqlx::query(forbidden).execute(&mut service).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "42501", "{forbidden}");
    }
    // What stands before the functions' own names for everybody else does not reach them.
    sqlx::raw_sql("create temp table saga_barrier (saga uuid); create temp table saga_barrier_horizon (id int)")
        .execute(&mut service)
        .await
        .unwrap();
    let mut tx = service.begin().await.unwrap();
    assert_eq!(enters(&mut tx, &action("own")).await.get::<String, _>("outcome"), "run");
    sqlx::query("select saga_barrier_leave($1, 201, 'application/json', '{\"a\":1}')")
        .bind(action("own").key.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut tx = service.begin().await.unwrap();
    let row = enters(&mut tx, &action("own")).await;
    assert_eq!((row.get("outcome"), row.get("status"), row.get("body")), ("replayed", 201, "{\"a\":1}"));
    assert_eq!(ground.rows().await, 2);
}

#[tokio::test]
async fn a_rust_service_works_under_that_role_too() {
    let ground = open().await;
    drop(role(&ground).await);
    sqlx::raw_sql("grant insert on effect to steadfast_test_service").execute(ground.test.pool()).await.unwrap();
    let url = SecretString::from(ground.test.url().replace("postgres@", "steadfast_test_service@"));
    let db = Db::open(&url, Options::default()).await.unwrap();
    assert_eq!(make_on::<OnPostgres>(&db, &action("s"), Route::Compensatable, ok()).await.status(), 201);
    assert_eq!(make_on::<OnPostgres>(&db, &action("t"), Route::Compensatable, refusal()).await.status(), 422);
    assert!(make_on::<OnPostgres>(&db, &action("t"), Route::Compensatable, ok()).await.is_replayed());
    assert_eq!(ground.effects(&action("s")).await, 1);
}

/// What a developer gets wrong on the first day is said in so many words.
#[tokio::test]
async fn wrong_use_of_the_functions_is_told() {
    let ground = open().await;
    let key = action("s").key.to_string();
    let undo = compensation("s", Knowledge::Done).key.to_string();
    let enter = |key: &str, rest: &str| format!("select * from saga_barrier_enter('{key}', {rest})");
    let ok = enter(&key, "0, null, sha256('')");
    for (statements, state, says) in [
        (vec![format!("select saga_barrier_leave('{key}', 200, null, null)")], "55000", "has not entered"),
        (vec![ok.clone(), format!("select saga_barrier_leave('{undo}', 200, null, null)")], "55000", "has not entered"),
        (vec![ok.clone(), format!("select saga_barrier_leave('{key}', 422, null, null)")], "22023", "is no success"),
        (
            vec![ok.clone(), format!("select saga_barrier_refuse('{key}', 503, null, null)")],
            "22023",
            "not read as a refusal",
        ),
        (
            vec!["set transaction isolation level repeatable read".to_owned(), ok.clone()],
            "25000",
            "must be read committed",
        ),
        (vec![enter("nonsense", "0, null, sha256('')")], "22023", "{saga}:{step}:action"),
        (vec![enter(&key, "null, null, sha256('')")], "22023", "started is missing"),
        (vec![enter(&key, "0, null, null")], "22023", "SHA-256"),
        (vec![enter(&undo, "0, null, sha256('')")], "22023", "done or unknown"),
    ] {
        let mut tx = ground.test.begin().await.unwrap();
        let (last, first) = statements.split_last().unwrap();
        for statement in first {
            sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut *tx).await.unwrap();
        }
        let error = sqlx::raw_sql(AssertSqlSafe(last.clone())).execute(&mut *tx).await.unwrap_err();
        let error = error.as_database_error().unwrap();
        assert_eq!(error.code().unwrap(), state, "{last}");
        assert!(error.message().contains(says), "{last}: {}", error.message());
        // Not left to the pool, which rolls back a moment later: the next call would find the step in flight.
        tx.rollback().await.unwrap();
    }
    // Under autocommit the pass has gone with its transaction.
    let mut connection = PgConnection::connect(&ground.test.url()).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(ok)).execute(&mut connection).await.unwrap();
    let leave = format!("select saga_barrier_leave('{key}', 200, null, null)");
    assert!(sqlx::raw_sql(AssertSqlSafe(leave)).execute(&mut connection).await.is_err());
}

#[tokio::test]
async fn the_functions_live_in_the_schema_of_the_migration() {
    let db = postgres().await;
    sqlx::raw_sql("create schema \"till 7\"; do $$ begin execute format('alter database %I set search_path = \"till 7\"', current_database()); end $$")
        .execute(db.pool())
        .await
        .unwrap();
    let db = db.reopen().await;
    migrate(&db, &LINE).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    assert_eq!(enters(&mut tx, &compensation("s", Knowledge::Unknown)).await.get::<String, _>("outcome"), "void");
    let rows: i64 =
        sqlx::query_scalar("select count(*) from \"till 7\".saga_barrier").fetch_one(&mut *tx).await.unwrap();
    assert_eq!(rows, 1);
}

#[tokio::test]
async fn the_plans_use_the_indexes_that_the_files_name() {
    let ground = open().await;
    sqlx::raw_sql(
        "insert into saga_barrier (saga, step, op, state, status, request, started_at)
         select gen_random_uuid(), 'pay', 1, 1, 200, 'x', n from generate_series(1, 20000) n; analyze saga_barrier",
    )
    .execute(ground.test.pool())
    .await
    .unwrap();
    let plan = async |sql: &'static str| -> String {
        sqlx::query_scalar::<_, String>(sql).fetch_all(ground.test.pool()).await.unwrap().join("\n")
    };
    let text = plan(
        "explain select h.started_before, a.state, c.state from saga_barrier_horizon h
         left join saga_barrier a on a.saga = gen_random_uuid() and a.step = 'pay' and a.op = 1
         left join saga_barrier c on c.saga = 'a3c6d8a4-6b0e-4c58-9f3e-000000000000' and c.step = 'pay' and c.op = 2 where h.id = 1",
    )
    .await;
    assert!(text.contains("Index Scan using saga_barrier_pkey on saga_barrier c"), "{text}");
    let text = plan("explain select ctid from saga_barrier where started_at < 15000 order by started_at limit 100 for update skip locked").await;
    assert!(text.contains("Index Scan using saga_barrier_started"), "{text}");
}
