//! What the machine must know of a definition: the graph, the kinds, the budgets. No expressions, no addresses.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use steadfast_core::retry::Backoff;

/// The most steps that one definition may have.
pub const MAX_STEPS: usize = 64;

/// What may become of a step once it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Taken back when the saga compensates.
    Compensatable,
    /// The one step that decides: refused, the saga compensates; done, it goes on to its end.
    Pivot,
    /// Asked until done; comes after the decision.
    Retriable,
}

/// How often and how fast a step is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts that may be spent; not every failure spends one.
    pub attempts: u32,
    /// Ceiling of the first pause.
    pub base: Duration,
    /// Ceiling of every pause.
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 5, base: Duration::from_millis(100), cap: Duration::from_secs(5) }
    }
}

impl Retry {
    pub(super) const fn backoff(&self) -> Backoff {
        Backoff { base: self.base, cap: self.cap }
    }
}

/// One step, as the machine sees it.
#[expect(clippy::struct_excessive_bools, reason = "independent properties that a definition or a participant declares")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanStep {
    /// The name in the definition.
    pub name: String,
    /// What may become of it.
    pub kind: Kind,
    /// Indices of the steps that it comes after.
    pub needs: Vec<usize>,
    /// Whether it has a compensation; `false` for `compensate: none`, for a pivot and for retriable steps.
    pub compensable: bool,
    /// Whether its participant keeps a barrier.
    pub barrier: bool,
    /// `durable: strict`: nothing is sent past a result of this step, or to it, that is not yet committed.
    pub strict: bool,
    /// Whether it has a `when`.
    pub conditional: bool,
    /// Whether its participant can be asked, by our key, if the action was done.
    pub probe: bool,
    /// How long one attempt may take.
    pub attempt_timeout: Duration,
    /// How long the step may take with all its attempts, from the first.
    pub deadline: Option<Duration>,
    /// Budget of the action.
    pub retry: Retry,
    /// Budget of the compensation.
    pub compensation_retry: Retry,
    /// Steps whose output this step's compensation reads unconditionally (not behind `has()`).
    pub reads: Vec<usize>,
}

impl PlanStep {
    /// A compensatable step with a barrier, after nothing, with the default budgets.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: Kind::Compensatable,
            needs: Vec::new(),
            compensable: true,
            barrier: true,
            strict: false,
            conditional: false,
            probe: false,
            attempt_timeout: Duration::from_secs(30),
            deadline: None,
            retry: Retry::default(),
            compensation_retry: Retry { attempts: 20, base: Duration::from_millis(200), cap: Duration::from_secs(30) },
            reads: Vec::new(),
        }
    }
}

/// A definition as the machine sees it; shared by all sagas of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<PlanStep>,
    timeout: Option<Duration>,
    pipelining: bool,
    ancestors: Vec<StepSet>,
    descendants: Vec<StepSet>,
    order: Vec<usize>,
}

/// Why steps do not make a plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanFault {
    /// Too many steps, or none.
    #[error("a saga has 1 to 64 steps, not {0}")]
    Count(usize),
    /// A step comes after itself, directly or through others, or after a step that does not exist.
    #[error("step {0:?} comes after itself or after a step that does not exist")]
    Graph(String),
    /// The kinds do not allow a commit point.
    #[error("step {step:?}: {rule}")]
    Kinds {
        /// The step at fault.
        step: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
}

impl Plan {
    /// Checks the graph and the kinds.
    pub fn new(steps: Vec<PlanStep>, timeout: Option<Duration>, pipelining: bool) -> Result<Self, PlanFault> {
        if steps.is_empty() || steps.len() > MAX_STEPS {
            return Err(PlanFault::Count(steps.len()));
        }
        let needs = steps.iter().map(|step| direct(&steps, step)).collect::<Result<Vec<_>, _>>()?;
        let ancestors = closure(&steps, needs)?;
        let mut descendants = vec![StepSet::EMPTY; steps.len()];
        for (step, above) in ancestors.iter().enumerate() {
            for ancestor in above.iter() {
                descendants[ancestor].insert(step);
            }
        }
        // Whoever comes after a step has more ancestors than it.
        let mut order: Vec<usize> = (0..steps.len()).collect();
        order.sort_by_key(|&step| ancestors[step].len());
        let plan = Self { steps, timeout, pipelining, ancestors, descendants, order };
        plan.check_kinds()?;
        Ok(plan)
    }

