//! The stores, each with services of its own.

/// A store and the services over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Arm {
    Transactional,
    Leased,
    /// One server that keeps every write.
    Redis,
    Cluster,
    /// The same cluster; claims and completions wait for a replica.
    ClusterWait,
}

/// Services of each arm.
pub(super) const MEMBERS: usize = 2;

impl Arm {
    pub(super) const ALL: [Self; 5] =
        [Self::Transactional, Self::Leased, Self::Redis, Self::Cluster, Self::ClusterWait];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Transactional => "transactional",
            Self::Leased => "leased",
            Self::Redis => "redis",
            Self::Cluster => "cluster",
            Self::ClusterWait => "cluster-wait",
        }
    }

    /// Its place among all.
    pub(super) fn index(self) -> u16 {
        match self {
            Self::Transactional => 0,
            Self::Leased => 1,
            Self::Redis => 2,
            Self::Cluster => 3,
            Self::ClusterWait => 4,
        }
    }

    /// What asks: more where what is looked for is rare.
    pub(super) fn users(self) -> u64 {
        if self.is_cluster() { 16 } else { 6 }
    }

    /// Whether it may forget what it has acknowledged.
    pub(super) fn is_cluster(self) -> bool {
        matches!(self, Self::Cluster | Self::ClusterWait)
    }

    pub(super) fn is_redis(self) -> bool {
        self == Self::Redis || self.is_cluster()
    }

    /// What becomes of an outcome that nobody knows: it is held, or executed again. The transactional form has none.
    pub(super) fn holds(self) -> bool {
        self == Self::Leased
    }

    /// Whether its PostgreSQL, or its Redis, is behind the seeded proxy of each service. The cluster's nodes have one each.
    pub(super) fn has_way(self) -> bool {
        !self.is_cluster()
    }
}
