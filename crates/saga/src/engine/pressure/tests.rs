//! Loads on a node of a given capacity, in simulated time, and properties.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::{FEW, Pressure, kept};

const WAIT: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(5);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A node that ends so many sagas a second at most, first come first served, each after `nature` at the earliest.
struct Node {
    pressure: Pressure,
    capacity: f64,
    nature: Duration,
    stalled: bool,
    now: Duration,
    running: VecDeque<(Duration, bool)>,
    /// What it could have ended and has not yet.
    credit: f64,
    due: f64,
    random: fastrand::Rng,
    /// Since it was last asked.
    seen: Seen,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    accepted: u32,
    refused: u32,
    ended: u32,
    longest: Duration,
}

impl Node {
    fn new(capacity: f64, nature: Duration) -> Self {
        Self {
            pressure: Pressure::default(),
            capacity,
            nature,
            stalled: false,
            now: Duration::ZERO,
            running: VecDeque::new(),
            credit: 0.0,
            due: 0.0,
            random: fastrand::Rng::with_seed(7),
            seen: Seen::default(),
        }
    }

    fn start(&mut self) {
        if self.pressure.excess(self.now, 0, WAIT).is_some() {
            self.seen.refused += 1;
            return;
        }
        self.seen.accepted += 1;
        self.running.push_back((self.now, self.pressure.is_calm()));
        self.pressure.entered(self.now);
    }

    /// So many come a second, at random, for so long.
    fn load(&mut self, per_s: f64, length: Duration) -> Seen {
        self.seen = Seen::default();
        let over = self.now + length;
        while self.now < over {
            self.now += STEP;
            self.due += per_s * STEP.as_secs_f64() * 2.0 * self.random.f64();
            while self.due >= 1.0 {
                self.due -= 1.0;
                self.start();
            }
            self.end_some();
        }
        self.seen
    }

    fn end_some(&mut self) {
        self.credit = (self.credit + self.capacity * STEP.as_secs_f64()).min(1.0 + self.capacity * STEP.as_secs_f64());
        while !self.stalled && self.credit >= 1.0 {
            let Some((began, calm)) = self.running.front().copied() else { return };
            let took = self.now.saturating_sub(began);
            if took < self.nature {
                return;
            }
            self.credit -= 1.0;
            self.running.pop_front();
            self.pressure.ended(self.now, calm.then_some(took));
            self.pressure.left(self.now);
            self.seen.ended += 1;
            self.seen.longest = self.seen.longest.max(took);
        }
    }
}

#[test]
fn a_burst_on_a_node_that_has_just_started_or_was_idle_is_taken() {
    let mut node = Node::new(25.0, millis(30));
    (0..100).for_each(|_| node.start());
    assert_eq!(node.seen.refused, 0, "nothing is known of it yet");
    node.load(0.0, millis(10_000));
    node.load(0.2, millis(600_000));
    node.seen = Seen::default();
    (0..100).for_each(|_| node.start());
    assert_eq!(node.seen.refused, 0, "what came so slowly was not all that it could do");
}

#[test]
fn what_can_be_carried_is_never_refused() {
    for capacity in [4.0, 25.0, 400.0] {
        let mut node = Node::new(capacity, millis(30));
        for share in [0.1, 0.5, 0.9, 0.5] {
            let seen = node.load(capacity * share, millis(120_000));
            assert_eq!(seen.refused, 0, "{capacity} x {share}: {seen:?}");
        }
    }
}

#[test]
fn ten_times_what_it_carries_leaves_it_busy_and_no_longer_behind_than_it_may_be() {
    for capacity in [4.0, 25.0, 400.0] {
        let mut node = Node::new(capacity, millis(30));
        node.load(capacity / 2.0, millis(20_000));
        // Until it knows what it can do it takes a few too many.
        let first = node.load(capacity * 10.0, millis(30_000));
        assert!(first.longest < millis(16_000), "{capacity}: {first:?}");
        let seen = node.load(capacity * 10.0, millis(30_000));
        assert!(f64::from(first.ended + seen.ended) >= 0.98 * capacity * 60.0, "{capacity}: {first:?}, {seen:?}");
        assert!(seen.refused > 8 * seen.accepted, "{capacity}: {seen:?}");
        assert!(seen.longest < millis(10_000), "{capacity}: {seen:?}");
        let behind = f64::from(u32::try_from(node.running.len()).unwrap()) / capacity;
        assert!(behind < 9.0, "{capacity}: {behind} s of work are left");
        let after = node.load(capacity / 20.0, millis(10_000));
        let normal = node.load(capacity / 2.0, millis(5_000));
        assert!(normal.refused == 0 && normal.longest < millis(1_000), "{capacity}: {after:?}, then {normal:?}");
    }
}

