//! SQLite: the numbers are claimed in one statement and the rows written in another.

use sqlx::{Sqlite, Transaction};
use steadfast_core::{EventId, NewEvent, Timestamp};

use super::{Backend, ids, sealed};
use crate::Error;
use crate::store::sqlite;

impl sealed::Sealed for Sqlite {}

impl Backend for Sqlite {
    async fn append_events(
        tx: &mut Transaction<'_, Sqlite>,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<Vec<EventId>, Error> {
        sqlite::append_events(tx, events, now, ids(events.len(), now)).await
    }

    async fn receive(tx: &mut Transaction<'_, Sqlite>, consumer: &str, event: EventId) -> Result<bool, Error> {
        let first = sqlx::query(include_str!("sqlite/receive_event.sql"))
            .bind(consumer)
            .bind(event.as_bytes().as_slice())
            .execute(&mut **tx)
            .await?;
        Ok(first.rows_affected() > 0)
    }
}