    /// All steps, in the order of the definition.
    pub fn steps(&self) -> &[PlanStep] {
        &self.steps
    }

    /// One step.
    pub fn step(&self, step: usize) -> &PlanStep {
        &self.steps[step]
    }

    /// Until the commit point, or the end where there is none.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether calls may run ahead of commits that no promise rests on.
    pub fn pipelining(&self) -> bool {
        self.pipelining
    }

    /// The steps, each after all that it comes after.
    pub(super) fn order(&self) -> &[usize] {
        &self.order
    }

    pub(super) fn ancestors(&self, step: usize) -> StepSet {
        self.ancestors[step]
    }

    pub(super) fn descendants(&self, step: usize) -> StepSet {
        self.descendants[step]
    }

    /// Whether a result of one of the two must be committed before the other is sent.
    pub(super) fn waits(&self, first: usize, then: usize) -> bool {
        let pipelined = |step: &PlanStep| step.barrier && !step.strict;
        !self.pipelining || !pipelined(&self.steps[first]) || !pipelined(&self.steps[then])
    }

    fn check_kinds(&self) -> Result<(), PlanFault> {
        let fault = |step: usize, rule| Err(PlanFault::Kinds { step: self.steps[step].name.clone(), rule });
        let mut of_kind = [StepSet::EMPTY; 3];
        for (step, is) in self.steps.iter().enumerate() {
            of_kind[is.kind as usize].insert(step);
            if is.kind != Kind::Compensatable && is.compensable {
                return fault(step, "only a compensatable step has a compensation");
            }
            if is.reads.iter().any(|&read| read >= self.steps.len() || !self.ancestors[step].contains(read)) {
                return fault(step, "its compensation reads the output of a step that it does not come after");
            }
        }
        let [compensatable, pivot, retriable] = of_kind;
        if pivot.len() > 1 {
            return fault(pivot.iter().nth(1).unwrap_or_default(), "there is at most one pivot");
        }
        for step in pivot.iter() {
            if self.ancestors[step] != compensatable || self.descendants[step] != retriable {
                return fault(
                    step,
                    "before a pivot all steps are compensatable, after it retriable, beside it is none",
                );
            }
        }
        for step in retriable.iter() {
            if self.ancestors[step].intersection(compensatable) != compensatable {
                return fault(step, "every compensatable step comes before every retriable one");
            }
        }
        Ok(())
    }
}

fn direct(steps: &[PlanStep], step: &PlanStep) -> Result<StepSet, PlanFault> {
    let mut set = StepSet::EMPTY;
    for &need in &step.needs {
        if need >= steps.len() {
            return Err(PlanFault::Graph(step.name.clone()));
        }
        set.insert(need);
    }
    Ok(set)
}

fn closure(steps: &[PlanStep], mut above: Vec<StepSet>) -> Result<Vec<StepSet>, PlanFault> {
    // A path has fewer edges than there are steps, so this many rounds reach the fixed point.
    for _ in steps {
        for step in 0..steps.len() {
            above[step] = above[step].iter().fold(above[step], |set, need| set.union(above[need]));
        }
    }
    match (0..steps.len()).find(|&step| above[step].contains(step)) {
        Some(step) => Err(PlanFault::Graph(steps[step].name.clone())),
        None => Ok(above),
    }
}

/// A set of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepSet(u64);

impl StepSet {
    /// No step.
    pub const EMPTY: Self = Self(0);

    /// Whether the step is in the set.
    pub const fn contains(self, step: usize) -> bool {
        self.0 >> step & 1 == 1
    }

    /// Puts a step in.
    pub const fn insert(&mut self, step: usize) {
        self.0 |= 1 << step;
    }

    /// How many steps are in the set.
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether no step is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The steps, by index.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let step = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                step
            })
        })
    }

    /// The greatest index in the set.
    pub(super) const fn last(self) -> Option<usize> {
        if self.0 == 0 { None } else { Some(63 - self.0.leading_zeros() as usize) }
    }

    pub(super) const fn with(self, step: usize) -> Self {
        Self(self.0 | 1 << step)
    }

    pub(super) const fn without(self, step: usize) -> Self {
        Self(self.0 & !(1 << step))
    }

    pub(super) const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl FromIterator<usize> for StepSet {
    fn from_iter<T: IntoIterator<Item = usize>>(steps: T) -> Self {
        steps.into_iter().fold(Self::EMPTY, Self::with)
    }
}
