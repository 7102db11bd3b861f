//! What must be true once everything is quiet again, whatever happened before.

use std::collections::HashMap;

use anyhow::{Context, Result};
use serde_json::json;
use sqlx::Row as _;
use sqlx::postgres::PgPool;
use steadfast_outbox::Outbox;
use steadfast_outbox::trial::{self, Aggregate};

use super::super::ground::panics;
use super::super::report::Report;
use super::consumer::{self, Seen};
use super::fold::differences;
use super::reader::{Looked, view};
use super::world::{BATCH, TOPICS, World};

/// What is not at rest yet.
#[derive(Debug)]
pub(super) struct Unrest {
    /// Events that no relay has marked.
    waiting: i64,
    /// Events that the read model lacks.
    behind: i64,
}

impl Unrest {
    /// Looks; a read model that has too much is at rest, and wrong.
    pub(super) async fn look(world: &World) -> Result<Self> {
        let waiting = sqlx::query_scalar(include_str!("sql/count_waiting.sql")).fetch_one(&world.write).await?;
        let committed: i64 = trial::versions(&world.shop).await?.values().sum();
        let applied: i64 = view(&world.read).await?.values().map(|row| row.events).sum();
        Ok(Self { waiting, behind: committed - applied })
    }

    pub(super) fn is_over(&self) -> bool {
        self.waiting == 0 && self.behind <= 0
    }
}

impl std::fmt::Display for Unrest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} events are not marked, and the read model lacks {}", self.waiting, self.behind)
    }
}

/// What Kafka holds.
pub(super) async fn consume(world: &World) -> Result<Seen> {
    let committed: i64 = trial::versions(&world.shop).await?.values().sum();
    consumer::read(&world.brokers(), &TOPICS, u64::try_from(committed).unwrap_or_default()).await
}

/// Applies what came again once more, as a consumer does that does not look.
pub(super) async fn apply_again(world: &World, seen: &Seen) -> Result<()> {
    for ((kind, id), version) in &seen.again {
        let repeat = sqlx::query(include_str!("sql/apply_again.sql")).bind(kind).bind(id).bind(version);
        repeat.execute(&world.read).await.context("applying an event again")?;
    }
    Ok(())
}

/// Compares everything with everything. `struck`: how often what relays had in flight may have been sent again.
pub(super) async fn run(
    world: &World,
    seen: &Seen,
    looked: &Looked,
    struck: u64,
    deduplicates: bool,
    report: &mut Report,
) -> Result<()> {
    let committed = trial::versions(&world.shop).await.context("reading what was committed")?;
    arrived(seen, &committed, deduplicates, report);
    repeated(world, seen, struck, report).await?;
    for violation in Outbox::from(world.shop.clone()).verify().await.context("verifying the outbox")? {
        report.violation("verify", violation);
    }
    for difference in differences(&view(&world.read).await?, &committed) {
        report.violation("read_model", difference);
    }
    looked.faults.iter().for_each(|fault| report.violation("wrong_total", fault));
    // A broker or a database that is away is no event's fault.
    tell("held", include_str!("sql/select_held.sql"), &world.write, report).await?;
    tell("parked", include_str!("sql/select_parked.sql"), &world.read, report).await?;
    tell("skipped", include_str!("sql/select_skipped.sql"), &world.read, report).await?;
    let missed = world.missed().await?;
    if missed > 0.0 {
        report.violation("missed", format_args!("{missed} events were found only by the check of a relay's position"));
    }
    for member in world.relays.iter().chain(&world.projectors) {
        panics(world.folder(), &member.name, report)?;
    }
    report.fact("events", committed.values().sum::<i64>());
    report.fact("aggregates", committed.len());
    report.fact("looks", looked.looks);
    report.fact("rows_looked_at", looked.rows);
    Ok(())
}

