//! One commit of a lane: one statement, whatever the number of sagas.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::{Value, json};
use sqlx::postgres::PgRow;
use sqlx::{Connection as _, PgConnection, Row as _};
use steadfast_core::{EventId, NewEvent, SagaId, Timestamp, header};

use super::rows::{int, kept, sql};
use crate::Error;
use crate::journal::{Append, Appended, Batch, Head, Lane, NewSaga, QUEUE, Target, is_unsettled};

/// Writes the batch. Where it was tried before, behind the attempt whose answer was lost.
pub(super) async fn append(connection: &mut PgConnection, batch: &Batch, events: bool) -> Result<Vec<Appended>, Error> {
    let mut outcomes: Vec<_> = batch.rows.iter().map(|row| unwritten(&row.target)).collect();
    if !batch.again {
        let open: Vec<usize> = (0..batch.rows.len()).collect();
        write(connection, batch, &open, events, &mut outcomes).await?;
        return Ok(outcomes);
    }
    let mut tx = connection.begin().await.map_err(sql)?;
    let found = sqlx::query_scalar(include_str!("lock_lane.sql")).bind(batch.lane.id).fetch_optional(&mut *tx).await;
    check_epoch(batch.lane, found.map_err(sql)?)?;
    let open = standing(&mut tx, batch, &mut outcomes).await?;
    write(&mut tx, batch, &open, events, &mut outcomes).await?;
    tx.commit().await.map_err(steadfast_db::Error::of_commit)?;
    Ok(outcomes)
}

/// What is answered where the statement wrote nothing of a row.
fn unwritten(target: &Target) -> Appended {
    match target {
        Target::New(_) => Appended::Known,
        Target::Known { .. } => Appended::Elsewhere,
    }
}

fn check_epoch(lane: Lane, found: Option<i64>) -> Result<(), Error> {
    match found {
        Some(epoch) if epoch == lane.epoch => Ok(()),
        found => Err(Error::Fenced { lane: lane.id, held: lane.epoch, found: found.unwrap_or(0) }),
    }
}

/// Which rows do not stand yet; the others' outcomes are set.
async fn standing(
    connection: &mut PgConnection,
    batch: &Batch,
    outcomes: &mut [Appended],
) -> Result<Vec<usize>, Error> {
    let ids: Vec<String> = batch.rows.iter().map(|row| row.target.id().to_string()).collect();
    let seqs: Vec<i32> = batch.rows.iter().map(|row| int(row.seq)).collect();
    let rows = sqlx::query(include_str!("read_own_rows.sql"))
        .bind(ids)
        .bind(seqs)
        .bind(batch.lane.id)
        .fetch_all(connection)
        .await
        .map_err(sql)?;
    let mut open: Vec<bool> = vec![true; batch.rows.len()];
    for row in &rows {
        let place = place(row.try_get("place")?, batch.rows.len())?;
        if let Some(outcome) = stands(&batch.rows[place], batch.lane, row)? {
            outcomes[place] = outcome;
            open[place] = false;
        }
    }
    Ok((0..open.len()).filter(|place| open[*place]).collect())
}

fn stands(append: &Append, lane: Lane, row: &PgRow) -> Result<Option<Appended>, Error> {
    let epoch: Option<i64> = row.try_get("epoch")?;
    let entries: Option<&str> = row.try_get("entries")?;
    let same = epoch == Some(lane.epoch) && entries == Some(append.entries.as_str());
    Ok(match &append.target {
        Target::New(_) if same => Some(Appended::Started(row.try_get("no")?)),
        Target::New(_) => Some(Appended::Known),
        Target::Known { .. } if same => Some(Appended::Written),
        Target::Known { .. } if epoch.is_none() => None,
        Target::Known { .. } if !row.try_get::<bool, _>("mine")? => Some(Appended::Elsewhere),
        Target::Known { id, .. } => {
            let seq = append.seq;
            return Err(Error::Corrupt(format!("saga {id}: row {seq} of its journal is not the one we wrote")));
        }
    })
}

fn place(found: i64, count: usize) -> Result<usize, Error> {
    let place = usize::try_from(found).ok().and_then(|place| place.checked_sub(1));
    place.filter(|place| *place < count).ok_or_else(|| Error::Corrupt("a row that was not asked for".to_owned()))
}

