//! The engine as its users see it: real participants with real barriers on loopback, a real journal, and what goes wrong
//! between them. Whatever happens, an effect stands once if its saga completed, and not at all if it was compensated.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails its test")]
#![expect(clippy::print_stdout, reason = "what a test has measured is for people")]

mod acts;
mod admission;
mod barrier;
mod cluster;
mod crash;
#[cfg(feature = "etcd")]
mod etcd;
mod fake;
mod faulty;
mod flow;
mod nodes;
mod overload;
mod replies;
mod sensitive;
mod shop;
mod simulation;
mod world;
