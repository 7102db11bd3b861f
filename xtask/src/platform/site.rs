//! What the platform is made of and where: its processes, their ports in one block, their databases. Configurations stand in
//! `deploy/platform`; here is what differs from replica to replica, which they are told by their environment.

use std::path::{Path, PathBuf};

use crate::services::Service;
use crate::services::etcd::Etcd;
use crate::services::kafka::Kafka;
use crate::services::postgres::Postgres;
use crate::services::redis::Redis;

/// Of the block of `platform up`; goodgo/production.toml tells clients the same.
pub(crate) const FIRST_PORT: u16 = 18_400;
/// Ports of a block. The Redis Cluster takes as many of the block that begins 10,000 above.
#[cfg(feature = "torture")]
pub(crate) const PORTS: u16 = 100;

/// Services and orchestrators: who stands behind the front door, and how many of each.
pub(super) const BEHIND: [(&str, u16); 4] = [("order", 3), ("payment", 3), ("inventory", 3), ("orchestrator", 2)];
const RELAYS: u16 = 2;
const PROJECTORS: u16 = 2;

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
    #[cfg_attr(not(any(test, feature = "torture")), expect(dead_code, reason = "read by who starts it"))]
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

/// A platform: where it lives, and the first port of its block.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) folder: PathBuf,
    /// The configurations: `deploy/platform`.
    deploy: PathBuf,
    first: u16,
}

impl Site {
    pub(crate) fn new(root: &Path, folder: PathBuf, first: u16) -> Self {
        Self { folder, deploy: root.join("deploy/platform"), first }
    }

    /// The port of the front door for one of [`BEHIND`].
    pub(crate) fn front(&self, name: &str) -> u16 {
        let index = (0..).zip(BEHIND).find(|(_, (known, _))| *known == name).map_or(0, |(index, _)| index);
        self.first + index
    }

