//! What every process of the platform needs and no pattern does: configuration, a clock, logs, metrics, health,
//! problems over HTTP, authentication, a server that drains, and the signal that tells it to.
//!
//! ```
//! # async fn example() -> Result<(), steadfast_host::Error> {
//! use axum::{Router, routing::get};
//! use steadfast_host::{health::Health, problem, serve, trace};
//! use tokio_util::sync::CancellationToken;
//!
//! let health = Health::new();
//! let router = Router::new()
//!     .route("/v1/hello", get(|| async { "hello" }))
//!     .merge(health.router())
//!     .layer(axum::middleware::from_fn(trace::request));
//! let listener = serve::bind("127.0.0.1:0", "server.listen").await?;
//! let stop = CancellationToken::new(); // shutdown::on_signal() in a program
//! # stop.cancel();
//! serve::serve(listener, problem::with_fallbacks(router), serve::Limits::default(), stop).await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```
//!
//! It knows no database, no saga and no event. TLS ends in front of it.

mod error;

pub mod auth;
pub mod clock;
#[cfg(feature = "command")]
pub mod command;
pub mod config;
pub mod health;
pub mod json;
pub mod metrics;
pub mod patience;
pub mod problem;
pub mod process;
pub mod room;
pub mod serve;
pub mod shutdown;
pub mod slot;
pub mod telemetry;
pub mod trace;

pub use error::Error;
