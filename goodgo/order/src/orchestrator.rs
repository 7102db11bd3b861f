//! The one call that this service makes: to the orchestrator, to start a saga. HTTP/1.1 over connections that are kept.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use http::uri::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use steadfast::core::header;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Error;
use crate::pushback::Pushback;

const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long an answer may take beyond the time that the caller waits for the saga's end.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Connections that are kept when nobody needs them.
const IDLE_MAX: usize = 128;
/// The largest answer.
const ANSWER_MAX: usize = 256 * 1024;

type Connection = SendRequest<Full<Bytes>>;

/// Where sagas are started.
#[derive(Debug)]
pub(crate) struct Orchestrator {
    /// Host and port, to connect to.
    address: String,
    host: HeaderValue,
    prefix: String,
    idle: Mutex<Vec<Connection>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// What it refuses at present.
    pub(crate) pushback: Pushback,
}

/// A saga to start. The same key always starts the same saga, so the call may be repeated.
#[derive(Clone, Debug)]
pub(crate) struct Start<'a> {
    pub(crate) definition: &'static str,
    pub(crate) key: &'a str,
    /// The headers of the user's request: who asks, and the trace.
    pub(crate) caller: &'a HeaderMap,
    /// How long to wait for the saga's end.
    pub(crate) wait: Option<Duration>,
    pub(crate) input: &'a Value,
}

/// What the orchestrator says of a saga.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Saga {
    #[serde(rename = "saga_id")]
    pub(crate) id: String,
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) cause: Option<Value>,
}

/// What the orchestrator answered.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The saga is there.
    Saga(Saga),
    /// It was not started, for this reason: a problem, to be passed on.
    Refused { status: StatusCode, retry_after: Option<HeaderValue>, problem: Bytes },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The call never left.
    #[error("the orchestrator cannot be reached")]
    NotSent(#[source] std::io::Error),
    /// The call may have been heard.
    #[error("the orchestrator did not answer: {0}")]
    NoAnswer(String),
    /// It answered that it cannot, or something that is no answer.
    #[error("the orchestrator failed with status {0}")]
    Failed(StatusCode),
}

