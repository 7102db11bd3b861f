//! What must hold, at each step and at the end.

use steadfast_core::Op;

use super::super::{Cause, Entry, Kind, Phase, Saga, Status, Why};
use super::mark::Mark;
use super::participant::{Deed, Site};
use super::world::{Checked, World};

/// Notes what the entries of the owner show.
pub(super) fn entries(world: &mut World<'_>, entries: &[Entry]) {
    for entry in entries {
        let mark = match entry {
            Entry::Overdue { .. } => Mark::Overdue,
            Entry::Compensating { cause, .. } => match cause {
                Cause::Timeout => Mark::TimedOut,
                Cause::Deadline { .. } => Mark::StepDeadline,
                Cause::Exhausted { .. } => Mark::Exhausted,
                Cause::Fault { .. } => Mark::ConditionFault,
                Cause::Refused { step, .. } if world.plan.step(*step).kind == Kind::Pivot => Mark::PivotRefused,
                _ => continue,
            },
            Entry::Condition { step, holds: false } => match world.plan.step(*step).kind {
                Kind::Pivot => Mark::PivotSkipped,
                _ => Mark::Skipped,
            },
            Entry::Refused { certain: false, .. } => Mark::DoubtfulRefusal,
            Entry::Refused { step, certain: true, .. } => {
                let doubt = world.owner.as_ref().is_some_and(|owner| owner.saga.state.steps[*step].doubt);
                if !doubt {
                    continue;
                }
                Mark::StoredRefusalFinal
            }
            Entry::Done { step, .. } if world.possibly_sent.contains(*step) => Mark::PossiblySentThenDone,
            Entry::Undone { step, .. } if world.possibly_sent.contains(*step) => Mark::PossiblySentCompensated,
            Entry::Parked { why: Why::Doubtful, .. } => Mark::PivotDoubtfulParked,
            Entry::Parked { why: Why::Output { .. }, .. } => Mark::ParkedByOutput,
            Entry::Parked { op: Op::Compensate, .. } => Mark::ParkedByCompensation,
            Entry::Parked { .. } => Mark::ParkedRetriable,
            _ => continue,
        };
        world.marks.hit(mark);
    }
    let compensations = entries.iter().filter(|entry| matches!(entry, Entry::Asked { op: Op::Compensate, .. })).count();
    if compensations > 1 {
        world.marks.hit(Mark::ParallelCompensations);
    }
}

fn is_read(world: &World<'_>, step: usize) -> bool {
    let is = world.plan.step(step);
    is.kind == Kind::Compensatable && !is.compensable
}

/// Checks what a call did to the world, at the moment at which it did it.
pub(super) fn deed(world: &mut World<'_>, step: usize, op: Op, deed: Deed, before: &Site, zombie: bool) -> Checked<()> {
    let guarded = world.plan.step(step).barrier;
    let settled = world.reported.is_some_and(Status::is_settled);
    if zombie {
        world.marks.hit(Mark::ZombieCallArrived);
        if settled {
            world.marks.hit(Mark::ZombieCallAfterSettlement);
        }
        match deed {
            Deed::MetVoid | Deed::MetRefused => world.marks.hit(Mark::ZombieCallRefused),
            Deed::Replayed => world.marks.hit(Mark::ZombieCallReplayed),
            _ => {}
        }
    }
    match deed {
        Deed::Replayed => world.marks.hit(Mark::Replayed),
        Deed::MetVoid => world.marks.hit(Mark::LateActionVoided),
        _ => {}
    }
    if !matches!(deed, Deed::Executed | Deed::Reversed | Deed::WroteVoid) || is_read(world, step) || !guarded {
        return Ok(());
    }
    if settled && !world.meddled.contains(step) {
        return Err(format!("{op} of step {step} takes effect after the saga was settled"));
    }
    if deed == Deed::Executed {
        if before.executed > 0 {
            return Err(format!("step {step} is done twice"));
        }
        let undone = |above: &usize| world.sites[*above].compensated && !world.meddled.contains(*above);
        if let Some(above) = world.plan.ancestors(step).iter().find(undone) {
            return Err(format!("step {step} takes effect after step {above}, which it depends on, was undone"));
        }
    }
    if deed == Deed::Reversed {
        let stands = |below: &usize| {
            let site = &world.sites[*below];
            site.present && !site.late && !is_read(world, *below) && world.plan.step(*below).barrier
        };
        if let Some(below) = world.plan.descendants(step).iter().find(stands) {
            return Err(format!("step {step} is undone before step {below}, which depends on it"));
        }
    }
    Ok(())
}