#[test]
fn sagas_that_take_long_by_nature_are_no_overload() {
    let mut node = Node::new(1_000.0, millis(30_000));
    for per_s in [10.0, 20.0, 5.0, 10.0] {
        let seen = node.load(per_s, millis(300_000));
        assert_eq!(seen.refused, 0, "{per_s}: {seen:?}");
    }
}

#[test]
fn behind_a_stall_little_piles_up_and_after_it_all_is_as_before() {
    let mut node = Node::new(50.0, millis(30));
    node.load(45.0, millis(20_000));
    node.load(400.0, millis(2_000));
    node.stalled = true;
    let stalled = node.load(45.0, millis(60_000));
    assert!(stalled.accepted < 500, "{stalled:?}");
    node.stalled = false;
    node.load(30.0, millis(15_000));
    let after = node.load(45.0, millis(20_000));
    assert!(after.refused == 0 && after.longest < millis(1_000), "{after:?}");
}

#[test]
fn one_whose_nature_has_changed_is_refused_for_a_while_only() {
    let mut node = Node::new(1_000.0, millis(1_000));
    node.load(40.0, millis(60_000));
    node.nature = millis(20_000);
    node.load(40.0, millis(120_000));
    let seen = node.load(40.0, millis(600_000));
    assert!(seen.accepted > 600, "it must not stay shut: {seen:?}");
}

#[test]
fn those_that_wait_in_the_queue_count() {
    let mut pressure = Pressure::default();
    for n in 0..=FEW {
        pressure.entered(millis(n as u64));
    }
    for n in 0..8 {
        pressure.ended(millis(1_000 + 100 * n), None);
        pressure.entered(millis(1_000 + 100 * n));
        pressure.left(millis(1_000 + 100 * n));
    }
    let now = millis(1_800);
    assert_eq!(pressure.excess(now, 0, WAIT), None, "17 that end at ten a second");
    let excess = pressure.excess(now, 83, WAIT).unwrap();
    assert_eq!(excess, millis(5_000), "100 of them take ten seconds");
    assert_eq!(pressure.excess(now, usize::MAX, Duration::MAX), None);
}

#[test]
fn an_eighth_of_the_places_is_kept() {
    assert_eq!([1, 7, 8, 4_096].map(kept), [0, 0, 1, 512]);
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Enter,
    End { took: u64 },
    Leave,
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => Just(Event::Enter),
        3 => (0_u64..100_000).prop_map(|took| Event::End { took }),
        1 => Just(Event::Leave),
        2 => (0_u64..3_000).prop_map(Event::Pass),
    ]
}

proptest! {
    #[test]
    fn few_are_never_refused_and_more_patience_never_refuses_more(
        events in proptest::collection::vec(event(), 1..400),
    ) {
        let (mut pressure, mut now) = (Pressure::default(), Duration::ZERO);
        for event in events {
            match event {
                Event::Enter => pressure.entered(now),
                Event::Leave => pressure.left(now),
                Event::End { took } => {
                    pressure.ended(now, pressure.is_calm().then(|| millis(took)));
                    pressure.left(now);
                }
                Event::Pass(length) => now += millis(length),
            }
            let excess = pressure.excess(now, 0, WAIT);
            prop_assert!(pressure.in_flight() > FEW || excess.is_none());
            let patient = pressure.excess(now, 0, WAIT * 2);
            prop_assert!(patient.unwrap_or_default() <= excess.unwrap_or_default());
            let later = pressure.excess(now + WAIT, 0, WAIT);
            prop_assert!(later.unwrap_or_default() >= excess.unwrap_or_default(), "a stall does not open the door");
        }
    }
}
