//! `steadfast demo`: the whole platform on real invoices, with faults injected, and checked afterwards.
//!
//! The three services of GoodGo each have their own database and listen on loopback; orchestrator, relay and projector
//! run beside them, or, with `--crash`, in a child process that is killed while orders keep coming. With `--config` the
//! platform is one that runs already, and only its front door is called.

mod arguments;
mod child;
#[cfg(feature = "kafka")]
mod elsewhere;
mod platform;
mod rest;
mod run;
mod screen;
mod services;
#[cfg(test)]
mod tests;

pub(crate) use arguments::{Arguments, NodeArguments};
pub(crate) use child::run_node;
#[cfg(feature = "kafka")]
pub(crate) use rest::wait as at_rest;
pub(crate) use run::run;
