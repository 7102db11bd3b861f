//! The guards in SQL say what the rules in Rust say.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use steadfast::db::{self, Db};
use steadfast::outbox;

use super::*;
use crate::stock::{Level, Move};

async fn run(db: &Db, store: &Store, product: &str, moves: &[(Move, i64)]) -> Level {
    let cause = Cause { now: Timestamp::from_millis(1), ..Cause::default() };
    let mut tx = db.begin().await.unwrap();
    let opening = [OpeningStock { product: product.to_owned(), description: String::new(), price: 1, quantity: 20 }];
    store.open(&mut tx, &opening, &cause).await.unwrap();
    let mut level = Level { on_hand: 20, reserved: 0 };
    for (movement, n) in moves {
        let one = [(product.to_owned(), *n)].into();
        let outcome = store.shift(&mut tx, *movement, &one, &cause).await.unwrap();
        let after = movement.apply(level, *n);
        assert_eq!(matches!(outcome, Moved::All), after.is_some(), "{movement:?} of {n} at {level:?}");
        level = after.unwrap_or(level);
    }
    tx.commit().await.unwrap();
    level
}

#[test]
fn the_guards_of_the_database_are_those_of_the_rules() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = steadfast_testkit::database().await;
        let db = Db::clone(&database);
        for line in [&LINE, &outbox::LINE] {
            db::migrate(&db, line).await.unwrap();
        }
        let store = Store::new().unwrap();
        let moves = prop::collection::vec((prop::sample::select(Move::ALL.to_vec()), 1..30_i64), 0..25);
        let mut runner = TestRunner::deterministic();
        for case in 0..60 {
            let moves = moves.new_tree(&mut runner).unwrap().current();
            let product = format!("p-{case}");
            let level = run(&db, &store, &product, &moves).await;
            let stored: (i64, i64) = sqlx::query_as("select on_hand, reserved from stock where product = ?")
                .bind(product)
                .fetch_one(db.readers())
                .await
                .unwrap();
            assert_eq!(stored, (level.on_hand, level.reserved));
        }
        assert_eq!(outbox::verify(&db).await.unwrap(), []);
    });
}