/// The statement, for the rows at these places.
async fn write(
    connection: &mut PgConnection,
    batch: &Batch,
    open: &[usize],
    events: bool,
    outcomes: &mut [Appended],
) -> Result<(), Error> {
    let mut starts = Starts::default();
    let mut known = Known::default();
    let mut seen = HashMap::new();
    let mut started = Vec::new();
    let mut written = HashMap::new();
    for &index in open {
        let row = &batch.rows[index];
        let event = row.event.as_ref().filter(|_| events).map(|event| event_json(event, batch.at));
        match &row.target {
            // The same saga twice in one batch: the first is the start, the second finds it known.
            Target::New(new) if seen.insert(new.id, index).is_none() => {
                started.push(index);
                starts.push(batch.lane, new, row, event);
            }
            Target::New(_) => {}
            Target::Known { no, started_at, .. } => {
                written.insert(*no, index);
                known.push(batch.lane, *no, *started_at, row, event);
            }
        }
    }
    let query = sqlx::query(include_str!("append_rows.sql"))
        .bind(batch.lane.id)
        .bind(batch.lane.epoch)
        .bind(batch.at.as_millis());
    let answer = known.bind(starts.bind(query)).fetch_one(&mut *connection).await.map_err(out_of_turn)?;
    if !answer.try_get::<bool, _>("fenced")? {
        let found = sqlx::query_scalar(include_str!("read_epoch.sql")).bind(batch.lane.id);
        let found: Option<i64> = found.fetch_optional(connection).await.map_err(sql)?;
        return Err(Error::Fenced { lane: batch.lane.id, held: batch.lane.epoch, found: found.unwrap_or(0) });
    }
    let places: Vec<i64> = answer.try_get::<Option<_>, _>("places")?.unwrap_or_default();
    let numbers: Vec<i64> = answer.try_get::<Option<_>, _>("numbers")?.unwrap_or_default();
    for (found, no) in places.into_iter().zip(numbers) {
        outcomes[started[place(found, started.len())?]] = Appended::Started(no);
    }
    for no in answer.try_get::<Option<Vec<i64>>, _>("written")?.unwrap_or_default() {
        if let Some(&index) = written.get(&no) {
            outcomes[index] = Appended::Written;
        }
    }
    Ok(())
}

/// What the journal's keys refuse is a fault of the rows, which stays one.
fn out_of_turn(error: sqlx::Error) -> Error {
    let of_the_journal = error.as_database_error().is_some_and(|said| {
        let table = said.table().is_some_and(|table| table.starts_with("saga_journal"));
        table && matches!(said.code().as_deref(), Some("23502" | "23505"))
    });
    if of_the_journal {
        return Error::Corrupt("a row of a saga's journal stands already, or would not be the next one".to_owned());
    }
    sql(error)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Columns of the starts.
#[derive(Default)]
struct Starts<'a> {
    ids: Vec<String>,
    definitions: Vec<&'a str>,
    versions: Vec<i32>,
    business_keys: Vec<Option<Cow<'a, str>>>,
    principals: Vec<Cow<'a, str>>,
    started_at: Vec<i64>,
    inputs: Vec<&'a str>,
    contexts: Vec<&'a str>,
    keys: Vec<Option<&'a str>>,
    heads: Heads<'a>,
}

/// Columns of what is known.
#[derive(Default)]
struct Known<'a> {
    nos: Vec<i64>,
    days: Vec<i32>,
    seqs: Vec<i32>,
    heads: Heads<'a>,
}

/// Columns of both.
#[derive(Default)]
struct Heads<'a> {
    lanes: Vec<Option<i64>>,
    entries: Vec<&'a str>,
    statuses: Vec<&'static str>,
    held: Vec<bool>,
    overdue: Vec<bool>,
    wake_at: Vec<Option<i64>>,
    ended_at: Vec<Option<i64>>,
    causes: Vec<Option<Cow<'a, str>>>,
    events: Vec<Option<String>>,
}

impl<'a> Starts<'a> {
    fn push(&mut self, lane: Lane, new: &'a NewSaga, row: &'a Append, event: Option<String>) {
        self.ids.push(new.id.to_string());
        self.definitions.push(&new.definition);
        self.versions.push(int(new.version));
        self.business_keys.push(new.business_key.as_deref().map(kept));
        self.principals.push(kept(&new.principal));
        self.started_at.push(new.started_at.as_millis());
        self.inputs.push(&new.input);
        self.contexts.push(&new.context);
        self.keys.push(new.key.as_deref());
        self.heads.push(if new.queued { QUEUE } else { lane.id }, &row.entries, &row.head, event);
    }

