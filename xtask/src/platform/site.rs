//! What the platform is made of and where: its processes, their ports in one block, their databases. Configurations stand in
//! `deploy/platform`; here is what differs from replica to replica, which they are told by their environment.

use std::path::{Path, PathBuf};

use crate::services::Service;
use crate::services::etcd::Etcd;
use crate::services::kafka::{Behind, Kafka};
#[cfg(feature = "torture")]
use crate::services::postgres::Pair;
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;

/// Of the block of `platform up`; goodgo/production.toml tells clients the same.
pub(crate) const FIRST_PORT: u16 = 18_400;
/// Ports of a block, half of them for [`Way`]s. The Redis Cluster takes as many of the block that begins 10,000 above.
#[cfg(feature = "torture")]
pub(crate) const PORTS: u16 = 200;

/// Services and orchestrators: who stands behind the front door, and how many of each.
pub(super) const BEHIND: [(&str, u16); 4] = [("order", 3), ("payment", 3), ("inventory", 3), ("orchestrator", 2)];
const RELAYS: u16 = 2;
const PROJECTORS: u16 = 2;
const REDIS_NODES: u16 = 6;
/// Who takes the ways to the brokers.
const KAFKA_CLIENTS: &str = "clients";

/// A database, the role that owns it, and what `steadfast migrate` makes in it.
pub(super) struct Database {
    /// As configurations name it; its name in the server begins with `goodgo_`.
    pub(super) name: &'static str,
    #[cfg_attr(not(feature = "torture"), expect(dead_code, reason = "read by who makes it"))]
    pub(super) role: &'static str,
    pub(super) tables: &'static [&'static str],
}

/// Every database. Of the services' own tables the services take care, of the read model's the projectors.
pub(super) const DATABASES: [Database; 5] = [
    Database { name: "order", role: "order", tables: &["outbox", "barrier", "idempotency"] },
    Database { name: "payment", role: "payment", tables: &["outbox", "barrier", "idempotency"] },
    Database { name: "inventory", role: "inventory", tables: &["outbox", "barrier", "idempotency"] },
    Database { name: "orchestrator", role: "orchestrator", tables: &["orchestrator", "outbox"] },
    Database { name: "read_model", role: "order", tables: &["projection"] },
];

/// Those with an outbox.
pub(super) fn published() -> impl Iterator<Item = &'static Database> {
    DATABASES.iter().filter(|database| database.tables.contains(&"outbox"))
}

/// What the processes of the platform run.
pub(super) const PROGRAMS: [&str; 5] = ["goodgo-order", "goodgo-payment", "goodgo-inventory", "steadfast", "haproxy"];

/// One process.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) program: &'static str,
    #[cfg_attr(not(any(test, feature = "torture")), expect(dead_code, reason = "read by who starts it"))]
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// Where it listens; of the front door one for each of [`BEHIND`].
    pub(crate) ports: Vec<u16>,
}

impl Part {
    /// Whether `/readyz` tells how it is; a front door only passes on.
    pub(crate) fn is_asked(&self) -> bool {
        self.program != "haproxy"
    }
}

/// A way from one of the platform to another: who takes it, whom it leads to, and the port on which something stands between.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) from: String,
    #[cfg_attr(not(any(test, feature = "torture")), expect(dead_code, reason = "read by who names it"))]
    pub(crate) to: String,
    pub(crate) port: u16,
    /// The port of whom it leads to.
    pub(crate) upstream: u16,
}

impl Way {
    #[cfg(feature = "torture")]
    pub(crate) fn name(&self) -> String {
        format!("{} to {}", self.from, self.to)
    }
}

/// A platform: where it lives, and the first port of its block.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    /// The configurations: `deploy/platform`.
    deploy: PathBuf,
    first: u16,
    brokers: u16,
    has_ways: bool,
    /// In place of one PostgreSQL; [`Site::postgres`] then leads to whichever is the primary.
    #[cfg(feature = "torture")]
    pair: Option<Pair>,
    /// What is preloaded into processes so that each reads its own clock from a file.
    clocks: Option<PathBuf>,
}

impl Site {
    pub(crate) fn new(root: &Path, folder: PathBuf, first: u16) -> Self {
        Self {
            folder,
            deploy: root.join("deploy/platform"),
            first,
            brokers: 1,
            has_ways: false,
            #[cfg(feature = "torture")]
            pair: None,
            clocks: None,
        }
    }

    /// With a primary and a standby: somebody must stand on [`Site::postgres`] and lead to the primary.
    #[cfg(feature = "torture")]
    pub(crate) fn with_standby(self, is_synchronous: bool) -> Self {
        let pair = Pair { ports: [self.first + 84, self.first + 85], is_synchronous };
        Self { pair: Some(pair), ..self }
    }

