//! What goes wrong, and how it is done and undone.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

use super::super::proxy::Flow;
use super::super::timeline::Drawn;
use super::world::World;

/// Databases with an outbox, and the roles of their services.
const DATABASES: [&str; 4] = ["order", "payment", "inventory", "orchestrator"];

/// A kind of fault, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ProcessKilled,
    ProcessPaused,
    ProcessTerminated,
    ClockStepped,
    WayHeld,
    RepliesHeld,
    WayCut,
    PostgresStopped,
    StandbyStopped,
    StandbyPromoted,
    DiskFilled,
    BackendsEnded,
    StrangerStands,
    BrokerKilled,
    RedisMasterKilled,
    RedisMasterPaused,
    RedisMasterTakenOver,
    EtcdMemberKilled,
    EtcdMajorityKilled,
}

impl Kind {
    /// Processes and ways are many, so that they come more often than servers.
    pub(super) const ALL: [Self; 27] = [
        Self::ProcessKilled,
        Self::ProcessKilled,
        Self::ProcessKilled,
        Self::ProcessPaused,
        Self::ProcessPaused,
        Self::ProcessTerminated,
        Self::ProcessTerminated,
        Self::ClockStepped,
        Self::ClockStepped,
        Self::WayHeld,
        Self::WayHeld,
        Self::RepliesHeld,
        Self::RepliesHeld,
        Self::WayCut,
        Self::WayCut,
        Self::PostgresStopped,
        Self::StandbyStopped,
        Self::StandbyPromoted,
        Self::DiskFilled,
        Self::BackendsEnded,
        Self::StrangerStands,
        Self::BrokerKilled,
        Self::RedisMasterKilled,
        Self::RedisMasterPaused,
        Self::RedisMasterTakenOver,
        Self::EtcdMemberKilled,
        Self::EtcdMajorityKilled,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ProcessKilled => "process_killed",
            Self::ProcessPaused => "process_paused",
            Self::ProcessTerminated => "process_terminated",
            Self::ClockStepped => "clock_stepped",
            Self::WayHeld => "way_held",
            Self::RepliesHeld => "replies_held",
            Self::WayCut => "way_cut",
            Self::PostgresStopped => "postgres_stopped",
            Self::StandbyStopped => "standby_stopped",
            Self::StandbyPromoted => "standby_promoted",
            Self::DiskFilled => "disk_filled",
            Self::BackendsEnded => "backends_ended",
            Self::StrangerStands => "stranger_stands",
            Self::BrokerKilled => "broker_killed",
            Self::RedisMasterKilled => "redis_master_killed",
            Self::RedisMasterPaused => "redis_master_paused",
            Self::RedisMasterTakenOver => "redis_master_taken_over",
            Self::EtcdMemberKilled => "etcd_member_killed",
            Self::EtcdMajorityKilled => "etcd_majority_killed",
        }
    }

    /// Whether a process is gone until the fault ends.
    pub(super) fn ends_a_process(self) -> bool {
        matches!(self, Self::ProcessKilled | Self::ProcessTerminated)
    }

    /// In milliseconds. A server comes back at once; a pause, or a way that is held, may outlast the leases of whom it strikes.
    fn lasts(self) -> Range<u64> {
        match self {
            Self::ProcessKilled | Self::ProcessTerminated | Self::WayCut => 300..4_000,
            Self::ProcessPaused => 2_000..9_000,
            Self::WayHeld | Self::RepliesHeld | Self::BrokerKilled => 1_000..8_000,
            Self::PostgresStopped | Self::StandbyStopped | Self::StandbyPromoted => 100..1_500,
            Self::DiskFilled => 2_000..6_000,
            Self::BackendsEnded => 0..1,
            Self::ClockStepped | Self::StrangerStands => 3_000..12_000,
            // Longer than its replica needs to take its place.
            Self::RedisMasterKilled | Self::RedisMasterPaused => 4_000..8_000,
            Self::RedisMasterTakenOver => 1_500..2_500,
            Self::EtcdMemberKilled => 500..5_000,
            // Longer than the leader's lease.
            Self::EtcdMajorityKilled => 7_000..13_000,
        }
    }
}

