//! Users: they start sagas under keys of their own, repeat, cancel, and ask again until they know.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use fastrand::Rng;
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::super::http::{Reply, ask};
use super::super::token;
use super::plan::Plan;

pub(super) const USER: &str = "torture-user";
/// Users at once; each rests between two sagas, so that the load stays below what two cores can carry.
const USERS: u64 = 24;
const REST: std::ops::Range<u64> = 40..320;
/// Of 1,000 sagas.
const REPEATED: u32 = 50;
const CANCELLED: u32 = 30;
const WAITED: u32 = 400;
const ANSWER_LIMIT: Duration = Duration::from_secs(12);
const AGAIN: std::ops::Range<u64> = 100..600;
/// How often a cancel is tried; a user who gives up does not know whether it was heard.
const CANCEL_TRIES: usize = 6;

/// The orchestrators, as users see them.
#[derive(Clone, Debug)]
pub(super) struct Api {
    nodes: Arc<[SocketAddr]>,
    bearer: Arc<str>,
}

impl Api {
    pub(super) fn new(nodes: Vec<SocketAddr>, secret: impl AsRef<[u8]>) -> Self {
        let claims = json!({
            "iss": "torture", "aud": "torture", "sub": USER, "iat": 0, "exp": 4_000_000_000_u64,
            "permissions": ["torture.run", "saga.define", "saga.operate", "saga.read"],
        });
        let bearer = format!("Bearer {}", token::mint(secret.as_ref(), "users", &claims));
        Self { nodes: nodes.into(), bearer: bearer.into() }
    }

    async fn post(&self, node: usize, path: &str, headers: &[(&str, &str)], body: &Value) -> Result<Reply> {
        let headers = [&[("authorization", &*self.bearer)], headers].concat();
        ask(self.nodes[node % self.nodes.len()], Method::POST, path, &headers, Some(body), ANSWER_LIMIT).await
    }

    pub(super) async fn upload(&self, definition: &str) -> Result<()> {
        let reply = self.post(0, "/v1/definitions", &[], &json!({ "definition": definition })).await?;
        if reply.status >= 300 {
            bail!("the definition was not accepted: {} {}", reply.status, reply.body);
        }
        Ok(())
    }

    /// One saga as a node shows it.
    pub(super) async fn show(&self, node: usize, id: &str) -> Result<Reply> {
        let headers = [("authorization", &*self.bearer)];
        let to = self.nodes[node % self.nodes.len()];
        ask(to, Method::GET, &format!("/v1/sagas/{id}"), &headers, None, ANSWER_LIMIT).await
    }
}

/// What a user knows of a saga.
#[derive(Clone, Debug)]
pub(super) struct Intent {
    pub(super) plan: Plan,
    /// From the first answer that accepted it.
    pub(super) id: Option<String>,
    /// A final state that an answer told.
    pub(super) told: Option<String>,
    /// A cancel was accepted.
    pub(super) cancelled: bool,
    pub(super) cancel_tried: bool,
    pub(super) repeated: bool,
    /// Answers that contradict the protocol or each other.
    pub(super) faults: Vec<String>,
}

/// What all users know.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory(Arc<Mutex<Vec<Intent>>>);

impl Memory {
    fn add(&self, intent: Intent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(intent);
    }

    pub(super) fn all(&self) -> Vec<Intent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Until when users begin, and until when they ask again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) begin_until: Instant,
    pub(super) ask_until: Instant,
}

