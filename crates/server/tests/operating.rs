//! `steadfast saga` and `steadfast definition` against a platform that serves, and the API beneath them.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use goodgo_pos::client::Request;
use serde_json::{Value, json};
use steadfast_testkit::wait_for;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::Served;

const LIMIT: Duration = Duration::from_mins(1);

/// What a command came to.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(self.stdout.trim()).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    fn lines(&self) -> Vec<&str> {
        self.stdout.lines().collect()
    }

    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:#?}");
        self
    }

    /// A failure in one line of stderr.
    #[track_caller]
    fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{self:#?}");
        let lines: Vec<_> = self.stderr.lines().filter(|line| !line.starts_with("key ")).collect();
        assert!(lines.len() == 1 && lines[0].starts_with("steadfast: "), "{self:#?}");
        for part in parts {
            assert!(lines[0].contains(part), "{part:?} in {}", lines[0]);
        }
    }
}

/// A shell at an orchestrator, with files.
struct Shell {
    url: String,
    token: String,
    folder: tempfile::TempDir,
}

impl Shell {
    fn new(url: String, token: &str) -> Self {
        Self { url, token: token.to_owned(), folder: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
        command.args(arguments).env_remove("STEADFAST_LOG").env_remove("STEADFAST_LOG_JSON");
        command.env("STEADFAST_URL", &self.url).env("STEADFAST_TOKEN", &self.token);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Ran {
        ended(self.command(arguments)).await
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

async fn ended(mut command: Command) -> Ran {
    let output = timeout(LIMIT, command.output()).await.expect("it ends in time").expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn order(number: &str) -> Value {
    json!({
        "order_id": format!("01890000-0000-7000-8000-{number:0>12}"), "order_no": number, "customer": "17850",
        "placed_at": "2010-12-01T08:26:00Z", "currency": "GBP", "card": "tok_visa", "total": 0, "stock": [],
        "lines": [{"product": "POST", "quantity": 1, "unit_price": 0, "stocked": false}],
    })
}

/// Its only step asks for a route that is not there: it is asked again slowly, so the saga runs until somebody acts.
const STUCK: &str = "saga: stuck
version: 1
timeout: 10m
steps:
  ask:
    participant: payment
    action: { post: /saga/nowhere, body: { a: 1 } }
    compensate: { post: /saga/nowhere/undo, body: { a: 1 } }
";

#[tokio::test]
async fn a_saga_from_its_start_to_its_history() {
    let served = Served::start(&["--orders", "3"]).await;
    let shell = Shell::new(served.base("orchestrator"), served.token());
    let input = shell.file("order.json", order("910001").to_string());
    let start = ["saga", "start", "place_order", "--input", &input];

    let first = shell.run(&[&start[..], &["--wait", "-o", "json"]].concat()).await.ok();
    let started = first.json();
    assert_eq!((&started["status"], &started["existing"]), (&json!("completed"), &json!(false)), "{first:#?}");
    let id = started["saga_id"].as_str().unwrap();
    let key = first.stderr.trim().strip_prefix("key ").expect("the key that was made");

    let again = shell.run(&[&start[..], &["--key", key]].concat()).await.ok();
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), (&*format!("{id} completed (started before)\n"), ""));
    let other = shell.file("other.json", order("910002").to_string());
    let reused = shell.run(&["saga", "start", "place_order", "--input", &other, "--key", key]).await;
    reused.fails(1, &["The key was used for another request"]);

    let found = shell.run(&["saga", "list", "--business-key", "910001", "-o", "id"]).await.ok();
    assert_eq!(found.lines(), [id]);
    let table = shell.run(&["saga", "list", "--definition", "place_order", "--limit", "2"]).await.ok();
    assert!(table.lines()[0].starts_with("ID") && table.lines()[1].contains(id), "{table:#?}");
    assert!(table.lines()[1].contains("910001") && table.lines()[1].contains('Z'), "{table:#?}");
    assert!(table.stderr.contains("--before"), "{table:#?}");

    let horizon = shell.run(&["saga", "horizon", "-o", "id"]).await.ok();
    let accepted = shell.run(&["saga", "show", id, "-o", "json"]).await.ok().json()["accepted_at"].as_i64().unwrap();
    let behind = accepted - horizon.stdout.trim().parse::<i64>().unwrap();
    assert!((3_540_000..=3_600_000).contains(&behind), "an hour and what has passed since: {behind} ms");
    assert!(shell.run(&["saga", "horizon"]).await.ok().stdout.ends_with("Z\n"));

    let shown = shell.run(&["saga", "show", id, "-o", "json"]).await.ok();
    assert!(shown.json()["context"]["auditLog"].as_array().unwrap().len() > 3);
    assert!(!shown.stdout.contains("tok_visa"));
    let shown = shell.run(&["saga", "show", id]).await.ok();
    for part in ["place_order 1", "completed", "910001", "create_order", "confirm_order"] {
        assert!(shown.stdout.contains(part), "{part}: {shown:#?}");
    }

    let watched = shell.run(&["saga", "watch", id, "-o", "json"]).await.ok();
    let end: Value = serde_json::from_str(watched.lines().last().unwrap()).unwrap();
    assert_eq!((&end["saga_id"], &end["status"]), (&json!(id), &json!("completed")));
    shell.run(&["saga", "cancel", id, "--reason", "a mistake"]).await.fails(1, &["settled"]);
    served.end("-TERM").await.consistent();
}

#[tokio::test]
async fn operators_act_and_others_see_it_happen() {
    let served = Served::start(&["--orders", "3"]).await;
    let shell = Shell::new(served.base("orchestrator"), served.token());
    let definition = shell.file("stuck.yaml", STUCK);
    let upload = ["definition", "upload", &definition];
    assert_eq!(shell.run(&upload).await.ok().stdout, "stuck version 1: added\n");
    assert_eq!(shell.run(&upload).await.ok().stdout, "stuck version 1: stands already, the same\n");
    let listed = shell.run(&["definition", "list", "-o", "id"]).await.ok();
    assert_eq!(listed.lines()[0], "stuck/1", "newest first: {listed:#?}");
    assert_eq!(listed.lines().len(), 3);
    let one = shell.run(&["definition", "list", "--name", "stuck"]).await.ok();
    assert!(one.lines().len() == 2 && one.lines()[1].contains("operator"), "{one:#?}");
    assert_eq!(shell.run(&["definition", "show", "stuck"]).await.ok().stdout.trim(), STUCK.trim());
    shell.run(&["definition", "show", "stuck", "7"]).await.fails(1, &["stuck", "7"]);

    let all = shell.command(&["saga", "watch", "--definition", "stuck", "-o", "json"]).spawn().unwrap();
    let input = shell.file("input.json", "{}");
    let started = shell.run(&["saga", "start", "stuck", "--input", &input, "-o", "id"]).await.ok();
    let id = started.stdout.trim().to_owned();
    let late = shell.run(&["saga", "start", "stuck", "--input", &input, "--wait=1"]).await;
    assert_eq!(late.code, Some(1), "{late:#?}");
    assert!(late.stderr.contains("goes on by itself"), "{late:#?}");

    let act = async |act: &str, more: &[&str]| {
        shell.run(&[&["saga", act, &id], more, &["--reason", "the route is being mended"]].concat()).await
    };
    assert_eq!(act("hold", &[]).await.ok().stdout, format!("{id} running\n"));
    assert_eq!(act("hold", &[]).await.ok().stdout, format!("{id} running (as it was before)\n"));
    let held = shell.run(&["saga", "list", "--status", "running", "--definition", "stuck"]).await.ok();
    assert!(held.stdout.contains("running, held"), "{held:#?}");
    assert_eq!(act("release", &["-o", "json"]).await.ok().json()["changed"], true);
    act("retry", &[]).await.ok();
    act("resolve", &["ask", "--by-hand"]).await.fails(1, &["parked"]);
    act("skip", &["asks", "--void"]).await.fails(1, &["asks", "ask"]);

    let watching = shell.command(&["saga", "watch", &id]);
    let nothing = shell.file("null.json", "null");
    let (watched, skipped) =
        tokio::join!(ended(watching), async { act("skip", &["ask", "--assume-done", &nothing]).await });
    assert_eq!(skipped.ok().stdout, format!("{id} completed\n"), "null is an output, and voids nothing");
    let watched = watched.ok();
    for part in ["started", "held by operator", "released by operator", "assumed done by operator"] {
        assert!(watched.stdout.contains(part), "{part}, from the start: {watched:#?}");
    }
    assert!(watched.stdout.ends_with(&format!("\n{id} completed\n")), "{watched:#?}");

    let mut all = all;
    let mut heard = String::new();
    let stdout = all.stdout.as_mut().unwrap();
    let hearing = async {
        while !heard.contains("\"what\":\"completed\"") {
            heard.push(char::from(stdout.read_u8().await.expect("it goes on")));
        }
    };
    timeout(LIMIT, hearing).await.expect("it hears of the end");
    for line in heard.lines().filter(|line| line.ends_with('}')) {
        assert_eq!(serde_json::from_str::<Value>(line).unwrap()["definition"], "stuck", "{line}");
    }
    all.kill().await.unwrap();
    served.end("-TERM").await.consistent();
}

#[tokio::test]
async fn what_the_command_line_cannot_mean_is_said_before_anything_is_sent() {
    let shell = Shell::new("http://127.0.0.1:1".to_owned(), "token");
    let input = shell.file("input.json", "{\"card\": \"4111\"");
    for (arguments, parts) in [
        (&["saga", "cancel", "x"][..], "--reason"),
        (&["saga", "skip", "x", "ask", "--reason", "r"], "--void"),
        (&["saga", "skip", "x", "ask", "--void", "--assume-done", "-", "--reason", "r"], "cannot be used with"),
        (&["saga", "resolve", "x", "--reason", "r"], "--by-hand"),
        (&["saga", "start", "place_order"], "--input"),
        (&["saga", "list", "--limit", "0"], "--limit"),
        (&["saga", "list", "--status", "done"], "completed"),
        (&["saga", "list", "-o", "yaml"], "table"),
        (&["saga", "strat"], "start"),
    ] {
        let ran = shell.run(arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{ran:#?}");
        assert!(ran.stderr.contains(parts), "{parts}: {ran:#?}");
    }
    let start = |file: &str| shell.command(&["saga", "start", "x", "--input", file]);
    ended(start("/nowhere.json")).await.fails(2, &["--input", "/nowhere.json"]);
    let broken = ended(start(&input)).await;
    broken.fails(2, &["no JSON", "line 1"]);
    assert!(!broken.stderr.contains("4111"), "{broken:#?}");
    for (url, part) in [
        ("127.0.0.1:80", "--url"),
        ("https://x", "TLS"),
        ("http://a:b@x", "credentials"),
        ("http://", "--url"),
        ("", "--url"),
    ] {
        shell.run(&["saga", "list", "--url", url]).await.fails(2, &[part]);
    }
    let mut command = shell.command(&["saga", "list"]);
    command.env_remove("STEADFAST_TOKEN");
    ended(command).await.fails(2, &["STEADFAST_TOKEN", "--token-file"]);
    let file = |name: &str, text: &str| shell.file(name, text);
    for (file, part) in [
        ("/nowhere.token".to_owned(), "/nowhere.token"),
        (file("empty", " \n"), "empty"),
        (file("lines", "a\nb"), "line breaks"),
    ] {
        shell.run(&["saga", "list", "--token-file", &file]).await.fails(2, &[part]);
    }
    shell.run(&["saga", "list"]).await.fails(3, &["127.0.0.1:1 cannot be reached", "STEADFAST_URL"]);
}

#[tokio::test]
async fn what_the_orchestrator_refuses_is_one_line() {
    let served = Served::start(&["--orders", "3"]).await;
    let shell = Shell::new(served.base("orchestrator"), served.token());
    let mut wrong = order("910003");
    wrong["total"] = json!("free");
    wrong["colour"] = json!("red");
    let wrong = shell.file("wrong.json", wrong.to_string());
    let start = |name: &'static str, file: &str| shell.command(&["saga", "start", name, "--input", file]);
    ended(start("place_order", &wrong)).await.fails(1, &["does not match", "total", "colour"]);
    ended(start("plaec_order", &wrong)).await.fails(1, &["No such saga definition", "place_order"]);
    let faulty =
        shell.file("faulty.yaml", STUCK.replace("payment", "paiment").replace("post: /saga/nowhere,", "pst: /x,"));
    shell.run(&["definition", "upload", &faulty]).await.fails(1, &["not valid", "pst"]);
    let stranger = shell.file("stranger.yaml", STUCK.replace("payment", "paiment"));
    shell.run(&["definition", "upload", &stranger]).await.fails(1, &["paiment", "payment"]);
    shell.run(&["definition", "show", "nothing"]).await.fails(1, &["nothing"]);
    shell.run(&["saga", "show", "no-id"]).await.fails(1, &["id"]);
    let unknown = "01890000-0000-7000-8000-000000000000";
    for arguments in
        [&["saga", "show", unknown][..], &["saga", "watch", unknown], &["saga", "hold", unknown, "--reason", "r"]]
    {
        shell.run(arguments).await.fails(1, &["there is no saga"]);
    }
    let forged = Shell::new(served.base("orchestrator"), "not.a.token");
    forged.run(&["saga", "list"]).await.fails(1, &["No valid credentials", "STEADFAST_TOKEN"]);
    // An address that is no orchestrator's.
    let orders = Shell::new(served.base("order"), served.token());
    orders.run(&["saga", "list"]).await.fails(1, &["Not found"]);
    served.end("-TERM").await.consistent();
}

/// Answers every connection with these bytes, and closes.
async fn saying(bytes: &'static [u8]) -> (String, tokio::task::JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut piece = [0; 4096];
            drop(stream.read(&mut piece).await);
            drop(stream.write_all(bytes).await);
        }
    });
    (url, tasks)
}

#[tokio::test]
async fn somebody_else_at_the_address_is_noticed() {
    for (bytes, code, part) in [
        (&b""[..], 3, "did not come whole"),
        (b"SSH-2.0-x\r\n", 3, "did not come whole"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", 3, "did not come whole"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", 1, "is this the address"),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\n\r\n<html>", 1, "status 404"),
        (b"HTTP/1.1 302 Found\r\nlocation: http://evil.example/\r\ncontent-length: 0\r\n\r\n", 1, "status 302"),
    ] {
        let (url, _tasks) = saying(bytes).await;
        let shell = Shell::new(url, "token");
        shell.run(&["saga", "list"]).await.fails(code, &[part]);
        let input = shell.file("input.json", "{}");
        let start = shell.run(&["saga", "start", "x", "--input", &input, "--key", "k-1"]).await;
        start.fails(code, &[part]);
        assert_eq!(
            start.stderr.contains("--key k-1"),
            code == 3,
            "what may have been sent can be repeated: {start:#?}"
        );
    }
}

/// A stream of the API, read by hand.
struct Stream {
    tcp: TcpStream,
    text: String,
}

impl Stream {
    async fn open(served: &Served, path: &str, more: &str) -> Self {
        let base = served.base("orchestrator");
        let authority = base.trim_start_matches("http://");
        let mut tcp = TcpStream::connect(authority).await.unwrap();
        let token = served.token();
        let head = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\nauthorization: Bearer {token}\r\n{more}\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        Self { tcp, text: String::new() }
    }

    /// Reads until this has come.
    async fn until(&mut self, part: &str) -> &str {
        let reading = async {
            while !self.text.contains(part) {
                let mut piece = [0; 4096];
                let read = self.tcp.read(&mut piece).await.unwrap();
                assert!(read > 0, "it ended without {part:?}: {}", self.text);
                self.text.push_str(std::str::from_utf8(&piece[..read]).unwrap());
            }
        };
        timeout(LIMIT, reading).await.expect("it comes in time");
        &self.text
    }
}

fn ids(text: &str) -> Vec<u64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn a_stream_begins_where_its_reader_was_and_ends_with_the_saga() {
    let served = Served::start(&["--orders", "3"]).await;
    let shell = Shell::new(served.base("orchestrator"), served.token());
    let input = shell.file("order.json", order("910004").to_string());
    let id = shell.run(&["saga", "start", "place_order", "--input", &input, "--wait", "-o", "id"]).await.ok();
    let path = format!("/v1/sagas/{}/events", id.stdout.trim());

    let mut whole = Stream::open(&served, &path, "").await;
    let text = whole.until("event: end").await;
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("text/event-stream"), "{text}");
    let rows = ids(text);
    assert!(rows.len() > 1 && rows.is_sorted() && rows[0] == 1, "{rows:?}");

    let mut rest = Stream::open(&served, &path, &format!("last-event-id: {}\r\n", rows[0])).await;
    assert_eq!(ids(rest.until("event: end").await), rows[1..]);
    let last = rows.last().unwrap();
    let mut none = Stream::open(&served, &path, &format!("last-event-id: {last}\r\n")).await;
    none.until("HTTP/1.1 204").await;
    for bad in ["x", "-1", "1.5"] {
        Stream::open(&served, &path, &format!("last-event-id: {bad}\r\n")).await.until("HTTP/1.1 400").await;
    }
    served.end("-TERM").await.consistent();
}

#[tokio::test]
async fn streams_are_for_those_who_may_see_and_there_is_room_for_so_many() {
    let served = Served::start(&["--orders", "3"]).await;
    let base = served.base("orchestrator");
    for path in ["/v1/events", "/v1/definitions", "/v1/definitions/place_order/1"] {
        assert_eq!(served.ask(Request::get(&base, path)).await.status, 401, "{path}");
    }
    let get = |path: &str| Request::get(&base, path).bearer(served.token());
    for (path, status) in [
        ("/v1/events?colour=red", 400),
        ("/v1/definitions?colour=red", 400),
        ("/v1/definitions/place_order/x", 400),
        ("/v1/definitions/place_order/9", 404),
        ("/v1/definitions/place_order/1", 200),
    ] {
        let answer = served.ask(get(path)).await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.detail());
    }
    let whole: Value = served.ask(get("/v1/definitions/place_order/1")).await.json().unwrap();
    assert!(whole["definition"].as_str().unwrap().contains("saga: place_order") && whole["schema"].is_object());

