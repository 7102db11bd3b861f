//! The whole platform of several processes under faults, while tills replay invoices through its front door.
//!
//! 1. A platform of the run's own is made, as `cargo xtask platform up` makes it.
//! 2. `steadfast demo --config` replays invoices through it: whatever is killed meanwhile, no till gives up.
//! 3. The timeline's faults come and go, as long as the tills are busy and the run's length allows.
//! 4. Everything is healed; the tills end what they have begun, and the demo waits for rest and compares the services'
//!    databases, the events in Kafka and the read model with what its tills were told. What does not hold is this run's
//!    violations.

mod clock;
mod disk;
mod faults;
mod load;
mod network;
mod standby;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use self::faults::{Fault, Kind};
use self::load::Load;
use self::world::World;
use super::arguments::Arguments;
use super::folder::Folder;
use super::report::Report;
use super::timeline::{self, Act, Entry};
use super::{ground, say};

/// How long the tills may go on, and the check take, once everything is healed.
const END_LIMIT: Duration = Duration::from_mins(5);
const STEP: Duration = Duration::from_millis(200);

pub(super) async fn run(arguments: &Arguments, folder: &Folder) -> Result<Report> {
    let (parts, ways) = (World::names(), World::names_of_ways());
    let draw = |kind, rng: &mut Rng| Fault::draw(kind, &parts, &ways, rng);
    let entries = timeline::deal(arguments.seed, arguments.length, &Kind::ALL, draw);
    let world = World::start(folder, arguments).await?;
    let mut report = Report::default();
    let mut load = Load::start(&world, folder, arguments).await?;
    load.wait_for_orders(&world).await?;
    world.ways.roughen();

    let begun = Instant::now();
    let mut made: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut fallen, mut down, mut left_out) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    timeline::play(&entries, begun, async |act| {
        match act {
            Act::Wait(until) => {
                sleep_until(until).await;
                return Ok(());
            }
            // Faults of a platform that nobody uses prove nothing.
            Act::Begin(_) if load.has_ended()? => {}
            Act::Begin(Entry { fault, .. }) if !world.can(fault.kind)? => {
                left_out.insert(fault.kind.name());
            }
            Act::Begin(entry) => {
                say(&entry.to_string());
                let fault = &entry.fault;
                *made.entry(fault.kind.name()).or_default() += 1;
                if fault.kind.ends_a_process() {
                    down.insert(fault.whom.clone());
                }
                fault.begin(&world).await?;
            }
            Act::End(fault) => {
                fault.end(&world).await?;
                down.remove(&fault.whom);
            }
        }
        fallen.extend(world.restart_fallen(&down).await?);
        Ok(())
    })
    .await?;
    world.heal().await.context("healing")?;
    say(&format!("{:6.1} s  healed", begun.elapsed().as_secs_f64()));
    load.close()?;
    let healed = Instant::now();
    while !load.has_ended()? {
        if healed.elapsed() > END_LIMIT {
            report.violation(
                "not_quiet",
                format_args!("the tills or their check had not ended {END_LIMIT:?} after healing"),
            );
            break;
        }
        fallen.extend(world.restart_fallen(&BTreeSet::new()).await?);
        sleep(STEP).await;
    }
    load.judge(arguments, &mut report)?;
    for name in &parts {
        ground::panics(folder.path(), name, &mut report)?;
    }
    report.fact("torture", arguments.campaign.name());
    report.fact("seed", arguments.seed);
    report.fact("seconds", arguments.length.as_secs_f64());
    report.fact("faults", json!(made));
    report.fact("left_out", json!(left_out));
    report.fact("network", world.ways.done());
    report.fact("ended_by_themselves", json!(fallen));
    report.fact("ended_after_ms", u64::try_from(healed.elapsed().as_millis()).unwrap_or(u64::MAX));
    if made.len() < 2 {
        report.violation("idle", "the tills had ended before the faults came: take fewer seconds");
    }
    world.stop().await?;
    Ok(report)
}
