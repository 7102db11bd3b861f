//! The check over databases with the services' own tables: a small platform at rest, then one thing broken at a time.

use goodgo_pos::check::{Checked, Run, Stores, UnderWay, check, under_way};
use goodgo_pos::invoice::{self, COLUMNS, Limits, Plan, Settings};
use goodgo_pos::replay::{OrderEnd, Outcome};
use steadfast::bus::embedded::Log;
use steadfast::bus::{Producer, headers};
use steadfast::core::{Event, EventId, NewEvent, Op, SagaId, StepKey, Timestamp};
use steadfast::db::{Db, Line, Migration, migrate};
use steadfast::{outbox, projection};
use steadfast_testkit::{TestDb, database};
use uuid::Uuid;

macro_rules! line {
    ($name:literal, $file:literal) => {
        Line { name: $name, sqlite: &[Migration { version: 1, name: $name, sql: include_str!($file) }], postgres: &[] }
    };
}

const ORDER: Line = line!("order", "../../order/migrations/sqlite/0001_order.sql");
const READ_MODEL: Line = line!("read_model", "../../order/migrations/read_model/sqlite/0001_read_model.sql");
const PAYMENT: Line = line!("payment", "../../payment/migrations/sqlite/0001_payment.sql");
const INVENTORY: Line = line!("inventory", "../../inventory/migrations/sqlite/0001_inventory.sql");
const SAGA: Line = line!("saga", "../../../crates/saga/migrations/coordinator/sqlite/0001_saga.sql");

/// One order that was completed and partly returned, and one that was compensated.
const INVOICES: [&str; 3] = [
    "1,A,THING,3,2010-12-01 08:26:00,1.00,7,France",
    "2,A,THING,2,2010-12-01 08:27:00,1.00,8,France",
    "C3,A,THING,-1,2010-12-02 08:28:00,1.00,7,France",
];

struct World {
    order: TestDb,
    payment: TestDb,
    inventory: TestDb,
    orchestrator: TestDb,
    log: TestDb,
    read_model: TestDb,
    plan: Plan,
    outcome: Outcome,
    refused: Vec<StepKey>,
}

const ONE: u128 = 0x1111;
const TWO: u128 = 0x2222;
const BACK: u128 = 0x3333;

