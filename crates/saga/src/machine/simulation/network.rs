//! The network between an owner and the participants: it loses, doubles, delays and reorders.

use std::time::Duration;

use steadfast_core::Op;

use super::super::state::Action;
use super::super::{Call, Kind, Plan, Saga, Verdict};
use super::mark::Mark;
use super::participant::{Deed, Request};
use super::scenario::mix;
use super::verify;
use super::world::{Checked, Event, Message, World};

impl World<'_> {
    pub(super) fn send(&mut self, epoch: u32, call: &Call) -> Checked<()> {
        let Some(saga) = self.saga_of(epoch) else { return Ok(()) };
        let rendered = render(saga, self.plan, call);
        let needs = self.plan.ancestors(call.step).iter().map(|step| saga.state.steps[step].resolved).max();
        if needs.unwrap_or(0) > saga.committed() {
            self.marks.hit(Mark::CompletedAhead);
        }
        if call.probe && self.plan.step(call.step).probe {
            self.marks.hit(Mark::PivotAskedAgain);
        }
        let number = self.answered.len();
        self.answered.push(false);
        let (step, op, attempt) = (call.step, call.op, call.attempt);
        let reply = |verdict| Event::Reply { call: number, epoch, step, op, attempt, verdict, late: false };
        let Some(body) = rendered else {
            self.schedule(0, reply(Verdict::Unrenderable { detail: String::from("no such output") }));
            return Ok(());
        };
        if !call.probe {
            self.check_body(step, op, body)?;
        }
        if self.fault() && self.one_in(3) {
            self.schedule(self.now % 7, reply(Verdict::NotSent { retry_after: None, detail: String::from("refused") }));
            return Ok(());
        }
        let timeout = i64::try_from(call.timeout.as_millis()).unwrap_or(i64::MAX);
        let detail = String::from("timed out");
        // Some calls wait for a place first; their time begins when they get it.
        let queued = if self.fault() { self.rng.i64(0..timeout * 3) } else { 0 };
        if queued > 0 {
            self.schedule(0, Event::Deferred { epoch, step, op, attempt, until: queued + timeout });
        }
        self.schedule(queued + timeout, reply(Verdict::Unknown { free: false, retry_after: None, detail }));
        let request = Request { op, probe: call.probe, knowledge: call.knowledge, body };
        let message = Message { call: number, epoch, step, attempt, request };
        // A connection loses requests; to double one takes a proxy, which only a barrier stands.
        let most = if self.plan.step(step).barrier { 3 } else { 2 };
        let copies = if self.fault() { self.rng.u32(0..most) } else { 1 };
        for _ in 0..copies {
            let after = queued + self.way(timeout);
            self.schedule(after, Event::Arrives(message));
        }
        Ok(())
    }

    /// How long a message takes.
    pub(super) fn way(&mut self, timeout: i64) -> i64 {
        if self.fault() && self.rng.bool() { self.rng.i64(0..timeout * 4) } else { self.rng.i64(1..25) }
    }

    pub(super) fn check_body(&mut self, step: usize, op: Op, body: u64) -> Checked<()> {
        let first = self.bodies[step][op as usize].get_or_insert(body);
        if *first != body && self.meddled.is_empty() && self.mutation.barrier {
            return Err(format!("step {step}: two attempts of {op} differ"));
        }
        Ok(())
    }

    pub(super) fn arrives(&mut self, message: Message) -> Checked<()> {
        let Message { call, epoch, step, attempt, request } = message;
        let is = self.plan.step(step);
        let op = request.op;
        let zombie = epoch != self.epoch;
        let reply = |verdict, late| Event::Reply { call, epoch, step, op, attempt, verdict, late };
        if self.now < self.habits[step].misconfigured_until {
            self.marks.hit(Mark::Misconfigured);
            self.schedule(1, reply(Verdict::Misconfigured { detail: String::from("404") }, false));
            return Ok(());
        }
        if self.fault() && self.one_in(2) {
            let free = self.rng.bool();
            let retry_after = self.rng.bool().then(|| Duration::from_millis(self.now.unsigned_abs() % 400));
            let detail = String::from("503");
            self.schedule(1, reply(Verdict::Unknown { free, retry_after, detail }, false));
            return Ok(());
        }
        self.fresh += 1;
        let barrier = is.barrier && self.mutation.barrier;
        let stores = is.kind != Kind::Retriable;
        let known = self.sites[step].clone();
        let (verdict, deed) = self.sites[step]
            .serve(request, barrier, stores, &self.habits[step], 1_000 + self.fresh)
            .or_else(|fault| {
                // Nothing of this is wrong where an operator exchanged what it depends on.
                if self.meddled.is_empty() { Err(fault) } else { Ok((known_reply(), Deed::Nothing)) }
            })?;
        self.tell(|| format!("e{epoch}                {op} of {step}: {deed:?}, {}", verdict.name()));
        verify::deed(self, step, op, deed, &known, zombie)?;
        if op == Op::Action && request.probe {
            self.marks.hit(if matches!(verdict, Verdict::Absent) { Mark::ProbeAbsent } else { Mark::ProbeDone });
        }
        if self.fault() {
            if self.one_in(3) {
                // The answer comes although the client has given up: it must change nothing that it should not.
                let after = self.rng.i64(0..3_000);
                self.marks.hit(Mark::LateReply);
                self.schedule(after, reply(verdict, true));
            }
            return Ok(());
        }
        let timeout = i64::try_from(is.attempt_timeout.as_millis()).unwrap_or(i64::MAX);
        let after = self.way(timeout);
        self.schedule(after, reply(verdict, false));
        Ok(())
    }
}

fn known_reply() -> Verdict {
    Verdict::Misconfigured { detail: String::from("idempotency-mismatch") }
}

/// The body of a request: a digest of all that it may read. `None` where it reads what is not there.
fn render(saga: &Saga, plan: &Plan, call: &Call) -> Option<u64> {
    let outputs = saga.outputs(plan, call.step, call.op);
    let mut body = mix(call.step as u64, call.op as u64);
    for step in 0..plan.steps().len() {
        let value = outputs.get(step).map(|value| value.as_u64().unwrap_or(0));
        let read = call.op == Op::Compensate && plan.step(call.step).reads.contains(&step);
        let left_out = matches!(saga.state.steps[step].action, Action::Skipped | Action::Voided);
        if read && value.is_none() && !left_out {
            return None;
        }
        body = mix(body, value.map_or(1, |value| value + 2));
    }
    Some(mix(body, call.knowledge.map_or(0, |knowledge| knowledge as u64 + 1)))
}
