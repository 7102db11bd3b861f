//! What comes back, and what it is taken for.

use super::*;

fn is_cut(raw: &Raw) {
    assert!(matches!(raw, Raw::Cut { .. }), "{raw:?}");
    assert!(matches!(meaning(raw), Meaning::Unknown { free: false, .. }));
}

fn is_cut_in_body(raw: &Raw) {
    assert!(matches!(raw, Raw::Replied(Replied { body: RawBody::Cut, .. })), "{raw:?}");
    assert!(matches!(meaning(raw), Meaning::Unknown { free: false, .. }));
}

#[tokio::test]
async fn a_whole_reply_comes_with_all_that_bears_meaning() {
    let server = Server::answering(
        "HTTP/1.1 409 Conflict\r\ncontent-type: application/problem+json\r\nsaga-outcome: refused\r\n\
         idempotency-replayed: true\r\ncontent-length: 17\r\n\r\n{\"detail\":\"none\"}",
    )
    .await;
    let raw = call(&server.participant()).await;
    assert_eq!(whole(&raw), (409, &b"{\"detail\":\"none\"}"[..]));
    assert_eq!(
        meaning(&raw),
        Meaning::Refused { code: "http-409".into(), detail: "none".into(), stored: true, replayed: true }
    );
}

#[tokio::test]
async fn chunked_and_bodiless_replies_are_whole_and_keep_their_connection() {
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";
    for (reply, status, body) in [
        (chunked, 200, "{\"a\":1}"),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, ""),
        ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, ""),
    ] {
        let server = Server::answering(reply).await;
        let participant = server.participant();
        for _ in 0..3 {
            assert_eq!(whole(&call(&participant).await), (status, body.as_bytes()));
        }
        assert_eq!(server.connections(), 1, "{reply}");
    }
}

#[tokio::test]
async fn a_connection_cut_before_or_in_the_head_is_unknown() {
    let server = Server::start(|stream, _| async move { drop(stream) }).await;
    is_cut(&call(&server.participant()).await);
    for partial in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n"] {
        is_cut(&call(&Server::closing_after(partial).await.participant()).await);
    }
}

