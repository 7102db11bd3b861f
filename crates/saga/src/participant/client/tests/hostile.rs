//! Servers that follow a script: bytes, resets and silence, at every point of a call.

use steadfast_core::problem as types;

use super::*;

/// What a server does next.
#[derive(Clone, Debug)]
enum Act {
    /// Reads one request.
    Read,
    /// Waits until something has come, and reads none of it.
    Glance,
    /// Sends this.
    Send(Vec<u8>),
    /// Sends this again and again until the client is gone.
    Flood(Vec<u8>),
    /// The same, a little at a time.
    Drip(Vec<u8>),
    /// Waits until the client is gone.
    Hold,
    /// Ends the connection by a reset.
    Reset,
}

use Act::{Drip, Flood, Glance, Hold, Read, Reset, Send};

fn send(text: impl Into<Vec<u8>>) -> Act {
    Send(text.into())
}

/// Plays the script on every connection, and closes.
async fn playing(script: impl Into<Vec<Act>>) -> Server {
    let script = Arc::new(script.into());
    Server::start(move |stream, _| play(stream, Arc::clone(&script))).await
}

async fn play(mut stream: TcpStream, script: Arc<Vec<Act>>) {
    for act in script.iter() {
        match act {
            Read => {
                if read(&mut stream).await.is_none() {
                    return;
                }
            }
            Glance => stream.readable().await.unwrap(),
            Send(bytes) => drop(stream.write_all(bytes).await),
            Flood(bytes) => while stream.write_all(bytes).await.is_ok() {},
            Drip(bytes) => {
                let mut tick = tokio::time::interval(Duration::from_millis(3));
                while stream.write_all(bytes).await.is_ok() {
                    tick.tick().await;
                }
            }
            Hold => while stream.read_u8().await.is_ok() {},
            Reset => {
                stream.set_zero_linger().unwrap();
                return;
            }
        }
    }
}

