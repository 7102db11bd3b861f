//! Measurements beside their limits, in one run on one machine.

mod load;
mod report;
pub(crate) mod saga;
mod store;
mod usage;
