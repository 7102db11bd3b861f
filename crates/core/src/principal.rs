//! Who asks.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The authenticated caller of a request: put into the request's extensions by the authentication layer, read by the
/// layers and handlers behind it.
///
/// ```
/// use steadfast_core::Principal;
///
/// let till = Principal::new("till-7", ["order.place"]);
/// assert!(till.may("order.place"));
/// assert!(!till.may("payment.refund"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    subject: String,
    permissions: BTreeSet<String>,
}

impl Principal {
    /// A caller named `subject` who holds `permissions`.
    pub fn new(subject: impl Into<String>, permissions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(Arc::new(Inner {
            subject: subject.into(),
            permissions: permissions.into_iter().map(Into::into).collect(),
        }))
    }

    /// The stable name of the caller, as its token says it (`sub`).
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// All that the caller may do.
    pub fn permissions(&self) -> impl Iterator<Item = &str> {
        self.0.permissions.iter().map(String::as_str)
    }

    /// Whether the caller holds this permission.
    pub fn may(&self, permission: &str) -> bool {
        self.0.permissions.contains(permission)
    }
}
