//! Tills that charge: each key until somebody knows what became of it, often twice at once, often again, with clients that hang
//! up in the middle.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use fastrand::Rng;
use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::super::http::{Reply, ask};
use super::arm::{Arm, MEMBERS};

/// By then an answer has come, or it is a hang.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Of a thousand keys, those whose first client hangs up, that are sent twice at once, that are sent again, that are misused.
const HUNG_UP: u32 = 120;
const DOUBLED: u32 = 150;
const REPEATED: u32 = 300;
const MISUSED: u32 = 50;
/// Who has no answer by then asks another service as well, and that one again so soon.
const SILENT: Duration = Duration::from_secs(1);
const INSISTS: Duration = Duration::from_millis(100);
/// In milliseconds.
const HANG_UP: std::ops::Range<u64> = 1..60;
const REST: std::ops::Range<u64> = 10..90;
const AGAIN: std::ops::Range<u64> = 20..200;
/// Asking at once when everything is asked for once more.
const AUDITORS: usize = 24;

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Charged {
        id: i64,
        replayed: bool,
    },
    InFlight,
    /// An outcome that nobody knows.
    Held,
    Mismatch,
    /// 503.
    Away,
    /// 500.
    Failed,
    /// Refused, cut, or hung up by the client itself.
    Broken,
    /// Nothing within [`ANSWER_LIMIT`].
    Silence,
    Other(String),
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// When it was asked for and when it came, in milliseconds of the machine's clock.
    pub(super) asked: u64,
    pub(super) came: u64,
    pub(super) member: usize,
    pub(super) what: What,
    /// Another body under the same key.
    pub(super) misused: bool,
}

/// A key and all answers to it.
#[derive(Clone, Debug)]
pub(super) struct Charge {
    pub(super) arm: Arm,
    pub(super) key: String,
    pub(super) user: String,
    pub(super) cents: u64,
    pub(super) answers: Vec<Answer>,
    /// Known at last: charged, or held for good.
    pub(super) settled: bool,
}

/// What all tills know.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<Vec<Charge>>>);

impl Memory {
    fn add(&self, charge: Charge) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(charge);
    }

    pub(super) fn take(&self) -> Vec<Charge> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where the services of each arm are.
#[derive(Clone, Debug)]
pub(super) struct Api(pub(super) Vec<(Arm, [SocketAddr; MEMBERS])>);

/// The machine's clock in milliseconds: the databases have the same.
#[expect(clippy::disallowed_methods, reason = "it is compared with times that PostgreSQL wrote")]
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Api {
    fn address(&self, arm: Arm, member: usize) -> SocketAddr {
        let known = self.0.iter().find(|(known, _)| *known == arm);
        known.map_or_else(|| SocketAddr::from(([127, 0, 0, 1], 1)), |(_, addresses)| addresses[member % MEMBERS])
    }

    async fn charge(&self, charge: &Charge, member: usize, cents: u64, limit: Duration) -> Answer {
        let member = member % MEMBERS;
        let headers = [("x-user", charge.user.as_str()), ("idempotency-key", charge.key.as_str())];
        let body = json!({ "reference": charge.key, "cents": cents });
        let asked = now();
        let begun = Instant::now();
        let reply = ask(self.address(charge.arm, member), Method::POST, "/charges", &headers, Some(&body), limit).await;
        let what = match &reply {
            Err(_) if limit == ANSWER_LIMIT && begun.elapsed() >= ANSWER_LIMIT => What::Silence,
            reply => what(reply),
        };
        Answer { asked, came: now(), member, what, misused: cents != charge.cents }
    }
}

fn what(reply: &Result<Reply>) -> What {
    let Ok(reply) = reply else { return What::Broken };
    let problem = reply.body["type"].as_str().and_then(|uri| uri.rsplit('/').next()).unwrap_or_default();
    match (reply.status, problem, reply.body["charge"].as_i64()) {
        (201, _, Some(id)) => What::Charged { id, replayed: reply.headers.contains_key("idempotency-replayed") },
        (409, "in-flight", _) => What::InFlight,
        (409, "outcome-unknown", _) => What::Held,
        (422, "idempotency-mismatch", _) => What::Mismatch,
        (503, _, _) => What::Away,
        (500, _, _) => What::Failed,
        (status, _, _) => What::Other(format!("{status} {}", reply.body)),
    }
}

/// Until when tills begin, and until when they ask again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) begin_until: Instant,
    pub(super) ask_until: Instant,
}

