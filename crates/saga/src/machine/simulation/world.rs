//! The world of one run: clock, network, journal, owners.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt::Write;

use fastrand::Rng;
use steadfast_core::{Op, Timestamp};

use super::super::{Input, Plan, Saga, Status, StepSet, Verdict};
use super::mark::Marks;
use super::owner::{Journal, Owner};
use super::participant::{Request, Site};
use super::people::act;
use super::scenario::{Habit, Scenario};
use super::{Mutation, verify};

/// A run that is not over after so much time with a kind world hangs.
const PATIENCE: i64 = 400_000;
const MOST_EVENTS: u32 = 20_000;

pub(super) type Checked<T> = Result<T, String>;
#[derive(Debug)]
pub(super) enum Event {
    Arrives(Message),
    Reply { call: usize, epoch: u32, step: usize, op: Op, attempt: u32, verdict: Verdict, late: bool },
    Deferred { epoch: u32, step: usize, op: Op, attempt: u32, until: i64 },
    CommitLands { generation: u32 },
    CommitSeen { generation: u32 },
    CommitAges,
    TakeOver,
    Deed(usize),
    Release,
    Operator,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) call: usize,
    pub(super) epoch: u32,
    pub(super) step: usize,
    pub(super) attempt: u32,
    pub(super) request: Request,
}

#[derive(Debug)]
pub(super) struct Timed {
    at: i64,
    number: u64,
    event: Event,
}

