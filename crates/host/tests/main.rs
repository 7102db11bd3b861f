//! Everything of this crate that needs a server, a process or a file.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test helper that fails is a test that fails")]

mod auth;
mod config;
mod http;
mod process;
mod wire;
