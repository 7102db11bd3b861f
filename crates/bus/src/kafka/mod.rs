//! Apache Kafka, by librdkafka: the log of a platform of several processes.
//!
//! - **Produce**: idempotent, `acks=all`, answered record by record after every in-sync replica has it. A record that
//!   finds the queue full is tried again before any later one; after a failure everything behind it is given up with it
//!   and answered as unknown, so that a caller who sends again what failed keeps the order of each key.
//! - **Partition**: that of Kafka's Java client, as everywhere in this crate.
//! - **Consume**: a member of a group; partitions move one by one (cooperative), so that a rebalance stops only those
//!   that move. No offset is committed to Kafka: the owner's stored positions are the truth, and a position that Kafka no
//!   longer holds is an error, never a silent jump.
//! - **Topics**: missing ones are made with the configured partitions and replication; [`Producer::weaknesses`] says
//!   which promise a topic's own settings break.
//!
//! | failure | what the producer answers |
//! |---|---|
//! | no acknowledgement in time, a broker that goes away for good, a fatal error of the idempotent producer | unknown: the record may or may not be stored; the producer is made anew |
//! | larger than the topic takes (tried alone, since a broker refuses a whole batch) | refused, with the setting |
//! | a topic that may not be made or written | refused, with the setting or the right that is missing |
//! | any other error of a broker | unknown; nobody's poison |

mod config;
mod consumer;
mod context;
mod ends;
mod fault;
mod producer;
mod reach;
mod topics;

pub use config::{Config, NewTopics};
pub use consumer::Member;
pub use ends::ends;
pub use producer::Producer;
pub use reach::Reach;
pub use topics::Weakness;