/// Lets all users work; ends when each knows what became of its last request, or has given up.
pub(super) async fn run(api: &Api, seed: u64, times: Times, memory: &Memory) {
    let mut users = JoinSet::new();
    for number in 0..USERS {
        let rng = Rng::with_seed(seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let user = User { api: api.clone(), rng, number, times };
        users.spawn(user.work(memory.clone()));
    }
    while users.join_next().await.is_some() {}
}

struct User {
    api: Api,
    rng: Rng,
    number: u64,
    times: Times,
}

impl User {
    async fn work(mut self, memory: Memory) {
        let mut count = 0_u64;
        while Instant::now() < self.times.begin_until {
            let plan = Plan::draw(&mut self.rng, format!("user-{}-{count}", self.number));
            count += 1;
            let intent = self.carry_out(plan).await;
            memory.add(intent);
            sleep(Duration::from_millis(self.rng.u64(REST))).await;
        }
    }

    async fn carry_out(&mut self, plan: Plan) -> Intent {
        let mut intent = Intent {
            plan,
            id: None,
            told: None,
            cancelled: false,
            cancel_tried: false,
            repeated: false,
            faults: Vec::new(),
        };
        // Drawn before anything is answered, so that answers do not change what the seed deals.
        let (repeats, cancels) = (self.rng.u32(..1_000) < REPEATED, self.rng.u32(..1_000) < CANCELLED);
        // An operator's act takes a parked saga into another lane, whose epoch may be older.
        let cancels = cancels && intent.plan.mute.is_empty();
        let waits = !cancels && self.rng.u32(..1_000) < WAITED;
        let pause = Duration::from_millis(self.rng.u64(0..400));
        let node = self.rng.usize(..3);
        self.start(&mut intent, node, waits).await;
        if cancels && intent.id.is_some() {
            sleep(pause).await;
            self.cancel(&mut intent).await;
        }
        if repeats {
            intent.repeated = true;
            self.start(&mut intent, node + 1, false).await;
        }
        intent
    }

    /// Asks with the same key until somebody accepts.
    async fn start(&mut self, intent: &mut Intent, mut node: usize, waits: bool) {
        let path = format!("/v1/sagas/{}", intent.plan.definition.name);
        let body = json!({ "input": intent.plan.input() });
        let key = intent.plan.key.clone();
        let mut headers = vec![("idempotency-key", key.as_str())];
        if waits {
            headers.push(("prefer", "wait=4"));
        }
        while Instant::now() < self.times.ask_until {
            match self.api.post(node, &path, &headers, &body).await {
                Ok(reply) if reply.status == 200 || reply.status == 202 => return accepted(intent, &reply),
                Ok(reply) if matches!(reply.status, 429 | 500 | 502..=504) => {
                    // 500 is a fault of its own, unless the database is what is at fault; the log tells.
                    if reply.status == 500 {
                        intent.faults.push(format!("a start was answered 500: {}", reply.body));
                    }
                }
                Ok(reply) => {
                    intent.faults.push(format!("a start was answered {}: {}", reply.status, reply.body));
                    return;
                }
                Err(_) => {}
            }
            node += 1;
            sleep(Duration::from_millis(self.rng.u64(AGAIN))).await;
        }
    }

    async fn cancel(&mut self, intent: &mut Intent) {
        let path = format!("/v1/sagas/{}/cancel", intent.id.as_deref().unwrap_or_default());
        let body = json!({ "reason": "the user has changed their mind" });
        intent.cancel_tried = true;
        for _ in 0..CANCEL_TRIES {
            let node = self.rng.usize(..3);
            match self.api.post(node, &path, &[], &body).await {
                Ok(reply) if reply.status < 300 => {
                    intent.cancelled = true;
                    return;
                }
                // Too late: it has settled, or its commit point has passed.
                Ok(reply) if reply.status == 409 => return,
                Ok(reply) if matches!(reply.status, 429 | 502..=504) => {}
                Ok(reply) => {
                    return intent.faults.push(format!("a cancel was answered {}: {}", reply.status, reply.body));
                }
                Err(_) => {}
            }
            sleep(Duration::from_millis(self.rng.u64(AGAIN))).await;
        }
    }
}

/// Keeps what an accepting answer says, and notices where it contradicts an earlier one.
fn accepted(intent: &mut Intent, reply: &Reply) {
    let (id, status) = (reply.body["saga_id"].as_str(), reply.body["status"].as_str());
    let (Some(id), Some(status)) = (id, status) else {
        return intent.faults.push(format!("an answer to a start lacks id or status: {}", reply.body));
    };
    match &intent.id {
        Some(known) if known != id => intent.faults.push(format!("one key, two sagas: {known} and {id}")),
        _ => intent.id = Some(id.to_owned()),
    }
    if matches!(status, "completed" | "compensated") {
        match &intent.told {
            Some(told) if told != status => intent.faults.push(format!("told {told}, then {status}")),
            _ => intent.told = Some(status.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intent() -> Intent {
        Intent {
            plan: Plan::draw(&mut Rng::with_seed(1), "k".to_owned()),
            id: None,
            told: None,
            cancelled: false,
            cancel_tried: false,
            repeated: false,
            faults: Vec::new(),
        }
    }

    fn reply(id: &str, status: &str) -> Reply {
        Reply { status: 200, body: json!({ "saga_id": id, "status": status }), ..Reply::default() }
    }

    #[test]
    fn a_key_with_two_sagas_and_an_end_that_changes_are_noticed() {
        let mut intent = intent();
        accepted(&mut intent, &reply("a", "running"));
        accepted(&mut intent, &reply("a", "completed"));
        assert_eq!((intent.id.as_deref(), intent.told.as_deref()), (Some("a"), Some("completed")));
        assert!(intent.faults.is_empty());
        accepted(&mut intent, &reply("b", "completed"));
        accepted(&mut intent, &reply("a", "compensated"));
        accepted(&mut intent, &Reply { status: 200, ..Reply::default() });
        assert_eq!(intent.faults.len(), 3, "{:?}", intent.faults);
    }
}
