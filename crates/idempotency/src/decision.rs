//! The life of a record as functions of values: no I/O, no clock, no randomness. Every store runs these, and the model
//! checker runs the same.
//!
//! A transition is decided from the record that was *seen* and comes with that record's [`Stamp`]. A store may write it
//! only where the record still has the stamp ([`Change::apply`]); otherwise somebody else was faster, and the store
//! reads and decides again. That compare is all that keeps a late finisher from overwriting the answer of the one that
//! took over, and a second claim from executing beside the first.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use steadfast_core::Timestamp;

use crate::record::{Owner, Record, RecordId, Stamp, State};
use crate::{Answer, Fingerprint};

/// A request that wants to be executed.
#[derive(Clone)]
pub struct Claim {
    /// The record's name.
    pub id: RecordId,
    /// Method and route template.
    pub scope: Arc<str>,
    /// Who asks.
    pub subject: Arc<str>,
    /// The login that the answer ends with, where it does.
    pub login: Option<Arc<str>>,
    /// Whether the answer must not be kept in any case.
    pub forgotten: bool,
    /// What is asked for.
    pub fingerprint: Fingerprint,
    /// The token of this attempt.
    pub owner: Owner,
    /// How long the claim stands without being renewed.
    pub lease: Duration,
    /// How long the record lives.
    pub ttl: Duration,
    /// Whether an attempt whose outcome is unknown may be repeated. Where it may not, such a record has no end until
    /// somebody resolves it: an outcome that nobody knows must not become a second execution by waiting a day.
    pub take_over: bool,
}

impl fmt::Debug for Claim {
    /// Without the names of the user and the login.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("id", &self.id).field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// What happens to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is executed by the one who asked.
    Execute {
        /// 1 for the first.
        attempt: u32,
        /// What is known of the attempts before.
        prior: Prior,
    },
    /// Somebody else is executing it.
    InFlight,
    /// An earlier attempt may have taken effect and nobody knows.
    Held,
    /// The key was used for another request.
    Mismatch,
    /// It has been executed: this was the answer.
    Replay(Arc<Answer>),
    /// It has been executed: of the answer only this is left.
    Gone(Arc<Answer>),
    /// The record bears another user's name or another scope than its own name says: corruption, or an attack.
    Foreign,
}

/// What is known of the attempts before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prior {
    /// There was none.
    None,
    /// It stopped renewing its lease, and may still run.
    Lapsed,
    /// It ended without a known outcome.
    Unknown,
}

/// One conditional write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The state that the writer saw; `None` for no record at all.
    pub seen: Option<Stamp>,
    /// What stands there afterwards; `None` for no record.
    pub then: Option<Record>,
}

impl Change {
    fn from(seen: Option<&Record>, then: Option<Record>) -> Self {
        Self { seen: seen.map(Record::stamp), then }
    }

    /// Compare and set: writes only where the record is still the one that was seen, and says whether it did.
    pub fn apply(self, slot: &mut Option<Record>) -> bool {
        let same = slot.as_ref().map(Record::stamp) == self.seen;
        if same {
            *slot = self.then;
        }
        same
    }
}

/// Decides what happens to a request, given the record that was seen.
pub fn claim(seen: Option<&Record>, claim: &Claim, now: Timestamp) -> (Decision, Option<Change>) {
    let record = match seen {
        Some(record) if record.scope != claim.scope || record.subject != claim.subject => {
            return (Decision::Foreign, None);
        }
        Some(record) if !record.is_expired(now) => record,
        absent => {
            let first = Decision::Execute { attempt: 1, prior: Prior::None };
            return (first, Some(Change::from(absent, Some(claim.first_record(now)))));
        }
    };
    if !record.fingerprint.matches(&claim.fingerprint) {
        return (Decision::Mismatch, None);
    }
    match &record.state {
        State::Done(answer) if answer.body.is_none() => (Decision::Gone(Arc::clone(answer)), None),
        State::Done(answer) => (Decision::Replay(Arc::clone(answer)), None),
        // The reply to this claim was lost and it was sent again.
        State::Pending { .. } if record.owner == claim.owner => {
            let prior = if record.unsure { Prior::Lapsed } else { Prior::None };
            (Decision::Execute { attempt: record.attempt, prior }, None)
        }
        State::Pending { lease_until } if *lease_until > now => (Decision::InFlight, None),
        State::Pending { .. } | State::Unknown { .. } if !claim.take_over => (Decision::Held, None),
        state => {
            let prior = if matches!(state, State::Unknown { .. }) { Prior::Unknown } else { Prior::Lapsed };
            let next = Record {
                owner: claim.owner,
                attempt: record.attempt.saturating_add(1),
                unsure: true,
                login: claim.login.clone(),
                forgotten: record.forgotten || claim.forgotten,
                expires_at: Some(now + claim.ttl.max(claim.lease)),
                state: State::Pending { lease_until: now + claim.lease },
                ..record.clone()
            };
            (Decision::Execute { attempt: next.attempt, prior }, Some(Change::from(Some(record), Some(next))))
        }
    }
}