/// Lets all tills work; ends when each knows what became of its last charge, or has given up.
pub(super) async fn run(api: &Api, seed: u64, times: Times, memory: &Memory) {
    let mut tills = JoinSet::new();
    for arm in Arm::ALL {
        for number in 0..arm.users() {
            let stream = u64::from(arm.index()) << 32 | number;
            let rng = Rng::with_seed(seed.wrapping_add(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            let till = Till { api: api.clone(), rng, arm, number, times };
            tills.spawn(till.work(memory.clone()));
        }
    }
    while tills.join_next().await.is_some() {}
}

struct Till {
    api: Api,
    rng: Rng,
    arm: Arm,
    number: u64,
    times: Times,
}

impl Till {
    async fn work(mut self, memory: Memory) {
        let mut count = 0_u64;
        while Instant::now() < self.times.begin_until {
            let key = format!("{}-{}-{count}", self.arm.name(), self.number);
            count += 1;
            let user = format!("till-{}", self.number);
            let cents = self.rng.u64(1..100_000);
            let charge = Charge { arm: self.arm, key, user, cents, answers: Vec::new(), settled: false };
            memory.add(self.carry_out(charge).await);
            sleep(Duration::from_millis(self.rng.u64(REST))).await;
        }
    }

    async fn carry_out(&mut self, mut charge: Charge) -> Charge {
        // Drawn before anything is answered, so that answers do not change what the seed deals.
        let mut draw = |of_a_thousand| self.rng.u32(..1_000) < of_a_thousand;
        let (leaves, doubles, repeats, misuses) = (draw(HUNG_UP), draw(DOUBLED), draw(REPEATED), draw(MISUSED));
        let member = self.rng.usize(..MEMBERS);
        let hang_up = Duration::from_millis(self.rng.u64(HANG_UP));
        if leaves {
            let answer = self.api.charge(&charge, member, charge.cents, hang_up).await;
            charge.answers.push(answer);
        }
        if doubles {
            let ask = |member| self.api.charge(&charge, member, charge.cents, ANSWER_LIMIT);
            let (one, two) = tokio::join!(ask(member), ask(member + 1));
            charge.answers.extend([one, two]);
        }
        settle(&self.api, &mut self.rng, &mut charge, member, self.times.ask_until).await;
        if repeats {
            let answer = self.api.charge(&charge, member + 1, charge.cents, ANSWER_LIMIT).await;
            charge.answers.push(answer);
        }
        // Where a record may be forgotten, another body under its key is simply the first.
        if misuses && charge.settled && !charge.arm.is_cluster() {
            let answer = self.api.charge(&charge, member, charge.cents + 1, ANSWER_LIMIT).await;
            charge.answers.push(answer);
        }
        charge
    }
}

/// Asks a service. Where it is silent another is asked as well, so that the claim of one that was stopped in the middle is taken
/// over, and it finishes late.
async fn ask_on(api: &Api, charge: &Charge, member: usize, until: Instant) -> Vec<Answer> {
    let mut first = std::pin::pin!(api.charge(charge, member, charge.cents, ANSWER_LIMIT));
    if let Ok(answer) = timeout(SILENT, &mut first).await {
        return vec![answer];
    }
    let (late, mut answers) = tokio::join!(first, insist(api, charge, member + 1, until));
    answers.push(late);
    answers
}

/// Asks one service until what stands in the record is answered.
async fn insist(api: &Api, charge: &Charge, member: usize, until: Instant) -> Vec<Answer> {
    let mut answers = Vec::new();
    loop {
        let answer = api.charge(charge, member, charge.cents, ANSWER_LIMIT).await;
        let goes_on = matches!(answer.what, What::InFlight | What::Charged { replayed: false, .. });
        answers.push(answer);
        if !goes_on || Instant::now() >= until {
            return answers;
        }
        sleep(INSISTS).await;
    }
}

/// Asks with the same key until it is known what became of it.
async fn settle(api: &Api, rng: &mut Rng, charge: &mut Charge, mut member: usize, until: Instant) {
    loop {
        let answers = ask_on(api, charge, member, until).await;
        charge.settled = answers.iter().any(|answer| match answer.what {
            What::Charged { .. } => true,
            What::Held => charge.arm.holds(),
            _ => false,
        });
        let refused = answers.iter().any(|answer| matches!(answer.what, What::Mismatch | What::Other(_)));
        charge.answers.extend(answers);
        if charge.settled || refused || Instant::now() >= until {
            return;
        }
        member += 1;
        sleep(Duration::from_millis(rng.u64(AGAIN))).await;
    }
}

/// Asks for every key once more, and for those that nobody knows of until somebody does.
pub(super) async fn audit(api: &Api, charges: Vec<Charge>, limit: Duration) -> Vec<Charge> {
    let until = Instant::now() + limit;
    let todo = Arc::new(Mutex::new(charges));
    let mut auditors = JoinSet::new();
    for number in 0..AUDITORS {
        let (api, todo, mut rng) = (api.clone(), Arc::clone(&todo), Rng::with_seed(number as u64));
        auditors.spawn(async move {
            let mut done = Vec::new();
            loop {
                let next = todo.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(mut charge) = next else { return done };
                settle(&api, &mut rng, &mut charge, number, until).await;
                done.push(charge);
            }
        });
    }
    auditors.join_all().await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let problem = |status, code: &str| {
            let body = json!({ "type": format!("https://steadfast.dev/errors/{code}") });
            what(&Ok(Reply { status, body, ..Reply::default() }))
        };
        assert_eq!(problem(409, "in-flight"), What::InFlight);
        assert_eq!(problem(409, "outcome-unknown"), What::Held);
        assert_eq!(problem(422, "idempotency-mismatch"), What::Mismatch);
        assert_eq!(problem(503, "unavailable"), What::Away);
        assert!(matches!(problem(409, "conflict"), What::Other(_)));
        let mut reply = Reply { status: 201, body: json!({ "charge": 7, "attempt": 1 }), ..Reply::default() };
        assert_eq!(
            what(&Ok(Reply { status: 201, body: reply.body.clone(), ..Reply::default() })),
            What::Charged { id: 7, replayed: false }
        );
        reply.headers.insert("idempotency-replayed", "true".parse().unwrap());
        assert_eq!(what(&Ok(reply)), What::Charged { id: 7, replayed: true });
        assert_eq!(what(&Err(anyhow::anyhow!("cut"))), What::Broken);
    }
}
