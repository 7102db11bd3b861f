//! Who asks: JSON Web Tokens (RFC 7519) in, [`steadfast_core::Principal`] out.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//! use http::{HeaderMap, header::AUTHORIZATION};
//! use steadfast_host::{auth::{Key, Minter, Verifier}, clock::System};
//!
//! let secret = b"at least thirty-two bytes of noise";
//! let minter = Minter::new("dev", secret, "https://shop.example", "shop", Arc::new(System))?;
//! let verifier = Verifier::new("https://shop.example", "shop", [Key::hs256("dev", secret)?], Arc::new(System))?;
//! let mut headers = HeaderMap::new();
//! let token = minter.mint("till-7", ["order.place"], Duration::from_secs(3600));
//! headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
//! let principal = verifier.authenticate(&headers).unwrap();
//! assert!(principal.may("order.place"));
//! # Ok::<(), steadfast_host::Error>(())
//! ```

mod key;
mod mint;
mod verify;

pub use key::{Algorithm, Key, KeyConfig, KeyKind};
pub use mint::Minter;
pub use verify::{Config, Verifier, authenticate};
