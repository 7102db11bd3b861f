//! What goes wrong, and how it is done and undone.

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;

use super::super::timeline::Drawn;
use super::arm::{Arm, MEMBERS};
use super::redis::SHARDS;
use super::world::World;

/// A kind of fault, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    ServiceKilled,
    ServicePaused,
    ServiceTerminated,
    BackendsTerminated,
    PostgresStopped,
    RedisKilled,
    RedisPaused,
    RedisReadOnly,
    MasterKilled,
    MasterPaused,
    MasterTakenOver,
}

impl Kind {
    pub(super) const ALL: [Self; 11] = [
        Self::ServiceKilled,
        Self::ServicePaused,
        Self::ServiceTerminated,
        Self::BackendsTerminated,
        Self::PostgresStopped,
        Self::RedisKilled,
        Self::RedisPaused,
        Self::RedisReadOnly,
        Self::MasterKilled,
        Self::MasterPaused,
        Self::MasterTakenOver,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::ServiceKilled => "service_killed",
            Self::ServicePaused => "service_paused",
            Self::ServiceTerminated => "service_terminated",
            Self::BackendsTerminated => "backends_terminated",
            Self::PostgresStopped => "postgres_stopped",
            Self::RedisKilled => "redis_killed",
            Self::RedisPaused => "redis_paused",
            Self::RedisReadOnly => "redis_read_only",
            Self::MasterKilled => "master_killed",
            Self::MasterPaused => "master_paused",
            Self::MasterTakenOver => "master_taken_over",
        }
    }

    /// In milliseconds. A pause of a service is longer than a lease (2 s), so that the woken one finishes late; one of a
    /// master is longer than the cluster waits for it (1.5 s), so that it wakes as a second master.
    fn lasts(self) -> std::ops::Range<u64> {
        match self {
            Self::ServiceKilled | Self::ServiceTerminated | Self::PostgresStopped => 100..1_500,
            Self::ServicePaused => 2_500..4_500,
            Self::BackendsTerminated => 0..1,
            Self::RedisKilled | Self::RedisPaused | Self::RedisReadOnly => 300..2_500,
            Self::MasterKilled | Self::MasterPaused => 3_500..5_000,
            Self::MasterTakenOver => 1_500..2_500,
        }
    }
}

/// A fault with whom it strikes.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// Of the services, where it strikes one.
    arm: Arm,
    member: usize,
    /// Of the cluster, where it strikes that.
    shard: usize,
}

impl Fault {
    pub(super) fn draw(kind: Kind, rng: &mut Rng) -> Drawn<Self> {
        let arm = Arm::ALL[rng.usize(..Arm::ALL.len())];
        Self::of(kind, arm, rng)
    }

    /// Where it strikes a service, one of this arm.
    pub(super) fn of(kind: Kind, arm: Arm, rng: &mut Rng) -> Drawn<Self> {
        let fault = Self { kind, arm, member: rng.usize(..MEMBERS), shard: rng.usize(..SHARDS) };
        let takes = match kind {
            // The other of an arm stays, so that somebody takes over.
            Kind::ServiceKilled | Kind::ServicePaused | Kind::ServiceTerminated => arm.name(),
            Kind::BackendsTerminated | Kind::PostgresStopped => "the PostgreSQL server",
            Kind::RedisKilled | Kind::RedisPaused | Kind::RedisReadOnly => "the Redis server",
            // Two of three masters must be there to promote anybody.
            Kind::MasterKilled | Kind::MasterPaused | Kind::MasterTakenOver => "the cluster's nodes",
        };
        Drawn { fault, lasts: Duration::from_millis(rng.u64(kind.lasts())), takes: vec![takes.to_owned()] }
    }

    pub(super) async fn begin(&self, world: &mut World) -> Result<()> {
        match self.kind {
            Kind::ServiceKilled => world.service(self.arm, self.member)?.kill().await,
            Kind::ServicePaused => world.service(self.arm, self.member)?.pause(),
            Kind::ServiceTerminated => world.service(self.arm, self.member)?.terminate().await,
            Kind::BackendsTerminated => {
                world.end_backends().await;
                Ok(())
            }
            Kind::PostgresStopped => world.stop_postgres().await,
            Kind::RedisKilled => world.redis.process.kill().await,
            Kind::RedisPaused => world.redis.process.signal("STOP"),
            // Its master is nowhere: it keeps its data and takes no writes.
            Kind::RedisReadOnly => world.redis.ask("REPLICAOF 127.0.0.1 1").await.map(drop),
            Kind::MasterKilled | Kind::MasterPaused | Kind::MasterTakenOver => self.strike(world).await,
        }
    }

    /// A shard that is still recovering from the fault before is left alone.
    async fn strike(&self, world: &mut World) -> Result<()> {
        let Some((master, replica)) = world.strike(self.shard).await else { return Ok(()) };
        match self.kind {
            Kind::MasterKilled => world.cluster.kill(master).await,
            Kind::MasterPaused => world.cluster.signal(master, "STOP"),
            _ => world.cluster.take_over(replica).await,
        }
    }

    pub(super) async fn end(&self, world: &mut World) -> Result<()> {
        match self.kind {
            Kind::ServiceKilled | Kind::ServicePaused | Kind::ServiceTerminated => {
                world.service(self.arm, self.member)?.recover()
            }
            Kind::BackendsTerminated => Ok(()),
            Kind::PostgresStopped => world.start_postgres().await,
            Kind::RedisKilled => world.redis.start().await,
            Kind::RedisPaused => world.redis.process.signal("CONT"),
            Kind::RedisReadOnly => world.redis.ask("REPLICAOF NO ONE").await.map(drop),
            Kind::MasterKilled | Kind::MasterPaused | Kind::MasterTakenOver => {
                let Some((master, replica)) = world.struck_node.take() else { return Ok(()) };
                match self.kind {
                    Kind::MasterKilled => world.cluster.revive(master).await?,
                    Kind::MasterPaused => world.cluster.signal(master, "CONT")?,
                    _ => {}
                }
                world.struck(replica).await;
                Ok(())
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (arm, member, shard) = (self.arm.name(), self.member + 1, self.shard + 1);
        match self.kind {
            Kind::ServiceKilled => write!(f, "service {arm}-{member} killed (kill -9)"),
            Kind::ServicePaused => write!(f, "service {arm}-{member} paused (SIGSTOP)"),
            Kind::ServiceTerminated => write!(f, "service {arm}-{member} told to end (SIGTERM)"),
            Kind::BackendsTerminated => write!(f, "every backend of the services terminated"),
            Kind::PostgresStopped => write!(f, "PostgreSQL stopped (immediate)"),
            Kind::RedisKilled => write!(f, "Redis killed (kill -9)"),
            Kind::RedisPaused => write!(f, "Redis paused (SIGSTOP)"),
            Kind::RedisReadOnly => write!(f, "Redis made a replica of nobody (READONLY)"),
            Kind::MasterKilled => write!(f, "master {shard} of the cluster killed (kill -9)"),
            Kind::MasterPaused => write!(f, "master {shard} of the cluster paused (SIGSTOP)"),
            Kind::MasterTakenOver => write!(f, "master {shard} of the cluster taken over (CLUSTER FAILOVER TAKEOVER)"),
        }
    }
}