impl Ord for Timed {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timed {}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) plan: &'a Plan,
    pub(super) crashes: &'a [u32],
    pub(super) mutation: Mutation,
    pub(super) marks: &'a mut Marks,
    pub(super) habits: Vec<Habit>,
    pub(super) rng: Rng,
    pub(super) now: i64,
    pub(super) events: u32,
    pub(super) number: u64,
    pub(super) queue: BinaryHeap<Timed>,
    pub(super) owner: Option<Owner>,
    pub(super) zombie: Option<Owner>,
    pub(super) zombie_until: i64,
    pub(super) epoch: u32,
    pub(super) journal: Journal,
    pub(super) sites: Vec<Site>,
    pub(super) answered: Vec<bool>,
    pub(super) bodies: Vec<[Option<u64>; 2]>,
    pub(super) reported: Option<Status>,
    /// Steps that an operator took out of the machine's hands.
    pub(super) meddled: StepSet,
    pub(super) by_hand: StepSet,
    pub(super) possibly_sent: StepSet,
    pub(super) lost: bool,
    pub(super) points: u32,
    pub(super) rounds: u32,
    pub(super) fresh: u64,
    pub(super) trace: Option<String>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        crashes: &'a [u32],
        mutation: Mutation,
        marks: &'a mut Marks,
        trace: bool,
    ) -> Self {
        let steps = scenario.plan.steps().len();
        Self {
            scenario,
            plan: &scenario.plan,
            crashes,
            mutation,
            marks,
            habits: scenario.habits.clone(),
            rng: Rng::with_seed(scenario.seed ^ 0x5EED),
            now: 0,
            events: 0,
            number: 0,
            queue: BinaryHeap::new(),
            owner: None,
            zombie: None,
            zombie_until: 0,
            epoch: 1,
            journal: Journal::default(),
            sites: vec![Site::default(); steps],
            answered: Vec::new(),
            bodies: vec![[None; 2]; steps],
            reported: None,
            meddled: StepSet::EMPTY,
            by_hand: StepSet::EMPTY,
            possibly_sent: StepSet::EMPTY,
            lost: false,
            points: 0,
            rounds: 0,
            fresh: 0,
            trace: trace.then(String::new),
        }
    }

    pub(super) fn points(&self) -> u32 {
        self.points
    }

    pub(super) fn timeline(&self) -> &str {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            writeln!(trace, "{now:>7} {}", line()).expect("a string takes all");
        }
    }

    pub(super) fn schedule(&mut self, after: i64, event: Event) {
        self.number += 1;
        self.queue.push(Timed { at: self.now + after, number: self.number, event });
    }

    pub(super) fn kind(&self) -> bool {
        self.now >= self.scenario.heal_at
    }

    /// Whether the network, or a participant, does now what it should not.
    pub(super) fn fault(&mut self) -> bool {
        !self.kind() && self.rng.u32(0..100) < self.scenario.faults
    }

    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }

    pub(super) fn run(&mut self) -> Checked<()> {
        self.tell(|| String::from("start"));
        for index in 0..self.scenario.deeds.len() {
            self.schedule(self.scenario.deeds[index].0, Event::Deed(index));
        }
        self.schedule(self.scenario.heal_at.max(6_000) + 1_000, Event::Release);
        let (now, random) = (Timestamp::from_millis(self.now), self.rng.u64(..));
        let (mut saga, output) = if self.scenario.queued {
            Saga::enqueue(self.plan, self.scenario, now)
        } else {
            Saga::start(self.plan, self.scenario, now, random)
        };
        saga.rules = self.mutation.rules;
        self.owner = Some(Owner { saga, epoch: 1, skew: 0 });
        // Under a mutation the start may already be let through.
        self.emit(1, output)?;
        if self.mutation.rules != super::super::rules::Rules::ALL {
            self.feed(1, Input::Tick)?;
        }
        if self.scenario.queued {
            let admitted = self.rng.i64(1..300);
            self.schedule(admitted, Event::Deed(usize::MAX));
        }
        self.turn_the_wheel()?;
        verify::end(self)
    }

    fn turn_the_wheel(&mut self) -> Checked<()> {
        loop {
            self.events += 1;
            let owners = [self.owner.as_ref(), self.zombie.as_ref()].map(|owner| owner.map(|o| (o.epoch, o.wake_at())));
            let due = owners.into_iter().flatten().filter_map(|(_, wake)| wake).min();
            let next = self.queue.peek().map(|timed| timed.at);
            let Some(at) = [due, next].into_iter().flatten().min() else { return Ok(()) };
            if self.events > MOST_EVENTS || at > PATIENCE {
                return Err(String::from("the run does not end"));
            }
            self.now = self.now.max(at);
            if self.zombie.is_some() && self.now > self.zombie_until {
                self.zombie = None;
            }
            if next.is_some_and(|next| next <= at) {
                if let Some(timed) = self.queue.pop() {
                    self.happen(timed.event)?;
                }
                continue;
            }
            for (epoch, wake) in owners.into_iter().flatten() {
                if wake.is_some_and(|wake| wake <= self.now) {
                    self.feed(epoch, Input::Tick)?;
                }
            }
        }
    }

    fn happen(&mut self, event: Event) -> Checked<()> {
        match event {
            Event::Arrives(message) => self.arrives(message),
            Event::Reply { call, epoch, step, op, attempt, verdict, late } => {
                if std::mem::replace(&mut self.answered[call], true) && !late {
                    return Ok(());
                }
                if self.point(epoch) {
                    return Ok(());
                }
                self.feed(epoch, Input::Verdict { step, op, attempt, verdict })
            }
            Event::Deferred { epoch, step, op, attempt, until } => {
                let skew = [self.owner.as_ref(), self.zombie.as_ref()].into_iter().flatten();
                let skew = skew.filter(|owner| owner.epoch == epoch).map(|owner| owner.skew).next().unwrap_or_default();
                let until = Timestamp::from_millis(self.now + skew + until);
                self.feed(epoch, Input::Deferred { step, op, attempt, until })
            }
            Event::CommitLands { generation } if generation == self.journal.generation => self.commit_lands(),
            Event::CommitSeen { generation } if generation == self.journal.generation => self.commit_seen(),
            Event::CommitLands { .. } | Event::CommitSeen { .. } => Ok(()),
            Event::CommitAges => {
                self.journal.wanted |= !self.journal.pending.is_empty();
                self.commit();
                Ok(())
            }
            Event::TakeOver => self.take_over(),
            Event::Deed(usize::MAX) => self.instruct(Input::Admit),
            Event::Deed(index) => self.deed(&self.scenario.deeds[index].1.clone()),
            Event::Release => self.instruct(Input::Release(act())),
            Event::Operator => self.operator(),
        }
    }
}
