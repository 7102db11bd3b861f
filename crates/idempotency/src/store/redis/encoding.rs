//! A record as the value of one key.
//!
//! ```text
//! 0  format 1
//! 1  owner, 16 bytes ┐ the head: what a compare-and-set
//! 17 mark, 8 bytes   ┘ compares, new with every write
//! 25 phase: 0 pending, 1 unknown, 2 done, 3 tombstone
//! 26 flags: 1 the login has ended, 2 an attempt before this one is in doubt
//! 27 span: ms from this write to the record's end
//! 35 lease: ms from this write to the lease's end
//! 43 attempt, claimed at, fingerprint, scope, subject, login
//! …  status, headers, body (done and tombstone only)
//! ```
//!
//! There is no absolute time of a lease in it: the server knows when a key ends, and the value how long before that it
//! was written. So a lease is reckoned by the clock of the server alone, and a claim is one plain command.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use steadfast_core::Timestamp;

use crate::record::{Owner, Record, RecordId, State};
use crate::store::headers;
use crate::{Answer, Error, Fingerprint};

const FORMAT: u8 = 1;
pub(super) const HEAD: usize = 25;
const FIXED: usize = 43;

const PENDING: u8 = 0;
const UNKNOWN: u8 = 1;
pub(super) const DONE: u8 = 2;
pub(super) const TOMBSTONE: u8 = 3;

const FORGOTTEN: u8 = 1;
const UNSURE: u8 = 2;

/// The span of a record that somebody has to resolve first: a hundred years stand for no end, because the lease is
/// reckoned from the key's end.
const NO_END: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// Changes with every write, so that a write can name exactly what its writer saw.
pub(super) type Mark = [u8; 8];

/// The mark of a claim where there was no record: two claims differ in their owners.
pub(super) const FIRST: Mark = [0; 8];

/// A mark that no other write of this owner bears.
pub(super) fn mark() -> Mark {
    // Never that of a first claim.
    (fastrand::u64(..) | 1).to_be_bytes()
}

/// A record as it is written at `now`: the value, and its time to live in milliseconds.
pub(super) fn encode(record: &Record, now: Timestamp, mark: Mark) -> (Vec<u8>, u64) {
    let span = record.expires_at.map_or(NO_END, |at| millis(at.since(now)).clamp(1, NO_END - 1));
    let (phase, lease, answer) = match &record.state {
        State::Pending { lease_until } => (PENDING, millis(lease_until.since(now)), None),
        State::Unknown { .. } => (UNKNOWN, 0, None),
        State::Done(answer) => (phase_of(answer), 0, Some(answer)),
    };
    let body = answer.and_then(|answer| answer.body.as_ref()).map_or(0, Bytes::len);
    let mut out = Vec::with_capacity(FIXED + 128 + record.scope.len() + record.subject.len() + body);
    out.push(FORMAT);
    out.extend_from_slice(record.owner.as_bytes());
    out.extend_from_slice(&mark);
    out.push(phase);
    out.push((u8::from(record.forgotten) * FORGOTTEN) | (u8::from(record.unsure) * UNSURE));
    out.extend_from_slice(&span.to_be_bytes());
    out.extend_from_slice(&lease.to_be_bytes());
    out.extend_from_slice(&record.attempt.to_be_bytes());
    out.extend_from_slice(&record.claimed_at.as_millis().to_be_bytes());
    put(&mut out, &record.fingerprint.to_bytes());
    put(&mut out, record.scope.as_bytes());
    put(&mut out, record.subject.as_bytes());
    match &record.login {
        None => out.push(0),
        Some(login) => {
            out.push(1);
            put(&mut out, login.as_bytes());
        }
    }
    if let Some(answer) = answer {
        put_answer(&mut out, answer);
    }
    (out, span)
}

/// An answer as the end of a value.
pub(super) fn put_answer(out: &mut Vec<u8>, answer: &Answer) {
    out.extend_from_slice(&answer.status.as_u16().to_be_bytes());
    put(out, &headers::encode(answer));
    out.extend_from_slice(answer.body.as_deref().unwrap_or_default());
}

/// The phase of a record that was executed.
pub(super) fn phase_of(answer: &Answer) -> u8 {
    if answer.body.is_some() { DONE } else { TOMBSTONE }
}

/// What a compare-and-set compares.
pub(super) fn head(value: &[u8]) -> &[u8] {
    &value[..HEAD.min(value.len())]
}

/// Whether the beginning of a value says that nobody, or not yet everybody, knows its outcome.
pub(super) fn is_open(start: &[u8]) -> bool {
    start.get(HEAD).is_none_or(|phase| *phase < DONE)
}

/// When a value was written, given the end of its key.
pub(super) fn written_at(value: &[u8], ends_at: Timestamp) -> Option<Timestamp> {
    let span = u64::from_be_bytes(value.get(27..35)?.try_into().ok()?);
    Some(ends_at - Duration::from_millis(span))
}

/// The record that was written at `written`.
pub(super) fn decode(id: RecordId, value: &Bytes, written: Timestamp) -> Result<Record, Error> {
    let corrupt = |fault| Error::Corrupt { id: id.to_string(), fault };
    if value.first() != Some(&FORMAT) {
        return Err(corrupt("its value is none, or was written by a newer version"));
    }
    read(value, written).ok_or_else(|| corrupt("its value contradicts itself"))
}

