//! Invoices of the sample and damaged files; the client and the faults over loopback; the replay against a shop that
//! lives in memory; the check over databases with the services' own tables.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails its test")]

mod check;
mod client;
mod faults;
mod invoice_files;
mod invoice_plan;
mod replay;
mod shop;
mod support;
