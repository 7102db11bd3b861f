//! One request in the leased form, in a task of its own: claim, call, report, answer.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::Either;
use http::response::Parts;
use http::{Request, Response};
use http_body::Body;
use steadfast_core::Problem;
use tokio::time::{Instant, sleep, sleep_until};
use tower_service::Service;

use crate::admission::Admitted;
use crate::body::{self, Read};
use crate::decision::{Claim, Decision, Prior, Report, Reported};
use crate::layer::{InFlight, OnAmbiguous, Recovered, Shared};
use crate::outcome::{self, End};
use crate::record::{Owner, Record, State};
use crate::running::Mark;
use crate::service::Reply;
use crate::{Answer, AnswerBody, Context, Error, respond};

/// How often the record is looked at while another process executes.
const POLL: Duration = Duration::from_millis(50);

/// How long to rely on being woken by an execution of this process.
const GLANCE: Duration = Duration::from_secs(1);

/// How often a report is tried before its claim is left to its lease: for longer than a failover takes.
const REPORTS: u32 = 10;

/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a client waits for its answer to be stored. What was executed is answered then; it is stored afterwards.
const PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct Execution {
    shared: Arc<Shared>,
    admitted: Admitted,
    claim: Claim,
}

/// What the handler came to.
enum Ended<R, E> {
    /// An answer: what may be kept of it, and what the client gets.
    Answered(Box<Parts>, Answer, AnswerBody<R>),
    /// An error in place of an answer.
    Failed(E),
    /// A panic, or a body that broke off.
    Broken,
}

impl Execution {
    pub(crate) fn new(shared: Arc<Shared>, admitted: Admitted) -> Self {
        let claim = Claim {
            id: admitted.id,
            scope: Arc::clone(&admitted.scope),
            subject: Arc::clone(&admitted.subject),
            login: admitted.login.clone(),
            forgotten: admitted.forgotten,
            fingerprint: admitted.fingerprint,
            owner: Owner::from_bytes([0; 16]),
            lease: shared.lease,
            ttl: shared.options.ttl,
            take_over: shared.on_ambiguous.takes_over(),
        };
        Self { shared, admitted, claim }
    }

    /// Claims, and executes or answers without.
    pub(crate) async fn serve<S, B, R>(mut self, inner: S, mut reply: Reply<R, S::Error>)
    where
        S: Service<Request<B>, Response = Response<R>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
    {
        self.shared.metrics.checked();
        if let Some(problem) = self.refusal().await {
            drop(reply.send(Ok(self.problem(problem))));
            return;
        }
        // The client may go at any time; what is executed is stored for when it comes back.
        match self.decide(&mut reply).await {
            Ok(Decision::Execute { attempt, prior }) => {
                let context = Context::new(self.claim.id, self.admitted.key.clone(), attempt, prior);
                Box::pin(self.execute(inner, context, reply)).await;
            }
            Ok(decision) => drop(reply.send(Ok(self.answer(&decision)))),
            Err(error) => {
                drop(reply.send(Ok(self.problem(respond::unavailable(&error)))));
                // The claim may stand all the same; nobody executes it, so nobody shall wait for it. Where too many
                // are taken back already, its lease has to do.
                if let Ok(_turn) = self.shared.taking_back.try_acquire() {
                    self.report(Report::Abandon).await;
                }
            }
        }
    }

    /// Why nothing is begun under this key: the route begins nothing new at present, and the key is, as far as the store
    /// answers, not known.
    async fn refusal(&self) -> Option<Problem> {
        let problem = self.shared.refusal.as_ref()?.now()?;
        let known = self.shared.store.show(self.claim.id).await.is_ok_and(|record| record.is_some());
        (!known).then_some(problem)
    }

    /// Claims, and where the route says so waits for the one who was first.
    async fn decide<T>(&mut self, reply: &mut tokio::sync::oneshot::Sender<T>) -> Result<Decision, Error> {
        let deadline = match self.shared.in_flight {
            InFlight::Reject => None,
            InFlight::Wait(limit) => Some(Instant::now() + limit),
        };
        loop {
            self.claim.owner = Owner::draw()?;
            let decision = match self.shared.store.claim(&self.claim).await {
                Ok(decision) => decision,
                Err(error) if self.shared.fail_open => {
                    tracing::warn!(record = %self.claim.id, error = &error as &dyn std::error::Error, "executed without a record, since the store does not answer");
                    return Ok(Decision::Execute { attempt: 1, prior: Prior::None });
                }
                Err(error) => return Err(error),
            };
            match deadline.filter(|deadline| decision == Decision::InFlight && Instant::now() < *deadline) {
                Some(deadline) if self.changed(deadline, reply).await => {}
                _ => {
                    self.shared.metrics.decided(&decision);
                    return Ok(decision);
                }
            }
        }
    }

