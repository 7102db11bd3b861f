use expect_test::expect;

use super::*;
use crate::check::{Consistency, Ends};
use crate::invoice::Summary;

fn report(violations: Vec<Violation>) -> Report {
    let checked = Checked {
        violations,
        parked: vec![],
        ends: Ends { orders: 10, completed: 7, compensated: 2, failed: 0, pending: 1 },
        returns_completed: 1,
        consistency: Consistency { accepted: 10, consistent: 9, rate: 90.0, mean_time_ms: 12.345_67 },
        sagas: 10,
        sagas_took_ms: 2_000,
        events_published: 42,
    };
    let outcome = Outcome { returns: 1, returns_matched: 1, conflicts: 3, ..Outcome::default() };
    Report::new(7, &outcome, checked, Duration::from_millis(2_500), 51.25)
}

#[test]
fn the_json_is_one_line_with_the_promised_members() {
    let json = report(vec![]).json();
    expect![[r#"{"orders":10,"completed":7,"compensated":2,"failed":0,"pending":1,"returns":1,"duplicates_prevented":0,"conflicts":3,"events_published":42,"consistency_rate":90.0,"mean_time_to_consistency_ms":12.346,"sagas_per_second":5.0,"wall_s":2.5,"rss_mb":51.25,"violations":[],"seed":7,"returns_matched":1,"returns_standalone":0,"skipped_returns":0,"returns_refused":0,"write_offs":0,"write_offs_refused":0,"account_adjustments":0,"conflicts_resolved":0,"key_reuse_refused":0,"hang_ups":0,"retries":0,"sagas":10,"parked":[]}"#]].assert_eq(&json);
    assert!(!json.contains('\n'));
}

#[test]
fn people_see_what_does_not_hold() {
    let bad = report(vec![Violation { invariant: "money", detail: "customer 7".into() }]);
    assert!(!bad.holds() && report(vec![]).holds());
    let text = bad.human(&Summary::default());
    assert!(text.contains("1 VIOLATIONS\n  money: customer 7\n"), "{text}");
    let noted = Report { note: Some("no faults".to_owned()), ..report(vec![]) };
    let text = noted.human(&Summary::default());
    assert!(text.contains("\nNote: no faults.\n") && text.contains("All invariants hold."), "{text}");
    assert!(noted.json().ends_with(r#""note":"no faults"}"#));
}
