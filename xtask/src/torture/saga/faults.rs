//! What goes wrong, and how it is done and undone.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

use super::super::proxy::Rates;
use super::super::timeline::Drawn;
use super::plan::PARTICIPANTS;
use super::world::{ORCHESTRATORS, World};

const ROUGH: Rates = Rates { cut: 150, delay: 1_200, stall: 15 };
/// A process that is told to end has this long before it is killed.
const TERM_LIMIT: Duration = Duration::from_secs(5);

/// A kind of fault, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    OrchestratorKilled,
    OrchestratorPaused,
    OrchestratorTerminated,
    BackendsTerminated,
    PostgresStopped,
    EtcdMemberKilled,
    EtcdMajorityKilled,
    ParticipantKilled,
    ParticipantUnreachable,
    DatabaseUnreachable,
    NetworkRough,
}

impl Kind {
    pub(super) const ALL: [Self; 11] = [
        Self::OrchestratorKilled,
        Self::OrchestratorPaused,
        Self::OrchestratorTerminated,
        Self::BackendsTerminated,
        Self::PostgresStopped,
        Self::EtcdMemberKilled,
        Self::EtcdMajorityKilled,
        Self::ParticipantKilled,
        Self::ParticipantUnreachable,
        Self::DatabaseUnreachable,
        Self::NetworkRough,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OrchestratorKilled => "orchestrator_killed",
            Self::OrchestratorPaused => "orchestrator_paused",
            Self::OrchestratorTerminated => "orchestrator_terminated",
            Self::BackendsTerminated => "backends_terminated",
            Self::PostgresStopped => "postgres_stopped",
            Self::EtcdMemberKilled => "etcd_member_killed",
            Self::EtcdMajorityKilled => "etcd_majority_killed",
            Self::ParticipantKilled => "participant_killed",
            Self::ParticipantUnreachable => "participant_unreachable",
            Self::DatabaseUnreachable => "database_unreachable",
            Self::NetworkRough => "network_rough",
        }
    }

    /// In milliseconds. A pause is longer than a lease (6 s), so that the woken one has lost its lane.
    fn lasts(self) -> std::ops::Range<u64> {
        match self {
            Self::OrchestratorKilled => 300..9_000,
            Self::OrchestratorPaused => 7_000..11_000,
            Self::OrchestratorTerminated | Self::PostgresStopped => 100..3_000,
            Self::BackendsTerminated => 0..1,
            Self::EtcdMemberKilled => 1_000..6_000,
            Self::EtcdMajorityKilled => 7_000..13_000,
            Self::ParticipantKilled => 200..4_000,
            Self::ParticipantUnreachable => 1_000..8_000,
            Self::DatabaseUnreachable => 2_000..10_000,
            Self::NetworkRough => 4_000..9_000,
        }
    }
}

/// A fault with whom it strikes.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) node: usize,
    pub(super) participant: usize,
    /// Of etcd, from 1.
    member: u16,
}

impl Fault {
    pub(super) fn draw(kind: Kind, rng: &mut Rng) -> Drawn<Self> {
        let fault = Self {
            kind,
            node: rng.usize(..ORCHESTRATORS),
            participant: rng.usize(..PARTICIPANTS.len()),
            member: rng.u16(1..=3),
        };
        let node = format!("orchestrator {}", fault.node);
        let takes = match kind {
            Kind::OrchestratorKilled | Kind::OrchestratorPaused | Kind::OrchestratorTerminated => vec![node],
            Kind::DatabaseUnreachable => vec![node, "postgres".to_owned()],
            Kind::BackendsTerminated | Kind::PostgresStopped => vec!["postgres".to_owned()],
            Kind::EtcdMemberKilled | Kind::EtcdMajorityKilled => vec!["etcd".to_owned()],
            Kind::ParticipantKilled => vec![format!("participant {}", fault.participant)],
            Kind::ParticipantUnreachable => vec![format!("way {} {}", fault.node, fault.participant)],
            Kind::NetworkRough => vec!["network".to_owned()],
        };
        Drawn { fault, lasts: Duration::from_millis(rng.u64(kind.lasts())), takes }
    }

