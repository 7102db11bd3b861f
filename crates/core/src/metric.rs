//! The names of all metrics, each with its help text. Labels are bounded: never an id.

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution, in seconds.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// As Prometheus sees it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($const:ident = $name:literal, $kind:ident, $help:literal;)*) => {
        $(#[doc = $help] pub const $const: &str = $name;)*

        /// Every metric that any part of the platform can serve.
        pub const ALL: &[Metric] = &[$(Metric { name: $name, kind: Kind::$kind, help: $help }),*];
    };
}

metrics! {
    SAGA_EXECUTIONS = "saga_executions_total", Counter, "Sagas that ended, by outcome (success, failure).";
    SAGA_DURATION = "saga_duration_seconds", Histogram, "Time from a saga's start to its end.";
    SAGA_COMPENSATIONS = "saga_compensations_total", Counter, "Compensations that were executed.";
    SAGA_TIMEOUT = "saga_timeout_total", Counter, "Sagas that timed out.";
    SAGA_PENDING = "saga_pending_count", Gauge, "Sagas that are executing: pending, running or compensating.";
    SAGA_PARKED = "saga_parked_count", Gauge, "Sagas that wait for an operator.";
    SAGA_OLDEST_ACTIVE = "saga_oldest_active_seconds", Gauge, "Age of the oldest saga that is executing, by definition.";
    SAGA_COMMITS = "saga_journal_commits_total", Counter, "Commits of the saga journal.";
    SAGA_INVARIANT = "saga_invariant_violations_total", Counter, "Broken invariants of the orchestrator; always 0.";
    OUTBOX_EVENTS = "outbox_events_total", Counter, "Events written to an outbox.";
    OUTBOX_PUBLISHED = "outbox_published_total", Counter, "Events published.";
    OUTBOX_LAG = "outbox_processing_lag_seconds", Gauge, "Time from write to publication, by quantile, over the last minute and what still waits.";
    OUTBOX_TABLE_SIZE = "outbox_table_size", Gauge, "Rows in the outbox.";
    OUTBOX_FAILED = "outbox_failed_events_total", Counter, "Publications that failed.";
    OUTBOX_PARKED = "outbox_parked_aggregates", Gauge, "Aggregates held back by an event that cannot be published.";
    IDEMPOTENCY_CHECKS = "idempotency_checks_total", Counter, "Requests whose idempotency key was checked.";
    IDEMPOTENCY_HITS = "idempotency_hits_total", Counter, "Duplicate requests that were prevented.";
    IDEMPOTENCY_TTL = "idempotency_key_ttl_seconds", Gauge, "Average time to live of keys.";
    IDEMPOTENCY_REDIS_ERRORS = "idempotency_redis_errors_total", Counter, "Errors of Redis during a check.";
    IDEMPOTENCY_TAKEOVERS = "idempotency_takeovers_total", Counter, "Claims taken over after their lease had lapsed.";
    LOCK_CONFLICTS = "optimistic_lock_conflicts_total", Counter, "Version conflicts detected.";
    LOCK_RETRIES = "optimistic_lock_retries_total", Counter, "Attempts made again after a conflict.";
    LOCK_SUCCESS_RATE = "optimistic_lock_success_rate", Gauge, "Updates that succeed, in percent.";
    LOCK_ATTEMPTS = "optimistic_lock_attempts_total", Counter, "Versioned updates attempted.";
    PROJECTION_LAG = "projection_lag_seconds", Gauge, "Time from an event's commit to its visibility in the read model.";
    PROJECTION_EVENTS = "projection_events_total", Counter, "Events that a projection met, by what became of them.";
    PROJECTION_PARKED = "projection_parked_events", Gauge, "Events that wait for an earlier one of their aggregate.";
    CONSISTENCY_RATE = "data_consistency_rate", Gauge, "Sagas that were consistent in time, in percent.";
    CONSISTENCY_TIME = "data_consistency_time_seconds", Histogram, "Time from a saga's acceptance to consistency.";
    CONSISTENCY_VIOLATIONS = "data_consistency_violations_total", Counter, "Violated invariants, by invariant.";
    CONFLICT_RESOLUTION = "conflict_resolution_success_rate", Gauge, "Conflicts that a retry resolved, in percent.";
}