    /// The port of a replica, counted from 1.
    fn replica(&self, name: &str, number: u16) -> u16 {
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

    pub(crate) fn kafka(&self) -> u16 {
        self.first + 77
    }

    pub(crate) fn redis(&self) -> Redis {
        Redis { cluster_port: self.first + 90, single_port: self.first + 83 }
    }

    /// The servers that it stands on, in the order in which they start: its own, so that nothing of it is left by `down` and
    /// nobody else's tests meet it.
    pub(crate) fn servers(&self) -> [Box<dyn Service>; 4] {
        [
            Box::new(Postgres { port: self.postgres() }),
            Box::new(self.etcd()),
            Box::new(self.redis()),
            Box::new(Kafka { brokers: None, port: self.kafka() }),
        ]
    }

    /// The URL of a database as a role.
    pub(crate) fn url(&self, role: &str, database: &str) -> String {
        format!("postgres://{role}@127.0.0.1:{}/goodgo_{database}?sslmode=disable", self.postgres())
    }

    fn broker(&self) -> String {
        address(self.kafka())
    }

    /// Every process, in the order in which they start.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for number in 1..=3 {
            parts.push(self.part("order", number, "goodgo-order", &["serve"], self.of_order()));
            parts.push(self.part("payment", number, "goodgo-payment", &["serve"], self.of_service("payment")));
            parts.push(self.part("inventory", number, "goodgo-inventory", &["serve"], self.of_service("inventory")));
        }
        for number in 1..=2 {
            parts.push(self.part("orchestrator", number, "steadfast", &["orchestrator"], self.of_orchestrator()));
        }
        for number in 1..=RELAYS {
            parts.push(self.part("relay", number, "steadfast", &["outbox", "relay"], self.of_relay()));
        }
        for number in 1..=PROJECTORS {
            parts.push(self.part("projector", number, "goodgo-order", &["project"], self.of_projector()));
        }
        parts.push(self.front_door());
        parts
    }

    fn part(
        &self,
        name: &str,
        number: u16,
        program: &'static str,
        command: &[&str],
        mut environment: Vec<(String, String)>,
    ) -> Part {
        let port = self.replica(name, number);
        let prefix = if program == "steadfast" { "STEADFAST" } else { "GOODGO" };
        environment.push((format!("{prefix}_LISTEN"), address(port)));
        if program == "steadfast" {
            environment.push(("STEADFAST_NODE".to_owned(), format!("{name}-{number}")));
            environment.push(("STEADFAST_LOG".to_owned(), "info".to_owned()));
            environment.push(("STEADFAST_LOG_JSON".to_owned(), "true".to_owned()));
        }
        environment.push(("RUST_BACKTRACE".to_owned(), "1".to_owned()));
        let config = self.deploy.join(format!("{name}.toml")).display().to_string();
        let arguments = command.iter().map(|word| (*word).to_owned()).chain(["--config".to_owned(), config]).collect();
        Part { name: format!("{name}-{number}"), program, arguments, environment, ports: vec![port] }
    }

    fn of_service(&self, name: &str) -> Vec<(String, String)> {
        vec![("GOODGO_DATABASE__URL".to_owned(), self.url(&role(name), name))]
    }

    fn of_order(&self) -> Vec<(String, String)> {
        let redis = self.redis().cluster_port;
        let nodes = [redis, redis + 1, redis + 2].map(|port| format!("redis://{}", address(port)));
        let mut environment = self.of_service("order");
        environment.extend(
            [
                ("GOODGO_READ_MODEL__URL", self.url(&role("order"), "read_model")),
                ("GOODGO_ORCHESTRATOR", format!("http://{}", address(self.front("orchestrator")))),
                ("GOODGO_KEYS", nodes.join(",")),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        environment
    }

    fn of_orchestrator(&self) -> Vec<(String, String)> {
        let etcd = self.etcd().client_port;
        let endpoints = [etcd, etcd + 1, etcd + 2].map(|port| format!("http://{}", address(port)));
        let mut environment = vec![
            ("STEADFAST_DATABASE__URL".to_owned(), self.url(&role("orchestrator"), "orchestrator")),
            ("STEADFAST_ETCD__ENDPOINTS".to_owned(), endpoints.join(",")),
        ];
        for name in ["order", "payment", "inventory"] {
            let variable = format!("STEADFAST_PARTICIPANTS__{}__BASE_URLS", name.to_uppercase());
            environment.push((variable, format!("http://{}", address(self.front(name)))));
        }
        environment
    }

    fn of_relay(&self) -> Vec<(String, String)> {
        let mut environment = vec![("STEADFAST_KAFKA__BROKERS".to_owned(), self.broker())];
        for Database { name, .. } in published() {
            let variable = format!("STEADFAST_DATABASES__{}__URL", name.to_uppercase());
            environment.push((variable, self.url(&role("relay"), name)));
        }
        environment
    }

    fn of_projector(&self) -> Vec<(String, String)> {
        vec![
            ("GOODGO_DATABASE__URL".to_owned(), self.url(&role("order"), "read_model")),
            ("GOODGO_KAFKA__BROKERS".to_owned(), self.broker()),
        ]
    }

    fn front_door(&self) -> Part {
        let mut environment = Vec::new();
        for (name, replicas) in BEHIND {
            let variable = name.to_uppercase();
            environment.push((variable.clone(), address(self.front(name))));
            for number in 1..=replicas {
                environment.push((format!("{variable}_{number}"), address(self.replica(name, number))));
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
pub(super) fn role(name: &str) -> String {
    format!("goodgo_{name}")
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
        assert!(PRODUCTION.contains(&site.broker()) && PRODUCTION.contains(&format!("redis://{}", address(redis))));
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
    fn no_process_is_told_a_secret_by_its_environment() {
        for part in site().parts() {
            assert!(!part.environment.iter().any(|(_, value)| value.contains(":secret") || value.len() > 200));
            assert!(part.arguments.iter().any(|argument| argument.starts_with("/w/deploy/platform/")));
        }
    }
}
