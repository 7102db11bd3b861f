//! Why no answer came.

use std::io;
use std::time::Duration;

/// No answer, or none that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens there: the request was surely not sent.
    #[error("{authority} cannot be reached")]
    Connect {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The request cannot be put on the wire.
    #[error("the request to {authority} cannot be written as HTTP")]
    Request {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: http::Error,
    },
    /// The connection ended before the whole answer was there.
    #[error("{authority} cut the connection before its answer was complete")]
    Cut {
        /// Host and port.
        authority: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer did not come in time.
    #[error("{authority} did not answer within {limit:?}")]
    TimedOut {
        /// Host and port.
        authority: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The answer's body is not the JSON that was expected.
    #[error("an answer with status {status} is not the JSON that was expected")]
    Json {
        /// The answer's status.
        status: u16,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// Whether the request may have been processed, as far as can be told from here.
    pub const fn was_sent(&self) -> bool {
        !matches!(self, Self::Connect { .. } | Self::Request { .. })
    }
}