/// What a script comes to, in the words of the table.
fn word(raw: &Raw) -> &'static str {
    match (meaning(raw), raw) {
        (Meaning::Unknown { free: true, .. }, _) => "unknown, free",
        (Meaning::Unknown { .. }, Raw::Cut { .. }) => "unknown, no head",
        (Meaning::Unknown { .. }, _) => "unknown",
        (Meaning::Done { fault: Some(_), .. }, _) => "done, no body",
        (Meaning::Done { .. }, _) => "done",
        (Meaning::Refused { .. }, _) => "refused",
        (Meaning::NotSent { .. }, _) => "not sent",
        (Meaning::Misconfigured { .. }, _) => "misconfigured",
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

#[tokio::test]
async fn wherever_a_reset_comes_what_left_is_unknown() {
    for (script, expected) in [
        (vec![Glance, Reset], "unknown, no head"),
        (vec![Read, Reset], "unknown, no head"),
        (vec![Read, send("HTTP/1.1 100 Continue\r\n\r\n"), Reset], "unknown, no head"),
        (vec![Read, send("HTTP/1.1 200 OK\r\ncont"), Reset], "unknown, no head"),
    ] {
        let server = playing(script.clone()).await;
        let participant = server.participant();
        let raw = call(&participant).await;
        assert_eq!(word(&raw), expected, "{script:?}: {raw:?}");
        assert_eq!((server.connections(), participant.load().idle), (1, 0), "{script:?}");
    }
    // A reset may throw away what came before it: with or without a head, it is unknown.
    for script in [vec![Read, send(HEAD), Reset], vec![Read, send(format!("{HEAD}{{\"id\"")), Reset]] {
        let raw = call(&playing(script).await.participant()).await;
        assert!(word(&raw).starts_with("unknown"), "{raw:?}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_ends_under_a_call_is_unknown_and_the_call_is_not_made_again() {
    for end in [vec![], vec![Reset], vec![send("HTTP/1.1 2")]] {
        let script = [vec![Read, send(OK), Read], end].concat();
        let server = playing(script).await;
        let participant = server.participant();
        assert_eq!(word(&call(&participant).await), "done");
        assert_eq!(participant.load().idle, 1);
        // The server has read the second request before it closes: for all that can be told it was carried out.
        assert_eq!(word(&call(&participant).await), "unknown, no head");
        assert_eq!((server.connections(), participant.load().idle), (1, 0));
    }
}

#[tokio::test]
async fn a_kept_connection_that_was_reset_while_idle_is_replaced() {
    let server = playing([Read, send(OK), Reset]).await;
    let participant = server.participant();
    assert_eq!(word(&call(&participant).await), "done");
    noticed(&participant).await;
    assert_eq!(word(&call(&participant).await), "done");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_says_when_it_closes_is_not_used_up_to_then() {
    let reply = |lifetime: &str| {
        format!("HTTP/1.1 200 OK\r\nkeep-alive: {lifetime}\r\ncontent-length: 8\r\n\r\n{{\"id\":1}}").into_bytes()
    };
    for (lifetime, kept) in [
        ("timeout=5", Some(4)),
        ("max=100, Timeout = 30", Some(29)),
        ("timeout=1", None),
        ("timeout=0", None),
        ("timeout=9999999999999999999999", Some(50)),
        ("timeout=86400", Some(50)),
        ("soon", Some(50)),
    ] {
        let server = Server::answering(reply(lifetime)).await;
        let participant = server.participant();
        assert_eq!(word(&call(&participant).await), "done");
        let link = participant.pools[0].idle_links().pop_back();
        assert_eq!(link.map(|link| link.idle_max.as_secs()), kept, "{lifetime}");
    }
}

#[tokio::test]
async fn what_never_ends_ends_with_the_time() {
    let interim = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n".to_vec();
    let endless_header = [b"x: ".to_vec(), vec![b'y'; 8_000]].concat();
    for (script, expected) in [
        (vec![Hold], "unknown, no head"),
        (vec![Read, Hold], "unknown, no head"),
        (vec![Read, Flood(interim.clone())], "unknown, no head"),
        (vec![Read, Drip(interim)], "unknown, no head"),
        (vec![Read, send("HTTP/1.1 200 OK\r\n"), Drip(b"x: y\r\n".to_vec())], "unknown, no head"),
        (vec![Read, send("HTTP/1.1 200 OK\r\n"), Flood(endless_header)], "unknown, no head"),
        (vec![Read, send(HEAD), Hold], "unknown"),
        (vec![Read, send("HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n"), Drip(b" ".to_vec())], "unknown"),
        (vec![Read, send(CHUNKED), Drip(b"1\r\n \r\n".to_vec())], "unknown"),
        (vec![Read, send("HTTP/1.0 200 OK\r\n\r\n"), Drip(b" ".to_vec())], "unknown"),
    ] {
        let server = playing(script.clone()).await;
        let participant = server.participant();
        let start = Instant::now();
        let raw = hurried(&participant).await;
        assert!(start.elapsed() < Duration::from_secs(2), "{script:?}: {:?}", start.elapsed());
        assert_eq!(word(&raw), expected, "{script:?}: {raw:?}");
        assert_eq!(participant.load(), Load { in_flight: 0, queued: 0, idle: 0, down: false });
    }
}

#[tokio::test]
async fn bombs_are_not_held() {
    let piece = [b"4000\r\n".to_vec(), vec![b' '; 0x4000], b"\r\n".to_vec()].concat();
    for (script, expected) in [
        (vec![Read, send(CHUNKED), Flood(piece)], "done, no body"),
        (vec![Read, send(CHUNKED), Flood([b"40\r\n", &[b' '; 0x40][..], b"\r\n"].concat())], "done, no body"),
        (vec![Read, send("HTTP/1.0 200 OK\r\n\r\n"), Flood(vec![b' '; 0x4000])], "done, no body"),
        (vec![Read, send("HTTP/1.1 200 OK\r\ncontent-length: 999999999999\r\n\r\n"), Hold], "done, no body"),
        (vec![Read, send(format!("{CHUNKED}ffffffffffffffff\r\n")), Flood(vec![b' '; 0x4000])], "done, no body"),
        // A length that is none, an extension and trailers without an end.
        (vec![Read, send(format!("{CHUNKED}fffffffffffffffff\r\n")), Hold], "unknown"),
        (vec![Read, send(format!("{CHUNKED}1;x=")), Flood(vec![b'y'; 0x4000])], "unknown"),
        (vec![Read, send(format!("{CHUNKED}0\r\n")), Flood(b"x: y\r\n".to_vec())], "unknown"),
    ] {
        let server = playing(script).await;
        let participant = server.participant();
        let raw = call(&participant).await;
        assert_eq!(word(&raw), expected, "{raw:?}");
        assert_eq!(participant.load().idle, 0);
    }
}

#[tokio::test]
async fn trailers_say_nothing_and_are_passed_over() {
    let reply = format!("{CHUNKED}8\r\n{{\"id\":1}}\r\n0\r\nsaga-outcome: refused\r\nx: y\r\n\r\n");
    let server = Server::answering(reply).await;
    let participant = server.participant();
    for _ in 0..2 {
        let raw = call(&participant).await;
        assert_eq!((word(&raw), whole(&raw)), ("done", (200, &b"{\"id\":1}"[..])));
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_length_that_is_wrong_never_makes_a_result() {
    let reply = |length: &str, body: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
    for (bytes, expected) in [
        (reply("9", "{\"id\":1}"), "unknown"),
        (reply("7", "{\"id\":1}"), "done, no body"),
        (reply("8, 8", "{\"id\":1}"), "done"),
        (reply("8, 9", "{\"id\":1}"), "unknown, no head"),
        (reply("+8", "{\"id\":1}"), "unknown, no head"),
        (reply("18446744073709551616", "{\"id\":1}"), "unknown, no head"),
    ] {
        let server = playing([Read, send(bytes.clone())]).await;
        let raw = call(&server.participant()).await;
        assert_eq!(word(&raw), expected, "{bytes:?}: {raw:?}");
    }
}

#[tokio::test]
async fn what_is_encoded_although_nobody_asked_is_not_read() {
    // `{"id":1}` as gzip makes it.
    let gzip =
        [31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 171, 86, 202, 76, 81, 178, 50, 172, 5, 0, 27, 10, 15, 11, 8, 0, 0, 0];
    let problem = "content-type: application/problem+json\r\n";
    for (status, more, expected) in [
        ("200 OK", "", "done, no body"),
        ("422 Unprocessable Content", problem, "misconfigured"),
        ("422 Unprocessable Content", "saga-outcome: refused\r\n", "refused"),
        ("503 Service Unavailable", problem, "unknown"),
    ] {
        let head =
            format!("HTTP/1.1 {status}\r\n{more}content-encoding: gzip\r\ncontent-length: {}\r\n\r\n", gzip.len());
        let server = Server::answering([head.into_bytes(), gzip.to_vec()].concat()).await;
        let raw = call(&server.participant()).await;
        assert_eq!(word(&raw), expected, "{status}");
        if let Meaning::Misconfigured { detail, .. } = meaning(&raw) {
            assert!(detail.contains("gzip"), "{detail}");
        }
    }
}

#[tokio::test]
async fn a_proxy_that_answers_in_html_never_speaks_for_the_business() {
    let page = "<html><head><title>No</title></head><body><h1>No</h1></body></html>";
    for (statuses, expected) in [
        (&[400, 402, 409, 410, 412, 422][..], "misconfigured"),
        (&[301, 302, 304, 307, 308, 401, 403, 404, 405, 406, 413, 414, 415, 421, 426, 431, 451], "misconfigured"),
        (&[408, 425, 429, 500, 501, 502, 503, 504, 507, 511], "unknown"),
        (&[200], "done, no body"),
    ] {
        for status in statuses {
            let body = if *status == 304 { "" } else { page };
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: text/html\r\ncontent-length: {length}\r\n\r\n");
            let raw = call(&Server::answering(head + body).await.participant()).await;
            assert_eq!(word(&raw), expected, "{status}: {raw:?}");
        }
    }
}

/// Each word of the table as it looks on the wire.
#[tokio::test]
async fn the_table_over_a_socket() {
    let ours = |kind: &types::Type| String::from_utf8(kind.with("x").to_json()).unwrap();
    let problem = "content-type: application/problem+json\r\n";
    for (head, body, expected) in [
        ("HTTP/1.1 200 OK\r\n", "{\"id\":".to_owned(), "done, no body"),
        ("HTTP/1.1 204 No Content\r\n", String::new(), "done"),
        ("HTTP/1.1 202 Accepted\r\nSaga-Async: TRUE\r\n", String::new(), "unknown, free"),
        ("HTTP/1.1 202 Accepted\r\n", "{}".to_owned(), "done"),
        (
            "HTTP/1.1 409 C\r\nContent-Type: Application/Problem+JSON ; charset=\"UTF-8\"\r\n",
            "{}".to_owned(),
            "refused",
        ),
        ("HTTP/1.1 409 C\r\ncontent-type: application/problem+json;q=\r\n", "{}".to_owned(), "refused"),
        ("HTTP/1.1 409 C\r\ncontent-type: application/json\r\n", "{}".to_owned(), "misconfigured"),
        ("HTTP/1.1 409 C\r\n", "{}".to_owned(), "misconfigured"),
        ("HTTP/1.1 200 OK\r\nsaga-outcome: refused\r\n", "{}".to_owned(), "refused"),
        ("HTTP/1.1 500 X\r\nsaga-outcome: done\r\n", "{}".to_owned(), "done"),
        ("HTTP/1.1 200 OK\r\nsaga-outcome: done\r\nsaga-outcome: done\r\n", "{}".to_owned(), "misconfigured"),
        ("HTTP/1.1 200 OK\r\nsaga-outcome: \u{fc}\r\n", "{}".to_owned(), "misconfigured"),
        ("HTTP/1.0 422 X\r\nsaga-outcome: refused\r\n", String::new(), "refused"),
    ] {
        let reply = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        let raw = call(&Server::answering(reply.clone()).await.participant()).await;
        assert_eq!(word(&raw), expected, "{reply}: {raw:?}");
    }
    for (kind, expected) in [
        (&types::IN_FLIGHT, "unknown, free"),
        (&types::CONFLICT, "unknown, free"),
        (&types::RATE_LIMITED, "unknown, free"),
        (&types::OUTCOME_UNKNOWN, "unknown"),
        (&types::VOIDED, "refused"),
        (&types::MISMATCH, "misconfigured"),
    ] {
        let body = ours(kind);
        let head = format!("HTTP/1.1 {} X\r\n{problem}content-length: {}\r\n\r\n", kind.status, body.len());
        let raw = call(&Server::answering(head + &body).await.participant()).await;
        assert_eq!(word(&raw), expected, "{}", kind.code);
    }
}

#[tokio::test]
async fn a_pause_is_asked_for_in_many_ways_and_kept_within_bounds() {
    let day = 24 * 3_600;
    // What the saga hears, and whether everyone else stays away as well.
    for (status, retry_after, wish, all) in [
        (429, "7", Some(7), true),
        (503, "Tue, 14 Nov 2023 22:13:50 GMT", Some(30), true),
        (429, "Tuesday, 14-Nov-23 22:13:50 GMT", Some(30), true),
        (503, "Sun, 06 Nov 1994 08:49:37 GMT", Some(0), false),
        (429, "0", Some(0), false),
        (429, "99999999999999999999", Some(day), true),
        (503, "Fri, 31 Dec 9999 23:59:59 GMT", Some(day), true),
        (409, "3", Some(3), false),
        (500, "3", Some(3), false),
        (503, "soon", None, false),
        (503, "-1", None, false),
    ] {
        let reply = format!("HTTP/1.1 {status} X\r\nretry-after: {retry_after}\r\ncontent-length: 0\r\n\r\n");
        let server = Server::answering(reply).await;
        let participant = server.participant();
        let raw = call(&participant).await;
        let Meaning::Unknown { free, retry_after: found, .. } = meaning(&raw) else { panic!("{raw:?}") };
        assert_eq!(found.map(|length| length.as_secs()), wish, "{status} {retry_after}");
        assert_eq!(free, wish.is_some());
        let other = StepKey { step: "another".into(), ..step(Op::Compensate) };
        let pause = participant.send(outgoing(&other)).await.retry_after();
        assert_eq!(pause.is_some(), all, "{status} {retry_after}");
        // A minute and its spread, whatever was asked for.
        assert!(pause.unwrap_or_default() <= Duration::from_secs(90), "{pause:?}");
    }
}

/// A SETTINGS frame, and GOAWAY with `PROTOCOL_ERROR`: what a server of HTTP/2 says to a request in HTTP/1.1.
fn http2() -> Vec<u8> {
    let settings = [&[0, 0, 6, 4, 0, 0, 0, 0, 0][..], &[0, 3, 0, 0, 0, 100]].concat();
    let goaway = [&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &[0, 0, 0, 0, 0, 0, 0, 1]].concat();
    [settings, goaway].concat()
}

#[tokio::test]
async fn a_server_that_speaks_another_protocol_is_a_fault_of_the_set_up() {
    let alert = vec![0x15, 3, 1, 0, 2, 2, 70];
    for (script, says) in [
        (vec![Read, Send(http2())], "HTTP/2"),
        (vec![Send(http2()), Hold], "HTTP/2"),
        (vec![Send(http2()[..9].to_vec()), Read, Send(http2()[9..].to_vec()), Hold], "HTTP/2"),
        (vec![Read, Send(alert)], "TLS"),
    ] {
        let server = playing(script.clone()).await;
        let participant = server.participant();
        for _ in 0..2 {
            let raw = call(&participant).await;
            let Meaning::Misconfigured { detail, .. } = meaning(&raw) else { panic!("{script:?}: {raw:?}") };
            assert!(detail.contains(says) && detail.contains("base_urls"), "{detail}");
        }
        assert_eq!(participant.load().idle, 0);
    }
}

#[tokio::test]
async fn a_trial_of_a_participant_that_is_down_costs_no_attempt() {
    let server = Server::answering("HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n").await;
    let participant = server.participant();
    while !participant.load().down {
        assert_eq!(word(&call(&participant).await), "unknown");
    }
    // Real sockets need real time: the second after which one call may ask again.
    let raw = tokio::sync::Mutex::new(None);
    steadfast_testkit::wait_for("a trial", Duration::from_secs(5), || async {
        let came = call(&participant).await;
        let asked = matches!(came, Raw::Replied(_));
        *raw.lock().await = Some(came);
        asked
    })
    .await;
    assert_eq!(word(&raw.into_inner().unwrap()), "unknown, free");
    assert!(participant.load().down);
}

#[tokio::test]
async fn a_read_is_asked_once_and_answered_from_memory() {
    let server = Server::answering(OK).await;
    let participant = Arc::new(server.participant());
    let mut tasks = JoinSet::new();
    for number in 0..20_u32 {
        let participant = Arc::clone(&participant);
        tasks.spawn(async move {
            let key = StepKey { saga: SagaId::derive("till-7", "x", &number.to_string()), ..step(Op::Action) };
            let ttl = Duration::from_mins(1);
            participant.read_through(outgoing(&key), ttl, &Outcomes::default()).await
        });
    }
    for (meaning, pause) in tasks.join_all().await {
        assert!(matches!(meaning, Meaning::Done { fault: None, .. }) && pause.is_none(), "{meaning:?}");
    }
    assert_eq!(server.connections(), 1);
    let key = step(Op::Action);
    let other = Outgoing { user: "till-8", ..outgoing(&key) };
    participant.read_through(other, Duration::from_mins(1), &Outcomes::default()).await;
}