    /// With a clock of its own for each process but the front door: what [`Site::clock`] says, read by this library.
    #[cfg(feature = "torture")]
    pub(crate) fn with_clocks(self, library: PathBuf) -> Self {
        Self { clocks: Some(library), ..self }
    }

    /// How far the clock of a process is off.
    pub(crate) fn clock(&self, process: &str) -> PathBuf {
        self.folder.join(format!("{process}.clock"))
    }

    /// With three brokers, and so that everybody reaches everybody by [`Site::ways`]: somebody must stand on each.
    #[cfg(any(test, feature = "torture"))]
    pub(crate) fn behind_ways(self) -> Self {
        Self { brokers: 3, has_ways: true, ..self }
    }

    /// All ways. To Redis and Kafka one leads to each member, whoever takes it, since members tell all clients alike where
    /// they are; to everybody else one from each process.
    pub(crate) fn ways(&self) -> Vec<Way> {
        if !self.has_ways {
            return Vec::new();
        }
        let mut pairs: Vec<(String, String, u16)> = Vec::new();
        for node in 0..REDIS_NODES {
            pairs.push(("order".to_owned(), replica("redis", node + 1), self.redis_port() + node));
        }
        for broker in 0..self.brokers {
            pairs.push((KAFKA_CLIENTS.to_owned(), replica("kafka", broker + 1), self.kafka_port() + 2 * broker));
        }
        for (name, replicas) in BEHIND {
            for number in 1..=replicas {
                pairs.push(("front".to_owned(), replica(name, number), self.port_of(name, number)));
                pairs.push((replica(name, number), "postgres".to_owned(), self.postgres()));
            }
        }
        for (name, members) in [("relay", RELAYS), ("projector", PROJECTORS)] {
            for number in 1..=members {
                pairs.push((replica(name, number), "postgres".to_owned(), self.postgres()));
            }
        }
        for orchestrator in 1..=2 {
            for member in 0..3 {
                let (from, to) = (replica("orchestrator", orchestrator), replica("etcd", member + 1));
                pairs.push((from, to, self.etcd().client_port + member));
            }
        }
        let way = |(port, (from, to, upstream))| Way { from, to, port, upstream };
        (self.first + 100..).zip(pairs).map(way).collect()
    }

    /// Where `from` reaches whoever listens on `port`.
    fn reach(&self, from: &str, port: u16) -> u16 {
        let way = self.ways().into_iter().find(|way| way.upstream == port && way.from == from);
        way.map_or(port, |way| way.port)
    }

    /// The port of the front door for one of [`BEHIND`].
    pub(crate) fn front(&self, name: &str) -> u16 {
        let index = (0..).zip(BEHIND).find(|(_, (known, _))| *known == name).map_or(0, |(index, _)| index);
        self.first + index
    }

    /// The port of a replica, counted from 1.
    fn port_of(&self, name: &str, number: u16) -> u16 {
        let names = ["order", "payment", "inventory", "orchestrator", "relay", "projector"];
        let index = (1..).zip(names).find(|(_, known)| *known == name).map_or(0, |(index, _)| index);
        self.first + 10 * index + number
    }

    pub(crate) fn postgres(&self) -> u16 {
        self.first + 70
    }

    pub(crate) fn etcd(&self) -> Etcd {
        Etcd { client_port: self.first + 71, peer_port: self.first + 74 }
    }

    pub(crate) fn kafka(&self) -> Kafka {
        let port = self.kafka_port();
        let behind =
            self.has_ways.then(|| Behind { clients: self.reach(KAFKA_CLIENTS, port), brokers: self.first + 190 });
        Kafka { brokers: Some(self.brokers), port, behind }
    }

    fn kafka_port(&self) -> u16 {
        self.first + 77
    }

    pub(crate) fn redis(&self) -> Redis {
        let cluster_port = self.redis_port();
        let announced = self.has_ways.then(|| self.reach("order", cluster_port));
        Redis { cluster_port, single_port: self.first + 83, announced }
    }

    fn redis_port(&self) -> u16 {
        self.first + 90
    }

    /// The servers that it stands on, in the order in which they start: its own, so that nothing of it is left by `down` and
    /// nobody else's tests meet it.
    pub(crate) fn servers(&self) -> [Box<dyn Service>; 4] {
        [self.database_server(), Box::new(self.etcd()), Box::new(self.redis()), Box::new(self.kafka())]
    }

    fn database_server(&self) -> Box<dyn Service> {
        #[cfg(feature = "torture")]
        if let Some(pair) = self.pair {
            return Box::new(pair);
        }
        Box::new(Postgres { port: self.postgres() })
    }

    #[cfg(feature = "torture")]
    pub(crate) fn pair(&self) -> Option<Pair> {
        self.pair
    }

