//! The real binary, as people and programs use it. Each test starts a process or two and replays some dozens of real
//! orders, which takes a second or two; every wait has a bound.

#![cfg(test)]

mod bad_input;
#[cfg(feature = "full")]
mod bench;
#[cfg(feature = "full")]
mod bench_idempotency_and_lock;
mod demo;
#[cfg(feature = "full")]
mod idempotency;
mod metrics;
mod operating;
#[cfg(feature = "full")]
mod orchestrator;
#[cfg(feature = "full")]
mod pipeline;
mod serve;
mod support;
