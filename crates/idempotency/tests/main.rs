//! The one integration binary of the package.
#![cfg(test)]

mod conformance;
mod ends;
mod fingerprints;
mod http;
mod model;
mod order;
mod speed;
mod support;
mod transactional;
