//! Performs the calls that a machine asks for, and tells it what they meant.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use steadfast_core::{Op, StepKey};
use tracing::{Instrument, Span, field};

use super::core::Core;
use super::running::{Running, Seen};
use super::tenure::Ground;
use super::trace::child_of;
use crate::definition::{self, Context, Rendered};
use crate::machine::{Call, Input, Kind, Saga, Verdict};
use crate::participant::client::Outgoing;
use crate::participant::protocol::{self, Meaning};

impl Core {
    /// Sends a call, or says at once why it cannot be sent: the inputs to feed, the last one first.
    pub(super) fn dispatch(self: &Arc<Self>, running: &Arc<Running>, saga: &Saga, call: Call) -> Vec<Input> {
        if let Some(permission) = self.missing_permission(running, &call) {
            tracing::warn!(saga.id = %running.id, permission, "the user no longer holds a permission of the step");
            return denied(running, &call, permission);
        }
        match request(running, saga, &call) {
            Ok(rendered) => {
                let performed = perform(Arc::clone(self), Arc::clone(running), call, rendered);
                self.tasks.spawn(performed);
                Vec::new()
            }
            Err(detail) => vec![verdict_of(&call, Verdict::Unrenderable { detail })],
        }
    }

    /// A permission that the step's user needs now and does not hold. Compensations run as the system, and so does
    /// everything behind the commit point: a pivot is asked about once, before its first attempt.
    fn missing_permission(&self, running: &Running, call: &Call) -> Option<String> {
        let kind = running.loaded.plan.step(call.step).kind;
        let exempt = kind == Kind::Retriable || (kind == Kind::Pivot && call.attempt > 1);
        if call.op == Op::Compensate || exempt {
            return None;
        }
        let baggage = &running.baggage;
        let needed = &running.loaded.definition.steps[call.step].permissions;
        needed.iter().find(|name| !self.permissions.holds(&baggage.user, &baggage.permissions, name)).cloned()
    }
}

/// What a denial means: the saga turns back, and the call is known not to be on its way. At a pivot, whose intent is
/// durable already, it is the refusal of the pivot.
fn denied(running: &Running, call: &Call, permission: String) -> Vec<Input> {
    let detail = format!("the user does not hold the permission {permission}");
    if running.loaded.plan.step(call.step).kind == Kind::Pivot {
        return vec![verdict_of(call, Verdict::Refused { code: "permission".to_owned(), detail, stored: false })];
    }
    let unsent = verdict_of(call, Verdict::NotSent { retry_after: None, detail });
    vec![Input::PermissionRevoked { permission }, unsent]
}

fn request(running: &Running, saga: &Saga, call: &Call) -> Result<Rendered, String> {
    let step = &running.loaded.definition.steps[call.step];
    let request = match call.op {
        Op::Action => &step.action,
        Op::Compensate => step.compensation.as_ref().ok_or("the step has no compensation")?,
    };
    let outputs = Seen(saga.outputs(&running.loaded.plan, call.step, call.op));
    let context = Context { saga: &running.id_text, input: &running.input, outputs: &outputs };
    definition::render(request, &context).map_err(|error| error.to_string())
}

async fn perform(core: Arc<Core>, running: Arc<Running>, call: Call, rendered: Rendered) {
    // A call that is not sent leaves the saga as a crash would: whoever takes it up sends it again.
    if !may_send(&core, &running, &call).await {
        return;
    }
    let name = &running.loaded.definition.steps[call.step].name;
    // Names of spans are static in `tracing`; `otel.name` is what an OpenTelemetry exporter shows.
    let span = tracing::info_span!(
        "saga.step",
        otel.name = format_args!("saga.step.{name}"),
        otel.kind = "client",
        otel.status_code = field::Empty,
        otel.status_description = field::Empty,
        exception.message = field::Empty,
        saga.id = %running.id,
        saga.step = name,
        saga.attempt = call.attempt,
        saga.op = call.op.as_str(),
    );
    let verdict = exchange(&core, &running, &call, rendered).instrument(span.clone()).await;
    mark(&span, &verdict);
    core.feed(&running, verdict_of(&call, verdict));
}

