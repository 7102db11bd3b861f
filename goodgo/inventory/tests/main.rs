//! The inventory service over HTTP, on a real database.
#![cfg(test)]

mod products;
mod reservations;
mod restocks;
mod stock;
mod support;
