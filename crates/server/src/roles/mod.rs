//! The roles that the binary can take.

#[cfg(feature = "demo")]
pub(crate) mod demo;
#[cfg(feature = "demo")]
mod embedded;
