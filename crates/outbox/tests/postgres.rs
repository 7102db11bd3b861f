//! What only PostgreSQL has: its order contract, lanes that relays share, late commits, the low-water mark.

use std::time::Duration;

use serde_json::json;
use sqlx::{AssertSqlSafe, Row as _};
use steadfast_core::{Clock, NewEvent};
use steadfast_db::migrate;
use steadfast_outbox::{Config, LINE, Outbox, Source};
use steadfast_testkit::{SystemClock, TestPostgres, postgres, wait_for};

use crate::support::{Judged, LIMIT, Mute, Running, Shop, config, delivered, event, log, sequences};

pub(crate) async fn fresh() -> TestPostgres {
    let db = postgres().await;
    migrate(&*db, &LINE).await.expect("a new database is migrated");
    db
}

async fn waiting(db: &TestPostgres) -> i64 {
    number(db, "select count(*) from outbox where published_at is null").await
}

async fn number(db: &TestPostgres, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db.pool()).await.expect("a number")
}

async fn all_marked(db: &TestPostgres) {
    wait_for("everything marked", LIMIT, || async { waiting(db).await == 0 }).await;
}

fn source(db: &TestPostgres) -> Source {
    Source::new("shop", (**db).clone())
}

fn drawn(id: &str) -> NewEvent {
    NewEvent::new("stock", id, "stock.moved.v1", json!({}))
}

pub(crate) async fn append(tx: &mut sqlx::Transaction<'_, sqlx::Postgres>, event: &NewEvent) {
    steadfast_outbox::append(tx, event, SystemClock.now()).await.expect("an event");
}

#[tokio::test]
async fn a_plain_insert_of_the_users_columns_is_an_event() {
    let db = fresh().await;
    for _ in 0..2 {
        sqlx::query(
            "insert into outbox (aggregate_id, aggregate_type, event_type, payload, created_at, published_at)
             values ('s-1', 'stock', 'stock.moved.v1', '{\"b\": 1,  \"a\": 2}', '2026-01-02T03:04:05Z', now())",
        )
        .execute(db.pool())
        .await
        .expect("it succeeds");
    }
    let rows = sqlx::query(
        "select payload::text, created_at = '2026-01-02T03:04:05Z', published_at is null, sequence, previous_id, id,
                day = (now() at time zone 'UTC')::date, get_byte(uuid_send(event_id), 6) >> 4
         from outbox order by id",
    )
    .fetch_all(db.pool())
    .await
    .expect("it succeeds");
    let mut previous = 0;
    for (row, sequence) in rows.iter().zip(1_i64..) {
        assert_eq!(row.get::<&str, _>(0), "{\"b\": 1,  \"a\": 2}", "byte for byte");
        assert!(row.get::<bool, _>(1) && row.get::<bool, _>(2) && row.get::<bool, _>(6));
        assert_eq!((row.get::<i64, _>(3), row.get::<i64, _>(4)), (sequence, previous));
        assert_eq!(row.get::<i32, _>(7), 7, "a UUID of version 7");
        previous = row.get(5);
    }
    assert_eq!(rows.len(), 2);
}

