//! Sensitive input at rest: nothing of it stands in the database's files, and it is there when it is needed.

use std::collections::BTreeMap;

use serde_json::json;
use steadfast_core::sealing::Keyring;
use steadfast_core::{Op, SagaId};
use steadfast_saga::Error;
use steadfast_saga::engine::{Operation, StartRequest};
use steadfast_saga::machine::Status;
use steadfast_testkit::wait_for;

use crate::acts::parked;
use crate::admission::problem;
use crate::shop::{Fault, PATIENCE};
use crate::world::{DEFINITION, World, again, open, request};

const SECRET: &str = "tok_secret";

/// Whether a text stands in any file of the orchestrator's database, the log included.
fn on_disk(world: &World, text: &str) -> bool {
    let mut files = 0;
    let found = std::fs::read_dir(world.db.folder()).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        files += usize::from(!bytes.is_empty());
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    });
    assert!(files > 0, "there are files to be looked at");
    found
}

async fn wrapped_key(world: &World, id: SagaId) -> Option<String> {
    sqlx::query_scalar("select wrapped from saga_key where saga_no = (select no from saga where id = ?)")
        .bind(id.as_bytes().as_slice())
        .fetch_optional(world.db.readers())
        .await
        .unwrap()
}

async fn execute(world: &World, sql: &'static str, id: SagaId) {
    let mut tx = world.db.begin().await.unwrap();
    let changed = sqlx::query(sql).bind(id.as_bytes().as_slice()).execute(&mut *tx).await.unwrap();
    assert_eq!(changed.rows_affected(), 1, "{sql}");
    tx.commit().await.unwrap();
}

