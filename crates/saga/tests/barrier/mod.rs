//! Conformance of a participant: one table of cases, run against services in Rust, Python and Node as processes of their
//! own, on a real PostgreSQL, under a role that may execute the barrier's functions and has no right on its tables.
//!
//! The Python and Node services are those of `examples/`. Their dependencies are installed from the registries into
//! `target/examples/` at the first run (some seconds), and again only when their lists change.

#![cfg(feature = "postgres")]

mod caller;
mod cases;
mod in_rust;
mod install;
mod service;

use service::{SEATS, Service, WALLET};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_in_rust_conforms() {
    cases::run(Service::start(&WALLET, in_rust::command()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_in_python_conforms() {
    cases::run(Service::start(&WALLET, install::python("participant-python")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_in_node_conforms() {
    cases::run(Service::start(&SEATS, install::node("participant-node")).await).await;
}
