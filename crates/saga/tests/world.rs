//! One orchestrator over one journal, and a shop. The orchestrator can be killed and opened again on the same file.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use sqlx::{Sqlite, Transaction};
use steadfast_core::sealing::Keyring;
use steadfast_core::{NewEvent, Op, Principal, SagaId, Timestamp};
use steadfast_db::{BoxError, Db, EventSink};
use steadfast_saga::engine::{Accepted, AsAtStart, Config, Engine, Ports, StartRequest};
use steadfast_saga::journal;
use steadfast_saga::machine::Status;
use steadfast_testkit::{SystemClock, TestDb, database};

use crate::shop::{PATIENCE, Shop};

pub(crate) const STEPS: [&str; 4] = ["create", "pay", "reserve", "confirm"];

/// Three steps that can be taken back, then one that cannot; short pauses, so that tests take milliseconds.
pub(crate) const DEFINITION: &str = r#"
saga: shop
version: 1
business_key: input.no
timeout: 30s
permissions: [order.place]
input: { sensitive: [/card] }
steps:
  create:
    participant: order
    timeout: 2s
    retry: { attempts: 4, base: 4ms, cap: 20ms }
    action: { post: /create, body: { no: "${input.no}" } }
    compensate: { post: /create/undo, body: { no: "${input.no}" }, retry: { attempts: 4, base: 4ms, cap: 20ms } }
    output: { id: body.id }
  pay:
    participant: payment
    after: [create]
    permissions: [payment.process]
    timeout: 2s
    retry: { attempts: 4, base: 4ms, cap: 20ms }
    action: { post: /pay, body: { order: "${steps.create.id}", card: "${input.card}" } }
    compensate: { post: /pay/undo, body: { no: "${input.no}" }, retry: { attempts: 4, base: 4ms, cap: 20ms } }
  reserve:
    participant: inventory
    after: [pay]
    timeout: 2s
    retry: { attempts: 4, base: 4ms, cap: 20ms }
    action: { post: /reserve, body: { no: "${input.no}" } }
    compensate: { post: /reserve/undo, body: { no: "${input.no}" }, retry: { attempts: 4, base: 4ms, cap: 20ms } }
  confirm:
    participant: order
    kind: retriable
    after: [reserve]
    timeout: 2s
    retry: { attempts: 6, base: 4ms, cap: 20ms }
    action: { post: /confirm, body: { no: "${input.no}" } }
"#;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) shop: Arc<Shop>,
    pub(crate) db: TestDb,
    pub(crate) engine: Engine,
    pub(crate) config: Config,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default(), DEFINITION).await
    }

    pub(crate) async fn with(config: Config, definition: &str) -> Self {
        let (shop, db) = (Shop::open().await, database().await);
        let mut tx = db.begin().await.unwrap();
        sqlx::query("create table event (type text not null, saga text not null)").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        let engine = engine(&shop, (*db).clone(), config.clone()).await;
        engine.upload(definition, BTreeMap::new(), "test").await.unwrap();
        Self { shop, db, engine, config }
    }

    /// A second owner on the same file, with connections of its own. The first is not asked.
    pub(crate) async fn second(&self) -> Engine {
        engine(&self.shop, self.db.reopen().await, again(&self.config)).await
    }

    /// Kills the orchestrator, and opens it again.
    pub(crate) async fn crash(&mut self) {
        self.engine.abort();
        self.engine = self.second().await;
    }

    pub(crate) async fn start(&self, key: &str) -> Accepted {
        self.engine.start(request(key)).await.unwrap()
    }

    pub(crate) async fn settled(&self, id: SagaId) -> Status {
        self.engine.wait(id, PATIENCE).await.unwrap().expect("the saga is known")
    }

    pub(crate) async fn run(&self, key: &str) -> (SagaId, Status) {
        let id = self.start(key).await.id;
        (id, self.settled(id).await)
    }

    /// Every effect once, or every effect taken back, and the saga's own event once.
    pub(crate) async fn check(&self, id: SagaId, status: Status) {
        let ledger = self.shop.ledger(id, &STEPS).await;
        match status {
            Status::Completed => assert_eq!(ledger, [(1, 0); 4], "completed: each effect stands once"),
            Status::Compensated => {
                let taken_back = ledger.iter().all(|(done, undone)| *done <= 1 && done == undone);
                assert!(taken_back, "compensated: nothing stands: {ledger:?}");
            }
            other => panic!("the saga is {other:?}"),
        }
        assert_eq!(self.events(id).await, [format!("saga.{}.v1", status.as_str())]);
    }

    pub(crate) async fn events(&self, id: SagaId) -> Vec<String> {
        sqlx::query_scalar("select type from event where saga = ? order by rowid")
            .bind(id.to_string())
            .fetch_all(self.db.readers())
            .await
            .unwrap()
    }

    /// What the journal says of the saga, line by line.
    pub(crate) async fn history(&self, id: SagaId) -> Vec<String> {
        let view = self.engine.show(id).await.unwrap().expect("the saga is known");
        view.context.audit_log.into_iter().map(|line| line.what).collect()
    }

    /// The order in which compensations were asked for, each once.
    pub(crate) fn undone_in_order(&self) -> Vec<String> {
        let mut order = Vec::new();
        for call in self.shop.arrived().into_iter().filter(|call| call.op == Op::Compensate) {
            if !order.contains(&call.step) {
                order.push(call.step);
            }
        }
        order
    }
}

/// The configuration of another start of the process.
pub(crate) fn again(config: &Config) -> Config {
    Config { node: Config::default().node, ..config.clone() }
}

async fn engine(shop: &Shop, db: Db, config: Config) -> Engine {
    open(shop, db, config, Keyring::new("test", [9; 32])).await
}

pub(crate) async fn open(shop: &Shop, db: Db, config: Config, keyring: Keyring) -> Engine {
    let journal = journal::Sqlite::open(db, Some(Arc::new(Events))).await.unwrap();
    let ports = Ports {
        journal: Arc::new(journal),
        participants: shop.participants(),
        permissions: Arc::new(AsAtStart),
        clock: Arc::new(SystemClock),
        keyring: Arc::new(keyring),
        election: None,
    };
    Engine::open(config, ports).await.unwrap()
}

pub(crate) fn request(key: &str) -> StartRequest {
    StartRequest {
        definition: "shop".to_owned(),
        version: None,
        principal: Principal::new("till-7", ["order.place", "payment.process"]),
        key: Some(key.to_owned()),
        input: input(key),
        traceparent: None,
    }
}

pub(crate) fn input(key: &str) -> Value {
    json!({"no": format!("n-{key}"), "card": "tok_secret"})
}

/// Keeps the sagas' own events in a table, in the transaction that it is given.
#[derive(Debug)]
struct Events;

#[async_trait]
impl EventSink<Sqlite> for Events {
    async fn append_many(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        events: &[NewEvent],
        _now: Timestamp,
    ) -> Result<(), BoxError> {
        for event in events {
            sqlx::query("insert into event (type, saga) values (?, ?)")
                .bind(&event.event_type)
                .bind(&event.aggregate_id)
                .execute(&mut **tx)
                .await?;
        }
        Ok(())
    }
}
