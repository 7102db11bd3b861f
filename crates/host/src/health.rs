//! `/healthz` says that the process lives; `/readyz` says whether it can do its work, and if not, what is missing; also what
//! is away that only a part of its work needs.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::join_all;
use serde_json::json;
use steadfast_core::problem;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use crate::json::Json;
use crate::patience::chain;
use crate::problem::Reply;

/// A report is given again for this long, so that whoever asks often does not make the checks run often.
const FRESH: Duration = Duration::from_millis(500);

/// How long what a process needs may take to say that it is there.
const NEEDED: Duration = Duration::from_secs(3);

type Probe = dyn Fn() -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send + Sync;

struct Check {
    name: String,
    /// Whether the process is ready without it.
    dispensable: bool,
    limit: Duration,
    probe: Box<Probe>,
}

/// A registry of checks; cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    checks: RwLock<Vec<Arc<Check>>>,
    draining: AtomicBool,
    last: Mutex<Option<(Instant, Seen)>>,
}

/// What the checks have come to.
#[derive(Clone, Debug, Default)]
struct Seen {
    missing: Vec<Missing>,
    /// Without this the process is ready all the same.
    degraded: Vec<Missing>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").field("checks", &self.names()).finish_non_exhaustive()
    }
}

/// What is not ready, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// The check's name.
    pub check: String,
    /// What it says. Everybody may read it.
    pub why: String,
}

impl Health {
    /// Without any check: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check that answers within `limit` whether its part is ready, and if not, why. The reason is shown to
    /// whoever asks, so it names no host, user or secret.
    pub fn check<F>(&self, name: impl Into<String>, limit: Duration, probe: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.add(Check { name: name.into(), dispensable: false, limit, probe: Box::new(move || Box::pin(probe())) });
    }

    fn add(&self, check: Check) {
        self.0.checks.write().unwrap_or_else(PoisonError::into_inner).push(Arc::new(check));
    }

