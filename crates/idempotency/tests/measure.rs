//! How fast, beside the limit measured in the same run: `cargo test --release -p steadfast-idempotency --all-features
//! measure -- --ignored --nocapture --test-threads 1`.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, StatusCode, header};
use axum::Router;
use axum::routing::post as route;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use secrecy::SecretString;
use steadfast_idempotency::redis::{Options, Redis};
use steadfast_idempotency::{
    Answer, Claim, Decision, Error, Fingerprint, IdempotencyKey, IdempotencyLayer, Keyed, Memory, Outcome, Owner,
    Policy, RecordId, Report, Scope, Store, run,
};
use steadfast_testkit::{SystemClock, TestPostgres};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::servers::{self, Keys};
use crate::support::{authenticated, claim, postgres_database};

const ROUNDS: usize = 3;

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Runs `tasks` at once for a while, each with numbers of its own, and says how many rounds a second they made.
async fn rate<F, W>(tasks: u64, time: Duration, work: F) -> f64
where
    F: Fn(u64) -> W + Clone + Send + 'static,
    W: Future<Output = ()> + Send,
{
    let start = Instant::now();
    let mut all = JoinSet::new();
    for task in 0..tasks {
        let work = work.clone();
        all.spawn(async move {
            let mut rounds = 0_u32;
            while start.elapsed() < time {
                work(task << 40 | u64::from(rounds)).await;
                rounds += 1;
            }
            rounds
        });
    }
    let rounds: u32 = all.join_all().await.into_iter().sum();
    f64::from(rounds) / start.elapsed().as_secs_f64()
}

fn nth(number: u64) -> Claim {
    let mut token = [0; 16];
    token[..8].copy_from_slice(&number.to_be_bytes());
    Claim {
        id: RecordId::derive("s", "u", &number.to_string()),
        owner: Owner::from_bytes(token),
        ttl: Duration::from_mins(1),
        ..claim("", 0, "a", true)
    }
}

/// What redis-benchmark makes of SET, 50 clients, no pipeline.
fn redis_benchmark(port: &str) -> f64 {
    let output = Command::new("redis-benchmark")
        .args(["-p", port, "-t", "set", "-n", "100000", "-c", "50", "-d", "200", "-r", "100000", "--csv"])
        .output()
        .expect("redis-benchmark is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("\"SET\"")).expect("a line for SET");
    line.split(',').nth(1).unwrap().trim_matches('"').parse().unwrap()
}

