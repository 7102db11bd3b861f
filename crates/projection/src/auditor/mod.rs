//! The consistency auditor: follows every saga to the moment at which it is settled, its events published and its read
//! model caught up.
//!
//! It is a projection over all events. Joined with the read models by [`Together`](crate::Together) it sees an event in
//! the transaction that makes it visible in them; alone it sees when an event was published. Times of visibility are
//! taken as the last thing before the commit.
//!
//! It knows a saga from the first event that bears its id. A saga that wrote no event and never settled is not known
//! here: whoever holds the journal counts it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use metrics::{Gauge, Histogram, gauge, histogram};
use sqlx::{ColumnIndex, Decode, Row, Sqlite, Transaction, Type};
use steadfast_core::{Clock, Event, SagaId, Timestamp, hex, metric};
use steadfast_db::BoxError;
use tokio_util::sync::CancellationToken;

use crate::{Error, Projection, Store, Subscription};

/// A saga must be consistent within so long of its acceptance.
pub const WITHIN: Duration = Duration::from_mins(1);

/// A settled saga whose last event is so old is taken to be complete when its time is observed: relays of different
/// services differ by less.
const QUIET: Duration = Duration::from_secs(2);

const NAME: &str = "consistency_auditor";

/// How consistent the sagas are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Sagas that are known.
    pub accepted: u64,
    /// Of those, the ones that were settled, published and visible within [`WITHIN`] of their acceptance.
    pub consistent: u64,
    /// Of those known, the ones whose own event has not come.
    pub open: u64,
    /// Consistent ones in percent of the accepted ones; 100 where there is none.
    pub rate: f64,
    /// The mean time from acceptance to consistency, over the settled ones; 0 where there is none.
    pub mean_time_ms: f64,
}

/// The projection that follows sagas. [`watch`](Auditor::watch) keeps its metrics up to date.
pub struct Auditor {
    clock: Arc<dyn Clock>,
    rate: Gauge,
    time: Histogram,
    /// Settled sagas whose time has not been observed: when accepted, when consistent as far as is known.
    settled: Mutex<HashMap<SagaId, (Timestamp, Timestamp)>>,
}

impl Auditor {
    /// An auditor; the clock is the one that tells when events become visible.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            rate: gauge!(metric::CONSISTENCY_RATE),
            time: histogram!(metric::CONSISTENCY_TIME),
            settled: Mutex::default(),
        }
    }

    /// Brings the metrics up to date: the rate over the sagas that were accepted at least [`WITHIN`] ago.
    pub async fn refresh<S: Store>(&self, db: &S) -> Result<Summary, Error> {
        let now = self.clock.now();
        self.observe(now);
        let summary = summary_until(db, now - WITHIN).await?;
        self.rate.set(summary.rate);
        Ok(summary)
    }

    /// Refreshes the metrics until `stop`.
    pub async fn watch<S: Store>(&self, db: &S, every: Duration, stop: CancellationToken) {
        loop {
            if let Err(error) = self.refresh(db).await {
                tracing::warn!(error = crate::error::chain(&error), "the consistency rate cannot be read");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }

    /// Observes the times of sagas that have been quiet.
    fn observe(&self, now: Timestamp) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.retain(|_, (accepted, consistent)| {
            let done = now.since(*consistent) >= QUIET;
            if done {
                self.time.record(consistent.since(*accepted).as_secs_f64());
            }
            !done
        });
    }
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auditor").finish_non_exhaustive()
    }
}

/// How consistent all known sagas are: the report of a finished run.
pub async fn summary<S: Store>(db: &S) -> Result<Summary, Error> {
    summary_until(db, Timestamp::from_millis(i64::MAX)).await
}

/// How consistent the sagas are that were accepted until then.
pub async fn summary_until<S: Store>(db: &S, accepted: Timestamp) -> Result<Summary, Error> {
    let within = i64::try_from(WITHIN.as_millis()).unwrap_or(i64::MAX);
    let (accepted, consistent, mean, open) = db.read_sagas(accepted, within).await?;
    let (accepted, consistent, open) = (accepted.unsigned_abs(), consistent.unsigned_abs(), open.unsigned_abs());
    #[expect(clippy::cast_precision_loss, reason = "a rate in percent needs no more than 52 bits")]
    let rate = if accepted == 0 { 100.0 } else { consistent as f64 / accepted as f64 * 100.0 };
    Ok(Summary { accepted, consistent, open, rate, mean_time_ms: mean.unwrap_or(0.0) })
}

/// What a batch tells of a saga.
#[derive(Debug, Default)]
struct Told {
    outcome: Option<&'static str>,
    accepted_at: Option<i64>,
    settled_at: Option<i64>,
    events: i64,
}

