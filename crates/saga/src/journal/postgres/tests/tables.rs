//! The tables: what they refuse, how they are updated, by which plans they are read.

use std::collections::BTreeMap;
use std::path::Path;

use sqlx::AssertSqlSafe;

use super::*;
use crate::Error;

#[tokio::test]
async fn a_database_without_tables_says_what_to_run() {
    let db = postgres().await;
    let error = Postgres::open(db.clone(), false).await.unwrap_err();
    assert!(matches!(&error, Error::Config(text) if text.contains("run steadfast migrate")), "{error}");
    migrate(&*db, &LINE).await.unwrap();
    let error = Postgres::open(db.clone(), true).await.unwrap_err();
    assert!(matches!(&error, Error::Config(text) if text.contains("outbox_append_many")), "{error}");
    Postgres::open(db.clone(), false).await.unwrap();
}

#[tokio::test]
async fn the_journal_refuses_changes() {
    let world = World::new().await;
    let lane = world.take("n-1").await;
    world.began(lane, "a").await;
    for sql in ["update saga_journal set entries = '[]'", "delete from saga_journal", "truncate saga_journal_default"] {
        let error = sqlx::query(sql).execute(world.db.pool()).await.unwrap_err().to_string();
        assert!(error.contains("append-only"), "{error}");
    }
    assert_eq!(world.seqs("a").await, [1]);
}

#[tokio::test]
async fn partitions_are_made_ahead_and_a_day_without_one_is_kept_all_the_same() {
    let world = World::new().await;
    let lane = world.take("n-1").await;
    let no = world.began(lane, "a").await;
    let partition = async || {
        sqlx::query_scalar::<_, String>("select tableoid::regclass::text from saga_journal where saga_no = $1 limit 1")
            .bind(no)
            .fetch_one(world.db.pool())
            .await
            .unwrap()
    };
    assert_eq!(partition().await, "saga_journal_default");
    let there = async |day: &str| {
        let query = sqlx::query_scalar::<_, bool>("select to_regclass('saga_journal_' || $1) is not null").bind(day);
        query.fetch_one(world.db.pool()).await.unwrap()
    };
    // Its day is left where it is; the days around it get their own.
    for _ in 0..2 {
        world.journal.tend(NOON).await.unwrap();
    }
    let made = [there("20231113").await, there("20231114").await, there("20231115").await, there("20231117").await];
    assert_eq!(made, [true, false, true, true]);
    world.append(lane, vec![more("a", no, 2, running())]).await;
    assert_eq!((partition().await, world.seqs("a").await), ("saga_journal_default".to_owned(), vec![1, 2]));
    let mut tomorrow = start("b");
    if let Target::New(new) = &mut tomorrow.target {
        new.started_at = NOON + Duration::from_hours(24);
    }
    world.append(lane, vec![tomorrow]).await;
    let found = "select count(*) from saga_journal_20231115";
    assert_eq!(sqlx::query_scalar::<_, i64>(found).fetch_one(world.db.pool()).await.unwrap(), 1);
    assert_eq!(world.seqs("b").await, [1]);
    let error = sqlx::query("truncate saga_journal_20231115").execute(world.db.pool()).await.unwrap_err().to_string();
    assert!(error.contains("append-only"), "{error}");
}

/// What changes while a saga runs stays within its page; only its rest writes the indexes.
#[tokio::test]
async fn updates_of_running_sagas_are_hot() {
    let world = World::new().await;
    let lane = world.take("n-1").await;
    let mut connection = world.db.connect().await.unwrap();
    let outcomes = append_in(&mut connection, lane, (0..200).map(|key| start(&key.to_string())).collect()).await;
    let heads = [
        Head { overdue: true, cause: Some("timeout".to_owned()), ..running() },
        Head { held: true, wake_at: None, ..running() },
        Head { status: Status::Compensating, wake_at: Some(NOON + LONG), ..running() },
    ];
    // Each of them once, and a quarter not at all: there is room in every page, whether it can be pruned or not.
    for (group, head) in heads.iter().enumerate() {
        let rows = outcomes.iter().enumerate().filter(|(key, _)| key % 4 == group);
        let rows = rows.map(|(key, outcome)| more(&key.to_string(), number(*outcome), 2, head.clone())).collect();
        append_in(&mut connection, lane, rows).await;
    }
    let counts = "select pg_stat_get_xact_tuples_updated('saga'::regclass), pg_stat_get_xact_tuples_hot_updated('saga'::regclass)";
    let (updated, hot): (i64, i64) = sqlx::query_as(counts).fetch_one(&mut connection).await.unwrap();
    assert_eq!((updated, hot), (150, 150));
    let indexed = "select count(*) from pg_index i, pg_attribute a
        where i.indrelid = 'saga'::regclass and a.attrelid = i.indrelid and a.attnum = any(i.indkey)
            and a.attname in ('status', 'held', 'overdue', 'wake_at', 'ended_at', 'cause', 'seq')";
    let indexed: i64 = sqlx::query_scalar(indexed).fetch_one(&mut connection).await.unwrap();
    assert_eq!(indexed, 0);
}

