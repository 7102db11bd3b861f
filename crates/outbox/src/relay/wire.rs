//! Between rows and records: what is sent, and what the answers mean.

use std::collections::BTreeMap;

use steadfast_bus::Record;
use steadfast_bus::headers::Envelope;
use steadfast_core::{Classified, ErrorKind};

use super::Driver;
use crate::lanes::{Entry, Verdict};
use crate::store::Row;

/// The longest error that is kept of a refused event.
const ERROR_LENGTH: usize = 500;

/// What will be sent, or why it cannot be.
pub(super) type Item = Result<Record, &'static str>;

/// Sends a batch and judges the answers.
pub(super) async fn produce(driver: &Driver, batch: Vec<Item>) -> Vec<Verdict> {
    let mut verdicts = Vec::with_capacity(batch.len());
    let mut records = Vec::with_capacity(batch.len());
    for item in batch {
        match item {
            Ok(record) => {
                records.push(record);
                verdicts.push(Verdict::Acked);
            }
            Err(fault) => verdicts.push(Verdict::Refused(fault.to_owned())),
        }
    }
    let mut answers = driver.producer.produce(records).await.into_iter();
    let mut complained = false;
    for verdict in verdicts.iter_mut().filter(|verdict| **verdict == Verdict::Acked) {
        let Some(Err(error)) = answers.next().or(Some(Err(steadfast_bus::Error::Closed))) else { continue };
        if !complained {
            complained = true;
            tracing::warn!(source = driver.name, %error, "events could not be published");
        }
        *verdict = match error.kind() {
            ErrorKind::Invalid | ErrorKind::Refused => {
                Verdict::Refused(error.to_string().chars().take(ERROR_LENGTH).collect())
            }
            _ => Verdict::Failed,
        };
    }
    verdicts
}

/// The record of a row.
pub(super) fn entry(source: &str, row: Row) -> Entry<Item> {
    let extra: Option<Vec<(String, String)>> = match &row.headers {
        None => Some(vec![]),
        Some(text) => {
            serde_json::from_str::<BTreeMap<String, String>>(text).ok().map(|headers| headers.into_iter().collect())
        }
    };
    let envelope = Envelope {
        event_id: row.event_id,
        aggregate_type: &row.aggregate_type,
        aggregate_id: &row.aggregate_id,
        event_type: &row.event_type,
        sequence: row.sequence,
        created_at: row.created_at,
        source: &format!("/{source}"),
    };
    let item = extra
        .ok_or("its headers are not a JSON object of strings")
        .map(|extra| envelope.record(extra, row.payload.into_bytes().into()));
    Entry {
        id: row.id,
        spot: row.spot,
        aggregate: (row.aggregate_type, row.aggregate_id),
        created_at: row.created_at,
        item,
    }
}
