//! The orchestrator's part: one HTTP call with its headers and bearer, and the reply to the last byte.

use std::collections::BTreeMap;

use steadfast_core::{Clock, Knowledge, Op, SagaId, StepKey, Timestamp};
use steadfast_saga::participant::token::{Claims, Key, mint};
use steadfast_testkit::{SystemClock, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::service::{KEY, Kind, Service};

pub(crate) const STEP: &str = "pay";

/// When the sagas of the tests started, unless they say otherwise.
pub(crate) const STARTED: i64 = 1_700_000_000_000;

/// A call to be.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) kind: &'static Kind,
    pub(crate) key: StepKey,
    pub(crate) started: i64,
    pub(crate) knowledge: Knowledge,
    pub(crate) body: String,
    /// Instead of a good one.
    pub(crate) bearer: Option<String>,
    pub(crate) without: Option<&'static str>,
    /// Instead of the effect's own.
    pub(crate) path: Option<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The last part of a problem's type.
    pub(crate) fn problem(&self) -> Option<String> {
        self.header("content-type").filter(|it| it.starts_with("application/problem+json"))?;
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body["type"].as_str()?.rsplit('/').next()?.to_owned())
    }

    pub(crate) fn is_replayed(&self) -> bool {
        self.header("idempotency-replayed") == Some("true")
    }
}

impl Call {
    pub(crate) fn saga(&self) -> String {
        self.key.saga.to_string()
    }

    pub(crate) fn compensation(&self, knowledge: Knowledge) -> Self {
        let key = StepKey { op: Op::Compensate, ..self.key.clone() };
        Self { key, knowledge, body: "{}".to_owned(), ..self.clone() }
    }

    pub(crate) fn token(&self, key: &str, audience: &str, scope: &str, now: Timestamp) -> String {
        let key = Key::new(key.as_bytes()).unwrap();
        mint(&key, &Claims::new("steadfast", audience, "till-7", scope, &self.key), now)
    }

    fn text(&self, address: &str) -> String {
        let own = if self.key.op == Op::Action { self.kind.action } else { self.kind.compensate };
        let path = self.path.unwrap_or(own);
        let bearer =
            self.bearer.clone().unwrap_or_else(|| self.token(KEY, self.kind.name, self.kind.scope, SystemClock.now()));
        let mut headers = vec![
            ("Host", address.to_owned()),
            ("Connection", "close".to_owned()),
            ("Content-Type", "application/json".to_owned()),
            ("Content-Length", self.body.len().to_string()),
            ("Authorization", format!("Bearer {bearer}")),
            ("Idempotency-Key", format!("\"{}\"", self.key)),
            ("Saga-Id", self.saga()),
            ("Saga-Step", self.key.step.clone()),
            ("Saga-Attempt", "1".to_owned()),
            ("Saga-Started", self.started.to_string()),
            ("Saga-Epoch", "7".to_owned()),
        ];
        if self.key.op == Op::Compensate {
            headers.push(("Saga-Action", self.knowledge.as_str().to_owned()));
        }
        headers.retain(|(name, _)| Some(*name) != self.without);
        let headers: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        format!("POST {path} HTTP/1.1\r\n{headers}\r\n{}", self.body)
    }

    /// `None` where the connection ends without a reply.
    pub(crate) async fn send(&self, address: &str) -> Option<Reply> {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(self.text(address).as_bytes()).await.ok()?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.ok()?;
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: BTreeMap<_, _> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let body = bytes[end + 4..].to_vec();
        assert!(!headers.contains_key("transfer-encoding"), "the services say how long their answers are: {headers:?}");
        Some(Reply { status, headers, body })
    }
}

impl Service {
    /// The n-th saga's action.
    pub(crate) fn action(&self, n: u32) -> Call {
        let saga = SagaId::derive("till-7", self.kind.name, &n.to_string());
        Call {
            kind: self.kind,
            key: StepKey { saga, step: STEP.to_owned(), op: Op::Action },
            started: STARTED,
            knowledge: Knowledge::Unknown,
            body: (self.kind.body)(n),
            bearer: None,
            without: None,
            path: None,
        }
    }

    /// The reply to one call.
    pub(crate) async fn once(&self, call: &Call) -> Reply {
        call.send(&self.address).await.expect("a reply")
    }

    /// The reply to a call that is made again while the step is in flight, as the orchestrator makes it.
    pub(crate) async fn ask(&self, call: &Call) -> Reply {
        let reply = std::cell::RefCell::new(None);
        wait_for("the step to be free", std::time::Duration::from_secs(20), async || {
            let heard = self.once(call).await;
            let free = heard.problem().as_deref() != Some("in-flight");
            reply.replace(Some(heard));
            free
        })
        .await;
        reply.into_inner().unwrap()
    }
}
