//! Versioned changes against a real database, and what they leave in metrics and logs.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails its test")]

mod conformance;
mod contention;
mod observed;

use sqlx::Row;
use steadfast_db::Db;
use steadfast_testkit::TestDb;

const SCHEMA: &str = "
    create table product (
        sku text primary key, name text, price integer not null default 0, state text not null default 'open',
        life integer not null default 0, version integer not null default 1
    ) strict;
    create table stock (
        place text not null, sku blob not null, on_hand integer not null, reserved integer not null default 0,
        version integer not null default 1, primary key (place, sku), check (reserved between 0 and on_hand)
    ) strict, without rowid;
    create table counter (id integer primary key, n integer not null, version integer not null default 1) strict;
    insert into product (sku, name) values ('A', 'lantern'), ('B', 'hanger'), ('C', 'bottle');
    insert into stock (place, sku, on_hand) values ('LON', x'0a', 10), ('LON', x'0b', 5), ('PAR', x'0a', 1);
    insert into counter (id, n) values (1, 10000), (2, 3);
";

async fn shop() -> TestDb {
    let db = steadfast_testkit::database().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    db
}

/// The integers of one row.
async fn ints(db: &Db, sql: &'static str) -> Vec<i64> {
    let row = sqlx::query(sql).fetch_one(db.readers()).await.unwrap();
    (0..row.len()).map(|column| row.get(column)).collect()
}
