//! `steadfast outbox relay`: publishes the outboxes of one or many PostgreSQL databases to Kafka, beside any number of
//! others over the same ones.
//!
//! It listens at once. Until its databases and Kafka answer, `/readyz` is 503 and says what is missing; a fault that no
//! waiting mends (a server too old, missing tables) ends it with one line.

mod api;
mod archive;
mod config;
mod letters;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use steadfast_bus::kafka::Producer;
use steadfast_core::Clock;
use steadfast_db::Followed;
use steadfast_db::postgres::Db;
use steadfast_host::auth::Verifier;
use steadfast_host::clock::System;
use steadfast_host::health::Health;
use steadfast_host::problem::with_fallbacks;
use steadfast_host::process::{Process, limits};
use steadfast_outbox::{Outbox, Relay, Source};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::arguments::{Arguments, load};
use super::database::is_missing_table;
use super::kafka;
use super::missing::{Absence, Missing};
pub(crate) use archive::once as archive_once;
pub(crate) use config::Config;
pub(crate) use letters::{Act, Acted, Letter, Letters};

/// The pause after topics could not be looked at.
const AGAIN: Duration = Duration::from_secs(10);

/// Runs until a signal, or until it cannot go on.
pub(crate) async fn relay(arguments: Arguments) -> Result<()> {
    let config: Config = load(&arguments)?;
    let time = Arc::new(Followed::new(Arc::new(System)));
    let clock = Arc::clone(&time) as Arc<dyn Clock>;
    // Everything that can be wrong in the configuration is told before anything starts.
    config.check()?;
    let auth = config.auth.as_ref();
    let verifier = auth.map(|auth| Verifier::from_config(auth, Arc::clone(&clock))).transpose()?;
    let to = config.kafka()?;
    let producer = Producer::open(to.clone()).context("kafka")?;
    let mut needs = vec![kafka::watch(&to)?];
    let (mut sources, mut outboxes, mut first) = (Vec::new(), BTreeMap::new(), None);
    for (name, database) in &config.databases {
        let db = database.handle("outbox relay")?;
        needs.push(watch(name, database.probe("outbox relay")?));
        outboxes.insert(name.clone(), Outbox::from(db.clone()));
        first.get_or_insert_with(|| db.clone());
        sources.push(Source::new(name, db));
    }
    if arguments.check {
        crate::cli::say("the configuration is in order");
        return Ok(());
    }
    let health = Health::new();
    for need in &needs {
        need.show_in(&health);
    }
    let letters = Letters::new(outboxes.clone(), Arc::clone(&clock));
    let api = verifier.map_or_else(Router::new, |verifier| api::router(letters, verifier));
    let routes = |own: Router| with_fallbacks(own.merge(api));
    let stop = CancellationToken::new();
    let process = Process::listen("outbox relay", &config.listen, limits(), health, stop.clone(), routes).await?;
    if let Some(db) = first {
        process.tasks.spawn(time.follow(db, stop.clone()));
    }
    process.tasks.spawn(look_at_topics(producer.clone(), config.expected(), stop.clone()));
    if let Some(plan) = &config.archive {
        for (name, outbox) in outboxes {
            process.tasks.spawn(archive::run(name, outbox, plan.clone(), Arc::clone(&clock), stop.clone()));
        }
    }
    let relay = Relay::new(sources, Arc::new(producer), clock, config.relay());
    let ended = publish(relay, needs, &process.signal, &stop).await;
    process.end().await?;
    ended
}

/// Publishes until the signal, or until something that it needs is found to be at fault for good.
async fn publish(
    relay: Relay,
    needs: Vec<Missing>,
    signal: &CancellationToken,
    stop: &CancellationToken,
) -> Result<()> {
    let mut first: JoinSet<_> = needs.into_iter().map(Missing::first).collect();
    let mut watching = JoinSet::new();
    while let Some(need) = first.join_next().await {
        let need = need.context("a task of the relay")??;
        watching.spawn(need.watch(stop.clone()));
    }
    tokio::select! {
        () = relay.run(signal.clone()) => Ok(()),
        // Before `stop` a watcher ends only with a fault.
        Some(fault) = watching.join_next() => fault.context("a task of the relay")?,
    }
}

/// Says whether the database and its outbox can be worked with; when it answers first, also whether its tables are of a later
/// program. One that is migrated while we work is worked on with.
fn watch(name: &str, probe: Db) -> Missing {
    let known = Arc::new(AtomicBool::new(false));
    Missing::watched(format!("database {name}"), move || {
        let (probe, known) = (probe.clone(), Arc::clone(&known));
        async move {
            let absence = |error| Absence::of("it cannot be worked with: the log says why", &error);
            probe.answers().await.map_err(absence)?;
            if !known.load(Ordering::Acquire) {
                probe.knows(&steadfast_outbox::LINE).await.map_err(absence)?;
                known.store(true, Ordering::Release);
            }
            Outbox::from(probe).status().await.map(drop).map_err(|error| match &error {
                steadfast_outbox::Error::Store(of) if is_missing_table(of) => {
                    Absence::lasting("it has no outbox: run `steadfast migrate outbox`")
                }
                _ => Absence::of("its outbox cannot be worked with: the log says why", &error),
            })
        }
    })
}

/// Makes the expected topics and says which promises their settings break.
async fn look_at_topics(producer: Producer, topics: Vec<String>, stop: CancellationToken) {
    for topic in &topics {
        loop {
            let Some(found) = stop.run_until_cancelled(producer.weaknesses(&[topic])).await else { return };
            match found {
                Ok(weaknesses) => {
                    for weakness in weaknesses {
                        tracing::warn!(topic, "a promise is weakened: {weakness}");
                    }
                    break;
                }
                Err(error) => tracing::warn!(topic, %error, "a topic cannot be made or looked at: trying again"),
            }
            if stop.run_until_cancelled(tokio::time::sleep(AGAIN)).await.is_none() {
                return;
            }
        }
    }
}
