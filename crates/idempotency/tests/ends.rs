//! What ends how: each end of a handler under each policy, on each backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post as route;
use axum::{Extension, Router};
use steadfast_core::problem;
use steadfast_idempotency::{
    Answer, Claim, Cleaned, Context, Decision, Drain, Error, IdempotencyLayer, InFlight, OnAmbiguous, Owner, Record,
    RecordId, Recovered, Report, Reported, Resolution, Resolved, ResponseExt, Scope, Store,
};
use steadfast_testkit::wait_for;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::support::{Counts, LIMIT, SCOPE, authenticated, backends, claim, memory, post, request, send};

/// A handler that answers what the body says and counts its executions.
fn saying(layer: IdempotencyLayer, executions: &Arc<AtomicU32>) -> Router {
    let executions = Arc::clone(executions);
    let handler = async move |body: String| -> Response {
        let nth = executions.fetch_add(1, Ordering::SeqCst) + 1;
        let (status, mark) = body.split_once(' ').unwrap_or((&body, ""));
        assert_ne!(status, "panic", "as the test wants it");
        let response = (StatusCode::from_u16(status.parse().unwrap()).unwrap(), format!("{nth}")).into_response();
        match mark {
            "not-final" => response.not_final(),
            "not-executed" => response.not_executed(),
            _ => response,
        }
    };
    authenticated(Router::new().route("/orders", route(handler)).layer(layer))
}

#[tokio::test]
async fn final_answers_are_stored_and_replayed_as_they_were() {
    for backend in backends().await {
        let executions = Arc::default();
        let app = saying(backend.layer(), &executions);
        for status in ["200", "201", "202", "303", "400", "401", "404", "409", "412", "422", "429"] {
            let first = post(&app, status, status).await;
            let again = post(&app, status, status).await;
            assert_eq!((first.status.as_str(), first.replayed()), (status, false));
            assert_eq!((again.status.as_str(), again.replayed()), (status, true));
            assert_eq!(first.body, again.body);
        }
        assert_eq!(executions.load(Ordering::SeqCst), 11);
    }
}

#[tokio::test]
async fn what_was_not_executed_or_is_not_final_may_be_asked_again() {
    for backend in backends().await {
        let executions = Arc::default();
        let app = saying(backend.layer(), &executions);
        for body in ["429 not-executed", "503 not-executed", "401 not-executed", "409 not-final", "404 not-final"] {
            let key = body.replace(' ', "-");
            let first = post(&app, &key, body).await;
            let again = post(&app, &key, body).await;
            assert_eq!(first.status, again.status);
            assert!(!again.replayed());
            assert_ne!(first.body, again.body, "executed again");
        }
    }
}

#[tokio::test]
async fn a_mark_of_another_layer_is_recognised_where_the_route_names_it() {
    #[derive(Clone)]
    struct Limited;
    for backend in backends().await {
        let layer = backend.layer().turned_away(|extensions| extensions.get::<Limited>().is_some());
        let handler = async || {
            let mut response = StatusCode::TOO_MANY_REQUESTS.into_response();
            response.extensions_mut().insert(Limited);
            response
        };
        let app = authenticated(Router::new().route("/orders", route(handler)).layer(layer));
        post(&app, "k", "").await;
        assert!(!post(&app, "k", "").await.replayed());
    }
}

