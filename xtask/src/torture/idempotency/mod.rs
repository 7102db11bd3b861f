//! Idempotency under faults: a service that charges, twice over each store, and tills that send every key until somebody knows
//! what became of it.
//!
//! 1. Everything starts, tills begin.
//! 2. The timeline's faults come and go while they work, and the network is rough all the time.
//! 3. Everything is healed; tills end.
//! 4. Every key is sent once more.
//! 5. [`check`] compares the ledgers with all answers, [`pace`] looks how fast they came.

mod arm;
mod check;
mod faults;
mod load;
mod pace;
mod redis;
mod world;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};
use sqlx::Row as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use self::arm::Arm;
use self::check::{Row, Toll};
use self::faults::{Fault, Kind};
use self::load::{Charge, Memory, Times, What};
use self::world::{Failover, World};
use super::arguments::{Arguments, Weakening};
use super::folder::Folder;
use super::ground::panics;
use super::proxy::Rates;
use super::report::Report;
use super::say;
use super::timeline::{self, Act};

/// In 10,000 pieces of what passes between a service and its store.
const ROUGH: Rates = Rates { cut: 40, delay: 200, stall: 4 };
/// How often it is looked whether somebody has ended by itself.
const WATCH: Duration = Duration::from_millis(250);
/// A look whether all are ready takes no longer.
const READY: Duration = Duration::from_secs(5);
/// Tills ask so much longer than faults are made.
const ASK_LONGER: Duration = Duration::from_secs(15);
/// By then every key is known.
const AUDIT_LIMIT: Duration = Duration::from_mins(1);

pub(super) async fn run(arguments: &Arguments, folder: &Folder) -> Result<Report> {
    let entries = match arguments.weakened {
        // Only who has been stopped finishes late, and only one Redis is overwritten.
        Some(Weakening::Compare) => {
            let pause = |kind, rng: &mut Rng| Fault::of(kind, Arm::Redis, rng);
            timeline::deal(arguments.seed, arguments.length, &[Kind::ServicePaused], pause)
        }
        _ => timeline::deal(arguments.seed, arguments.length, &Kind::ALL, Fault::draw),
    };
    let mut world = World::start(folder, arguments).await?;
    let mut report = Report::default();
    let (memory, api, stop) = (Memory::default(), world.api(), CancellationToken::new());
    let epoch = world.cluster.epoch().await?;

    let mut watch = JoinSet::new();
    watch.spawn(pace::hiccups(stop.clone()));
    let begun = Instant::now();
    let times = Times { begin_until: begun + arguments.length, ask_until: begun + arguments.length + ASK_LONGER };
    let (asked, seed, remembered) = (api.clone(), arguments.seed, memory.clone());
    let mut tills = JoinSet::new();
    tills.spawn(async move { load::run(&asked, seed, times, &remembered).await });
    world.network.set(ROUGH);

    let mut fallen = 0;
    timeline::play(&entries, begun, async |act| match act {
        Act::Wait(until) => {
            fallen += watched(&mut world, until).await?;
            Ok(())
        }
        Act::Begin(entry) => {
            say(&entry.to_string());
            entry.fault.begin(&mut world).await
        }
        Act::End(fault) => fault.end(&mut world).await,
    })
    .await?;
    fallen += watched(&mut world, begun + arguments.length).await?;
    world.network.set(Rates::CALM);
    world.heal().await.context("healing")?;
    say(&format!("{:6.1} s  healed", begun.elapsed().as_secs_f64()));
    fallen += recovered(&mut world).await?;
    while tills.join_next().await.is_some() {}
    stop.cancel();
    let watched_for = u64::try_from(begun.elapsed().as_millis())?;
    let hiccups = watch.join_next().await.context("the watch")?.context("the watch")?;

    let charges = load::audit(&api, memory.take(), AUDIT_LIMIT).await;
    let promotions = world.cluster.epoch().await?.saturating_sub(epoch);
    let judged = !pace::is_busy(&hiccups, watched_for);
    compare(&world, &charges, &hiccups, judged, promotions, &mut report).await?;
    report.fact("torture", arguments.campaign.name());
    report.fact("seed", arguments.seed);
    report.fact("seconds", arguments.length.as_secs_f64());
    report.fact("faults", json!(timeline::counted(&entries, |fault| fault.kind.name())));
    report.fact("network", json!(world.network.done()));
    report.fact("ended_by_themselves", fallen);
    report.fact("stayed_when_told_to_end", world.services.iter().map(|service| service.stayed).sum::<u64>());
    report.fact("hiccups_of_the_machine", hiccups.len());
    report.fact("times_judged", judged);
    substance(arguments.length, &charges, &mut report);
    world.network.close().await;
    Ok(report)
}

/// Waits, and starts again whoever ends meanwhile, as one that finds its store away when it starts.
async fn watched(world: &mut World, until: Instant) -> Result<usize> {
    let mut fallen = world.restart_fallen()?;
    while Instant::now() < until {
        sleep_until(until.min(Instant::now() + WATCH)).await;
        fallen += world.restart_fallen()?;
    }
    Ok(fallen)
}

