//! The routes of users with their keys in Redis. Whatever is left there has a prefix of its own and expires within a day.

#[path = "../place.rs"]
mod place;
#[path = "../support.rs"]
#[expect(dead_code, reason = "sagas call here in the other suites")]
mod support;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use goodgo_order::{Keys, UPDATES};
use http::{Method, StatusCode};
use steadfast::core::Timestamp;
use steadfast_testkit::SeededClock;

pub(crate) use steadfast::db::Db;
pub(crate) use steadfast_testkit::{TestDb as Database, database};

/// Keys of one test.
fn keys() -> Keys {
    keys_at("redis://127.0.0.1:16399")
}

fn keys_at(urls: &str) -> Keys {
    let Ok(Keys::Redis { nodes, .. }) = urls.parse() else { panic!("{urls}") };
    Keys::Redis { nodes, prefix: format!("order:{:x}:", RandomState::new().hash_one(urls)) }
}

#[tokio::test]
async fn replicas_share_the_keys_of_a_cluster() {
    let keys = keys_at("redis://127.0.0.1:7001,redis://127.0.0.1:7002,redis://127.0.0.1:7003");
    let (orchestrator, first, _guard) = place::Orchestrator::serve_at(vec![], UPDATES, keys.clone()).await;
    let second = support::shop_at(orchestrator.base(), UPDATES, keys).await;
    let headers = [("idempotency-key", "k-1")];
    let place = async |shop: &support::Shop| {
        shop.user(Method::POST, "/v1/orders", &["order.place"], &headers, Some(place::order())).await
    };
    let answers = [place(&first).await, place(&second).await, place(&first).await];
    assert!(answers.iter().all(|it| it.status == StatusCode::ACCEPTED && it.body == answers[0].body), "{answers:?}");
    assert_eq!(answers.each_ref().map(support::Answered::replayed), [false, true, true]);
    assert_eq!(orchestrator.calls(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_the_start() {
    let db = database().await;
    let clock = Arc::new(SeededClock::new(Timestamp::from_millis(1)));
    let error = keys_at("redis://:secret@127.0.0.1:9").open(&*db, clock).await.unwrap_err();
    assert!(!format!("{error:?} {error}").contains("secret"), "{error:?}");
}
