//! The service as a process: what it says of a wrong configuration, and that a database which is away is waited for.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use steadfast_testkit::{postgres, wait_for};

const CONFIG: &str = "call_key = { file = 'call.key' }\n[auth]\nissuer = 'i'\naudience = 'a'\n\
    [[auth.keys]]\nkid = 'k'\nalgorithm = 'hs256'\nsecret = { file = 'call.key' }\n";

/// The command, in a folder with its configuration.
fn command(folder: &tempfile::TempDir, config: &str, database: &str) -> Command {
    std::fs::write(folder.path().join("call.key"), "a secret of tests, thirty-two bytes or more").unwrap();
    std::fs::write(folder.path().join("payment.toml"), config).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_goodgo-payment"));
    command.env_clear().env("GOODGO_DATABASE__URL", database).current_dir(folder.path());
    command.args(["serve", "--config", "payment.toml"]).stdin(Stdio::null());
    command
}

fn refused(config: &str, database: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let Output { status, stderr, .. } = command(&folder, config, database).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), said.trim_end().lines().count()), (Some(1), 1), "{said}");
    said
}

/// The whole answer; nothing where nobody answers.
fn get(port: u16, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok();
        stream.read_to_string(&mut answer).ok();
    }
    answer
}

#[test]
fn a_wrong_configuration_is_told_in_one_line_without_a_secret() {
    let said = refused(CONFIG, "postgres://u:hush@127.0.0.1/x");
    assert!(said.starts_with("goodgo-payment: database.url holds a password") && !said.contains("hush"), "{said}");
    let said = refused(&format!("update = 1\n{CONFIG}"), "postgres://u@127.0.0.1/x");
    assert!(said.contains("update") && said.contains("updates_per_minute"), "{said}");
    let said = refused(&CONFIG.replace("call_key = { file = 'call.key' }\n", ""), "postgres://u@127.0.0.1/x");
    assert!(said.contains("call_key is required") && said.contains("GOODGO_CALL_KEY"), "{said}");
}

#[tokio::test]
async fn a_database_that_is_away_is_named_and_waited_for_and_a_signal_ends_it_in_order() {
    let server = postgres().await;
    let (base, name) = server.name().rsplit_once('/').map(|(_, name)| (server.url(), format!("{name}_late"))).unwrap();
    let late = format!("{base}_late");
    // Given back at once: the process listens there.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let mut started = command(&folder, CONFIG, &late);
    let mut child = started.args(["--listen", &format!("127.0.0.1:{port}")]).stderr(Stdio::null()).spawn().unwrap();
    let limit = Duration::from_secs(20);
    wait_for("it says what it lacks", limit, || async {
        let answer = get(port, "/readyz");
        answer.starts_with("HTTP/1.1 503") && answer.contains("\"check\":\"database\"")
    })
    .await;
    assert!(get(port, "/healthz").starts_with("HTTP/1.1 200"));
    let early = get(port, "/v1/payments/x");
    assert!(early.starts_with("HTTP/1.1 503") && early.contains("application/problem+json"), "{early}");
    sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(server.pool()).await.unwrap();
    wait_for("it is ready by itself", limit, || async { get(port, "/readyz").starts_with("HTTP/1.1 200") }).await;
    assert!(get(port, "/v1/payments/x").starts_with("HTTP/1.1 401"), "the service's own routes answer");
    assert!(get(port, "/metrics").contains("# TYPE"));
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let ended = tokio::task::spawn_blocking(move || child.wait()).await.unwrap().unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(server.pool()).await.unwrap();
    assert_eq!(ended.code(), Some(0));
}
