//! Projections against a real database.
#![cfg(test)]

mod audit;
mod declared;
mod exactly_once;
mod invariant;
mod observed;
mod operator;
mod order;
mod plans;
mod speed;
mod support;
