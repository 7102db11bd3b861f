//! The saga machine: state and input in, entries and calls out. Pure: no I/O, no clock, no randomness of its own.
//!
//! ```text
//!            Admit              all done
//! pending ─────────▶ running ─────────────▶ completed
//!    │                 │  │ out of budget past the commit point, or a fault of the definition
//!    │ cancel          │  └──────────▶ failed (parked) ◀──┐ a compensation is out of budget
//!    │                 ▼ refused, exhausted, timeout, …   │
//!    └──────────▶ compensating ───────────────────────────┤
//!                                                         └▶ compensated
//! ```
//! The state in memory runs ahead of the journal. [`Saga::handle`] returns entries, to be appended in order, and calls,
//! to be sent at once: a call that must wait for a commit is held back until [`Input::Committed`] says that its reason
//! is durable. The waits, and what each protects:
//!
//! | waits for the commit of | before | or else |
//! |---|---|---|
//! | the start | the first call | an effect of a saga that nobody knows |
//! | the decision to compensate | the first compensation | a saga that goes on over a step already undone |
//! | the commit point's intent, and with it all results before it | its send | a decision taken back behind the participant's back |
//! | a result of, or for, a step that is strict or has no barrier | the next step's send | a next step built on a result that a second execution contradicts |
//! | an output that the step's compensation reads | the step's send | a compensation that cannot be rendered |
//! | a result that came after the decision | the compensation that says so | two attempts that differ |
//! | the end | the report | a report that a crash takes back |
//!
//! Everything else is pipelined. Recovery pays for it: a step whose predecessors may have ended in memory only counts
//! as sent ([`Entry::Recovered`]) and is compensated as unknown when the saga turns back.
//!
//! | failure | what the machine does |
//! |---|---|
//! | refused before the commit point | compensates; the step itself too if an earlier attempt may have been done |
//! | no answer until the budget is spent | before the commit point compensates, the step as unknown; after it asks on |
//! | commit point unanswered | asks again, by the probe first; never compensates it |
//! | route or credentials at fault | asks slowly; compensates at the saga's timeout; past the commit point parks |
//! | a compensation out of budget | parks that step; compensates all that do not depend on it; then `failed` |
//! | an output that does not map | parks: a fault of the definition |
//! | late, doubled or foreign replies | journalled, change nothing |

mod cause;
mod describe;
mod entry;
mod fold;
mod gate;
mod input;
mod live;
mod outputs;
mod plan;
mod recovery;
mod rules;
mod state;
mod timers;
mod transition;
mod transition_back;
mod transition_forward;
mod transition_operator;
mod transition_verdict;
mod view;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use steadfast_core::Timestamp;

use live::Live;
use rules::Rules;
use state::State;
use transition::Turn;

pub use cause::{Act, Cause, Trouble, Why};
pub use describe::Described;
pub use entry::{Entry, Json};
pub use input::{Answer, Call, Conditions, Conflict, Input, Output, Status, Verdict};
pub use outputs::Outputs;
pub use plan::{Kind, MAX_STEPS, Plan, PlanFault, PlanStep, Retry, StepSet};
pub use state::Corrupt;
pub use view::{EffectLeft, Phase, StepView};

/// One saga in memory.
#[derive(Clone, Debug)]
pub struct Saga {
    state: State,
    live: Vec<Live>,
    committed: u64,
    /// Number of the ending entry that was reported.
    reported: u64,
    wake: Option<Timestamp>,
    #[cfg(test)]
    rules: Rules,
}

impl Saga {
    /// Accepts a saga that runs at once. Its first calls come with the commit of the start.
    pub fn start(plan: &Plan, conditions: &dyn Conditions, now: Timestamp, random: u64) -> (Self, Output) {
        Self::accept(plan, conditions, now, random, true)
    }

    /// Accepts a saga that waits in the queue until [`Input::Admit`].
    pub fn enqueue(plan: &Plan, conditions: &dyn Conditions, now: Timestamp) -> (Self, Output) {
        Self::accept(plan, conditions, now, 0, false)
    }

    fn accept(plan: &Plan, conditions: &dyn Conditions, now: Timestamp, random: u64, admitted: bool) -> (Self, Output) {
        let mut saga = Self::empty(plan);
        let mut turn = Turn::new(&mut saga, plan, conditions, now, random);
        turn.push(Entry::Started { at: now, admitted });
        // The answer to the client waits for it.
        turn.waiting = true;
        let output = turn.finish();
        (saga, output)
    }

    /// Takes up a saga from its durable entries. The calls of the former owner may still arrive.
    pub fn recover(
        plan: &Plan,
        conditions: &dyn Conditions,
        entries: &[Entry],
        now: Timestamp,
        random: u64,
    ) -> Result<(Self, Output), Corrupt> {
        let mut saga = Self::empty(plan);
        saga.fold(plan, entries)?;
        let output = saga.take_up(plan, conditions, now, random);
        Ok((saga, output))
    }

    /// The state that the entries give, without acting on it: for readers that own nothing.
    pub fn read(plan: &Plan, entries: &[Entry]) -> Result<Self, Corrupt> {
        let mut saga = Self::empty(plan);
        saga.fold(plan, entries)?;
        Ok(saga)
    }

    fn fold(&mut self, plan: &Plan, entries: &[Entry]) -> Result<(), Corrupt> {
        if entries.is_empty() {
            return Err(Corrupt::Start(0));
        }
        entries.iter().try_for_each(|entry| self.state.replay(plan, entry))?;
        self.committed = self.state.entries;
        Ok(())
    }

    /// Takes in what happened. `random` feeds the jitter of pauses only.
    pub fn handle(
        &mut self,
        plan: &Plan,
        conditions: &dyn Conditions,
        input: Input,
        now: Timestamp,
        random: u64,
    ) -> Output {
        let mut turn = Turn::new(self, plan, conditions, now, random);
        turn.take(input);
        turn.finish()
    }

    fn empty(plan: &Plan) -> Self {
        Self {
            state: State::new(plan.steps().len()),
            live: vec![Live::default(); plan.steps().len()],
            committed: 0,
            reported: 0,
            wake: None,
            #[cfg(test)]
            rules: Rules::ALL,
        }
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "tests keep rules in the saga; here they are constants that fold away")]
    const fn rules(&self) -> Rules {
        Rules::ALL
    }

    #[cfg(test)]
    const fn rules(&self) -> Rules {
        self.rules
    }
}