/// A fault of the timeline.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// A process, a way, a server or a database, by its name.
    pub(super) whom: String,
    /// Of one of several members, from 1.
    number: u16,
    lasts: Duration,
}

impl Fault {
    pub(super) fn draw(kind: Kind, processes: &[String], ways: &[String], rng: &mut Rng) -> Drawn<Self> {
        let number = rng.u16(1..=3);
        let one_of = |names: &[String], rng: &mut Rng| names[rng.usize(..names.len())].clone();
        let (whom, takes) = match kind {
            Kind::ProcessKilled | Kind::ProcessPaused | Kind::ProcessTerminated => (one_of(processes, rng), None),
            // Who stands before all has no clock of its own.
            Kind::ClockStepped => (one_of(&processes[..processes.len() - 1], rng), None),
            Kind::WayHeld | Kind::RepliesHeld | Kind::WayCut => (one_of(ways, rng), None),
            Kind::PostgresStopped | Kind::StandbyStopped | Kind::StandbyPromoted | Kind::DiskFilled => {
                ("postgres".to_owned(), None)
            }
            Kind::BackendsEnded => (DATABASES[rng.usize(..DATABASES.len())].to_owned(), Some("postgres")),
            Kind::StrangerStands => (DATABASES[rng.usize(..DATABASES.len())].to_owned(), Some("stranger")),
            // One member at a time: of the rest a majority stays.
            Kind::BrokerKilled => ("kafka".to_owned(), None),
            Kind::RedisMasterKilled | Kind::RedisMasterPaused | Kind::RedisMasterTakenOver => {
                ("redis".to_owned(), None)
            }
            Kind::EtcdMemberKilled | Kind::EtcdMajorityKilled => ("etcd".to_owned(), None),
        };
        let lasts = Duration::from_millis(rng.u64(kind.lasts()));
        let takes = vec![takes.map_or_else(|| whom.clone(), str::to_owned)];
        Drawn { takes, fault: Self { kind, whom, number, lasts }, lasts }
    }

    pub(super) async fn begin(&self, world: &World) -> Result<()> {
        let (whom, number) = (self.whom.as_str(), self.number);
        match self.kind {
            Kind::ProcessKilled => world.signal(whom, "KILL"),
            Kind::ProcessPaused => world.signal(whom, "STOP"),
            Kind::ProcessTerminated => world.signal(whom, "TERM"),
            Kind::WayHeld => world.ways.flow(whom, Flow::Held),
            Kind::RepliesHeld => world.ways.flow(whom, Flow::RepliesHeld),
            Kind::WayCut => world.ways.cut(whom, true),
            Kind::ClockStepped => world.step_clock(whom, self.hours()),
            Kind::PostgresStopped => world.crash_primary().await,
            Kind::StandbyStopped => world.crash_standby().await,
            Kind::StandbyPromoted => world.promote().await,
            Kind::DiskFilled => world.fill_disk().await,
            Kind::BackendsEnded => world.end_backends(whom).await,
            Kind::StrangerStands => world.let_stranger_stand(whom, self.lasts),
            Kind::BrokerKilled => world.kill_broker(number).await,
            Kind::RedisMasterKilled => world.kill_redis(number).await,
            Kind::RedisMasterPaused => world.pause_redis(number).await,
            Kind::RedisMasterTakenOver => world.take_redis_over(number).await,
            Kind::EtcdMemberKilled => world.kill_etcd(vec![number]).await,
            Kind::EtcdMajorityKilled => world.kill_etcd(vec![number, other(number)]).await,
        }
    }

