//! Moving published events off: old ones are written as JSON lines, where somebody wants them, and then deleted.

mod shelf;

use serde_json::value::RawValue;
use steadfast_core::Timestamp;
use steadfast_db::Db;
use tokio::io::AsyncWrite;

use crate::store::Row;
use crate::{Error, Outbox};

pub(crate) use shelf::Shelf;

/// Where archived events go: one JSON object per line.
pub type Target<'a> = &'a mut (dyn AsyncWrite + Unpin + Send);

/// Archives published events that were written and published before `before`, oldest first, at most `limit` in one commit,
/// and says how many; call it again until it says 0. An event that waits, any later one of its aggregate that was
/// published out of turn, and the newest row stay.
///
/// With a `target` the events are written there first, and deleted only after it was flushed; the caller makes it
/// durable. A crash in between writes them again: an archive is read by `event_id`.
///
/// # Errors
/// [`Error::Archive`] when the target fails; then nothing is deleted.
pub async fn archive(db: &Db, before: Timestamp, limit: u32, target: Option<Target<'_>>) -> Result<u64, Error> {
    Outbox::from(db.clone()).archive(before, limit, target).await
}

/// One event as it stands in the archive; the payload and the headers byte for byte as they were stored.
pub(crate) fn line(row: &Row, published_at: Option<Timestamp>) -> Result<String, Error> {
    #[derive(serde::Serialize)]
    struct Line<'a> {
        id: i64,
        event_id: String,
        aggregate_type: &'a str,
        aggregate_id: &'a str,
        event_type: &'a str,
        sequence: i64,
        created_at: Timestamp,
        published_at: Option<Timestamp>,
        payload: &'a RawValue,
        headers: Option<&'a RawValue>,
    }
    let corrupt = |_| Error::Corrupt { id: row.id, fault: "its payload or headers are not JSON" };
    let line = Line {
        id: row.id,
        event_id: row.event_id.to_string(),
        aggregate_type: &row.aggregate_type,
        aggregate_id: &row.aggregate_id,
        event_type: &row.event_type,
        sequence: row.sequence,
        created_at: row.created_at,
        published_at,
        payload: serde_json::from_str(&row.payload).map_err(corrupt)?,
        headers: row.headers.as_deref().map(serde_json::from_str).transpose().map_err(corrupt)?,
    };
    serde_json::to_string(&line).map_err(corrupt)
}
