//! The engine as its users see it: real participants with real barriers on loopback, a real journal, and what goes wrong
//! between them. Whatever happens, an effect stands once if its saga completed, and not at all if it was compensated.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test fails its test")]

mod acts;
mod admission;
mod crash;
mod flow;
mod replies;
mod sensitive;
mod shop;
mod world;
