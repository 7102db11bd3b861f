//! The participants: order, payment and inventory behind one listener, with their barrier in a database of their own, and
//! the faults that a test asks for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::json;
use steadfast_core::{Clock, Op, SagaId, problem};
use steadfast_db::{Db, migrate};
use steadfast_saga::barrier::{self, Answer, Route};
use steadfast_saga::participant::call::Call;
use steadfast_saga::participant::client::{ParticipantConfig, Participants};
use steadfast_saga::participant::token::Key;
use steadfast_testkit::{SystemClock, TestDb, database};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

/// What happens to one call instead of what should.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// The business says no, and the barrier keeps it.
    Refuse,
    /// The connection breaks before anything is done.
    Cut,
    /// The work is done and the connection breaks.
    LoseReply,
    /// The call waits at the gate before the work, and goes on when the gate opens, also without its caller.
    StopBefore,
    /// The same after the work, before the reply.
    StopAfter,
    /// This is answered, and nothing is done.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Bytes },
    /// The work is done, and this much is answered.
    Huge(usize),
}

impl Fault {
    /// An answer with nothing but a status.
    pub(crate) fn status(status: u16) -> Self {
        Self::Answer { status, headers: Vec::new(), body: Bytes::new() }
    }
}

/// A call as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) step: String,
    pub(crate) op: Op,
    pub(crate) attempt: u32,
}

#[derive(Debug)]
pub(crate) struct Shop {
    db: TestDb,
    address: String,
    faults: Mutex<VecDeque<(String, Op, Fault)>>,
    arrived: Mutex<Vec<Arrived>>,
    /// Of actions, with their step.
    bodies: Mutex<Vec<(String, Bytes)>>,
    /// Calls that a fault stopped wait here.
    gate: Semaphore,
    tasks: TaskTracker,
}

fn key() -> Key {
    Key::new(&[7; 32]).unwrap()
}

