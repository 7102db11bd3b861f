//! The real engine, several at a time, over a journal and a network that fail as a seed says: nodes are killed, stopped and
//! woken, drained and replaced, the journal is away or loses acknowledgements, requests and replies are lost. Then all is
//! healed, and every saga must be at rest with its effects as it ended.
//!
//! Time is real and so is the order in which tasks run: a seed decides what goes wrong, not each interleaving. More seeds
//! by `SIMULATION_SEEDS`, another first one by `SIMULATION_FIRST`. With `SIMULATION_UNFENCED` the journal lets former owners
//! write, and it must fail.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use steadfast_core::sealing::Keyring;
use steadfast_core::{Principal, SagaId};
use steadfast_saga::engine::{AsAtStart, Config, Engine, Operation, Ports, StartRequest};
use steadfast_saga::journal::{Filter, Journal, Memory, Row};
use steadfast_saga::machine::Status;
use steadfast_testkit::SystemClock;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fake::{Fake, Rates};
use crate::faulty::Faulty;

const SEEDS: u64 = 200;

/// So many worlds run at once: they mostly wait.
const AT_ONCE: usize = 24;

const LEASE: Duration = Duration::from_millis(240);

/// Within this after the heal all must be at rest: two leases, the longest pause of a participant, and a busy machine.
const REST: Duration = Duration::from_secs(30);

const PARTICIPANTS: [&str; 6] = ["a", "b", "c", "decide", "end", "ends"];

/// What a definition's steps are called, and what it looks like.
const SHAPES: [(&str, &[&str], &str); 3] = [
    (
        "line",
        &["a", "b", "c", "end"],
        r"
saga: line
version: 1
timeout: 60s
steps:
  a: { participant: a, action: { post: /a }, compensate: { post: /a/undo, retry: R }, timeout: 300ms, retry: R, output: { id: body.id } }
  b: { participant: b, after: [a], action: { post: /b }, compensate: { post: /b/undo, retry: R }, timeout: 300ms, retry: R }
  c: { participant: c, after: [b], action: { post: /c }, compensate: { post: /c/undo, retry: R }, timeout: 300ms, retry: R }
  end: { participant: end, kind: retriable, after: [c], action: { post: /end }, timeout: 300ms, retry: R }
",
    ),
    (
        "pivot",
        &["a", "b", "c", "decide", "end", "ends"],
        r"
saga: pivot
version: 1
timeout: 60s
steps:
  a: { participant: a, action: { post: /a }, compensate: { post: /a/undo, retry: R }, timeout: 300ms, retry: R }
  b: { participant: b, after: [a], action: { post: /b }, compensate: { post: /b/undo, retry: R }, timeout: 300ms, retry: R }
  c: { participant: c, after: [a], action: { post: /c }, compensate: { post: /c/undo, retry: R }, timeout: 300ms, retry: R }
  decide: { participant: decide, kind: pivot, after: [b, c], action: { post: /decide }, timeout: 300ms, retry: R }
  end: { participant: end, kind: retriable, after: [decide], action: { post: /end }, timeout: 300ms, retry: R }
  ends: { participant: ends, kind: retriable, after: [decide], action: { post: /ends }, timeout: 300ms, retry: R }
",
    ),
    (
        "strict",
        &["a", "b", "c"],
        r"
saga: strict
version: 1
timeout: 60s
pipelining: false
steps:
  a: { participant: a, action: { post: /a }, compensate: { post: /a/undo, retry: R }, timeout: 300ms, retry: R }
  b: { participant: b, action: { post: /b }, compensate: { post: /b/undo, retry: R }, timeout: 300ms, retry: R }
  c: { participant: c, after: [a, b], action: { post: /c }, compensate: { post: /c/undo, retry: R }, timeout: 300ms, retry: R }
",
    ),
];

fn definition(text: &str) -> String {
    text.replace(": R", ": { attempts: 20, base: 2ms, cap: 20ms }")
}

