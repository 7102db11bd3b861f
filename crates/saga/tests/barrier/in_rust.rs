//! The wallet service once more, in Rust with `barrier::run`, as a process: the test binary starts itself with the one
//! test that serves.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use http::HeaderMap;
use secrecy::SecretString;
use serde_json::{Value, json};
use sqlx::{Postgres, Transaction};
use steadfast_core::{Clock, Op, Problem, problem};
use steadfast_db::postgres::{Db, Options};
use steadfast_saga::Error;
use steadfast_saga::barrier::{self, Answer, Route};
use steadfast_saga::participant::call::Call;
use steadfast_saga::participant::token::Key;
use steadfast_testkit::SystemClock;
use tokio::net::TcpListener;

pub(crate) fn command() -> Vec<String> {
    let own = std::env::current_exe().unwrap().display().to_string();
    let path = concat!(module_path!(), "::serve");
    let test = path.split_once("::").map_or(path, |(_, test)| test);
    // The port that is put last is of no use to the test harness, and no test has such a name.
    [&own, test, "--exact", "--ignored", "--nocapture", "--skip"].map(str::to_owned).into()
}

#[tokio::test]
#[ignore = "serves until it is killed"]
async fn serve() {
    let url = SecretString::from(std::env::var("DATABASE_URL").unwrap());
    let key = Key::new(std::env::var("SAGA_KEY").unwrap().as_bytes()).unwrap();
    let service = Arc::new((Db::open(&url, Options::default()).await.unwrap(), key));
    let router = Router::new()
        .route("/saga/charges", post(charge))
        .route("/saga/charges/cancel", post(give_back))
        .with_state(service);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nlistening on {}", listener.local_addr().unwrap());
    axum::serve(listener, router).await.unwrap();
}

type Service = State<Arc<(Db, Key)>>;
type Tx = Transaction<'static, Postgres>;

async fn charge(State(service): Service, headers: HeaderMap, body: Bytes) -> Response {
    answer(&service, &headers, &body, Op::Action).await.unwrap_or_else(|problem| problem_response(&problem))
}

async fn give_back(State(service): Service, headers: HeaderMap, body: Bytes) -> Response {
    answer(&service, &headers, &body, Op::Compensate).await.unwrap_or_else(|problem| problem_response(&problem))
}

fn problem_response(problem: &Problem) -> Response {
    http::Response::<Bytes>::from(Answer::problem(problem)).map(axum::body::Body::from).into_response()
}

async fn answer(service: &(Db, Key), headers: &HeaderMap, body: &Bytes, op: Op) -> Result<Response, Problem> {
    let now = SystemClock.now();
    let call = Call::from_headers(headers, &service.1, "wallet", "wallet.charge", now)?;
    if call.key.op != op {
        return Err(problem::FORBIDDEN.with("the call is for the other effect of the step"));
    }
    let answer = barrier::run(&service.0, &call, Route::Compensatable, body, now, |tx| {
        let (saga, step, body) = (call.key.saga.to_string(), call.key.step.clone(), body.clone());
        Box::pin(async move {
            match op {
                Op::Action => charged(tx, saga, step, &body).await,
                Op::Compensate => given_back(tx, saga, step).await,
            }
        })
    })
    .await
    .map_err(|error: Error| error.to_problem())?;
    Ok(http::Response::<Bytes>::from(answer).map(axum::body::Body::from).into_response())
}

fn refuse(detail: &str) -> Answer {
    Answer::problem(&problem::BUSINESS_REFUSAL.with(detail))
}

fn db(error: sqlx::Error) -> Error {
    Error::Db(error.into())
}

async fn charged(tx: &mut Tx, saga: String, step: String, body: &[u8]) -> Result<Answer, Error> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let (Some(wallet), Some(amount)) = (request["wallet"].as_str(), request["amount"].as_i64()) else {
        return Ok(refuse("the body must name wallet and amount"));
    };
    sqlx::query("insert into wallet_entry values ($1::uuid, $2, $3, $4)")
        .bind(saga)
        .bind(step)
        .bind(wallet)
        .bind(-amount)
        .execute(&mut **tx)
        .await
        .map_err(db)?;
    let done = sqlx::query("update wallet set balance = balance - $1 where id = $2 and balance >= $1")
        .bind(amount)
        .bind(wallet)
        .execute(&mut **tx)
        .await
        .map_err(db)?;
    if done.rows_affected() == 0 {
        return Ok(refuse("the wallet is not covered"));
    }
    Ok(Answer::json(201, &json!({ "charged": amount })))
}

async fn given_back(tx: &mut Tx, saga: String, step: String) -> Result<Answer, Error> {
    sqlx::query(
        "with entry as (
             insert into wallet_entry select saga, step, wallet, -amount from wallet_entry where saga = $1::uuid and step = $2
             returning wallet, amount
         )
         update wallet w set balance = balance + entry.amount from entry where w.id = entry.wallet",
    )
    .bind(saga)
    .bind(step)
    .execute(&mut **tx)
    .await
    .map_err(db)?;
    Ok(Answer::empty(204))
}
