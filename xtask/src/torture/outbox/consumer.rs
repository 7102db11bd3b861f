//! Everything that has arrived in Kafka, read from its beginning once all is quiet.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use steadfast_bus::kafka::{Config, Member};
use steadfast_bus::{Consumer as _, Start, Topics, headers};
use steadfast_outbox::trial::{Aggregate, Audit};
use tokio::time::Instant;

const AT_ONCE: usize = 5_000;
const WAIT: Duration = Duration::from_millis(250);
/// So many polls without a record mean the end, once everything has come.
const IDLE_POLLS: u32 = 6;
/// By then what has not come is lost.
const LIMIT: Duration = Duration::from_secs(40);

/// What a consumer has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) audit: Audit,
    /// How often an event arrived, the first time included.
    pub(super) arrivals: HashMap<Aggregate, i64>,
    /// Those that came again, in order.
    pub(super) again: Vec<(Aggregate, i64)>,
    pub(super) unreadable: Vec<String>,
}

impl Seen {
    /// By bucket, how often events came again.
    pub(super) fn repeats(&self, buckets: &HashMap<Aggregate, i16>) -> HashMap<i16, u64> {
        let mut repeats: HashMap<i16, u64> = HashMap::new();
        for (aggregate, _) in &self.again {
            // One that no bucket has was never committed, which the audit tells.
            if let Some(bucket) = buckets.get(aggregate) {
                *repeats.entry(*bucket).or_default() += 1;
            }
        }
        repeats
    }
}

/// Reads until `expected` different events have come and then nothing.
pub(super) async fn read(brokers: &str, topics: &[&str], expected: u64) -> Result<Seen> {
    let topics = topics.iter().map(ToString::to_string).collect();
    let mut member = Member::join(&Config::new(brokers), "torture-audit", Topics::Named(topics), Start::Beginning)
        .context("kafka")?;
    let mut seen = Seen::default();
    let (begun, mut idle) = (Instant::now(), 0);
    while begun.elapsed() < LIMIT && !(idle >= IDLE_POLLS && seen.audit.events() >= expected) {
        let some = member.poll(AT_ONCE, WAIT).await.context("reading what has arrived")?;
        idle = if some.is_empty() { idle + 1 } else { 0 };
        for delivered in &some {
            match headers::decode(&delivered.record) {
                Ok(event) => {
                    let aggregate = (event.aggregate_type, event.aggregate_id);
                    if !seen.audit.see(&aggregate.0, &aggregate.1, event.sequence) {
                        seen.again.push((aggregate.clone(), event.sequence));
                    }
                    *seen.arrivals.entry(aggregate).or_default() += 1;
                }
                Err(error) => seen.unreadable.push(format!("{} {}: {error}", delivered.topic, delivered.offset)),
            }
        }
    }
    member.leave().await;
    Ok(seen)
}