/// Checks a report at the moment at which it is made.
pub(super) fn report(world: &mut World<'_>, status: Option<Status>) -> Checked<()> {
    let Some(status) = status else { return Ok(()) };
    if let Some(before) = world.reported.filter(|before| before.is_settled() && *before != status) {
        return Err(format!("reported {before:?}, then {status:?}"));
    }
    if world.reported == Some(Status::Failed) && status.is_settled() {
        world.marks.hit(Mark::ParkedThenSettled);
    }
    world.reported = Some(status);
    match status {
        Status::Completed => world.marks.hit(Mark::Completed),
        Status::Compensated => world.marks.hit(Mark::Compensated),
        _ => world.marks.hit(Mark::Failed),
    }
    if status == Status::Failed { causes_of_parking(world) } else { Ok(()) }
}

/// A saga parks only for what was put into the world on purpose.
fn causes_of_parking(world: &World<'_>) -> Checked<()> {
    let Some(owner) = &world.owner else { return Ok(()) };
    for (step, state) in owner.saga.state.steps.iter().enumerate() {
        let Some((op, why)) = &state.parked else { continue };
        let (is, habit) = (world.plan.step(step), &world.scenario.habits[step]);
        let on_purpose = match why {
            Why::Refused { .. } if *op == Op::Compensate => habit.refuses_compensation,
            Why::Refused { .. } => habit.refuses || (!is.barrier && habit.refuses_twice),
            Why::Output { .. } => habit.unmappable,
            Why::Misconfigured => habit.misconfigured_until > 0 || !world.meddled.is_empty(),
            Why::Doubtful => !is.barrier,
            Why::Condition { .. } => true,
            Why::Request { .. } | Why::Exhausted | Why::ActionNotFound => false,
        };
        if !on_purpose {
            return Err(format!("step {step} is parked without a cause that was put there: {why:?}"));
        }
    }
    Ok(())
}

/// Checks what is left when nothing more can happen.
pub(super) fn end(world: &mut World<'_>) -> Checked<()> {
    if world.journal.durable.is_empty() {
        let effect = (0..world.sites.len()).find(|&step| world.sites[step].executed > 0);
        return effect.map_or(Ok(()), |step| Err(format!("step {step} was done for a saga that nobody knows")));
    }
    let Some(owner) = world.owner.as_ref() else { return Err(String::from("nobody owns the saga")) };
    let saga = &owner.saga;
    let mut journal = Saga::read(world.plan, &world.journal.durable).map_err(|corrupt| corrupt.to_string())?;
    for entry in &world.journal.pending {
        journal.state.apply(world.plan, entry);
    }
    if journal.state != saga.state {
        return Err(format!("the fold of the journal is not the state:\n{:?}\n{:?}", journal.state, saga.state));
    }
    if world.reported != Some(saga.status()) {
        return Err(format!("ended as {:?}, reported {:?}", saga.status(), world.reported));
    }
    match saga.status() {
        Status::Completed => completed(world, saga),
        Status::Compensated => compensated(world),
        Status::Failed => failed(world, saga),
        other => Err(format!("the run ended {other:?}")),
    }
}

fn completed(world: &World<'_>, saga: &Saga) -> Checked<()> {
    for (step, site) in world.sites.iter().enumerate() {
        let is = world.plan.step(step);
        let phase = saga.step(step).map(|view| view.phase);
        if phase == Some(Phase::Voided) {
            if site.present && is.barrier && !is_read(world, step) {
                return Err(format!("completed, but step {step}, left out, has its effect"));
            }
            continue;
        }
        if world.meddled.contains(step) {
            continue;
        }
        let skipped = phase == Some(Phase::Skipped);
        let right = if skipped { site.executed == 0 } else { site.present && (!is.barrier || site.executed == 1) };
        if !right {
            return Err(format!("completed, but step {step} ({phase:?}) was done {} times", site.executed));
        }
    }
    Ok(())
}

fn compensated(world: &World<'_>) -> Checked<()> {
    for (step, site) in world.sites.iter().enumerate() {
        let is = world.plan.step(step);
        let excused = site.late || is_read(world, step) || (world.meddled.contains(step) && !is.barrier);
        if site.present && !excused {
            return Err(format!("compensated, but the effect of step {step} is left"));
        }
        if is.barrier && site.executed > 1 {
            return Err(format!("step {step} was done {} times", site.executed));
        }
    }
    Ok(())
}

fn failed(world: &World<'_>, saga: &Saga) -> Checked<()> {
    let left = saga.effects_left(world.plan);
    for (step, site) in world.sites.iter().enumerate() {
        let listed = left.iter().any(|effect| effect.step == step);
        if site.present && !site.late && !is_read(world, step) && !listed {
            return Err(format!("failed, and does not say that the effect of step {step} is left"));
        }
    }
    Ok(())
}
