//! What the barrier costs beside the bare transaction.

use std::sync::Arc;

use secrecy::SecretString;
use steadfast_db::postgres::{Db, Options};

use super::postgres::OnPostgres;
use super::*;

/// What the barrier costs beside the bare transaction, at 16 clients: `cargo test --release -p steadfast-saga --all-features
/// barrier::tests::measure -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures for half a minute"]
async fn measure() {
    for round in 1..=3 {
        let bare = rate(|ground, call| {
            Box::pin(async move {
                let mut tx = ground.db().begin().await.unwrap();
                work::<OnPostgres>(&call, ok())(&mut tx).await.unwrap();
                tx.commit().await.unwrap();
            })
        })
        .await;
        let barrier = rate(|ground, call| {
            Box::pin(async move {
                let work = work::<OnPostgres>(&call, ok());
                let answer = run(ground.db(), &call, Route::Compensatable, BODY, NOW, work).await.unwrap();
                assert_eq!(answer.status(), 201);
            })
        })
        .await;
        let marked = rate(|ground, call| {
            Box::pin(async move {
                let mut tx = ground.db().begin().await.unwrap();
                let Entered::Run(pass) = enter(&mut tx, &call, BODY, NOW).await.unwrap() else { panic!("must run") };
                work::<OnPostgres>(&call, ok())(&mut tx).await.unwrap();
                pass.record(&mut tx, &ok(), NOW).await.unwrap();
                tx.commit().await.unwrap();
            })
        })
        .await;
        println!(
            "round {round}: bare {bare}/s, barrier {barrier}/s ({:.2}), with a savepoint {marked}/s ({:.2})",
            f64::from(barrier) / f64::from(bare),
            f64::from(marked) / f64::from(bare)
        );
    }
}

type Made = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn rate(made: fn(Arc<OnPostgres>, Call) -> Made) -> u32 {
    const CLIENTS: u32 = 16;
    const SECONDS: u32 = 3;
    let mut ground = <OnPostgres as Ground>::open().await;
    let url = SecretString::from(ground.url());
    let db = Db::open(&url, Options { connections: CLIENTS, ..Options::default() }).await.unwrap();
    ground.widen(db);
    let ground = Arc::new(ground);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(SECONDS.into());
    let mut set = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        let ground = Arc::clone(&ground);
        set.spawn(async move {
            let mut done = 0;
            while tokio::time::Instant::now() < deadline {
                made(Arc::clone(&ground), action(&format!("{client} {done}"))).await;
                done += 1;
            }
            done
        });
    }
    set.join_all().await.iter().sum::<u32>() / SECONDS
}
