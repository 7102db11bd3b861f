//! GoodGo's three services and a journal, each in a PostgreSQL database of its own.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use goodgo_inventory::OpeningStock;
use serde_json::json;
use steadfast_core::sealing::Keyring;
use steadfast_core::{Classified, Clock, ErrorKind, Principal, SagaId};
use steadfast_db::migrate;
use steadfast_db::postgres::Db;
use steadfast_host::auth::{Key, Verifier};
use steadfast_host::clock::System;
use steadfast_host::serve;
use steadfast_idempotency::Memory;
use steadfast_locking::{EtagKey, Etags, Quota};
use steadfast_outbox::Hint;
use steadfast_saga::engine::{AsAtStart, Config, Engine, Ports, StartRequest};
use steadfast_saga::journal::{self, Journal};
use steadfast_saga::machine::Status;
use steadfast_saga::participant::client::{ParticipantConfig, Participants};
use steadfast_saga::participant::token;
use steadfast_testkit::TestPostgres;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::super::super::super::embedded::{PLACE_ORDER, schemas};
use super::points::{Mortal, Points, called};

const SECRET: [u8; 32] = [9; 32];
const UPDATES: Quota = Quota { name: "updates", burst: 1_000_000, window: Duration::from_mins(1) };
/// Longer than any saga here takes, deaths included.
const LIMIT: Duration = Duration::from_secs(30);

/// How an order ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Card {
    /// All steps are done.
    Good,
    /// It is charged, and then there is no stock.
    GoodForNoStock,
}

/// What is left of a saga in the services' databases.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    status: &'static str,
    order: Option<String>,
    /// Amount less what was refunded.
    paid: Option<i64>,
    reservation: Option<String>,
}

impl End {
    pub(super) fn is_consistent(&self, card: Card) -> bool {
        let (order, reservation) = (self.order.as_deref(), self.reservation.as_deref());
        match (card, self.status) {
            (Card::Good, "completed") => {
                order == Some("confirmed") && self.paid == Some(2_550) && reservation == Some("committed")
            }
            // A death before the commit point may turn a saga back whose step had an unknown outcome.
            (_, "compensated") => {
                !matches!(order, Some("created" | "confirmed"))
                    && self.paid.unwrap_or(0) == 0
                    && !matches!(reservation, Some("reserved" | "committed"))
            }
            _ => false,
        }
    }
}

#[derive(Debug)]
pub(super) struct World {
    order: TestPostgres,
    payment: TestPostgres,
    inventory: TestPostgres,
    orchestrator: TestPostgres,
    journal: Arc<dyn Journal>,
    participants: Arc<Participants>,
    /// The points of the saga that is tried now.
    present: Arc<Mutex<Option<Arc<Points>>>>,
    count: Mutex<u64>,
    _read_model: TestPostgres,
    _stop: DropGuard,
}

impl World {
    pub(super) async fn new() -> Self {
        let database = steadfast_testkit::postgres;
        let (order, payment, inventory, orchestrator, read_model) =
            tokio::join!(database(), database(), database(), database(), database());
        migrate(&*orchestrator, &journal::LINE).await.unwrap();
        let journal: Arc<dyn Journal> =
            Arc::new(journal::Postgres::open(Db::clone(&orchestrator), false).await.unwrap());
        let clock: Arc<dyn Clock> = Arc::new(System);
        let verifier = || Verifier::new("t", "t", [Key::hs256("t", &SECRET).unwrap()], Arc::clone(&clock)).unwrap();
        let call_key = || token::Key::new(&SECRET).unwrap();
        let ordering = goodgo_order::Config {
            call_key: call_key(),
            verifier: verifier(),
            clock: Arc::clone(&clock),
            hint: Hint::new(),
            updates: UPDATES,
            orchestrator: "http://127.0.0.1:9".to_owned(),
            keys: Arc::new(Memory::new(Arc::clone(&clock))),
            read_model: Db::clone(&read_model),
        };
        let paying = goodgo_payment::Config {
            call_key: call_key(),
            verifier: verifier(),
            clock: Arc::clone(&clock),
            hint: Hint::new(),
            updates: UPDATES,
        };
        let stocking = goodgo_inventory::Config {
            call_key: call_key(),
            verifier: verifier(),
            clock: Arc::clone(&clock),
            hint: Hint::new(),
            etags: Etags::new(EtagKey::new("t", &SECRET).unwrap()),
            updates: UPDATES,
        };
        let orders = goodgo_order::Service::open(Db::clone(&order), ordering).await.unwrap();
        let payments = goodgo_payment::Service::open(Db::clone(&payment), paying).await.unwrap();
        let stock = goodgo_inventory::Service::open(Db::clone(&inventory), stocking).await.unwrap();
        let opening = |product: &str, quantity| OpeningStock {
            product: product.to_owned(),
            description: String::new(),
            price: 2_550,
            quantity,
        };
        stock.stock_up(&[opening("LAMP", 1_000_000), opening("NONE", 0)]).await.unwrap();

        let stop = CancellationToken::new();
        let present: Arc<Mutex<Option<Arc<Points>>>> = Arc::default();
        let mut configs = Vec::new();
        for (name, router) in
            [("order", orders.router()), ("payment", payments.router()), ("inventory", stock.router())]
        {
            let router = router.layer(from_fn_with_state(Arc::clone(&present), at_present));
            let base = format!("http://{}", listen(router, &stop).await);
            configs.push(ParticipantConfig::new(name, base, call_key()));
        }
        let participants = Arc::new(Participants::new(configs).unwrap());
        Self {
            order,
            payment,
            inventory,
            orchestrator,
            journal,
            participants,
            present,
            count: Mutex::default(),
            _read_model: read_model,
            _stop: stop.drop_guard(),
        }
    }

