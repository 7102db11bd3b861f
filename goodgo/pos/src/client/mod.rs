//! A small HTTP/1.1 client: kept connections, a limit on time, and the bad manners of real tills.
//!
//! It can do what libraries hide: hang up in the middle of a request or before the answer, on purpose
//! ([`Client::hang_up`]). An error says whether the request may have been processed ([`Error::was_sent`]), which decides
//! whether only the same `Idempotency-Key` may be used again.

mod answer;
mod error;
mod hang_up;
mod pool;
mod request;

pub use answer::Answer;
pub use error::Error;
pub use hang_up::HangUp;
pub use pool::{Client, Limits};
pub use request::{Request, segment};
