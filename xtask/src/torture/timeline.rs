//! When what goes wrong: dealt by a seed before anything starts, so that it can be printed, repeated and shortened. And the
//! playing of it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use tokio::time::Instant;

/// What stands between two faults, in milliseconds.
const GAP: std::ops::Range<u64> = 800..3_500;
/// So many times a card is drawn anew when it needs something that another fault has taken.
const TRIES: usize = 12;

/// A fault as drawn: what it is, how long it lasts, and whom it takes, so that no two faults contradict each other.
#[derive(Clone, Debug)]
pub(super) struct Drawn<F> {
    pub(super) fault: F,
    pub(super) lasts: Duration,
    pub(super) takes: Vec<String>,
}

/// A fault with its moments, counted from the beginning.
#[derive(Clone, Debug)]
pub(super) struct Entry<F> {
    pub(super) at: Duration,
    pub(super) until: Duration,
    pub(super) fault: F,
}

impl<F: Display> Display for Entry<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lasts = self.until.saturating_sub(self.at);
        write!(f, "{:6.1} s  {}", self.at.as_secs_f64(), self.fault)?;
        if lasts.is_zero() { Ok(()) } else { write!(f, ", for {:.1} s", lasts.as_secs_f64()) }
    }
}

/// Deals faults over `length`: every kind once before any comes twice, in an order of the seed.
pub(super) fn deal<K: Copy, F>(
    seed: u64,
    length: Duration,
    kinds: &[K],
    mut draw: impl FnMut(K, &mut Rng) -> Drawn<F>,
) -> Vec<Entry<F>> {
    let mut rng = Rng::with_seed(seed);
    let mut deck: Vec<K> = Vec::new();
    let mut entries = Vec::new();
    let mut taken: Vec<(String, Duration)> = Vec::new();
    let mut at = Duration::from_secs(1);
    while at < length {
        taken.retain(|(_, until)| *until > at);
        if deck.is_empty() {
            deck.extend_from_slice(kinds);
            rng.shuffle(&mut deck);
        }
        let Some(kind) = deck.pop() else { break };
        let fits = |drawn: &Drawn<F>| !drawn.takes.iter().any(|name| taken.iter().any(|(busy, _)| busy == name));
        let drawn = (0..TRIES).map(|_| draw(kind, &mut rng)).find(fits);
        if let Some(Drawn { fault, lasts, takes }) = drawn {
            let until = (at + lasts).min(length);
            taken.extend(takes.into_iter().map(|name| (name, until)));
            entries.push(Entry { at, until, fault });
        } else {
            // Later, when it is free again.
            deck.insert(0, kind);
        }
        at += Duration::from_millis(rng.u64(GAP));
    }
    entries
}

/// A moment of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Begin(usize),
    End(usize),
}

/// All moments in their order. What begins and ends at once begins first.
fn moments<F>(entries: &[Entry<F>]) -> Vec<(Duration, Moment)> {
    let both =
        |(index, entry): (usize, &Entry<F>)| [(entry.at, Moment::Begin(index)), (entry.until, Moment::End(index))];
    let mut moments: Vec<_> = entries.iter().enumerate().flat_map(both).collect();
    moments.sort_by_key(|(at, _)| *at);
    moments
}

/// What a campaign does while its timeline is played.
#[derive(Debug)]
pub(super) enum Act<'a, F> {
    /// Nothing happens until then; whoever ends meanwhile by itself may be looked after.
    Wait(Instant),
    Begin(&'a Entry<F>),
    End(&'a F),
}

/// Begins and ends the faults in their time.
pub(super) async fn play<F: Display>(
    entries: &[Entry<F>],
    begun: Instant,
    mut act: impl AsyncFnMut(Act<'_, F>) -> Result<()>,
) -> Result<()> {
    for (at, moment) in moments(entries) {
        act(Act::Wait(begun + at)).await?;
        match moment {
            Moment::Begin(index) => {
                let entry = &entries[index];
                act(Act::Begin(entry)).await.with_context(|| format!("beginning: {}", entry.fault))?;
            }
            Moment::End(index) => {
                let fault = &entries[index].fault;
                act(Act::End(fault)).await.with_context(|| format!("ending: {fault}"))?;
            }
        }
    }
    Ok(())
}

/// How often each kind of fault comes.
pub(super) fn counted<F>(entries: &[Entry<F>], kind: impl Fn(&F) -> &'static str) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        *counts.entry(kind(&entry.fault)).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dealt(seed: u64) -> Vec<Entry<(u8, u8)>> {
        deal(seed, Duration::from_mins(2), &[1, 2, 3], |kind, rng| {
            let whom = rng.u8(..3);
            Drawn { fault: (kind, whom), lasts: Duration::from_secs(5), takes: vec![whom.to_string()] }
        })
    }

    #[test]
    fn a_seed_deals_the_same_and_another_deals_otherwise() {
        let shape = |seed| dealt(seed).iter().map(|entry| (entry.at, entry.fault)).collect::<Vec<_>>();
        assert_eq!(shape(1), shape(1));
        assert_ne!(shape(1), shape(2));
    }

    #[test]
    fn every_kind_comes_and_nobody_is_struck_twice_at_once() {
        let entries = dealt(7);
        for kind in [1, 2, 3] {
            assert!(entries.iter().any(|entry| entry.fault.0 == kind));
        }
        for (index, entry) in entries.iter().enumerate() {
            assert!(entry.until <= Duration::from_mins(2));
            let clash = |other: &Entry<(u8, u8)>| other.fault.1 == entry.fault.1 && other.until > entry.at;
            assert!(!entries[..index].iter().any(clash), "{entry:?}");
        }
    }

    #[test]
    fn moments_are_in_order_and_complete() {
        let entries = dealt(3);
        let moments = moments(&entries);
        assert_eq!(moments.len(), 2 * entries.len());
        assert!(moments.is_sorted_by_key(|(at, _)| *at));
        for index in 0..entries.len() {
            let place = |moment| moments.iter().position(|(_, it)| *it == moment).unwrap();
            assert!(place(Moment::Begin(index)) < place(Moment::End(index)));
        }
    }

    #[tokio::test]
    async fn what_is_played_is_what_was_dealt_and_a_fault_that_cannot_be_made_is_named() {
        let entry = |at, until, fault| Entry { at: Duration::from_secs(at), until: Duration::from_secs(until), fault };
        let entries = [entry(1, 3, "broker_killed"), entry(2, 2, "backends_ended"), entry(4, 5, "broker_killed")];
        let (begun, mut acts) = (Instant::now(), Vec::new());
        let played = play(&entries, begun, async |act| {
            acts.push(match act {
                Act::Wait(until) => format!("{}", (until - begun).as_secs()),
                Act::Begin(entry) => format!("+{}", entry.fault),
                Act::End(fault) => format!("-{fault}"),
            });
            anyhow::ensure!(acts.len() < 10, "no such process");
            Ok(())
        });
        let error = played.await.unwrap_err();
        let expected = "1 +broker_killed 2 +backends_ended 2 -backends_ended 3 -broker_killed 4 +broker_killed";
        assert_eq!(acts.join(" "), expected);
        assert_eq!(format!("{error:#}"), "beginning: broker_killed: no such process");
        assert_eq!(counted(&entries, |fault| *fault), BTreeMap::from([("backends_ended", 1), ("broker_killed", 2)]));
    }
}
