//! Each role of deploy/sql-roles/outbox.sql, logged in as its users are: its part, and nothing else.

use std::collections::HashMap;

use sqlx::AssertSqlSafe;
use sqlx::error::DatabaseError;
use steadfast_core::Clock;
use steadfast_db::postgres::{Db, Options};
use steadfast_outbox::{Outbox, Source};
use steadfast_testkit::{SystemClock, TestPostgres, wait_for};

use crate::postgres::{append, fresh};
use crate::support::{Judged, LIMIT, Running, Shop, config, delivered, event, log, sequences};

const ALLOWED: &[(&str, &str)] = &[
    (
        "writer",
        "insert into outbox (aggregate_id, aggregate_type, event_type, payload, created_at, published_at) values ('s', 'stock', 'e.v1', '{}', now(), null)",
    ),
    ("writer", "select outbox_append('stock', 's', 'e.v1', '{}')"),
    ("writer", "select outbox_append_many('[]')"),
    ("writer", "select outbox_oldest_age()"),
    ("relay", "select payload from outbox"),
    ("relay", "update outbox set published_at = now() where false"),
    ("relay", "select outbox_make_partitions(8)"),
    ("relay", "select outbox_oldest_age()"),
    ("auditor", "select aggregate_id, sequence, created_at, published_at from outbox"),
];

const DENIED: &[(&str, &str)] = &[
    ("writer", "select id from outbox"),
    (
        "writer",
        "insert into outbox (aggregate_id, aggregate_type, event_type, payload) values ('s', 'stock', 'e.v1', '{}') returning id",
    ),
    (
        "writer",
        "insert into outbox (id, aggregate_id, aggregate_type, event_type, payload) values (1, 's', 'stock', 'e.v1', '{}')",
    ),
    (
        "writer",
        "insert into outbox (day, aggregate_id, aggregate_type, event_type, payload) values ('2000-01-01', 's', 'stock', 'e.v1', '{}')",
    ),
    ("writer", "update outbox set published_at = now()"),
    ("writer", "delete from outbox"),
    ("writer", "select * from outbox_sequence"),
    ("writer", "select nextval('outbox_id')"),
    ("writer", "select outbox_drop_day('2000-01-01', 0, '')"),
    (
        "relay",
        "insert into outbox (aggregate_id, aggregate_type, event_type, payload) values ('s', 'stock', 'e.v1', '{}')",
    ),
    ("relay", "select outbox_append('stock', 's', 'e.v1', '{}')"),
    ("relay", "update outbox set payload = '1'"),
    ("relay", "delete from outbox"),
    ("relay", "update outbox_sequence set last = 1"),
    ("auditor", "select payload from outbox"),
    ("auditor", "select headers from outbox"),
    ("auditor", "update outbox set published_at = now()"),
    ("auditor", "select outbox_append('stock', 's', 'e.v1', '{}')"),
];

/// A login for each role.
async fn logins(db: &TestPostgres) -> HashMap<&'static str, (String, Db)> {
    let mut logins = HashMap::new();
    for role in ["writer", "relay", "auditor"] {
        let login = format!("t_{role}_{:08x}", fastrand::u32(..));
        // Safe: both names are ours.
        let sql = AssertSqlSafe(format!("create role {login} login in role outbox_{role}"));
        sqlx::raw_sql(sql).execute(db.pool()).await.expect("a role");
        let url = secrecy::SecretString::from(db.url().replace("postgres@", &format!("{login}@")));
        logins.insert(role, (login, Db::open(&url, Options::default()).await.expect("a login")));
    }
    logins
}

#[tokio::test]
async fn each_role_may_do_its_part_and_nothing_else() {
    let db = fresh().await;
    sqlx::raw_sql(include_str!("../../../deploy/sql-roles/outbox.sql")).execute(db.pool()).await.expect("it succeeds");
    Shop::commit_to(&db, &[event("o-1", 1)]).await;
    let logins = logins(&db).await;
    for (role, sql) in ALLOWED {
        sqlx::query(*sql)
            .execute(logins[*role].1.pool())
            .await
            .unwrap_or_else(|error| panic!("{role}: {sql}: {error}"));
    }
    for (role, sql) in DENIED {
        let error = sqlx::query(*sql).execute(logins[*role].1.pool()).await.expect_err(sql);
        assert_eq!(
            error.as_database_error().and_then(DatabaseError::code).as_deref(),
            Some("42501"),
            "{role}: {sql}: {error}"
        );
    }
    // The library writes, and a whole relay works, with no other rights.
    let mut tx = logins["writer"].1.begin().await.expect("it succeeds");
    append(&mut tx, &event("o-1", 2)).await;
    let many: Vec<_> = (3..=5).map(|n| event("o-1", n)).collect();
    steadfast_outbox::append_many(&mut tx, &many, SystemClock.now()).await.expect("it succeeds");
    tx.commit().await.expect("it succeeds");
    let (log, _keep) = log().await;
    let refuses = Judged::new(&log, |record| match record.key.as_str() {
        "s" => Err(steadfast_bus::Error::Refused("no".into())),
        _ => Ok(()),
    });
    let running = Running::start(vec![Source::new("shop", logins["relay"].1.clone())], refuses, config());
    let as_relay = Outbox::from(logins["relay"].1.clone());
    wait_for("a dead letter", LIMIT, || async {
        as_relay.parked(10).await.expect("it succeeds").iter().any(|parked| parked.dead_at.is_some())
    })
    .await;
    let letter = as_relay.parked(10).await.expect("it succeeds").remove(0);
    assert!(as_relay.discard(letter.event_id, "no", SystemClock.now()).await.expect("it succeeds"));
    wait_for("the rest is published", LIMIT, || async {
        sequences(&delivered(&log).await).get("o-1").map(Vec::len) == Some(5)
    })
    .await;
    running.stop().await;
    assert_eq!(as_relay.verify().await.expect("it succeeds"), []);
    as_relay.archive(SystemClock.now(), 0, None).await.expect("it succeeds");
    for (_, (login, handle)) in logins {
        handle.close().await;
        sqlx::raw_sql(AssertSqlSafe(format!("drop role {login}"))).execute(db.pool()).await.expect("it succeeds");
    }
}