/// A consumer has seen what was committed, each version, and nothing else.
fn arrived(seen: &Seen, committed: &HashMap<Aggregate, i64>, deduplicates: bool, report: &mut Report) {
    let audit = seen.audit.report(committed);
    audit.violations.iter().for_each(|violation| report.violation("consumer", violation));
    seen.unreadable.iter().for_each(|record| report.violation("unreadable", record));
    if !deduplicates {
        for ((kind, id), version) in committed {
            let arrivals = seen.arrivals.get(&(kind.clone(), id.clone())).copied().unwrap_or_default();
            if arrivals != *version {
                report.violation("consumer", format_args!("{kind} {id}: {version} events committed, {arrivals} seen"));
            }
        }
    }
    report.fact("seen", audit.events);
    report.fact("overtakes", audit.overtakes);
}

/// A death repeats two batches of a bucket at most.
async fn repeated(world: &World, seen: &Seen, struck: u64, report: &mut Report) -> Result<()> {
    let rows = sqlx::query(include_str!("sql/select_buckets.sql")).fetch_all(&world.write).await;
    let rows = rows.context("reading the buckets")?;
    let bucket = |row: &sqlx::postgres::PgRow| {
        let aggregate: Aggregate = (row.get("aggregate_type"), row.get("aggregate_id"));
        (aggregate, row.get::<i16, _>("bucket"))
    };
    let repeats = seen.repeats(&rows.iter().map(bucket).collect());
    let bound = bound(struck);
    for (bucket, count) in repeats.iter().filter(|(_, count)| **count > bound) {
        report.violation(
            "duplicates",
            format_args!("bucket {bucket}: {count} events came again, {bound} may after {struck} deaths"),
        );
    }
    report.fact("deaths", struck);
    report.fact(
        "duplicates",
        json!({
            "all": seen.again.len(),
            "per_death": u64::try_from(seen.again.len())? / struck.max(1),
            "most_of_a_bucket": repeats.values().max().copied().unwrap_or_default(),
            "bound_of_a_bucket": bound,
        }),
    );
    Ok(())
}

fn bound(deaths: u64) -> u64 {
    deaths * 2 * BATCH
}

/// Every row of the query is a violation.
async fn tell(kind: &'static str, sql: &'static str, db: &PgPool, report: &mut Report) -> Result<()> {
    for row in sqlx::query(sql).fetch_all(db).await.with_context(|| format!("asking for {kind}"))? {
        report.violation(kind, row.get::<String, _>(0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arrivals: &[i64], committed: i64, deduplicates: bool) -> usize {
        let aggregate = ("a".to_owned(), "1".to_owned());
        let mut seen = Seen::default();
        for sequence in arrivals {
            if !seen.audit.see("a", "1", *sequence) {
                seen.again.push((aggregate.clone(), *sequence));
            }
            *seen.arrivals.entry(aggregate.clone()).or_default() += 1;
        }
        let repeats = seen.repeats(&HashMap::from([(aggregate.clone(), 7)]));
        assert_eq!(repeats.get(&7).copied().unwrap_or_default(), seen.again.len() as u64);
        let mut report = Report::default();
        arrived(&seen, &HashMap::from([(aggregate, committed)]), deduplicates, &mut report);
        report.violations().len()
    }

    #[test]
    fn only_who_deduplicates_may_see_events_again() {
        assert_eq!(told(&[1, 2, 2, 3], 3, true), 0);
        assert_eq!(told(&[1, 2, 2, 3], 3, false), 1);
        assert_eq!(told(&[1, 2, 3], 3, false), 0);
        assert_eq!(told(&[1, 3], 3, true), 1);
        assert_eq!(told(&[1, 2, 3, 4], 3, true), 1);
    }

    #[test]
    fn rest_is_when_all_is_marked_and_applied() {
        assert!(Unrest { waiting: 0, behind: 0 }.is_over());
        assert!(Unrest { waiting: 0, behind: -1 }.is_over());
        assert!(!Unrest { waiting: 1, behind: 0 }.is_over() && !Unrest { waiting: 0, behind: 1 }.is_over());
    }
}
