//! The words that all of Steadfast shares: identities, events, step keys, time, kinds of error, problems and the names
//! of metrics.
//!
//! This crate is pure. It does no I/O, knows no database and no runtime, and reads neither a clock nor a source of
//! randomness: both are arguments ([`Clock`], and seeds or bytes where randomness is needed). Everything that the
//! patterns decide is therefore a function of values and can be tested by property and by simulation.

mod clock;
mod digest;
mod error_kind;
mod event;
mod id;
mod principal;
mod step;

pub mod metric;
pub mod problem;
pub mod retry;
pub mod sealing;

pub use clock::{Clock, Timestamp};
pub use digest::{hex, sha256};
pub use error_kind::{Classified, ErrorKind};
pub use event::{Event, NewEvent};
pub use id::{EventId, IdError, SagaId};
pub use principal::Principal;
pub use problem::Problem;
pub use step::{Knowledge, Op, StepKey, StepKeyError, header};
