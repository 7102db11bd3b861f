//! Every interleaving of a few processes over one record, with the decisions that the stores run: reads and writes apart,
//! crashes, lost replies, leases that end, late finishers, a clock that steps.
//!
//! A checker that cannot fail proves nothing: the same model without the compare must be refuted.

use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use stateright::{Checker, Model, Property};
use steadfast_core::Timestamp;
use steadfast_idempotency::decision::{self, Change};
use steadfast_idempotency::{Answer, Claim, Decision, Owner, Record, Report, Reported, State};

use crate::support::claim;

/// Ticks of the model's clock.
const TICK: Duration = Duration::from_millis(1);
const LAST: i64 = 4;

#[derive(Clone, Copy, Debug)]
struct Life {
    processes: usize,
    /// The route's policy: repeat, or hold.
    take_over: bool,
    /// Whether a write names what it saw.
    compare: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Process {
    /// Has no claim; this is its next token.
    Idle,
    /// Has read the record and is about to write its claim.
    Claiming(Option<Record>),
    /// Executes.
    Running,
    /// Has taken effect, and reports.
    Effected,
    /// Has read the record and is about to write its report.
    Reporting(Option<Record>),
    /// Got an answer: its own, or a stored one.
    Answered(u8),
    /// Was sent away.
    Away,
    /// Was refused as late.
    Late,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    now: i64,
    back: bool,
    record: Option<Record>,
    processes: Vec<(u8, Process)>,
    crashes: u8,
    /// Executions that took effect.
    effects: u8,
    /// The first answer that was ever stored.
    stored: Option<u8>,
    /// Whether a stored answer was replaced while it stood.
    overwritten: bool,
    /// Whether two have been told that their answer is the one that counts.
    accepted: u8,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Read(usize),
    /// Writes the claim; the reply may be lost.
    Claim(usize, bool),
    Effect(usize),
    ReadAgain(usize),
    /// Writes the report; the reply may be lost.
    Report(usize, bool),
    Crash(usize),
    Tick,
    Back,
}

impl Life {
    fn claim_of(&self, token: u8) -> Claim {
        Claim { lease: TICK * 2, ttl: TICK * 100, ..claim("k", token, "a", self.take_over) }
    }

