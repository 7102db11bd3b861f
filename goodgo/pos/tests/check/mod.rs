//! The check over databases with the services' own tables: a small platform at rest, then one thing broken at a time. What
//! is found is the same in SQLite with the embedded log and, with the feature `kafka`, in PostgreSQL with Kafka.

mod place;
mod world;

use goodgo_pos::check::{UnderWay, served, under_way};
use goodgo_pos::replay::OrderEnd;
use steadfast::core::{Op, SagaId, StepKey};
use uuid::Uuid;

use place::Kind;
use world::{BACK, TWO, World, text};

macro_rules! on_each {
    ($($case:ident),* $(,)?) => {
        mod embedded {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(super::Kind::Embedded).await;
                }
            )*
        }
        #[cfg(feature = "kafka")]
        mod servers {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(super::Kind::Servers).await;
                }
            )*
        }
    };
}

on_each! {
    a_platform_at_rest_is_well,
    a_step_that_ran_twice_is_found,
    an_event_that_was_dropped_is_found,
    an_update_that_was_lost_is_found,
    a_projection_that_was_applied_twice_is_found,
    a_compensation_that_was_skipped_is_found,
    a_saga_that_is_parked_on_purpose_explains_what_is_left,
    what_is_under_way_is_seen_until_nothing_is,
}

async fn a_platform_at_rest_is_well(kind: Kind) {
    let world = World::new(kind).await;
    let checked = world.check().await;
    assert_eq!(checked.violations, []);
    assert_eq!((checked.ends.orders, checked.ends.completed, checked.ends.compensated), (2, 1, 1));
    assert_eq!((checked.sagas, checked.sagas_took_ms, checked.events_published), (3, 2_000, 2));
    assert_eq!(checked.returns_completed, 1);
    assert!((checked.consistency.rate - 100.0).abs() < 1e-9);
    // 600, 800 and 1,000 ms.
    assert!((checked.consistency.mean_time_ms - 800.0).abs() < 1e-9);
    assert!((checked.sagas_per_second() - 1.5).abs() < 1e-9);
    let served = served(&world.stores()).await.unwrap();
    assert_eq!((served.sagas, served.orders, served.products, served.summaries), (3, 2, 1, 2));
}

async fn a_step_that_ran_twice_is_found(kind: Kind) {
    let world = World::new(kind).await;
    world
        .payment
        .run("insert into ledger (kind, order_id, customer, amount, at) values ('capture', uuid(1111), '7', 3000, 0)")
        .await;
    assert_eq!(world.invariants().await, ["money", "read_model"]);
}

async fn an_event_that_was_dropped_is_found(kind: Kind) {
    let world = World::with(kind, 1).await;
    assert_eq!(world.invariants().await, ["events"]);
}

async fn an_update_that_was_lost_is_found(kind: Kind) {
    let world = World::new(kind).await;
    world.inventory.run("update stock set on_hand = 9").await;
    assert_eq!(world.invariants().await, ["stock", "read_model"]);
}

async fn a_projection_that_was_applied_twice_is_found(kind: Kind) {
    let world = World::new(kind).await;
    world.read_model.run("update sales_by_day set quantity = 6, revenue = 6000 where day = '2010-12-01'").await;
    assert_eq!(world.invariants().await, ["read_model"]);
}

async fn a_compensation_that_was_skipped_is_found(kind: Kind) {
    let world = World::new(kind).await;
    world.order.run("update orders set status = 'created' where order_no = '2'").await;
    world.payment.run("delete from ledger where kind = 'refund' and return_id is null").await;
    world.inventory.run("update stock set reserved = 2").await;
    assert_eq!(world.invariants().await, ["settled", "money", "stock", "read_model"]);
}

async fn a_saga_that_is_parked_on_purpose_explains_what_is_left(kind: Kind) {
    let mut world = World::new(kind).await;
    world
        .orchestrator
        .run_either(
            "update saga set status = 'failed' where no = 2",
            "update saga set status = 'failed', parked = true where no = 2",
        )
        .await;
    world.orchestrator.run(
        r#"insert into saga_journal (day, saga_no, seq, epoch, at, entries) values
            (0, 2, 2, 1, 1600, '[{"e":"compensating","at":1600,"cause":"timeout"},{"e":"undone","step":2,"at":1650,"attempts":1},{"e":"parked","step":1,"op":"compensate","at":1700,"why":"refused","code":"refused"},{"e":"failed","at":1700}]'),
            (0, 2, 1, 1, 1000, '[{"e":"started","at":1000,"admitted":true},{"e":"done","step":0,"at":1100,"attempts":1,"output":{}},{"e":"done","step":1,"at":1200,"attempts":1,"output":{"payment_id":"x"}},{"e":"done","step":2,"at":1300,"attempts":1,"output":{}}]');"#,
    )
    .await;
    world.order.run("update orders set status = 'created' where order_no = '2'").await;
    world.payment.run("delete from ledger where kind = 'refund' and return_id is null").await;
    world.read_model.run("update order_summary set status = 'created', refunded = 0 where order_no = '2'").await;
    world.outcome.orders.insert("2".into(), OrderEnd::Failed { order_id: text(TWO) });
    assert_eq!(world.invariants().await, ["settled"], "parked, and nobody refused anything on purpose");

    let saga = SagaId::from(Uuid::from_u128(0xbbbb));
    world.refused = vec![StepKey { saga, step: "process_payment".into(), op: Op::Compensate }];
    let checked = world.check().await;
    assert_eq!(checked.violations, []);
    assert_eq!(checked.parked[0].left, ["create_order", "process_payment"]);
    assert_eq!((checked.ends.failed, checked.ends.compensated), (1, 0));
    // An order that was accepted and is nowhere.
    world.outcome.orders.insert("9".into(), OrderEnd::Accepted { order_id: text(BACK) });
    world.outcome.broken.push("a promise".into());
    assert_eq!(world.invariants().await, ["settled", "promises"]);
}

async fn what_is_under_way_is_seen_until_nothing_is(kind: Kind) {
    let world = World::new(kind).await;
    let saga = &world.orchestrator;
    saga.run_either(
        "update saga set status = 'running' where no = 1",
        "update saga set status = 'running', lane = 0 where no = 1",
    )
    .await;
    world.order.run("update outbox set published_at = null where sequence = 2").await;
    let seen = under_way(&world.stores()).await.unwrap();
    assert_eq!(seen, UnderWay { sagas: 1, unpublished: 1, ..UnderWay::default() });

    saga.run_either(
        "update saga set status = 'failed' where no = 1",
        "update saga set status = 'failed', parked = true, lane = null where no = 1",
    )
    .await;
    world.order.run("update outbox set published_at = now() where sequence = 2").await;
    let seen = under_way(&world.stores()).await.unwrap();
    // Both events have one key: one partition, of the log or of each topic.
    let unread = if matches!(kind, Kind::Embedded) { 1 } else { 2 };
    assert_eq!(seen, UnderWay { unread, ..UnderWay::default() });

    world.read_model.run("insert into projection (name) values ('goodgo')").await;
    for topic in world.log.topics_of_partitions(&["order.created.v1", "order.confirmed.v1"]) {
        for partition in 0..4 {
            let sql = format!(
                "insert into checkpoint (projection, topic, partition, position, updated_at)
                 values (1, '{topic}', {partition}, 4, 0)"
            );
            world.read_model.run(&sql).await;
        }
    }
    assert!(under_way(&world.stores()).await.unwrap().is_nothing());
}