    fn bind<'q>(self, query: Query<'q>) -> Query<'q>
    where
        'a: 'q,
    {
        let query = query
            .bind(self.ids)
            .bind(self.definitions)
            .bind(self.versions)
            .bind(self.business_keys)
            .bind(self.principals)
            .bind(self.started_at)
            .bind(self.inputs)
            .bind(self.contexts)
            .bind(self.keys);
        self.heads.bind(query)
    }
}

impl<'a> Known<'a> {
    fn push(&mut self, lane: Lane, no: i64, started_at: Timestamp, row: &'a Append, event: Option<String>) {
        self.nos.push(no);
        self.days.push(int(started_at.day()));
        self.seqs.push(int(row.seq));
        self.heads.push(lane.id, &row.entries, &row.head, event);
    }

    fn bind<'q>(self, query: Query<'q>) -> Query<'q>
    where
        'a: 'q,
    {
        self.heads.bind(query.bind(self.nos).bind(self.days).bind(self.seqs))
    }
}

impl<'a> Heads<'a> {
    /// What rests is in no lane.
    fn push(&mut self, lane: i64, entries: &'a str, head: &'a Head, event: Option<String>) {
        self.lanes.push(is_unsettled(head.status).then_some(lane));
        self.entries.push(entries);
        self.statuses.push(head.status.as_str());
        self.held.push(head.held);
        self.overdue.push(head.overdue);
        self.wake_at.push(head.wake_at.map(Timestamp::as_millis));
        self.ended_at.push(head.ended_at.map(Timestamp::as_millis));
        self.causes.push(head.cause.as_deref().map(kept));
        self.events.push(event);
    }

    fn bind<'q>(self, query: Query<'q>) -> Query<'q>
    where
        'a: 'q,
    {
        query
            .bind(self.lanes)
            .bind(self.entries)
            .bind(self.statuses)
            .bind(self.held)
            .bind(self.overdue)
            .bind(self.wake_at)
            .bind(self.ended_at)
            .bind(self.causes)
            .bind(self.events)
    }
}

/// An event as `outbox_append_many` takes it.
fn event_json(event: &NewEvent, at: Timestamp) -> String {
    let id = EventId::from_parts(at, std::array::from_fn(|_| fastrand::u8(..)));
    let trace = event.traceparent.as_deref().filter(|trace| trace.bytes().all(|byte| byte.is_ascii_graphic()));
    let mut headers = serde_json::Map::new();
    headers.extend(event.saga.map(|saga: SagaId| (header::SAGA_ID.to_owned(), Value::from(saga.to_string()))));
    headers.extend(trace.map(|trace| (header::TRACEPARENT.to_owned(), Value::from(trace))));
    let mut value = json!({
        "event_id": id.to_string(),
        "aggregate_type": event.aggregate_type,
        "aggregate_id": event.aggregate_id,
        "event_type": event.event_type,
        "payload": event.payload,
        "sequence": event.sequence,
        "created_at": at.as_millis(),
        "headers": headers,
    });
    let text = value.to_string();
    if !text.contains("\\u0000") {
        return text;
    }
    keep(&mut value);
    value.to_string()
}

/// As [`kept`], in all texts of a value; `jsonb` has no place for it either.
fn keep(value: &mut Value) {
    match value {
        Value::String(text) => *text = kept(text).into_owned(),
        Value::Array(items) => items.iter_mut().for_each(keep),
        Value::Object(members) => {
            let kept = std::mem::take(members).into_iter().map(|(name, mut value)| {
                keep(&mut value);
                (kept(&name).into_owned(), value)
            });
            *members = kept.collect();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_holds_nothing_that_jsonb_refuses() {
        let payload = json!({"a\0": ["\0b", {"c": "d\0"}], "literal": "\\u0000"});
        let event =
            NewEvent::new("saga", "s", "saga.failed.v1", payload).with_traceparent(Some("00-1-2-01".to_owned()));
        let read: Value = serde_json::from_str(&event_json(&event, Timestamp::from_millis(1))).unwrap();
        assert_eq!(read["payload"], json!({"a\u{fffd}": ["\u{fffd}b", {"c": "d\u{fffd}"}], "literal": "\\u0000"}));
        assert_eq!(read["headers"], json!({"traceparent": "00-1-2-01"}));
        assert_eq!((&read["sequence"], &read["created_at"]), (&Value::Null, &json!(1)));
    }
}