    /// Adds something that the process needs and that `ask` asks whether it is there. The reason goes to the log, when it
    /// changes; shown is only that it is away.
    pub fn needs<F, E>(&self, name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error,
    {
        self.add(Check { name: name.to_owned(), dispensable: false, limit: NEEDED, probe: telling(name, ask) });
    }

    /// As [`needs`](Self::needs), of something that only a part of the process's work needs: while it is away `/readyz` stays
    /// 200 and shows it under `degraded`. For what all replicas share, so that no other one could do better.
    pub fn uses<F, E>(&self, name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::error::Error,
    {
        self.add(Check { name: name.to_owned(), dispensable: true, limit: NEEDED, probe: telling(name, ask) });
    }

    /// From now on not ready: the process is ending.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// Runs all checks at once and says what is not ready; empty when everything is that the process needs.
    pub async fn missing(&self) -> Vec<Missing> {
        self.look(Instant::now()).await.missing
    }

    async fn look(&self, now: Instant) -> Seen {
        if self.0.draining.load(Ordering::Acquire) {
            let ending = Missing { check: "process".to_owned(), why: "ending: send requests elsewhere".to_owned() };
            return Seen { missing: vec![ending], degraded: Vec::new() };
        }
        let mut last = self.0.last.lock().await;
        if let Some((at, seen)) = &*last
            && now.duration_since(*at) < FRESH
        {
            return seen.clone();
        }
        let checks = self.0.checks.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seen = Seen::default();
        for (check, missing) in checks.iter().zip(join_all(checks.iter().map(|check| run(check))).await) {
            (if check.dispensable { &mut seen.degraded } else { &mut seen.missing }).extend(missing);
        }
        *last = Some((now, seen.clone()));
        seen
    }

    /// The routes `/healthz` and `/readyz`.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let health = self.clone();
        Router::new().route("/healthz", get(|| async { Json(json!({"status": "alive"})) })).route(
            "/readyz",
            get(move || {
                let health = health.clone();
                async move { health.report().await }
            }),
        )
    }

    async fn report(&self) -> Response {
        let Seen { missing, degraded } = self.look(Instant::now()).await;
        let listed =
            |all: &[Missing]| -> Vec<_> { all.iter().map(|it| json!({"check": it.check, "why": it.why})).collect() };
        if missing.is_empty() {
            let mut ready = json!({"status": "ready", "checks": self.names()});
            if !degraded.is_empty() {
                ready["degraded"] = listed(&degraded).into();
            }
            return Json(ready).into_response();
        }
        let names: Vec<_> = missing.iter().map(|it| it.check.as_str()).collect();
        Reply::from(
            problem::UNAVAILABLE
                .with(format!("not ready: {}", names.join(", ")))
                .member("not_ready", listed(&missing))
                .retry_after(1),
        )
        .into_response()
    }

    fn names(&self) -> Vec<String> {
        let checks = self.0.checks.read().unwrap_or_else(PoisonError::into_inner);
        checks.iter().map(|check| check.name.clone()).collect()
    }
}

/// Asks; the log tells a cause that has changed, and the answer only that there is one.
fn telling<F, E>(name: &'static str, ask: impl Fn() -> F + Send + Sync + 'static) -> Box<Probe>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: std::error::Error,
{
    let told = Arc::new(std::sync::Mutex::new(None::<String>));
    Box::new(move || {
        let (asked, told) = (ask(), Arc::clone(&told));
        Box::pin(async move {
            let cause = asked.await.err().map(|error| chain(&error));
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            match (&cause, &*told) {
                (None, Some(_)) => tracing::warn!(name, "it can be worked with again"),
                (Some(cause), told) if told.as_ref() != Some(cause) => {
                    tracing::warn!(name, cause, "it cannot be worked with");
                }
                _ => {}
            }
            told.clone_from(&cause);
            cause.map_or(Ok(()), |_| Err("it cannot be worked with: the log says why".to_owned()))
        })
    })
}

async fn run(check: &Check) -> Option<Missing> {
    let why = match timeout(check.limit, (check.probe)()).await {
        Ok(Ok(())) => return None,
        Ok(Err(why)) => why,
        Err(_) => format!("no answer within {:?}", check.limit),
    };
    Some(Missing { check: check.name.clone(), why })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[tokio::test]
    async fn what_is_not_ready_is_listed_and_a_hanging_check_is_cut() {
        let health = Health::new();
        health.check("journal", Duration::from_secs(1), || async { Ok(()) });
        health.check("bus", Duration::from_secs(1), || async { Err("no broker answers".to_owned()) });
        health.check("cache", Duration::from_millis(50), std::future::pending);
        let missing = health.missing().await;
        let told: Vec<_> = missing.iter().map(|it| (it.check.as_str(), it.why.as_str())).collect();
        assert_eq!(told, [("bus", "no broker answers"), ("cache", "no answer within 50ms")]);
    }

    #[tokio::test]
    async fn why_something_is_away_is_not_shown_to_everybody() {
        let (health, away) = (Health::new(), Arc::new(AtomicBool::new(true)));
        let asked = Arc::clone(&away);
        health.needs("database", move || {
            let away = asked.load(Ordering::Acquire);
            async move { if away { Err(std::io::Error::other("no route to 10.0.0.7")) } else { Ok(()) } }
        });
        let now = Instant::now();
        let missing = health.look(now).await.missing;
        assert_eq!((missing.len(), missing[0].check.as_str()), (1, "database"));
        assert!(!missing[0].why.contains("10.0.0.7"), "{missing:?}");
        away.store(false, Ordering::Release);
        assert_eq!(health.look(now + FRESH).await.missing, []);
    }

    #[tokio::test]
    async fn what_only_a_part_of_the_work_needs_is_shown_and_does_not_take_the_process_out() {
        let health = Health::new();
        health.check("journal", Duration::from_secs(1), || async { Ok(()) });
        health.uses("keys", || async { Err(std::io::Error::other("no route to 10.0.0.7")) });
        let answer = health.report().await;
        assert_eq!(answer.status(), 200);
        let body = axum::body::to_bytes(answer.into_body(), 4_096).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&body["checks"], &body["degraded"][0]["check"]), (&json!(["journal", "keys"]), &json!("keys")));
        assert!(!body.to_string().contains("10.0.0.7"), "{body}");
        health.drain();
        assert_eq!(health.report().await.status(), 503);
    }

    #[tokio::test]
    async fn asking_often_does_not_check_often() {
        let health = Health::new();
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        health.check("journal", Duration::from_secs(1), move || {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        let now = Instant::now();
        for _ in 0..100 {
            health.look(now).await;
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        health.look(now + FRESH).await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_ending_process_is_not_ready() {
        let health = Health::new();
        assert_eq!(health.report().await.status(), 200);
        health.drain();
        assert_eq!(health.report().await.status(), 503);
    }
}