    /// The URL of a database as a role.
    #[cfg(any(test, feature = "torture"))]
    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        url(self.postgres(), role, database)
    }

    /// The same for one of the processes.
    fn url_for(&self, process: &str, role: &str, database: &str) -> String {
        url(self.reach(process, self.postgres()), role, database)
    }

    /// Every broker, as clients reach it.
    fn broker_list(&self) -> String {
        let reached = (0..self.brokers).map(|broker| self.reach(KAFKA_CLIENTS, self.kafka_port() + 2 * broker));
        reached.map(address).collect::<Vec<_>>().join(",")
    }

    /// Every process, in the order in which they start.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for number in 1..=3 {
            parts.push(self.order(number));
            parts.push(self.service("payment", number, "goodgo-payment"));
            parts.push(self.service("inventory", number, "goodgo-inventory"));
        }
        parts.extend((1..=2).map(|number| self.orchestrator(number)));
        parts.extend((1..=RELAYS).map(|number| self.relay(number)));
        parts.extend((1..=PROJECTORS).map(|number| self.projector(number)));
        parts.push(self.front_door());
        parts
    }

    /// With what all processes but the front door are told.
    fn part(
        &self,
        name: &str,
        number: u16,
        program: &'static str,
        command: &[&str],
        mut environment: Vec<(String, String)>,
    ) -> Part {
        let port = self.port_of(name, number);
        let prefix = if program == "steadfast" { "STEADFAST" } else { "GOODGO" };
        environment.push((format!("{prefix}_LISTEN"), address(port)));
        if program == "steadfast" {
            environment.push(("STEADFAST_NODE".to_owned(), format!("{name}-{number}")));
            environment.push(("STEADFAST_LOG".to_owned(), "info".to_owned()));
            environment.push(("STEADFAST_LOG_JSON".to_owned(), "true".to_owned()));
        }
        environment.push(("RUST_BACKTRACE".to_owned(), "1".to_owned()));
        environment.extend(self.of_clock(&replica(name, number)));
        let config = self.deploy.join(format!("{name}.toml")).display().to_string();
        let arguments = command.iter().map(|word| (*word).to_owned()).chain(["--config".to_owned(), config]).collect();
        Part { name: replica(name, number), program, arguments, environment, ports: vec![port] }
    }

    fn of_clock(&self, process: &str) -> Vec<(String, String)> {
        let Some(library) = &self.clocks else { return Vec::new() };
        let words = [
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.clock(process).display().to_string()),
            ("FAKETIME_CACHE_DURATION", "1".to_owned()),
            // As in life: a step of the clock is none of the time that passes.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        words.map(|(name, value)| (name.to_owned(), value)).to_vec()
    }

    fn service(&self, name: &str, number: u16, program: &'static str) -> Part {
        let database = self.url_for(&replica(name, number), &role(name), name);
        self.part(name, number, program, &["serve"], vec![("GOODGO_DATABASE__URL".to_owned(), database)])
    }

    fn order(&self, number: u16) -> Part {
        let redis = self.redis_port();
        let nodes = [redis, redis + 1, redis + 2];
        let nodes = nodes.map(|port| format!("redis://{}", address(self.reach("order", port))));
        let mut order = self.service("order", number, "goodgo-order");
        let read_model = self.url_for(&order.name, &role("order"), "read_model");
        order.environment.extend(
            [
                ("GOODGO_READ_MODEL__URL", read_model),
                ("GOODGO_ORCHESTRATOR", format!("http://{}", address(self.front("orchestrator")))),
                ("GOODGO_KEYS", nodes.join(",")),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        order
    }

    fn orchestrator(&self, number: u16) -> Part {
        let name = replica("orchestrator", number);
        let etcd = self.etcd().client_port;
        let endpoints = [etcd, etcd + 1, etcd + 2].map(|port| format!("http://{}", address(self.reach(&name, port))));
        let mut environment = vec![
            ("STEADFAST_DATABASE__URL".to_owned(), self.url_for(&name, &role("orchestrator"), "orchestrator")),
            ("STEADFAST_ETCD__ENDPOINTS".to_owned(), endpoints.join(",")),
        ];
        for name in ["order", "payment", "inventory"] {
            let variable = format!("STEADFAST_PARTICIPANTS__{}__BASE_URLS", name.to_uppercase());
            environment.push((variable, format!("http://{}", address(self.front(name)))));
        }
        self.part("orchestrator", number, "steadfast", &["orchestrator"], environment)
    }

    fn relay(&self, number: u16) -> Part {
        let name = replica("relay", number);
        let mut environment = vec![
            ("STEADFAST_KAFKA__BROKERS".to_owned(), self.broker_list()),
            ("STEADFAST_TOPICS__REPLICATION".to_owned(), self.brokers.to_string()),
        ];
        for Database { name: database, .. } in published() {
            let variable = format!("STEADFAST_DATABASES__{}__URL", database.to_uppercase());
            environment.push((variable, self.url_for(&name, &role("relay"), database)));
        }
        self.part("relay", number, "steadfast", &["outbox", "relay"], environment)
    }

    fn projector(&self, number: u16) -> Part {
        let database = self.url_for(&replica("projector", number), &role("order"), "read_model");
        let environment = vec![
            ("GOODGO_DATABASE__URL".to_owned(), database),
            ("GOODGO_KAFKA__BROKERS".to_owned(), self.broker_list()),
        ];
        self.part("projector", number, "goodgo-order", &["project"], environment)
    }

    fn front_door(&self) -> Part {
        let mut environment = Vec::new();
        for (name, replicas) in BEHIND {
            let variable = name.to_uppercase();
            environment.push((variable.clone(), address(self.front(name))));
            for number in 1..=replicas {
                let port = self.reach("front", self.port_of(name, number));
                environment.push((format!("{variable}_{number}"), address(port)));
            }
        }
        let config = self.deploy.join("haproxy.cfg").display().to_string();
        Part {
            name: "front".to_owned(),
            program: "haproxy",
            // In the foreground: with a master it would stay behind a kill.
            arguments: vec!["-db".to_owned(), "-f".to_owned(), config],
            environment,
            ports: BEHIND.map(|(name, _)| self.front(name)).to_vec(),
        }
    }
}

/// The role of PostgreSQL that a process logs in as.
pub(crate) fn role(name: &str) -> String {
    format!("goodgo_{name}")
}

/// The name of one of several alike.
fn replica(name: &str, number: u16) -> String {
    format!("{name}-{number}")
}

fn url(port: u16, role: &str, database: &str) -> String {
    format!("postgres://{role}@{}/goodgo_{database}?sslmode=disable", address(port))
}

pub(crate) fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PRODUCTION: &str = include_str!("../../../goodgo/production.toml");

    fn site() -> Site {
        Site::new(Path::new("/w"), PathBuf::from("/w/target/platform"), FIRST_PORT)
    }

    #[test]
    fn clients_are_told_where_everybody_is() {
        let site = site();
        let parts = site.parts();
        for port in parts.iter().flat_map(|part| &part.ports) {
            assert!(PRODUCTION.contains(&address(*port)), "{port} is not in goodgo/production.toml");
        }
        for Database { name, .. } in &DATABASES {
            assert!(PRODUCTION.contains(&site.url("postgres", name)), "{name} is not in goodgo/production.toml");
        }
        let redis = site.redis().cluster_port;
        assert!(
            PRODUCTION.contains(&site.broker_list()) && PRODUCTION.contains(&format!("redis://{}", address(redis)))
        );
    }

    #[test]
    fn each_process_has_a_port_of_its_own_in_the_block() {
        let (site, mut seen) = (site(), BTreeSet::new());
        for port in site.parts().iter().flat_map(|part| part.ports.clone()) {
            assert!((FIRST_PORT..FIRST_PORT + 70).contains(&port) && seen.insert(port), "{port}");
        }
        assert_eq!(site.parts().len(), 9 + 2 + 2 + 2 + 1);
    }

    #[test]
    fn somebody_can_stand_between_any_two() {
        let (usual, spoilt) = (site(), site().behind_ways());
        assert!(usual.ways().is_empty());
        let ways = spoilt.ways();
        // To Redis and Kafka, to the replicas, to PostgreSQL, to etcd.
        assert_eq!(ways.len(), 6 + 3 + 11 + 15 + 6);
        let own: BTreeSet<u16> = usual.parts().iter().flat_map(|part| part.ports.clone()).collect();
        let mut seen = BTreeSet::new();
        for way in &ways {
            assert!((FIRST_PORT + 100..FIRST_PORT + 190).contains(&way.port) && seen.insert(way.port), "{way:?}");
        }
        // Nobody is told of anybody but by a way or the front door, and every way is told to somebody.
        let told = format!("{:?}", spoilt.parts().iter().map(|part| &part.environment).collect::<Vec<_>>());
        for way in ways.iter().filter(|way| !["redis-4", "redis-5", "redis-6"].contains(&way.to.as_str())) {
            assert!(told.contains(&address(way.port)), "nobody is told of {way:?}");
            assert!(own.contains(&way.upstream) || !told.contains(&address(way.upstream)), "{way:?} is gone round");
        }
    }

    #[test]
    fn no_process_is_told_a_secret_by_its_environment() {
        for part in site().parts() {
            assert!(!part.environment.iter().any(|(_, value)| value.contains(":secret") || value.len() > 200));
            assert!(part.arguments.iter().any(|argument| argument.starts_with("/w/deploy/platform/")));
        }
    }
}
