//! Projections against a real database.
#![cfg(test)]

mod audit;
mod crash;
mod declared;
mod exactly_once;
mod invariant;
mod kafka;
mod observed;
mod operator;
mod order;
mod plans;
mod postgres;
mod speed;
mod support;
mod workers;
