//! The order of one aggregate's events, as a function of values: what to apply now, what to park, what is known.
//!
//! Events of one aggregate travel over several topics, so they arrive in any order and more than once. Their numbers
//! run 1, 2, 3 … without a gap; that is all that is needed to restore the order.

use std::collections::BTreeMap;
use std::time::Duration;

use steadfast_core::{EventId, Timestamp};

/// What identifies an event within its aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its number.
    pub sequence: i64,
    /// Its id.
    pub event_id: EventId,
}

/// An event that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parked {
    /// Which one.
    pub mark: Mark,
    /// Since when.
    pub since: Timestamp,
    /// Whether applying it has failed: it then holds the aggregate until an operator decides.
    pub poison: bool,
}

/// Where an aggregate stands before a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The number of the last event that was applied; 0 before the first.
    pub last: i64,
    /// The id of that event, where it is known.
    pub last_id: Option<EventId>,
    /// What waits.
    pub parked: Vec<Parked>,
}

/// What happens to a gap that lasts. Its age is that of the oldest event that waits behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapPolicy {
    /// The events behind it wait for as long as it takes.
    Wait,
    /// They wait, and from this age on it is reported.
    Alarm {
        /// The age.
        after: Duration,
    },
    /// From this age on the missing numbers are given up and written down. An event that comes later still under one
    /// of them is a duplicate.
    Skip {
        /// The age.
        after: Duration,
    },
}

/// One event to apply: the n-th of the incoming or of the parked ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Index into the incoming events.
    Incoming(usize),
    /// Index into [`Standing::parked`].
    Parked(usize),
}

/// What to do with an aggregate's events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Apply these, in this order.
    pub apply: Vec<Pick>,
    /// Park these incoming ones.
    pub park: Vec<usize>,
    /// These incoming ones were applied before, or are parked already.
    pub duplicates: Vec<usize>,
    /// These incoming ones bear a number that another event has: a fault of whoever numbers them.
    pub collisions: Vec<usize>,
    /// Missing numbers that are given up: first and last of each run.
    pub skipped: Vec<(i64, i64)>,
    /// The number of the last event once all of this is done.
    pub last: i64,
    /// Whether a gap is left that has lasted for longer than [`GapPolicy::Alarm`] allows.
    pub alarm: bool,
}

/// Decides about one aggregate. `incoming` are its events in the order of their arrival.
pub fn order(standing: &Standing, incoming: &[Mark], policy: GapPolicy, now: Timestamp) -> Plan {
    let mut plan = Plan { last: standing.last, ..Plan::default() };
    if standing.parked.is_empty() && in_line(standing.last, incoming) {
        plan.apply = (0..incoming.len()).map(Pick::Incoming).collect();
        plan.last = incoming.last().map_or(standing.last, |mark| mark.sequence);
        return plan;
    }
    let candidates = candidates(standing, incoming, &mut plan);
    if standing.parked.iter().any(|parked| parked.poison) {
        plan.park = incoming_of(candidates.values());
        return plan;
    }
    let queue: Vec<(i64, Pick)> = candidates.into_iter().collect();
    let ages = ages_from(standing, &queue, now);
    let mut done = 0;
    for (index, (sequence, pick)) in queue.iter().enumerate() {
        if *sequence != plan.last + 1 {
            match policy {
                GapPolicy::Skip { after } if ages[index] >= after => plan.skipped.push((plan.last + 1, sequence - 1)),
                GapPolicy::Alarm { after } => {
                    plan.alarm = ages[index] >= after;
                    break;
                }
                GapPolicy::Skip { .. } | GapPolicy::Wait => break,
            }
        }
        plan.apply.push(*pick);
        plan.last = *sequence;
        done = index + 1;
    }
    plan.park = incoming_of(queue[done..].iter().map(|(_, pick)| pick));
    plan
}

/// Whether the events simply continue the sequence.
fn in_line(last: i64, incoming: &[Mark]) -> bool {
    incoming.iter().zip(last + 1..).all(|(mark, expected)| mark.sequence == expected)
}

