//! The suite on SQLite, and how its statements are planned there.

#[path = "../conformance.rs"]
mod conformance;

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
    create table thing (id blob primary key, done integer not null, note text, version integer not null default 1) strict;
    insert into product (sku, name) values ('A', 'lantern'), ('B', 'hanger'), ('C', 'bottle');
    insert into stock (place, sku, on_hand) values ('LON', x'0a', 10), ('LON', x'0b', 5), ('PAR', x'0a', 1);
    insert into counter (id, n) values (1, 10000), (2, 3);
    insert into thing (id, done) values (x'01000000000000000000000000000007', 0);
";

pub(crate) async fn shop() -> TestDb {
    let db = steadfast_testkit::database().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::raw_sql(SCHEMA).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    db
}

/// The integers of one row.
pub(crate) async fn ints(db: &Db, sql: &'static str) -> Vec<i64> {
    let row = sqlx::query(sql).fetch_one(db.readers()).await.unwrap();
    (0..row.len()).map(|column| row.get(column)).collect()
}

#[tokio::test]
async fn the_statements_find_their_rows_by_key() {
    let db = shop().await;
    let rows = bulk_plan(&db).await;
    assert!(rows.iter().all(|step| !step.contains("SCAN stock")), "{rows:#?}");
    assert_eq!(rows.iter().filter(|step| step.contains("SEARCH stock USING PRIMARY KEY")).count(), 2, "{rows:#?}");
}

/// The plan of `adjust_all`, whose text a unit test holds.
async fn bulk_plan(db: &Db) -> Vec<String> {
    let sql = "explain query plan with _change (_k0, _k1, _n) as materialized (select \
        case json_type(value, '$[0]') when 'object' then unhex(json_extract(value, '$[0].x')) else json_extract(value, '$[0]') end, \
        case json_type(value, '$[1]') when 'object' then unhex(json_extract(value, '$[1].x')) else json_extract(value, '$[1]') end, \
        json_extract(value, '$[2]') from json_each($1)) \
        update stock set reserved = reserved + _change._n, version = version + 1 from _change \
        where stock.place = _change._k0 and stock.sku = _change._k1 and (on_hand - reserved >= _change._n) \
        and $2 = (select count(*) from _change join stock on stock.place = _change._k0 and stock.sku = _change._k1 \
        where (on_hand - reserved >= _change._n)) returning version, place, sku";
    let rows = sqlx::query(sql).fetch_all(db.readers()).await.unwrap();
    rows.iter().map(|row| row.get("detail")).collect()
}
