//! From a committed row to a read model under faults: three relays from an outbox to Kafka, three projectors from there.
//!
//! 1. Everything starts; the trial's writers write, a reader looks at the read model all the time.
//! 2. The timeline's faults come and go while they work.
//! 3. Everything is healed.
//! 4. Within a minute every event must be marked and applied.
//! 5. A consumer reads all that has arrived; [`check`] compares everything with everything.

mod check;
mod consumer;
mod faults;
mod fold;
mod reader;
mod world;

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use steadfast_outbox::trial::{self, Written};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::check::Unrest;
use self::faults::{Fault, Kind};
use self::world::World;
use super::arguments::Arguments;
use super::folder::Folder;
use super::report::Report;
use super::say;
use super::timeline::{self, Act, Entry};

/// By then every event is marked and applied.
const QUIET_LIMIT: Duration = Duration::from_mins(1);
const QUIET_STEP: Duration = Duration::from_millis(250);
/// So many events a second must have been committed at least: less proves nothing.
const LEAST: u64 = 20;

pub(super) async fn run(arguments: &Arguments, folder: &Folder) -> Result<Report> {
    let entries = timeline::deal(arguments.seed, arguments.length, &Kind::ALL, Fault::draw);
    let mut world = World::start(folder).await?;
    let mut report = Report::default();

    let stop = CancellationToken::new();
    let mut readers = JoinSet::new();
    readers.spawn(reader::run(world.read.clone(), stop.clone()));
    let begun = Instant::now();
    let (write, plan) = (world.shop.clone(), World::plan(arguments.seed, arguments.length));
    let mut writers = JoinSet::new();
    writers.spawn(async move { trial::write(&write, &plan).await });

    let mut fallen = Vec::new();
    timeline::play(&entries, begun, async |act| match act {
        Act::Wait(until) => {
            fallen.extend(world.restart_fallen()?);
            sleep_until(until).await;
            Ok(())
        }
        Act::Begin(entry) => {
            say(&entry.to_string());
            entry.fault.begin(&mut world).await
        }
        Act::End(fault) => fault.end(&mut world).await,
    })
    .await?;
    sleep_until(begun + arguments.length).await;
    world.heal().await.context("healing")?;
    say(&format!("{:6.1} s  healed", begun.elapsed().as_secs_f64()));
    let written = quiet(&mut world, &mut writers, &mut fallen, &mut report).await?;

    let seen = check::consume(&world).await?;
    if arguments.weakened.is_some() {
        check::apply_again(&world, &seen).await?;
    }
    stop.cancel();
    let looked = readers.join_next().await.context("the reader")?.context("the reader")?;
    let struck = entries.iter().filter(|entry| entry.fault.kind.repeats()).count() + fallen.len();
    let struck = u64::try_from(struck)?;
    check::run(&world, &seen, &looked, struck, arguments.weakened.is_none(), &mut report).await?;
    facts(&mut report, arguments, &entries, written);
    report.fact("ended_by_themselves", json!(fallen));
    report.fact("stayed_when_told_to_end", world.members().map(|member| member.stayed).sum::<u64>());
    let peaks = |members: &[world::Member]| members.iter().filter_map(world::Member::peak_memory).max();
    report.fact("relay_peak_mib", peaks(&world.relays));
    report.fact("projector_peak_mib", peaks(&world.projectors));
    let least = LEAST * arguments.length.as_secs();
    if seen.audit.events() < least || looked.looks == 0 {
        let (events, looks) = (seen.audit.events(), looked.looks);
        report.violation("idle", format_args!("{events} events and {looks} looks: expected {least} events at least"));
    }
    Ok(report)
}

/// Waits until the writers have ended and every event is marked and applied.
async fn quiet(
    world: &mut World,
    writers: &mut JoinSet<Written>,
    fallen: &mut Vec<String>,
    report: &mut Report,
) -> Result<Written> {
    let healed = Instant::now();
    let mut written = None;
    loop {
        fallen.extend(world.restart_fallen()?);
        if let Some(ended) = writers.try_join_next() {
            written = Some(ended.context("the writers")?);
        }
        let unrest = Unrest::look(world).await;
        if written.is_some() && unrest.as_ref().is_ok_and(Unrest::is_over) {
            break;
        }
        if healed.elapsed() > QUIET_LIMIT {
            let unrest = unrest.map_or_else(|error| format!("{error:#}"), |unrest| unrest.to_string());
            let writing = if written.is_some() { "" } else { ", and writers still write" };
            report.violation("not_quiet", format_args!("{QUIET_LIMIT:?} after healing {unrest}{writing}"));
            break;
        }
        sleep(QUIET_STEP).await;
    }
    report.fact("quiet_after_ms", u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX));
    // Nobody may write while the checks read.
    writers.shutdown().await;
    Ok(written.unwrap_or_default())
}

fn facts(report: &mut Report, arguments: &Arguments, entries: &[Entry<Fault>], written: Written) {
    report.fact("torture", arguments.campaign.name());
    report.fact("seed", arguments.seed);
    report.fact("seconds", arguments.length.as_secs_f64());
    report.fact("faults", json!(timeline::counted(entries, |fault| fault.kind.name())));
    report.fact("committed", written.committed);
    report.fact("rolled_back", written.rolled_back);
    report.fact("failed", written.failed);
}
