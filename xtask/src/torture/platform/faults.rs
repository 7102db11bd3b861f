//! What goes wrong, and how it is done and undone.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

use super::super::timeline::Drawn;
use super::world::World;

/// A kind of fault, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ProcessKilled,
    ProcessPaused,
    ProcessTerminated,
    PostgresStopped,
    BrokerKilled,
    RedisMasterKilled,
    EtcdMemberKilled,
}

impl Kind {
    /// Processes are many, so that they come more often than servers.
    pub(super) const ALL: [Self; 11] = [
        Self::ProcessKilled,
        Self::ProcessKilled,
        Self::ProcessKilled,
        Self::ProcessPaused,
        Self::ProcessPaused,
        Self::ProcessTerminated,
        Self::ProcessTerminated,
        Self::PostgresStopped,
        Self::BrokerKilled,
        Self::RedisMasterKilled,
        Self::EtcdMemberKilled,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ProcessKilled => "process_killed",
            Self::ProcessPaused => "process_paused",
            Self::ProcessTerminated => "process_terminated",
            Self::PostgresStopped => "postgres_stopped",
            Self::BrokerKilled => "broker_killed",
            Self::RedisMasterKilled => "redis_master_killed",
            Self::EtcdMemberKilled => "etcd_member_killed",
        }
    }

    /// Whether a process is gone until the fault ends.
    pub(super) fn ends_a_process(self) -> bool {
        matches!(self, Self::ProcessKilled | Self::ProcessTerminated)
    }

    /// In milliseconds. A server comes back at once; a pause may outlast the leases of whoever is paused.
    fn lasts(self) -> Range<u64> {
        match self {
            Self::ProcessKilled | Self::ProcessTerminated => 300..4_000,
            Self::ProcessPaused => 2_000..9_000,
            Self::PostgresStopped | Self::BrokerKilled => 100..1_500,
            // Longer than its replica needs to take its place.
            Self::RedisMasterKilled => 4_000..8_000,
            Self::EtcdMemberKilled => 500..5_000,
        }
    }
}

/// A fault of the timeline.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// A process by its name; of Redis and etcd a member's number.
    pub(super) whom: String,
    number: u16,
}

impl Fault {
    pub(super) fn draw(kind: Kind, processes: &[String], rng: &mut Rng) -> Drawn<Self> {
        let number = rng.u16(1..=3);
        let whom = match kind {
            Kind::ProcessKilled | Kind::ProcessPaused | Kind::ProcessTerminated => {
                processes[rng.usize(..processes.len())].clone()
            }
            Kind::PostgresStopped => "postgres".to_owned(),
            Kind::BrokerKilled => "kafka".to_owned(),
            // One member at a time: of the rest a majority stays.
            Kind::RedisMasterKilled => "redis".to_owned(),
            Kind::EtcdMemberKilled => "etcd".to_owned(),
        };
        let lasts = Duration::from_millis(rng.u64(kind.lasts()));
        Drawn { takes: vec![whom.clone()], fault: Self { kind, whom, number }, lasts }
    }

    pub(super) async fn begin(&self, world: &World) -> Result<()> {
        match self.kind {
            Kind::ProcessKilled => world.signal(&self.whom, "KILL"),
            Kind::ProcessPaused => world.signal(&self.whom, "STOP"),
            Kind::ProcessTerminated => world.signal(&self.whom, "TERM"),
            Kind::PostgresStopped => world.stop_postgres().await,
            Kind::BrokerKilled => world.kill_broker().await,
            Kind::RedisMasterKilled => world.kill_redis(self.number).await,
            Kind::EtcdMemberKilled => world.kill_etcd(self.number).await,
        }
    }

    pub(super) async fn end(&self, world: &World) -> Result<()> {
        match self.kind {
            Kind::ProcessKilled | Kind::ProcessTerminated => world.begin(&self.whom).await,
            Kind::ProcessPaused => world.signal(&self.whom, "CONT"),
            Kind::PostgresStopped | Kind::BrokerKilled | Kind::RedisMasterKilled | Kind::EtcdMemberKilled => {
                world.start_server(&self.whom).await
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, whom, number } = self;
        match kind {
            Kind::ProcessKilled => write!(f, "{whom} killed"),
            Kind::ProcessPaused => write!(f, "{whom} paused"),
            Kind::ProcessTerminated => write!(f, "{whom} told to end"),
            Kind::PostgresStopped => write!(f, "postgres stopped at once"),
            Kind::BrokerKilled => write!(f, "the broker killed"),
            Kind::RedisMasterKilled => write!(f, "master {number} of Redis killed"),
            Kind::EtcdMemberKilled => write!(f, "member {number} of etcd killed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::timeline;
    use super::*;

    #[test]
    fn a_seed_deals_every_kind_and_nobody_is_struck_twice_at_once() {
        let parts = World::names();
        let entries = timeline::deal(7, Duration::from_mins(2), &Kind::ALL, |kind, rng| Fault::draw(kind, &parts, rng));
        for kind in Kind::ALL {
            assert!(entries.iter().any(|entry| entry.fault.kind == kind), "{}", kind.name());
        }
        for (index, entry) in entries.iter().enumerate() {
            let clash =
                entries[..index].iter().any(|other| other.fault.whom == entry.fault.whom && other.until > entry.at);
            assert!(!clash, "{entry}");
        }
    }
}
