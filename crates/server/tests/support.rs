//! Starting the binary, and waiting for it with a bound.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::{Output, Stdio};
use std::time::Duration;

use goodgo_pos::client::{Answer, Client, Limits, Request};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

/// A run of a few dozen orders takes a second; a machine that is busy with other things, longer.
const LIMIT: Duration = Duration::from_mins(1);
/// How long a platform may take to end once it is told to.
const DRAIN: Duration = Duration::from_secs(10);

fn command(arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command.args(arguments).env_remove("STEADFAST_LOG").env_remove("STEADFAST_LOG_JSON");
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    command
}

/// What a command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    fn of(Output { status, stdout, stderr }: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        Self { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
    }

    /// The report, which is the last line of stdout.
    pub(crate) fn report(&self) -> Value {
        let last = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The report of a run whose invariants all held.
    pub(crate) fn consistent(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:#?}");
        let report = self.report();
        assert_eq!(report["violations"], serde_json::json!([]));
        report
    }
}

/// Runs it to its end.
pub(crate) async fn steadfast(arguments: &[impl AsRef<OsStr>]) -> Ran {
    let running = command(arguments).output();
    Ran::of(timeout(LIMIT, running).await.expect("it ends in time").expect("the binary starts"))
}

/// A run that goes on.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        Self(child.expect("the binary starts"))
    }

    /// Sends a signal, and waits for the end that it asks for.
    pub(crate) async fn end(self, signal: &str) -> Ran {
        send(signal, &self.0).await;
        let ended = timeout(DRAIN, self.0.wait_with_output()).await.expect("it drains in time");
        Ran::of(ended.expect("it ends"))
    }
}

/// To the whole group, as a terminal does with Ctrl-C.
async fn send(signal: &str, to: &Child) {
    let group = format!("-{}", to.id().expect("it runs"));
    let sent = Command::new("kill").args([signal, "--", &group]).status().await.expect("kill starts");
    assert!(sent.success());
}

/// A platform that was told to stay up.
pub(crate) struct Served {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
    /// What it printed, by the first word of the line.
    printed: BTreeMap<String, String>,
    client: Client,
}

impl Served {
    /// Starts it, and waits for the end of its run and its addresses.
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let arguments = [&["demo", "--serve", "--json"], arguments].concat();
        let mut child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut printed = BTreeMap::new();
        let reading = async {
            while let Some(line) = lines.next_line().await.expect("UTF-8") {
                if line.starts_with("Ctrl-C drains") {
                    return;
                }
                if let Some((word, rest)) = line.split_once(' ') {
                    printed.insert(word.to_owned(), rest.trim().to_owned());
                }
            }
            panic!("it ended before it printed its addresses: {printed:?}");
        };
        timeout(LIMIT, reading).await.expect("it prints its addresses in time");
        Self { child, lines, printed, client: Client::new(Limits::default()) }
    }

    /// `http://host:port` of a service, as it was printed.
    pub(crate) fn base(&self, service: &str) -> String {
        let url = self.printed.get(service).unwrap_or_else(|| panic!("no address of {service}: {:?}", self.printed));
        let authority = url.trim_start_matches("http://").split('/').next().expect("an authority");
        format!("http://{authority}")
    }

    pub(crate) fn token(&self) -> &str {
        &self.printed["token"]
    }

    pub(crate) async fn ask(&self, request: Request) -> Answer {
        self.client.send(&request).await.unwrap_or_else(|error| panic!("{request:?}: {error}"))
    }

    pub(crate) async fn get(&self, service: &str, path: &str) -> Answer {
        self.ask(Request::get(&self.base(service), path)).await
    }

    /// Sends a signal, and waits for the end that it asks for.
    pub(crate) async fn end(mut self, signal: &str) -> Ran {
        send(signal, &self.child).await;
        let ending = async {
            let mut stderr = String::new();
            while let Some(line) = self.lines.next_line().await.expect("UTF-8") {
                stderr += &line;
                stderr.push('\n');
            }
            (self.child.wait_with_output().await.expect("it ends"), stderr)
        };
        let (output, stderr) = timeout(DRAIN, ending).await.expect("it drains in time");
        Ran { stderr, ..Ran::of(output) }
    }
}
