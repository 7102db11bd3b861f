//! The event log as its users see it.
#![cfg(test)]

#[cfg(feature = "kafka")]
mod broker;
mod embedded;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod kafka_away;
