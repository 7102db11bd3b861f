//! Owners and their journal: deaths, takeovers, zombies, commits that land unseen.

use steadfast_core::Timestamp;

use super::super::{Entry, Input, Output, Saga, Status, StepSet};
use super::mark::Mark;
use super::verify;
use super::world::{Checked, Event, World};

#[derive(Debug)]
pub(super) struct Owner {
    pub(super) saga: Saga,
    pub(super) epoch: u32,
    /// How far its clock is off.
    pub(super) skew: i64,
}

impl Owner {
    pub(super) fn clock(&self, now: i64) -> Timestamp {
        Timestamp::from_millis(now + self.skew)
    }

    /// When it wants to be looked at, by the world's clock.
    pub(super) fn wake_at(&self) -> Option<i64> {
        self.saga.wake_at().map(|wake| wake.as_millis() - self.skew)
    }
}

#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) durable: Vec<Entry>,
    pub(super) pending: Vec<Entry>,
    /// How many of the pending ones the commit in flight holds.
    pub(super) flight: Option<usize>,
    pub(super) wanted: bool,
    pub(super) generation: u32,
}

impl World<'_> {
    /// A point at which the owner may die, or be taken for dead.
    pub(super) fn point(&mut self, epoch: u32) -> bool {
        if epoch != self.epoch {
            return false;
        }
        self.points += 1;
        if !self.crashes.contains(&self.points) || self.owner.is_none() {
            return false;
        }
        self.mark_crash();
        let after = self.rng.i64(20..4_000);
        self.schedule(after, Event::TakeOver);
        if self.scenario.zombies && self.rng.bool() {
            self.tell(|| String::from("the owner is cut off, and does not know it"));
            return false;
        }
        self.tell(|| String::from("the owner dies"));
        self.owner = None;
        self.settle_flight();
        true
    }

    pub(super) fn mark_crash(&mut self) {
        let Some(owner) = &self.owner else { return };
        let saga = &owner.saga;
        if self.journal.durable.is_empty() {
            self.marks.hit(Mark::CrashBeforeStartDurable);
        }
        if saga.state.commit_point.is_some_and(|(_, mark)| mark.entry > self.journal.durable.len() as u64) {
            self.marks.hit(Mark::CrashBeforeCommitPointDurable);
        } else if saga.is_deciding() {
            self.marks.hit(Mark::CrashAtCommitPoint);
        }
        if saga.status() == Status::Compensating {
            self.marks.hit(Mark::CrashWhileCompensating);
        }
        if saga.is_settled() {
            self.marks.hit(Mark::CrashAfterEnd);
        }
    }

    /// The commit of an owner that is gone may or may not have happened.
    pub(super) fn settle_flight(&mut self) {
        if let Some(flight) = self.journal.flight.take()
            && self.rng.bool()
        {
            self.marks.hit(Mark::CommitLandedUnseen);
            self.journal.durable.extend(self.journal.pending.drain(..flight));
        }
        self.journal.pending.clear();
        self.journal.wanted = false;
        self.journal.generation += 1;
    }

    pub(super) fn take_over(&mut self) -> Checked<()> {
        if let Some(owner) = self.owner.take() {
            self.settle_flight();
            self.zombie_until = self.now + self.rng.i64(0..8_000);
            let (epoch, entries) = (owner.epoch, self.journal.durable.len() as u64);
            self.zombie = Some(owner);
            self.epoch += 1;
            if self.rng.bool() {
                self.feed(epoch, Input::Committed { entries })?;
            }
        } else {
            self.epoch += 1;
        }
        if self.journal.durable.is_empty() {
            self.tell(|| String::from("nobody knows the saga"));
            self.lost = true;
            return Ok(());
        }
        // An act that was lost with the former owner counts for nothing.
        let acts = self.journal.durable.iter().filter_map(|entry| match entry {
            Entry::Voiding { step, .. } | Entry::Done { step, assumed: Some(_), .. } => Some(*step),
            _ => None,
        });
        self.meddled = acts.collect::<StepSet>().union(self.by_hand);
        let skew = if self.fault() { self.rng.i64(-3_000..3_000) } else { 0 };
        let (now, random) = (Timestamp::from_millis(self.now + skew), self.rng.u64(..));
        let entries = &self.journal.durable;
        let mut saga = Saga::empty(self.plan);
        saga.rules = self.mutation.rules;
        saga.fold(self.plan, entries).map_err(|corrupt| corrupt.to_string())?;
        let output = saga.take_up(self.plan, self.scenario, now, random);
        let epoch = self.epoch;
        self.tell(|| format!("taken over in epoch {epoch} with {} entries", saga.entries()));
        for entry in &output.entries {
            if let Entry::Recovered { doubtful, .. } = entry {
                for step in doubtful.iter() {
                    self.possibly_sent.insert(step);
                    if saga.state.steps[step].asking.first.is_none() {
                        self.marks.hit(Mark::PossiblySentUnasked);
                    }
                }
            }
        }
        self.owner = Some(Owner { saga, epoch, skew });
        // What was said to the former owner and never became durable was never confirmed: it is said again.
        self.schedule(100, Event::Deed(usize::MAX));
        self.schedule((self.scenario.heal_at.max(6_000) - self.now).max(0) + 1_000, Event::Release);
        self.emit(epoch, output)
    }

    /// Gives an input to the owner of an epoch, and does what it says.
    pub(super) fn feed(&mut self, epoch: u32, input: Input) -> Checked<()> {
        let jumps = self.fault() && self.one_in(20);
        let random = self.rng.u64(..);
        let current = self.owner.as_mut().filter(|owner| owner.epoch == epoch);
        let Some(owner) = current.or(self.zombie.as_mut().filter(|owner| owner.epoch == epoch)) else {
            return Ok(());
        };
        if jumps {
            self.marks.hit(Mark::ClockJumped);
            owner.skew = i64::try_from(random % 6_000).unwrap_or_default() - 3_000;
        }
        let now = owner.clock(self.now);
        let told = self.trace.is_some().then(|| format!("e{epoch} <- {input:?}"));
        let output = owner.saga.handle(self.plan, self.scenario, input, now, random);
        let saga = &owner.saga;
        let active = !saga.is_settled() && !saga.is_parked();
        if active != saga.wake_at().is_some() {
            return Err(format!("{:?} with wake_at {:?}", saga.status(), saga.wake_at()));
        }
        if saga.wake_at().is_some_and(|wake| wake <= now) {
            return Err(String::from("wakes in the past: it would spin"));
        }
        if let Some(told) = told {
            self.tell(|| told);
        }
        self.emit(epoch, output)
    }

    pub(super) fn emit(&mut self, epoch: u32, output: Output) -> Checked<()> {
        for entry in &output.entries {
            self.tell(|| format!("e{epoch}    {entry:?}"));
        }
        let current = epoch == self.epoch && self.owner.is_some();
        if current {
            verify::entries(self, &output.entries);
            if !output.entries.is_empty() {
                if self.point(epoch) {
                    return Ok(());
                }
                if self.journal.pending.is_empty() {
                    self.schedule(20, Event::CommitAges);
                }
                self.journal.pending.extend(output.entries);
            }
            self.journal.wanted |= output.urgent && !self.journal.pending.is_empty();
            self.commit();
        }
        for call in output.calls {
            if self.point(epoch) {
                return Ok(());
            }
            self.send(epoch, &call)?;
        }
        if output.ended {
            let status = self.saga_of(epoch).map(Saga::status);
            self.tell(|| format!("e{epoch}    reported {status:?}"));
            verify::report(self, status)?;
            if status == Some(Status::Failed) && self.rounds < 3 && self.scenario.operator > 0 {
                self.rounds += 1;
                let after = (self.scenario.heal_at - self.now).max(0) + 500;
                self.schedule(after, Event::Operator);
            }
        }
        Ok(())
    }

    pub(super) fn saga_of(&self, epoch: u32) -> Option<&Saga> {
        let owners = [self.owner.as_ref(), self.zombie.as_ref()];
        owners.into_iter().flatten().find(|owner| owner.epoch == epoch).map(|owner| &owner.saga)
    }

    pub(super) fn commit(&mut self) {
        if self.journal.flight.is_none()
            && self.journal.wanted
            && !self.journal.pending.is_empty()
            && self.owner.is_some()
        {
            self.journal.flight = Some(self.journal.pending.len());
            self.journal.wanted = false;
            let (after, generation) = (self.rng.i64(1..12), self.journal.generation);
            self.schedule(after, Event::CommitLands { generation });
        }
    }

    pub(super) fn commit_lands(&mut self) -> Checked<()> {
        if self.point(self.epoch) {
            return Ok(());
        }
        let flight = self.journal.flight.unwrap_or_default();
        self.journal.durable.extend(self.journal.pending.drain(..flight));
        self.journal.flight = Some(0);
        let generation = self.journal.generation;
        if self.fault() {
            // Its acknowledgement is lost; the same rows are appended again and found to be there.
            self.marks.hit(Mark::LostCommitAck);
            let after = self.rng.i64(5..200);
            self.schedule(after, Event::CommitSeen { generation });
            return Ok(());
        }
        self.commit_seen()
    }

    pub(super) fn commit_seen(&mut self) -> Checked<()> {
        if self.point(self.epoch) {
            return Ok(());
        }
        self.journal.flight = None;
        let entries = self.journal.durable.len() as u64;
        self.feed(self.epoch, Input::Committed { entries })?;
        self.commit();
        Ok(())
    }
}
