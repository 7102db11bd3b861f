//! Which parts go into the next commit: a function of what waits, of the time and of the bounds.

use std::time::Duration;

use tokio::time::Instant;

/// What one commit takes, and how long entries wait for which nobody waits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Sagas in one commit; as many waiting ones make a commit although nobody waits for it.
    pub rows: usize,
    /// Bytes in one commit, by estimate; as many waiting ones make a commit although nobody waits for it. One saga's part
    /// is never divided.
    pub bytes: usize,
    /// The age at which entries are committed although nobody waits for them.
    pub age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { rows: 512, bytes: 1 << 20, age: Duration::from_millis(20) }
    }
}

/// One saga's waiting entries, as far as the choice sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// In the order of arrival.
    pub(super) ticket: u64,
    /// Whether somebody waits for their commit.
    pub(super) urgent: bool,
    /// Bytes, by estimate.
    pub(super) weight: usize,
    /// When the first of them came.
    pub(super) since: Instant,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Nothing waits.
    Nothing,
    /// Nobody waits for a commit before this moment.
    Until(Instant),
    /// Commit these now.
    Commit(Vec<u64>),
}

/// Chooses among what waits, given in the order of arrival. Below `forced` all count as urgent. The urgent ones come
/// first; the others ride along only at a bound, since most of them will be part of an urgent commit soon and then cost
/// no row of their own.
pub(super) fn choose<I>(waiting: I, forced: u64, now: Instant, bounds: &Bounds) -> Choice
where
    I: Iterator<Item = Waiting> + Clone,
{
    let is_urgent = |it: &Waiting| it.urgent || it.ticket < forced;
    let (rows, bytes) = waiting.clone().fold((0, 0), |(rows, bytes), it| (rows + 1, bytes + it.weight));
    let crowded = rows >= bounds.rows || bytes >= bounds.bytes;
    let rides = |it: &Waiting| !is_urgent(it) && (crowded || it.since + bounds.age <= now);
    let mut chosen = Vec::new();
    let mut weight = 0;
    for it in waiting.clone().filter(is_urgent).chain(waiting.clone().filter(rides)) {
        if !chosen.is_empty() && (chosen.len() >= bounds.rows || weight + it.weight > bounds.bytes) {
            break;
        }
        weight += it.weight;
        chosen.push(it.ticket);
    }
    if !chosen.is_empty() {
        return Choice::Commit(chosen);
    }
    waiting.map(|it| it.since).min().map_or(Choice::Nothing, |oldest| Choice::Until(oldest + bounds.age))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { rows: 4, bytes: 1_000, age: Duration::from_millis(20) };

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    /// Tickets count from 1; `u` is urgent, `-` is not.
    fn waiting(start: Instant, what: &str, weight: usize) -> Vec<Waiting> {
        let each = (1..).zip(what.chars());
        each.map(|(ticket, it)| Waiting { ticket, urgent: it == 'u', weight, since: at(start, ticket) }).collect()
    }

    fn chosen(what: &str, weight: usize, forced: u64, millis: u64) -> Choice {
        let start = Instant::now();
        choose(waiting(start, what, weight).into_iter(), forced, at(start, millis), &BOUNDS)
    }

    #[test]
    fn nothing_waits() {
        assert_eq!(chosen("", 1, 0, 0), Choice::Nothing);
    }

    #[test]
    fn only_the_urgent_go_before_the_age() {
        assert_eq!(chosen("-u-", 10, 0, 5), Choice::Commit(vec![2]));
        let start = Instant::now();
        let until = choose(waiting(start, "--", 10).into_iter(), 0, at(start, 5), &BOUNDS);
        assert_eq!(until, Choice::Until(at(start, 21)));
    }

    #[test]
    fn what_is_old_goes_alone_or_rides_along_behind_the_urgent() {
        assert_eq!(chosen("---", 10, 0, 22), Choice::Commit(vec![1, 2]));
        assert_eq!(chosen("--u", 10, 0, 21), Choice::Commit(vec![3, 1]));
    }

    #[test]
    fn a_crowd_goes_up_to_the_bound_and_the_urgent_first() {
        assert_eq!(chosen("----", 10, 0, 5), Choice::Commit(vec![1, 2, 3, 4]));
        assert_eq!(chosen("---uu-", 10, 0, 5), Choice::Commit(vec![4, 5, 1, 2]));
        assert_eq!(chosen("uuuuuu", 10, 0, 5), Choice::Commit(vec![1, 2, 3, 4]));
    }

    #[test]
    fn bytes_bound_a_commit_but_never_stop_one() {
        assert_eq!(chosen("uuu", 400, 0, 5), Choice::Commit(vec![1, 2]));
        assert_eq!(chosen("uu", 5_000, 0, 5), Choice::Commit(vec![1]));
        assert_eq!(chosen("--", 500, 0, 5), Choice::Commit(vec![1, 2]));
    }

    #[test]
    fn what_is_forced_counts_as_urgent() {
        assert_eq!(chosen("---", 10, 3, 5), Choice::Commit(vec![1, 2]));
    }

    /// Every part is committed, in at most as many commits as there are parts, once its age has come.
    #[test]
    fn whatever_waits_goes_in_the_end() {
        for seed in 0..500 {
            let mut random = fastrand::Rng::with_seed(seed);
            let start = Instant::now();
            let mut left: Vec<_> = (0..random.u64(1..20))
                .map(|ticket| Waiting {
                    ticket,
                    urgent: random.bool(),
                    weight: random.usize(1..1_500),
                    since: at(start, random.u64(0..30)),
                })
                .collect();
            for _ in 0..left.len() {
                let now = at(start, 60);
                let Choice::Commit(tickets) = choose(left.iter().copied(), 0, now, &BOUNDS) else {
                    panic!("seed {seed}: all are old, one must go: {left:?}")
                };
                let urgent_left = left.iter().any(|it| it.urgent && !tickets.contains(&it.ticket));
                let took_others = left.iter().any(|it| !it.urgent && tickets.contains(&it.ticket));
                assert!(!(urgent_left && took_others), "seed {seed}: the urgent go first");
                assert!(tickets.len() <= BOUNDS.rows, "seed {seed}");
                left.retain(|it| !tickets.contains(&it.ticket));
                if left.is_empty() {
                    break;
                }
            }
            assert!(left.is_empty(), "seed {seed}: {left:?}");
        }
    }
}
