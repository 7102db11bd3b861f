//! The outbox as its users see it.

mod append;
mod archive;
mod held;
mod measure;
mod metrics;
mod relay;
mod support;
mod takeover;
