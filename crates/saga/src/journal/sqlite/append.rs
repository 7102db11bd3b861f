//! One commit: a handful of statements, whatever the number of sagas.

use std::collections::HashMap;
use std::fmt::Write as _;

use sqlx::Row as _;
use steadfast_core::{NewEvent, hex};
use steadfast_db::EventSink;
use steadfast_db::tx::Tx;

use super::rows::{json_rows, number, optional, text};
use crate::Error;
use crate::journal::{Append, Appended, Batch, Head, Lane, QUEUE, Target, is_unsettled};

/// Writes the batch in the transaction.
pub(super) async fn append(
    tx: &mut Tx,
    batch: &Batch,
    sink: Option<&dyn EventSink<sqlx::Sqlite>>,
) -> Result<Vec<Appended>, Error> {
    fence(tx, batch.lane).await?;
    let mut places = if batch.again { standing(tx, batch).await? } else { vec![Place::Open; batch.rows.len()] };
    insert_sagas(tx, batch, &mut places).await?;
    update_sagas(tx, batch, &mut places).await?;
    insert_entries(tx, batch, &places).await?;
    if let Some(sink) = sink {
        let events = events(batch, &places);
        if !events.is_empty() {
            sink.append_many(tx, &events, batch.at).await.map_err(Error::Sink)?;
        }
    }
    Ok(places.into_iter().map(Place::outcome).collect())
}

/// How far a row of a batch has come.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Nothing of it is written.
    Open,
    /// The start was inserted under this number; its entries are to be written.
    Inserted(i64),
    /// What the saga's journal folds to was written, under its number; its entries are to be written.
    Updated(i64),
    /// All of it stands, or nothing of it is to be written.
    Stands(Appended),
}

impl Place {
    fn outcome(self) -> Appended {
        match self {
            Self::Open => Appended::Elsewhere,
            Self::Updated(_) => Appended::Written,
            Self::Inserted(no) => Appended::Started(no),
            Self::Stands(outcome) => outcome,
        }
    }

    /// The saga's number, where its entries are to be written.
    fn number(self) -> Option<i64> {
        match self {
            Self::Inserted(no) | Self::Updated(no) => Some(no),
            Self::Open | Self::Stands(_) => None,
        }
    }
}

/// The database keeps the text minified; ours may not be.
fn same_json(stored: &str, ours: &str) -> bool {
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    stored == ours || parse(stored).is_some_and(|stored| Some(stored) == parse(ours))
}

/// The lane of a saga whose journal folds to this; nobody's, once it rests.
fn lane_of(head: &Head, lane: i64) -> i64 {
    if is_unsettled(head.status) { lane } else { QUEUE }
}

/// Which rows of a batch stand already, after an attempt whose outcome is unknown.
async fn standing(tx: &mut Tx, batch: &Batch) -> Result<Vec<Place>, Error> {
    let mut standing = Vec::with_capacity(batch.rows.len());
    for row in &batch.rows {
        let found = sqlx::query(include_str!("read_own_entries.sql"))
            .bind(row.target.id().as_bytes().as_slice())
            .bind(row.seq)
            .bind(batch.lane.id)
            .fetch_optional(&mut **tx)
            .await?;
        let Some(found) = found else {
            standing.push(Place::Open);
            continue;
        };
        let same =
            found.try_get::<i64, _>("epoch")? == batch.lane.epoch && same_json(found.try_get("entries")?, &row.entries);
        standing.push(match (&row.target, same) {
            (Target::New(_), true) => Place::Stands(Appended::Started(found.try_get("no")?)),
            (Target::New(_), false) => Place::Stands(Appended::Known),
            (Target::Known { .. }, true) => Place::Stands(Appended::Written),
            (Target::Known { .. }, false) if !found.try_get::<bool, _>("mine")? => Place::Stands(Appended::Elsewhere),
            (Target::Known { id, .. }, false) => {
                return Err(Error::Corrupt(format!(
                    "saga {id}: row {} of its journal is not the one we wrote",
                    row.seq
                )));
            }
        });
    }
    Ok(standing)
}

pub(super) async fn fence(tx: &mut Tx, lane: Lane) -> Result<(), Error> {
    let found: Option<i64> =
        sqlx::query_scalar(include_str!("read_epoch.sql")).bind(lane.id).fetch_optional(&mut **tx).await?;
    if found == Some(lane.epoch) {
        return Ok(());
    }
    Err(Error::Fenced { lane: lane.id, held: lane.epoch, found: found.unwrap_or(0) })
}

