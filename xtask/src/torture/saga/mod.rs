//! Sagas under faults: three orchestrators over one PostgreSQL, three participants with barriers, an etcd of three.
//!
//! 1. Everything starts, users begin.
//! 2. The timeline's faults come and go while they work.
//! 3. Everything is healed; users who have no answer yet ask until they have one.
//! 4. Within a minute every saga must be at rest.
//! 5. [`check`] compares everything with everything.

mod check;
mod faults;
mod load;
pub(super) mod participant;
mod plan;
mod takeover;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use self::faults::{Fault, Kind};
use self::load::{Memory, Times};
use self::takeover::Watch;
use self::world::World;
use super::arguments::Arguments;
use super::folder::Folder;
use super::report::{Report, spread};
use super::say;
use super::timeline::{self, Act, Entry};

/// By then every accepted saga is settled or parked.
const QUIET_LIMIT: Duration = Duration::from_mins(1);
const QUIET_STEP: Duration = Duration::from_millis(250);
/// From this length on every ending must have come.
const SUBSTANTIAL: Duration = Duration::from_secs(30);
/// Users ask so much longer than faults are made.
const ASK_LONGER: Duration = Duration::from_secs(30);

pub(super) async fn run(arguments: &Arguments, folder: &Folder) -> Result<Report> {
    let entries = timeline::deal(arguments.seed, arguments.length, &Kind::ALL, Fault::draw);
    let mut world = World::start(folder, arguments).await?;
    let mut report = Report::default();
    let memory = Memory::default();
    let watch = Watch::default();

    let mut tasks = JoinSet::new();
    tasks.spawn(watch.clone().run(world.orchestrator_db.clone()));
    let begun = Instant::now();
    let times = Times { begin_until: begun + arguments.length, ask_until: begun + arguments.length + ASK_LONGER };
    let (api, seed, remembered) = (world.api.clone(), arguments.seed, memory.clone());
    let mut users = JoinSet::new();
    users.spawn(async move { load::run(&api, seed, times, &remembered).await });

    let fallen = play(&mut world, &entries, begun, &watch).await?;
    sleep_until(begun + arguments.length).await;
    world.heal().await.context("healing")?;
    let healed = Instant::now();
    say(&format!("{:6.1} s  healed", begun.elapsed().as_secs_f64()));
    quiet(&mut world, &mut users, healed, &mut report).await?;
    tasks.shutdown().await;

    let intents = memory.all();
    check::run(&world, &intents, &mut report).await?;
    facts(&mut report, arguments, &entries, &world, &watch, &intents);
    report.fact("orchestrators_ended_by_themselves", fallen);
    substance(&mut report, arguments.length, &intents);
    world.network.close().await;
    Ok(report)
}

/// Begins and ends the faults in their time; answers how often an orchestrator ended by itself.
async fn play(world: &mut World, entries: &[Entry<Fault>], begun: Instant, watch: &Watch) -> Result<usize> {
    let mut struck = [0_u32; world::ORCHESTRATORS];
    let mut fallen = 0;
    timeline::play(entries, begun, async |act| {
        match act {
            Act::Wait(until) => {
                sleep_until(until).await;
                return Ok(());
            }
            Act::Begin(entry) => {
                say(&entry.to_string());
                if entry.fault.takes_lane() {
                    watch.strike(entry.fault.kind.name(), entry.fault.node);
                    struck[entry.fault.node] += 1;
                }
                entry.fault.begin(world).await?;
            }
            Act::End(fault) => {
                fault.end(world).await?;
                if fault.takes_lane() {
                    struck[fault.node] -= 1;
                }
                if fault.kind == Kind::OrchestratorPaused {
                    watch.wake(fault.node);
                }
            }
        }
        // Whatever watches processes in production starts those again that end by themselves.
        if struck.iter().all(|count| *count == 0) {
            fallen += world.restart_fallen()?.len();
        }
        Ok(())
    })
    .await?;
    Ok(fallen)
}

/// Waits until users and sagas are at rest.
async fn quiet(world: &mut World, users: &mut JoinSet<()>, healed: Instant, report: &mut Report) -> Result<()> {
    let mut rested = None;
    while healed.elapsed() < QUIET_LIMIT {
        world.restart_fallen()?;
        check::wake_times(&world.orchestrator_db, report).await?;
        let unsettled = check::unsettled(&world.orchestrator_db).await;
        if let Some(ended) = users.try_join_next() {
            ended.context("the users")?;
        }
        let users_done = users.is_empty();
        if users_done && unsettled.as_ref().is_ok_and(|count| *count == 0) {
            rested = Some(healed.elapsed());
            break;
        }
        sleep(QUIET_STEP).await;
    }
    let Some(time) = rested else {
        let left = check::unsettled(&world.orchestrator_db).await?;
        let users = if users.is_empty() { "" } else { ", and users still have no answer" };
        report.violation("not_quiet", format_args!("{left} sagas unsettled {QUIET_LIMIT:?} after healing{users}"));
        return Ok(());
    };
    report.fact("quiet_after_ms", u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    Ok(())
}

fn facts(
    report: &mut Report,
    arguments: &Arguments,
    entries: &[Entry<Fault>],
    world: &World,
    watch: &Watch,
    intents: &[load::Intent],
) {
    let count = |of: &dyn Fn(&load::Intent) -> bool| intents.iter().filter(|intent| of(intent)).count();
    report.fact("torture", arguments.campaign.name());
    report.fact("seed", arguments.seed);
    report.fact("seconds", arguments.length.as_secs_f64());
    report.fact("faults", json!(timeline::counted(entries, |fault| fault.kind.name())));
    report.fact("network", json!(world.network.done()));
    report.fact("starts", intents.len());
    report.fact("accepted", count(&|intent| intent.id.is_some()));
    report.fact("repeated", count(&|intent| intent.repeated));
    report.fact("cancels_tried", count(&|intent| intent.cancel_tried));
    report.fact("cancels_accepted", count(&|intent| intent.cancelled));
    let takeovers: BTreeMap<_, _> = watch.times().into_iter().map(|(kind, times)| (kind, spread(times))).collect();
    report.fact("takeover_ms", json!(takeovers));
}

/// A run in which hardly anything happened proves nothing.
fn substance(report: &mut Report, length: Duration, intents: &[load::Intent]) {
    let accepted = intents.iter().filter(|intent| intent.id.is_some()).count();
    let least = usize::try_from(length.as_secs()).unwrap_or(usize::MAX);
    if accepted < least {
        report
            .violation("idle", format_args!("{accepted} sagas were accepted in {length:?}: expected {least} at least"));
    }
    let told = |status: &str| intents.iter().any(|intent| intent.told.as_deref() == Some(status));
    for status in ["completed", "compensated"] {
        if length >= SUBSTANTIAL && !told(status) {
            report.violation("idle", format_args!("no user was told that a saga has {status}"));
        }
    }
}