/// All events that have not been applied, by number; what else came is sorted into the plan.
fn candidates(standing: &Standing, incoming: &[Mark], plan: &mut Plan) -> BTreeMap<i64, Pick> {
    let mut candidates: BTreeMap<i64, Pick> = (standing.parked.iter().enumerate())
        .filter(|(_, parked)| parked.mark.sequence > standing.last)
        .map(|(index, parked)| (parked.mark.sequence, Pick::Parked(index)))
        .collect();
    for (index, mark) in incoming.iter().enumerate() {
        let known = match candidates.get(&mark.sequence) {
            Some(Pick::Incoming(other)) => Some(incoming[*other].event_id),
            Some(Pick::Parked(other)) => Some(standing.parked[*other].mark.event_id),
            None if mark.sequence == standing.last => Some(standing.last_id.unwrap_or(mark.event_id)),
            None if mark.sequence < standing.last => Some(mark.event_id),
            None => None,
        };
        match known {
            Some(id) if id == mark.event_id => plan.duplicates.push(index),
            Some(_) => plan.collisions.push(index),
            None => {
                candidates.insert(mark.sequence, Pick::Incoming(index));
            }
        }
    }
    candidates
}

/// For each place in the queue the age of the oldest event from there on.
fn ages_from(standing: &Standing, queue: &[(i64, Pick)], now: Timestamp) -> Vec<Duration> {
    let mut ages = vec![Duration::ZERO; queue.len()];
    let mut oldest = Duration::ZERO;
    for (index, (_, pick)) in queue.iter().enumerate().rev() {
        if let Pick::Parked(parked) = pick {
            oldest = oldest.max(now.since(standing.parked[*parked].since));
        }
        ages[index] = oldest;
    }
    ages
}

