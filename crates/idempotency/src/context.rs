//! What a handler learns about its execution, from the request's extensions.

use std::fmt;
use std::sync::Arc;

use steadfast_core::{hex, sha256};

use crate::decision::Prior;
use crate::key::IdempotencyKey;
use crate::record::RecordId;

/// An execution under a key.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    id: RecordId,
    key: IdempotencyKey,
    attempt: u32,
    prior: Prior,
}

impl Context {
    pub(crate) fn new(id: RecordId, key: IdempotencyKey, attempt: u32, prior: Prior) -> Self {
        Self(Arc::new(Inner { id, key, attempt, prior }))
    }

    /// The client's key.
    pub fn idempotency_key(&self) -> &str {
        self.0.key.as_str()
    }

    /// A key for one call that the handler makes, such as `ctx.key("charge")`: the same over all attempts, also when
    /// the record was lost in between, and another for every user, route and key.
    pub fn key(&self, call: &str) -> String {
        hex(&sha256(&[b"downstream", self.0.id.as_bytes(), call.as_bytes()]))
    }

    /// 1 for the first attempt.
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// What is known of the attempts before this one.
    pub fn prior(&self) -> Prior {
        self.0.prior
    }

    /// Whether an attempt before this one may have taken effect: look before you act, or rely on [`Context::key`].
    pub fn takeover(&self) -> bool {
        self.0.prior != Prior::None
    }

    /// The record's name, as `list` and `show` print it.
    pub fn record(&self) -> RecordId {
        self.0.id
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("record", &self.0.id).field("attempt", &self.0.attempt).finish_non_exhaustive()
    }
}