/// Starts, and what they were started with. A known saga costs its own row only.
async fn insert_sagas(tx: &mut Tx, batch: &Batch, places: &mut [Place]) -> Result<(), Error> {
    let mut waiting = HashMap::new();
    let mut starts = Vec::new();
    for (index, (row, place)) in batch.rows.iter().zip(places.iter_mut()).enumerate() {
        if let (Target::New(new), Place::Open) = (&row.target, *place) {
            *place = Place::Stands(Appended::Known);
            // The same saga twice in one batch: the first is the start, the second finds it known.
            if waiting.insert(*new.id.as_bytes(), index).is_none() {
                starts.push((new, &row.head));
            }
        }
    }
    if starts.is_empty() {
        return Ok(());
    }
    let rows = json_rows(&starts, |out, (new, head)| {
        let _ = write!(out, "\"{}\",", hex(new.id.as_bytes()));
        text(out, &new.definition);
        let _ = write!(out, ",{},", new.version);
        let _ = write!(out, "\"{}\",{},{},", head.status.as_str(), u8::from(head.held), u8::from(head.overdue));
        number(out, head.wake_at);
        out.push(',');
        optional(out, new.business_key.as_deref());
        out.push(',');
        text(out, &new.principal);
        let _ = write!(out, ",{},", new.started_at.as_millis());
        number(out, head.ended_at);
        out.push(',');
        optional(out, head.cause.as_deref());
        let lane = if new.queued { QUEUE } else { batch.lane.id };
        let _ = write!(out, ",{}", lane_of(head, lane));
    });
    let inserted = sqlx::query(include_str!("insert_sagas.sql")).bind(rows).fetch_all(&mut **tx).await?;
    for row in &inserted {
        let id: &[u8] = row.try_get("id")?;
        if let Some(&index) = waiting.get(id) {
            places[index] = Place::Inserted(row.try_get("no")?);
        }
    }
    let payloads: Vec<_> = batch
        .rows
        .iter()
        .zip(places.iter())
        .filter_map(|(row, place)| match (&row.target, place) {
            (Target::New(new), Place::Inserted(no)) => Some((*no, new)),
            _ => None,
        })
        .collect();
    if payloads.is_empty() {
        return Ok(());
    }
    let rows = json_rows(&payloads, |out, (no, new)| {
        let _ = write!(out, "{no},{},{}", new.input, new.context);
    });
    sqlx::query(include_str!("insert_payloads.sql")).bind(rows).execute(&mut **tx).await?;
    let keys: Vec<_> = payloads.iter().filter_map(|(no, new)| Some((*no, new.key.as_deref()?))).collect();
    if keys.is_empty() {
        return Ok(());
    }
    let rows = json_rows(&keys, |out, (no, key)| {
        let _ = write!(out, "{no},");
        text(out, key);
    });
    sqlx::query(include_str!("insert_keys.sql")).bind(rows).execute(&mut **tx).await?;
    Ok(())
}

/// A start carries its head in the insert; the others are updated, where they are this lane's to write.
async fn update_sagas(tx: &mut Tx, batch: &Batch, places: &mut [Place]) -> Result<(), Error> {
    let mut waiting = HashMap::new();
    let mut rows: Vec<(i64, &Append)> = Vec::new();
    for (index, row) in batch.rows.iter().enumerate() {
        if let (Target::Known { no, .. }, Place::Open) = (&row.target, places[index]) {
            waiting.insert(*no, index);
            rows.push((*no, row));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let json = json_rows(&rows, |out, (no, row)| {
        let head = &row.head;
        let flags = (u8::from(head.held), u8::from(head.overdue));
        let _ = write!(out, "{no},\"{}\",{},{},", head.status.as_str(), flags.0, flags.1);
        number(out, head.wake_at);
        out.push(',');
        number(out, head.ended_at);
        out.push(',');
        optional(out, head.cause.as_deref());
        let day = row.target.started_at().day();
        let _ = write!(out, ",{},{day},{}", lane_of(head, batch.lane.id), row.seq);
    });
    let updated: Vec<i64> = sqlx::query_scalar(include_str!("update_sagas.sql"))
        .bind(json)
        .bind(batch.lane.id)
        .fetch_all(&mut **tx)
        .await?;
    for no in updated {
        if let Some(&index) = waiting.get(&no) {
            places[index] = Place::Updated(no);
        }
    }
    Ok(())
}

async fn insert_entries(tx: &mut Tx, batch: &Batch, places: &[Place]) -> Result<(), Error> {
    let written = batch.rows.iter().zip(places);
    let rows: Vec<(i64, &Append)> = written.filter_map(|(row, place)| Some((place.number()?, row))).collect();
    if rows.is_empty() {
        return Ok(());
    }
    let json = json_rows(&rows, |out, (no, row)| {
        let day = row.target.started_at().day();
        let _ = write!(out, "{day},{no},{},{}", row.seq, row.entries);
    });
    let inserted = sqlx::query(include_str!("insert_entries.sql"))
        .bind(json)
        .bind(batch.lane.epoch)
        .bind(batch.at.as_millis())
        .execute(&mut **tx)
        .await?;
    if inserted.rows_affected() != rows.len() as u64 {
        return Err(Error::Corrupt("a row of a saga's journal would not be the next one".to_owned()));
    }
    Ok(())
}

/// The events of what is written here and now.
fn events(batch: &Batch, places: &[Place]) -> Vec<NewEvent> {
    let rows = batch.rows.iter().zip(places);
    rows.filter(|(_, place)| place.number().is_some()).filter_map(|(row, _)| row.event.clone()).collect()
}
