//! The suite on PostgreSQL, and what only there can happen: rows that change while a statement waits for them.

#[path = "../conformance.rs"]
mod conformance;
mod lane;

use std::time::Duration;

use futures_util::future::join_all;
use sqlx::{AssertSqlSafe, Row};
use steadfast_db::postgres::Db;
use steadfast_db::tx;
use steadfast_locking::{Adjust, Entity, Error, Reason, Version, run};
use steadfast_testkit::{TestPostgres, wait_for};

const SCHEMA: &str = "
    create table product (
        sku text primary key, name text, price bigint not null default 0, state text not null default 'open',
        life bigint not null default 0, version bigint not null default 1
    );
    create table stock (
        place text not null, sku bytea not null, on_hand bigint not null, reserved bigint not null default 0,
        version bigint not null default 1, primary key (place, sku), check (reserved between 0 and on_hand)
    ) with (fillfactor = 50);
    create table counter (id int primary key, n int not null, version int not null default 1);
    create table thing (id uuid primary key, done boolean not null, note text, version bigint not null default 1);
    insert into product (sku, name) values ('A', 'lantern'), ('B', 'hanger'), ('C', 'bottle');
    insert into stock (place, sku, on_hand) values ('LON', '\\x0a', 10), ('LON', '\\x0b', 5), ('PAR', '\\x0a', 1);
    insert into counter (id, n) values (1, 10000), (2, 3);
    insert into thing (id, done) values ('01000000-0000-0000-0000-000000000007', false);
";

async fn shop() -> TestPostgres {
    let db = steadfast_testkit::postgres().await;
    sqlx::raw_sql(SCHEMA).execute(db.pool()).await.unwrap();
    db
}

/// The integers of one row.
async fn ints(db: &Db, sql: &'static str) -> Vec<i64> {
    let row = sqlx::query(sql).fetch_one(db.pool()).await.unwrap();
    (0..row.len()).map(|column| row.get(column)).collect()
}

/// Until somebody waits for a lock in this database.
async fn wait_for_a_waiter(db: &Db) {
    wait_for("a statement that waits for a lock", Duration::from_secs(5), || async {
        let sql =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        ints(db, sql).await[0] > 0
    })
    .await;
}

fn reserve() -> Adjust {
    let stock = Entity::new("stock", &["place", "sku"]).unwrap();
    stock.adjust("reserved = reserved + :n", "stock.on_hand - reserved >= :n").unwrap()
}

#[tokio::test]
async fn rows_that_change_while_a_statement_waits_are_decided_anew_all_or_none() {
    let db = shop().await;
    let (a, b) = (("LON", vec![0x0a_u8]), ("LON", vec![0x0b_u8]));
    let mut first = db.begin().await.unwrap();
    reserve().run(&mut first, b.clone(), 4).await.unwrap();
    let waiting = async {
        let mut second = db.begin().await.unwrap();
        let outcome = reserve().run_all(&mut second, [(a, 1), (b, 2)]).await;
        second.commit().await.unwrap();
        outcome
    };
    let finish = async {
        wait_for_a_waiter(&db).await;
        first.commit().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(waiting, finish);
    let Err(Error::Losers { losers, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!((losers.len(), losers[0].reason), (1, Reason::Refused), "only the row that has no room is named");
    assert_eq!(ints(&db, "select cast(sum(reserved) as bigint) from stock").await, [4], "nothing of the second");
}

#[tokio::test]
async fn a_replace_that_waited_for_another_meets_its_version() {
    let db = shop().await;
    let product = Entity::new("product", &["sku"]).unwrap();
    let mut first = db.begin().await.unwrap();
    product.replace("A", Version::FIRST).set("price", 1).run(&mut first).await.unwrap();
    let waiting = async {
        let mut second = db.begin().await.unwrap();
        product.replace("A", Version::FIRST).set("price", 2).run(&mut second).await.map(|saved| saved.version)
    };
    let finish = async {
        wait_for_a_waiter(&db).await;
        first.commit().await.unwrap();
    };
    let (outcome, ()) = tokio::join!(waiting, finish);
    assert!(matches!(&outcome, Err(Error::Conflict(conflict)) if conflict.current.get() == 2), "{outcome:?}");
}

#[tokio::test]
async fn callers_with_the_same_rows_in_any_order_never_lock_each_other_out() {
    let db = shop().await;
    let (a, b) = (("LON", vec![0x0a_u8]), ("LON", vec![0x0b_u8]));
    let one = async |turned: bool| {
        let mut tx = db.begin().await.unwrap();
        let mut rows = vec![(a.clone(), 1), (b.clone(), 1)];
        if turned {
            rows.reverse();
        }
        let outcome = reserve().run_all(&mut tx, rows).await;
        tx.commit().await.unwrap();
        outcome.is_ok()
    };
    let outcomes = join_all((0..8).map(|n| one(n % 2 == 0))).await;
    assert_eq!(outcomes.iter().filter(|done| **done).count(), 5, "five of B were there, and each taker took both");
    assert_eq!(ints(&db, "select reserved, version from stock where sku = '\\x0b'").await, [5, 6]);
}

#[tokio::test]
async fn a_serialization_failure_and_a_deadlock_run_the_whole_transaction_again() {
    let db = shop().await;
    let product = Entity::new("product", &["sku"]).unwrap();
    let swap = |first: &'static str, second: &'static str| {
        let (product, db) = (product.clone(), &db);
        async move {
            run(&product, &**db, &tx::Policy::default(), |tx| {
                Box::pin(async move {
                    for sku in [first, second] {
                        let sql =
                            format!("update product set price = price + 1, version = version + 1 where sku = '{sku}'");
                        sqlx::query(AssertSqlSafe(sql)).execute(&mut **tx).await.map_err(steadfast_db::Error::from)?;
                        tokio::task::yield_now().await;
                    }
                    Ok::<_, Error>(())
                })
            })
            .await
        }
    };
    let both = tokio::join!(swap("A", "B"), swap("B", "A"), swap("A", "B"), swap("B", "A"));
    for outcome in [both.0, both.1, both.2, both.3] {
        outcome.unwrap();
    }
    assert_eq!(ints(&db, "select price from product where sku = 'A'").await, [4]);
}

#[tokio::test]
async fn no_row_of_any_bulk_statement_is_found_by_a_scan() {
    let db = shop().await;
    let fill = "insert into stock select 'P' || n, '\\x01', 5 from generate_series(1, 5000) n; analyze stock";
    sqlx::raw_sql(fill).execute(db.pool()).await.unwrap();
    let mut tx = db.begin().await.unwrap();
    let before = ints(&db, "select seq_scan from pg_stat_user_tables where relname = 'stock'").await;
    let keys: Vec<_> = (1..50).map(|n| ((format!("P{n}"), vec![1_u8]), 1)).collect();
    reserve().run_all(&mut tx, keys).await.unwrap();
    tx.commit().await.unwrap();
    sqlx::query("select pg_stat_force_next_flush()").execute(db.pool()).await.unwrap();
    let after = ints(&db, "select seq_scan from pg_stat_user_tables where relname = 'stock'").await;
    assert_eq!(before, after);
}
