//! The embedded platform on one data folder: the databases, the development keys, and the node that runs orchestrator,
//! relay and projector over them.

mod keys;
mod node;
mod stores;

pub(crate) use keys::Keys;
pub(crate) use node::{Addresses, Node, NodeOptions};
#[cfg(all(test, feature = "full"))]
pub(crate) use node::{PLACE_ORDER, schemas};
pub(crate) use stores::Stores;