impl Shop {
    pub(crate) async fn open() -> Arc<Self> {
        let db = database().await;
        migrate(&*db, &barrier::LINE).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        sqlx::query("create table effect (saga text not null, step text not null, op text not null)")
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shop = Arc::new(Self {
            db,
            address: listener.local_addr().unwrap().to_string(),
            faults: Mutex::default(),
            arrived: Mutex::default(),
            bodies: Mutex::default(),
            gate: Semaphore::new(0),
            tasks: TaskTracker::new(),
        });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shop));
        shop.tasks.spawn(async move { axum::serve(listener, router).await });
        shop
    }

    pub(crate) fn participants(&self) -> Arc<Participants> {
        let names = ["order", "payment", "inventory"];
        let configs = names.map(|name| ParticipantConfig::new(name, format!("http://{}/{name}", self.address), key()));
        Arc::new(Participants::new(configs.into()).unwrap())
    }

    /// The next call of this step's effect meets this; several in the order in which they are asked for.
    pub(crate) fn fault(&self, step: &str, op: Op, fault: Fault) {
        self.faults.lock().unwrap().push_back((step.to_owned(), op, fault));
    }

    fn take_fault(&self, step: &str, op: Op) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let at = faults.iter().position(|(name, of, _)| name == step && *of == op)?;
        faults.remove(at).map(|(.., fault)| fault)
    }

    /// Faults that no call has met: a test that leaves some has not tested what it says.
    pub(crate) fn faults_left(&self) -> usize {
        self.faults.lock().unwrap().len()
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }

    /// What this step's action was asked with, each time.
    pub(crate) fn bodies(&self, step: &str) -> Vec<String> {
        let bodies = self.bodies.lock().unwrap();
        let of = bodies.iter().filter(|(name, _)| name == step);
        of.map(|(_, body)| String::from_utf8(body.to_vec()).unwrap()).collect()
    }

    /// How often this step's effect was asked for.
    pub(crate) fn asked(&self, step: &str, op: Op) -> usize {
        self.arrived().iter().filter(|call| call.step == step && call.op == op).count()
    }

    /// Lets every stopped call go on, now and later.
    pub(crate) fn open_gate(&self) {
        self.gate.add_permits(1_000);
    }

    pub(crate) async fn effects(&self, saga: SagaId, step: &str, op: Op) -> i64 {
        sqlx::query_scalar("select count(*) from effect where saga = ? and step = ? and op = ?")
            .bind(saga.to_string())
            .bind(step)
            .bind(op.as_str())
            .fetch_one(self.db.readers())
            .await
            .unwrap()
    }

    /// Of each step: how often its action and its compensation have taken effect.
    pub(crate) async fn ledger(&self, saga: SagaId, steps: &[&str]) -> Vec<(i64, i64)> {
        let mut ledger = Vec::new();
        for step in steps {
            ledger.push((self.effects(saga, step, Op::Action).await, self.effects(saga, step, Op::Compensate).await));
        }
        ledger
    }

    async fn answer(self: Arc<Self>, parts: http::request::Parts, body: Bytes) -> Response {
        let mut path = parts.uri.path().trim_start_matches('/').split('/');
        let (participant, step) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
        let op = if path.next() == Some("undo") { Op::Compensate } else { Op::Action };
        // Other routes than those of steps lead nowhere; a redirect that is followed would be seen here.
        if parts.method != Method::POST {
            self.arrived.lock().unwrap().push(Arrived { step: format!("{} {step}", parts.method), op, attempt: 0 });
            return StatusCode::NOT_FOUND.into_response();
        }
        if op == Op::Action {
            self.bodies.lock().unwrap().push((step.to_owned(), body.clone()));
        }
        let fault = self.take_fault(step, op);
        match &fault {
            Some(Fault::StopBefore) => {
                self.note(step, op, &parts.headers);
                drop(self.gate.acquire().await);
            }
            _ => self.note(step, op, &parts.headers),
        }
        if let Some(Fault::Answer { status, headers, body }) = fault {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            return response.body(Body::from(body)).unwrap();
        }
        if matches!(fault, Some(Fault::Cut)) {
            cut();
        }
        let refuse = matches!(fault, Some(Fault::Refuse));
        let response = match self.work(&parts.headers, participant, step, refuse, body).await {
            Ok(response) => response,
            Err(problem) => {
                let answer = Answer::problem(&problem);
                http::Response::<Bytes>::from(answer).map(Body::from)
            }
        };
        match fault {
            Some(Fault::LoseReply) => cut(),
            Some(Fault::StopAfter) => drop(self.gate.acquire().await),
            Some(Fault::Huge(bytes)) => return (StatusCode::OK, vec![b' '; bytes]).into_response(),
            _ => {}
        }
        response
    }

    fn note(&self, step: &str, op: Op, headers: &HeaderMap) {
        let attempt = headers.get("saga-attempt").and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
        self.arrived.lock().unwrap().push(Arrived { step: step.to_owned(), op, attempt });
    }

    async fn work(
        &self,
        headers: &HeaderMap,
        participant: &str,
        step: &str,
        refuse: bool,
        body: Bytes,
    ) -> Result<Response, steadfast_core::Problem> {
        let scope = if step == "pay" { "payment.process" } else { "order.place" };
        let now = SystemClock.now();
        let call = Call::from_headers(headers, &key(), participant, scope, now)?;
        let route = if step == "confirm" { Route::Retriable } else { Route::Compensatable };
        let db: &Db = &self.db;
        let row = (call.key.saga.to_string(), step.to_owned(), call.key.op);
        let answer = barrier::run(db, &call, route, &body, now, |tx| {
            let (saga, step, op) = row.clone();
            Box::pin(async move {
                if refuse {
                    return Ok(Answer::problem(&problem::BUSINESS_REFUSAL.with("not today")));
                }
                sqlx::query("insert into effect (saga, step, op) values (?, ?, ?)")
                    .bind(&saga)
                    .bind(&step)
                    .bind(op.as_str())
                    .execute(&mut **tx)
                    .await?;
                Ok::<_, steadfast_saga::Error>(Answer::json(200, &json!({"id": format!("{step}-1")})))
            })
        })
        .await
        .map_err(|error| problem::UNAVAILABLE.with(error.to_string()))?;
        Ok(http::Response::<Bytes>::from(answer).map(Body::from))
    }
}

/// The call goes on in a task of its own: a caller that has gone away does not stop it, as it does not stop a real service.
async fn serve(State(shop): State<Arc<Shop>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
    let task = shop.tasks.spawn(Arc::clone(&shop).answer(parts, body));
    match task.await {
        Ok(response) => response,
        Err(_) => cut(),
    }
}

/// Ends the connection's task, and so the connection, without a reply and without a word on stderr.
fn cut() -> ! {
    std::panic::resume_unwind(Box::new("cut"))
}

/// How long a test waits for what should come in milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
