//! A small platform at rest: one order that was completed and partly returned, and one that was compensated.

use goodgo_pos::check::{Checked, Run, Stores, check};
use goodgo_pos::invoice::{self, COLUMNS, Limits, Plan, Settings};
use goodgo_pos::replay::{OrderEnd, Outcome};
use steadfast::bus::{Record, headers};
use steadfast::core::{Event, NewEvent, StepKey, Timestamp};
use steadfast::db::{Line, Migration};
use steadfast::{outbox, projection};
use uuid::Uuid;

use super::place::{Ground, Kind, Log, Place};

macro_rules! line {
    ($name:literal, $before:literal, $after:literal) => {
        Line {
            name: $name,
            sqlite: &[Migration {
                version: 1,
                name: $name,
                sql: include_str!(concat!($before, "sqlite/0001_", $after, ".sql")),
            }],
            postgres: &[Migration {
                version: 1,
                name: $name,
                sql: include_str!(concat!($before, "postgres/0001_", $after, ".sql")),
            }],
        }
    };
}

const ORDER: Line = line!("order", "../../../order/migrations/", "order");
const READ_MODEL: Line = line!("read_model", "../../../order/migrations/read_model/", "read_model");
const PAYMENT: Line = line!("payment", "../../../payment/migrations/", "payment");
const INVENTORY: Line = line!("inventory", "../../../inventory/migrations/", "inventory");
const SAGA: Line = line!("saga", "../../../../crates/saga/migrations/coordinator/", "saga");

const INVOICES: [&str; 3] = [
    "1,A,THING,3,2010-12-01 08:26:00,1.00,7,France",
    "2,A,THING,2,2010-12-01 08:27:00,1.00,8,France",
    "C3,A,THING,-1,2010-12-02 08:28:00,1.00,7,France",
];

const ONE: u128 = 0x1111;
pub(super) const TWO: u128 = 0x2222;
pub(super) const BACK: u128 = 0x3333;

pub(super) fn text(n: u128) -> String {
    Uuid::from_u128(n).to_string()
}

pub(super) struct World {
    pub(super) order: Place,
    pub(super) payment: Place,
    pub(super) inventory: Place,
    pub(super) orchestrator: Place,
    pub(super) log: Log,
    pub(super) read_model: Place,
    pub(super) plan: Plan,
    pub(super) outcome: Outcome,
    pub(super) refused: Vec<StepKey>,
}

impl World {
    pub(super) async fn new(kind: Kind) -> Self {
        Self::with(kind, 2).await
    }

    /// Of the two events that the order service has committed, so many are in the log; the first one twice.
    pub(super) async fn with(kind: Kind, published: usize) -> Self {
        let rows = format!("{}\n{}\n", COLUMNS.join(","), INVOICES.join("\n"));
        let invoices = invoice::read(rows.as_bytes(), &Limits::default()).unwrap().invoices;
        let mut plan = Plan::new(&invoices, &Settings::default());
        plan.products[0].opening_stock = 10;
        let orders = [
            ("1".to_owned(), OrderEnd::Completed { order_id: text(ONE) }),
            ("2".to_owned(), OrderEnd::Compensated { order_id: text(TWO) }),
        ];
        let ground = Ground::new(kind).await;
        let world = Self {
            order: Place::new(&ground, "its_order", &[&ORDER, &outbox::LINE]).await,
            payment: Place::new(&ground, "its_payment", &[&PAYMENT, &outbox::LINE]).await,
            inventory: Place::new(&ground, "its_inventory", &[&INVENTORY, &outbox::LINE]).await,
            orchestrator: Place::new(&ground, "its_orchestrator", &[&outbox::LINE, &SAGA]).await,
            log: Log::new(kind).await,
            read_model: Place::new(&ground, "its_read_model", &[&READ_MODEL, &projection::LINE]).await,
            plan,
            outcome: Outcome { orders: orders.into(), returns: 1, ..Outcome::default() },
            refused: vec![],
        };
        world.fill().await;
        world.publish(published).await;
        world
    }

