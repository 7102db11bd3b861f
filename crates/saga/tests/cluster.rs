//! Several engines over one journal, each with connections of its own, and a shop.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use steadfast_core::sealing::Keyring;
use steadfast_core::{Op, SagaId};
use steadfast_saga::engine::{Accepted, AsAtStart, Config, Election, Engine, Ports};
use steadfast_saga::journal::{History, Journal, Memory};
use steadfast_saga::machine::Status;
use steadfast_testkit::{SystemClock, wait_for};

use crate::faulty::Faulty;
use crate::shop::{PATIENCE, Shop};
use crate::world::{DEFINITION, STEPS, request};

/// Short, and long enough for a machine that does eight other things.
pub(crate) const LEASE: Duration = Duration::from_millis(600);

pub(crate) fn config() -> Config {
    Config { lease: LEASE, renew: LEASE / 6, tick: LEASE / 30, ..Config::default() }
}

/// Where the sagas are.
pub(crate) enum Backend {
    Memory(Arc<Memory>),
    #[cfg(feature = "postgres")]
    Postgres(Box<steadfast_testkit::TestPostgres>),
}

impl Backend {
    pub(crate) fn memory() -> Self {
        Self::Memory(Arc::new(Memory::new()))
    }

    #[cfg(feature = "postgres")]
    pub(crate) async fn postgres() -> Self {
        let db = steadfast_testkit::postgres().await;
        steadfast_db::migrate(&*db, &steadfast_saga::journal::LINE).await.unwrap();
        Self::Postgres(Box::new(db))
    }

    /// As a process of its own would have it.
    pub(crate) async fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Self::Memory(memory) => Arc::clone(memory) as _,
            #[cfg(feature = "postgres")]
            Self::Postgres(db) => {
                Arc::new(steadfast_saga::journal::Postgres::open(db.reopen().await, false).await.unwrap())
            }
        }
    }
}

/// One engine.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    pub(crate) journal: Arc<Faulty>,
}

impl Node {
    pub(crate) async fn start(&self, key: &str) -> Accepted {
        self.engine.start(request(key)).await.unwrap()
    }

    pub(crate) async fn settled(&self, id: SagaId) -> Status {
        self.engine.wait(id, PATIENCE).await.unwrap().expect("the saga is known")
    }

    pub(crate) fn lane_ids(&self) -> Vec<i64> {
        self.engine.lanes().iter().map(|lane| lane.id).collect()
    }
}

pub(crate) struct Cluster {
    pub(crate) shop: Arc<Shop>,
    pub(crate) backend: Backend,
    journal: Arc<dyn Journal>,
}

impl Cluster {
    pub(crate) async fn new(backend: Backend) -> Self {
        let journal = backend.journal().await;
        Self { shop: Shop::open().await, backend, journal }
    }

    pub(crate) async fn node(&self, config: Config) -> Node {
        self.elected(config, None).await
    }

    pub(crate) async fn elected(&self, config: Config, election: Option<Arc<dyn Election>>) -> Node {
        let journal = Faulty::new(self.backend.journal().await, 0);
        let ports = Ports {
            journal: Arc::clone(&journal) as _,
            participants: self.shop.participants(),
            permissions: Arc::new(AsAtStart),
            clock: Arc::new(SystemClock),
            keyring: Arc::new(Keyring::new("test", [9; 32])),
            election,
        };
        let engine = Engine::open(config, ports).await.unwrap();
        Node { engine, journal }
    }

    /// Two nodes of the usual configuration, with the shop's definition.
    pub(crate) async fn pair(&self) -> (Node, Node) {
        let (a, b) = (self.node(config()).await, self.node(config()).await);
        a.engine.upload(DEFINITION, BTreeMap::new(), "test").await.unwrap();
        (a, b)
    }

    /// A saga at this node whose `step` has been called and gets no answer.
    pub(crate) async fn stuck(&self, node: &Node, key: &str, step: &str) -> SagaId {
        let before = self.shop.asked(step, Op::Action);
        self.shop.fault(step, Op::Action, crate::shop::Fault::StopBefore);
        let id = node.start(key).await.id;
        wait_for("the call", PATIENCE, || async { self.shop.asked(step, Op::Action) > before }).await;
        id
    }

    /// Every effect once, or every effect taken back; the epochs of the journal never fall.
    pub(crate) async fn check(&self, id: SagaId, status: Status) {
        let ledger = self.shop.ledger(id, &STEPS).await;
        match status {
            Status::Completed => assert_eq!(ledger, [(1, 0); 4], "completed: each effect stands once"),
            Status::Compensated => {
                let taken_back = ledger.iter().all(|(done, undone)| *done <= 1 && done == undone);
                assert!(taken_back, "compensated: nothing stands: {ledger:?}");
            }
            other => panic!("the saga is {other:?}"),
        }
        let epochs: Vec<_> = self.history(id).await.commits.iter().map(|commit| commit.epoch).collect();
        assert!(epochs.is_sorted(), "no stale epoch: {epochs:?}");
        assert_eq!(self.journal.count_unarmed().await.unwrap(), 0);
    }

    pub(crate) async fn history(&self, id: SagaId) -> History {
        let row = self.journal.find(id).await.unwrap().expect("the saga is known");
        self.journal.histories(&[row]).await.unwrap().remove(0).expect("it has a history")
    }
}
