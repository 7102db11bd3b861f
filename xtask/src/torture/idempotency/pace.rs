//! How fast the services answered while their stores were away: a function of values, and what must be left out of it.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::super::report::Report;
use super::arm::Arm;
use super::load::{Charge, What, now};
use super::world::Charges;

/// Nobody waits longer for a store.
const LONGEST: u64 = 1_000;
/// What was executed takes as long as its ledger does, which the service gives a second; before it the claim, after it the
/// record have their time.
const EXECUTED: u64 = 3_000;
/// A late finisher waits for the winner, which is no wait for the store.
const LATE: u64 = 3_000;
/// Of a hundred refusals, ninety-five come within this time where the store is Redis.
const CLOSED: u64 = 250;
/// The machine's own share of a request: connecting, two processes on two cores.
const SHARE: u64 = 250;
/// A wait so much longer than it was to be is the machine's fault.
const HICCUP: Duration = Duration::from_millis(60);
const TICK: Duration = Duration::from_millis(10);

/// Of a thousand milliseconds, so many may be the machine's fault before nothing can be said about anybody's times.
const BUSY: u64 = 30;

/// Whether the machine was too busy for times to be judged in a run that took so many milliseconds.
pub(super) fn is_busy(hiccups: &[(u64, u64)], took: u64) -> bool {
    hiccups.iter().map(|(from, until)| until - from).sum::<u64>() * 1_000 > took * BUSY
}

/// Notes when the machine itself was late.
pub(super) async fn hiccups(stop: CancellationToken) -> Vec<(u64, u64)> {
    let mut windows = Vec::new();
    while !stop.is_cancelled() {
        let (begun, from) = (Instant::now(), now());
        sleep(TICK).await;
        if begun.elapsed() > TICK + HICCUP {
            windows.push((from, now()));
        }
    }
    windows
}

/// Judges the times of an arm, where they are `judged` at all, and gives their spread. What a killed, stopped or just started process, or the machine,
/// was late with is nobody's fault.
pub(super) fn run(
    arm: Arm,
    charges: &[Charge],
    services: &[Charges],
    hiccups: &[(u64, u64)],
    judged: bool,
    report: &mut Report,
) -> Value {
    let mut away = Vec::new();
    let (mut slowest, mut executed) = (0, 0);
    for charge in charges.iter().filter(|charge| charge.arm == arm) {
        for answer in &charge.answers {
            let overlaps = |(from, until): &(u64, u64)| answer.asked < *until && *from < answer.came;
            let service = services.iter().find(|service| service.arm == arm && service.member == answer.member);
            let disturbed = service.is_some_and(|service| service.disturbed.iter().any(overlaps));
            if disturbed || hiccups.iter().any(overlaps) {
                continue;
            }
            let took = answer.came - answer.asked;
            let limit = match answer.what {
                What::Broken => continue,
                What::Charged { replayed: false, .. } | What::Failed => EXECUTED,
                What::Charged { replayed: true, .. } => LATE,
                What::Away => {
                    away.push(took);
                    LONGEST
                }
                _ => LONGEST,
            };
            let of_kind = if limit == LONGEST { &mut slowest } else { &mut executed };
            *of_kind = took.max(*of_kind);
            if judged && took > limit + SHARE {
                let (key, what) = (&charge.key, &answer.what);
                report.violation("slow", format_args!("{key}: {what:?} after {took} ms, asked at {}", answer.asked));
            }
        }
    }
    away.sort_unstable();
    let at = |per_cent: usize| away.get((away.len() * per_cent / 100).min(away.len().saturating_sub(1))).copied();
    if judged && arm.is_redis() && at(95).is_some_and(|late| late > CLOSED) {
        report.violation("slow", format_args!("{}: of the refusals, 95 of 100 took up to {:?} ms", arm.name(), at(95)));
    }
    json!({ "refused": away.len(), "p50_ms": at(50), "p95_ms": at(95), "max_ms": away.last(), "slowest_ms": slowest, "slowest_executed_ms": executed })
}

#[cfg(test)]
mod tests {
    use super::super::load::Answer;
    use super::*;

    fn told(took: u64, what: What, hiccups: &[(u64, u64)]) -> usize {
        let answer = Answer { asked: 10_000, came: 10_000 + took, member: 0, what, misused: false };
        let charge = Charge {
            arm: Arm::Redis,
            key: "k".to_owned(),
            user: "u".to_owned(),
            cents: 1,
            answers: vec![answer],
            settled: true,
        };
        let mut report = Report::default();
        run(Arm::Redis, &[charge], &[], hiccups, true, &mut report);
        report.violations().len()
    }

    #[test]
    fn a_machine_that_is_late_all_the_time_judges_nobody() {
        assert!(!is_busy(&[(0, 100), (500, 600)], 60_000));
        assert!(is_busy(&[(0, 1_000), (2_000, 3_000)], 60_000));
    }

    #[test]
    fn a_refusal_that_is_late_and_a_hang_are_seen_unless_the_machine_was_late() {
        assert_eq!(told(210, What::Away, &[]), 0);
        assert_eq!(told(400, What::Away, &[]), 1, "too many are late");
        assert_eq!(told(2_000, What::Away, &[]), 2, "and it is a hang");
        assert_eq!(told(2_000, What::InFlight, &[]), 1);
        assert_eq!(told(10_000, What::Silence, &[]), 1);
        assert_eq!(told(2_000, What::Away, &[(11_000, 11_500)]), 0);
        assert_eq!(told(2_000, What::Away, &[(1, 2)]), 2);
        assert_eq!(told(2_000, What::Broken, &[]), 0);
        assert_eq!(told(2_000, What::Failed, &[]), 0);
        assert_eq!(told(4_000, What::Charged { id: 1, replayed: false }, &[]), 1);
    }
}