    async fn fill(&self) {
        self.order.run(
            "insert into orders (id, order_no, customer, placed_at, total, currency, status, returned, version, created_at) values
                (uuid(1111), '1', '7', 1291191960000, 3000, 'GBP', 'confirmed', 1000, 2, 0),
                (uuid(2222), '2', '8', 1291192020000, 2000, 'GBP', 'cancelled', 0, 2, 0);
             insert into order_line (order_key, line, product, quantity, unit_price, stocked) values
                (1, 1, 'A', 3, 1000, true), (2, 1, 'A', 2, 1000, true);
             insert into returns (id, return_no, order_key, customer, placed_at, amount, status, version, created_at) values
                (uuid(3333), 'C3-1', 1, '7', 1291278480000, 1000, 'confirmed', 2, 0);
             insert into return_line (return_key, line, product, quantity, unit_price, stocked) values (1, 1, 'A', 1, 1000, true);",
        )
        .await;
        self.payment
            .run(
                "insert into ledger (kind, order_id, return_id, customer, amount, at) values
                    ('capture', uuid(1111), null, '7', 3000, 0),
                    ('capture', uuid(2222), null, '8', 2000, 0),
                    ('refund', uuid(2222), null, '8', -2000, 0),
                    ('refund', uuid(1111), uuid(3333), '7', -1000, 0);",
            )
            .await;
        self.inventory
            .run(
                "insert into product (product, description, price, version) values ('A', 'THING', 1000, 1);
                 insert into stock (product, on_hand, reserved, version) values ('A', 8, 0, 4);
                 insert into stock_movement (product, kind, quantity, at) values
                    ('A', 'opened', 10, 0), ('A', 'committed', -3, 0), ('A', 'returned', 1, 0);",
            )
            .await;
        self.fill_sagas().await;
        self.read_model
            .run(
                r#"insert into order_summary
                    (order_id, order_no, customer, placed_at, currency, status, total, paid, refunded, returned, lines) values
                    (uuid(1111), '1', '7', 1291191960000, 'GBP', 'confirmed', 3000, 3000, 1000, 1000,
                        '[{"product":"A","quantity":3,"unit_price":1000,"stocked":true}]'),
                    (uuid(2222), '2', '8', 1291192020000, 'GBP', 'cancelled', 2000, 2000, 2000, 0,
                        '[{"product":"A","quantity":2,"unit_price":1000,"stocked":true}]');
                   insert into return_summary (return_id, return_no, order_id, placed_at, amount, status, lines) values
                    (uuid(3333), 'C3-1', uuid(1111), 1291278480000, 1000, 'confirmed',
                        '[{"product":"A","quantity":1,"unit_price":1000,"stocked":true}]');
                   insert into sales_by_day (day, product, quantity, revenue) values
                    ('2010-12-01', 'A', 3, 3000), ('2010-12-02', 'A', -1, -1000);
                   insert into stock_on_hand (product, on_hand, reserved) values ('A', 8, 0);
                   insert into saga_consistency (saga, outcome, accepted_at, settled_at, first_at, visible_at, events) values
                    (bytes(aaaa), 'completed', 1000, 1500, 1200, 1600, 3),
                    (bytes(bbbb), 'compensated', 1000, 1700, 1200, 1800, 3),
                    (bytes(cccc), 'completed', 2000, 3000, 2200, 2500, 3);"#,
            )
            .await;
    }

    async fn fill_sagas(&self) {
        self.orchestrator
            .run_either(
                "insert into saga (no, id, definition, version, status, held, overdue, lane, business_key, principal, started_at, ended_at) values
                    (1, uuid(aaaa), 'place_order', 1, 'completed', 0, 0, 0, '1', 'till', 1000, 1500),
                    (2, uuid(bbbb), 'place_order', 1, 'compensated', 0, 0, 0, '2', 'till', 1000, 1700),
                    (3, uuid(cccc), 'return_order', 1, 'completed', 0, 0, 0, 'C3-1', 'till', 2000, 3000);",
                "insert into saga (no, id, definition, version, status, held, overdue, parked, seq, business_key, principal, started_at, ended_at) values
                    (1, uuid(aaaa), 'place_order', 1, 'completed', false, false, false, 1, '1', 'till', 1000, 1500),
                    (2, uuid(bbbb), 'place_order', 1, 'compensated', false, false, false, 1, '2', 'till', 1000, 1700),
                    (3, uuid(cccc), 'return_order', 1, 'completed', false, false, false, 1, 'C3-1', 'till', 2000, 3000);",
            )
            .await;
        self.orchestrator
            .run(
                r#"insert into saga_payload (saga_no, input, context) values
                    (1, '{"order_id":"00000000-0000-0000-0000-000000001111"}', '{}'),
                    (2, '{"order_id":"00000000-0000-0000-0000-000000002222"}', '{}'),
                    (3, '{"order_id":"00000000-0000-0000-0000-000000001111","return_id":"00000000-0000-0000-0000-000000003333"}', '{}');"#,
            )
            .await;
    }

    /// Two events in the order service's outbox, all marked as published.
    async fn publish(&self, published: usize) {
        let mut records: Vec<Record> = Vec::new();
        for (sequence, name) in [(1, "order.created.v1"), (2, "order.confirmed.v1")] {
            let topic = self.log.topic(name);
            let new = NewEvent::new("order", text(ONE), topic, serde_json::json!({})).with_sequence(sequence);
            let event = Event {
                event_id: self.order.append(&new).await,
                aggregate_type: new.aggregate_type,
                aggregate_id: new.aggregate_id,
                event_type: new.event_type,
                sequence,
                payload: new.payload,
                created_at: Timestamp::from_millis(0),
                saga: None,
                traceparent: None,
            };
            records.push(headers::encode(&event, "/order"));
        }
        self.order.run("update outbox set published_at = now() where published_at is null").await;
        records.truncate(published);
        records.insert(0, records[0].clone());
        self.log.produce(records).await;
    }

    pub(super) fn stores(&self) -> Stores {
        Stores {
            order: self.order.store(),
            payment: self.payment.store(),
            inventory: self.inventory.store(),
            orchestrator: self.orchestrator.store(),
            log: self.log.checked(),
            read_model: self.read_model.store(),
        }
    }

    pub(super) async fn check(&self) -> Checked {
        let run = Run {
            plan: &self.plan,
            outcome: &self.outcome,
            refused: &self.refused,
            faults_ended: Timestamp::from_millis(5_000),
        };
        check(&self.stores(), &run).await.unwrap()
    }

    pub(super) async fn invariants(&self) -> Vec<&'static str> {
        let mut found: Vec<_> = self.check().await.violations.iter().map(|violation| violation.invariant).collect();
        found.dedup();
        found
    }
}