/// Waits while the journal is away or the lease was not renewed. The attempt lives on meanwhile: what was not sent must not
/// be taken for unanswered.
async fn may_send(core: &Arc<Core>, running: &Arc<Running>, call: &Call) -> bool {
    let defer = || {
        let until = core.clock.now() + call.timeout;
        core.feed(running, Input::Deferred { step: call.step, op: call.op, attempt: call.attempt, until });
    };
    let mut waited = false;
    loop {
        let firm = core.stop.run_until_cancelled(running.tenure.firm());
        let firm = tokio::time::timeout(call.timeout / 2, firm).await;
        if waited || firm.is_err() {
            defer();
        }
        if let Ok(firm) = firm {
            return firm == Some(true) && !core.is_draining();
        }
        waited = true;
    }
}

async fn exchange(core: &Core, running: &Running, call: &Call, rendered: Rendered) -> Verdict {
    let definition = &running.loaded.definition;
    let step = &definition.steps[call.step];
    let Some(participant) = core.participants.get(&step.participant) else {
        return Verdict::Misconfigured { detail: format!("there is no participant {:?} any more", step.participant) };
    };
    let outgoing = Outgoing {
        method: rendered.method,
        path: &rendered.path,
        body: rendered.body,
        key: &StepKey { saga: running.id, step: step.name.clone(), op: call.op },
        attempt: call.attempt,
        started: running.started_at,
        epoch: running.tenure.owner.epoch,
        knowledge: call.knowledge,
        user: &running.baggage.user,
        scope: step.permissions.first().or(definition.permissions.first()).map_or("", String::as_str),
        traceparent: Some(&child_of(&running.baggage.traceparent)),
        timeout: call.timeout,
        probe: call.probe,
        now: core.clock.now(),
        may_leave: &|| running.tenure.ground() == Ground::Firm,
    };
    let outcomes = if call.op == Op::Action { &step.outcomes } else { &step.compensation_outcomes };
    if let (Some(ttl), Op::Action, false) = (step.cache, call.op, call.probe) {
        let (meaning, pause) = participant.read_through(outgoing, ttl, outcomes).await;
        return meant(step, call.op, meaning, pause);
    }
    let raw = participant.send(outgoing).await;
    if call.probe && raw.is_absent() {
        return Verdict::Absent;
    }
    let meaning = protocol::read(raw.exchange(), outcomes, participant.barrier(), core.clock.now());
    meant(step, call.op, meaning, raw.retry_after())
}

/// A reply's meaning in the machine's words.
fn meant(step: &definition::Step, op: Op, meaning: Meaning, not_before: Option<Duration>) -> Verdict {
    match meaning {
        Meaning::Done { .. } if op == Op::Compensate => Verdict::Done { output: Value::Null, fault: None },
        Meaning::Done { fault: Some(fault), .. } if !step.output.is_empty() => {
            Verdict::Done { output: Value::Null, fault: Some(fault.to_owned()) }
        }
        Meaning::Done { status, body, .. } => match definition::map_output(step, status, &body) {
            Ok(output) => Verdict::Done { output, fault: None },
            Err(fault) => Verdict::Done { output: Value::Null, fault: Some(fault) },
        },
        Meaning::Refused { code, detail, stored, .. } => Verdict::Refused { code, detail, stored },
        Meaning::Unknown { free, retry_after, reason } => {
            Verdict::Unknown { free, retry_after, detail: reason.into_owned() }
        }
        Meaning::NotSent { reason } => Verdict::NotSent { retry_after: not_before, detail: reason },
        Meaning::Misconfigured { code, detail } => Verdict::Misconfigured { detail: format!("{code}: {detail}") },
    }
}

fn verdict_of(call: &Call, verdict: Verdict) -> Input {
    Input::Verdict { step: call.step, op: call.op, attempt: call.attempt, verdict }
}

/// The span's end (SPEC: status OK, or ERROR with the message and the recorded exception).
fn mark(span: &Span, verdict: &Verdict) {
    let message = match verdict {
        Verdict::Done { fault: None, .. } => {
            span.record("otel.status_code", "OK");
            return;
        }
        Verdict::Done { fault: Some(detail), .. }
        | Verdict::Refused { detail, .. }
        | Verdict::Unknown { detail, .. }
        | Verdict::NotSent { detail, .. }
        | Verdict::Misconfigured { detail }
        | Verdict::Unrenderable { detail } => detail.as_str(),
        Verdict::Absent => "the participant does not know the action",
    };
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", message);
    span.record("exception.message", message);
}