impl Orchestrator {
    /// The orchestrator at this address, such as `http://127.0.0.1:8080`.
    pub(crate) fn new(base: &str) -> Result<Self, Error> {
        let fault =
            |fault: &str| Error::Config(format!("orchestrator {base:?}: {fault}, such as http://127.0.0.1:8080"));
        let uri: Uri = base.parse().map_err(|_| fault("is not an address"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(fault("must begin with http:// (TLS ends in front of the services)"));
        }
        let authority = uri.authority().ok_or_else(|| fault("names no host"))?;
        Ok(Self {
            address: format!("{}:{}", authority.host(), authority.port_u16().unwrap_or(80)),
            host: HeaderValue::from_str(authority.as_str()).map_err(|_| fault("names no host"))?,
            prefix: uri.path().trim_end_matches('/').to_owned(),
            idle: Mutex::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            pushback: Pushback::default(),
        })
    }

    /// Starts a saga, or finds the one that this key has started.
    pub(crate) async fn start(&self, start: &Start<'_>) -> Result<Answer, Failure> {
        let patience = ANSWER_TIME + start.wait.unwrap_or_default();
        timeout(patience, self.exchange(start))
            .await
            .unwrap_or_else(|_| Err(Failure::NoAnswer(format!("nothing within {} s", patience.as_secs()))))
    }

    async fn exchange(&self, start: &Start<'_>) -> Result<Answer, Failure> {
        // A kept connection may have been closed by the other side just now; a new one tells the truth. Sending twice is
        // safe, since the key is the same.
        if let Some(connection) = self.take_idle() {
            match self.send(connection, start).await {
                Err(Failure::NoAnswer(fault)) => tracing::debug!(fault, "a kept connection was of no use"),
                answer => return answer,
            }
        }
        let connection = self.connect().await?;
        self.send(connection, start).await
    }

    async fn connect(&self) -> Result<Connection, Failure> {
        let connecting = timeout(CONNECT_TIME, TcpStream::connect(&self.address)).await;
        let stream = connecting
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
            .and_then(|stream| stream.set_nodelay(true).map(|()| stream))
            .map_err(Failure::NotSent)?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| Failure::NotSent(std::io::Error::other(error)))?;
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "a connection to the orchestrator broke");
                    }
                }
            }
        });
        Ok(sender)
    }

    async fn send(&self, mut connection: Connection, start: &Start<'_>) -> Result<Answer, Failure> {
        let lost = |error: hyper::Error| Failure::NoAnswer(error.to_string());
        connection.ready().await.map_err(lost)?;
        let response = connection.send_request(self.request(start)).await.map_err(lost)?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_MAX).collect().await;
        let body = body.map_err(|error| Failure::NoAnswer(error.to_string()))?.to_bytes();
        self.keep(connection);
        if head.status.is_success() {
            let saga = serde_json::from_slice(&body);
            return saga
                .map(Answer::Saga)
                .map_err(|error| Failure::NoAnswer(format!("its answer is no saga: {error}")));
        }
        let passes = head.status.is_client_error()
            && !matches!(head.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
        if !passes {
            return Err(Failure::Failed(head.status));
        }
        if head.status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            self.pushback.refused(start.definition, seconds.map(Duration::from_secs), Instant::now());
        }
        Ok(Answer::Refused { status: head.status, retry_after: head.headers.get(RETRY_AFTER).cloned(), problem: body })
    }

    fn request(&self, start: &Start<'_>) -> Request<Full<Bytes>> {
        let body = Bytes::from(serde_json::json!({ "input": start.input }).to_string());
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        // A definition is a plain word, so this always is a path.
        *request.uri_mut() = format!("{}/v1/sagas/{}", self.prefix, start.definition).parse().unwrap_or_default();
        let headers = request.headers_mut();
        headers.insert(HOST, self.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Ok(key) = HeaderValue::from_str(start.key) {
            headers.insert(header::IDEMPOTENCY_KEY, key);
        }
        for name in [AUTHORIZATION, HeaderName::from_static(header::TRACEPARENT)] {
            if let Some(value) = start.caller.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        if let Some(wait) = start.wait
            && let Ok(prefer) = HeaderValue::from_str(&format!("wait={}", wait.as_secs()))
        {
            headers.insert("prefer", prefer);
        }
        request
    }

    fn take_idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(connection) = idle.pop() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !connection.is_closed() {
            idle.push(connection);
        }
    }

    /// Ends all connections.
    pub(crate) async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const ANSWER: &str = r#"{"saga_id":"s","status":"running"}"#;

    /// Answers `each` requests on every connection, then closes it without a word. Counts connections.
    async fn server(each: usize) -> (Orchestrator, Arc<AtomicUsize>) {
        answering(each, format!("HTTP/1.1 202 Accepted\r\ncontent-length: {}\r\n\r\n{ANSWER}", ANSWER.len())).await
    }

    async fn answering(each: usize, answer: String) -> (Orchestrator, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                for _ in 0..each {
                    let mut request = Vec::new();
                    while !request.ends_with(b"}}") {
                        let mut buffer = [0; 1024];
                        match stream.read(&mut buffer).await {
                            Ok(n) if n > 0 => request.extend_from_slice(&buffer[..n]),
                            _ => break,
                        }
                    }
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        });
        tasks.detach_all();
        (Orchestrator::new(&base).unwrap(), connections)
    }

    async fn start(orchestrator: &Orchestrator) -> Result<Answer, Failure> {
        let (caller, input) = (HeaderMap::new(), serde_json::json!({"total": 1}));
        let start = Start { definition: "place_order", key: "k", caller: &caller, wait: None, input: &input };
        orchestrator.start(&start).await
    }

    #[tokio::test]
    async fn who_is_told_that_there_are_too_many_asks_no_more_for_a_moment() {
        let answer = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 2\r\n\r\n{}";
        let (orchestrator, _) = answering(1, answer.to_owned()).await;
        assert!(orchestrator.pushback.problem("place_order", Instant::now()).is_none());
        assert!(matches!(start(&orchestrator).await, Ok(Answer::Refused { .. })));
        assert!(orchestrator.pushback.problem("place_order", Instant::now()).is_some());
        assert!(orchestrator.pushback.problem("return_order", Instant::now()).is_none());
        orchestrator.close().await;
    }

    #[tokio::test]
    async fn a_connection_is_kept() {
        let (orchestrator, connections) = server(3).await;
        for _ in 0..3 {
            assert!(matches!(start(&orchestrator).await, Ok(Answer::Saga(_))));
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
        orchestrator.close().await;
    }

    #[tokio::test]
    async fn a_kept_connection_that_was_closed_meanwhile_is_no_failure() {
        let (orchestrator, connections) = server(1).await;
        for _ in 0..3 {
            assert!(matches!(start(&orchestrator).await, Ok(Answer::Saga(_))));
        }
        assert_eq!(connections.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_server_that_only_closes_is_no_answer_and_one_that_is_away_was_not_sent_to() {
        let (orchestrator, _) = server(0).await;
        assert!(matches!(start(&orchestrator).await, Err(Failure::NoAnswer(_))));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let away = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let orchestrator = Orchestrator::new(&away).unwrap();
        assert!(matches!(start(&orchestrator).await, Err(Failure::NotSent(_))));
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_a_way_out() {
        for base in ["", "127.0.0.1:80", "https://a", "/v1"] {
            let error = Orchestrator::new(base).unwrap_err().to_string();
            assert!(error.contains("such as http://127.0.0.1:8080"), "{error}");
        }
        let orchestrator = Orchestrator::new("http://saga.internal/base/").unwrap();
        assert_eq!((orchestrator.address.as_str(), orchestrator.prefix.as_str()), ("saga.internal:80", "/base"));
    }
}
