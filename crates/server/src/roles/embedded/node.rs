//! Orchestrator, relay and projector over the databases of one data folder: in the process of the services, or in one of
//! their own that may be killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use goodgo_order::read_model;
use serde_json::Value;
use steadfast_bus::embedded::Log;
use steadfast_bus::{Start, Topics};
use steadfast_core::Clock;
use steadfast_db::migrate;
use steadfast_host::health::Health;
use steadfast_host::{metrics, problem, serve};
use steadfast_outbox::{Hint, Relay, Sink, Source};
use steadfast_projection::auditor::Auditor;
use steadfast_projection::{Projection, Runner, Together};
use steadfast_saga::engine::{AsAtStart, Config, Engine, Ports};
use steadfast_saga::journal;
use steadfast_saga::participant::client::{ParticipantConfig, Participants};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Keys, Stores};
use crate::api;

/// Partitions of the event log.
const PARTITIONS: u32 = 8;
pub(crate) const PLACE_ORDER: &str = include_str!("../../../../../goodgo/contracts/place_order.saga.yaml");
const RETURN_ORDER: &str = include_str!("../../../../../goodgo/contracts/return_order.saga.yaml");
const SCHEMAS: [(&str, &str); 2] = [
    ("place_order.schema.json", include_str!("../../../../../goodgo/contracts/place_order.schema.json")),
    ("return_order.schema.json", include_str!("../../../../../goodgo/contracts/return_order.schema.json")),
];
/// How long a projection may stand still before the node is not ready.
const STUCK: Duration = Duration::from_secs(10);

/// Where everybody listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) order: SocketAddr,
    pub(crate) payment: SocketAddr,
    pub(crate) inventory: SocketAddr,
    pub(crate) orchestrator: SocketAddr,
}

/// What a node is made of.
#[derive(Debug)]
pub(crate) struct NodeOptions {
    pub(crate) stores: Stores,
    pub(crate) keys: Keys,
    pub(crate) addresses: Addresses,
    /// Listens at `addresses.orchestrator`.
    pub(crate) listener: TcpListener,
    pub(crate) clock: Arc<dyn Clock>,
    /// From the services of the same process; in another process the relay polls.
    pub(crate) hints: [Hint; 3],
}

/// A running node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) engine: Engine,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Node {
    /// Takes up everything unsettled and works from then on.
    pub(crate) async fn start(options: NodeOptions) -> Result<Self> {
        let NodeOptions { stores, keys, addresses, listener, clock, hints } = options;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let exporter = metrics::install()?;
        for db in [&stores.order, &stores.payment, &stores.inventory, &stores.orchestrator] {
            migrate(db, &steadfast_outbox::LINE).await?;
        }
        let log = Log::open(stores.log.clone(), PARTITIONS).await?;
        let own = Source::new("orchestrator", stores.orchestrator.clone());
        let engine = engine(&stores, &keys, addresses, &clock, own.hint.clone()).await?;

        let [order, payment, inventory] = hints;
        let sources = vec![
            Source::new("order", stores.order.clone()).with_hint(order),
            Source::new("payment", stores.payment.clone()).with_hint(payment),
            Source::new("inventory", stores.inventory.clone()).with_hint(inventory),
            own,
        ];
        let config = steadfast_outbox::Config { node: "embedded".to_owned(), ..steadfast_outbox::Config::default() };
        let relay = Relay::new(sources, Arc::new(log.clone()), Arc::clone(&clock), config);
        tasks.spawn(relay.run(stop.clone()));

        let auditor = Arc::new(Auditor::new(Arc::clone(&clock)));
        let mut members = read_model::members();
        members.push(Arc::clone(&auditor) as Arc<dyn Projection>);
        let together: Arc<dyn Projection> = Arc::new(Together::new("goodgo", members));
        let consumer = Box::new(log.consumer(Topics::All, Start::Beginning));
        let read = stores.read_model.clone();
        migrate(&read, &read_model::LINE).await?;
        let runner =
            Runner::open(read.clone(), together, consumer, Arc::clone(&clock), steadfast_projection::Config::default())
                .await?;
        let status = runner.status();
        tasks.spawn(runner.run(stop.clone()));
        let watching = stop.clone();
        tasks.spawn(async move { auditor.watch(&read, Duration::from_secs(1), watching).await });
        tasks.spawn(exporter.clone().run(stop.clone()));

        let health = Health::new();
        let asked = engine.clone();
        health.check("orchestrator", Duration::from_secs(1), move || {
            let ready = asked.ready().map_err(str::to_owned);
            async move { ready }
        });
        health.check("projector", Duration::from_secs(1), move || {
            let now = clock.now();
            let stuck = status.stuck_since(now).filter(|since| now.since(*since) > STUCK);
            async move { stuck.map_or(Ok(()), |since| Err(format!("stands still since {since}"))) }
        });
        let router = api::router(engine.clone(), keys.verifier(Arc::new(steadfast_host::clock::System))?)
            .merge(health.router())
            .merge(exporter.router());
        let serving = serve::serve(listener, problem::with_fallbacks(router), serve::Limits::default(), stop.clone());
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(error = &error as &dyn std::error::Error, "the orchestrator no longer listens");
            }
        });
        Ok(Self { engine, stop, tasks })
    }

    /// Lets what has begun end, then stops.
    pub(crate) async fn drain(self) {
        self.engine.drain().await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn engine(
    stores: &Stores,
    keys: &Keys,
    addresses: Addresses,
    clock: &Arc<dyn Clock>,
    hint: Hint,
) -> Result<Engine> {
    let participant = |name: &str, address: SocketAddr| -> Result<ParticipantConfig> {
        Ok(ParticipantConfig::new(name, format!("http://{address}"), keys.call(name)?))
    };
    let participants = Participants::new(vec![
        participant("order", addresses.order)?,
        participant("payment", addresses.payment)?,
        participant("inventory", addresses.inventory)?,
    ])?;
    let sink = Arc::new(Sink::with_hint(hint));
    let journal = journal::Sqlite::open(stores.orchestrator.clone(), Some(sink)).await?;
    let ports = Ports {
        journal: Arc::new(journal),
        participants: Arc::new(participants),
        permissions: Arc::new(AsAtStart),
        clock: Arc::clone(clock),
        keyring: Arc::new(keys.keyring()),
        election: None,
    };
    let engine = Engine::open(Config::default(), ports).await?;
    let schemas = schemas()?;
    for definition in [PLACE_ORDER, RETURN_ORDER] {
        engine.upload(definition, schemas.clone(), "goodgo").await?;
    }
    Ok(engine)
}

/// The schemas that the definitions name.
pub(crate) fn schemas() -> Result<BTreeMap<String, Value>> {
    let read = |(name, text): (&str, &str)| {
        let schema = serde_json::from_str(text).with_context(|| format!("reading {name}"))?;
        Ok((name.to_owned(), schema))
    };
    SCHEMAS.into_iter().map(read).collect()
}
