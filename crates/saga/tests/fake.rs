//! Participants for the simulation: one listener for all seeds, the barrier in memory, and a network that loses requests and
//! replies as the seed says. A call goes on although its caller has gone away.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Request, StatusCode};
use serde_json::json;
use steadfast_core::{Op, SagaId};
use steadfast_saga::participant::client::{ParticipantConfig, Participants};
use steadfast_saga::participant::token::Key;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// How often things go wrong, of a thousand calls.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    /// The request is lost.
    pub(crate) lost: u32,
    /// The work is done and the reply is lost.
    pub(crate) unheard: u32,
    /// The business refuses an action, for this saga and step at every attempt.
    pub(crate) refused: u32,
    /// The call takes up to this many milliseconds.
    pub(crate) delay: u64,
}

/// What has taken effect.
#[derive(Debug, Default)]
struct World {
    /// Of (saga, step, op): the status that the barrier replays.
    rows: HashMap<(SagaId, String, Op), Row>,
    effects: HashMap<(SagaId, String, Op), u32>,
    seeds: HashMap<SagaId, (u64, Rates)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Row {
    Done,
    Refused,
    Void,
}

#[derive(Debug)]
pub(crate) struct Fake {
    address: String,
    world: Mutex<World>,
    calls: AtomicU64,
    tasks: TaskTracker,
}

impl Fake {
    pub(crate) async fn open() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (world, calls, tasks) = (Mutex::default(), AtomicU64::new(0), TaskTracker::new());
        let fake = Arc::new(Self { address, world, calls, tasks });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&fake));
        fake.tasks.spawn(async move { axum::serve(listener, router).await });
        fake
    }

    /// One participant for each name.
    pub(crate) fn participants(&self, names: &[&str]) -> Arc<Participants> {
        let key = Key::new(&[7; 32]).unwrap();
        let config = |name: &&str| ParticipantConfig::new(*name, format!("http://{}", self.address), key.clone());
        Arc::new(Participants::new(names.iter().map(config).collect()).unwrap())
    }

    /// What may go wrong with the calls of this saga.
    pub(crate) fn expect(&self, saga: SagaId, seed: u64, rates: Rates) {
        self.world.lock().unwrap().seeds.insert(saga, (seed, rates));
    }

    /// Nothing goes wrong from here on but what the business refuses.
    pub(crate) fn heal(&self, saga: SagaId) {
        if let Some((_, rates)) = self.world.lock().unwrap().seeds.get_mut(&saga) {
            *rates = Rates { refused: rates.refused, ..Rates::default() };
        }
    }

    /// How often the step's action and its compensation have taken effect.
    pub(crate) fn effects(&self, saga: SagaId, step: &str) -> (u32, u32) {
        let world = self.world.lock().unwrap();
        let count = |op| world.effects.get(&(saga, step.to_owned(), op)).copied().unwrap_or(0);
        (count(Op::Action), count(Op::Compensate))
    }

    async fn answer(self: Arc<Self>, parts: http::request::Parts) -> Response {
        let Some((saga, step, op)) = identify(&parts.headers) else { return StatusCode::BAD_REQUEST.into_response() };
        let known = parts.headers.get("saga-action").and_then(|value| value.to_str().ok()) == Some("done");
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (seed, rates) = self.world.lock().unwrap().seeds.get(&saga).copied().unwrap_or_default();
        let mut random = fastrand::Rng::with_seed(seed ^ call.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        if rates.delay > 0 {
            tokio::time::sleep(Duration::from_millis(random.u64(..=rates.delay))).await;
        }
        if random.u32(..1_000) < rates.lost {
            cut();
        }
        let answer = self.enter(saga, &step, op, known, refuses(seed, &step, rates));
        if rates.delay > 0 && random.bool() {
            tokio::time::sleep(Duration::from_millis(random.u64(..=rates.delay))).await;
        }
        if random.u32(..1_000) < rates.unheard {
            cut();
        }
        answer
    }

    /// The barrier, as the design has it; the lock is its lock.
    fn enter(&self, saga: SagaId, step: &str, op: Op, known: bool, refuses: bool) -> Response {
        let mut world = self.world.lock().unwrap();
        let place = |op| (saga, step.to_owned(), op);
        if let Some(row) = world.rows.get(&place(op)) {
            return replay(*row);
        }
        if op == Op::Compensate {
            match world.rows.get(&place(Op::Action)) {
                Some(Row::Done) => {}
                Some(Row::Refused | Row::Void) => return done(step),
                None if known => return problem(409, "action-not-found", None),
                None => {
                    world.rows.insert(place(Op::Action), Row::Void);
                    return done(step);
                }
            }
        } else if refuses {
            world.rows.insert(place(op), Row::Refused);
            return replay(Row::Refused);
        }
        world.rows.insert(place(op), Row::Done);
        *world.effects.entry(place(op)).or_default() += 1;
        done(step)
    }
}

/// Only steps that may be refused; the same at every attempt.
fn refuses(seed: u64, step: &str, rates: Rates) -> bool {
    let letters = step.bytes().fold(seed, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    !step.starts_with("end") && fastrand::Rng::with_seed(letters).u32(..1_000) < rates.refused
}

fn identify(headers: &HeaderMap) -> Option<(SagaId, String, Op)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let op =
        if text("idempotency-key")?.trim_matches('"').ends_with(":compensate") { Op::Compensate } else { Op::Action };
    Some((text("saga-id")?.parse().ok()?, text("saga-step")?.to_owned(), op))
}

fn done(step: &str) -> Response {
    let body = json!({"id": format!("{step}-1")}).to_string();
    Response::builder().header("content-type", "application/json").body(Body::from(body)).unwrap()
}

fn replay(row: Row) -> Response {
    match row {
        Row::Done => done("replayed"),
        Row::Refused => problem(422, "refused", Some("refused")),
        Row::Void => problem(409, "voided", Some("refused")),
    }
}

fn problem(status: u16, code: &str, outcome: Option<&str>) -> Response {
    let body = json!({"type": format!("https://steadfast.dev/problems/{code}"), "status": status, "detail": code});
    let mut response = Response::builder().status(status).header("content-type", "application/problem+json");
    if let Some(outcome) = outcome {
        response = response.header("saga-outcome", outcome);
    }
    response.body(Body::from(body.to_string())).unwrap()
}

async fn serve(State(fake): State<Arc<Fake>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    drop(axum::body::to_bytes(body, 1 << 20).await);
    let task = fake.tasks.spawn(Arc::clone(&fake).answer(parts));
    match task.await {
        Ok(response) => response,
        Err(_) => cut(),
    }
}

/// Ends the connection's task, and so the connection, without a reply and without a word on stderr.
fn cut() -> ! {
    std::panic::resume_unwind(Box::new("cut"))
}
