//! What goes wrong with one event is seen, and mended, from the command line or over HTTP.

use std::time::Duration;

use goodgo_pos::client::Request;
use serde_json::{Value, json};
use steadfast_host::auth::Minter;
use steadfast_testkit::{SystemClock, wait_for};

use super::world::{LIMIT, World};

const SECRET: &str = "a secret of the tests, thirty-two bytes or more";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_event_is_seen_mended_and_replayed_or_given_up() {
    let world = World::new().await;
    world.make_view().await;
    sqlx::query("alter table order_view add constraint small check (total < 1000)")
        .execute(world.read.pool())
        .await
        .unwrap();
    let (relay, projector) = (world.relay().await, world.projector().await);
    world.insert("o-1", "created", r#"{"total": 5000}"#).await;
    world.insert("o-1", "changed", r#"{"by": 1}"#).await;
    world.insert("o-2", "created", r#"{"total": 10}"#).await;
    world.insert("o-2", "changed", "{}").await;
    world.insert("o-2", "changed", r#"{"by": 5}"#).await;

    let at = world.read.url();
    let url = [("STEADFAST_DATABASE_URL", at.as_str())];
    let parked = async || world.run(&["projection", "parked", "list", "-o", "json"], &url).await.json();
    wait_for("four events are parked", LIMIT, || async { parked().await["parked"].as_array().unwrap().len() == 4 })
        .await;
    let ran = world.run(&["projection", "parked", "list"], &url).await;
    for part in [&format!("{} o-1", world.kind), "failed", "waiting", "small", "has no value in this event"] {
        assert!(ran.stdout.contains(part), "{part:?} in {}", ran.stdout);
    }
    let shown = world.run(&["projection", "parked", "show", &world.kind, "o-1", "-o", "json"], &url).await.json();
    assert_eq!((&shown["parked"][0]["sequence"], &shown["parked"][0]["poison"]), (&json!(1), &json!(true)));
    assert_eq!(shown["parked"].as_array().unwrap().len(), 2);
    assert!(!shown.to_string().contains("5000"), "what an event says is not shown: {shown}");

    // Mended and replayed.
    sqlx::query("alter table order_view drop constraint small").execute(world.read.pool()).await.unwrap();
    let ran = world.run(&["projection", "parked", "replay", &world.kind, "o-1"], &url).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    // Given up, with a record.
    let give = ["projection", "parked", "discard", &world.kind, "o-2", "--reason", "no amount was ever agreed"];
    assert_eq!(world.run(&give, &url).await.code, Some(0));
    wait_for("nothing is parked", LIMIT, || async { parked().await["parked"] == json!([]) }).await;
    assert_eq!(world.number("select total from order_view where order_id = 'o-1'").await, 5001);
    assert_eq!(world.number("select total from order_view where order_id = 'o-2'").await, 15);
    let skipped = world.run(&["projection", "skipped", "-o", "json"], &url).await.json();
    assert_eq!(skipped["skipped"][0]["reason"], "discarded");
    assert_eq!(skipped["skipped"][0]["detail"], "no amount was ever agreed");

    let again = world.run(&["projection", "parked", "replay", &world.kind, "o-1"], &url).await;
    again.assert_one_line(1, &["replay does not apply", "list the parked events"]);
    let nobody = world.run(&["projection", "parked", "show", &world.kind, "o-9"], &url).await;
    nobody.assert_one_line(1, &["o-9"]);
    relay.end().await;
    projector.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_kafka_refuses_is_a_dead_letter_until_it_is_replayed_or_given_up() {
    let world = World::new().await;
    let secret = world.file("auth.key", SECRET);
    let auth = format!(
        "[auth]\nissuer = \"tests\"\naudience = \"steadfast\"\n[[auth.keys]]\nkid = \"t\"\nalgorithm = \"hs256\"\n\
         secret = {{ file = \"{secret}\" }}\n"
    );
    let (config, port) = world.relay_config("", &auth).await;
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("[topics]\n", "[topics]\ncreate = false\n")).unwrap();
    let relay = world.launch(&["outbox", "relay"], &config, port);
    world.ready(&relay).await;
    world.insert("o-1", "created", r#"{"total": 1}"#).await;
    world.insert("o-2", "created", r#"{"total": 2}"#).await;

    let minter = Minter::new("t", SECRET.as_bytes(), "tests", "steadfast", std::sync::Arc::new(SystemClock)).unwrap();
    let mint = |rights: &[&str]| minter.mint("ann", rights.iter().copied(), Duration::from_hours(1));
    let (reader, operator) = (mint(&["outbox.read"]), mint(&["outbox.read", "outbox.operate"]));
    let list = async || -> Vec<Value> {
        let answer = world.ask(Request::get(&relay.base, "/v1/dead-letters").bearer(&reader)).await;
        answer.json::<Value>().unwrap()["dead_letters"].as_array().unwrap().clone()
    };
    wait_for("two dead letters", LIMIT, || async {
        let letters = list().await;
        letters.len() == 2 && letters.iter().all(|letter| letter["state"] == "dead")
    })
    .await;
    let letters = list().await;
    let id_of = |order: &str| {
        let letter = letters.iter().find(|letter| letter["aggregate_id"] == order).unwrap();
        letter["event_id"].as_str().unwrap().to_owned()
    };
    let (one, two) = (id_of("o-1"), id_of("o-2"));
    assert!(letters[0]["last_error"].as_str().unwrap().contains("does not exist"), "{letters:?}");
    assert_eq!((&letters[0]["attempts"], &letters[0]["database"]), (&json!(2), &json!("shop")));

    // Who may what.
    let again = |id: &str| Request::post(&relay.base, format!("/v1/dead-letters/{id}/replay"), &json!({}));
    assert_eq!(world.ask(again(&one)).await.status, 401);
    assert_eq!(world.ask(again(&one).bearer(&reader)).await.status, 403);
    assert_eq!(world.ask(again("0192f0c1-7a5e-7cc3-9d57-2f0a6b1e4c11").bearer(&operator)).await.status, 404);
    assert_eq!(world.ask(again("nonsense").bearer(&operator)).await.status, 400);
    let path = format!("/v1/dead-letters/{two}/discard");
    let bare = world.ask(Request::post(&relay.base, &path, &json!({"reason": " "})).bearer(&operator)).await;
    assert_eq!(bare.status, 400);

    // From the command line: seen and given up.
    let config_of = config.display().to_string();
    let of = ["--config", config_of.as_str()];
    let run = async |arguments: &[&str]| world.run(&[&["outbox", "dead-letter"], arguments, &of].concat(), &[]).await;
    let ids = run(&["list", "-o", "id"]).await.stdout;
    assert!(ids.contains(&one) && ids.contains(&two), "{ids}");
    assert_eq!(run(&["show", &one, "-o", "json"]).await.json()["state"], "dead");
    let ran = run(&["discard", &two, "--reason", "nobody waits for it"]).await;
    assert_eq!((ran.code, ran.stdout.contains("discarded in shop")), (Some(0), true), "{ran:#?}");
    run(&["show", &two]).await.assert_one_line(1, &[two.as_str(), "list the dead letters"]);
    let reason: String =
        sqlx::query_scalar("select reason from outbox_discarded").fetch_one(world.write.pool()).await.unwrap();
    assert_eq!(reason, "nobody waits for it");

    // Mended: another relay may make topics. Replayed over HTTP.
    relay.end().await;
    let (config, port) = world.relay_config("", &auth).await;
    let relay = world.launch(&["outbox", "relay"], &config, port);
    world.ready(&relay).await;
    let request = Request::post(&relay.base, format!("/v1/dead-letters/{one}/replay"), &json!({})).bearer(&operator);
    let answer = world.ask(request).await;
    assert_eq!(answer.status, 200, "{}", answer.detail());
    wait_for("the event is published", LIMIT, || async {
        let sql = "select count(*) from outbox where published_at is null";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(world.write.pool()).await.unwrap() == 0
    })
    .await;
    assert_eq!(relay.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_days_are_archived_by_the_schedule_and_by_the_command() {
    let world = World::new().await;
    let folder = world.folder.path().join("archive");
    std::fs::create_dir(&folder).unwrap();
    let archive = format!("[archive]\nfolder = \"{}\"\nkeep = \"12h\"\nevery = \"1s\"\n", folder.display());
    for day in [3, 2] {
        world.insert(&format!("o-{day}"), "created", r#"{"total": 1}"#).await;
        let make = format!(
            "do $$ begin execute format('create table outbox_%s partition of outbox for values from (%L) to (%L)',
             to_char((now() at time zone 'UTC')::date - {day}, 'YYYYMMDD'), (now() at time zone 'UTC')::date - {day}, (now() at time zone 'UTC')::date - {day} + 1); end $$"
        );
        sqlx::query(sqlx::AssertSqlSafe(make)).execute(world.write.pool()).await.unwrap();
        let age = format!("update outbox set day = day - {day}, published_at = now() where aggregate_id = 'o-{day}'");
        sqlx::query(sqlx::AssertSqlSafe(age)).execute(world.write.pool()).await.unwrap();
        let rows = async || -> i64 {
            sqlx::query_scalar("select count(*) from outbox").fetch_one(world.write.pool()).await.unwrap()
        };
        if day == 3 {
            let (config, port) = world.relay_config("", &archive).await;
            let relay = world.launch(&["outbox", "relay"], &config, port);
            wait_for("the day is gone", LIMIT, || async { rows().await == 0 }).await;
            assert_eq!(relay.end().await, Some(0));
        } else {
            let at = world.write.url();
            let into = folder.display().to_string();
            let arguments = ["outbox", "archive", "--older-than", "12h", "--into", &into, "-o", "json"];
            let done = world.run(&arguments, &[("STEADFAST_DATABASE_URL", at.as_str())]).await.json();
            assert_eq!(done["archived"][0]["events"], 1);
            assert_eq!(rows().await, 0);
        }
    }
    let files = |folder: &std::path::Path| std::fs::read_dir(folder).unwrap().count();
    // A day that somebody kept busy is written again by the next run.
    assert!(files(&folder) == 2 && files(&folder.join("shop")) >= 1);
}
