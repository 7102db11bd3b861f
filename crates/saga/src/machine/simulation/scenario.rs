//! A random definition, a random world for it, and what people do to the saga: all from one seed.

use std::time::Duration;

use fastrand::Rng;

use super::super::{Conditions, Kind, Outputs, Plan, PlanStep, Retry};

/// How a participant treats one step, whatever the network does.
#[expect(clippy::struct_excessive_bools, reason = "independent bad habits")]
#[derive(Clone, Debug, Default)]
pub(super) struct Habit {
    /// The rules of the business say no.
    pub(super) refuses: bool,
    /// The compensation is refused until somebody mends it.
    pub(super) refuses_compensation: bool,
    /// The route is at fault until then.
    pub(super) misconfigured_until: i64,
    /// The answer does not map.
    pub(super) unmappable: bool,
    /// Refuses to do a second time what it has done, for want of a barrier.
    pub(super) refuses_twice: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Deed {
    Cancel,
    Hold,
    Release,
    Retry,
    Void(usize),
    AssumeDone(usize),
    Revoke,
}

#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) seed: u64,
    pub(super) plan: Plan,
    pub(super) habits: Vec<Habit>,
    pub(super) deeds: Vec<(i64, Deed)>,
    /// From here on the world is kind.
    pub(super) heal_at: i64,
    /// Per cent of messages that meet a fault before that.
    pub(super) faults: u32,
    pub(super) queued: bool,
    /// An owner that is taken over does not know it.
    pub(super) zombies: bool,
    /// What an operator does with a parked saga: leaves it, retries it, or does it by hand.
    pub(super) operator: u32,
    condition_salt: u64,
    condition_fault: Option<usize>,
}

impl Scenario {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = plan(&mut rng);
        let steps = plan.steps().len();
        let habits = (0..steps).map(|_| habit(&mut rng)).collect();
        let heal_at = rng.i64(0..8_000);
        let deeds = (0..if rng.u32(0..3) == 0 { rng.usize(1..4) } else { 0 })
            .map(|_| {
                let early = rng.bool();
                let at = rng.i64(0..if early { 150 } else { 6_000 });
                (at, deed(&mut rng, steps))
            })
            .collect();
        Self {
            seed,
            habits,
            deeds,
            heal_at,
            faults: *choose(&mut rng, &[0, 3, 10, 30]),
            queued: rng.u32(0..8) == 0,
            zombies: rng.u32(0..3) != 0,
            operator: rng.u32(0..3),
            condition_salt: rng.u64(..),
            condition_fault: (rng.u32(0..20) == 0).then(|| rng.usize(0..steps)),
            plan,
        }
    }
}

impl Conditions for Scenario {
    fn when(&self, step: usize, outputs: &Outputs<'_>) -> Result<bool, String> {
        if self.condition_fault == Some(step) {
            return Err("no such field".to_owned());
        }
        let mut sum = self.condition_salt ^ step as u64;
        for other in 0..self.plan.steps().len() {
            sum = mix(sum, outputs.get(other).and_then(serde_json::Value::as_u64).unwrap_or(0));
        }
        Ok(!sum.is_multiple_of(3))
    }
}

pub(super) fn mix(sum: u64, value: u64) -> u64 {
    (sum ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

fn choose<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(0..from.len())]
}

fn one_in(rng: &mut Rng, n: u32) -> bool {
    rng.u32(0..n) == 0
}

fn habit(rng: &mut Rng) -> Habit {
    Habit {
        refuses: one_in(rng, 9),
        refuses_compensation: one_in(rng, 20),
        misconfigured_until: if one_in(rng, 25) { rng.i64(100..60_000) } else { 0 },
        unmappable: one_in(rng, 60),
        refuses_twice: rng.bool(),
    }
}

fn deed(rng: &mut Rng, steps: usize) -> Deed {
    match rng.u32(0..10) {
        0..4 => Deed::Cancel,
        4 => Deed::Hold,
        5 => Deed::Release,
        6 => Deed::Retry,
        7 => Deed::Void(rng.usize(0..steps)),
        8 => Deed::AssumeDone(rng.usize(0..steps)),
        _ => Deed::Revoke,
    }
}

fn plan(rng: &mut Rng) -> Plan {
    let steps = rng.usize(1..9);
    let pivot = rng.bool() && steps > 1;
    let tail = if rng.bool() { rng.usize(0..steps) } else { 0 };
    let head = steps - tail - usize::from(pivot && tail < steps);
    let dense = rng.u32(1..6);
    let bare = *choose(rng, &[0, 0, 15, 50]);
    let mut list: Vec<PlanStep> = Vec::with_capacity(steps);
    for index in 0..steps {
        let mut step = PlanStep::new(format!("s{index}"));
        if index >= head {
            step.kind = if pivot && index == head { Kind::Pivot } else { Kind::Retriable };
            step.compensable = false;
            // The pivot, or without one every first retriable step, comes after all that can be taken back.
            let first = if pivot { head + 1 } else { head };
            step.needs = if index < first || !pivot { (0..head).collect() } else { vec![head] };
            let beside = (first..index).filter(|_| one_in(rng, dense)).collect::<Vec<_>>();
            step.needs.extend(beside);
        } else {
            step.needs = (0..index).filter(|_| one_in(rng, dense)).collect();
            step.compensable = !one_in(rng, 8);
        }
        vary(rng, &mut step, bare);
        list.push(step);
    }
    shuffle(rng, &mut list);
    let timeout = (!one_in(rng, 6)).then(|| Duration::from_millis(rng.u64(500..15_000)));
    let pipelining = !one_in(rng, 6);
    let plan = Plan::new(list.clone(), timeout, pipelining).expect("the generator keeps the rules of kinds");
    for (index, step) in list.iter_mut().enumerate() {
        let above: Vec<usize> = plan.ancestors(index).iter().filter(|_| one_in(rng, 4)).collect();
        if step.compensable {
            step.reads = above;
        }
    }
    Plan::new(list, timeout, pipelining).expect("outputs are read of ancestors only")
}

fn vary(rng: &mut Rng, step: &mut PlanStep, unguarded: u32) {
    step.barrier = rng.u32(0..100) >= unguarded;
    step.strict = one_in(rng, 8);
    step.conditional = one_in(rng, 5);
    step.probe = rng.bool();
    step.attempt_timeout = Duration::from_millis(rng.u64(150..1_500));
    step.deadline = one_in(rng, 6).then(|| Duration::from_millis(rng.u64(200..4_000)));
    let base = Duration::from_millis(rng.u64(5..100));
    step.retry = Retry { attempts: rng.u32(1..6), base, cap: Duration::from_secs(1) };
    // Enough for the worst network: what parks is parked for a cause that was put there.
    step.compensation_retry = Retry { attempts: 30, base, cap: Duration::from_secs(1) };
}

/// The order in a definition says nothing about the graph.
fn shuffle(rng: &mut Rng, list: &mut Vec<PlanStep>) {
    let mut order: Vec<usize> = (0..list.len()).collect();
    if rng.bool() {
        rng.shuffle(&mut order);
    }
    let mut place = vec![0; list.len()];
    for (new, &old) in order.iter().enumerate() {
        place[old] = new;
    }
    let old = std::mem::take(list);
    for &from in &order {
        let mut step = old[from].clone();
        for need in &mut step.needs {
            *need = place[*need];
        }
        list.push(step);
    }
}
