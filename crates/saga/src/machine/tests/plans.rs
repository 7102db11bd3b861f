//! Which definitions have a commit point.

use super::super::{Kind, Plan, PlanFault, PlanStep};
use super::script::{place_order, step, with_pivot};

fn fault(steps: Vec<PlanStep>) -> String {
    Plan::new(steps, None, true).expect_err("a fault").to_string()
}

#[test]
fn sound_plans() {
    for steps in [place_order(), with_pivot(), vec![step("a", Kind::Pivot, &[])]] {
        assert!(Plan::new(steps, None, true).is_ok());
    }
}

#[test]
fn faults_are_named() {
    use Kind::{Compensatable, Pivot, Retriable};
    assert_eq!(Plan::new(Vec::new(), None, true), Err(PlanFault::Count(0)));
    let many = (0..65).map(|_| step("a", Compensatable, &[])).collect();
    assert_eq!(Plan::new(many, None, true), Err(PlanFault::Count(65)));
    let circle = vec![step("a", Compensatable, &[1]), step("b", Compensatable, &[0])];
    assert!(fault(circle).contains("comes after itself"));
    assert!(fault(vec![step("a", Compensatable, &[3])]).contains("does not exist"));
    let two = vec![step("a", Pivot, &[]), step("b", Pivot, &[0])];
    assert!(fault(two).contains("at most one pivot"));
    let beside = vec![step("a", Compensatable, &[]), step("b", Pivot, &[])];
    assert!(fault(beside).contains("beside it"));
    let loose = vec![step("a", Compensatable, &[]), step("b", Retriable, &[])];
    assert!(fault(loose).contains("before every retriable"));
    let mut reads = place_order();
    reads[0].reads = vec![2];
    assert!(fault(reads).contains("does not come after"));
    let mut undo = place_order();
    undo[3].compensable = true;
    assert!(fault(undo).contains("only a compensatable step"));
}