    /// Waits until it is worth looking again; `false` when nobody waits any more.
    async fn changed<T>(&self, deadline: Instant, reply: &mut tokio::sync::oneshot::Sender<T>) -> bool {
        let changed = async {
            // Executed by another process, or ended this very moment: look again soon. And now and then in any case,
            // since what runs here may have lost its lease to another process.
            if let Ok(false) = tokio::time::timeout(GLANCE, self.shared.running.ended(self.claim.id)).await {
                sleep(POLL).await;
            }
        };
        tokio::select! {
            () = changed => true,
            () = sleep_until(deadline) => true,
            () = reply.closed() => false,
        }
    }

    async fn execute<S, B, R>(&mut self, inner: S, context: Context, reply: Reply<R, S::Error>)
    where
        S: Service<Request<B>, Response = Response<R>> + Send + 'static,
        S::Future: Send,
        S::Error: Send,
        B: From<Bytes> + Send + 'static,
        R: Body + Send + 'static,
    {
        let mark = self.shared.running.enter(self.claim.id);
        if let OnAmbiguous::Recover(recover) = &self.shared.on_ambiguous
            && context.prior() != Prior::None
        {
            let recover = Arc::clone(recover);
            let asked = context.clone();
            let recovered = self.renewed(AssertUnwindSafe(async move { recover(asked).await }).catch_unwind()).await;
            if let Some((report, answer)) = self.recovered(recovered.unwrap_or(Recovered::Unknown)) {
                return self.conclude(mark, report, Ok(answer), reply).await;
            }
        }
        let mut request = self.admitted.request::<B>();
        request.extensions_mut().insert(context);
        let ended = self.renewed(call(inner, request, &self.shared)).await;
        let (report, answer) = self.judge(ended);
        self.conclude(mark, report, answer, reply).await;
    }

    /// Reports and answers; one that was late answers what stands there instead. A store that takes its time does not
    /// keep the client from an answer that is known.
    async fn conclude<R: Body, E>(
        &self,
        mark: Mark,
        report: Report,
        answer: Result<Response<AnswerBody<R>>, E>,
        mut reply: Reply<R, E>,
    ) {
        let mut reporting = std::pin::pin!(self.report(report));
        let Ok(reported) = tokio::time::timeout(PATIENCE, &mut reporting).await else {
            drop(reply.send(answer));
            reporting.await;
            return;
        };
        // Whoever waits may look now; and one that was late must not wait for itself.
        drop(mark);
        let answer = match reported {
            Some(Reported::Lost(winner)) => match self.winner(winner, &mut reply).await {
                Some(won) => Ok(won),
                None => answer,
            },
            _ => answer,
        };
        drop(reply.send(answer));
    }

    /// What is reported, and what the client gets.
    fn judge<R, E>(&self, ended: Ended<R, E>) -> (Report, Result<Response<AnswerBody<R>>, E>) {
        let stores = matches!(self.shared.on_ambiguous, OnAmbiguous::Store);
        match ended {
            Ended::Answered(parts, kept, body) => {
                let turned_away = self.shared.options.was_turned_away(&parts.extensions);
                let report = match outcome::end(parts.status, &parts.extensions, turned_away) {
                    End::Final => Report::Complete(Arc::new(kept)),
                    End::Unknown if stores => Report::Complete(Arc::new(kept)),
                    End::Unknown => Report::Unknown,
                    End::NotExecuted => Report::Abandon,
                };
                (report, Ok(Response::from_parts(*parts, body)))
            }
            Ended::Failed(error) => (Report::Unknown, Err(error)),
            Ended::Broken => {
                let problem = respond::panicked();
                let report =
                    if stores { Report::Complete(Arc::new(Answer::problem(&problem))) } else { Report::Unknown };
                (report, Ok(self.problem(problem)))
            }
        }
    }

    /// What is reported, and what the client gets, when what was found out settles it.
    fn recovered<R: Body>(&self, recovered: Recovered) -> Option<(Report, Response<AnswerBody<R>>)> {
        let options = &self.shared.options;
        Some(match recovered {
            Recovered::NotExecuted => return None,
            Recovered::Executed(answer) => {
                let kept = Arc::new(answer.for_storage(&options.replay_headers, options.answer_limit));
                (Report::Complete(kept), respond::replay(options, &answer).map(AnswerBody::whole))
            }
            Recovered::Unknown => (Report::Unknown, self.problem(respond::held(self.claim.id, self.claim.take_over))),
        })
    }