/// Waits until every service is ready, and starts again whoever still does not find its store at once.
async fn recovered(world: &mut World) -> Result<usize> {
    let until = Instant::now() + AUDIT_LIMIT;
    let mut fallen = 0;
    loop {
        fallen += world.restart_fallen()?;
        match timeout(READY, world.ready()).await {
            Ok(ready) => return ready.map(|()| fallen),
            Err(_) => ensure!(Instant::now() < until, "a service is not ready {AUDIT_LIMIT:?} after healing"),
        }
    }
}

/// Every arm's ledger beside all answers, and how fast they came.
async fn compare(
    world: &World,
    charges: &[Charge],
    hiccups: &[(u64, u64)],
    judged: bool,
    promotions: u64,
    report: &mut Report,
) -> Result<()> {
    let (mut stores, mut repeats) = (serde_json::Map::new(), serde_json::Map::new());
    for arm in Arm::ALL {
        let ledger = read(world, arm).await?;
        let toll = check::run(arm, charges, &ledger, promotions > 0, report);
        let mut facts = pace::run(arm, charges, &world.services, hiccups, judged, report);
        facts["answers"] = json!(tally(arm, charges));
        facts["charged_keys"] = json!(toll.keys);
        facts["takeovers"] = json!(toll.takeovers);
        facts["two_answers"] = json!(toll.two_answers);
        facts["held"] = json!(toll.held);
        stores.insert(arm.name().to_owned(), facts);
        if arm.is_cluster() {
            repeats.insert(arm.name().to_owned(), of_failovers(&toll, &world.failovers));
        }
    }
    for service in &world.services {
        panics(world.folder(), &service.name, report)?;
    }
    report.fact("stores", Value::Object(stores));
    report.fact("repeats", Value::Object(repeats));
    report.fact("promotions", promotions);
    Ok(())
}

async fn read(world: &World, arm: Arm) -> Result<HashMap<String, Vec<Row>>> {
    let rows = sqlx::query(include_str!("sql/select_charges.sql")).fetch_all(&world.ledger(arm)?).await;
    let mut ledger: HashMap<String, Vec<Row>> = HashMap::new();
    for row in rows.with_context(|| format!("reading the ledger of {}", arm.name()))? {
        let at = u64::try_from(row.get::<i64, _>("at")).unwrap_or_default();
        let charge = Row { id: row.get("id"), attempt: row.get("attempt"), at };
        ledger.entry(row.get("reference")).or_default().push(charge);
    }
    Ok(ledger)
}

/// How often which answer came.
fn tally(arm: Arm, charges: &[Charge]) -> BTreeMap<&'static str, u64> {
    let mut tally = BTreeMap::new();
    for answer in charges.iter().filter(|charge| charge.arm == arm).flat_map(|charge| &charge.answers) {
        let name = match answer.what {
            What::Charged { replayed: false, .. } => "charged",
            What::Charged { replayed: true, .. } => "replayed",
            What::InFlight => "in_flight",
            What::Held => "held",
            What::Mismatch => "mismatch",
            What::Away => "unavailable",
            What::Failed => "failed",
            What::Broken => "no_connection_or_hung_up",
            What::Silence => "silence",
            What::Other(_) => "other",
        };
        *tally.entry(name).or_default() += 1;
    }
    tally
}

/// Repeats for each failover and each thousand keys, by what masters asked of their replicas at the time.
fn of_failovers(toll: &Toll, failovers: &[Failover]) -> Value {
    let promoted = |required| failovers.iter().filter(move |it| it.promoted && it.required == required).count();
    let required_at = |at: u64| failovers.iter().rev().find(|failover| failover.at <= at).map_or(0, |it| it.required);
    let of = |required| toll.repeats.iter().filter(|at| required_at(**at) == required).count();
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let per = |count: usize, of: usize| (count as f64 / of.max(1) as f64 * 100.0).round() / 100.0;
    let keys = usize::try_from(toll.keys).unwrap_or(usize::MAX);
    json!({
        "keys": keys,
        "failovers": promoted(0) + promoted(1),
        "repeats": toll.repeats.len(),
        "per_failover": per(toll.repeats.len(), promoted(0) + promoted(1)),
        "per_1000_keys": per(toll.repeats.len() * 1_000, keys),
        "min_replicas_0": { "failovers": promoted(0), "repeats": of(0) },
        "min_replicas_1": { "failovers": promoted(1), "repeats": of(1) },
    })
}

/// A run in which hardly anything happened proves nothing.
fn substance(length: Duration, charges: &[Charge], report: &mut Report) {
    for arm in Arm::ALL {
        let settled = charges.iter().filter(|charge| charge.arm == arm && charge.settled).count();
        let least = usize::try_from(length.as_secs()).unwrap_or(usize::MAX);
        if settled < least {
            report.violation("idle", format_args!("{}: {settled} keys, expected {least} at least", arm.name()));
        }
    }
}
