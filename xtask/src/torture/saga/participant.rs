//! A participant: a service with a database of its own and the barrier's SQL functions, as one in any language would use
//! them. Its ledger counts effects and has no key that could hide a second one.

use std::env;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use fastrand::Rng;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::super::token;

pub(super) const LISTEN: &str = "PARTICIPANT_LISTEN";
pub(super) const DATABASE: &str = "PARTICIPANT_DATABASE";
pub(super) const KEY: &str = "PARTICIPANT_KEY";
pub(super) const SEED: &str = "PARTICIPANT_SEED";
/// `true`, or `false` to prove that the checks see what a barrier prevents.
pub(super) const BARRIER: &str = "PARTICIPANT_BARRIER";
const PROBLEM: &str = "application/problem+json";

/// Serves until it is killed: `torture-participant NAME`, the rest from the environment.
pub(crate) async fn run(arguments: &[String]) -> Result<()> {
    let name = arguments.first().context("which participant is it?")?.clone();
    let variable = |name: &str| env::var(name).with_context(|| format!("{name} is not set"));
    let listen: SocketAddr = variable(LISTEN)?.parse().context(LISTEN)?;
    let options = PgPoolOptions::new().max_connections(24).acquire_timeout(Duration::from_secs(2));
    let pool = options.connect_lazy(&variable(DATABASE)?).context(DATABASE)?;
    let seed = variable(SEED)?.parse().context(SEED)?;
    let rng = Mutex::new(Rng::with_seed(seed));
    let has_barrier = variable(BARRIER)?.parse().context(BARRIER)?;
    let participant = Arc::new(Participant { name, key: variable(KEY)?.into_bytes(), pool, rng, has_barrier });
    let router = Router::new()
        .route("/effect", post(effect))
        .route("/readyz", get(|| async { StatusCode::NO_CONTENT }))
        .with_state(participant);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    axum::serve(listener, router).await.context("serving")
}

struct Participant {
    name: String,
    key: Vec<u8>,
    pool: PgPool,
    rng: Mutex<Rng>,
    has_barrier: bool,
}

/// What a participant does wrong by itself, beside what its network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whim {
    None,
    /// Takes its time between effect and commit: here a kill meets an effect half done, and a saga its node's end.
    Linger(Duration),
    /// Commits, and answers that it failed.
    Deny,
    /// Fails after the effect, before the commit.
    Abandon,
}

impl Whim {
    fn draw(rng: &mut Rng) -> Self {
        match rng.u32(..1_000) {
            0..200 => Self::Linger(Duration::from_millis(rng.u64(20..900))),
            200..210 => Self::Deny,
            210..220 => Self::Abandon,
            _ => Self::None,
        }
    }
}

/// A call, as its headers tell it.
struct Call {
    /// The header as it came: `{saga}:{step}:{op}`.
    key: String,
    step: String,
    is_action: bool,
    started: i64,
    knowledge: Option<String>,
}

impl Call {
    fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let key = text("idempotency-key")?.trim_matches('"').to_owned();
        let mut parts = key.splitn(3, ':').skip(1);
        let (step, op) = (parts.next()?.to_owned(), parts.next()?);
        let is_action = op == "action";
        let started = text("saga-started")?.parse().ok()?;
        Some(Self { is_action, step, started, knowledge: text("saga-action").map(str::to_owned), key })
    }
}

async fn effect(State(participant): State<Arc<Participant>>, headers: HeaderMap, body: Bytes) -> Response {
    let Some(call) = Call::of(&headers) else {
        participant.alarm("", "headers of the protocol are missing").await;
        return problem(StatusCode::UNAUTHORIZED, "unauthenticated", "headers of the protocol are missing");
    };
    if !participant.trusts(&call, &headers) {
        participant.alarm(&call.key, "the token is not for this call").await;
        return problem(StatusCode::UNAUTHORIZED, "unauthenticated", "the token is not for this call");
    }
    let whim = Whim::draw(&mut participant.rng.lock().unwrap_or_else(PoisonError::into_inner));
    match participant.handle(&call, &body, whim).await {
        Ok(response) if whim == Whim::Deny => {
            drop(response);
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal", "it failed, or so it says")
        }
        Ok(response) => response,
        Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &error.to_string()),
    }
}

