//! What is wrong is said in one line, with the way out, and nothing is overwritten.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::support::{Ran, steadfast};

const SAMPLE: &[u8] = include_bytes!("../../../goodgo/pos/data/online-retail-2010-12.csv.gz");
const COLUMNS: &str = "invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country";

/// A failure in one line that holds all of these parts.
#[track_caller]
fn assert_one_line(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.starts_with("steadfast: "), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
    for part in parts {
        assert!(ran.stderr.contains(part), "{part:?} in {}", ran.stderr);
    }
}

/// A complaint about the command line: what is wrong in its first line, exit code 2.
#[track_caller]
fn assert_usage(ran: &Ran, parts: &[&str]) {
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:#?}");
    for part in parts {
        assert!(ran.stderr.contains(part), "{part:?} in {}", ran.stderr);
    }
}

fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn invoices(path: &str) -> Ran {
    steadfast(&["demo", "--json", "--orders", "5", "--invoices", path]).await
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.csv").to_str().unwrap().to_owned();
    let of_folder = folder.path().to_str().unwrap().to_owned();
    let zip = file(folder.path(), "a.zip", b"PK\x03\x04 and so on");
    let binary = file(folder.path(), "a.bin", [0, 1, 2, 3]);
    let empty = file(folder.path(), "empty.csv", "");
    let other = file(folder.path(), "other.csv", "id,name\n1,Ada\n");
    let stump = file(folder.path(), "stump.csv.gz", &SAMPLE[..12]);
    for (path, parts) in [
        (&missing, ["none.csv", "CSV file, plain or gzip"]),
        (&of_folder, [of_folder.as_str(), "CSV file, plain or gzip"]),
        (&zip, ["a.zip", "neither gzip nor CSV"]),
        (&binary, ["a.bin", "neither gzip nor CSV"]),
        (&empty, ["empty.csv", "the file is empty"]),
        (&other, ["other.csv", "invoice_no"]),
        (&stump, ["stump.csv.gz", "gzip"]),
    ] {
        let ran = invoices(path).await;
        assert_one_line(&ran, &parts);
        assert!(ran.stderr.contains("--invoices"), "the flag is named: {}", ran.stderr);
    }
}

#[tokio::test]
async fn a_truncated_file_is_told_and_what_came_before_runs() {
    let folder = tempfile::tempdir().unwrap();
    let cut = file(folder.path(), "cut.csv.gz", &SAMPLE[..SAMPLE.len() / 4]);
    let ran = invoices(&cut).await;
    assert_eq!(ran.consistent()["orders"], 5);
    let told: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("invoices: ")).collect();
    assert_eq!(told.len(), 1, "{}", ran.stderr);
    for part in ["nothing was read after line ", "the gzip file is truncated", "the invoices before it are kept"] {
        assert!(told[0].contains(part), "{part:?} in {}", told[0]);
    }
}

#[tokio::test]
async fn a_bad_row_is_located_and_the_rest_runs() {
    let folder = tempfile::tempdir().unwrap();
    let rows = [
        COLUMNS,
        "100,A,LANTERN,6,2010-12-01 08:26:00,2.55,17850,United Kingdom",
        "101,A,LANTERN,many,2010-12-01 09:00:00,2.55,,France",
        "rubbish",
        "102,A,LANTERN,1,2010-12-01 09:30:00,2.55,17850,United Kingdom",
    ];
    let path = file(folder.path(), "bad.csv", rows.join("\n"));
    let ran = invoices(&path).await;
    assert_eq!(ran.consistent()["orders"], 2);
    let told: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("invoices: ")).collect();
    let wanted = [
        "invoices: line 3, column quantity: \"many\" is not a whole number; invoice 101 was dropped, the rest is kept",
        "invoices: line 4: the line has 1 columns instead of 8; the line was skipped",
    ];
    assert_eq!(told, wanted);
}