#[tokio::test]
async fn the_database_says_what_is_wrong_with_an_event() {
    let db = fresh().await;
    for (sql, state, text) in [
        ("select outbox_append('stock', 's-1', 'stock moved', '{}')", "SF003", "event_type of an event is not legal"),
        ("select outbox_append('stock', '', 'e.v1', '{}')", "SF003", "aggregate_id of an event is not legal"),
        ("select outbox_append('', 's-1', 'e.v1', '{}')", "SF003", "aggregate_type of an event is not legal"),
        ("select outbox_append('stock', 's-1', 'e.v1', null)", "SF003", "payload of an event is not legal"),
        ("select outbox_append('stock', 's-1', 'e.v1', '{}', 2)", "SF001", "an event with sequence 2 cannot follow 0"),
        (
            "select outbox_append('stock', 's-1', 'e.v1', to_jsonb(repeat('x', 1048576)))",
            "SF004",
            "the payload of e.v1 has 1048578 bytes",
        ),
        (
            "select outbox_append_many('[{\"aggregate_type\": \"stock\", \"aggregate_id\": \"a\", \"event_type\": \"e.v1\"},
                                         {\"aggregate_type\": \"stock\", \"aggregate_id\": \"b\", \"event_type\": \"e.v1\", \"payload\": 1}]')",
            "SF003",
            "payload of an event is not legal",
        ),
        ("insert into outbox (aggregate_id, aggregate_type, event_type, payload) values ('a', 'b', 'c', 'no json')", "22P02", "json"),
    ] {
        let error = sqlx::query(sql).execute(db.pool()).await.expect_err("it is refused");
        let error = error.as_database_error().expect("it succeeds");
        assert_eq!(error.code().as_deref(), Some(state), "{sql}: {error}");
        assert!(error.message().contains(text), "{sql}: {error}");
    }
    sqlx::query("select outbox_append('stock', 's-1', 'e.v1', '{}', 1)").execute(db.pool()).await.expect("it succeeds");
    let mixed = sqlx::query("select outbox_append('stock', 's-1', 'e.v1', '{}')")
        .execute(db.pool())
        .await
        .expect_err("it is refused");
    assert_eq!(mixed.as_database_error().expect("it succeeds").code().as_deref(), Some("SF002"));
    assert_eq!(number(&db, "select count(*) from outbox").await, 1);
}

#[tokio::test]
async fn ids_are_drawn_after_the_aggregates_lock() {
    let db = fresh().await;
    sqlx::query("select outbox_append('stock', 'a', 'e.v1', '{}')").execute(db.pool()).await.expect("it succeeds");
    // For the plain INSERT, the function for one and the functions for many alike.
    for statement in [
        "insert into outbox (aggregate_id, aggregate_type, event_type, payload) values ('a', 'stock', 'second.v1', '{}')",
        "select outbox_append('stock', 'a', 'second.v1', '{}')",
        "select outbox_append_many('[{\"aggregate_type\":\"stock\",\"aggregate_id\":\"a\",\"event_type\":\"second.v1\",\"payload\":1},
                                     {\"aggregate_type\":\"stock\",\"aggregate_id\":\"b\",\"event_type\":\"other.v1\",\"payload\":1}]')",
    ] {
        let mut first = db.begin().await.expect("it succeeds");
        append(&mut first, &drawn("a")).await;
        let (pool, name) = (db.pool().clone(), format!("waits-{}", fastrand::u32(..)));
        let label = format!("set application_name = '{name}'");
        let second = tokio_util::task::TaskTracker::new().spawn(async move {
            let mut connection = pool.acquire().await.expect("it succeeds");
            sqlx::query(AssertSqlSafe(label)).execute(&mut *connection).await.expect("it succeeds");
            sqlx::query(statement).execute(&mut *connection).await.expect("it succeeds");
            sqlx::query("reset application_name").execute(&mut *connection).await.expect("it succeeds");
        });
        let blocked = format!("select count(*) from pg_stat_activity where application_name = '{name}' and wait_event_type = 'Lock'");
        wait_for("the second waits for the first", LIMIT, || async {
            sqlx::query_scalar::<_, i64>(AssertSqlSafe(blocked.clone())).fetch_one(db.pool()).await.expect("it succeeds") == 1
        })
        .await;
        append(&mut first, &drawn("a")).await;
        first.commit().await.expect("it succeeds");
        second.await.expect("it succeeds");
        let disorder = "select count(*) from (select sequence, lag(sequence) over (order by id) as before from outbox
                        where aggregate_id = 'a') o where o.sequence <> coalesce(o.before, 0) + 1";
        assert_eq!(number(&db, disorder).await, 0, "{statement}");
        let chain = "select count(*) from (select previous_id, lag(id, 1, 0::bigint) over (order by id) as before from outbox
                     where aggregate_id = 'a') o where o.previous_id <> o.before";
        assert_eq!(number(&db, chain).await, 0, "{statement}");
    }
    assert_eq!(Outbox::from((*db).clone()).verify().await.expect("it succeeds"), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_commit_is_found_and_its_aggregate_keeps_its_order() {
    let (db, (log, _keep)) = (fresh().await, log().await);
    // Writers that meet a new type at once would wait for each other.
    Shop::commit_to(&db, &[drawn("first")]).await;
    // A stranger that has an id and a snapshot holds the low-water mark where it is.
    let mut stranger = db.begin().await.expect("it succeeds");
    sqlx::query("set transaction isolation level repeatable read").execute(&mut *stranger).await.expect("it succeeds");
    sqlx::query("select pg_current_xact_id()::text").execute(&mut *stranger).await.expect("it succeeds");
    let running = Running::start(vec![source(&db)], log.clone(), config());
    let arrived = |id: &'static str, amount: usize| {
        let log = &log;
        async move {
            wait_for("events arrive", LIMIT, || async {
                sequences(&delivered(log).await).get(id).is_some_and(|numbers| numbers.len() == amount)
            })
            .await;
        }
    };
    for round in 1..=5 {
        let mut late = db.begin().await.expect("it succeeds");
        append(&mut late, &drawn("late")).await;
        let mut tx = db.begin().await.expect("it succeeds");
        for n in 0..20 {
            append(&mut tx, &drawn(&format!("other-{n}"))).await;
        }
        append(&mut tx, &drawn("seen")).await;
        tx.commit().await.expect("it succeeds");
        arrived("seen", round).await;
        late.commit().await.expect("it succeeds");
        // At once, so that the relay may meet the second before it looks behind itself.
        sqlx::query("select outbox_append('stock', 'late', 'e.v1', '{}')")
            .execute(db.pool())
            .await
            .expect("it succeeds");
    }
    all_marked(&db).await;
    assert_eq!(number(&db, "select max(mark) from outbox_lane").await, 0, "the stranger holds it");
    stranger.rollback().await.expect("it succeeds");
    wait_for("the mark moves", LIMIT, || async {
        sqlx::query("select outbox_append('stock', 'more', 'e.v1', '{}')")
            .execute(db.pool())
            .await
            .expect("it succeeds");
        number(&db, "select max(mark) from outbox_lane").await > 100
    })
    .await;
    all_marked(&db).await;
    running.stop().await;
    let numbers = sequences(&delivered(&log).await);
    assert_eq!(numbers["late"], (1..=10).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_share_the_lanes_and_hand_them_over() {
    let (db, (log, _keep)) = (fresh().await, log().await);
    let named = |node: &str| Config { node: node.to_owned(), lease: Duration::from_millis(600), ..config() };
    let start = |node: &str| Running::start(vec![source(&db)], log.clone(), named(node));
    let held = |wanted: &'static str| {
        let db = &db;
        async move {
            wait_for(wanted, LIMIT, || async {
                let rows: Vec<String> = sqlx::query_scalar(
                    "select node || '=' || count(*) from outbox_lane where lease_until > clock_timestamp() group by node order by node",
                )
                .fetch_all(db.pool())
                .await
                .expect("it succeeds");
                rows.join(" ") == wanted
            })
            .await;
        }
    };
    let first = start("a");
    held("a=8").await;
    let (second, third) = (start("b"), start("c"));
    wait_for("all three have lanes", LIMIT, || async {
        number(&db, "select count(distinct node) from outbox_lane where lease_until > clock_timestamp()").await == 3
            && number(&db, "select max(n) from (select count(*) as n from outbox_lane group by node) o").await == 3
    })
    .await;
    let mut events = Vec::new();
    for n in 1..=50 {
        events.extend((0..10).map(|id| event(&format!("o-{id}"), n)));
    }
    Shop::commit_to(&db, &events).await;
    all_marked(&db).await;
    // One is killed: its lanes are free when their leases end. One stops: its lanes are free at once.
    drop(second);
    third.stop().await;
    held("a=8").await;
    Shop::commit_to(&db, &(0..10).map(|id| event(&format!("o-{id}"), 51)).collect::<Vec<_>>()).await;
    all_marked(&db).await;
    first.stop().await;
    assert_eq!(number(&db, "select count(*) from outbox_lane where lease_until > clock_timestamp()").await, 0);
    for (id, numbers) in sequences(&delivered(&log).await) {
        assert_eq!(numbers, (1..=51).collect::<Vec<_>>(), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_marks_nothing() {
    let (db, (log, _keep)) = (fresh().await, log().await);
    Shop::commit_to(&db, &[event("o-1", 1)]).await;
    let mute = Mute::new(&log);
    let zombie = Running::start(vec![source(&db)], mute.clone(), config());
    wait_for("the first relay has sent", LIMIT, || async { mute.taken() == 1 }).await;
    // The second has its name: the first is taken for dead.
    let running = Running::start(vec![source(&db)], log.clone(), config());
    all_marked(&db).await;
    running.stop().await;
    sqlx::query("update outbox set published_at = null").execute(db.pool()).await.expect("it succeeds");
    sqlx::query("update outbox_lane set lease_until = 'infinity'").execute(db.pool()).await.expect("it succeeds");
    mute.open.cancel();
    zombie.stop().await;
    assert_eq!((mute.taken(), waiting(&db).await), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_repeats_at_most_what_was_in_flight() {
    let (db, (log, _keep)) = (fresh().await, log().await);
    let events: Vec<_> = (1..=95).map(|n| event("o-1", n)).collect();
    Shop::commit_to(&db, &events).await;
    for _ in 1..=2 {
        let mute = Mute::new(&log);
        let running = Running::start(vec![source(&db)], mute.clone(), config());
        wait_for("a batch in the log", LIMIT, || async { mute.taken() > 0 }).await;
        drop(running);
        assert_eq!(waiting(&db).await, 95);
    }
    let running = Running::start(vec![source(&db)], log.clone(), config());
    all_marked(&db).await;
    running.stop().await;
    let all: Vec<_> = delivered(&log).await.into_iter().map(|event| event.sequence).collect();
    assert_eq!(all.iter().copied().collect::<std::collections::BTreeSet<_>>(), (1..=95).collect());
    // All are of one bucket: two batches of it for each life.
    assert!(all.len() > 95 && all.len() <= 95 + 2 * 2 * config().batch, "{} records for 95 events", all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_letter_held_back_is_read_after_the_mark_has_passed_it() {
    let (db, (log, _keep)) = (fresh().await, log().await);
    let judged = Judged::new(&log, |record| match record.header("sequence") {
        Some("1") if record.key == "bad" => Err(steadfast_bus::Error::Refused("no".into())),
        _ => Ok(()),
    });
    // The mark moves with the lease, and every two seconds where nothing is read.
    let config = || Config { lease: Duration::from_millis(300), ..config() };
    let running = Running::start(vec![source(&db)], judged, config());
    Shop::commit_to(&db, &[event("bad", 1)]).await;
    let outbox = Outbox::from((*db).clone());
    wait_for("a dead letter", LIMIT, || async {
        outbox.parked(10).await.expect("it succeeds").iter().any(|parked| parked.dead_at.is_some())
    })
    .await;
    Shop::commit_to(&db, &[event("bad", 2), event("bad", 3)]).await;
    let mut n = 0;
    wait_for("the mark passes them", LIMIT, || {
        n += 1;
        let (db, more) = (&db, event("good", n));
        async move {
            Shop::commit_to(db, &[more]).await;
            number(db, "select min(mark) from outbox_lane l where exists (select from outbox_parked p where p.bucket between l.first_bucket and l.last_bucket)").await
                > number(db, "select id from outbox where aggregate_id = 'bad' and sequence = 3").await
        }
    })
    .await;
    running.stop().await;
    // With no relay about, an operator gives it up; the next relay finds what it held back.
    let letter = outbox.parked(10).await.expect("it succeeds").remove(0);
    assert!(outbox.discard(letter.event_id, "sold by hand", SystemClock.now()).await.expect("it succeeds"));
    let running = Running::start(vec![source(&db)], log.clone(), config());
    all_marked(&db).await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)["bad"], [2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn marks_are_hot_and_go_by_the_index_of_one_partition() {
    let (db, (log, _keep)) = (fresh().await, log().await);
    Shop::commit_to(&db, &(0..500).map(|n| drawn(&format!("s-{n}"))).collect::<Vec<_>>()).await;
    let running = Running::start(vec![source(&db)], log.clone(), config());
    all_marked(&db).await;
    running.stop().await;
    let updates = "select coalesce(sum(n_tup_upd), 0)::bigint from pg_stat_user_tables where relname ~ '^outbox_2'";
    wait_for("the server has counted", LIMIT, || async { number(&db, updates).await >= 500 }).await;
    let hot = "select coalesce(sum(n_tup_hot_upd), 0)::bigint from pg_stat_user_tables where relname ~ '^outbox_2'";
    assert_eq!(number(&db, hot).await, number(&db, updates).await);

    let mut connection = db.connect().await.expect("it succeeds");
    sqlx::query(include_str!("../src/store/postgres/set_plans.sql"))
        .execute(&mut connection)
        .await
        .expect("it succeeds");
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "explain (analyze, costs off, timing off, summary off) {}",
        include_str!("../src/store/postgres/mark_published.sql")
    )))
    .bind(0_i16)
    .bind(number(&db, "select epoch from outbox_lane where lane = 0").await)
    .bind(1_000.0)
    .bind(0_i64)
    .bind(0_i64)
    .bind(0)
    .bind(0_i64)
    .bind(vec![1_i16])
    .bind(vec![1_i64])
    .bind(vec![
        i32::try_from(number(&db, "select ((now() at time zone 'UTC')::date - date '2000-01-01')::bigint").await)
            .expect("it succeeds"),
    ])
    .fetch_all(&mut connection)
    .await
    .expect("it succeeds");
    let plan = plan.join("\n");
    assert!(plan.contains("Index Scan using outbox_2") && !plan.contains("Seq Scan on outbox_2"), "{plan}");
    assert!(plan.contains("never executed"), "other partitions are pruned while it runs: {plan}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_reads_no_partition_of_days_to_come() {
    let db = fresh().await;
    let today = "select ((now() at time zone 'UTC')::date - date '2000-01-01')::bigint";
    let today = i32::try_from(number(&db, today).await).expect("it succeeds");
    let mut connection = db.connect().await.expect("it succeeds");
    let plan = "set plan_cache_mode = force_generic_plan";
    for setting in [plan, include_str!("../src/store/postgres/set_plans.sql")] {
        sqlx::query(setting).execute(&mut connection).await.expect("it succeeds");
    }
    let plan: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
        "explain (analyze, costs off, timing off, summary off) {}",
        include_str!("../src/store/postgres/read_rows.sql")
    )))
    .bind(vec![1_i16])
    .bind(vec![0_i64])
    .bind(i64::MAX)
    .bind(today - 1)
    .bind(today + 1)
    .bind(500_i64)
    .bind(2_000_i64)
    .fetch_all(&mut connection)
    .await
    .expect("it succeeds");
    let scans = plan.iter().filter(|line| line.contains("using outbox_2")).count();
    assert_eq!(scans, 2, "today's and tomorrow's: {}", plan.join("\n"));
}

/// Yesterday's events, published: what an archive finds.
async fn age(db: &TestPostgres) {
    let make = "do $$ begin execute format('create table outbox_%s partition of outbox for values from (%L) to (%L)',
        to_char((now() at time zone 'UTC')::date - 1, 'YYYYMMDD'), (now() at time zone 'UTC')::date - 1, (now() at time zone 'UTC')::date); end $$";
    sqlx::query(make).execute(db.pool()).await.expect("it succeeds");
    sqlx::query("update outbox set day = day - 1").execute(db.pool()).await.expect("it succeeds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_is_archived_whole_or_not_at_all() {
    let (db, (log, _keep)) = (fresh().await, log().await);
    let folder = tempfile::tempdir().expect("it succeeds");
    let (outbox, now) = (Outbox::from((*db).clone()), SystemClock.now() + Duration::from_hours(24));
    Shop::commit_to(&db, &(1..=9).map(|n| event("o-1", n)).collect::<Vec<_>>()).await;
    age(&db).await;
    assert_eq!(outbox.archive_into(folder.path(), now, 0).await.expect("it succeeds"), 0, "what waits stays");
    let running = Running::start(vec![source(&db)], log.clone(), config());
    all_marked(&db).await;
    // A late committer of that day: its event is not lost.
    let mut late = db.begin().await.expect("it succeeds");
    append(&mut late, &event("o-1", 10)).await;
    sqlx::query("update outbox set day = day - 1 where sequence = 10").execute(&mut *late).await.expect("it succeeds");
    assert_eq!(outbox.archive_into(folder.path(), now, 0).await.expect("it succeeds"), 0, "somebody is writing in it");
    late.commit().await.expect("it succeeds");
    all_marked(&db).await;
    running.stop().await;
    Shop::commit_to(&db, &[event("o-1", 11)]).await;
    assert_eq!(outbox.archive_into(folder.path(), now, 0).await.expect("it succeeds"), 10);
    assert_eq!(outbox.archive_into(folder.path(), now, 0).await.expect("it succeeds"), 0);
    assert_eq!(number(&db, "select count(*) from outbox").await, 1);
    assert_eq!(number(&db, "select amount from outbox_archived").await, 10);
    assert_eq!(outbox.verify().await.expect("it succeeds"), [], "archived numbers are remembered");
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path()).expect("it succeeds").map(|file| file.expect("it succeeds").path()).collect();
    files.sort();
    let newest = files.iter().find(|file| {
        let bytes = std::io::Read::bytes(flate2::read::GzDecoder::new(std::fs::File::open(file).expect("it succeeds")));
        bytes.filter(|byte| *byte.as_ref().expect("it succeeds") == b'\n').count() == 10
    });
    assert!(newest.is_some(), "{files:?}");
}

#[tokio::test]
async fn partitions_are_made_ahead_and_take_what_met_the_default_one() {
    let db = fresh().await;
    assert_eq!(number(&db, "select outbox_make_partitions(7)::bigint").await, 0, "the migration has made them");
    Shop::commit_to(&db, &[event("o-1", 1)]).await;
    sqlx::query("update outbox set day = day + 9").execute(db.pool()).await.expect("it succeeds");
    assert_eq!(number(&db, "select count(*) from outbox_default").await, 1);
    assert_eq!(number(&db, "select outbox_make_partitions(9)::bigint").await, 2);
    assert_eq!(number(&db, "select count(*) from outbox_default").await, 0);
    assert_eq!(number(&db, "select count(*) from outbox").await, 1);
    sqlx::query("alter sequence outbox_id cache 10").execute(db.pool()).await.expect("it succeeds");
    let error = Outbox::from((*db).clone()).upkeep().await.expect_err("it is refused");
    assert!(error.to_string().contains("cache 1"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_finds_nothing() {
    use steadfast_bus::{Consumer, Start, Topics};
    use steadfast_outbox::trial::{self, Audit, Plan};
    let (db, (log, _keep)) = (fresh().await, log().await);
    trial::prepare(&db).await.expect("it succeeds");
    let relays: Vec<_> = ["a", "b"]
        .map(|node| Running::start(vec![source(&db)], log.clone(), Config { node: node.to_owned(), ..config() }))
        .into();
    let seed = fastrand::u64(..);
    let plan = Plan { writers: 6, aggregates: 40, duration: Duration::from_secs(4), seed, ..Plan::default() };
    let written = trial::write(&db, &plan).await;
    assert!(written.committed > 100 && written.rolled_back > 10, "{written:?}");
    all_marked(&db).await;
    for relay in relays {
        relay.stop().await;
    }
    let mut audit = Audit::default();
    let mut consumer = log.consumer(Topics::All, Start::Beginning);
    loop {
        let some = consumer.poll(1_000, Duration::ZERO).await.expect("it succeeds");
        if some.is_empty() {
            break;
        }
        for delivered in &some {
            let event = steadfast_bus::headers::decode(&delivered.record).expect("it succeeds");
            audit.see(&event.aggregate_type, &event.aggregate_id, event.sequence);
        }
    }
    let report = audit.report(&trial::versions(&db).await.expect("it succeeds"));
    assert_eq!(report.violations, [] as [&str; 0], "seed {}", plan.seed);
    assert_eq!((report.overtakes, report.duplicates), (0, 0), "seed {}: {written:?}", plan.seed);
    assert_eq!(Outbox::from((*db).clone()).verify().await.expect("it succeeds"), []);
}
