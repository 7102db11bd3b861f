//! The examples in other languages, as their users run them: real processes that write in their own transactions.
//! They install what they need from npm and pip once, below `target/examples`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use steadfast_outbox::{Outbox, Source};
use steadfast_testkit::wait_for;
use tokio::process::Command;

use crate::postgres::fresh;
use crate::support::{LIMIT, Running, config, delivered, log, sequences};

const INSTALL: Duration = Duration::from_mins(3);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

async fn run(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str], folder: &Path) {
    let output = tokio::time::timeout(INSTALL, Command::new(program).args(arguments).current_dir(folder).output())
        .await
        .expect("it ends in time")
        .expect("it starts");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{error}");
}

async fn writes_four_events(program: impl AsRef<std::ffi::OsStr>, script: &str, folder: &Path, aggregate: &str) {
    let (db, (log, _keep)) = (fresh().await, log().await);
    run(program, &[script, &db.url()], folder).await;
    let running = Running::start(vec![Source::new("shop", (*db).clone())], log.clone(), config());
    wait_for("four events", LIMIT, || async { delivered(&log).await.len() == 4 }).await;
    running.stop().await;
    assert_eq!(sequences(&delivered(&log).await)[aggregate], [1, 2, 3, 4]);
    assert_eq!(Outbox::from((*db).clone()).verify().await.expect("it succeeds"), []);
}

#[tokio::test]
async fn a_service_in_node_writes_in_its_own_transaction() {
    let (from, folder) = (root().join("examples/outbox-node"), root().join("target/examples/outbox-node"));
    std::fs::create_dir_all(&folder).expect("it succeeds");
    for file in ["package.json", "write.mjs"] {
        std::fs::copy(from.join(file), folder.join(file)).expect("it succeeds");
    }
    if !folder.join("node_modules/pg").exists() {
        run("npm", &["install", "--no-audit", "--no-fund", "--loglevel=error"], &folder).await;
    }
    writes_four_events("node", "write.mjs", &folder, "n-1").await;
}

#[tokio::test]
async fn a_service_in_python_writes_in_its_own_transaction() {
    let (from, folder) = (root().join("examples/outbox-python"), root().join("target/examples/outbox-python"));
    std::fs::create_dir_all(&folder).expect("it succeeds");
    for file in ["requirements.txt", "write.py"] {
        std::fs::copy(from.join(file), folder.join(file)).expect("it succeeds");
    }
    let python = folder.join("venv/bin/python");
    if !folder.join("venv/done").exists() {
        run("python3", &["-m", "venv", "venv"], &folder).await;
        run(&python, &["-m", "pip", "install", "-q", "-r", "requirements.txt"], &folder).await;
        std::fs::write(folder.join("venv/done"), "").expect("it succeeds");
    }
    writes_four_events(&python, "write.py", &folder, "p-1").await;
}
