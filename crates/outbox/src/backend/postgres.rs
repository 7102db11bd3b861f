//! PostgreSQL: one statement, which calls the function that any language calls.

use serde::Deserialize;
use sqlx::{Postgres, Transaction};
use steadfast_core::{EventId, NewEvent, Timestamp};

use super::{Backend, ids, sealed};
use crate::numbering::{self, Way};
use crate::{Error, check};

impl sealed::Sealed for Postgres {}

impl Backend for Postgres {
    async fn append_events(
        tx: &mut Transaction<'_, Postgres>,
        events: &[NewEvent],
        now: Timestamp,
    ) -> Result<Vec<EventId>, Error> {
        if events.is_empty() {
            return Ok(vec![]);
        }
        for event in events {
            check::names(event)?;
        }
        let payloads = events.iter().map(check::payload).collect::<Result<Vec<_>, _>>()?;
        // A call that does not fit together is refused before it costs a round trip and the transaction.
        numbering::claims(events)?;
        let ids = ids(events.len(), now);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds, below 2^53 for 285,000 years")]
        let at = now.as_millis() as f64;
        sqlx::query(include_str!("postgres/append_rows.sql"))
            .bind(events.iter().map(|event| event.aggregate_type.as_str()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.aggregate_id.as_str()).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>())
            .bind(payloads)
            .bind(events.iter().map(check::headers).collect::<Vec<_>>())
            .bind(events.iter().map(|event| event.sequence).collect::<Vec<_>>())
            .bind(ids.iter().map(ToString::to_string).collect::<Vec<_>>())
            .bind(at)
            .execute(&mut **tx)
            .await
            .map_err(refusal)?;
        Ok(ids)
    }

    async fn receive(tx: &mut Transaction<'_, Postgres>, consumer: &str, event: EventId) -> Result<bool, Error> {
        Ok(sqlx::query_scalar(include_str!("postgres/receive_event.sql"))
            .bind(consumer)
            .bind(event.to_string())
            .fetch_one(&mut **tx)
            .await?)
    }
}

/// The details of the functions' own errors.
#[derive(Deserialize)]
struct Sequence {
    aggregate_type: String,
    aggregate_id: String,
    given: i64,
    last: i64,
}

#[derive(Deserialize)]
struct Mixed {
    aggregate_type: String,
    way: String,
}

/// The functions' own errors in our words; any other as it is.
fn refusal(error: sqlx::Error) -> Error {
    let known = error.as_database_error().and_then(|error| {
        let detail = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>()?.detail()?;
        match error.code()?.as_ref() {
            "SF001" => {
                let Sequence { aggregate_type, aggregate_id, given, last } = serde_json::from_str(detail).ok()?;
                Some(Error::Sequence { aggregate_type, aggregate_id, given, last })
            }
            "SF002" => {
                let Mixed { aggregate_type, way } = serde_json::from_str(detail).ok()?;
                let way = if way == Way::Given.as_str() { Way::Given } else { Way::Drawn };
                Some(way.mixed(&aggregate_type))
            }
            _ => None,
        }
    });
    known.unwrap_or_else(|| error.into())
}
