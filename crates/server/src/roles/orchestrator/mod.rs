//! `steadfast orchestrator`: accepts sagas over HTTP and runs them to their end, beside any number of others over one
//! database.
//!
//! It listens at once. Until the database lets it work it answers 503 and `/readyz` says why; a fault that no waiting
//! mends (a wrong key, a server too old, missing tables) ends it with one line.

mod config;
mod open;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use steadfast_core::{Clock, Problem, problem};
use steadfast_db::Followed;
use steadfast_host::clock::System;
use steadfast_host::health::Health;
use steadfast_host::process::{Process, limits};
use steadfast_host::serve::Limits;
use steadfast_host::slot::Slot;
use steadfast_saga::engine::Engine;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use config::Config;

use super::arguments::{Arguments, load};
use crate::api;

/// Runs until a signal, or until it cannot go on.
pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let config: Config = load(&arguments)?;
    let time = Arc::new(Followed::new(Arc::new(System)));
    // Everything that can be wrong in the configuration is told before anything starts.
    let verifier = config.verifier(Arc::clone(&time) as Arc<dyn Clock>)?;
    let stop = CancellationToken::new();
    let made = open::Made::of(&config, time, &stop)?;
    if arguments.check {
        crate::cli::say("the configuration is in order");
        return Ok(());
    }
    let (opened, engine) = watch::channel(None::<Engine>);
    let slot = Slot::default();
    let health = health(&engine);
    let limits = Limits {
        connections: config.limits.connections,
        // A request may wait for its saga.
        request_time: Duration::from_secs(40),
        ..limits()
    };
    let routes = |own| slot.behind(own, not_yet());
    let process = Process::listen("orchestrator", &config.listen, limits, health.clone(), stop.clone(), routes).await?;

    let mut ended = Ok(());
    match process.signal.run_until_cancelled(made.open(&stop, &process.tasks)).await {
        None => {}
        Some(Err(error)) => ended = Err(error),
        Some(Ok(engine)) => {
            slot.fill(api::router(engine.clone(), verifier));
            opened.send_replace(Some(engine.clone()));
            tokio::select! {
                () = process.signal.cancelled() => {}
                () = engine.lost() => ended = lost(),
            }
            health.drain();
            engine.drain().await;
        }
    }
    process.end().await?;
    ended
}

fn lost() -> Result<()> {
    bail!("every lane was lost and none could be taken: the process ends, so that whatever watches it starts it again")
}

/// Ready once the engine is, and as long as it says so.
fn health(engine: &watch::Receiver<Option<Engine>>) -> Health {
    let health = Health::new();
    let engine = engine.clone();
    health.check("orchestrator", Duration::from_secs(1), move || {
        let ready = match &*engine.borrow() {
            Some(engine) => engine.ready().map_err(str::to_owned),
            None => Err("the database cannot be worked with yet: the log says why".to_owned()),
        };
        async move { ready }
    });
    health
}

/// What a request hears before the engine is there.
fn not_yet() -> Problem {
    problem::UNAVAILABLE.with("the orchestrator waits for its database: ask again with the same key").retry_after(1)
}