async fn run(db: &Db, sql: &'static str) {
    let mut tx = db.begin().await.unwrap();
    sqlx::raw_sql(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

fn text(n: u128) -> String {
    Uuid::from_u128(n).to_string()
}

impl World {
    async fn new() -> Self {
        let rows = format!("{}\n{}\n", COLUMNS.join(","), INVOICES.join("\n"));
        let invoices = invoice::read(rows.as_bytes(), &Limits::default()).unwrap().invoices;
        let mut plan = Plan::new(&invoices, &Settings::default());
        plan.products[0].opening_stock = 10;
        let orders = [
            ("1".to_owned(), OrderEnd::Completed { order_id: text(ONE) }),
            ("2".to_owned(), OrderEnd::Compensated { order_id: text(TWO) }),
        ];
        let world = Self {
            order: database().await,
            payment: database().await,
            inventory: database().await,
            orchestrator: database().await,
            log: database().await,
            read_model: database().await,
            plan,
            outcome: Outcome { orders: orders.into(), returns: 1, ..Outcome::default() },
            refused: vec![],
        };
        for (db, lines) in [
            (&world.order, [&ORDER, &outbox::LINE]),
            (&world.payment, [&PAYMENT, &outbox::LINE]),
            (&world.inventory, [&INVENTORY, &outbox::LINE]),
            (&world.orchestrator, [&SAGA, &outbox::LINE]),
            (&world.read_model, [&READ_MODEL, &projection::LINE]),
        ] {
            for line in lines {
                migrate(&**db, line).await.unwrap();
            }
        }
        world.fill().await;
        world.publish().await;
        world
    }

    async fn fill(&self) {
        run(
            &self.order,
            "insert into orders values (1, unhex('00000000000000000000000000001111'), '1', '7', 1291191960000, 3000, 'GBP', 'confirmed', 1000, 2, 0),
                (2, unhex('00000000000000000000000000002222'), '2', '8', 1291192020000, 2000, 'GBP', 'cancelled', 0, 2, 0);
             insert into order_line values (1, 1, 'A', null, 3, 1000, 1), (2, 1, 'A', null, 2, 1000, 1);
             insert into returns values (1, unhex('00000000000000000000000000003333'), 'C3-1', 1, '7', 1291278480000, 1000, 'confirmed', 2, 0);
             insert into return_line values (1, 1, 'A', null, 1, 1000, 1);",
        )
        .await;
        run(
            &self.payment,
            "insert into ledger (kind, order_id, return_id, customer, amount, at) values
                ('capture', unhex('00000000000000000000000000001111'), null, '7', 3000, 0),
                ('capture', unhex('00000000000000000000000000002222'), null, '8', 2000, 0),
                ('refund', unhex('00000000000000000000000000002222'), null, '8', -2000, 0),
                ('refund', unhex('00000000000000000000000000001111'), unhex('00000000000000000000000000003333'), '7', -1000, 0);",
        )
        .await;
        run(
            &self.inventory,
            "insert into product values ('A', 'THING', 1000, 1);
             insert into stock values ('A', 8, 0, 4);
             insert into stock_movement (product, kind, quantity, at) values ('A', 'opened', 10, 0), ('A', 'committed', -3, 0), ('A', 'returned', 1, 0);",
        )
        .await;
        run(
            &self.orchestrator,
            r#"insert into saga (no, id, definition, version, status, held, overdue, lane, business_key, principal, started_at, ended_at) values
                (1, unhex('0000000000000000000000000000aaaa'), 'place_order', 1, 'completed', 0, 0, 0, '1', 'till', 1000, 1500),
                (2, unhex('0000000000000000000000000000bbbb'), 'place_order', 1, 'compensated', 0, 0, 0, '2', 'till', 1000, 1700),
                (3, unhex('0000000000000000000000000000cccc'), 'return_order', 1, 'completed', 0, 0, 0, 'C3-1', 'till', 2000, 3000);
             insert into saga_payload values
                (1, '{"order_id":"00000000-0000-0000-0000-000000001111"}', '{}'),
                (2, '{"order_id":"00000000-0000-0000-0000-000000002222"}', '{}'),
                (3, '{"order_id":"00000000-0000-0000-0000-000000001111","return_id":"00000000-0000-0000-0000-000000003333"}', '{}');"#,
        )
        .await;
        run(
            &self.read_model,
            r#"insert into order_summary values
                (1, unhex('00000000000000000000000000001111'), '1', '7', 1291191960000, 'GBP', 'confirmed', 3000, 3000, 1000, 1000,
                    '[{"product":"A","quantity":3,"unit_price":1000,"stocked":true}]'),
                (2, unhex('00000000000000000000000000002222'), '2', '8', 1291192020000, 'GBP', 'cancelled', 2000, 2000, 2000, 0,
                    '[{"product":"A","quantity":2,"unit_price":1000,"stocked":true}]');
             insert into return_summary values
                (1, unhex('00000000000000000000000000003333'), 'C3-1', unhex('00000000000000000000000000001111'), 1291278480000, 1000,
                    'confirmed', '[{"product":"A","quantity":1,"unit_price":1000,"stocked":true}]');
             insert into sales_by_day values ('2010-12-01', 'A', 3, 3000), ('2010-12-02', 'A', -1, -1000);
             insert into stock_on_hand values ('A', 8, 0);
             insert into saga_consistency (saga, outcome, accepted_at, settled_at, first_at, visible_at, events) values
                (unhex('0000000000000000000000000000aaaa'), 'completed', 1000, 1500, 1200, 1600, 3),
                (unhex('0000000000000000000000000000bbbb'), 'compensated', 1000, 1700, 1200, 1800, 3),
                (unhex('0000000000000000000000000000cccc'), 'completed', 2000, 3000, 2200, 2500, 3);"#,
        )
        .await;
    }

    /// Two events in the order service's outbox, published; the first one twice.
    async fn publish(&self) {
        let mut tx = self.order.begin().await.unwrap();
        let mut events = Vec::new();
        for (sequence, name) in [(1, "order.created.v1"), (2, "order.confirmed.v1")] {
            let new = NewEvent::new("order", text(ONE), name, serde_json::json!({})).with_sequence(sequence);
            let event_id: EventId = outbox::append(&mut tx, &new, Timestamp::from_millis(0)).await.unwrap();
            events.push(Event {
                event_id,
                aggregate_type: new.aggregate_type,
                aggregate_id: new.aggregate_id,
                event_type: new.event_type,
                sequence,
                payload: new.payload,
                created_at: Timestamp::from_millis(0),
                saga: None,
                traceparent: None,
            });
        }
        tx.commit().await.unwrap();
        run(&self.order, "update outbox set published_at = 1 where published_at is null").await;
        let log = Log::open(Db::clone(&self.log), 4).await.unwrap();
        let records = [&events[0], &events[0], &events[1]].map(|event| headers::encode(event, "/order"));
        for answer in log.produce(records.into()).await {
            answer.unwrap();
        }
    }

    fn stores(&self) -> Stores<'_> {
        Stores {
            order: &self.order,
            payment: &self.payment,
            inventory: &self.inventory,
            orchestrator: &self.orchestrator,
            log: &self.log,
            read_model: &self.read_model,
        }
    }

    async fn check(&self) -> Checked {
        let run = Run {
            plan: &self.plan,
            outcome: &self.outcome,
            refused: &self.refused,
            faults_ended: Timestamp::from_millis(5_000),
        };
        check(&self.stores(), &run).await.unwrap()
    }

    async fn invariants(&self) -> Vec<&'static str> {
        let mut found: Vec<_> = self.check().await.violations.iter().map(|violation| violation.invariant).collect();
        found.dedup();
        found
    }
}

