//! `steadfast demo` to its end.

use std::time::Duration;

use serde_json::Value;
use steadfast_db::Db;
use steadfast_db::sqlite::Options;
use steadfast_testkit::wait_for;

use crate::support::{Running, steadfast};

/// What the report has in any case.
const REQUIRED: [&str; 16] = [
    "orders",
    "completed",
    "compensated",
    "failed",
    "pending",
    "returns",
    "duplicates_prevented",
    "conflicts",
    "events_published",
    "consistency_rate",
    "mean_time_to_consistency_ms",
    "sagas_per_second",
    "wall_s",
    "rss_mb",
    "violations",
    "seed",
];

/// What it tells beyond.
const FURTHER: [&str; 13] = [
    "returns_matched",
    "returns_standalone",
    "skipped_returns",
    "returns_refused",
    "write_offs",
    "write_offs_refused",
    "account_adjustments",
    "conflicts_resolved",
    "key_reuse_refused",
    "hang_ups",
    "retries",
    "sagas",
    "parked",
];

fn number(report: &Value, member: &str) -> u64 {
    report[member].as_u64().unwrap_or_else(|| panic!("{member} of {report}"))
}

#[tokio::test]
async fn the_last_line_is_a_report_with_these_members() {
    let ran = steadfast(&["demo", "--orders", "40", "--json"]).await;
    let report = ran.consistent();
    let mut members: Vec<&str> = report.as_object().unwrap().keys().map(String::as_str).collect();
    let mut wanted = [REQUIRED.as_slice(), &FURTHER].concat();
    members.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(members, wanted);
    // For people who read it: what was asked for comes first.
    let place = |member: &str| ran.stdout.find(&format!("\"{member}\":")).unwrap();
    assert!(REQUIRED.windows(2).all(|pair| place(pair[0]) < place(pair[1])));

    let of = |member| number(&report, member);
    assert_eq!(of("orders"), 40);
    assert_eq!(of("orders"), of("completed") + of("compensated") + of("failed") + of("pending"));
    assert!(of("completed") > 0 && of("compensated") > 0, "some products run out: {report}");
    assert_eq!((of("failed"), of("pending"), of("seed")), (0, 0, 7));
    assert_eq!(of("returns"), of("returns_matched") + of("returns_standalone"));
    assert!(of("events_published") > of("sagas"));
    assert!((99.9..=100.0).contains(&report["consistency_rate"].as_f64().unwrap()), "{report}");
    for positive in ["mean_time_to_consistency_ms", "sagas_per_second", "wall_s", "rss_mb"] {
        assert!(report[positive].as_f64().unwrap() > 0.0, "{positive} of {report}");
    }
    assert!(report["violations"].is_array() && report["parked"].is_array());
}

#[tokio::test]
async fn without_json_it_speaks_to_people() {
    let ran = steadfast(&["demo", "--orders", "10"]).await;
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(!ran.stdout.contains('{'), "{}", ran.stdout);
    for word in ["orders placed", "completed", "compensated", "all invariants hold"] {
        assert!(ran.stdout.to_lowercase().contains(word), "{word} in {}", ran.stdout);
    }
}

/// One till at a time, so that who gets the last piece of a product does not depend on the machine.
#[tokio::test]
async fn a_seed_replays_alike() {
    let counts = async |seed: &str| {
        let run = ["demo", "--orders", "30", "--failure-rate", "0.4", "--concurrency", "1", "--seed", seed, "--json"];
        let report = steadfast(&run).await.consistent();
        let of = |member| number(&report, member);
        let manners = [of("duplicates_prevented"), of("conflicts"), of("key_reuse_refused"), of("hang_ups")];
        ([of("orders"), of("completed"), of("compensated"), of("returns"), of("skipped_returns")], manners)
    };
    let (first, again, other) = tokio::join!(counts("11"), counts("11"), counts("12"));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[tokio::test]
async fn a_node_that_is_killed_twice_loses_nothing() {
    let run = ["demo", "--orders", "150", "--crash", "2", "--failure-rate", "0.2", "--json"];
    let report = steadfast(&run).await.consistent();
    assert_eq!((number(&report, "orders"), number(&report, "pending")), (150, 0));
    assert!(number(&report, "completed") > 75, "{report}");
}

/// Ctrl-C in the middle: what has begun ends, and is checked; with a node in a child, too.
#[tokio::test]
async fn a_run_that_is_interrupted_is_consistent_as_far_as_it_went() {
    tokio::join!(interrupt("0"), interrupt("1"));
}

async fn interrupt(crashes: &str) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let running = Running::start(&["demo", "--json", "--crash", crashes, "--data", data.to_str().unwrap()]);
    let path = data.join("orchestrator.sqlite");
    wait_for("sagas of the run", Duration::from_secs(20), || async { sagas(&path).await > 50 }).await;
    let report = running.end("-INT").await.consistent();
    let orders = number(&report, "orders");
    assert!((10..1_500).contains(&orders), "not all of the sample: {report}");
    assert_eq!(number(&report, "pending"), 0);
}

/// How many sagas a platform has begun, as another process sees it.
async fn sagas(path: &std::path::Path) -> i64 {
    if !path.exists() {
        return 0;
    }
    let Ok(db) = Db::open(path, Options::default()).await else { return 0 };
    let found = sqlx::query_scalar("select count(*) from saga").fetch_one(db.readers()).await;
    db.close().await;
    // The tables come later than the file.
    found.unwrap_or(0)
}

/// Compensations that are refused for good are nobody's violation, but an operator's work.
#[tokio::test]
async fn sagas_that_are_parked_on_purpose_are_listed() {
    let run = ["demo", "--orders", "80", "--failure-rate", "0.3", "--refusal-rate", "0.5", "--json"];
    let report = steadfast(&run).await.consistent();
    let parked = report["parked"].as_array().unwrap();
    let orders = parked.iter().filter(|saga| saga["definition"] == "place_order").count() as u64;
    assert!(orders > 0, "{report}");
    assert_eq!(number(&report, "failed"), orders);
    assert_eq!(number(&report, "pending"), 0);
    for saga in parked {
        assert!(!saga["refused"].as_array().unwrap().is_empty(), "{saga}");
        assert!(!saga["left"].as_array().unwrap().is_empty(), "what is left is said: {saga}");
        assert!(saga["saga"].is_string() && saga["number"].is_string(), "{saga}");
    }
}