fn read(value: &Bytes, written: Timestamp) -> Option<Record> {
    let mut rest = Reader { bytes: value, at: 1 };
    let owner = Owner::from_slice(rest.take(16)?)?;
    rest.take(8)?;
    let [phase, flags] = rest.array::<2>()?;
    let span = u64::from_be_bytes(rest.array()?);
    let lease = u64::from_be_bytes(rest.array()?);
    let attempt = u32::from_be_bytes(rest.array()?);
    let claimed_at = Timestamp::from_millis(i64::from_be_bytes(rest.array()?));
    let fingerprint = Fingerprint::from_bytes(rest.part()?)?;
    let scope = rest.text()?.into();
    let subject = rest.text()?.into();
    let login = match rest.array::<1>()? {
        [0] => None,
        [1] => Some(rest.text()?.into()),
        _ => return None,
    };
    let state = match phase {
        PENDING => State::Pending { lease_until: written + Duration::from_millis(lease) },
        UNKNOWN => State::Unknown { since: written },
        DONE | TOMBSTONE => State::Done(Arc::new(rest.answer(phase == DONE)?)),
        _ => return None,
    };
    Some(Record {
        scope,
        subject,
        fingerprint,
        owner,
        attempt,
        unsure: flags & UNSURE != 0,
        login,
        forgotten: flags & FORGOTTEN != 0,
        claimed_at,
        expires_at: (span < NO_END).then(|| written + Duration::from_millis(span)),
        state,
    })
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let part = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(length).ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.part()?).ok()
    }

    fn answer(&mut self, whole: bool) -> Option<Answer> {
        let status = StatusCode::from_u16(u16::from_be_bytes(self.array()?)).ok()?;
        let headers = headers::decode(self.part()?)?;
        let body = whole.then(|| self.bytes.slice(self.at..));
        Some(Answer { headers, body, ..Answer::new(status) })
    }
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(part);
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};

    use super::*;

    fn record(state: State, expires_at: Option<Timestamp>) -> Record {
        Record {
            scope: "POST /orders".into(),
            subject: "u".into(),
            fingerprint: Fingerprint::of_data(b"{}"),
            owner: Owner::from_bytes([7; 16]),
            attempt: 3,
            unsure: true,
            login: Some("l".into()),
            forgotten: false,
            claimed_at: Timestamp::from_millis(5),
            expires_at,
            state,
        }
    }

    fn there_and_back(record: &Record, now: Timestamp) -> Record {
        let (value, span) = encode(record, now, mark());
        let value = Bytes::from(value);
        let written = written_at(&value, now + Duration::from_millis(span)).unwrap();
        decode(RecordId::derive("s", "u", "k"), &value, written).unwrap()
    }

    #[test]
    fn every_state_reads_back_with_its_times() {
        let now = Timestamp::from_millis(1_000_000);
        let end = Some(now + Duration::from_hours(24));
        let answer = Answer::new(StatusCode::CREATED)
            .with_header(header::ETAG, HeaderValue::from_static("\"1\""))
            .with_body("body");
        for state in [
            State::Pending { lease_until: now + Duration::from_secs(30) },
            State::Unknown { since: now },
            State::Done(Arc::new(answer.clone())),
            State::Done(Arc::new(Answer::new(StatusCode::NO_CONTENT))),
            State::Done(Arc::new(answer.entombed())),
        ] {
            let mut one = record(state, end);
            assert_eq!(there_and_back(&one, now), one);
            (one.forgotten, one.unsure, one.login, one.expires_at) = (true, false, None, None);
            assert_eq!(there_and_back(&one, now), one, "without an end");
        }
    }

    #[test]
    fn the_end_of_a_lease_is_reckoned_from_the_end_of_the_key() {
        let now = Timestamp::from_millis(1_000_000);
        let one = record(State::Pending { lease_until: now + Duration::from_secs(30) }, None);
        let (value, span) = encode(&one, now, FIRST);
        // The server's clock is another: it knows when the key ends, and nothing else.
        let ends_at = Timestamp::from_millis(77_000) + Duration::from_millis(span);
        let written = written_at(&value, ends_at).unwrap();
        let seen = decode(RecordId::derive("s", "u", "k"), &Bytes::from(value), written).unwrap();
        assert_eq!(seen.state, State::Pending { lease_until: Timestamp::from_millis(107_000) });
    }

    #[test]
    fn a_damaged_value_is_corrupt_and_never_another_record() {
        let now = Timestamp::from_millis(1);
        let id = RecordId::derive("s", "u", "k");
        let done = State::Done(Arc::new(Answer::new(StatusCode::OK).with_body("b")));
        let (value, _) = encode(&record(done, None), now, mark());
        for cut in 0..value.len() - 1 {
            assert!(decode(id, &Bytes::copy_from_slice(&value[..cut]), now).is_err(), "{cut}");
        }
        let mut newer = value;
        newer[0] = 2;
        assert!(decode(id, &Bytes::from(newer), now).unwrap_err().to_string().contains("newer"));
    }
}
