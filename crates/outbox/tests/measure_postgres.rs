//! Measurements on PostgreSQL, run by hand:
//! `cargo test --release -p steadfast-outbox --all-features measure_postgres -- --ignored --nocapture --test-threads 1`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use sqlx::AssertSqlSafe;
use steadfast_bus::{Error, Producer, Record};
use steadfast_core::NewEvent;
use steadfast_outbox::{Config, Source};
use steadfast_testkit::{TestPostgres, wait_for};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::postgres::fresh;
use crate::support::{Running, Shop};

const EVENTS: u64 = 200_000;
const LIMIT: Duration = Duration::from_mins(2);

/// Takes everything at once.
#[derive(Debug, Default)]
struct Memory(AtomicU64);

#[async_trait]
impl Producer for Memory {
    async fn produce(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        self.0.fetch_add(records.len() as u64, Ordering::Relaxed);
        records.into_iter().map(|_| Ok(())).collect()
    }
}

#[derive(Clone, Debug)]
struct Counts(Arc<Memory>);

#[async_trait]
impl Producer for Counts {
    async fn produce(&self, records: Vec<Record>) -> Vec<Result<(), Error>> {
        self.0.produce(records).await
    }
}

async fn fill(db: &TestPostgres) {
    for start in (0..EVENTS).step_by(2_000) {
        let events: Vec<_> = (start..start + 2_000)
            .map(|n| {
                let id = format!("o-{}", n % 2_000);
                NewEvent::new("order", id, "order.changed.v1", json!({"text": "x".repeat(186)}))
            })
            .collect();
        Shop::commit_to(db, &events).await;
    }
    sqlx::query("vacuum (analyze) outbox").execute(db.pool()).await.expect("a vacuum");
    sqlx::query("checkpoint").execute(db.pool()).await.expect("a checkpoint");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn drains_a_backlog() {
    for round in [
        "alone",
        "a pinned snapshot",
        "a stranger's open transaction",
        "alone",
        "a pinned snapshot",
        "a stranger's open transaction",
    ] {
        let db = fresh().await;
        fill(&db).await;
        let mut stranger = db.begin().await.expect("a transaction");
        match round {
            "a pinned snapshot" => {
                sqlx::query("set transaction isolation level repeatable read")
                    .execute(&mut *stranger)
                    .await
                    .expect("a level");
                sqlx::query("select count(*) from outbox_lane").execute(&mut *stranger).await.expect("a snapshot");
            }
            "a stranger's open transaction" => {
                sqlx::query("select pg_current_xact_id()::text").execute(&mut *stranger).await.expect("an id");
            }
            _ => {}
        }
        let counts = Counts(Arc::default());
        let began = Instant::now();
        let running = Running::start(vec![Source::new("shop", (*db).clone())], counts.clone(), Config::default());
        wait_for("all published", LIMIT, || async { counts.0.0.load(Ordering::Relaxed) >= EVENTS }).await;
        let published = began.elapsed();
        wait_for("all marked", LIMIT, || async {
            let waits = "select count(*) from (select from outbox where published_at is null limit 1) o";
            sqlx::query_scalar::<_, i64>(waits).fetch_one(db.pool()).await.expect("a number") == 0
        })
        .await;
        let marked = began.elapsed();
        running.stop().await;
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = |took: Duration| EVENTS as f64 / took.as_secs_f64();
        println!("drain, {round}: {:.0} events/s published, {:.0} marked", rate(published), rate(marked));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn costs_writers_little() {
    const SECONDS: u64 = 4;
    let db = fresh().await;
    let setup = "create table thing (id int primary key, version bigint not null) with (fillfactor = 70);
                 insert into thing select g, 0 from generate_series(0, 1999) g;
                 create table plain (aggregate_id text, aggregate_type text, event_type text, payload json, created_at timestamptz, published_at timestamptz, id bigserial primary key)";
    sqlx::raw_sql(setup).execute(db.pool()).await.expect("tables");
    let payload = json!({"text": "x".repeat(186)}).to_string();
    let insert = |table: &str| {
        format!(
            "insert into {table} (aggregate_id, aggregate_type, event_type, payload, created_at) values ('t-' || $1, 'bench', 'bench.changed.v1', '{payload}', now())"
        )
    };
    let function = format!("select outbox_append('bench', 't-' || $1, 'bench.changed.v1', '{payload}')");
    let cases = [
        ("nothing", "select $1".to_owned()),
        ("a table without order", insert("plain")),
        ("plain INSERT through the trigger", insert("outbox")),
        ("outbox_append", function),
    ];
    for round in 0..3 {
        for (name, sql) in &cases {
            let until = Instant::now() + Duration::from_secs(SECONDS);
            let mut writers = JoinSet::new();
            for writer in 0..8_u64 {
                let (db, sql) = ((*db).clone(), sql.clone());
                writers.spawn(async move {
                    let mut random = fastrand::Rng::with_seed(writer);
                    let mut commits = 0_u64;
                    while Instant::now() < until {
                        let id = random.i32(0..2_000);
                        let mut tx = db.begin().await.expect("a transaction");
                        sqlx::query("update thing set version = version + 1 where id = $1")
                            .bind(id)
                            .execute(&mut *tx)
                            .await
                            .expect("an update");
                        // Safe: the program's own text.
                        sqlx::query(AssertSqlSafe(sql.clone()))
                            .bind(id.to_string())
                            .execute(&mut *tx)
                            .await
                            .expect("an event");
                        tx.commit().await.expect("a commit");
                        commits += 1;
                    }
                    commits
                });
            }
            let commits: u64 = writers.join_all().await.into_iter().sum();
            println!("round {round}, {name}: {} commits/s", commits / SECONDS);
        }
    }
}
