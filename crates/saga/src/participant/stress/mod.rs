//! A participant under stress: whose turn it is, and when it is left alone.
//!
//! [`state`] decides, as a function of values; the [`Gate`] here waits and counts slots. Down for 20 minutes with 50,000
//! sagas waiting, a participant gets at most one call a second, and none of the sagas loses an attempt: what is turned
//! away has not been sent.

mod gate;
mod queue;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use gate::{Gate, Limits};
pub(crate) use state::{Class, Signal};