impl Participant {
    fn trusts(&self, call: &Call, headers: &HeaderMap) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let claims = bearer.and_then(|text| token::verified(&self.key, text.strip_prefix("Bearer ")?));
        claims.is_some_and(|claims| {
            claims["aud"] == self.name.as_str()
                && claims["jti"] == call.key.as_str()
                && claims["act"] == super::load::USER
        })
    }

    /// Something that must not happen; the checks read it.
    async fn alarm(&self, key: &str, what: &str) {
        let alarm = sqlx::query(include_str!("sql/insert_alarm.sql")).bind(key).bind(what);
        drop(alarm.execute(&self.pool).await);
    }

    /// Enter, work, leave, in one transaction.
    async fn handle(&self, call: &Call, body: &Bytes, whim: Whim) -> Result<Response> {
        let asked: Value = serde_json::from_slice(body).context("a JSON body")?;
        if !self.has_barrier {
            return self.act_blindly(call, &asked).await;
        }
        let mut tx = self.pool.begin().await?;
        let entered = sqlx::query(include_str!("sql/enter_barrier.sql"))
            .bind(&call.key)
            .bind(call.started)
            .bind(&call.knowledge)
            .bind(digest(&SHA256, body).as_ref())
            .fetch_one(&mut *tx)
            .await?;
        let outcome: String = entered.get("outcome");
        if outcome != "run" {
            tx.commit().await?;
            if outcome == "altered" {
                self.alarm(&call.key, "another attempt sent another body").await;
            }
            return replay(&entered);
        }
        if call.is_action && asked["refuse"] == call.step.as_str() {
            let refusal = problem_body(StatusCode::CONFLICT, "business-refusal", "as the plan wants it").to_string();
            let refuse = sqlx::query(include_str!("sql/refuse_barrier.sql"));
            refuse.bind(&call.key).bind(409).bind(PROBLEM).bind(refusal.as_bytes()).execute(&mut *tx).await?;
            tx.commit().await?;
            let mut response = answer(StatusCode::CONFLICT, PROBLEM, refusal);
            // It is stored: it holds for every attempt, also for one still on its way.
            response.headers_mut().insert("saga-outcome", HeaderValue::from_static("refused"));
            return Ok(response);
        }
        sqlx::query(include_str!("sql/insert_effect.sql")).bind(&call.key).execute(&mut *tx).await?;
        match whim {
            Whim::Linger(time) => sleep(time).await,
            Whim::Abandon => anyhow::bail!("abandoned after the effect, before the commit"),
            Whim::None | Whim::Deny => {}
        }
        let done = self.done(call, &asked);
        let leave = sqlx::query(include_str!("sql/leave_barrier.sql"));
        leave.bind(&call.key).bind(200).bind("application/json").bind(done.as_bytes()).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(answer(StatusCode::OK, "application/json", done))
    }

    /// The effect at every call, as a service without a barrier would have it.
    async fn act_blindly(&self, call: &Call, asked: &Value) -> Result<Response> {
        if call.is_action && asked["refuse"] == call.step.as_str() {
            return Ok(problem(StatusCode::CONFLICT, "business-refusal", "as the plan wants it"));
        }
        sqlx::query(include_str!("sql/insert_effect.sql")).bind(&call.key).execute(&self.pool).await?;
        Ok(answer(StatusCode::OK, "application/json", self.done(call, asked)))
    }

    /// The answer of the work: a receipt, which a mute step lacks.
    fn done(&self, call: &Call, asked: &Value) -> String {
        let is_mute = asked["mute"] == call.step.as_str();
        let done = if is_mute { json!({}) } else { json!({ "receipt": format!("{}/{}", self.name, call.key) }) };
        done.to_string()
    }
}

/// What the barrier says instead of the work.
fn replay(entered: &sqlx::postgres::PgRow) -> Result<Response> {
    let status: i32 = entered.get("status");
    let body: Option<Vec<u8>> = entered.get("body");
    let headers: Option<String> = entered.get("headers");
    let headers: Value = serde_json::from_str(headers.as_deref().unwrap_or("{}")).context("the barrier's headers")?;
    let mut response = body.unwrap_or_default().into_response();
    *response.status_mut() = StatusCode::from_u16(u16::try_from(status)?)?;
    response.headers_mut().remove(header::CONTENT_TYPE);
    for (name, value) in headers.as_object().into_iter().flatten() {
        let name: HeaderName = name.parse()?;
        response.headers_mut().insert(name, HeaderValue::from_str(value.as_str().unwrap_or_default())?);
    }
    Ok(response)
}

fn problem_body(status: StatusCode, code: &str, detail: &str) -> Value {
    let kind = format!("https://steadfast.dev/problems/{code}");
    json!({ "type": kind, "title": code, "status": status.as_u16(), "detail": detail })
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    answer(status, PROBLEM, problem_body(status, code, detail).to_string())
}

fn answer(status: StatusCode, content_type: &'static str, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}
