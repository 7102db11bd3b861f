//! Benches on the real servers, as small as they can be: that they run to their end, what they print, and that nothing of
//! theirs is left.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_mins(2);

pub(crate) fn postgres() -> String {
    std::env::var("STEADFAST_TEST_POSTGRES").unwrap_or_else(|_| "postgres://postgres@127.0.0.1:55432".to_owned())
}

fn brokers() -> String {
    std::env::var("STEADFAST_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:19092".to_owned())
}

/// What a bench came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) process: u32,
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Its lines, each an object with positive numbers.
    fn lines(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{self:#?}");
        let lines: Vec<Value> = self.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for line in &lines {
            for name in ["ours_per_s", "cpu_s", "rss_mb", "commits", "wal_bytes"] {
                assert!(line[name].as_f64().is_some_and(|value| value > 0.0), "{name} in {line:#}");
            }
        }
        lines
    }

    /// A failure in one line that holds all of these parts.
    pub(crate) fn assert_refused(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(1), "{self:#?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:#?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} in {}", self.stderr);
        }
    }

    /// Neither a database nor a topic that this process has made is there.
    async fn assert_clean(&self) {
        let db = steadfast_testkit::postgres().await;
        let databases: Vec<String> = sqlx::query_scalar("select datname::text from pg_database where datname like $1")
            .bind(format!("steadfast\\_bench\\_{}\\_%", self.process))
            .fetch_all(db.pool())
            .await
            .unwrap();
        assert_eq!(databases, Vec::<String>::new());
        let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers()).create().unwrap();
        let metadata = client.fetch_metadata(None, Duration::from_secs(10)).unwrap();
        let ours = format!("steadfast-bench-{}-", self.process);
        assert!(metadata.topics().iter().all(|topic| !topic.name().starts_with(&ours)));
    }
}

pub(crate) async fn bench(arguments: &[impl AsRef<OsStr>]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command.arg("bench").args(arguments).env_remove("STEADFAST_LOG").stdin(Stdio::null()).kill_on_drop(true);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let process = child.id().expect("it runs");
    let output = timeout(LIMIT, child.wait_with_output()).await.expect("it ends in time").expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { process, code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

async fn on_servers(work: &str, arguments: &str) -> Ran {
    let (postgres, brokers) = (postgres(), brokers());
    let servers = [work, "--json", "--postgres", &postgres, "--kafka", &brokers];
    bench(&servers.into_iter().chain(arguments.split(' ')).collect::<Vec<_>>()).await
}

pub(crate) fn number(line: &Value, name: &str) -> f64 {
    line[name].as_f64().unwrap_or_else(|| panic!("{name} in {line:#}"))
}

/// Ours, and its ratio to the limit.
pub(crate) fn assert_ratio(line: &Value) {
    let ratio = number(line, "ours_per_s") / number(line, "limit_per_s");
    assert!((number(line, "ratio") - ratio).abs() < 1e-9, "{line:#}");
}

pub(crate) fn assert_latency(line: &Value) {
    let (p50, p99) = (number(line, "p50_ms"), number(line, "p99_ms"));
    assert!(0.0 < p50 && p50 <= p99, "{line:#}");
}

#[tokio::test]
async fn the_outbox_stands_beside_a_bare_producer_a_bare_mark_and_its_writers_without_it() {
    let ran = on_servers("outbox", "--events 2000 --rounds 1 --seconds 0.4 --rate 200 --writers 2").await;
    let lines = ran.lines();
    let settings: Vec<&str> = lines.iter().filter_map(|line| line["setting"].as_str()).collect();
    assert_eq!(
        settings,
        [
            "drain of 2000 events, plain",
            "drain of 2000 events, under a pinned snapshot",
            "drain of 2000 events, beside a stranger's open transaction",
            "commit to consumer, 200 events/s, 1 a commit",
            "commit to consumer, 200 events/s, 10 a commit",
            "commits of 2 writers, append",
            "commits of 2 writers, plain INSERT",
        ]
    );
    for line in &lines[..3] {
        assert_ratio(line);
        let slower = number(line, "kafka_per_s").min(number(line, "mark_per_s"));
        assert!((number(line, "limit_per_s") - slower).abs() < 1e-9, "{line:#}");
        let plain = number(line, "ours_per_s") / number(&lines[0], "ours_per_s");
        assert!((number(line, "of_plain") - plain).abs() < 1e-9, "{line:#}");
    }
    lines[3..].iter().for_each(assert_latency);
    lines[5..].iter().for_each(assert_ratio);
    ran.assert_clean().await;
}

#[tokio::test]
async fn a_projection_stands_beside_upserts_by_hand() {
    let small = "--events 2000 --aggregates 500 --batch 500 --rounds 1 --seconds 0.4 --rate 200";
    let ran = on_servers("projection", small).await;
    let lines = ran.lines();
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert_eq!(lines[0]["setting"], "2000 events of 500 aggregates, batch 500");
    assert_ratio(&lines[0]);
    assert_eq!(lines[1]["setting"], "commit to readable, 200 events/s, 1 a commit");
    assert_eq!(lines[2]["setting"], "commit to readable, 200 events/s, 10 a commit");
    lines[1..].iter().for_each(assert_latency);
    ran.assert_clean().await;
}

#[tokio::test]
async fn what_is_wrong_is_named_with_its_flag_and_nothing_is_left() {
    let (postgres, brokers) = (postgres(), brokers());
    let nowhere = "postgres://postgres@127.0.0.1:1";
    let outbox = ["outbox", "--postgres", nowhere, "--kafka", &brokers];
    let projection = ["projection", "--postgres", &postgres, "--kafka", "127.0.0.1:1"];
    let large = ["projection", "--events", "1000", "--batch", "900"];
    let (no_database, no_broker, batch) = tokio::join!(bench(&outbox), bench(&projection), bench(&large));
    no_database.assert_refused(&["--postgres", "127.0.0.1:1"]);
    no_database.assert_clean().await;
    no_broker.assert_refused(&["--kafka", "127.0.0.1:1"]);
    batch.assert_refused(&["--batch 900", "at most half of --events"]);
}