#[derive(Debug, Default)]
struct Tally {
    counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn add(&mut self, what: &'static str, count: u64) {
        *self.counts.entry(what).or_default() += count;
    }
}

struct Node {
    engine: Engine,
    journal: Arc<Faulty>,
}

/// One seed's world.
struct World {
    seed: u64,
    random: fastrand::Rng,
    fake: Arc<Fake>,
    memory: Arc<Memory>,
    nodes: Vec<Node>,
    started: HashMap<SagaId, usize>,
    starts: JoinSet<Option<SagaId>>,
    healing: JoinSet<()>,
    rates: Rates,
    tally: Tally,
}

impl World {
    async fn new(seed: u64, fake: Arc<Fake>) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let rates = Rates {
            lost: random.u32(..80),
            unheard: random.u32(..80),
            refused: random.u32(..150),
            delay: random.u64(..12),
        };
        let (memory, tally) = (Arc::new(Memory::new()), Tally::default());
        let (nodes, started) = (Vec::new(), HashMap::new());
        let (starts, healing) = (JoinSet::new(), JoinSet::new());
        let mut world = Self { seed, random, fake, memory, nodes, started, starts, healing, rates, tally };
        for _ in 0..world.random.usize(2..=3) {
            let node = world.open().await;
            world.nodes.push(node);
        }
        for (_, _, text) in SHAPES {
            while world.nodes[0].engine.upload(&definition(text), BTreeMap::new(), "test").await.is_err() {}
        }
        world
    }

    async fn open(&mut self) -> Node {
        let journal = Faulty::new(Arc::clone(&self.memory) as _, self.random.u64(..));
        let in_flight = if self.random.bool() { 3 } else { 1_000 };
        let config = Config { lease: LEASE, renew: LEASE / 6, tick: LEASE / 16, in_flight, ..Config::default() };
        let ports = Ports {
            journal: Arc::clone(&journal) as _,
            participants: self.fake.participants(&PARTICIPANTS),
            permissions: Arc::new(AsAtStart),
            clock: Arc::new(SystemClock),
            keyring: Arc::new(Keyring::new("test", [9; 32])),
            election: None,
        };
        let engine = Engine::open(config, ports).await.unwrap();
        if std::env::var_os("SIMULATION_UNFENCED").is_some() {
            journal.set_unfenced();
        }
        if self.random.bool() {
            journal.set_rates(self.random.u32(..60), self.random.u32(..60));
        }
        Node { engine, journal }
    }

    fn start(&mut self, number: usize) {
        let shape = self.random.usize(..SHAPES.len());
        let key = format!("{}-{number}", self.seed);
        let id = SagaId::derive("till-7", SHAPES[shape].0, &key);
        self.fake.expect(id, self.seed.wrapping_add(number as u64), self.rates);
        self.started.insert(id, shape);
        // Now and then at two nodes at once.
        let nodes = if self.random.u32(..6) == 0 { 2 } else { 1 };
        for _ in 0..nodes {
            let engine = self.nodes[self.random.usize(..self.nodes.len())].engine.clone();
            let request = StartRequest {
                definition: SHAPES[shape].0.to_owned(),
                version: None,
                principal: Principal::new("till-7", Vec::<String>::new()),
                key: Some(key.clone()),
                input: json!({"no": number}),
                traceparent: None,
            };
            self.starts.spawn(async move {
                let answer = tokio::time::timeout(Duration::from_secs(2), engine.start(request)).await;
                answer.ok()?.ok().map(|accepted| accepted.id)
            });
        }
    }

    fn pick(&mut self) -> usize {
        self.random.usize(..self.nodes.len())
    }

    async fn one_act(&mut self, number: usize) {
        match self.random.u32(..100) {
            0..60 => self.start(number),
            60..68 => {
                let at = self.pick();
                self.nodes[at].engine.abort();
                self.nodes[at].journal.set_stopped(false);
                self.nodes[at] = self.open().await;
                self.tally.add("killed", 1);
            }
            68..76 => {
                let at = self.pick();
                let journal = Arc::clone(&self.nodes[at].journal);
                let pause = LEASE.mul_f64(self.random.f64() * 2.5);
                journal.set_stopped(true);
                self.healing.spawn(async move {
                    tokio::time::sleep(pause).await;
                    journal.set_stopped(false);
                });
                self.tally.add("stopped", 1);
            }
            76..83 => {
                let at = self.pick();
                let journal = Arc::clone(&self.nodes[at].journal);
                let pause = LEASE.mul_f64(self.random.f64() * 1.5);
                journal.set_away(true);
                self.healing.spawn(async move {
                    tokio::time::sleep(pause).await;
                    journal.set_away(false);
                });
                self.tally.add("journal away", 1);
            }
            83..88 => {
                let at = self.pick();
                let engine = self.nodes[at].engine.clone();
                // Beside the new one, as in a rolling update.
                self.healing.spawn(async move { engine.drain().await });
                self.nodes[at] = self.open().await;
                self.tally.add("drained", 1);
            }
            _ => self.operate(),
        }
    }

    fn operate(&mut self) {
        let ids: Vec<_> = self.started.keys().copied().collect();
        if ids.is_empty() {
            return;
        }
        let id = ids[self.random.usize(..ids.len())];
        let at = self.pick();
        let engine = self.nodes[at].engine.clone();
        let operation = match self.random.u32(..3) {
            0 => Operation::Cancel,
            1 => Operation::Hold,
            _ => Operation::Retry,
        };
        self.healing.spawn(async move {
            // Refused or unanswered: all the same.
            drop(tokio::time::timeout(Duration::from_secs(1), engine.operate(id, operation, "ann", "a test")).await);
        });
        self.tally.add("operator's acts", 1);
    }

    async fn run(mut self) -> Tally {
        for number in 0..self.random.usize(10..30) {
            self.one_act(number).await;
            tokio::time::sleep(Duration::from_micros(self.random.u64(..8_000))).await;
        }
        while self.healing.join_next().await.is_some() {}
        let mut accepted = Vec::new();
        while let Some(answer) = self.starts.join_next().await {
            accepted.extend(answer.unwrap());
        }
        for id in self.started.keys() {
            self.fake.heal(*id);
        }
        for node in &self.nodes {
            node.journal.set_rates(0, 0);
        }
        let rows = self.rest().await;
        for id in &accepted {
            assert!(rows.iter().any(|row| row.id == *id), "seed {}: the accepted saga {id} is lost", self.seed);
        }
        self.tally.add("sagas", rows.len() as u64);
        for row in &rows {
            self.check(row).await;
        }
        for node in &self.nodes {
            node.engine.drain().await;
            assert_eq!(node.engine.in_flight(), 0, "seed {}: something is left in memory", self.seed);
        }
        self.tally
    }

    /// Until every saga is settled; what is held is released.
    async fn rest(&self) -> Vec<Row> {
        let (all, healed) = (Filter { limit: 1_000, ..Filter::default() }, Instant::now());
        loop {
            let rows = self.memory.list(&all).await.unwrap();
            let open: Vec<_> = rows.iter().filter(|row| !row.head.status.is_settled()).collect();
            if open.is_empty() {
                return rows;
            }
            for row in open.iter().filter(|row| row.head.held) {
                let engine = &self.nodes[0].engine;
                drop(engine.operate(row.id, Operation::Release, "ann", "it was held").await);
            }
            let seed = self.seed;
            if healed.elapsed() > REST {
                let rows: Vec<_> = open.into_iter().cloned().collect();
                let histories = self.memory.histories(&rows).await.unwrap();
                let nodes: Vec<_> = self.nodes.iter().map(|node| node.engine.lanes()).collect();
                let ready: Vec<_> =
                    self.nodes.iter().map(|node| (node.engine.ready(), node.engine.in_flight())).collect();
                panic!("seed {seed}: after {REST:?} these are open:\n{rows:#?}\n{histories:#?}\n{nodes:?}\n{ready:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn check(&mut self, row: &Row) {
        let seed = self.seed;
        let shape = self.started[&row.id];
        let effects: Vec<_> = SHAPES[shape].1.iter().map(|step| self.fake.effects(row.id, step)).collect();
        let right = match row.head.status {
            Status::Completed => effects.iter().all(|effect| *effect == (1, 0)),
            Status::Compensated => effects.iter().all(|(done, undone)| *done <= 1 && done == undone),
            _ => false,
        };
        let history = self.memory.histories(std::slice::from_ref(row)).await.unwrap().remove(0).unwrap();
        assert!(right, "seed {seed}: {:?} with {effects:?}\n{:#?}", row.head.status, history.commits);
        let epochs: Vec<_> = history.commits.iter().map(|commit| commit.epoch).collect();
        let whole = (1..).zip(&history.commits).all(|(seq, commit)| commit.seq == seq);
        assert!(whole, "seed {seed}: a gap in the journal of {}", row.id);
        let stale = stale(&history.commits.iter().map(|it| (it.epoch, it.at)).collect::<Vec<_>>());
        assert!(!stale, "seed {seed}: an epoch comes back: {epochs:?}");
        let events = self.memory.events();
        let of_it = events.iter().filter(|event| event.aggregate_id == row.id.to_string());
        let ends: Vec<_> = of_it.map(|event| event.event_type.clone()).collect();
        assert_eq!(ends, [format!("saga.{}.v1", row.head.status.as_str())], "seed {seed}");
        assert_eq!(self.memory.count_unarmed().await.unwrap(), 0, "seed {seed}");
        self.tally.add(row.head.status.as_str(), 1);
        self.tally.add("taken up elsewhere", u64::from(epochs.first() != epochs.last()));
    }
}

/// Whether an owner writes again after another has.
fn stale<T>(owners: &[(i64, T)]) -> bool {
    let mut owners: Vec<_> = owners.iter().map(|(epoch, _)| *epoch).collect();
    owners.dedup();
    let count = owners.len();
    owners.sort_unstable();
    owners.dedup();
    owners.len() != count
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_every_saga_comes_to_rest_as_its_effects_say() {
    let first = number("SIMULATION_FIRST", 1);
    let mut seeds = first..first + number("SIMULATION_SEEDS", SEEDS);
    let (fake, begun, mut tally) = (Fake::open().await, Instant::now(), Tally::default());
    let mut worlds = JoinSet::new();
    let mut run = |worlds: &mut JoinSet<Tally>| {
        if let Some(seed) = seeds.next() {
            let fake = Arc::clone(&fake);
            worlds.spawn(async move { World::new(seed, fake).await.run().await });
        }
    };
    for _ in 0..AT_ONCE {
        run(&mut worlds);
    }
    while let Some(world) = worlds.join_next().await {
        // A panic names its seed.
        for (what, count) in world.unwrap().counts {
            tally.add(what, count);
        }
        run(&mut worlds);
    }
    println!("{:?}: {:?}", begun.elapsed(), tally.counts);
    let seen = ["completed", "compensated", "killed", "stopped", "drained", "journal away", "taken up elsewhere"];
    for what in seen {
        assert!(tally.counts.contains_key(what), "no seed has seen this: {what}");
    }
}

#[test]
fn an_epoch_that_comes_back_is_noticed() {
    let owners = |epochs: &[i64]| epochs.iter().map(|epoch| (*epoch, ())).collect::<Vec<_>>();
    assert!(!stale(&owners(&[1, 1, 3, 3, 2])), "the clock of one node may be behind");
    assert!(stale(&owners(&[1, 3, 1])));
}