fn fold(events: &[Event]) -> Result<HashMap<SagaId, Told>, BoxError> {
    let mut sagas: HashMap<SagaId, Told> = HashMap::new();
    for event in events {
        let own = event.aggregate_type == "saga";
        let saga = if own { Some(event.aggregate_id.parse()?) } else { event.saga };
        let Some(saga) = saga else { continue };
        let told = sagas.entry(saga).or_default();
        told.events += 1;
        let outcome = match event.event_type.as_str() {
            "saga.completed.v1" => "completed",
            "saga.compensated.v1" => "compensated",
            "saga.failed.v1" => "failed",
            _ => continue,
        };
        if !own {
            continue;
        }
        let time = |name: &str| {
            let value = event.payload.get(name).and_then(serde_json::Value::as_i64);
            value.ok_or_else(|| format!("{}: {name} must be a number of milliseconds", event.event_type))
        };
        told.outcome = Some(outcome);
        told.accepted_at = Some(time("accepted_at")?);
        // A failed saga waits for an operator: it is not settled, whatever its event says.
        told.settled_at = if outcome == "failed" { None } else { Some(time("settled_at")?) };
    }
    Ok(sagas)
}

/// What a batch tells of its sagas, and the moment at which it becomes visible.
type Heard = (HashMap<SagaId, Told>, Timestamp);

/// A saga as its row stands: when it was accepted, and when it became consistent as far as is known; none of both while it
/// is not settled.
type Known = (SagaId, Option<(Timestamp, Timestamp)>);

fn known<'r, R>(row: &'r R) -> Result<Known, BoxError>
where
    R: Row,
    usize: ColumnIndex<R>,
    &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
{
    let saga = SagaId::from_slice(row.try_get(0)?).ok_or("a saga's id has not 16 bytes")?;
    let (accepted, settled): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
    let visible: i64 = row.try_get(3)?;
    let times = accepted
        .zip(settled)
        .map(|(accepted, settled)| (Timestamp::from_millis(accepted), Timestamp::from_millis(settled.max(visible))));
    Ok((saga, times))
}

impl Auditor {
    /// What the events tell, and the moment at which they become visible; none where they tell nothing.
    fn hear(&self, events: &[Event]) -> Result<Option<Heard>, BoxError> {
        let sagas = fold(events)?;
        let now = self.clock.now();
        self.observe(now);
        Ok((!sagas.is_empty()).then_some((sagas, now)))
    }

    fn keep(&self, known: Vec<Known>) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.extend(known.into_iter().filter_map(|(saga, times)| times.map(|times| (saga, times))));
    }
}

#[async_trait]
impl Projection for Auditor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn subscribes(&self) -> Subscription {
        Subscription::all()
    }

    async fn apply(&self, tx: &mut Transaction<'static, Sqlite>, events: &[Event]) -> Result<(), BoxError> {
        let Some((sagas, now)) = self.hear(events)? else { return Ok(()) };
        let rows: Vec<_> = (sagas.iter())
            .map(|(saga, told)| (hex(saga.as_bytes()), told.outcome, told.accepted_at, told.settled_at, told.events))
            .collect();
        let query = sqlx::query(include_str!("sqlite/save_sagas.sql"));
        let query = query.bind(serde_json::to_string(&rows)?).bind(now.as_millis());
        self.keep(query.fetch_all(&mut **tx).await?.iter().map(known).collect::<Result<_, _>>()?);
        Ok(())
    }
}

#[cfg(feature = "postgres")]
#[async_trait]
impl Projection<sqlx::Postgres> for Auditor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn subscribes(&self) -> Subscription {
        Subscription::all()
    }

    async fn apply(&self, tx: &mut Transaction<'static, sqlx::Postgres>, events: &[Event]) -> Result<(), BoxError> {
        let Some((sagas, now)) = self.hear(events)? else { return Ok(()) };
        let (ids, counts): (Vec<_>, Vec<_>) =
            sagas.iter().map(|(saga, told)| (&saga.as_bytes()[..], told.events)).unzip();
        let outcomes: Vec<_> = sagas.values().map(|told| told.outcome).collect();
        let (accepted, settled): (Vec<_>, Vec<_>) =
            sagas.values().map(|told| (told.accepted_at, told.settled_at)).unzip();
        let query = sqlx::query(include_str!("postgres/save_sagas.sql")).bind(ids).bind(outcomes);
        let query = query.bind(accepted).bind(settled).bind(counts).bind(now.as_millis());
        self.keep(query.fetch_all(&mut **tx).await?.iter().map(known).collect::<Result<_, _>>()?);
        Ok(())
    }
}