    fn write(&self, slot: &mut Option<Record>, change: Change) -> bool {
        if self.compare {
            return change.apply(slot);
        }
        *slot = change.then;
        true
    }
}

fn answer(token: u8) -> Arc<Answer> {
    Arc::new(Answer::new(StatusCode::OK).with_body(vec![token]))
}

fn token_of(answer: &Answer) -> u8 {
    answer.body.as_ref().unwrap()[0]
}

impl Model for Life {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let processes = (1..).take(self.processes).map(|token| (token, Process::Idle)).collect();
        vec![World {
            now: 0,
            back: false,
            record: None,
            processes,
            crashes: 0,
            effects: 0,
            stored: None,
            overwritten: false,
            accepted: 0,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for (at, (_, process)) in world.processes.iter().enumerate() {
            match process {
                Process::Idle => steps.push(Step::Read(at)),
                Process::Claiming(_) => steps.extend([Step::Claim(at, false), Step::Claim(at, true)]),
                Process::Running => steps.push(Step::Effect(at)),
                Process::Effected => steps.push(Step::ReadAgain(at)),
                Process::Reporting(_) => steps.extend([Step::Report(at, false), Step::Report(at, true)]),
                Process::Answered(_) | Process::Away | Process::Late => {}
            }
            let running = !matches!(process, Process::Idle | Process::Answered(_) | Process::Away | Process::Late);
            if running && world.crashes == 0 {
                steps.push(Step::Crash(at));
            }
        }
        if world.now < LAST {
            steps.push(Step::Tick);
        }
        if world.now > 0 && !world.back {
            steps.push(Step::Back);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        let now = Timestamp::from_millis(world.now);
        match step {
            Step::Tick => next.now += 1,
            Step::Back => {
                next.back = true;
                next.now -= 1;
            }
            Step::Crash(at) => {
                // A new process with a new token comes for the same request.
                next.crashes += 1;
                next.processes[at] = (world.processes[at].0 + 100, Process::Idle);
            }
            Step::Read(at) => next.processes[at].1 = Process::Claiming(world.record.clone()),
            Step::Effect(at) => {
                next.effects += 1;
                next.processes[at].1 = Process::Effected;
            }
            Step::ReadAgain(at) => next.processes[at].1 = Process::Reporting(world.record.clone()),
            Step::Claim(at, lost) => {
                let (token, Process::Claiming(seen)) = &world.processes[at] else { return None };
                let (decision, change) = decision::claim(seen.as_ref(), &self.claim_of(*token), now);
                let written = change.is_none_or(|change| self.write(&mut next.record, change));
                next.processes[at].1 = match decision {
                    // Somebody else was faster, or the reply was lost: read and decide again with the same token.
                    _ if !written || lost => Process::Idle,
                    Decision::Execute { .. } => Process::Running,
                    Decision::Replay(answer) => Process::Answered(token_of(&answer)),
                    _ => Process::Away,
                };
            }
            Step::Report(at, lost) => {
                let (token, Process::Reporting(seen)) = &world.processes[at] else { return None };
                let done = Report::Complete(answer(*token));
                let owner = Owner::from_bytes([*token; 16]);
                let (reported, change) = decision::report(seen.as_ref(), owner, &done, TICK * 100, now);
                let first = change.is_some();
                let written = change.is_none_or(|change| self.write(&mut next.record, change));
                next.processes[at].1 = match reported {
                    _ if !written => Process::Effected,
                    Reported::Accepted => {
                        next.accepted += u8::from(first);
                        if lost { Process::Effected } else { Process::Answered(*token) }
                    }
                    Reported::Lost(_) => Process::Late,
                };
            }
        }
        let stored = |record: &Option<Record>| match record {
            Some(Record { state: State::Done(answer), .. }) => Some(token_of(answer)),
            _ => None,
        };
        let (before, after) = (stored(&world.record), stored(&next.record));
        next.overwritten |= before.is_some() && before != after;
        next.stored = next.stored.or(after);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a stored answer is never overwritten", |_, world: &World| !world.overwritten),
            Property::always("one answer counts", |_, world: &World| world.accepted <= 1),
            Property::always("everybody gets the answer that counts", |_, world: &World| {
                world.processes.iter().all(|(_, process)| match process {
                    Process::Answered(token) => Some(*token) == world.stored,
                    _ => true,
                })
            }),
            Property::always("held means at most one effect", |life: &Life, world: &World| {
                life.take_over || world.effects <= 1
            }),
            Property::sometimes("a duplicate gets the stored answer", |_, world: &World| {
                let own = |(token, process): &(u8, Process)| matches!(process, Process::Answered(got) if got != token);
                world.processes.iter().any(own)
            }),
            Property::sometimes("a late finisher is refused, or a lost claim held", |life: &Life, world: &World| {
                let looked_for = if life.take_over { Process::Late } else { Process::Away };
                world.processes.iter().any(|(_, process)| *process == looked_for)
            }),
        ]
    }
}

fn check(take_over: bool, compare: bool) -> impl Checker<Life> {
    Life { processes: 2, take_over, compare }.checker().threads(2).spawn_bfs().join()
}

#[test]
fn no_interleaving_executes_twice_where_it_may_not_or_overwrites_an_answer() {
    for take_over in [false, true] {
        let checker = check(take_over, true);
        checker.assert_properties();
        assert!(checker.unique_state_count() > 1_000, "the model is too small: {}", checker.unique_state_count());
    }
}

#[test]
fn without_the_compare_the_checker_finds_the_double_execution_and_the_overwritten_answer() {
    let held = check(false, false);
    assert!(held.discovery("held means at most one effect").is_some());
    let repeated = check(true, false);
    assert!(repeated.discovery("a stored answer is never overwritten").is_some());
    assert!(repeated.discovery("one answer counts").is_some());
}