#[tokio::test]
async fn a_connection_cut_in_the_body_leaves_the_head() {
    for partial in [
        "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"id\":1}",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n8\r\n{\"id\":1}\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{\"id\":1}\r\n0\r\n\r\n",
        "HTTP/1.1 422 Unprocessable Content\r\ncontent-type: application/problem+json\r\ncontent-length: 99\r\n\r\n{",
    ] {
        let participant = Server::closing_after(partial).await;
        is_cut_in_body(&call(&participant.participant()).await);
    }
}

#[tokio::test]
async fn a_reply_before_the_close_counts() {
    let server = Server::closing_after(OK).await;
    let participant = server.participant();
    assert_eq!(whole(&call(&participant).await), (200, &b"{\"id\":1}"[..]));
    let old = Server::closing_after("HTTP/1.0 200 OK\r\n\r\n{\"id\":1}").await;
    assert_eq!(whole(&call(&old.participant()).await), (200, &b"{\"id\":1}"[..]));
}

#[tokio::test]
async fn a_reply_that_does_not_come_in_time_is_unknown() {
    for (partial, in_body) in [
        ("", false),
        ("HTTP/1.1 200 OK\r\n", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n{\"id", true),
    ] {
        let server = Server::start(move |mut stream, _| async move {
            read(&mut stream).await.unwrap();
            stream.write_all(partial.as_bytes()).await.unwrap();
            // Until the client goes away.
            drop(stream.read_u8().await);
        })
        .await;
        let participant = server.participant();
        let start = Instant::now();
        let raw = hurried(&participant).await;
        assert!(start.elapsed() >= Duration::from_millis(60) && start.elapsed() < Duration::from_secs(2));
        if in_body {
            is_cut_in_body(&raw);
        } else {
            is_cut(&raw);
        }
        assert_eq!(participant.load().idle, 0);
    }
}

#[tokio::test]
async fn a_reply_that_drips_does_not_stretch_the_time() {
    let server = Server::start(|mut stream, _| async move {
        read(&mut stream).await.unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        for byte in OK.bytes().cycle() {
            tick.tick().await;
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
        }
    })
    .await;
    is_cut(&hurried(&server.participant()).await);
}

#[tokio::test]
async fn a_body_is_read_up_to_the_limit() {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let mut most = head(BODY_MAX);
    most.resize(most.len() + BODY_MAX, b' ');
    let raw = call(&Server::answering(most).await.participant()).await;
    assert_eq!(whole(&raw).1.len(), BODY_MAX);

    let mut chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..=BODY_MAX / 0x4000 {
        chunked.extend_from_slice(b"4000\r\n");
        chunked.resize(chunked.len() + 0x4000, b' ');
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for reply in [head(BODY_MAX + 1), head(usize::MAX / 4), chunked] {
        let server = Server::answering(reply).await;
        let participant = server.participant();
        let raw = call(&participant).await;
        assert!(matches!(raw, Raw::Replied(Replied { body: RawBody::TooLarge, .. })), "{raw:?}");
        assert!(matches!(meaning(&raw), Meaning::Done { fault: Some(_), .. }));
        assert_eq!(participant.load().idle, 0);
    }
}

#[tokio::test]
async fn a_head_without_bounds_is_not_read() {
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\ncontent-length: 0\r\n\r\n", "y".repeat(200_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "x: y\r\n".repeat(500));
    for reply in [long, many] {
        is_cut(&call(&Server::answering(reply).await.participant()).await);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Server::answering(OK).await;
    for status in [301, 302, 303, 307, 308] {
        let reply = format!("HTTP/1.1 {status} X\r\nlocation: {}/x\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
        let raw = call(&Server::answering(reply).await.participant()).await;
        assert_eq!(whole(&raw).0, status);
        assert!(matches!(meaning(&raw), Meaning::Misconfigured { .. }));
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn interim_replies_are_passed_over_and_an_upgrade_is_no_answer() {
    let interim = format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{OK}");
    let server = Server::answering(interim).await;
    let participant = server.participant();
    for _ in 0..2 {
        assert_eq!(whole(&call(&participant).await), (200, &b"{\"id\":1}"[..]));
    }
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n";
    let server = Server::answering(upgrade).await;
    let participant = server.participant();
    let raw = call(&participant).await;
    assert!(!matches!(meaning(&raw), Meaning::Done { .. } | Meaning::Refused { .. }), "{raw:?}");
    assert_eq!(participant.load().idle, 0);
}

#[tokio::test]
async fn garbage_is_unknown() {
    for garbage in
        ["\0\x01\x02\x03", "SSH-2.0-x\r\n", "HTTP/9.9 200 OK\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "200 OK\r\n\r\n"]
    {
        is_cut(&call(&Server::closing_after(garbage).await.participant()).await);
    }
    for smuggled in [
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n{}",
    ] {
        is_cut(&call(&Server::closing_after(smuggled).await.participant()).await);
    }
}

#[tokio::test]
async fn an_outcome_that_is_there_twice_is_no_outcome() {
    let reply = "HTTP/1.1 200 OK\r\nsaga-outcome: done\r\nsaga-outcome: refused\r\ncontent-length: 0\r\n\r\n";
    let raw = call(&Server::answering(reply).await.participant()).await;
    assert!(matches!(meaning(&raw), Meaning::Misconfigured { .. }));
}

#[tokio::test]
async fn absence_must_be_said_in_so_many_words() {
    let absent = |head: &str, body: &str| format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let problem = "HTTP/1.1 404 Not Found\r\ncontent-type: application/problem+json; charset=utf-8";
    let ours = steadfast_core::problem::ACTION_NOT_FOUND.with("x").to_json();
    let ours = String::from_utf8(ours).unwrap();
    for (reply, says) in [
        (absent(problem, &ours), true),
        (absent("HTTP/1.1 404 Not Found\r\nsaga-outcome: absent", ""), true),
        (absent(problem, "{\"type\":\"about:blank\",\"title\":\"Not Found\"}"), false),
        (absent("HTTP/1.1 404 Not Found\r\ncontent-type: application/json", &ours), false),
        (absent("HTTP/1.1 404 Not Found", ""), false),
        (absent("HTTP/1.1 200 OK", ""), false),
    ] {
        let raw = call(&Server::answering(reply.clone()).await.participant()).await;
        assert_eq!(raw.is_absent(), says, "{reply}");
    }
}