#[tokio::test]
async fn while_nothing_new_is_begun_a_known_key_is_answered_and_an_unknown_one_stays_free() {
    for backend in backends().await {
        let (executions, full) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&full);
        let refusal = move || seen.load(Ordering::SeqCst).then(|| problem::OVERLOADED.with("full").retry_after(1));
        let app = saying(backend.layer().refuse_new(refusal), &executions);
        assert_eq!(post(&app, "known", "200").await.status, StatusCode::OK);
        full.store(true, Ordering::SeqCst);
        let known = post(&app, "known", "200").await;
        assert_eq!((known.status, known.replayed()), (StatusCode::OK, true));
        assert_eq!(post(&app, "known", "202").await.problem(), "idempotency-mismatch");
        let unknown = post(&app, "unknown", "200").await;
        assert_eq!((unknown.status, unknown.problem()), (StatusCode::TOO_MANY_REQUESTS, "overloaded".into()));
        assert_eq!(unknown.headers["retry-after"], "1");
        assert_eq!(executions.load(Ordering::SeqCst), 1);
        full.store(false, Ordering::SeqCst);
        assert!(!post(&app, "unknown", "200").await.replayed());
        assert_eq!(executions.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn ambiguous_ends_follow_the_route() {
    for body in ["500", "503", "504", "500 not-final", "panic"] {
        let key = body.replace(' ', "-");
        for backend in backends().await {
            let executions = Arc::default();
            let hold = saying(backend.layer(), &executions);
            assert!(post(&hold, &key, body).await.status.is_server_error());
            let refused = post(&hold, &key, body).await;
            assert_eq!((refused.status, refused.problem()), (StatusCode::CONFLICT, "outcome-unknown".into()));
            assert_eq!(backend.store.unresolved(None, 10).await.unwrap().len(), 1);
            assert_eq!(executions.load(Ordering::SeqCst), 1, "{body}");
            let other = post(&hold, &key, "200").await;
            assert_eq!(other.problem(), "idempotency-mismatch");

            let retry = saying(backend.layer().on_ambiguous(OnAmbiguous::Retry), &executions);
            post(&retry, &key, body).await;
            assert_eq!(executions.load(Ordering::SeqCst), 2);

            let store = saying(backend.layer().on_ambiguous(OnAmbiguous::Store), &executions);
            let first = post(&store, "stored", body).await;
            let again = post(&store, "stored", body).await;
            assert_eq!((first.status, &first.body), (again.status, &again.body));
            assert!(again.replayed());
            assert_eq!(executions.load(Ordering::SeqCst), 3);
        }
    }
}

#[tokio::test]
async fn after_a_crash_the_lease_tells_and_the_route_decides() {
    for backend in backends().await {
        let executions = Arc::default();
        for key in ["hold", "store", "retry"] {
            // A process claimed it and died: before or after the effect, nobody can see.
            let mut claim = claim(key, 1, "", false);
            claim.fingerprint = fingerprint_of("200");
            backend.store.claim(&claim).await.unwrap();
        }
        let [hold, store, retry] = [OnAmbiguous::Hold, OnAmbiguous::Store, OnAmbiguous::Retry]
            .map(|policy| saying(backend.layer().on_ambiguous(policy), &executions));
        assert_eq!(post(&retry, "retry", "200").await.problem(), "in-flight");
        backend.advance(Duration::from_secs(30)).await;
        assert_eq!(post(&hold, "hold", "200").await.problem(), "outcome-unknown");
        assert_eq!(post(&store, "store", "200").await.problem(), "outcome-unknown");
        assert_eq!(post(&retry, "retry", "200").await.status, StatusCode::OK);
        assert_eq!(executions.load(Ordering::SeqCst), 1);
    }
}

fn fingerprint_of(body: &str) -> steadfast_idempotency::Fingerprint {
    steadfast_idempotency::Fingerprint::of(&steadfast_idempotency::FingerprintRequest {
        method: &::http::Method::POST,
        target: "/orders",
        headers: &::http::HeaderMap::new(),
        chosen: &[],
        body: body.as_bytes(),
    })
}

#[tokio::test]
async fn recovery_asks_first_and_executes_only_what_was_not() {
    for backend in backends().await {
        let executions = Arc::new(AtomicU32::new(0));
        let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
        let found = Arc::clone(&asked);
        let recover = OnAmbiguous::recover(move |context: Context| {
            found.lock().unwrap().push(context.key("charge"));
            let answer = match context.idempotency_key() {
                "executed" => Recovered::Executed(Answer::new(StatusCode::CREATED).with_body("found")),
                "not" => Recovered::NotExecuted,
                "bang" => panic!("as the test wants it"),
                _ => Recovered::Unknown,
            };
            async move { answer }
        });
        let app = saying(backend.layer().on_ambiguous(recover), &executions);
        for key in ["executed", "not", "unknown", "bang"] {
            assert_eq!(post(&app, key, "500").await.status, StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert!(asked.lock().unwrap().is_empty(), "the first attempt asks nobody");
        let found = post(&app, "executed", "500").await;
        assert_eq!((found.status, found.replayed(), &*found.body), (StatusCode::CREATED, true, "found"));
        assert_eq!(post(&app, "executed", "500").await.body, "found");
        assert_eq!(executions.load(Ordering::SeqCst), 4);
        post(&app, "not", "500").await;
        assert_eq!(executions.load(Ordering::SeqCst), 5);
        assert_eq!(post(&app, "unknown", "500").await.problem(), "outcome-unknown");
        assert_eq!(post(&app, "bang", "500").await.problem(), "outcome-unknown");
        assert_eq!(executions.load(Ordering::SeqCst), 5);
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 4, "once for each second attempt; a stored answer is replayed without asking");
        assert!(asked[0] != asked[1] && asked[1] != asked[2]);
    }
}

/// A handler that waits for permits; its answer is the number of the attempt.
struct Gate {
    permits: Arc<Semaphore>,
    entered: Arc<AtomicU32>,
    app: Router,
}

fn gate(layer: IdempotencyLayer) -> Gate {
    let (permits, entered) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU32::new(0)));
    let (inside, counter) = (Arc::clone(&permits), Arc::clone(&entered));
    let handler = async move |Extension(context): Extension<Context>| {
        let nth = counter.fetch_add(1, Ordering::SeqCst);
        if nth == 0 {
            inside.acquire().await.unwrap().forget();
        }
        format!("{} {}", context.attempt(), context.takeover())
    };
    let app = authenticated(Router::new().route("/orders", route(handler)).layer(layer));
    Gate { permits, entered, app }
}

impl Gate {
    async fn entered(&self, times: u32) {
        wait_for("the handler", LIMIT, || async { self.entered.load(Ordering::SeqCst) >= times }).await;
    }
}

#[tokio::test]
async fn a_late_finisher_answers_the_winners_result_and_the_takeover_is_counted() {
    for backend in backends().await {
        let counts = Counts::default();
        let layer = counts.during(|| backend.layer().on_ambiguous(OnAmbiguous::Retry));
        let gate = gate(layer);
        let (late, ()) = tokio::join!(post(&gate.app, "k", ""), async {
            gate.entered(1).await;
            backend.advance(Duration::from_secs(30)).await;
            let winner = post(&gate.app, "k", "").await;
            assert_eq!((&*winner.body, winner.replayed()), ("2 true", false));
            gate.permits.add_permits(1);
        });
        assert_eq!((&*late.body, late.replayed()), ("2 true", true));
        assert_eq!(counts.of("idempotency_takeovers_total"), 1);
        assert_eq!(post(&gate.app, "k", "").await.body, "2 true");
    }
}

#[tokio::test]
async fn a_late_finisher_waits_for_the_winner() {
    for backend in backends().await {
        let gate = gate(backend.layer().on_ambiguous(OnAmbiguous::Retry));
        let winner = claim("k", 9, "", true);
        let winner = Claim { fingerprint: fingerprint_of(""), ..winner };
        let (late, ()) = tokio::join!(post(&gate.app, "k", ""), async {
            gate.entered(1).await;
            backend.advance(Duration::from_secs(30)).await;
            backend.store.claim(&winner).await.unwrap();
            gate.permits.add_permits(1);
            tokio::task::yield_now().await;
            let answer = Report::Complete(Arc::new(Answer::new(StatusCode::ACCEPTED)));
            backend.store.report(winner.id, winner.owner, answer, winner.ttl).await.unwrap();
        });
        assert_eq!((late.status, late.replayed()), (StatusCode::ACCEPTED, true));
    }
}

#[tokio::test]
async fn a_late_finisher_whose_winner_has_no_known_outcome_is_told_to_ask_again() {
    for backend in backends().await {
        let gate = gate(backend.layer().on_ambiguous(OnAmbiguous::Retry));
        let winner = Claim { fingerprint: fingerprint_of(""), ..claim("k", 9, "", true) };
        let (late, ()) = tokio::join!(post(&gate.app, "k", ""), async {
            gate.entered(1).await;
            backend.advance(Duration::from_secs(30)).await;
            backend.store.claim(&winner).await.unwrap();
            backend.store.report(winner.id, winner.owner, Report::Unknown, winner.ttl).await.unwrap();
            gate.permits.add_permits(1);
        });
        assert_eq!((late.problem(), late.header("retry-after")), ("outcome-unknown".to_owned(), "1"));
        assert!(late.body.contains("send the same request with the same key again"), "{}", late.body);
        assert!(!late.body.contains("operator"), "{}", late.body);
        assert_eq!(post(&gate.app, "k", "").await.body, "3 true", "as it was told");
    }
}

/// A store that does not answer so many looks.
#[derive(Debug)]
struct Deaf {
    store: Arc<dyn Store>,
    looks: AtomicU32,
}

#[async_trait::async_trait]
impl Store for Deaf {
    fn name(&self) -> &'static str {
        self.store.name()
    }

    async fn answers(&self) -> Result<(), Error> {
        self.store.answers().await
    }

    async fn claim(&self, claim: &Claim) -> Result<Decision, Error> {
        self.store.claim(claim).await
    }

    async fn report(&self, id: RecordId, owner: Owner, report: Report, ttl: Duration) -> Result<Reported, Error> {
        self.store.report(id, owner, report, ttl).await
    }

    async fn show(&self, id: RecordId) -> Result<Option<Record>, Error> {
        let one_less = |looks: u32| looks.checked_sub(1);
        if self.looks.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
            return Err(Error::TimedOut);
        }
        self.store.show(id).await
    }

    async fn unresolved(&self, after: Option<RecordId>, limit: u32) -> Result<Vec<(RecordId, Record)>, Error> {
        self.store.unresolved(after, limit).await
    }

    async fn resolve(
        &self,
        id: RecordId,
        expected: Owner,
        resolution: Resolution,
        ttl: Duration,
    ) -> Result<Resolved, Error> {
        self.store.resolve(id, expected, resolution, ttl).await
    }

    async fn forget_answers(&self, subject: &str, login: &str) -> Result<u64, Error> {
        self.store.forget_answers(subject, login).await
    }

    async fn clean(&self, limit: u32) -> Result<Cleaned, Error> {
        self.store.clean(limit).await
    }
}