#[tokio::test]
async fn a_platform_at_rest_is_well() {
    let checked = World::new().await.check().await;
    assert_eq!(checked.violations, []);
    assert_eq!((checked.ends.orders, checked.ends.completed, checked.ends.compensated), (2, 1, 1));
    assert_eq!((checked.sagas, checked.sagas_took_ms, checked.events_published), (3, 2_000, 2));
    assert_eq!(checked.returns_completed, 1);
    assert!((checked.consistency.rate - 100.0).abs() < 1e-9);
    // 600, 800 and 1,000 ms.
    assert!((checked.consistency.mean_time_ms - 800.0).abs() < 1e-9);
    assert!((checked.sagas_per_second() - 1.5).abs() < 1e-9);
}

#[tokio::test]
async fn a_step_that_ran_twice_is_found() {
    let world = World::new().await;
    run(&world.payment, "insert into ledger (kind, order_id, customer, amount, at) values ('capture', unhex('00000000000000000000000000001111'), '7', 3000, 0)").await;
    assert_eq!(world.invariants().await, ["money", "read_model"]);
}

#[tokio::test]
async fn an_event_that_was_dropped_is_found() {
    let world = World::new().await;
    run(&world.log, "delete from event_log where topic = 'order.confirmed.v1'").await;
    assert_eq!(world.invariants().await, ["events"]);
}

#[tokio::test]
async fn an_update_that_was_lost_is_found() {
    let world = World::new().await;
    run(&world.inventory, "update stock set on_hand = 9").await;
    assert_eq!(world.invariants().await, ["stock", "read_model"]);
}

#[tokio::test]
async fn a_projection_that_was_applied_twice_is_found() {
    let world = World::new().await;
    run(&world.read_model, "update sales_by_day set quantity = 6, revenue = 6000 where day = '2010-12-01'").await;
    assert_eq!(world.invariants().await, ["read_model"]);
}

#[tokio::test]
async fn a_compensation_that_was_skipped_is_found() {
    let world = World::new().await;
    run(&world.order, "update orders set status = 'created' where order_no = '2'").await;
    run(&world.payment, "delete from ledger where kind = 'refund' and return_id is null").await;
    run(&world.inventory, "update stock set reserved = 2").await;
    assert_eq!(world.invariants().await, ["settled", "money", "stock", "read_model"]);
}

#[tokio::test]
async fn a_saga_that_is_parked_on_purpose_explains_what_is_left() {
    let mut world = World::new().await;
    run(
        &world.orchestrator,
        r#"update saga set status = 'failed' where no = 2;
           insert into saga_journal values
            (0, 2, 2, 1, 1600, '[{"e":"compensating","at":1600,"cause":"timeout"},{"e":"undone","step":2,"at":1650,"attempts":1},{"e":"parked","step":1,"op":"compensate","at":1700,"why":"refused","code":"refused"},{"e":"failed","at":1700}]'),
            (0, 2, 1, 1, 1000, '[{"e":"started","at":1000,"admitted":true},{"e":"done","step":0,"at":1100,"attempts":1,"output":{}},{"e":"done","step":1,"at":1200,"attempts":1,"output":{"payment_id":"x"}},{"e":"done","step":2,"at":1300,"attempts":1,"output":{}}]');"#,
    )
    .await;
    run(&world.order, "update orders set status = 'created' where order_no = '2'").await;
    run(&world.payment, "delete from ledger where kind = 'refund' and return_id is null").await;
    run(&world.read_model, "update order_summary set status = 'created', refunded = 0 where order_no = '2'").await;
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

#[tokio::test]
async fn what_is_under_way_is_seen_until_nothing_is() {
    let world = World::new().await;
    run(&world.orchestrator, "update saga set status = 'running' where no = 1").await;
    run(&world.order, "update outbox set published_at = null where sequence = 2").await;
    let seen = under_way(&world.stores()).await.unwrap();
    assert_eq!(seen, UnderWay { sagas: 1, unpublished: 1, ..UnderWay::default() });

    run(&world.orchestrator, "update saga set status = 'failed' where no = 1").await;
    run(&world.order, "update outbox set published_at = 1 where sequence = 2").await;
    let seen = under_way(&world.stores()).await.unwrap();
    assert_eq!(seen, UnderWay { unread: 1, ..UnderWay::default() }, "both events have one key: one partition");

    run(
        &world.read_model,
        "insert into projection values (1, 'goodgo');
         insert into checkpoint (projection, topic, partition, position, updated_at)
             select 1, '', value, 4, 0 from json_each('[0,1,2,3]');",
    )
    .await;
    assert!(under_way(&world.stores()).await.unwrap().is_nothing());
}
