//! The order service over HTTP, on real databases, with an orchestrator that answers as the test says.
#![cfg(test)]

mod orders;
mod place;
mod read_model;
mod returns;
mod support;
