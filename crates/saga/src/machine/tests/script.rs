//! A saga driven by hand: every input is a call, everything that comes out a line.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};
use steadfast_core::{Knowledge, Op, Timestamp};

use super::super::{
    Act, Answer, Conditions, Entry, Input, Kind, Output, Outputs, Plan, PlanStep, Retry, Saga, Status, Verdict,
};

/// A `when` that says what it is told to say.
pub(super) struct When(pub(super) Result<bool, String>);

impl Conditions for When {
    fn when(&self, _: usize, _: &Outputs<'_>) -> Result<bool, String> {
        self.0.clone()
    }
}

pub(super) fn step(name: &str, kind: Kind, needs: &[usize]) -> PlanStep {
    PlanStep {
        kind,
        needs: needs.to_vec(),
        compensable: kind == Kind::Compensatable,
        attempt_timeout: Duration::from_secs(5),
        retry: Retry { attempts: 2, base: Duration::from_millis(100), cap: Duration::from_secs(1) },
        compensation_retry: Retry { attempts: 2, base: Duration::from_millis(100), cap: Duration::from_secs(1) },
        ..PlanStep::new(name)
    }
}

/// order, payment, stock; then commit and confirm, at once.
pub(super) fn place_order() -> Vec<PlanStep> {
    vec![
        step("order", Kind::Compensatable, &[]),
        step("payment", Kind::Compensatable, &[0]),
        step("stock", Kind::Compensatable, &[1]),
        step("commit", Kind::Retriable, &[2]),
        step("confirm", Kind::Retriable, &[2]),
    ]
}

/// order, then payment that decides, then shipping.
pub(super) fn with_pivot() -> Vec<PlanStep> {
    vec![
        step("order", Kind::Compensatable, &[]),
        step("payment", Kind::Pivot, &[0]),
        step("shipping", Kind::Retriable, &[1]),
    ]
}

pub(super) struct Script {
    pub(super) plan: Plan,
    pub(super) saga: Saga,
    pub(super) when: When,
    pub(super) now: i64,
    pub(super) text: String,
    pub(super) answer: Option<Answer>,
    pub(super) urgent: bool,
    pub(super) journal: Vec<Entry>,
}

impl Script {
    pub(super) fn start(steps: Vec<PlanStep>) -> Self {
        Self::with(steps, |plan, when| Saga::start(plan, when, Timestamp::from_millis(0), 0))
    }

    pub(super) fn queued(steps: Vec<PlanStep>) -> Self {
        Self::with(steps, |plan, when| Saga::enqueue(plan, when, Timestamp::from_millis(0)))
    }

    fn with(steps: Vec<PlanStep>, begin: impl FnOnce(&Plan, &When) -> (Saga, Output)) -> Self {
        let plan = Plan::new(steps, Some(Duration::from_mins(1)), true).expect("a sound plan");
        let when = When(Ok(true));
        let (saga, output) = begin(&plan, &when);
        let (text, journal) = (String::new(), Vec::new());
        let mut script = Self { plan, saga, when, now: 0, text, answer: None, urgent: false, journal };
        script.write(output);
        script
    }

    /// Started, and the start durable.
    pub(super) fn running(steps: Vec<PlanStep>) -> Self {
        Self::start(steps).commit()
    }

    fn write(&mut self, output: Output) {
        let now = self.now;
        for entry in &output.entries {
            writeln!(self.text, "{now:<5} {}", entry.describe(&self.plan)).expect("a string");
        }
        self.journal.extend(output.entries);
        for call in &output.calls {
            let name = &self.plan.step(call.step).name;
            let what = match (call.op, call.knowledge) {
                _ if call.probe => "probe",
                (Op::Action, _) => "action",
                (Op::Compensate, Some(Knowledge::Done)) => "compensate done",
                (Op::Compensate, _) => "compensate unknown",
            };
            writeln!(self.text, "{now:<5}   -> {name} {what} #{}", call.attempt).expect("a string");
        }
        if output.ended {
            writeln!(self.text, "{now:<5}   reported {}", self.saga.status().as_str()).expect("a string");
        }
        self.answer = output.answer;
        self.urgent = output.urgent;
        let active = !self.saga.is_settled() && !self.saga.is_parked();
        assert_eq!(active, self.saga.wake_at().is_some(), "wake_at stands exactly where the saga is active");
        let read = Saga::read(&self.plan, &self.journal).expect("its own journal");
        assert_eq!(read.state, self.saga.state, "the fold of the journal is the state");
    }