/// The incoming ones among the picks, in the order of their arrival.
fn incoming_of<'a>(picks: impl Iterator<Item = &'a Pick>) -> Vec<usize> {
    let mut indices: Vec<usize> = picks
        .filter_map(|pick| match pick {
            Pick::Incoming(index) => Some(*index),
            Pick::Parked(_) => None,
        })
        .collect();
    indices.sort_unstable();
    indices
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: i64) -> EventId {
        EventId::from_parts(Timestamp::from_millis(n), [0; 10])
    }

    fn mark(sequence: i64) -> Mark {
        Mark { sequence, event_id: id(sequence) }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn waiting(sequence: i64, since: i64) -> Parked {
        Parked { mark: mark(sequence), since: at(since), poison: false }
    }

    /// Applies a plan to a standing, as the runner does, and answers with the numbers that were applied.
    fn carry_out(standing: &mut Standing, incoming: &[Mark], plan: &Plan, now: Timestamp) -> Vec<i64> {
        let pick = |pick: &Pick| match pick {
            Pick::Incoming(index) => incoming[*index],
            Pick::Parked(index) => standing.parked[*index].mark,
        };
        let applied: Vec<Mark> = plan.apply.iter().map(pick).collect();
        let mut parked = standing.parked.clone();
        parked.retain(|parked| !applied.contains(&parked.mark));
        parked.extend(plan.park.iter().map(|index| Parked { mark: incoming[*index], since: now, poison: false }));
        if let Some(last) = applied.last() {
            standing.last_id = Some(last.event_id);
        }
        standing.parked = parked;
        standing.last = plan.last;
        applied.iter().map(|mark| mark.sequence).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_arrival_gives_each_event_once_and_in_order(
            (total, arrivals) in (1_i64..30).prop_flat_map(|total| {
                let all: Vec<i64> = (1..=total).collect();
                let repeats = proptest::collection::vec(1..=total, 0..20);
                repeats.prop_flat_map(move |repeats| {
                    let mut arrivals = all.clone();
                    arrivals.extend(repeats);
                    (Just(total), Just(arrivals).prop_shuffle())
                })
            }),
            cuts in proptest::collection::vec(1_usize..8, 1..60),
        ) {
            let mut standing = Standing::default();
            let mut applied = Vec::new();
            let mut met = 0;
            let mut rest = &arrivals[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (batch, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                let incoming: Vec<Mark> = batch.iter().map(|n| mark(*n)).collect();
                let plan = order(&standing, &incoming, GapPolicy::Wait, at(0));
                let fresh = plan.apply.iter().filter(|pick| matches!(pick, Pick::Incoming(_))).count();
                prop_assert_eq!(fresh + plan.park.len() + plan.duplicates.len(), incoming.len());
                prop_assert!(plan.collisions.is_empty() && plan.skipped.is_empty() && !plan.alarm);
                met += plan.duplicates.len();
                applied.extend(carry_out(&mut standing, &incoming, &plan, at(0)));
                // What is parked could not have been applied.
                prop_assert!(standing.parked.iter().all(|parked| parked.mark.sequence > standing.last + 1));
            }
            prop_assert_eq!(applied, (1..=total).collect::<Vec<_>>());
            prop_assert!(standing.parked.is_empty());
            prop_assert_eq!(met, arrivals.len() - usize::try_from(total).unwrap());
        }

        #[test]
        fn with_skipping_every_number_is_applied_or_written_down(
            arrivals in Just((1..=20).collect::<Vec<i64>>()).prop_shuffle(),
            lost in proptest::collection::btree_set(1_i64..=20, 0..8),
        ) {
            let policy = GapPolicy::Skip { after: Duration::from_secs(10) };
            let mut standing = Standing::default();
            let (mut applied, mut skipped) = (Vec::new(), Vec::new());
            for n in arrivals.into_iter().filter(|n| !lost.contains(n)) {
                let incoming = [mark(n)];
                let plan = order(&standing, &incoming, policy, at(0));
                prop_assert!(plan.skipped.is_empty(), "nothing is old yet");
                applied.extend(carry_out(&mut standing, &incoming, &plan, at(0)));
            }
            let plan = order(&standing, &[], policy, at(10_000));
            skipped.extend(plan.skipped.iter().flat_map(|(first, last)| *first..=*last));
            applied.extend(carry_out(&mut standing, &[], &plan, at(10_000)));
            prop_assert!(standing.parked.is_empty());
            prop_assert!(applied.is_sorted());
            prop_assert!(skipped.iter().all(|n| lost.contains(n)));
            let mut all = [applied, skipped].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (1..=standing.last).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_gap_is_judged_by_the_oldest_that_waits_behind_it() {
        let standing = Standing { last: 2, last_id: None, parked: vec![waiting(4, 9_000), waiting(7, 1_000)] };
        let judge = |policy, now| order(&standing, &[mark(9)], policy, at(now));
        let seconds = Duration::from_secs;

        assert_eq!(judge(GapPolicy::Wait, 1_000_000), Plan { park: vec![0], last: 2, ..Plan::default() });
        assert!(!judge(GapPolicy::Alarm { after: seconds(10) }, 10_999).alarm);
        let alarmed = judge(GapPolicy::Alarm { after: seconds(10) }, 11_000);
        assert!(alarmed.alarm && alarmed.apply.is_empty());

        assert_eq!(judge(GapPolicy::Skip { after: seconds(10) }, 10_999).last, 2);
        let skipped = judge(GapPolicy::Skip { after: seconds(10) }, 11_000);
        assert_eq!(skipped.skipped, [(3, 3), (5, 6)]);
        assert_eq!(skipped.apply, [Pick::Parked(0), Pick::Parked(1)]);
        assert_eq!((skipped.last, skipped.park), (7, vec![0]), "what came just now is too young to give up 8");
    }

    #[test]
    fn poison_holds_its_aggregate() {
        let poison = Parked { poison: true, ..waiting(3, 0) };
        let standing = Standing { last: 2, last_id: Some(id(2)), parked: vec![poison, waiting(4, 0)] };
        let policy = GapPolicy::Skip { after: Duration::ZERO };
        let plan = order(&standing, &[mark(5), mark(4), mark(2), mark(5)], policy, at(1_000));
        assert_eq!(plan, Plan { park: vec![0], duplicates: vec![1, 2, 3], last: 2, ..Plan::default() });
    }

    #[test]
    fn two_events_with_one_number_are_told_apart() {
        let standing = Standing { last: 2, last_id: Some(id(2)), parked: vec![waiting(4, 0)] };
        let other = |sequence| Mark { sequence, event_id: id(99) };
        let plan =
            order(&standing, &[other(2), other(4), mark(3), Mark { ..other(3) }, mark(1)], GapPolicy::Wait, at(0));
        assert_eq!(plan.collisions, [0, 1, 3]);
        assert_eq!(plan.duplicates, [4]);
        assert_eq!(plan.apply, [Pick::Incoming(2), Pick::Parked(0)]);
    }
}