/// Stops at the payment, so that the card is still needed.
async fn stopped(world: &World, key: &str) -> SagaId {
    world.shop.fault("pay", Op::Action, Fault::StopBefore);
    let before = world.shop.asked("pay", Op::Action);
    let id = world.start(key).await.id;
    wait_for("the payment", PATIENCE, || async { world.shop.asked("pay", Op::Action) > before }).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_of_it_stands_in_any_file_and_the_participant_gets_it() {
    let world = World::new().await;
    world.shop.fault("confirm", Op::Action, Fault::status(503));
    let (id, status) = world.run("1").await;
    world.check(id, status).await;
    let bodies = world.shop.bodies("pay");
    assert!(bodies.iter().all(|body| body.contains(r#""card":"tok_secret""#)) && !bodies.is_empty(), "{bodies:?}");
    assert!(on_disk(&world, "n-1"), "what is not sensitive stands there as it is");
    assert!(!on_disk(&world, SECRET));
    world.db.checkpoint().await.unwrap();
    assert!(!on_disk(&world, SECRET));

    let view = serde_json::to_value(world.engine.show(id).await.unwrap().unwrap()).unwrap();
    let shown = view["context"]["encryptedData"].as_array().unwrap();
    assert_eq!((shown.len(), &shown[0]["path"]), (1, &json!("/card")));
    let sealed = shown[0]["sealed"].as_str().unwrap();
    assert_eq!(sealed.split('.').count(), 5, "a compact JWE");
    assert!(on_disk(&world, sealed));
    assert_eq!(view["context"]["input"], json!({"no": "n-1", "card": "(masked)"}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_the_participant_still_gets_it() {
    let mut world = World::new().await;
    let id = stopped(&world, "1").await;
    world.crash().await;
    let status = world.settled(id).await;
    assert_eq!(status, Status::Completed);
    world.check(id, status).await;
    let bodies = world.shop.bodies("pay");
    assert!(bodies.len() > 1 && bodies.iter().all(|body| *body == bodies[0]), "the same bytes at each attempt");
    assert!(bodies[0].contains(SECRET) && !on_disk(&world, SECRET));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_compared_with_what_was_sealed() {
    let mut world = World::new().await;
    let (id, _) = world.run("1").await;
    let other_card = || StartRequest { input: json!({"no": "n-1", "card": "tok_other"}), ..request("1") };
    let other_order = || StartRequest { input: json!({"no": "n-2", "card": SECRET}), ..request("1") };
    for _ in 0..2 {
        let again = world.start("1").await;
        assert_eq!((again.id, again.existing), (id, true));
        for changed in [other_card(), other_order()] {
            assert_eq!(problem(world.engine.start(changed).await).status, 422);
        }
        world.crash().await;
    }
    // What was shredded cannot be compared; the rest still is.
    assert!(world.engine.shred(id).await.unwrap());
    assert!(world.start("1").await.existing && world.engine.start(other_card()).await.unwrap().existing);
    assert_eq!(problem(world.engine.start(other_order()).await).status, 422);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shredded_key_leaves_no_copy_and_the_saga_is_still_shown() {
    let world = World::new().await;
    let (id, _) = world.run("1").await;
    let (other, _) = world.run("2").await;
    let (key, kept) = (wrapped_key(&world, id).await.unwrap(), wrapped_key(&world, other).await.unwrap());
    assert!(on_disk(&world, &key));
    assert!(world.engine.shred(id).await.unwrap());
    assert!(!on_disk(&world, &key), "also not in the log or in free space");
    assert!(on_disk(&world, &kept), "another saga's stays");
    assert!(!world.engine.shred(id).await.unwrap(), "a repeat finds none");
    let view = world.engine.show(id).await.unwrap().unwrap();
    assert_eq!((view.summary.status, &view.context.input["card"]), ("completed", &json!("(masked)")));
    assert!(view.context.encrypted_data[0].sealed.is_some(), "what can no longer be opened");
    assert_eq!(problem(world.engine.shred(SagaId::derive("a", "b", "c")).await).status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn among_many_keys_none_that_was_shredded_leaves_a_copy() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(world.start(&n.to_string()).await.id);
    }
    let mut keys = Vec::new();
    for id in ids {
        world.settled(id).await;
        keys.push((id, wrapped_key(&world, id).await.unwrap()));
    }
    for (id, _) in &keys[..40] {
        assert!(world.engine.shred(*id).await.unwrap());
    }
    for (n, (_, key)) in keys.iter().enumerate() {
        assert_eq!(on_disk(&world, key), n >= 40, "key {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_that_is_executing_keeps_its_key_and_one_that_is_parked_need_not() {
    let mut world = World::new().await;
    let id = stopped(&world, "1").await;
    let refused = problem(world.engine.shred(id).await);
    assert_eq!((refused.status, wrapped_key(&world, id).await.is_some()), (409, true));
    world.shop.open_gate();
    world.settled(id).await;

    let parked = parked(&world, "2").await;
    // An act that changes nothing takes it into memory.
    assert!(!world.engine.operate(parked, Operation::Cancel, "ops", "a look").await.unwrap().changed);
    assert!(world.engine.shred(parked).await.unwrap());
    for _ in 0..2 {
        let acted = world.engine.operate(parked, Operation::Retry, "ops", "again").await;
        assert!(matches!(acted, Err(Error::Corrupt(ref why)) if why.contains("shredded")), "{acted:?}");
        assert_eq!(world.engine.show(parked).await.unwrap().unwrap().summary.status, "failed");
        world.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_whose_sensitive_input_cannot_be_opened_delays_no_other() {
    let mut world = World::new().await;
    let mut ids = Vec::new();
    for key in ["whole", "changed", "moved", "keyless"] {
        ids.push(stopped(&world, key).await);
    }
    world.engine.abort();
    let [whole, changed, moved, keyless] = ids[..] else { panic!("four") };
    execute(
        &world,
        "update saga_payload set input = json_set(input, '$.card', replace(input ->> '$.card', '.', '.A'))
         where saga_no = (select no from saga where id = ?)",
        changed,
    )
    .await;
    execute(
        &world,
        "update saga_payload set input = json_set(input, '$.card', (select input ->> '$.card' from saga_payload limit 1))
         where saga_no = (select no from saga where id = ?)",
        moved,
    )
    .await;
    execute(&world, "delete from saga_key where saga_no = (select no from saga where id = ?)", keyless).await;
    let asked = world.shop.asked("pay", Op::Action);
    world.engine = world.second().await;
    assert_eq!(world.engine.in_flight(), 1);
    let status = world.settled(whole).await;
    assert_eq!(status, Status::Completed);
    world.check(whole, status).await;
    assert_eq!(world.shop.asked("pay", Op::Action), asked + 1, "nothing is sent for those that cannot be read");
    for id in [changed, moved, keyless] {
        let view = world.engine.show(id).await.unwrap().unwrap();
        assert_eq!((view.summary.status, &view.context.input["card"]), ("running", &json!("(masked)")));
    }
    for (key, id) in [("changed", changed), ("moved", moved)] {
        let again = world.engine.start(request(key)).await;
        assert!(matches!(again, Err(Error::Corrupt(_))), "{id}: {again:?}");
    }
    world.shop.open_gate();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_key_opens_what_it_sealed_and_without_it_sagas_rest() {
    let mut world = World::new().await;
    let id = stopped(&world, "1").await;
    world.engine.abort();
    let without = Keyring::new("next", [1; 32]);
    world.engine = open(&world.shop, world.db.reopen().await, again(&world.config), without.clone()).await;
    assert_eq!(world.engine.in_flight(), 0);
    assert_eq!(world.engine.show(id).await.unwrap().unwrap().summary.status, "running");
    world.engine.abort();
    let rotated = without.with_former("test", [9; 32]);
    world.engine = open(&world.shop, world.db.reopen().await, again(&world.config), rotated).await;
    assert_eq!(world.settled(id).await, Status::Completed);
    world.shop.open_gate();
}

/// As a database from before there was sealing: plain input, no key, and a context that says nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saga_from_before_there_was_sealing_goes_on() {
    let mut world = World::new().await;
    let id = stopped(&world, "1").await;
    world.engine.abort();
    execute(
        &world,
        "update saga_payload set input = json_set(input, '$.card', 'tok_old'), context = json_remove(context, '$.sealed')
         where saga_no = (select no from saga where id = ?)",
        id,
    )
    .await;
    execute(&world, "delete from saga_key where saga_no = (select no from saga where id = ?)", id).await;
    world.engine = world.second().await;
    world.shop.open_gate();
    assert_eq!(world.settled(id).await, Status::Completed);
    let view = world.engine.show(id).await.unwrap().unwrap();
    assert!(!serde_json::to_string(&view).unwrap().contains("tok_old"), "plain text is not shown as if it were sealed");
    assert_eq!(view.context.encrypted_data[0].sealed, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_business_key_does_not_see_it() {
    let world = World::new().await;
    let text =
        DEFINITION.replace("version: 1", "version: 2").replace("business_key: input.no", "business_key: input.card");
    world.engine.upload(&text, BTreeMap::new(), "test").await.unwrap();
    let (id, _) = world.run("1").await;
    assert_eq!(world.engine.show(id).await.unwrap().unwrap().summary.business_key, None);
    let text = text.replace("version: 2", "version: 3");
    let text = text.replace("business_key: input.card", "business_key: \"'card ' + input.card\"");
    world.engine.upload(&text, BTreeMap::new(), "test").await.unwrap();
    let refused = problem(world.engine.start(request("2")).await);
    assert_eq!(refused.status, 422);
    assert!(!String::from_utf8_lossy(&refused.to_json()).contains(SECRET));
    assert!(!on_disk(&world, SECRET));
}
