//! What goes wrong, and how it is done and undone.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

use super::super::timeline::Drawn;
use super::world::{MEMBERS, World};

/// A kind of fault, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    RelayKilled,
    RelayPaused,
    RelayTerminated,
    ProjectorKilled,
    ProjectorPaused,
    ProjectorTerminated,
    BackendsTerminated,
    PostgresStopped,
    BrokerKilled,
    StrangerStands,
}

impl Kind {
    pub(super) const ALL: [Self; 10] = [
        Self::RelayKilled,
        Self::RelayPaused,
        Self::RelayTerminated,
        Self::ProjectorKilled,
        Self::ProjectorPaused,
        Self::ProjectorTerminated,
        Self::BackendsTerminated,
        Self::PostgresStopped,
        Self::BrokerKilled,
        Self::StrangerStands,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RelayKilled => "relay_killed",
            Self::RelayPaused => "relay_paused",
            Self::RelayTerminated => "relay_terminated",
            Self::ProjectorKilled => "projector_killed",
            Self::ProjectorPaused => "projector_paused",
            Self::ProjectorTerminated => "projector_terminated",
            Self::BackendsTerminated => "backends_terminated",
            Self::PostgresStopped => "postgres_stopped",
            Self::BrokerKilled => "broker_killed",
            Self::StrangerStands => "stranger_stands",
        }
    }

    /// In milliseconds. A pause is longer than a relay's lease (3 s) or a projector's session (6 s), so that the woken one
    /// has lost what it held and does not know it.
    fn lasts(self) -> std::ops::Range<u64> {
        match self {
            Self::RelayKilled | Self::ProjectorKilled => 300..6_000,
            Self::RelayPaused => 4_000..8_000,
            Self::ProjectorPaused => 7_500..11_000,
            Self::RelayTerminated | Self::ProjectorTerminated | Self::PostgresStopped => 100..3_000,
            Self::BackendsTerminated => 0..1,
            Self::BrokerKilled => 300..5_000,
            Self::StrangerStands => 3_000..12_000,
        }
    }

    /// Whether what relays have in flight may be sent again after it.
    pub(super) fn repeats(self) -> bool {
        match self {
            Self::RelayKilled
            | Self::RelayPaused
            | Self::RelayTerminated
            | Self::BackendsTerminated
            | Self::PostgresStopped
            | Self::BrokerKilled => true,
            Self::ProjectorKilled | Self::ProjectorPaused | Self::ProjectorTerminated | Self::StrangerStands => false,
        }
    }
}

/// A fault with whom it strikes.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// Of the relays or the projectors, where it strikes one.
    member: usize,
}

impl Fault {
    pub(super) fn draw(kind: Kind, rng: &mut Rng) -> Drawn<Self> {
        let fault = Self { kind, member: rng.usize(..MEMBERS) };
        let takes = match kind {
            Kind::RelayKilled | Kind::RelayPaused | Kind::RelayTerminated => format!("relay {}", fault.member),
            Kind::ProjectorKilled | Kind::ProjectorPaused | Kind::ProjectorTerminated => {
                format!("projector {}", fault.member)
            }
            Kind::BackendsTerminated | Kind::PostgresStopped => "postgres".to_owned(),
            Kind::BrokerKilled => "kafka".to_owned(),
            Kind::StrangerStands => "stranger".to_owned(),
        };
        Drawn { fault, lasts: Duration::from_millis(rng.u64(kind.lasts())), takes: vec![takes] }
    }

    pub(super) async fn begin(&self, world: &mut World) -> Result<()> {
        match self.kind {
            Kind::RelayKilled => world.relays[self.member].kill().await,
            Kind::RelayPaused => world.relays[self.member].pause(),
            Kind::RelayTerminated => world.relays[self.member].terminate().await,
            Kind::ProjectorKilled => world.projectors[self.member].kill().await,
            Kind::ProjectorPaused => world.projectors[self.member].pause(),
            Kind::ProjectorTerminated => world.projectors[self.member].terminate().await,
            Kind::BackendsTerminated => {
                world.end_backends().await;
                Ok(())
            }
            Kind::PostgresStopped => world.stop_postgres().await,
            Kind::BrokerKilled => world.kill_broker().await,
            Kind::StrangerStands => {
                world.let_stranger_stand().await;
                Ok(())
            }
        }
    }

    pub(super) async fn end(&self, world: &mut World) -> Result<()> {
        match self.kind {
            Kind::RelayKilled | Kind::RelayPaused | Kind::RelayTerminated => world.relays[self.member].recover(),
            Kind::ProjectorKilled | Kind::ProjectorPaused | Kind::ProjectorTerminated => {
                world.projectors[self.member].recover()
            }
            Kind::BackendsTerminated => Ok(()),
            Kind::PostgresStopped => world.start_postgres().await,
            Kind::BrokerKilled => {
                world.start_broker();
                Ok(())
            }
            Kind::StrangerStands => {
                world.let_stranger_go().await;
                Ok(())
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let member = self.member + 1;
        match self.kind {
            Kind::RelayKilled => write!(f, "relay {member} killed (kill -9)"),
            Kind::RelayPaused => write!(f, "relay {member} paused (SIGSTOP)"),
            Kind::RelayTerminated => write!(f, "relay {member} told to end (SIGTERM)"),
            Kind::ProjectorKilled => write!(f, "projector {member} killed (kill -9)"),
            Kind::ProjectorPaused => write!(f, "projector {member} paused (SIGSTOP)"),
            Kind::ProjectorTerminated => write!(f, "projector {member} told to end (SIGTERM)"),
            Kind::BackendsTerminated => write!(f, "every backend of relays, projectors and writers terminated"),
            Kind::PostgresStopped => write!(f, "PostgreSQL stopped (immediate)"),
            Kind::BrokerKilled => write!(f, "the Kafka broker killed (kill -9)"),
            Kind::StrangerStands => write!(f, "a stranger's transaction with an id and a snapshot stands open"),
        }
    }
}