async fn redis_checks(name: &str, store: Arc<dyn Store>, port: &str) {
    let time = Duration::from_secs(2);
    let done = nth(1 << 60);
    store.claim(&done).await.unwrap();
    let answer = Answer::new(StatusCode::CREATED).with_body(vec![b'x'; 200]);
    store.report(done.id, done.owner, Report::Complete(Arc::new(answer.clone())), done.ttl).await.unwrap();
    let [mut limit, mut claims, mut replays, mut both] = [const { Vec::new() }; 4];
    for round in 0..ROUNDS as u64 {
        limit.push(redis_benchmark(port));
        let claiming = Arc::clone(&store);
        claims.push(
            rate(50, time, move |number| {
                let store = Arc::clone(&claiming);
                async move {
                    let decision = store.claim(&nth(number << 3 | round)).await.unwrap();
                    assert!(matches!(decision, Decision::Execute { .. }));
                }
            })
            .await,
        );
        let replaying = Arc::clone(&store);
        replays.push(
            rate(50, time, move |_| {
                let (store, one) = (Arc::clone(&replaying), nth(1 << 60));
                async move { assert!(matches!(store.claim(&one).await.unwrap(), Decision::Replay(_))) }
            })
            .await,
        );
        let (completing, answer) = (Arc::clone(&store), Arc::new(answer.clone()));
        both.push(
            rate(50, time, move |number| {
                let (store, answer) = (Arc::clone(&completing), Arc::clone(&answer));
                async move {
                    let one = nth(number << 3 | (round + 4));
                    store.claim(&one).await.unwrap();
                    store.report(one.id, one.owner, Report::Complete(answer), one.ttl).await.unwrap();
                }
            })
            .await,
        );
    }
    let (limit, claims, replays, both) = (median(limit), median(claims), median(replays), median(both));
    println!(
        "{name}: {claims:.0} new claims/s, {replays:.0} replays/s, {both:.0} claims with completions/s; redis-benchmark SET {limit:.0}/s; ratio {:.2} and {:.2}",
        claims / limit,
        replays / limit
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn redis_check_beside_redis_benchmark() {
    // Without an append-only file on both sides: what is measured is the way there and back.
    let server = crate::own_servers::Server::start(&[]).await;
    let url = SecretString::from(server.url());
    for connections in [1, 2] {
        let options = Options { connections, timeout: Duration::from_secs(1), ..Options::default() };
        let store = Redis::open(&url, Arc::new(SystemClock), options).await.unwrap();
        redis_checks(&format!("redis, {connections} connection(s)"), Arc::new(store), &server.port.to_string()).await;
    }
    let prefix = servers::prefix();
    let _removed = Keys::new(servers::cluster_urls(), prefix.clone());
    let urls = servers::secrets(&servers::cluster_urls());
    let store = Redis::open_cluster(&urls, Arc::new(SystemClock), servers::options(&prefix)).await.unwrap();
    redis_checks("redis cluster", Arc::new(store), &server.port.to_string()).await;
}

/// A payment as a shop writes it: look at the account, charge it, write payment and event.
async fn pay(tx: &mut sqlx::Transaction<'static, sqlx::Postgres>, number: i64) -> Result<(), steadfast_db::Error> {
    let account = number & 0xffff;
    let _: i64 =
        sqlx::query_scalar("select version from account where id = $1").bind(account).fetch_one(&mut **tx).await?;
    sqlx::query("update account set version = version + 1, cents = cents - 1 where id = $1")
        .bind(account)
        .execute(&mut **tx)
        .await?;
    sqlx::query("insert into payment (number, what) values ($1, 'coffee')").bind(number).execute(&mut **tx).await?;
    sqlx::query("insert into event (payload) values ($1)").bind("x".repeat(200)).execute(&mut **tx).await?;
    Ok(())
}

async fn shop() -> TestPostgres {
    let db = postgres_database().await;
    sqlx::raw_sql(
        "create table account (id bigint primary key, version bigint not null, cents bigint not null);
        insert into account select id, 1, 0 from generate_series(0, 65535) as id;
        create table payment (id bigint generated always as identity primary key, number bigint, what text);
        create table event (id bigint generated always as identity primary key, payload text);
        analyze account;",
    )
    .execute(db.pool())
    .await
    .unwrap();
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn the_transactional_form_beside_the_bare_transaction() {
    let db = shop().await;
    let handle: steadfast_db::postgres::Db = db.clone();
    for tasks in [1, 8] {
        let (mut bare, mut kept) = (Vec::new(), Vec::new());
        for round in 0..5_u64 {
            let plain = handle.clone();
            bare.push(
                rate(tasks, Duration::from_secs(2), move |number| {
                    let db = plain.clone();
                    let number = i64::try_from(number).unwrap();
                    async move {
                        steadfast_db::tx::run(&db, &steadfast_db::tx::Policy::default(), |tx| {
                            Box::pin(pay(tx, number))
                        })
                        .await
                        .unwrap();
                    }
                })
                .await,
            );
            let (with, policy) = (handle.clone(), Arc::new(Policy::new(Arc::new(SystemClock))));
            kept.push(
                rate(tasks, Duration::from_secs(2), move |number| {
                    let (db, policy) = (with.clone(), Arc::clone(&policy));
                    let key = IdempotencyKey::new(&format!("{tasks}-{round}-{number}")).unwrap();
                    let keyed = Keyed::new(&Scope::new("pay"), "u", &key, Fingerprint::of_data(b"{}"));
                    let number = i64::try_from(number).unwrap();
                    async move {
                        let outcome = run(&db, &keyed, &policy, |tx| {
                            Box::pin(async move {
                                pay(tx, number).await?;
                                Ok::<_, Error>(Answer::new(StatusCode::CREATED).with_body("{\"payment\":1}"))
                            })
                        });
                        assert!(matches!(outcome.await.unwrap(), Outcome::Executed(_)));
                    }
                })
                .await,
            );
        }
        let (bare, kept) = (median(bare), median(kept));
        println!(
            "transactional PostgreSQL, {tasks} at once: {kept:.0}/s, bare transaction {bare:.0}/s, ratio {:.2}",
            kept / bare
        );
    }
}

/// A server on loopback and clients that keep their connection.
async fn echo(app: Router, tasks: u64) -> f64 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = JoinSet::new();
    server.spawn(async move { axum::serve(listener, app).await });
    let start = Instant::now();
    let mut all = JoinSet::new();
    for task in 0..tasks {
        all.spawn(async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            let mut driving = JoinSet::new();
            driving.spawn(connection);
            let mut rounds = 0_u32;
            while start.elapsed() < Duration::from_secs(2) {
                let request = Request::post("/orders")
                    .header(header::HOST, "shop")
                    .header("x-user", "u")
                    .header("idempotency-key", format!("{task}-{rounds}"))
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(Full::<axum::body::Bytes>::from("{\"item\":\"tea\",\"quantity\":1}"))
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                response.into_body().collect().await.unwrap();
                rounds += 1;
            }
            rounds
        });
    }
    let rounds: u32 = all.join_all().await.into_iter().sum();
    f64::from(rounds) / start.elapsed().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn the_layer_on_an_echo_beside_the_plain_service() {
    let server = crate::own_servers::Server::start(&[]).await;
    let url = SecretString::from(server.url());
    let redis: Arc<dyn Store> = Arc::new(Redis::open(&url, Arc::new(SystemClock), servers::options("")).await.unwrap());
    let echoing = || Router::new().route("/orders", route(async |body: axum::body::Bytes| body));
    let plain = || authenticated(echoing());
    let layered = |store: Arc<dyn Store>, scope: String| {
        authenticated(echoing().layer(IdempotencyLayer::new(store, Scope::new(&scope))))
    };
    for tasks in [1, 32] {
        let [mut bare, mut memory, mut over_redis] = [const { Vec::new() }; 3];
        for round in 0..ROUNDS {
            bare.push(echo(plain(), tasks).await);
            let store: Arc<dyn Store> = Arc::new(Memory::new(Arc::new(SystemClock)));
            memory.push(echo(layered(store, format!("{tasks}/{round}")), tasks).await);
            over_redis.push(echo(layered(Arc::clone(&redis), format!("{tasks}/{round}")), tasks).await);
        }
        let (bare, memory, over_redis) = (median(bare), median(memory), median(over_redis));
        println!(
            "echo, {tasks} at once: plain {bare:.0}/s, memory {memory:.0}/s ({:.2}), Redis {over_redis:.0}/s ({:.2})",
            memory / bare,
            over_redis / bare
        );
    }
}
