//! Security events: what an operator's monitoring looks for, under the log target `security`. They name kind of row,
//! user and key id; never a key, a version or a value.

const NOBODY: &str = "-";

/// A change that lost against another user's.
pub(crate) fn conflict(entity: &str, user: Option<&str>, key_id: Option<&str>) {
    tracing::warn!(
        target: "security",
        event = "version_conflict",
        entity,
        user = user.unwrap_or(NOBODY),
        key_id = key_id.unwrap_or(NOBODY),
        "version conflict"
    );
}

/// An entity tag under one of our key ids that we never issued for this row, variant and user.
pub(crate) fn forged_etag(entity: &str, user: Option<&str>, key_id: &str) {
    tracing::warn!(
        target: "security",
        event = "etag_invalid",
        entity,
        user = user.unwrap_or(NOBODY),
        key_id,
        "entity tag with a wrong MAC"
    );
}

/// A version in a request's body.
pub(crate) fn version_in_body(field: &str) {
    tracing::warn!(target: "security", event = "version_in_body", field, "a client sent a version");
}

/// A user beyond the limit.
pub(crate) fn rate_limited(policy: &'static str, user: &str) {
    tracing::warn!(target: "security", event = "rate_limited", policy, user, "too many requests of one user");
}
