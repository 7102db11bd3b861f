//! What PostgreSQL alone does.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor, Row, SqlSafeStr};
use steadfast_projection::{Declarative, Error, LINE, Projection, Runner, Tally, parking};
use steadfast_testkit::postgres;
use tokio::time::Instant;

use crate::support::{Ledger, MemoryLog, Pg, Read, clock, config, drain, event, runner, typed};

#[tokio::test]
async fn every_statement_prepares_and_the_hot_ones_look_up_keys_without_statistics() {
    let db = postgres().await;
    steadfast_db::migrate(&*db, &LINE).await.unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    // It plans once and for all, and has no statistics yet.
    let mut connection = db.connect().await.unwrap();
    let mut plans = String::new();
    let mut files: Vec<_> = ["store/postgres", "auditor/postgres"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    files.sort();
    assert!(files.len() > 20);
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let sql = std::fs::read_to_string(&file).unwrap();
        let statement = format!("prepare {name} as {sql}");
        connection
            .execute(AssertSqlSafe(statement).into_sql_str())
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        if !["lock_sequences", "read_parked", "save_sequences", "insert_sequences"].contains(&name.as_str()) {
            continue;
        }
        let types = "select cardinality(parameter_types) from pg_prepared_statements where name = $1";
        let count: i32 = sqlx::query_scalar(types).bind(&name).fetch_one(&mut connection).await.unwrap();
        let nulls = vec!["null"; usize::try_from(count).unwrap()].join(", ");
        let explain = format!("explain (costs off) execute {name} ({nulls})");
        writeln!(plans, "{name}").unwrap();
        for row in sqlx::query(AssertSqlSafe(explain)).fetch_all(&mut connection).await.unwrap() {
            writeln!(plans, "  {}", row.get::<String, _>(0)).unwrap();
        }
    }
    expect![[r#"
        insert_sequences
          Insert on aggregate_sequence
            Conflict Resolution: NOTHING
            Conflict Arbiter Indexes: aggregate_sequence_pkey
            ->  Subquery Scan on "*SELECT*"
                  ->  Sort
                        Sort Key: wanted.aggregate_type COLLATE "C", wanted.aggregate_id COLLATE "C"
                        ->  Nested Loop Left Join
                              Filter: (a.last IS NULL)
                              ->  Function Scan on wanted
                              ->  Limit
                                    ->  Index Scan using aggregate_sequence_pkey on aggregate_sequence a
                                          Index Cond: ((projection = $1) AND (aggregate_type = wanted.aggregate_type) AND (aggregate_id = wanted.aggregate_id))
        lock_sequences
          Nested Loop
            ->  Function Scan on wanted
            ->  Subquery Scan on s
                  ->  LockRows
                        ->  Index Scan using aggregate_sequence_pkey on aggregate_sequence a
                              Index Cond: ((projection = $1) AND (aggregate_type = wanted.aggregate_type) AND (aggregate_id = wanted.aggregate_id))
        read_parked
          Sort
            Sort Key: e.aggregate_type COLLATE "C", e.aggregate_id COLLATE "C", e.sequence
            InitPlan 1 (returns $0)
              ->  Index Only Scan using parked_event_pkey on parked_event
                    Index Cond: (projection = $1)
            ->  WindowAgg
                  ->  Sort
                        Sort Key: e.aggregate_type COLLATE "C", e.aggregate_id COLLATE "C"
                        ->  Result
                              One-Time Filter: $0
                              ->  Nested Loop
                                    ->  Function Scan on wanted
                                    ->  Index Scan using parked_event_pkey on parked_event e
                                          Index Cond: ((projection = $1) AND (aggregate_type = wanted.aggregate_type) AND (aggregate_id = wanted.aggregate_id))
        save_sequences
          Insert on aggregate_sequence s
            Conflict Resolution: UPDATE
            Conflict Arbiter Indexes: aggregate_sequence_pkey
            Conflict Filter: (s.last < excluded.last)
            ->  Function Scan on moved
    "#]]
    .assert_eq(&plans);
}

async fn shop() -> Pg {
    let db = Pg::fresh().await;
    db.execute(
        "create table order_view (order_id uuid primary key, total numeric(12, 2), paid boolean, lines jsonb, tag text,
         at timestamptz, day date)",
    )
    .await;
    db
}

const GOOD: &str = r"
projection: order_view
aggregates: [order]
on:
  order.created.v1:
    sql: |
      insert into order_view (order_id, total, paid, lines, tag, at, day)
      values (:order_id, :total, :paid, :lines, :tag::text, to_timestamp(:at / 1000.0), :day)
    params:
      order_id: $.aggregate_id
      total: $.payload.total
      paid: $.payload.paid
      lines: $.payload.lines
      tag: $.payload.tag?
      at: $.created_at
      day: $.payload.day
  order.lines_added.v1:
    sql: update order_view set lines = lines || :more where order_id = :order_id
    params: { order_id: $.aggregate_id, more: $.payload.more }
";

#[tokio::test]
async fn a_files_values_become_what_the_statement_wants() {
    let (db, log) = (shop().await, MemoryLog::default());
    let projection = Arc::new(Declarative::load(db.store(), GOOD).await.unwrap()) as Arc<dyn Projection<_>>;
    let open = Runner::open(db.store().clone(), projection, log.consumer(), Arc::new(clock()), config());
    let mut runner = open.await.unwrap();
    let id = "018bcfe5-6800-7707-8707-070707070707";
    let order = json!({"total": 12.5, "paid": true, "lines": ["a", {"sku": "b"}], "day": "2026-02-28"});
    log.append_all(&[
        typed(id, 1, "order.created.v1", order.clone()),
        typed(id, 2, "order.lines_added.v1", json!({"more": "c"})),
        typed("no uuid", 1, "order.created.v1", order),
    ]);
    assert_eq!(drain(&mut runner).await, Tally { applied: 2, poison: 1, ..Tally::default() });
    let text: String =
        sqlx::query_scalar("select row(v.*)::text from order_view as v").fetch_one(db.0.pool()).await.unwrap();
    expect![[r#"(018bcfe5-6800-7707-8707-070707070707,12.50,t,"[""a"", {""sku"": ""b""}, ""c""]",,"2023-11-14 22:13:20+00",2026-02-28)"#]]
        .assert_eq(&text);
    let error = parking::list(db.store(), "order_view", 9).await.unwrap()[0].error.clone().unwrap();
    assert!(error.contains("invalid input syntax for type uuid"), "{error}");
}

#[tokio::test]
async fn a_bad_statement_is_told_with_its_file_its_event_type_and_postgresqls_own_words() {
    let db = shop().await;
    let path = std::env::temp_dir().join(format!("steadfast-orders-{}.projection.yaml", std::process::id()));
    let yaml = "
projection: order_view
aggregates: [order]
on:
  order.created.v1:
    sql: insert into order_view (order_id, totl) values (:order_id, :total)
    params: { order_id: $.aggregate_id, total: $.payload.total }
  order.paid.v1:
    sql: update order_view set total = :total, tag = :total where order_id = :order_id
    params: { order_id: $.aggregate_id, total: $.payload.total }
  order.sent.v1:
    sql: truncate order_view
";
    std::fs::write(&path, yaml).unwrap();
    let error = Declarative::open(db.store(), &path).await.unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(error.to_string().contains("orders-"), "{error}");
    let faults = std::error::Error::source(&error).unwrap().to_string();
    expect![[r#"
        line 6: on.order.created.v1.sql: column "totl" of relation "order_view" does not exist: correct the statement, or migrate the read database first
        line 9: on.order.paid.v1.sql: inconsistent types deduced for parameter $1: correct the statement, or migrate the read database first
        line 12: on.order.sent.v1.sql: truncate is not allowed here: begin with one of: insert, update, delete, merge, with"#]]
    .assert_eq(&faults);
    let gone = Declarative::open(db.store(), Path::new("/nonexistent/orders.yaml")).await.unwrap_err();
    assert!(matches!(gone, Error::File { .. }), "{gone:?}");
}

#[tokio::test]
async fn a_text_that_postgresql_cannot_store_is_written_down_and_the_rest_flows() {
    let (db, log) = (Pg::fresh().await, MemoryLog::default());
    let mut runner = runner::<Pg>(db.store(), &Ledger::new(), &log, config()).await;
    log.append_all(&[
        event("a\0b", 1, json!({"amount": 1})),
        event("c", 1, json!({"amount": "\u{0}", "poison": true})),
        event("d", 1, json!({"amount": 7})),
    ]);
    let tally = drain(&mut runner).await;
    assert_eq!((tally.applied, tally.poison), (1, 2), "{tally:?}");
    assert_eq!(parking::skipped(db.store(), "ledger", 9).await.unwrap().len(), 1);
    assert_eq!(parking::list(db.store(), "ledger", 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_looked_up_and_not_repeated() {
    let (db, log) = (Pg::fresh().await, MemoryLog::default());
    let other = db.reopen().await;
    let mut one = runner::<Pg>(&other, &Ledger::new(), &log, config()).await;
    log.append(&event("a", 1, json!({"amount": 1})));
    drain(&mut one).await;
    // Every connection of the runner dies under it.
    let kill = "select count(pg_terminate_backend(pid)) from pg_stat_activity
                where datname = current_database() and pid <> pg_backend_pid()";
    let mut own = db.0.connect().await.unwrap();
    log.append(&event("a", 2, json!({"amount": 1})));
    let mut failures = 0;
    for _ in 0..20 {
        sqlx::query(kill).execute(&mut own).await.unwrap();
        failures += u32::from(one.turn().await.is_err());
    }
    assert!(failures > 0, "a dead connection shows");
    let limit = Instant::now() + Duration::from_secs(20);
    let rows = || async {
        sqlx::query_scalar::<_, i64>("select count(*) from seen")
            .fetch_one(&mut db.0.connect().await.unwrap())
            .await
            .unwrap()
    };
    while rows().await < 2 && Instant::now() < limit {
        drop(one.turn().await);
    }
    assert_eq!(rows().await, 2);
}
