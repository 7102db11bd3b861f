//! Sagas: workflows across services that end whole or are taken back.
//!
//! Two sides share this crate:
//! - A **participant** puts [`barrier::run`] around what a saga route does: each effect happens once, whatever is repeated,
//!   late, lost or taken back before it arrived.
//! - An **orchestrator** (feature `engine`) runs definitions: [`definition`] reads them, [`machine`] decides, [`engine`]
//!   calls and commits, [`journal`] keeps.
//!
//! It promises that every accepted saga is settled, or parked for an operator with a list of what is left; that an
//! effect of a saga whose participants keep a barrier takes place once if the saga completes and not at all if it is
//! compensated; and that nothing takes effect after the settlement. It does not promise isolation: between the steps of
//! one saga others see what was done so far.

mod error;
#[cfg(feature = "engine")]
mod metrics;

pub mod barrier;
#[cfg(feature = "engine")]
pub mod definition;
#[cfg(feature = "engine")]
pub mod engine;
#[cfg(feature = "engine")]
pub mod journal;
#[cfg(feature = "engine")]
pub mod machine;
pub mod participant;

pub use error::Error;