#[tokio::test]
async fn a_bad_flag_is_named_with_the_nearest_match() {
    assert_usage(&steadfast(&["demo", "--ordres", "3"]).await, &["'--ordres'", "'--orders'"]);
    assert_usage(&steadfast(&["demo", "--failure-rat", "0.1"]).await, &["'--failure-rat'", "'--failure-rate'"]);
    assert_usage(&steadfast(&["dmeo"]).await, &["'dmeo'", "'demo'"]);
    let share = "between 0 and 1";
    assert_usage(&steadfast(&["demo", "--failure-rate", "2"]).await, &["'2'", "--failure-rate", share]);
    assert_usage(&steadfast(&["demo", "--failure-rate", "NaN"]).await, &["'NaN'", "--failure-rate", share]);
    assert_usage(&steadfast(&["demo", "--refusal-rate=-0.1"]).await, &["'-0.1'", "--refusal-rate", share]);
    assert_usage(&steadfast(&["demo", "--failure-rate", "often"]).await, &["'often'", "0.1 for a tenth"]);
    assert_usage(&steadfast(&["demo", "--orders", "ten"]).await, &["'ten'", "--orders"]);
    assert_usage(&steadfast(&["demo", "--concurrency", "0"]).await, &["'0'", "--concurrency", "1..=1024"]);
    assert_usage(&steadfast(&["demo", "--port", "70000"]).await, &["'70000'", "--port", "65532"]);
    let ran = steadfast(&["--log", "steadfast=loud", "demo"]).await;
    assert_one_line(&ran, &["--log", "steadfast=loud"]);
}

#[tokio::test]
async fn a_port_that_is_in_use_is_named_with_the_flag_that_changes_it() {
    // The third of the four ports is taken: the two before it must be given back.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let first = (port - 2).to_string();
    let ran = steadfast(&["demo", "--orders", "5", "--port", &first]).await;
    assert_one_line(&ran, &["--port", "in use"]);
}

/// Every file below a folder, with its content.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[tokio::test]
async fn a_folder_that_is_not_new_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let named = |name: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let refused = async |path: &Path, parts: &[&str]| {
        let before = content(path);
        let ran = steadfast(&["demo", "--orders", "5", "--data", path.to_str().unwrap()]).await;
        assert_one_line(&ran, parts);
        assert!(ran.stderr.contains(path.to_str().unwrap()), "the folder is named: {}", ran.stderr);
        assert_eq!(content(path), before, "nothing was changed");
    };

    let other = named("other");
    fs::write(other.join("steadfast.data"), "99").unwrap();
    refused(&other, &["99", "choose another"]).await;

    let foreign = named("foreign");
    fs::write(foreign.join("thesis.txt"), "words").unwrap();
    refused(&foreign, &["not a data folder", "choose another"]).await;

    // Killed between its mark and its end: neither whole nor empty.
    let half = named("half");
    fs::write(half.join("steadfast.data"), "1").unwrap();
    fs::write(half.join("development.key"), "short").unwrap();
    refused(&half, &["--data"]).await;

    let used = named("used");
    let ran = steadfast(&["demo", "--orders", "5", "--json", "--data", used.to_str().unwrap()]).await;
    ran.consistent();
    refused(&used, &["earlier run", "--data"]).await;
}

/// A platform that runs elsewhere is asked for in one line too: what cannot be had with it, a file that is not there or holds
/// an unknown key, and a front door that nobody is behind.
#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_platform_elsewhere_that_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let toml = include_str!("../../../goodgo/production.toml")
        .replace("127.0.0.1:18400", &format!("127.0.0.1:{port}"))
        .replace("target/platform/keys/users", &file(folder.path(), "users", "0123456789abcdef0123456789abcdef\n"));
    let nobody = file(folder.path(), "nobody.toml", &toml);
    let typo = file(folder.path(), "typo.toml", toml.replace("[front]\norder", "[front]\nordr"));
    for (flag, value) in [("--crash", "1"), ("--refusal-rate", "0.1"), ("--data", "x"), ("--port", "8080")] {
        let ran = steadfast(&["demo", "--config", &nobody, flag, value]).await;
        assert_usage(&ran, &[flag, "with --config", "leave one of them out"]);
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
    }
    assert_usage(&steadfast(&["demo", "--config", &nobody, "--serve"]).await, &["--serve cannot be had with --config"]);
    for command in [&["demo"] as &[&str], &["bench", "platform"]] {
        let asked = async |file: &str| steadfast(&[command, &["--config", file]].concat()).await;
        assert_one_line(&asked("/none/at.toml").await, &["--config", "/none/at.toml"]);
        assert_one_line(&asked(&typo).await, &["front.ordr", "did you mean front.order?"]);
        assert_one_line(&asked(&nobody).await, &["front.order", "does not answer", "cargo xtask platform status"]);
    }
}
