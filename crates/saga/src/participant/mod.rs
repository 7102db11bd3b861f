//! What passes between the orchestrator and a service that takes part in a saga.

#[cfg(feature = "engine")]
mod cache;
pub mod call;
#[cfg(feature = "engine")]
pub mod client;
#[cfg(feature = "engine")]
pub mod protocol;
#[cfg(feature = "engine")]
mod stress;
pub mod token;
