//! From rows that a service writes with plain SQL to its read model, through the binary's own relay and projector, on real
//! servers. Seconds each, since processes are killed and groups take time to agree.

mod operate;
mod world;
mod wrong;

use std::time::Duration;

use serde_json::Value;
use steadfast_testkit::wait_for;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use world::{LIMIT, World, free_port};

const ORDERS: i64 = 20;
const CHANGES: i64 = 30;

/// As services write: several at once, each order's changes one after the other.
async fn write(world: &World, changes: std::ops::Range<i64>) {
    let orders = (0..ORDERS).map(|order| {
        let changes = changes.clone();
        async move {
            let id = format!("o-{order}");
            for change in changes {
                if change == 0 {
                    world.insert(&id, "created", r#"{"total": 100}"#).await;
                }
                world.insert(&id, "changed", &format!(r#"{{"by": {}}}"#, change + 1)).await;
            }
        }
    });
    futures_util::future::join_all(orders).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_plain_sql_reach_the_read_model_once_although_both_processes_are_killed() {
    let world = World::new().await;
    world.make_view().await;
    let (relay, projector) = (world.relay().await, world.projector().await);
    let killing = async {
        world.applied(ORDERS).await;
        relay.kill().await;
        let relay = world.relay().await;
        world.applied(ORDERS * CHANGES / 3).await;
        projector.kill().await;
        // Two more: the work is shared, and one hands over and leaves.
        let (first, second) = (world.projector().await, world.projector().await);
        world.applied(ORDERS * CHANGES / 2).await;
        assert_eq!(first.end().await, Some(0));
        (relay, second)
    };
    let writing = async {
        write(&world, 0..CHANGES / 2).await;
        write(&world, CHANGES / 2..CHANGES).await;
    };
    let ((relay, projector), ()) = tokio::join!(killing, writing);
    world.applied(ORDERS * CHANGES).await;

    // Each once: `seen` would refuse a second time, and that would be parked.
    assert_eq!(world.number("select count(*) from seen").await, ORDERS * CHANGES);
    assert_eq!(world.number("select count(*) from order_view").await, ORDERS);
    assert_eq!(
        world.number("select sum(total)::bigint from order_view").await,
        ORDERS * (100 + CHANGES * (CHANGES + 1) / 2)
    );
    assert_eq!(world.number("select count(*) from parked_event").await, 0);
    assert_eq!(world.number("select count(*) from skipped_event").await, 0);
    let at = world.write.url();
    let url = [("STEADFAST_DATABASE_URL", at.as_str())];
    assert_eq!(world.run(&["outbox", "verify"], &url).await.code, Some(0));
    wait_for("every row is marked", LIMIT, || async {
        let status = world.run(&["outbox", "status", "-o", "json"], &url).await.json();
        status["outboxes"][0]["oldest_waiting"].is_null()
    })
    .await;

    for (role, metrics) in [
        (&relay, ["outbox_published_total{source=\"shop\"}", "outbox_processing_lag_seconds{source=\"shop\""]),
        (
            &projector,
            ["projection_events_total{projection=\"orders\"", "projection_lag_seconds{projection=\"orders\"}"],
        ),
    ] {
        let text = world.get(role, "/metrics").await.expect("it answers");
        let text = String::from_utf8(text.body.to_vec()).unwrap();
        for metric in metrics {
            assert!(text.contains(metric), "{metric} in {text}");
        }
        assert_eq!(world.get(role, "/healthz").await.unwrap().status, 200);
    }
    assert_eq!(relay.end().await, Some(0));
    assert_eq!(projector.end().await, Some(0));
}

/// A way to the database that can be shut.
struct Door {
    port: u16,
    passing: JoinSet<()>,
}

impl Door {
    async fn open(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        let server = steadfast_testkit::postgres_url("x");
        let server = server.trim_end_matches("/x").rsplit('@').next().unwrap().to_owned();
        self.passing.spawn(async move {
            let mut streams = JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                let server = server.clone();
                streams.spawn(async move {
                    let mut to = TcpStream::connect(server).await.unwrap();
                    tokio::io::copy_bidirectional(&mut from, &mut to).await.ok();
                });
            }
        });
    }

    /// What is under way is cut.
    async fn shut(&mut self) {
        self.passing.shutdown().await;
    }

    fn url(&self, url: &str) -> String {
        let (before, after) = url.rsplit_once('@').unwrap();
        format!("{before}@127.0.0.1:{}/{}", self.port, after.split_once('/').unwrap().1)
    }
}

/// It waits at its start, works, and when the way is shut says so within ten seconds; then comes back by itself.
async fn comes_and_goes(world: &World, door: &mut Door, role: &world::Role, part: &str, red_within: Duration) {
    world.not_ready(role, part).await;
    door.open().await;
    world.ready(role).await;
    door.shut().await;
    let shut = Instant::now();
    world.not_ready(role, part).await;
    assert!(shut.elapsed() < red_within, "{:?}", shut.elapsed());
    door.open().await;
    world.ready(role).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_waits_for_its_database_and_comes_back() {
    let world = World::new().await;
    let mut door = Door { port: free_port().await, passing: JoinSet::new() };
    let more = format!("[databases.away]\nurl = \"{}\"\n", door.url(&world.write.url()));
    let (config, port) = world.relay_config("", &more).await;
    let relay = world.launch(&["outbox", "relay"], &config, port);
    comes_and_goes(&world, &mut door, &relay, "database away", Duration::from_secs(20)).await;
    assert_eq!(relay.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_that_cannot_move_is_red_within_ten_seconds_and_comes_back() {
    let world = World::new().await;
    world.make_view().await;
    let mut door = Door { port: free_port().await, passing: JoinSet::new() };
    let (config, port) = world.projector_config("").await;
    let text = std::fs::read_to_string(&config).unwrap().replace(&world.read.url(), &door.url(&world.read.url()));
    std::fs::write(&config, text).unwrap();
    let projector = world.launch(&["projector"], &config, port);
    world.not_ready(&projector, "read database").await;
    door.open().await;
    world.ready(&projector).await;
    door.shut().await;
    let shut = Instant::now();
    world.not_ready(&projector, "projection orders").await;
    assert!(shut.elapsed() < Duration::from_secs(10), "{:?}", shut.elapsed());
    door.open().await;
    world.ready(&projector).await;
    assert_eq!(projector.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_say_that_no_broker_answers_and_still_end_when_told() {
    let world = World::new().await;
    world.make_view().await;
    let nobody = format!("127.0.0.1:{}", free_port().await);
    let (relay, relay_port) = world.relay_config("", "").await;
    let (projector, projector_port) = world.projector_config("").await;
    for config in [&relay, &projector] {
        let text = std::fs::read_to_string(config).unwrap().replace(&world::brokers(), &nobody);
        std::fs::write(config, text).unwrap();
    }
    world.insert("o-1", "created", r#"{"total": 1}"#).await;
    for role in [
        world.launch(&["outbox", "relay"], &relay, relay_port),
        world.launch(&["projector"], &projector, projector_port),
    ] {
        world.not_ready(&role, "no broker answers").await;
        let body: Value = world.get(&role, "/readyz").await.unwrap().json().unwrap();
        assert!(!body.to_string().contains(&nobody), "everybody may read it: {body}");
        assert_eq!(role.end().await, Some(0));
    }
}
