//! Invariants over the services' databases.

use expect_test::expect;
use serde_json::json;
use steadfast_db::Db;
use steadfast_projection::invariants::{self, Invariants};
use steadfast_testkit::{TestDb, database};

async fn with(statements: &[&'static str]) -> TestDb {
    let db = database().await;
    execute(&db, statements).await;
    db
}

async fn execute(db: &Db, statements: &[&'static str]) {
    let mut tx = db.begin().await.unwrap();
    for sql in statements {
        sqlx::query(*sql).execute(&mut *tx).await.unwrap();
    }
    tx.commit().await.unwrap();
}

const YAML: &str = r#"
invariants:
  - name: stock_is_never_negative
    database: inventory
    sql: select sku, on_hand from stock where on_hand < 0 -- none
  - name: orders_agree_with_payments
    equal:
      - { database: order, sql: "select id as order_id, total from orders" }
      - { database: payment, sql: "select order_id, amount as total from payment;" }
"#;

async fn databases() -> (TestDb, TestDb, TestDb) {
    (
        with(&["create table orders (id text, total integer)", "insert into orders values ('o-1', 5), ('o-2', 7)"])
            .await,
        with(&[
            "create table payment (order_id text, amount integer)",
            "insert into payment values ('o-2', 7), ('o-1', 5)",
        ])
        .await,
        with(&["create table stock (sku text, on_hand integer)", "insert into stock values ('a', 0), ('b', 3)"]).await,
    )
}

#[tokio::test]
async fn violations_are_listed_with_their_rows() {
    let (order, payment, inventory) = databases().await;
    let named = [("order", order.clone()), ("payment", payment.clone()), ("inventory", inventory.clone())];
    let findings = invariants::run(&named, YAML).await.unwrap();
    assert_eq!(findings.len(), 2);
    assert!(findings.iter().all(invariants::Finding::holds), "{findings:?}");

    let invariants = Invariants::load(&named, YAML).await.unwrap();
    execute(&inventory, &["update stock set on_hand = -1 where sku = 'b'"]).await;
    execute(
        &payment,
        &["insert into payment values ('o-2', 7)", "update payment set amount = 6 where order_id = 'o-1'"],
    )
    .await;
    let findings = invariants.check().await;
    let rows = |index: usize| json!(findings[index].rows);
    assert_eq!(findings[0].violations, 1);
    assert_eq!(rows(0), json!([{"sku": "b", "on_hand": -1}]));
    assert_eq!(
        rows(1),
        json!([
            {"order_id": "o-1", "total": 5, "only_in": "order"},
            {"order_id": "o-1", "total": 6, "only_in": "payment"},
            {"order_id": "o-2", "total": 7, "only_in": "payment"},
        ])
    );

    execute(&inventory, &["drop table stock"]).await;
    let broken = &invariants.check().await[0];
    assert!(!broken.holds() && broken.error.as_deref().unwrap().contains("stock"), "{broken:?}");
}

#[tokio::test]
async fn faults_are_located() {
    let (order, ..) = databases().await;
    let yaml = r"
invariants:
  - name: one two
    database: order
    sql: select id from orders
  - name: writes
    database: order
    sql: delete from orders
  - name: nowhere
    database: oder
    sql: select 1
  - name: nowhere
    sql: select 1
  - name: unknown
    database: order
    sql: select idd from orders
  - name: differ
    equal:
      - { database: order, sql: select id from orders }
      - { database: order, sql: select total from orders where id = :id }
";
    let error = invariants::run(&[("order", order.clone())], yaml).await.unwrap_err();
    expect![[r#"
        line 3: invariants[0]: the name is not a word: use letters, digits and _: it becomes a label of a metric
        line 8: invariants[1].sql: delete is not allowed here: begin with one of: select, with, values
        line 11: invariants[2].sql: there is no database "oder": use one of: order
        line 12: invariants[3]: another invariant has this name: give each its own
        line 12: invariants[3]: it is not clear what to check: give database and sql, or equal with two of them
        line 16: invariants[4].sql: no such column: idd: correct the statement, or migrate the database first
        line 20: invariants[5].sql: an invariant has no parameters: write the values into the statement"#]]
    .assert_eq(&error.to_string());
}