    /// Whether its node can no longer hold its lane.
    pub(super) fn takes_lane(&self) -> bool {
        matches!(self.kind, Kind::OrchestratorKilled | Kind::OrchestratorPaused | Kind::OrchestratorTerminated)
    }

    pub(super) async fn begin(&self, world: &mut World) -> Result<()> {
        let node = &mut world.orchestrators[self.node];
        match self.kind {
            Kind::OrchestratorKilled => node.kill().await,
            Kind::OrchestratorPaused => node.signal("STOP"),
            Kind::OrchestratorTerminated => node.terminate(TERM_LIMIT).await.map(|_| ()),
            Kind::BackendsTerminated => {
                let sql = include_str!("../sql/terminate_backends.sql");
                // One that cannot be asked has no connections to end.
                drop(sqlx::query(sql).execute(&world.orchestrator_db).await);
                Ok(())
            }
            Kind::PostgresStopped => world.stop_postgres().await,
            Kind::EtcdMemberKilled => world.kill_etcd(vec![self.member]).await,
            Kind::EtcdMajorityKilled => world.kill_etcd(vec![self.member, self.member % 3 + 1]).await,
            Kind::ParticipantKilled => world.participants[self.participant].kill().await,
            Kind::ParticipantUnreachable => {
                world.ways[self.node].to_participants[self.participant].block(true);
                Ok(())
            }
            Kind::DatabaseUnreachable => {
                world.ways[self.node].to_postgres.block(true);
                Ok(())
            }
            Kind::NetworkRough => {
                world.network.set(ROUGH);
                Ok(())
            }
        }
    }

    pub(super) async fn end(&self, world: &mut World) -> Result<()> {
        let node = &mut world.orchestrators[self.node];
        match self.kind {
            Kind::OrchestratorKilled | Kind::OrchestratorTerminated => node.start(),
            Kind::OrchestratorPaused => node.signal("CONT"),
            Kind::BackendsTerminated => Ok(()),
            Kind::PostgresStopped => world.start_postgres().await,
            Kind::EtcdMemberKilled | Kind::EtcdMajorityKilled => world.start_etcd().await,
            Kind::ParticipantKilled => world.participants[self.participant].start(),
            Kind::ParticipantUnreachable => {
                world.ways[self.node].to_participants[self.participant].block(false);
                Ok(())
            }
            Kind::DatabaseUnreachable => {
                world.ways[self.node].to_postgres.block(false);
                Ok(())
            }
            Kind::NetworkRough => {
                world.network.set(Rates::CALM);
                Ok(())
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, participant) = (self.node + 1, PARTICIPANTS[self.participant]);
        match self.kind {
            Kind::OrchestratorKilled => write!(f, "orchestrator {node} killed (kill -9)"),
            Kind::OrchestratorPaused => write!(f, "orchestrator {node} paused (SIGSTOP)"),
            Kind::OrchestratorTerminated => write!(f, "orchestrator {node} told to end (SIGTERM)"),
            Kind::BackendsTerminated => write!(f, "every backend of the orchestrators terminated"),
            Kind::PostgresStopped => write!(f, "PostgreSQL stopped (immediate)"),
            Kind::EtcdMemberKilled => write!(f, "etcd member {} killed", self.member),
            Kind::EtcdMajorityKilled => write!(f, "etcd members {} and {} killed", self.member, self.member % 3 + 1),
            Kind::ParticipantKilled => write!(f, "participant {participant} killed (kill -9)"),
            Kind::ParticipantUnreachable => write!(f, "{participant} unreachable from orchestrator {node}"),
            Kind::DatabaseUnreachable => write!(f, "the database unreachable from orchestrator {node}"),
            Kind::NetworkRough => write!(f, "the network rough: cuts, delays, stalls"),
        }
    }
}
