//! Who of the nodes goes first.
//!
//! Leadership is an economy, never a guard: the leader takes lapsed lanes over a lease before others may, and tends the
//! journal. Two leaders at once, or none, do no harm; every takeover is a compare-and-set.

use std::fmt::Debug;

#[cfg(feature = "etcd")]
mod etcd;

#[cfg(feature = "etcd")]
pub use etcd::{Etcd, EtcdConfig};

/// Says whether this node leads at this moment. Asked often; must not block.
pub trait Election: Debug + Send + Sync {
    /// Whether it does.
    fn is_leader(&self) -> bool;
}