    pub(super) async fn end(&self, world: &World) -> Result<()> {
        let whom = self.whom.as_str();
        match self.kind {
            Kind::ProcessKilled | Kind::ProcessTerminated => world.begin(whom).await,
            Kind::ProcessPaused => world.signal(whom, "CONT"),
            Kind::WayHeld | Kind::RepliesHeld => world.ways.flow(whom, Flow::Open),
            Kind::WayCut => world.ways.cut(whom, false),
            Kind::BackendsEnded | Kind::StrangerStands | Kind::RedisMasterTakenOver => Ok(()),
            Kind::BrokerKilled => world.revive_broker(self.number).await,
            Kind::RedisMasterPaused => world.wake_redis().await,
            Kind::ClockStepped => world.step_clock(whom, 0),
            Kind::PostgresStopped | Kind::StandbyStopped => world.start_postgres().await,
            Kind::StandbyPromoted => world.renew_standby().await,
            Kind::DiskFilled => world.empty_disk().await,
            Kind::RedisMasterKilled => world.revive_redis().await,
            Kind::EtcdMemberKilled | Kind::EtcdMajorityKilled => world.start_server(whom).await,
        }
    }

    /// How far a clock is off: as often ahead as behind.
    fn hours(&self) -> i32 {
        if self.lasts.as_millis().is_multiple_of(2) { 1 } else { -1 }
    }
}

/// The second of two of three members.
fn other(number: u16) -> u16 {
    number % 3 + 1
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, whom, number, .. } = self;
        match kind {
            Kind::ProcessKilled => write!(f, "{whom} killed"),
            Kind::ProcessPaused => write!(f, "{whom} paused"),
            Kind::ProcessTerminated => write!(f, "{whom} told to end"),
            Kind::ClockStepped => write!(f, "the clock of {whom} steps by {:+} h", self.hours()),
            Kind::WayHeld => write!(f, "the way {whom} held"),
            Kind::RepliesHeld => write!(f, "the replies of the way {whom} held"),
            Kind::WayCut => write!(f, "the way {whom} cut"),
            Kind::PostgresStopped => write!(f, "postgres stopped at once"),
            Kind::StandbyStopped => write!(f, "the standby of postgres stopped at once"),
            Kind::StandbyPromoted => write!(f, "postgres gone for good, its standby promoted"),
            Kind::DiskFilled => write!(f, "the disk of postgres full"),
            Kind::BackendsEnded => write!(f, "every backend of {whom} ended"),
            Kind::StrangerStands => write!(f, "a stranger's transaction stands in the database {whom}"),
            Kind::BrokerKilled => write!(f, "broker {number} of Kafka killed"),
            Kind::RedisMasterKilled => write!(f, "master {number} of Redis killed"),
            Kind::RedisMasterPaused => write!(f, "master {number} of Redis paused"),
            Kind::RedisMasterTakenOver => write!(f, "replica {number} of Redis takes over"),
            Kind::EtcdMemberKilled => write!(f, "member {number} of etcd killed"),
            Kind::EtcdMajorityKilled => write!(f, "members {number} and {} of etcd killed", other(*number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::timeline;
    use super::*;

    #[test]
    fn a_seed_deals_every_kind_and_nobody_is_struck_twice_at_once() {
        let (parts, ways) = (World::names(), World::names_of_ways());
        let draw = |kind, rng: &mut Rng| Fault::draw(kind, &parts, &ways, rng);
        let entries = timeline::deal(7, Duration::from_mins(2), &Kind::ALL, draw);
        for kind in Kind::ALL {
            assert!(entries.iter().any(|entry| entry.fault.kind == kind), "{}", kind.name());
        }
        let of_members = |kind| !matches!(kind, Kind::BackendsEnded | Kind::StrangerStands);
        for (index, entry) in entries.iter().enumerate().filter(|(_, entry)| of_members(entry.fault.kind)) {
            let clash =
                entries[..index].iter().any(|other| other.fault.whom == entry.fault.whom && other.until > entry.at);
            assert!(!clash, "{entry}");
        }
    }
}
