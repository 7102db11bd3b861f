//! What others may see of a saga.

use steadfast_core::{Op, Timestamp};

use super::Saga;
use super::cause::{Cause, Trouble, Why};
use super::entry::Json;
use super::input::Status;
use super::plan::{Kind, Plan};
use super::state::Action;

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not asked, and surely not sent.
    Waiting,
    /// Not asked by this owner, but a former one may have sent it.
    PossiblySent,
    /// Asked; no end yet.
    Asked,
    /// Done.
    Done,
    /// Refused, nothing done.
    Refused,
    /// Refused, but an earlier attempt may have been done.
    RefusedInDoubt,
    /// Its condition did not hold.
    Skipped,
    /// Being left out.
    Voiding,
    /// Left out by an operator.
    Voided,
    /// Its compensation is asked for.
    Compensating,
    /// Taken back.
    Undone,
}

impl Phase {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::PossiblySent => "possibly_sent",
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Refused => "refused",
            Self::RefusedInDoubt => "refused_in_doubt",
            Self::Skipped => "skipped",
            Self::Voiding => "voiding",
            Self::Voided => "voided",
            Self::Compensating => "compensating",
            Self::Undone => "undone",
        }
    }
}

/// One step, as lists and timelines show it.
#[derive(Clone, Debug, PartialEq)]
pub struct StepView<'a> {
    /// Where it stands.
    pub phase: Phase,
    /// What it gave.
    pub output: Option<&'a Json>,
    /// Attempts spent on the action.
    pub attempts: u32,
    /// Attempts spent on the compensation.
    pub compensation_attempts: u32,
    /// What last troubled the action, or the compensation where there is one.
    pub trouble: Option<Trouble>,
    /// Why it waits for an operator.
    pub parked: Option<(Op, &'a Why)>,
    /// When it is asked again.
    pub next_at: Option<Timestamp>,
}

/// An effect that a parked saga may have left in the world.
#[derive(Clone, Debug, PartialEq)]
pub struct EffectLeft<'a> {
    /// The step.
    pub step: usize,
    /// Whether it is known to be done; where not, it may be.
    pub certain: bool,
    /// Why nobody has taken it back, where the step itself is what is parked.
    pub parked: Option<&'a Why>,
}

impl Saga {
    /// Where it stands.
    pub fn status(&self) -> Status {
        self.state.status
    }

    /// Completed or compensated.
    pub fn is_settled(&self) -> bool {
        self.state.status.is_settled()
    }

    /// Waits for an operator.
    pub fn is_parked(&self) -> bool {
        self.state.status.is_parked()
    }

    /// Nothing is sent until it is released.
    pub fn is_held(&self) -> bool {
        self.state.held.is_some()
    }

    /// Took longer than its timeout.
    pub fn is_overdue(&self) -> bool {
        self.state.overdue
    }

    /// The commit point was reached and has not answered.
    pub fn is_deciding(&self) -> bool {
        let unanswered = |step: usize| matches!(self.state.steps[step].action, Action::Idle | Action::Asked);
        self.state.status == Status::Running && self.state.commit_point.is_some_and(|(step, _)| unanswered(step))
    }

    /// The step whose send was the commit point, from its intent on.
    pub fn commit_point(&self) -> Option<usize> {
        self.state.commit_point.map(|(step, _)| step)
    }

    /// Why it compensates, or did.
    pub fn cause(&self) -> Option<&Cause> {
        self.state.cause.as_ref()
    }

    /// When it was accepted.
    pub fn started_at(&self) -> Timestamp {
        self.state.started
    }

    /// When it wants [`Input::Tick`](super::Input::Tick) next; to be stored with the state. `None` exactly where it is
    /// settled or parked.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.wake
    }

    /// How many entries it has, durable or not.
    pub fn entries(&self) -> u64 {
        self.state.entries
    }

    /// How many of them are known to be durable.
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// How many calls are on the way.
    pub fn calls_in_flight(&self) -> usize {
        let flights = |op| self.live.iter().filter(move |live| live.asking(op).flight.is_some()).count();
        flights(Op::Action) + flights(Op::Compensate)
    }

    /// One step.
    pub fn step(&self, step: usize) -> Option<StepView<'_>> {
        let state = self.state.steps.get(step)?;
        let live = self.live.get(step)?;
        let phase = match state.action {
            _ if state.undone => Phase::Undone,
            _ if state.voiding => Phase::Voiding,
            _ if state.knowledge.is_some() && state.action != Action::Voided => Phase::Compensating,
            Action::Idle if state.doubt => Phase::PossiblySent,
            Action::Idle => Phase::Waiting,
            Action::Asked => Phase::Asked,
            Action::Done => Phase::Done,
            Action::Refused { certain: true } => Phase::Refused,
            Action::Refused { certain: false } => Phase::RefusedInDoubt,
            Action::Skipped => Phase::Skipped,
            Action::Voided => Phase::Voided,
        };
        Some(StepView {
            phase,
            output: state.output.as_ref(),
            attempts: state.asking.attempts.max(live.action.attempts),
            compensation_attempts: state.undoing.attempts.max(live.compensation.attempts),
            trouble: state.undoing.trouble.or(state.asking.trouble),
            parked: state.parked.as_ref().map(|(op, why)| (*op, why)),
            next_at: live.action.next.or(live.compensation.next),
        })
    }

    /// All effects that may be in the world now and that this saga has neither completed nor taken back: what an
    /// operator who gives it up must look at. A read (`compensate: none`) has none.
    pub fn effects_left(&self, plan: &Plan) -> Vec<EffectLeft<'_>> {
        let effect = |step: usize| plan.step(step).compensable || plan.step(step).kind != Kind::Compensatable;
        let states = self.state.steps.iter().enumerate();
        states
            .filter(|(step, state)| effect(*step) && (state.may_be_done() || self.live[*step].action.flight.is_some()))
            .map(|(step, state)| EffectLeft {
                step,
                certain: state.action == Action::Done && !state.assumed,
                parked: state.parked.as_ref().map(|(_, why)| why),
            })
            .collect()
    }
}