    let mut open = Vec::new();
    for _ in 0..64 {
        let mut stream = Stream::open(&served, "/v1/events", "").await;
        stream.until("retry: ").await;
        open.push(stream);
    }
    let answer = served.ask(get("/v1/events")).await;
    assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, Some("5")), "{}", answer.detail());
    drop(open);
    wait_for("room for another stream", LIMIT, || async {
        let mut stream = Stream::open(&served, "/v1/events", "").await;
        stream.until("HTTP/1.1 ").await.contains("200 OK")
    })
    .await;
    // A stream does not hold up the end.
    let mut last = Stream::open(&served, "/v1/events", "").await;
    last.until("retry: ").await;
    served.end("-TERM").await.consistent();
}

#[tokio::test]
async fn an_act_takes_what_it_knows_and_a_wait_is_said_to_be_kept() {
    let served = Served::start(&["--orders", "3"]).await;
    let base = served.base("orchestrator");
    let post = |path: &str, body: &Value| Request::post(&base, path, body).bearer(served.token());
    let unknown = "/v1/sagas/01890000-0000-7000-8000-000000000000";
    for (act, body, part) in [
        ("cancel", json!({"reason": "r", "step": "ask"}), "`step`"),
        ("hold", json!({"reason": "r", "assume_done": null}), "`assume_done`"),
        ("resolve", json!({"reason": "r", "assume_done": 1}), "`assume_done`"),
        ("skip", json!({"reason": "r"}), "`step`"),
        ("skip", json!({"reason": "r", "step": "ask", "colour": 1}), "colour"),
    ] {
        let answer = served.ask(post(&format!("{unknown}/{act}"), &body)).await;
        assert_eq!(answer.status, 400, "{act}: {}", answer.detail());
        assert!(answer.detail().contains(part), "{part}: {}", answer.detail());
    }
    let mut stream = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let body = json!({ "input": order("910005") }).to_string();
    let head = format!(
        "POST /v1/sagas/place_order HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nprefer: wait=99\r\n\
         content-type: application/json\r\nidempotency-key: k-9\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        served.token(),
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(LIMIT, stream.read_to_string(&mut text)).await.unwrap().unwrap();
    for part in ["HTTP/1.1 200 OK", "preference-applied: wait=25", "location: /v1/sagas/", "\"completed\""] {
        assert!(text.contains(part), "{part}: {text}");
    }
    served.end("-TERM").await.consistent();
}
