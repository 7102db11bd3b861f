//! Configuration: one TOML file, each key also an environment variable, and flags above both. A key that nobody knows and
//! a value that does not fit are named with their place and the way out.
//!
//! ```
//! use serde::Deserialize;
//! use steadfast_host::config::Source;
//!
//! #[derive(Debug, Deserialize)]
//! struct Config { server: Server }
//! #[derive(Debug, Deserialize)]
//! struct Server { listen: String, #[serde(default)] workers: u32 }
//!
//! let loaded = Source::new()
//!     .text("shop.toml", "[server]\nlisten = '127.0.0.1:8080'\nworkers = 2")?
//!     .environment("SHOP", [("SHOP_SERVER__WORKERS".to_owned(), "4".to_owned())], &[])?
//!     .load::<Config>()?;
//! assert_eq!((loaded.value.server.listen.as_str(), loaded.value.server.workers), ("127.0.0.1:8080", 4));
//!
//! let fault = Source::new().text("shop.toml", "[server]\nlisten = 'x'\nworker = 2")?.load::<Config>().unwrap_err();
//! assert_eq!(fault.to_string(), "server.worker (shop.toml, line 3) is not a key: did you mean server.workers?");
//! # Ok::<(), steadfast_host::Error>(())
//! ```
//!
//! The known keys are the fields of the type that is loaded: there is no second list of them. They are seen in structs;
//! under `#[serde(flatten)]`, `tag` and `untagged` serde does not show them, so avoid these in a configuration.

mod database;
mod de;
pub mod duration;
mod fault;
mod kafka;
mod secret;
mod source;
mod tree;

pub use database::Database;
pub use fault::Fault;
pub use kafka::Kafka;
pub use secret::Secret;
pub use source::{Loaded, Setting, Source};
