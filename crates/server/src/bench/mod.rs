//! Measurements beside their limits, in one run on one machine.

pub(crate) mod saga;
mod store;
mod usage;
