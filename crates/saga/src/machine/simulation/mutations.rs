//! Each rule is taken away in turn; a thousand seeds must notice.

use fastrand::Rng;

use super::super::rules::Rules;
use super::mark::Marks;
use super::scenario::Scenario;
use super::{Mutation, run};

fn caught(mutation: Mutation) -> Option<(u64, String)> {
    let mut marks = Marks::default();
    (0..1_000).find_map(|seed| {
        let scenario = Scenario::new(seed);
        let mut rng = Rng::with_seed(seed ^ 0xBAD);
        let points = match run(&scenario, &[], mutation, &mut marks) {
            Ok(points) => points,
            Err(fault) => return Some((seed, fault)),
        };
        (0..16).find_map(|_| {
            let crashes = [rng.u32(1..=points), rng.u32(1..points + 12)];
            run(&scenario, &crashes, mutation, &mut marks).err().map(|fault| (seed, fault))
        })
    })
}

fn must_be_caught(what: &str, mutation: Mutation) {
    let caught = caught(mutation);
    assert!(caught.is_some(), "nobody misses {what}");
    println!("{what}: {caught:?}");
}

macro_rules! mutations {
    ($($test:ident: $rule:ident;)*) => {
        $(#[test]
        fn $test() {
            must_be_caught(stringify!($rule), Mutation { rules: Rules { $rule: false, ..Rules::ALL }, barrier: true });
        })*
    };
}

mutations! {
    the_wait_for_the_start_is_missed: start_wait;
    the_wait_for_the_decision_is_missed: decision_wait;
    the_wait_for_the_commit_point_is_missed: commit_point_wait;
    the_wait_for_the_end_is_missed: end_wait;
    the_wait_of_strict_and_unguarded_steps_is_missed: strict_wait;
    the_wait_for_outputs_that_a_compensation_reads_is_missed: reads_wait;
    the_wait_for_what_a_compensation_knows_is_missed: knowledge_wait;
    the_wait_for_an_act_is_missed: act_wait;
    the_rule_possibly_sent_is_missed: possibly_sent;
    the_rule_of_the_doubtful_refusal_is_missed: doubtful_refusal;
}

#[test]
fn the_barrier_is_missed() {
    must_be_caught("the barrier", Mutation { rules: Rules::ALL, barrier: false });
}