    /// Runs `work` while renewing the lease. A lease that was lost does not stop it: nobody can take back what it has
    /// done, and its report will be refused.
    async fn renewed<T>(&self, work: impl Future<Output = T>) -> T {
        let (id, owner, ttl, lease) = (self.claim.id, self.claim.owner, self.claim.ttl, self.claim.lease);
        let renewal = async {
            loop {
                sleep(lease / 3).await;
                match self.shared.store.report(id, owner, Report::Renew { lease }, ttl).await {
                    Ok(Reported::Accepted) => {}
                    Ok(Reported::Lost(_)) => {
                        tracing::warn!(record = %id, "an execution has lost its lease to another");
                        return std::future::pending::<()>().await;
                    }
                    Err(error) => {
                        tracing::warn!(record = %id, error = &error as &dyn std::error::Error, "a lease was not renewed");
                    }
                }
            }
        };
        match futures_util::future::select(std::pin::pin!(work), std::pin::pin!(renewal)).await {
            Either::Left((done, _)) => done,
            Either::Right(((), work)) => work.await,
        }
    }

    /// Reports, again where the store does not answer; `None` when it never did, and the record is left to its lease.
    async fn report(&self, report: Report) -> Option<Reported> {
        let (id, owner, ttl) = (self.claim.id, self.claim.owner, self.claim.ttl);
        let mut pause = POLL;
        for _ in 0..REPORTS {
            match self.shared.store.report(id, owner, report.clone(), ttl).await {
                Ok(reported) => {
                    if matches!((&reported, &report), (Reported::Accepted, Report::Complete(_))) {
                        self.shared.metrics.kept(ttl);
                    }
                    return Some(reported);
                }
                Err(error) => {
                    tracing::error!(record = %id, error = &error as &dyn std::error::Error, "the end of an execution was not stored");
                }
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
        None
    }

    /// What stands in the record of one that was late; waits for it while the winner still runs. `None` when there is no
    /// winner: then the late one's own answer is all there is.
    async fn winner<R: Body, E>(
        &self,
        mut record: Option<Record>,
        reply: &mut Reply<R, E>,
    ) -> Option<Response<AnswerBody<R>>> {
        let deadline = Instant::now() + self.claim.lease;
        loop {
            let Some(found) = record else {
                tracing::error!(record = %self.claim.id, "an execution ended after its record was removed");
                return None;
            };
            let decision = match &found.state {
                State::Done(answer) if answer.body.is_none() => Decision::Gone(Arc::clone(answer)),
                State::Done(answer) => Decision::Replay(Arc::clone(answer)),
                State::Unknown { .. } => Decision::Held,
                State::Pending { .. } => {
                    if Instant::now() < deadline && self.changed(deadline, reply).await {
                        // A store that does not answer says nothing about the winner.
                        record = self.shared.store.show(self.claim.id).await.unwrap_or(Some(found));
                        continue;
                    }
                    Decision::InFlight
                }
            };
            return Some(self.answer(&decision));
        }
    }

    fn answer<R: Body>(&self, decision: &Decision) -> Response<AnswerBody<R>> {
        let options = &self.shared.options;
        let problem = match decision {
            Decision::Replay(answer) => return respond::replay(options, answer).map(AnswerBody::whole),
            Decision::Gone(answer) => return respond::gone(options, answer).map(AnswerBody::whole),
            Decision::InFlight | Decision::Execute { .. } => respond::in_flight(),
            Decision::Held => respond::held(self.claim.id, self.claim.take_over),
            Decision::Mismatch => respond::mismatch(),
            Decision::Foreign => respond::foreign(self.claim.id),
        };
        self.problem(problem)
    }

    fn problem<R>(&self, problem: Problem) -> Response<AnswerBody<R>> {
        respond::problem(&self.shared.options, problem).map(AnswerBody::whole)
    }
}

/// Calls the handler and reads its answer; a panic in either is caught.
async fn call<S, B, R>(mut inner: S, request: Request<B>, shared: &Shared) -> Ended<R, S::Error>
where
    S: Service<Request<B>, Response = Response<R>> + Send + 'static,
    B: Send + 'static,
    R: Body + Send + 'static,
{
    let options = &shared.options;
    let work = async {
        let (parts, body) = match inner.call(request).await {
            Ok(response) => response.into_parts(),
            Err(error) => return Ended::Failed(error),
        };
        let keep = |bytes| Answer::keep(parts.status, &parts.headers, bytes, &options.replay_headers);
        match body::read(&parts.headers, body, options.answer_limit).await {
            Read::Whole(bytes) => {
                let kept = keep(if respond::bears_body(parts.status) { bytes.clone() } else { Bytes::new() });
                Ended::Answered(Box::new(parts), kept, AnswerBody::whole(bytes))
            }
            Read::Endless(body) => {
                let kept = keep(Bytes::new()).entombed();
                Ended::Answered(Box::new(parts), kept, body)
            }
            Read::Broken => Ended::Broken,
        }
    };
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        tracing::error!("a handler behind an idempotency layer panicked");
        Ended::Broken
    })
}
