//! The machine in a world that loses, doubles, delays and reorders everything, with owners that die at any point or do
//! not know that they are dead. A run is a function of its seed; a failing one prints the seed and its timeline.

mod mark;
mod mutations;
mod network;
mod owner;
mod participant;
mod people;
mod scenario;
mod schedules;
mod verify;
mod world;

use super::rules::Rules;
use mark::Marks;
use scenario::Scenario;
use world::World;

/// What a run takes away from the product, to see that it is missed.
#[derive(Clone, Copy, Debug)]
struct Mutation {
    rules: Rules,
    barrier: bool,
}

impl Mutation {
    const NONE: Self = Self { rules: Rules::ALL, barrier: true };
}

/// Runs one schedule. Returns how many points it had at which an owner could have died.
fn run(scenario: &Scenario, crashes: &[u32], mutation: Mutation, marks: &mut Marks) -> Result<u32, String> {
    let mut world = World::new(scenario, crashes, mutation, marks, false);
    let result = world.run();
    let points = world.points();
    result.map(|()| points)
}

/// The text timeline of one schedule.
fn timeline(scenario: &Scenario, crashes: &[u32], mutation: Mutation) -> String {
    let mut marks = Marks::default();
    let mut world = World::new(scenario, crashes, mutation, &mut marks, true);
    let result = world.run();
    format!("{}{}\n", world.timeline(), result.map_or_else(|fault| format!("VIOLATION: {fault}"), |()| "ok".to_owned()))
}

/// Runs one schedule and fails the test with everything that is needed to see it again.
fn must_hold(seed: u64, scenario: &Scenario, crashes: &[u32], marks: &mut Marks) -> u32 {
    match run(scenario, crashes, Mutation::NONE, marks) {
        Ok(points) => points,
        Err(fault) => {
            panic!("seed {seed}, crashes at {crashes:?}: {fault}\n{}", timeline(scenario, crashes, Mutation::NONE))
        }
    }
}
