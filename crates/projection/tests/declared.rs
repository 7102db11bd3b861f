//! Projections out of YAML.

use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::json;
use steadfast_projection::{Declarative, Error, Projection, Runner, Tally, parking};
use steadfast_testkit::{TestDb, database};

use crate::support::{MemoryLog, clock, config, drain, typed};

async fn shop() -> TestDb {
    let db = database().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query(
        "create table order_view (order_id text primary key, total integer, state text, lines text, reason text)",
    )
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    db
}

const GOOD: &str = r"
projection: order_view
aggregates: [order]
on:
  order.created.v1:
    sql: |
      insert into order_view (order_id, total, state, lines)   -- one row per order
      values (:order_id, :total, 'created', :lines);
    params:
      order_id: $.aggregate_id
      total: $.payload.total
      lines: $.payload.lines
  order.cancelled.v1:
    sql: update order_view set state = 'cancelled', reason = :reason where order_id = :order_id
    params: { order_id: $.aggregate_id, reason: $.payload.reason? }
";

#[tokio::test]
async fn a_file_is_a_projection() {
    let (db, log) = (shop().await, MemoryLog::default());
    let projection = Arc::new(Declarative::load(&*db, GOOD).await.unwrap()) as Arc<dyn Projection>;
    let open = Runner::open(db.clone(), projection, log.consumer(), Arc::new(clock()), config());
    let mut runner = open.await.unwrap();
    log.append_all(&[
        typed("o-1", 2, "order.cancelled.v1", json!({})),
        typed("o-1", 1, "order.created.v1", json!({"total": 12, "lines": ["a", "b"]})),
        typed("o-1", 3, "order.archived.v1", json!({})),
        typed("o-2", 1, "order.created.v1", json!({"lines": []})),
    ]);
    assert_eq!(drain(&mut runner).await, Tally { applied: 2, unknown: 1, poison: 1, ..Tally::default() });
    let rows: Vec<(String, i64, String, String, Option<String>)> =
        sqlx::query_as("select * from order_view").fetch_all(db.readers()).await.unwrap();
    assert_eq!(rows, [("o-1".into(), 12, "cancelled".into(), r#"["a","b"]"#.into(), None)]);
    let error = parking::list(&*db, "order_view", 9).await.unwrap()[0].error.clone().unwrap();
    expect![
        "the parameter :total of on.order.created.v1 has no value in this event: mark its path with ? to allow that"
    ]
    .assert_eq(&error);
}

async fn faults(yaml: &str, expected: Expect) {
    let error = Declarative::load(&*shop().await, yaml).await.unwrap_err();
    assert!(matches!(error, Error::Faults(_)));
    expected.assert_eq(&error.to_string());
}

#[tokio::test]
async fn every_fault_is_named_with_its_place_and_the_way_out() {
    faults(
        r"
projection: order_view
aggregates: []
on:
  order.created.v1:
    sql: insert into order_view (order_id, totl) values (:order_id, :total)
    params:
      order_id: $.agregate_id
      totel: $.payload.total
  order.cancelled.v1:
    sql: delete from order_view; delete from ledger
  order.paid.v1:
    sql: update order_view set state = :state
    params: { state: $.payload.state, order_id: $.aggregate_id }
  order.sent.v1:
    sql: drop table order_view
  order.lost.v1:
    sql: insert into orders_view (order_id) values (1)
",
        expect![[r#"
            aggregates: there is none: list the aggregate types whose events it reads, such as [order]
            line 6: on.order.created.v1.sql: the parameter :total has no path: did you mean :totel?
            line 6: on.order.created.v1.sql: table order_view has no column named totl: correct the statement, or migrate the read database first
            line 8: on.order.created.v1.params.order_id: an event has no "agregate_id": did you mean $.aggregate_id?
            line 11: on.order.cancelled.v1.sql: there is more than one statement: write one statement; several tables need several projections, or a trigger
            line 14: on.order.paid.v1.params.order_id: :order_id is not in the statement: use it or take it out
            line 16: on.order.sent.v1.sql: drop is not allowed here: begin with one of: insert, update, delete, replace, with
            line 18: on.order.lost.v1.sql: no such table: orders_view: correct the statement, or migrate the read database first"#]],
    )
    .await;
    faults(
        "projection: x\naggregates: [a]\nonn: {}\n",
        expect![[r"
            line 3: unknown field `onn`, expected one of projection, aggregates, on: compare it with the example in the documentation"]],
    )
    .await;
    faults(
        "projection: [",
        expect![[r"
            line 1: expected string scalar: compare it with the example in the documentation"]],
    )
    .await;
}
