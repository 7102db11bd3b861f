//! What must be true once everything is quiet again, whatever happened before.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use sqlx::Row;
use sqlx::postgres::PgPool;

use super::super::ground::panics;
use super::super::report::Report;
use super::load::{Api, Intent};
use super::plan::{Kind, PARTICIPANTS, Plan};
use super::world::{ORCHESTRATORS, World};

/// So many sagas are also compared as the API shows them.
const SHOWN: usize = 30;

/// A saga as the database holds it.
#[derive(Debug)]
struct Saga {
    id: String,
    status: String,
    key: Option<String>,
    cause: Option<String>,
}

/// How often a step's action and its compensation took effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    action: u32,
    compensation: u32,
}

type Ledger = BTreeMap<(String, String), Effects>;

/// Compares everything with everything.
pub(super) async fn run(world: &World, intents: &[Intent], report: &mut Report) -> Result<()> {
    let sagas = sagas(&world.orchestrator_db).await?;
    let ledger = ledger(world, report).await?;
    journal(&world.orchestrator_db, report).await?;
    promises(intents, &sagas, report);
    effects(intents, &sagas, &ledger, report);
    shown(&world.api, intents, &sagas, report).await?;
    for node in 1..=ORCHESTRATORS {
        panics(world.folder(), &format!("orchestrator-{node}"), report)?;
    }

    let count = |status: &str| sagas.values().filter(|saga| saga.status == status).count();
    for status in ["completed", "compensated", "failed"] {
        report.fact(status, count(status));
    }
    report.fact("sagas", sagas.len());
    report.fact("effects", ledger.values().map(|it| u64::from(it.action + it.compensation)).sum::<u64>());
    Ok(())
}

/// How many sagas are not at rest.
pub(super) async fn unsettled(db: &PgPool) -> Result<i64> {
    let row = sqlx::query(include_str!("sql/count_unsettled.sql")).fetch_one(db).await?;
    Ok(row.get(0))
}

async fn sagas(db: &PgPool) -> Result<BTreeMap<String, Saga>> {
    let rows = sqlx::query(include_str!("sql/select_sagas.sql")).fetch_all(db).await.context("reading the sagas")?;
    let saga = |row: &sqlx::postgres::PgRow| Saga {
        id: row.get("id"),
        status: row.get("status"),
        key: row.get("business_key"),
        cause: row.get("cause"),
    };
    Ok(rows.iter().map(saga).map(|saga| (saga.id.clone(), saga)).collect())
}

async fn ledger(world: &World, report: &mut Report) -> Result<Ledger> {
    let mut ledger = Ledger::new();
    for (name, db) in PARTICIPANTS.iter().zip(&world.participant_dbs) {
        let rows = sqlx::query(include_str!("sql/select_effects.sql")).fetch_all(db).await;
        for row in rows.with_context(|| format!("reading the ledger of {name}"))? {
            let effects = ledger.entry((row.get("saga"), row.get("step"))).or_default();
            let count = u32::try_from(row.get::<i64, _>("count"))?;
            match row.get::<&str, _>("op") {
                "action" => effects.action += count,
                _ => effects.compensation += count,
            }
        }
        let alarms = sqlx::query("select key, what from alarm").fetch_all(db).await;
        for row in alarms.with_context(|| format!("reading the alarms of {name}"))? {
            report.violation(
                "alarm",
                format_args!("{name}, {}: {}", row.get::<&str, _>("key"), row.get::<&str, _>("what")),
            );
        }
    }
    Ok(ledger)
}

/// Each query answers what must not be.
async fn journal(db: &PgPool, report: &mut Report) -> Result<()> {
    let queries = [
        ("journal_gap", include_str!("sql/journal_gaps.sql")),
        ("journal_end", include_str!("sql/journal_ends.sql")),
        ("stale_epoch", include_str!("sql/stale_epochs.sql")),
    ];
    for (kind, sql) in queries {
        tell(kind, sql, db, report).await?;
    }
    Ok(())
}

/// Asked while sagas are under way: when all rest there is nothing left to find.
pub(super) async fn wake_times(db: &PgPool, report: &mut Report) -> Result<()> {
    tell("no_wake_time", include_str!("sql/without_wake_time.sql"), db, report).await
}

/// Every row of the query is a violation.
async fn tell(kind: &'static str, sql: &'static str, db: &PgPool, report: &mut Report) -> Result<()> {
    for row in sqlx::query(sql).fetch_all(db).await.with_context(|| format!("asking for {kind}"))? {
        report.violation(kind, row.get::<String, _>(0));
    }
    Ok(())
}

/// What users were told.
fn promises(intents: &[Intent], sagas: &BTreeMap<String, Saga>, report: &mut Report) {
    for intent in intents {
        let key = &intent.plan.key;
        for fault in &intent.faults {
            report.violation("answer", format_args!("{key}: {fault}"));
        }
        let Some(id) = &intent.id else { continue };
        let Some(saga) = sagas.get(id) else {
            report.violation("lost", format_args!("{key}: {id} was accepted and is not in the database"));
            continue;
        };
        if intent.told.as_ref().is_some_and(|told| *told != saga.status) {
            report.violation("told_otherwise", format_args!("{key}: told {:?}, is {}", intent.told, saga.status));
        }
        if intent.cancelled && saga.status == "completed" {
            report.violation("cancel_ignored", format_args!("{key}: {id} was cancelled and completed"));
        }
    }
}