    /// One order from its start to its end, by as many orchestrators as it takes.
    pub(super) async fn run(&self, card: Card, points: &Arc<Points>) -> End {
        *self.present.lock().unwrap() = Some(Arc::clone(points));
        let number = {
            let mut count = self.count.lock().unwrap();
            *count += 1;
            *count
        };
        let request = request(number, card);
        let id = SagaId::derive("ann", "place_order", request.key.as_deref().unwrap());
        let status = tokio::time::timeout(LIMIT, self.live(&request, id, points)).await;
        let status = status.unwrap_or_else(|_| panic!("{id} does not end: {:#?}", points.names()));
        let order_id = request.input["order_id"].as_str().unwrap();
        End {
            status: status.as_str(),
            order: text(&self.order, "select status from orders where id = $1::uuid", order_id).await,
            paid: sqlx::query_scalar("select amount - refunded from payment where order_id = $1::uuid")
                .bind(order_id)
                .fetch_optional(self.payment.pool())
                .await
                .unwrap(),
            reservation: text(&self.inventory, "select status from reservation where order_id = $1::uuid", order_id)
                .await,
        }
    }

    async fn live(&self, request: &StartRequest, id: SagaId, points: &Arc<Points>) -> Status {
        loop {
            let life = points.begin();
            let mortal = Mortal { journal: Arc::clone(&self.journal), points: Arc::clone(points), life };
            let ports = Ports {
                journal: Arc::new(mortal),
                participants: Arc::clone(&self.participants),
                permissions: Arc::new(AsAtStart),
                clock: Arc::new(System),
                keyring: Arc::new(Keyring::new("t", SECRET)),
                election: None,
            };
            let config = Config { tick: Duration::from_millis(10), ..Config::default() };
            let engine = tokio::select! {
                () = points.death() => None,
                engine = Engine::open(config, ports) => Some(engine.unwrap()),
            };
            if let Some(engine) = engine {
                engine.upload(PLACE_ORDER, schemas().unwrap(), "goodgo").await.unwrap();
                let ended = tokio::select! {
                    () = points.death() => None,
                    status = end(&engine, request, id) => Some(status),
                };
                if let Some(status) = ended {
                    engine.drain().await;
                    return status;
                }
                engine.abort();
            }
            points.bury(&*self.journal).await;
        }
    }

    /// What holds when nothing runs any more.
    pub(super) async fn is_whole(&self) {
        for (db, sql) in [
            (&self.inventory, "select count(*) from stock where reserved <> 0"),
            (&self.orchestrator, "select count(*) from saga where lane is not null"),
            (
                &self.orchestrator,
                "select count(*) from saga_journal a join saga_journal b
                 on a.saga_no = b.saga_no and b.seq > a.seq and b.epoch < a.epoch",
            ),
        ] {
            let found: i64 = sqlx::query_scalar(sql).fetch_one(db.pool()).await.unwrap();
            assert_eq!(found, 0, "{sql}");
        }
        for db in [&self.order, &self.payment, &self.inventory] {
            assert_eq!(steadfast_outbox::Outbox::from(Db::clone(db)).verify().await.unwrap(), []);
        }
    }
}

/// As a client does it: the same start again until it is answered, then waiting.
async fn end(engine: &Engine, request: &StartRequest, id: SagaId) -> Status {
    while let Err(error) = engine.start(request.clone()).await {
        // One that is being killed, or is taking the saga over, says: again later.
        assert_eq!(error.kind(), ErrorKind::Transient, "{error:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    loop {
        match engine.wait(id, Duration::from_secs(5)).await.unwrap() {
            Some(status) if status.is_settled() || status.is_parked() => return status,
            _ => {}
        }
    }
}

fn request(number: u64, card: Card) -> StartRequest {
    let product = if card == Card::Good { "LAMP" } else { "NONE" };
    let line = json!({"product": product, "description": "lamp", "quantity": 1, "unit_price": 2550, "stocked": true});
    let order_id = format!("00000000-0000-8000-8000-{number:012x}");
    StartRequest {
        definition: "place_order".to_owned(),
        version: None,
        principal: Principal::new("ann", ["order.place", "payment.process"]),
        key: Some(format!("k-{number}")),
        input: json!({
            "order_id": order_id, "order_no": format!("{number}"), "customer": "17850",
            "placed_at": "2010-12-01T08:26:00Z", "lines": [line], "stock": [{"product": product, "quantity": 1}],
            "total": 2550, "currency": "GBP", "card": "tok_visa",
        }),
        traceparent: None,
    }
}

async fn text(db: &Db, sql: &'static str, id: &str) -> Option<String> {
    sqlx::query_scalar(sql).bind(id).fetch_optional(db.pool()).await.unwrap()
}

async fn at_present(State(present): State<Arc<Mutex<Option<Arc<Points>>>>>, request: Request, next: Next) -> Response {
    let points = present.lock().unwrap().clone();
    match points {
        Some(points) => called(State(points), request, next).await,
        None => next.run(request).await,
    }
}

async fn listen(router: Router, stop: &CancellationToken) -> SocketAddr {
    let listener = serve::bind("127.0.0.1:0", "test").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = serve::serve(listener, router, serve::Limits::default(), stop.clone());
    TaskTracker::new().spawn(serving);
    address
}