impl Claim {
    /// The record that this claim writes where there is none.
    pub fn first_record(&self, now: Timestamp) -> Record {
        Record {
            scope: Arc::clone(&self.scope),
            subject: Arc::clone(&self.subject),
            fingerprint: self.fingerprint,
            owner: self.owner,
            attempt: 1,
            unsure: false,
            login: self.login.clone(),
            forgotten: self.forgotten,
            claimed_at: now,
            expires_at: self.take_over.then(|| now + self.ttl.max(self.lease)),
            state: State::Pending { lease_until: now + self.lease },
        }
    }
}

/// What the owner of a claim says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It still runs.
    Renew {
        /// From now on.
        lease: Duration,
    },
    /// It was executed, and this is the answer.
    Complete(Arc<Answer>),
    /// It was not executed, for certain.
    Abandon,
    /// Nobody knows whether it took effect.
    Unknown,
}

/// What becomes of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reported {
    /// It stands, or stood already.
    Accepted,
    /// The claim is no longer the reporter's; this is what stands there instead.
    Lost(Option<Record>),
}

/// Decides what the owner's report does to the record that was seen. A report may be repeated.
pub fn report(
    seen: Option<&Record>,
    owner: Owner,
    report: &Report,
    ttl: Duration,
    now: Timestamp,
) -> (Reported, Option<Change>) {
    let Some(record) = seen.filter(|record| record.owner == owner) else {
        let repeated = seen.is_none() && *report == Report::Abandon;
        return (if repeated { Reported::Accepted } else { Reported::Lost(seen.cloned()) }, None);
    };
    let with = |state: State, expires_at: Option<Timestamp>| {
        Some(Change::from(Some(record), Some(Record { expires_at, state, ..record.clone() })))
    };
    // A record without an end keeps none until its outcome is known.
    let open_end = record.expires_at.map(|_| now + ttl);
    let change = match (&record.state, report) {
        (State::Done(_), _) | (State::Unknown { .. }, Report::Abandon | Report::Unknown) => None,
        (State::Unknown { .. }, Report::Renew { .. }) => return (Reported::Lost(Some(record.clone())), None),
        (State::Pending { .. }, Report::Renew { lease }) => {
            with(State::Pending { lease_until: now + *lease }, record.expires_at.map(|_| now + ttl.max(*lease)))
        }
        (_, Report::Complete(answer)) => {
            let kept = if record.forgotten { Arc::new(answer.forgotten()) } else { Arc::clone(answer) };
            with(State::Done(kept), Some(now + ttl))
        }
        // This attempt did nothing, but one before it may have: the doubt stays.
        (State::Pending { .. }, Report::Abandon) if record.unsure => with(State::Unknown { since: now }, open_end),
        (State::Pending { .. }, Report::Abandon) => Some(Change::from(Some(record), None)),
        (State::Pending { .. }, Report::Unknown) => with(State::Unknown { since: now }, open_end),
    };
    (Reported::Accepted, change)
}

/// What an operator found out about an unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Nothing was executed: the next request with this key is.
    NotExecuted,
    /// It was executed, and this is to be the answer.
    Executed(Arc<Answer>),
}

/// What becomes of a resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolved {
    /// It stands.
    Done,
    /// There is no such record.
    Absent,
    /// The record is not the one that was looked at, or nothing is unknown about it.
    Changed,
    /// Somebody is executing it at present.
    InFlight,
}

/// Decides what an operator's word does to the record. `expected` is the owner of the record that the operator looked
/// at; `token` marks the record as written by the operator, so that the lost owner cannot overwrite it any more.
pub fn resolve(
    seen: Option<&Record>,
    expected: Owner,
    resolution: &Resolution,
    token: Owner,
    ttl: Duration,
    now: Timestamp,
) -> (Resolved, Option<Change>) {
    let Some(record) = seen.filter(|record| !record.is_expired(now)) else { return (Resolved::Absent, None) };
    if record.owner != expected || matches!(record.state, State::Done(_)) {
        return (Resolved::Changed, None);
    }
    if !record.is_unresolved(now) {
        return (Resolved::InFlight, None);
    }
    let then = match resolution {
        Resolution::NotExecuted => None,
        Resolution::Executed(answer) => {
            let kept = if record.forgotten { Arc::new(answer.forgotten()) } else { Arc::clone(answer) };
            Some(Record { owner: token, expires_at: Some(now + ttl), state: State::Done(kept), ..record.clone() })
        }
    };
    (Resolved::Done, Some(Change::from(Some(record), then)))
}

/// Decides what the end of a login does to a record that belongs to it: the answer goes, the fact stays.
pub fn forget(record: &Record) -> Option<Change> {
    let state = match &record.state {
        State::Done(answer) => State::Done(Arc::new(answer.forgotten())),
        open => open.clone(),
    };
    let next = Record { forgotten: true, state, ..record.clone() };
    (next != *record).then(|| Change::from(Some(record), Some(next)))
}