    pub(super) fn input(mut self, input: Input) -> Self {
        let output = self.saga.handle(&self.plan, &self.when, input, Timestamp::from_millis(self.now), 0);
        self.write(output);
        self
    }

    pub(super) fn commit(mut self) -> Self {
        self.text.push_str("----- durable\n");
        let entries = self.saga.entries();
        self.input(Input::Committed { entries })
    }

    /// Lets time pass, and looks.
    pub(super) fn after(mut self, millis: i64) -> Self {
        self.now += millis;
        self.input(Input::Tick)
    }

    /// Lets time pass until the saga wants to be looked at.
    pub(super) fn wake(mut self) -> Self {
        self.now = self.saga.wake_at().expect("active").as_millis();
        self.input(Input::Tick)
    }

    pub(super) fn index(&self, name: &str) -> usize {
        self.plan.steps().iter().position(|step| step.name == name).expect("a step of the plan")
    }

    pub(super) fn verdict(self, name: &str, op: Op, attempt: u32, verdict: Verdict) -> Self {
        let step = self.index(name);
        self.input(Input::Verdict { step, op, attempt, verdict })
    }

    /// A verdict on the action's last attempt.
    pub(super) fn says(mut self, name: &str, verdict: Verdict) -> Self {
        self.now += 10;
        let attempt = self.saga.live[self.index(name)].action.asks;
        self.verdict(name, Op::Action, attempt, verdict)
    }

    /// A verdict on the compensation's last attempt.
    pub(super) fn undo_says(mut self, name: &str, verdict: Verdict) -> Self {
        self.now += 10;
        let attempt = self.saga.live[self.index(name)].compensation.asks;
        self.verdict(name, Op::Compensate, attempt, verdict)
    }

    pub(super) fn done(self, names: &[&str]) -> Self {
        names.iter().fold(self, |script, name| script.says(name, done(json!({ "id": name }))))
    }

    pub(super) fn undone(self, names: &[&str]) -> Self {
        names.iter().fold(self, |script, name| script.undo_says(name, done(Value::Null)))
    }

    /// The owner dies; a new one reads what is durable of the journal.
    pub(super) fn crash(mut self, durable: usize) -> Self {
        self.journal.truncate(durable);
        self.text.push_str("----- crash\n");
        let now = Timestamp::from_millis(self.now);
        let (saga, output) = Saga::recover(&self.plan, &self.when, &self.journal, now, 0).expect("a sound journal");
        self.saga = saga;
        self.write(output);
        self
    }

    pub(super) fn status(&self) -> Status {
        self.saga.status()
    }
}

pub(super) fn act() -> Act {
    Act { by: "anna".to_owned(), reason: "test".to_owned() }
}

pub(super) fn done(output: Value) -> Verdict {
    Verdict::Done { output, fault: None }
}

pub(super) fn refused(code: &str) -> Verdict {
    Verdict::Refused { code: code.to_owned(), detail: String::new(), stored: false }
}

pub(super) fn refused_for_good(code: &str) -> Verdict {
    Verdict::Refused { code: code.to_owned(), detail: String::new(), stored: true }
}

pub(super) fn unknown() -> Verdict {
    Verdict::Unknown { free: false, retry_after: None, detail: "503".to_owned() }
}

pub(super) fn free() -> Verdict {
    Verdict::Unknown { free: true, retry_after: None, detail: "in-flight".to_owned() }
}

pub(super) fn not_sent() -> Verdict {
    Verdict::NotSent { retry_after: None, detail: "connect".to_owned() }
}

pub(super) fn misconfigured() -> Verdict {
    Verdict::Misconfigured { detail: "404".to_owned() }
}