#[tokio::test]
async fn a_late_finisher_that_cannot_see_the_winner_for_a_moment_does_not_answer_its_own_result() {
    let backend = memory();
    let deaf = Arc::new(Deaf { store: Arc::clone(&backend.store), looks: AtomicU32::new(2) });
    let layer = IdempotencyLayer::new(Arc::clone(&deaf) as Arc<dyn Store>, Scope::new(SCOPE));
    let gate = gate(layer.on_ambiguous(OnAmbiguous::Retry));
    let winner = Claim { fingerprint: fingerprint_of(""), ..claim("k", 9, "", true) };
    let (late, ()) = tokio::join!(post(&gate.app, "k", ""), async {
        gate.entered(1).await;
        backend.advance(Duration::from_secs(30)).await;
        backend.store.claim(&winner).await.unwrap();
        gate.permits.add_permits(1);
        wait_for("two looks in vain", LIMIT, || async { deaf.looks.load(Ordering::SeqCst) == 0 }).await;
        let answer = Report::Complete(Arc::new(Answer::new(StatusCode::ACCEPTED)));
        backend.store.report(winner.id, winner.owner, answer, winner.ttl).await.unwrap();
    });
    assert_eq!((late.status, late.replayed()), (StatusCode::ACCEPTED, true));
}

