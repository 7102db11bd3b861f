//! The one integration binary of the package.
#![cfg(test)]

#[cfg(feature = "postgres")]
mod commit;
mod conformance;
mod ends;
#[cfg(feature = "redis")]
mod failover;
mod fingerprints;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod holder;
mod http;
mod model;
mod order;
#[cfg(feature = "redis")]
mod own_servers;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod servers;
mod speed;
mod support;
mod transactional;
