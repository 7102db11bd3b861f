//! The payment service over HTTP, on a real database.
#![cfg(test)]

mod adjustments;
mod payments;
mod refunds;
mod support;