#[tokio::test]
async fn the_client_goes_away_and_the_handler_finishes_and_stores() {
    for backend in backends().await {
        let drain = Drain::new();
        let gate = gate(backend.layer().drain(&drain));
        let mut response = Box::pin(gate.app.clone().oneshot(request("POST", "/orders", "u", "k", "")));
        assert!(futures_util::poll!(&mut response).is_pending());
        gate.entered_while(&mut response).await;
        drop(response);
        assert_eq!(drain.running(), 1);
        assert_eq!(post(&gate.app, "k", "").await.problem(), "in-flight");
        gate.permits.add_permits(1);
        tokio::time::timeout(LIMIT, drain.wait()).await.expect("SIGTERM waits for the execution, and no longer");
        let replay = post(&gate.app, "k", "").await;
        assert_eq!((&*replay.body, replay.replayed()), ("1 false", true));
        assert_eq!(gate.entered.load(Ordering::SeqCst), 1);
    }
}

impl Gate {
    async fn entered_while(&self, response: impl Future + Unpin) {
        tokio::select! {
            () = self.entered(1) => {}
            _ = response => panic!("the handler is still held"),
        }
    }
}

#[tokio::test]
async fn a_long_execution_renews_its_lease() {
    for backend in backends().await {
        // The pace of renewals is the process's own, ages are the store's.
        let gate = gate(backend.layer().lease(Duration::from_millis(300)));
        let (answer, ()) = tokio::join!(post(&gate.app, "k", ""), async {
            gate.entered(1).await;
            let id = claim("k", 1, "", false).id;
            let until = async || match backend.store.show(id).await.unwrap().unwrap().state {
                steadfast_idempotency::State::Pending { lease_until } => lease_until,
                other => panic!("{other:?}"),
            };
            for _ in 0..3 {
                let before = until().await;
                backend.advance(Duration::from_millis(50)).await;
                let moved = until().await;
                wait_for("the renewal", LIMIT, || async { until().await > before.max(moved) }).await;
            }
            assert_eq!(post(&gate.app, "k", "").await.problem(), "in-flight");
            gate.permits.add_permits(1);
        });
        assert_eq!(answer.body, "1 false");
    }
}