/// Every effect 0 or 1 times, and as the saga ended.
fn effects(intents: &[Intent], sagas: &BTreeMap<String, Saga>, ledger: &Ledger, report: &mut Report) {
    let plans: BTreeMap<&str, &Plan> = intents.iter().map(|intent| (intent.plan.key.as_str(), &intent.plan)).collect();
    let known: BTreeSet<&str> = sagas.keys().map(String::as_str).collect();
    for ((saga, step), effects) in ledger {
        if effects.action > 1 || effects.compensation > 1 {
            report.violation("twice", format_args!("{saga} {step}: {effects:?}"));
        }
        if !known.contains(saga.as_str()) {
            report.violation("orphan", format_args!("{saga} {step} took effect, and there is no such saga"));
        }
    }
    for saga in sagas.values() {
        let Some(plan) = saga.key.as_deref().and_then(|key| plans.get(key)) else {
            report.violation("stranger", format_args!("{} has the key {:?}, which nobody used", saga.id, saga.key));
            continue;
        };
        if let Some(fault) = ending_fault(plan, &saga.status) {
            let cause = saga.cause.as_deref().unwrap_or("none");
            report.violation("ending", format_args!("{} ({}): {fault}; cause {cause}", saga.id, plan.definition.name));
        }
        for step in plan.definition.steps {
            let effects = ledger.get(&(saga.id.clone(), step.name.to_owned())).copied().unwrap_or_default();
            if !fits(&saga.status, plan.runs(step), step.kind, effects) {
                let told = format_args!("{} is {} and {} has {effects:?}", saga.id, saga.status, step.name).to_string();
                report.violation("effects", told);
            }
        }
    }
}

/// Whether a saga may end so, by its plan.
fn ending_fault(plan: &Plan, status: &str) -> Option<String> {
    match status {
        "completed" if plan.is_refused() => Some(format!("completed, though {} was refused", plan.refuse)),
        "completed" if !plan.mute.is_empty() => Some(format!("completed, though {} gave no output", plan.mute)),
        "failed" if plan.mute.is_empty() => Some("parked without a cause that was injected".to_owned()),
        "completed" | "compensated" | "failed" => None,
        other => Some(format!("still {other} after the quiet")),
    }
}

/// Whether a step's effects are those of a saga that ended so.
fn fits(status: &str, runs: bool, kind: Kind, effects: Effects) -> bool {
    match status {
        "completed" => effects == Effects { action: u32::from(runs), compensation: 0 },
        "compensated" if kind == Kind::Compensatable => effects.action == effects.compensation,
        "compensated" => effects == Effects::default(),
        // Parked: an operator will see to the rest.
        _ => effects.compensation <= effects.action,
    }
}

/// The API tells what the database holds, at every node.
async fn shown(api: &Api, intents: &[Intent], sagas: &BTreeMap<String, Saga>, report: &mut Report) -> Result<()> {
    let step = (intents.len() / SHOWN).max(1);
    let ids = intents.iter().step_by(step).filter_map(|intent| intent.id.as_deref());
    for (node, id) in (0..ORCHESTRATORS).cycle().zip(ids) {
        let Some(saga) = sagas.get(id) else { continue };
        let reply = api.show(node, id).await.with_context(|| format!("showing {id}"))?;
        if reply.status != 200 || reply.body["status"] != saga.status.as_str() {
            let told = format!(
                "{id} is {} and node {} shows {} {}",
                saga.status,
                node + 1,
                reply.status,
                reply.body["status"]
            );
            report.violation("shown_otherwise", told);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effects(action: u32, compensation: u32) -> Effects {
        Effects { action, compensation }
    }

    #[test]
    fn effects_fit_the_ending() {
        let fit = |status, runs, kind, of: (u32, u32)| fits(status, runs, kind, effects(of.0, of.1));
        assert!(fit("completed", true, Kind::Compensatable, (1, 0)));
        assert!(fit("completed", false, Kind::Compensatable, (0, 0)));
        assert!(fit("compensated", true, Kind::Compensatable, (1, 1)));
        assert!(fit("compensated", true, Kind::Compensatable, (0, 0)));
        assert!(fit("failed", true, Kind::Pivot, (1, 0)));
        for (status, runs, kind, of) in [
            ("completed", true, Kind::Pivot, (0, 0)),
            ("completed", true, Kind::Compensatable, (1, 1)),
            ("completed", false, Kind::Compensatable, (1, 0)),
            ("compensated", true, Kind::Compensatable, (1, 0)),
            ("compensated", true, Kind::Pivot, (1, 0)),
            ("compensated", true, Kind::Retriable, (1, 1)),
            ("failed", true, Kind::Compensatable, (0, 1)),
        ] {
            assert!(!fit(status, runs, kind, of), "{status} {runs} {kind:?} {of:?}");
        }
    }

    #[test]
    fn a_saga_parks_only_for_a_cause_of_its_plan() {
        let mut plan = Plan::draw(&mut fastrand::Rng::with_seed(3), "k".to_owned());
        (plan.refuse, plan.mute) = ("", "");
        assert_eq!(ending_fault(&plan, "completed"), None);
        assert!(ending_fault(&plan, "failed").is_some());
        assert!(ending_fault(&plan, "running").is_some());
        plan.mute = plan.definition.steps[0].name;
        assert_eq!(ending_fault(&plan, "failed"), None);
        assert!(ending_fault(&plan, "completed").is_some());
    }
}
