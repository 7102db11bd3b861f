//! The campaign: many seeds with a crash or two, some seeds with a crash at every single point.

use fastrand::Rng;

use super::mark::Marks;
use super::{must_hold, scenario::Scenario};

/// Seeds of the sample that every run of the tests takes; `SIMULATION_SEEDS` takes more.
const SEEDS: u64 = 40_000;
/// One seed in so many dies at each of its points in turn.
const ENUMERATED: u64 = 40;

fn seeds() -> u64 {
    std::env::var("SIMULATION_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS)
}

#[test]
fn every_seed_holds_and_every_interesting_state_is_reached() {
    let halves = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2).map(|half| scope.spawn(move || campaign(half))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a violation is printed above")).collect::<Vec<_>>()
    });
    let (mut marks, mut schedules) = (Marks::default(), 0);
    for half in halves {
        marks.join(half.0);
        schedules += half.1;
    }
    println!("{schedules} schedules");
    assert!(marks.missed().is_empty(), "never reached (numbers of `Mark`): {:?}", marks.missed());
}

fn campaign(half: u64) -> (Marks, u64) {
    let mut marks = Marks::default();
    let mut schedules = 0;
    for seed in (half..seeds()).step_by(2) {
        let scenario = Scenario::new(seed);
        let mut rng = Rng::with_seed(seed ^ 0xDEAD);
        let points = must_hold(seed, &scenario, &[], &mut marks);
        let mut crashes: Vec<u32> = (0..rng.usize(1..4)).map(|_| rng.u32(1..points + 12)).collect();
        crashes.sort_unstable();
        must_hold(seed, &scenario, &crashes, &mut marks);
        schedules += 2;
        if seed % ENUMERATED == half {
            for point in 1..=points.min(300) {
                must_hold(seed, &scenario, &[point], &mut marks);
                schedules += 1;
            }
        }
    }
    (marks, schedules)
}

#[test]
fn a_seed_replays_alike() {
    for seed in 0..50 {
        let scenario = Scenario::new(seed);
        let once = super::timeline(&scenario, &[9, 30], super::Mutation::NONE);
        let twice = super::timeline(&Scenario::new(seed), &[9, 30], super::Mutation::NONE);
        assert_eq!(once, twice, "seed {seed}");
    }
}