async fn identical_at_once(in_flight: InFlight) -> Vec<(Vec<StatusCode>, u32, u64, u64)> {
    let mut results = Vec::new();
    for backend in backends().await {
        let counts = Counts::default();
        let gate = gate(counts.during(|| backend.layer().in_flight(in_flight)));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..1_000 {
            let app = gate.app.clone();
            all.spawn(async move { post(&app, "k", "x").await });
        }
        gate.entered(1).await;
        if in_flight == InFlight::Reject {
            wait_for("the others", LIMIT, || async { counts.of("idempotency_hits_total") == 999 }).await;
        }
        gate.permits.add_permits(1);
        let answers = all.join_all().await;
        let bodies = answers.iter().filter(|answer| answer.status == StatusCode::OK);
        assert!(bodies.clone().all(|answer| answer.body == "1 false"));
        let statuses = answers.iter().map(|answer| answer.status).collect();
        let hits = counts.of("idempotency_hits_total");
        results.push((statuses, gate.entered.load(Ordering::SeqCst), counts.of("idempotency_checks_total"), hits));
        assert!((counts.gauge("idempotency_key_ttl_seconds") - 86_400.0).abs() < 1.0);
    }
    results
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_identical_at_once_one_executes_and_the_others_are_rejected() {
    for (statuses, executions, checks, hits) in identical_at_once(InFlight::Reject).await {
        assert_eq!((executions, checks, hits), (1, 1_000, 999));
        assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 999);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_identical_at_once_one_executes_and_the_others_wait_for_its_answer() {
    for (statuses, executions, checks, hits) in identical_at_once(InFlight::Wait(LIMIT)).await {
        assert_eq!((executions, checks, hits), (1, 1_000, 999));
        assert!(statuses.iter().all(|status| *status == StatusCode::OK));
    }
}

#[tokio::test]
async fn waiting_has_an_end() {
    for backend in backends().await {
        let gate = gate(backend.layer().in_flight(InFlight::Wait(Duration::from_millis(20))));
        tokio::join!(post(&gate.app, "k", ""), async {
            gate.entered(1).await;
            let waited = post(&gate.app, "k", "").await;
            assert_eq!((waited.problem().as_str(), waited.header("retry-after")), ("in-flight", "1"));
            gate.permits.add_permits(1);
        });
    }
}

#[tokio::test]
async fn a_duplicate_also_waits_for_an_execution_of_another_process() {
    for backend in backends().await {
        let gate = gate(backend.layer().in_flight(InFlight::Wait(LIMIT)));
        let other = Claim { fingerprint: fingerprint_of(""), ..claim("k", 9, "", false) };
        backend.store.claim(&other).await.unwrap();
        let (answer, ()) = tokio::join!(post(&gate.app, "k", ""), async {
            tokio::task::yield_now().await;
            let done = Report::Complete(Arc::new(Answer::new(StatusCode::ACCEPTED)));
            backend.store.report(other.id, other.owner, done, other.ttl).await.unwrap();
        });
        assert_eq!((answer.status, answer.replayed()), (StatusCode::ACCEPTED, true));
        assert_eq!(gate.entered.load(Ordering::SeqCst), 0);
    }
}

#[tokio::test]
async fn downstream_keys_are_stable_over_attempts_and_differ_between_everything_else() {
    for backend in backends().await {
        let store = Arc::clone(&backend.store);
        let layer = IdempotencyLayer::new(store, Scope::new(SCOPE)).on_ambiguous(OnAmbiguous::Retry);
        let handler = async |Extension(context): Extension<Context>| {
            let status = if context.attempt() == 1 { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
            assert_ne!(context.key("charge"), context.key("mail"));
            (status, context.key("charge"))
        };
        let app = authenticated(Router::new().route("/orders", route(handler)).layer(layer));
        let first = post(&app, "k", "").await.body;
        assert_eq!(post(&app, "k", "").await.body, first);
        assert_ne!(post(&app, "l", "").await.body, first);
        assert_ne!(send(&app, request("POST", "/orders", "v", "k", "")).await.body, first);
    }
}

#[tokio::test]
async fn a_cut_connection_does_not_stop_the_handler_and_the_retry_gets_its_answer() {
    for backend in backends().await {
        let drain = Drain::new();
        let gate = gate(backend.layer().drain(&drain));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = gate.app.clone();
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await });
        let order = b"POST /orders HTTP/1.1\r\nhost: shop\r\nx-user: u\r\nidempotency-key: \"k\"\r\n\
            content-length: 5\r\nconnection: close\r\n\r\n1 tea";

        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(order).await.unwrap();
        gate.entered(1).await;
        drop(first);
        gate.permits.add_permits(1);
        tokio::time::timeout(LIMIT, drain.wait()).await.unwrap();

        let mut again = TcpStream::connect(address).await.unwrap();
        again.write_all(order).await.unwrap();
        let mut answer = String::new();
        again.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("idempotency-replayed: true") && answer.ends_with("1 false"), "{answer}");
        assert_eq!(gate.entered.load(Ordering::SeqCst), 1);
    }
}
