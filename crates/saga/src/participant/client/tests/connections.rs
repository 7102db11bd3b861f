//! Which connection a call takes, and what is sure not to have left.

use super::*;
use crate::participant::call::Call;

#[tokio::test]
async fn one_connection_serves_one_call_after_the_other() {
    let server = Server::answering(OK).await;
    let participant = server.participant();
    for _ in 0..100 {
        assert_eq!(whole(&call(&participant).await).0, 200);
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(participant.load(), Load { in_flight: 0, queued: 0, idle: 1, down: false });
}

#[tokio::test]
async fn there_are_never_more_connections_than_calls_allowed_at_a_time() {
    let server = Server::answering(OK).await;
    let config = ParticipantConfig { concurrency: 4, ..ParticipantConfig::new("payment", server.url(), key()) };
    let participant = Participant::new(config).unwrap();
    let key = step(Op::Action);
    let calls = futures_util::future::join_all((0..64).map(|_| participant.send(outgoing(&key)))).await;
    assert!(calls.iter().all(|raw| whole(raw).0 == 200));
    assert!((2..=4).contains(&server.connections()), "{}", server.connections());
}

#[tokio::test]
async fn a_call_whose_right_ends_while_it_waits_does_not_leave() {
    let requests = Arc::<AtomicUsize>::default();
    let (heard, answer) = (Arc::clone(&requests), Arc::new(tokio::sync::Notify::new()));
    let go = Arc::clone(&answer);
    let server = Server::start(move |mut stream, _| {
        let (heard, go) = (Arc::clone(&heard), Arc::clone(&go));
        async move {
            while read(&mut stream).await.is_some() {
                heard.fetch_add(1, Ordering::SeqCst);
                go.notified().await;
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let config = ParticipantConfig { concurrency: 1, ..ParticipantConfig::new("payment", server.url(), key()) };
    let participant = Participant::new(config).unwrap();
    let key = step(Op::Action);
    let firm = std::sync::atomic::AtomicBool::new(true);
    let may_leave = || firm.load(Ordering::SeqCst);
    let queued = participant.send(Outgoing { may_leave: &may_leave, ..outgoing(&key) });
    let both = async { tokio::join!(participant.send(outgoing(&key)), queued) };
    let revoked = async {
        while participant.load().queued == 0 {
            tokio::task::yield_now().await;
        }
        firm.store(false, Ordering::SeqCst);
        answer.notify_one();
    };
    let ((first, second), ()) = tokio::join!(both, revoked);
    assert_eq!(whole(&first).0, 200);
    assert!(matches!(second, Raw::NotSent { retry_after: None, .. }), "{second:?}");
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    answer.notify_one();
    assert_eq!(whole(&call(&participant).await).0, 200, "nobody is taken for down, and the connection is good");
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced_without_anybody_noticing() {
    let server = Server::closing_after(OK).await;
    let participant = server.participant();
    for round in 1..=5 {
        assert_eq!(whole(&call(&participant).await).0, 200);
        assert_eq!(server.connections(), round);
        noticed(&participant).await;
    }
}

#[tokio::test]
async fn what_comes_after_a_reply_is_never_taken_for_the_next_one() {
    let stale = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstale";
    // Too long for its length, or a reply too many.
    for tail in ["x", stale] {
        let server = Server::start(move |mut stream, number| async move {
            while read(&mut stream).await.is_some() {
                let tail = if number == 0 { tail } else { "" };
                stream.write_all(format!("{OK}{tail}").as_bytes()).await.unwrap();
            }
        })
        .await;
        let participant = server.participant();
        for _ in 0..3 {
            assert_eq!(whole(&call(&participant).await), (200, &b"{\"id\":1}"[..]));
        }
        assert_eq!(server.connections(), 2);
    }
}

#[tokio::test]
async fn what_comes_while_idle_is_never_taken_for_a_reply() {
    let late = Arc::new(tokio::sync::Notify::new());
    let wait = Arc::clone(&late);
    let server = Server::start(move |mut stream, number| {
        let wait = Arc::clone(&wait);
        async move {
            while read(&mut stream).await.is_some() {
                stream.write_all(OK.as_bytes()).await.unwrap();
                if number == 0 {
                    wait.notified().await;
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstale").await);
                }
            }
        }
    })
    .await;
    let participant = server.participant();
    assert_eq!(whole(&call(&participant).await).1, b"{\"id\":1}");
    late.notify_one();
    noticed(&participant).await;
    assert_eq!(whole(&call(&participant).await).1, b"{\"id\":1}");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_server_that_asks_for_the_close_gets_it() {
    let reply = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let server = Server::answering(reply).await;
    let participant = server.participant();
    for round in 1..=3 {
        assert_eq!(whole(&call(&participant).await).0, 200);
        assert_eq!((server.connections(), participant.load().idle), (round, 0));
    }
}

#[tokio::test]
async fn a_refused_connection_is_surely_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let participant = Participant::new(ParticipantConfig::new("payment", url, key())).unwrap();
    let raw = call(&participant).await;
    assert!(matches!(meaning(&raw), Meaning::NotSent { .. }), "{raw:?}");
    assert_eq!(raw.retry_after(), None);
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_surely_not_sent() {
    let config = ParticipantConfig::new("payment", "http://payment.invalid", key());
    let raw = call(&Participant::new(config).unwrap()).await;
    assert!(matches!(raw, Raw::NotSent { .. }), "{raw:?}");
}

#[tokio::test]
async fn a_name_that_leads_where_no_participant_is_is_refused_at_connect() {
    let server = Server::answering(OK).await;
    let port = server.address.port();
    // Forms that resolvers take for addresses: 169.254.169.254, 127.0.0.1 twice, 0.0.0.0.
    for host in ["2852039166", "127.1", "0x7f000001", "0"] {
        let config = ParticipantConfig::new("payment", format!("http://{host}:{port}"), key());
        let raw = call(&Participant::new(config).unwrap()).await;
        match &raw {
            Raw::NotSent { reason, .. } => assert!(reason.contains("refused: "), "{host}: {reason}"),
            other => panic!("{host}: {other:?}"),
        }
    }
    assert_eq!(server.connections(), 0);
    let listed = ParticipantConfig {
        allow: vec!["127.0.0.0/8".into()],
        ..ParticipantConfig::new("payment", format!("http://127.1:{port}"), key())
    };
    assert_eq!(whole(&call(&Participant::new(listed).unwrap()).await).0, 200);
    let named = ParticipantConfig::new("payment", format!("http://localhost:{port}"), key());
    assert_eq!(whole(&call(&Participant::new(named).unwrap()).await).0, 200);
}

#[tokio::test]
async fn calls_go_round_and_to_the_next_base_where_one_is_away() {
    let (one, two) = (Server::answering(OK).await, Server::answering(OK).await);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone_url = format!("http://{}", gone.local_addr().unwrap());
    drop(gone);
    let base_urls = vec![gone_url, one.url(), two.url()];
    let config = ParticipantConfig { base_urls, ..ParticipantConfig::new("payment", "", key()) };
    let participant = Participant::new(config).unwrap();
    for _ in 0..30 {
        assert_eq!(whole(&call(&participant).await).0, 200);
    }
    assert_eq!((one.connections(), two.connections()), (1, 1));
    assert!(participant.pools[0].is_away(Instant::now()) && !participant.pools[1].is_away(Instant::now()));
}

#[tokio::test]
async fn what_may_have_been_sent_is_never_sent_to_another_base() {
    let cutting = Server::closing_after("").await;
    let other = Server::answering(OK).await;
    let base_urls = vec![cutting.url(), other.url()];
    let config = ParticipantConfig { base_urls, ..ParticipantConfig::new("payment", "", key()) };
    let participant = Participant::new(config).unwrap();
    assert!(matches!(call(&participant).await, Raw::Cut { .. }));
    assert_eq!((cutting.connections(), other.connections()), (1, 0));
}

#[tokio::test]
async fn a_call_that_is_dropped_takes_its_connection_with_it() {
    let (gone, is_gone) = tokio::sync::oneshot::channel();
    let gone = std::sync::Mutex::new(Some(gone));
    let server = Server::start(move |mut stream, _| {
        let gone = gone.lock().unwrap().take();
        async move {
            read(&mut stream).await.unwrap();
            assert!(read(&mut stream).await.is_none());
            gone.unwrap().send(()).unwrap();
        }
    })
    .await;
    let participant = server.participant();
    let _ = tokio::time::timeout(Duration::from_millis(30), call(&participant)).await.unwrap_err();
    is_gone.await.unwrap();
    assert_eq!(participant.load(), Load { in_flight: 0, queued: 0, idle: 0, down: false });
}

#[tokio::test]
async fn a_participant_reads_in_a_call_what_was_put_into_it() {
    let (heard, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::start(move |mut stream, _| {
        let heard = heard.clone();
        async move {
            while let Some(request) = read(&mut stream).await {
                heard.send(request).unwrap();
                stream.write_all(OK.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let config = ParticipantConfig {
        probe: Some("/probe/{key}?s={step}".into()),
        ..ParticipantConfig::new("payment", format!("{}/base/", server.url()), key())
    };
    let participant = Participant::new(config).unwrap();
    for op in [Op::Action, Op::Compensate] {
        let key_of_step = step(op);
        participant.send(outgoing(&key_of_step)).await;
        let request = requests.recv().await.unwrap();
        assert!(request.starts_with("POST /base/saga/payments?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"amount\":100}"), "{request}");
        let headers = headers(&request);
        let read = Call::from_headers(&headers, &key(), "payment", "payment.process", NOW).unwrap();
        assert_eq!((&read.key, read.attempt, read.started, read.epoch), (&key_of_step, 1, NOW, Some(4)));
        assert_eq!((read.user.as_str(), read.knowledge), ("till-7", outgoing(&key_of_step).knowledge));
        assert!(read.traceparent.is_some());
        let text = |name: &str| headers[name].to_str().unwrap();
        assert_eq!(text("host"), server.address.to_string());
        assert_eq!(text("saga-id"), key_of_step.saga.to_string());
        assert_eq!(text("saga-step"), "process_payment");
        assert_eq!(text("accept-encoding"), "identity");
        assert_eq!(text("content-type"), "application/json");
        assert_eq!(text("content-length"), "14");
    }
    let key_of_step = step(Op::Action);
    participant.send(Outgoing { probe: true, ..outgoing(&key_of_step) }).await;
    let request = requests.recv().await.unwrap();
    assert!(request.starts_with(&format!("GET /base/probe/{key_of_step}?s=process_payment HTTP/1.1\r\n")), "{request}");
    assert!(request.ends_with("\r\n\r\n") && !headers(&request).contains_key("content-type"));
    assert_eq!(server.connections(), 1);
}

fn headers(request: &str) -> http::HeaderMap {
    let lines = request.split("\r\n").skip(1).take_while(|line| !line.is_empty());
    lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn what_cannot_be_sent_is_a_fault_of_the_set_up() {
    let server = Server::answering(OK).await;
    let participant = server.participant();
    let key_of_step = step(Op::Action);
    let good = outgoing(&key_of_step);
    for bad in [
        Outgoing { path: "no-slash", ..good.clone() },
        Outgoing { path: "/a b", ..good.clone() },
        Outgoing { path: "/a\r\nhost: evil", ..good.clone() },
        Outgoing { probe: true, ..good.clone() },
    ] {
        let raw = participant.send(bad).await;
        assert!(matches!(meaning(&raw), Meaning::Misconfigured { .. }), "{raw:?}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_participant_that_is_down_is_asked_once_a_second_and_noticed_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = ParticipantConfig::new("payment", format!("http://{address}"), key());
    let participant = Participant::new(config).unwrap();
    let mut away = None;
    for _ in 0..20 {
        away = call(&participant).await.retry_after();
    }
    assert!(participant.load().down);
    let length = away.unwrap();
    assert!(length > Duration::ZERO && length <= Duration::from_secs(2), "{length:?}");
    assert!(matches!(meaning(&call(&participant).await), Meaning::NotSent { .. }));

    let back = TcpListener::bind(address).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let (mut stream, _) = back.accept().await.unwrap();
        while read(&mut stream).await.is_some() && stream.write_all(OK.as_bytes()).await.is_ok() {}
    });
    // Real sockets need real time: this takes the second that the rule asks for.
    steadfast_testkit::wait_for("the participant's return", Duration::from_secs(5), || async {
        matches!(call(&participant).await, Raw::Replied(_))
    })
    .await;
    assert!(!participant.load().down);
}

#[tokio::test]
async fn a_pause_that_one_reply_asks_for_holds_for_all() {
    let reply = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n";
    let server = Server::answering(reply).await;
    let participant = server.participant();
    assert!(matches!(meaning(&call(&participant).await), Meaning::Unknown { free: true, retry_after: Some(_), .. }));
    let raw = call(&participant).await;
    let length = raw.retry_after().unwrap();
    assert!(length > Duration::from_secs(6) && length < Duration::from_secs(9), "{length:?}");
}