#[tokio::test]
async fn an_event_stands_exactly_if_its_entries_do() {
    let world = World::new().await;
    let told = "create table told (id text not null);
        create function outbox_append_many(events jsonb) returns uuid[] language sql as $$
            insert into told select e ->> 'aggregate_id' from jsonb_array_elements(events) e;
            select array_agg((e ->> 'event_id')::uuid) from jsonb_array_elements(events) e
        $$";
    sqlx::raw_sql(told).execute(world.db.pool()).await.unwrap();
    let journal = Postgres::open(world.db.clone(), true).await.unwrap();
    let lane = world.take("n-1").await;
    let known = world.began(lane, "known").await;
    let telling = |row: Append, key: &str| Append { event: Some(event(key)), ..row };
    let mut rows = batch(
        lane,
        vec![
            telling(start("a"), "a"),
            telling(start("known"), "nobody"),
            start("silent"),
            telling(more("known", known, 3, ended(Status::Completed)), "known"),
        ],
    );
    let heard =
        async || sqlx::query_scalar::<_, String>("select id from told").fetch_all(world.db.pool()).await.unwrap();
    journal.append(&rows).await.unwrap_err();
    assert_eq!((heard().await, world.seqs("a").await), (vec![], vec![]), "a row is out of turn: nothing stands");
    rows.rows[3] = telling(more("known", known, 2, ended(Status::Completed)), "known");
    for _ in 0..3 {
        rows.again = true;
        journal.append(&rows).await.unwrap();
    }
    let mut heard = heard().await;
    heard.sort();
    let mut expected = [id("a").to_string(), id("known").to_string()];
    expected.sort();
    assert_eq!(heard, expected);
}

/// Some thousand sagas, most of them settled.
const FILL: &str = "
    insert into lane (id, epoch) select n, 1 from generate_series(1, 3) n;
    insert into lane_lease (lane, epoch, node, until) select id, 1, 'n', '-infinity' from lane;
    insert into saga (no, started_at, wake_at, lane, version, seq, id, held, overdue, parked, status, definition, principal,
        business_key)
    select nextval('saga_number'), 1700000000000 + n, 1, case when n % 20 = 0 then n % 4 end, 1, 2, gen_random_uuid(), false,
        false, n % 20 = 1, case when n % 20 = 0 then 'running' when n % 20 = 1 then 'failed' else 'completed' end,
        'saga_' || n % 7, 'till', 'order-' || n
    from generate_series(1, 8000) n;
    insert into saga_payload select no, '{}', '{}' from saga;
    insert into saga_key select no, 'k' from saga;
    insert into saga_journal
    select no, 1, 1, (extract(epoch from now()) / 86400)::integer - (no % 3)::integer, s, '[]'
    from saga, generate_series(1, 2) s;
    insert into saga_command (saga, sent_at, text) select id, 1, '{}' from saga limit 20;
    analyze saga, saga_payload, saga_key, saga_command;
    do $$ declare partition regclass; begin
        for partition in select distinct tableoid::regclass from saga_journal loop
            execute format('analyze %s', partition);
        end loop;
    end $$";

/// Plans of all statements of the folder, by file.
async fn plans(connection: &mut PgConnection) -> BTreeMap<String, String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/journal/postgres");
    let mut plans = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "sql") || name == "vacuum_keys" {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        sqlx::raw_sql(AssertSqlSafe(format!("prepare planned as {text}")))
            .execute(&mut *connection)
            .await
            .expect(&name);
        let count = "select cardinality(parameter_types) from pg_prepared_statements where name = 'planned'";
        let count: i32 = sqlx::query_scalar(count).fetch_one(&mut *connection).await.unwrap();
        let values = vec!["null"; usize::try_from(count).unwrap()].join(", ");
        let values = if count == 0 { String::new() } else { format!("({values})") };
        let explain = format!("explain (costs off) execute planned{values}");
        let lines: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.expect(&name);
        sqlx::raw_sql("deallocate planned").execute(&mut *connection).await.unwrap();
        plans.insert(name, lines.join("\n"));
    }
    plans
}

fn reads_a_whole_table(plan: &str) -> bool {
    let tables = ["saga s", "saga q", "saga\n", "saga_journal_", "saga_payload", "saga_key"];
    tables.iter().any(|table| format!("{plan}\n").contains(&format!("Seq Scan on {table}")))
}

#[tokio::test]
async fn no_statement_reads_a_whole_table() {
    let world = World::new().await;
    let mut lane = world.journal.connection(1).await.unwrap();
    // As a lane's connection plans over empty tables; the plan stays.
    let empty = plans(&mut lane).await;
    assert!(empty["append_rows"].contains("Index Scan using saga_no on saga s"), "{}", empty["append_rows"]);
    assert!(!reads_a_whole_table(&empty["append_rows"]), "{}", empty["append_rows"]);
    assert!(empty["append_rows"].contains("LockRows"), "the fence");
    sqlx::raw_sql(FILL).execute(world.db.pool()).await.unwrap();
    // As the server plans by itself.
    let mut plain = world.db.connect().await.unwrap();
    for (name, plan) in plans(&mut plain).await {
        assert!(!reads_a_whole_table(&plan), "{name}:\n{plan}");
    }
    let filled = plans(&mut lane).await;
    assert!(filled["append_rows"].contains("Index Scan using saga_no on saga s"), "{}", filled["append_rows"]);
    let expected = [
        ("list_sagas", "saga_no"),
        ("list_sagas_by_key", "saga_business_key"),
        ("list_sagas_by_definition", "saga_definition_no"),
        ("list_parked_sagas", "saga_parked_no"),
        ("read_unsettled", "saga_lane"),
        ("claim_sagas", "saga_lane"),
        ("adopt_saga", "saga_id"),
        ("find_saga", "saga_id"),
        ("count_parked", "saga_parked_no"),
        ("count_unarmed", "saga_lane"),
        ("read_oldest_start", "saga_lane"),
        ("read_oldest_start", "saga_parked_no"),
        ("attend", "saga_lane"),
    ];
    let by_server = plans(&mut plain).await;
    for (name, index) in expected {
        assert!(by_server[name].contains(index), "{name} not by {index}:\n{}", by_server[name]);
    }
}
