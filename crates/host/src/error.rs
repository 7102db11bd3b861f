//! What can go wrong before or around the serving of requests.

use std::io;
use std::path::PathBuf;

use steadfast_core::{Classified, ErrorKind};

/// An error of a process around its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is taken.
    #[error("{address} is in use by another process: stop that one, or set {key} to another address")]
    AddressInUse {
        /// The address.
        address: String,
        /// The configuration key or flag that changes it.
        key: String,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}, which {key} names: expected an address of this machine, such as 127.0.0.1:8080"
    )]
    Bind {
        /// The address.
        address: String,
        /// The configuration key or flag that changes it.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The listener failed for good.
    #[error("the listener failed")]
    Listen(#[source] io::Error),
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signal(#[source] io::Error),
    /// A file of the configuration cannot be read.
    #[error("{path} cannot be read: check the path and the rights of this user ({names})")]
    Read {
        /// The file.
        path: PathBuf,
        /// What names the file.
        names: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The configuration is at fault.
    #[error(transparent)]
    Config(#[from] crate::config::Fault),
    /// The filter of the log is not valid.
    #[error("the log filter {filter:?} is not valid: expected something like info or warn,steadfast_saga=debug")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another part of the process has installed its own.
    #[error("{0} is already installed in this process by something else")]
    Installed(&'static str),
    /// What a service needs is at fault for good.
    #[error("the {name} service cannot work")]
    Open {
        /// The service.
        name: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A task of the process panicked.
    #[error("{0} has broken off: please report this bug")]
    Broken(&'static str),
    /// A key for tokens is not usable.
    #[error("auth.keys: the key {kid:?} is not usable: {fault}")]
    Key {
        /// The key's id.
        kid: String,
        /// Why.
        fault: String,
    },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::AddressInUse { .. } | Self::Listen(_) | Self::Signal(_) => ErrorKind::Transient,
            Self::Bind { .. } | Self::Read { .. } | Self::Config(_) | Self::Filter { .. } | Self::Key { .. } => {
                ErrorKind::Invalid
            }
            Self::Open { .. } => ErrorKind::Refused,
            Self::Installed(_) | Self::Broken(_) => ErrorKind::Bug,
        }
    }
}
