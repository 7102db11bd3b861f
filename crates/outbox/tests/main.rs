//! The outbox as its users see it.

mod append;
mod archive;
mod examples;
mod held;
mod inbox;
mod measure;
mod metrics;
mod postgres;
mod relay;
mod roles;
mod support;
mod takeover;
