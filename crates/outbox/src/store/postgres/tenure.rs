//! One lane under one epoch: reads on one connection, marks on another, so that they overlap.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use sqlx::postgres::{PgConnection, PgRow};
use steadfast_core::Timestamp;
use steadfast_db::postgres::Db;
use tokio::time::Instant;

use super::line::Line;
use super::seen::Seen;
use super::tide::{Frontier, Look, Tide};
use super::{decode, millis, read_parked, span};
use crate::Error;
use crate::lanes::{Marks, Spot, Whence};
use crate::store::{Parked, Read, Row, Tenure, Water};

/// A read ends early at so many bytes of payload: bounds what the relay holds in memory.
const READ_BYTES: usize = 8 * 1024 * 1024;
/// Held aggregates that the relay tracks one by one; the statements exclude all of them.
const PARKED: i64 = 10_000;
/// Ids that one check below the low-water mark covers, and events that it answers with.
const CHECKED: i64 = 500_000;
const CHECK_LIMIT: i64 = 1_000;

/// A lane.
#[derive(Debug)]
pub(super) struct Lane {
    db: Db,
    number: i16,
    epoch: i64,
    first: i16,
    last: i16,
    began: Instant,
    reads: Line,
    writes: Line,
    course: Mutex<Course>,
    // The low-water mark as the database has it, to this relay's knowledge.
    mark: AtomicI64,
    check: AtomicBool,
    checked: AtomicI64,
}

/// The low-water mark as it is known, as it may become, its day, and how far has been read.
#[derive(Clone, Copy, Debug)]
struct Levels {
    expected: i64,
    wanted: i64,
    day: i32,
    read_to: i64,
}

/// What the reads have come to.
#[derive(Debug)]
struct Course {
    tide: Tide,
    seen: Seen,
}

impl Lane {
    pub(super) async fn open(db: &Db, lane: i16, epoch: i64) -> Result<Self, Error> {
        let (first, last, mark, day): (i16, i16, i64, i32) = sqlx::query_as(include_str!("open_lane.sql"))
            .bind(lane)
            .bind(epoch)
            .fetch_optional(db.pool())
            .await?
            .ok_or(Error::Fenced { epoch })?;
        Ok(Self {
            db: db.clone(),
            number: lane,
            epoch,
            first,
            last,
            began: Instant::now(),
            reads: Line::new(db.clone()),
            writes: Line::new(db.clone()),
            course: Mutex::new(Course { tide: Tide::new(first, last, mark, day), seen: Seen::default() }),
            mark: AtomicI64::new(mark),
            check: AtomicBool::new(false),
            checked: AtomicI64::new(0),
        })
    }

    fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what a look asks for; whether it ended early.
    async fn read_rows(
        &self,
        on: &mut PgConnection,
        look: &Look,
        batch: usize,
        limit: usize,
    ) -> Result<(Vec<(Row, i64)>, bool), Error> {
        let mut stream = sqlx::query(include_str!("read_rows.sql"))
            .bind(&look.buckets)
            .bind(&look.after)
            .bind(look.upto)
            .bind(look.day)
            .bind(look.last_day)
            .bind(i64::try_from(batch).unwrap_or(i64::MAX))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch(on);
        let mut rows = Vec::with_capacity(limit.min(1024));
        let mut bytes = 0;
        while let Some(row) = stream.try_next().await? {
            let row = decode::event(&row)?;
            bytes += row.0.payload.len();
            rows.push(row);
            if bytes > READ_BYTES {
                return Ok((rows, true));
            }
        }
        let is_cut = rows.len() >= limit;
        Ok((rows, is_cut))
    }

    /// Adds the events that come before those that were read, in their aggregates, and were not met: they have come late.
    async fn add_previous(&self, on: &mut PgConnection, rows: &mut Vec<(Row, i64)>, day: i32) -> Result<(), Error> {
        let mut from = 0;
        loop {
            let (buckets, ids) = self.unmet(&rows[from..]);
            if ids.is_empty() {
                break;
            }
            let found: Vec<PgRow> = sqlx::query(include_str!("read_previous.sql"))
                .bind(&buckets)
                .bind(&ids)
                .bind(day)
                .fetch_all(&mut *on)
                .await?;
            from = rows.len();
            for row in &found {
                rows.push(decode::event(row)?);
            }
            // Those that do not wait are published: there is no need to ask again.
            let found: BTreeSet<i64> = rows[from..].iter().map(|(row, _)| row.id).collect();
            let mut course = self.course();
            for id in ids.iter().filter(|id| !found.contains(id)) {
                course.seen.insert(*id);
            }
        }
        Ok(())
    }

    /// The events before these that may still wait unmet, by bucket and id.
    fn unmet(&self, rows: &[(Row, i64)]) -> (Vec<i16>, Vec<i64>) {
        let course = self.course();
        let read: BTreeSet<i64> = rows.iter().map(|(row, _)| row.id).collect();
        rows.iter()
            .map(|(row, previous)| (row.spot.bucket, *previous))
            .filter(|(bucket, previous)| {
                *previous > 0
                    && !course.tide.is_done(*bucket, *previous)
                    && !course.seen.contains(*previous)
                    && !read.contains(previous)
            })
            .unzip()
    }

    /// Looks below the low-water mark, a stretch of ids at a time.
    async fn read_missed(&self, on: &mut PgConnection) -> Result<Vec<(Row, i64)>, Error> {
        let low = self.mark.load(Ordering::Relaxed);
        let after = self.checked.load(Ordering::Relaxed);
        let after = if after >= low { 0 } else { after };
        let rows = sqlx::query(include_str!("read_missed.sql"))
            .bind((self.first..=self.last).collect::<Vec<_>>())
            .bind(after)
            .bind(after.saturating_add(CHECKED).min(low))
            .bind(CHECK_LIMIT)
            .bind(self.number)
            .fetch_all(on)
            .await?;
        self.checked.store(after.saturating_add(CHECKED), Ordering::Relaxed);
        rows.iter().map(decode::event).collect()
    }

    /// What the database's answer to a move of the mark says: from where to read anew, when it was lowered.
    fn moved(&self, levels: Levels, found: i64) -> Option<i64> {
        self.mark.store(found, Ordering::Relaxed);
        (found < levels.wanted).then(|| found.saturating_add(1))
    }

    fn levels(&self, water: Water) -> Levels {
        let course = self.course();
        let expected = self.mark.load(Ordering::Relaxed);
        let wanted = water.low.min(water.floor).max(expected);
        let read_to = course.tide.read_to().min(water.floor);
        Levels { expected, wanted, day: course.tide.day_above(wanted), read_to }
    }

    async fn mark_published(
        &self,
        on: &mut PgConnection,
        marks: &Marks,
        levels: Levels,
        lease: Duration,
    ) -> Result<i64, Error> {
        let (buckets, days): (Vec<i16>, Vec<i32>) = marks.spots.iter().map(|spot| (spot.bucket, spot.day)).unzip();
        let found: Option<i64> = sqlx::query_scalar(include_str!("mark_published.sql"))
            .bind(self.number)
            .bind(self.epoch)
            .bind(span(lease))
            .bind(levels.expected)
            .bind(levels.wanted)
            .bind(levels.day)
            .bind(levels.read_to)
            .bind(&buckets)
            .bind(&marks.published)
            .bind(&days)
            .fetch_optional(on)
            .await?;
        found.ok_or(Error::Fenced { epoch: self.epoch })
    }
}

#[async_trait]
impl Tenure for Lane {
    fn buckets(&self) -> usize {
        self.course().tide.buckets()
    }

    async fn renew(&self, water: Water, _now: Timestamp, lease: Duration) -> Result<Option<i64>, Error> {
        let mut busy = self.writes.take().await?;
        let levels = self.levels(water);
        let found: Option<i64> = sqlx::query_scalar(include_str!("renew_lane.sql"))
            .bind(self.number)
            .bind(self.epoch)
            .bind(span(lease))
            .bind(levels.expected)
            .bind(levels.wanted)
            .bind(levels.day)
            .bind(levels.read_to)
            .fetch_optional(&mut busy.connection)
            .await?;
        busy.done();
        let found = found.ok_or(Error::Fenced { epoch: self.epoch })?;
        Ok(self.moved(levels, found))
    }

    async fn give_up(&self, now: Timestamp) -> Result<(), Error> {
        let nowhere = Water { low: i64::MIN, floor: 0 };
        self.renew(nowhere, now, Duration::ZERO).await?;
        Ok(())
    }

    fn sweep(&self) -> bool {
        self.check.store(true, Ordering::Relaxed);
        false
    }

    async fn read(&self, whence: Whence, batch: usize, limit: usize) -> Result<Read, Error> {
        let mut busy = self.reads.take().await?;
        let on = &mut busy.connection;
        let began = self.began.elapsed();
        let asks = {
            let mut course = self.course();
            course.tide.go(whence);
            course.tide.asks_frontier(began)
        };
        if let Some(known) = asks {
            let (id, proof, oldest, today) =
                sqlx::query_as(include_str!("read_frontier.sql")).bind(known).fetch_one(&mut *on).await?;
            self.course().tide.on_frontier(Frontier { id, proof, oldest, today });
        }
        let look = self.course().tide.look(began);
        let (mut rows, is_cut) = self.read_rows(on, &look, batch, limit).await?;
        let found: Vec<(i16, i64)> = rows.iter().map(|(row, _)| (row.spot.bucket, row.id)).collect();
        self.add_previous(on, &mut rows, look.day).await?;
        let mut missed = 0;
        if self.check.swap(false, Ordering::Relaxed) {
            let below = self.read_missed(on).await?;
            missed = below.len();
            rows.extend(below);
        }
        // Ended early, the rest of the answer is still on its way: the connection is not worth waiting for it.
        if !is_cut || rows.len() >= limit {
            busy.done();
        }
        rows.sort_unstable_by_key(|(row, _)| row.id);
        rows.dedup_by_key(|(row, _)| row.id);
        let mut course = self.course();
        let met = rows.iter().filter(|(row, _)| course.seen.insert(row.id)).count();
        let spent = (began, self.began.elapsed());
        let more = course.tide.found(&look, found.into_iter(), batch, is_cut, spent);
        let rows = rows.into_iter().map(|(row, _)| row).collect();
        Ok(Read { rows, met, missed, more, low: course.tide.low() })
    }

    async fn read_events(&self, ids: &[i64]) -> Result<Vec<Row>, Error> {
        let rows = sqlx::query(include_str!("read_events.sql")).bind(ids).fetch_all(self.db.pool()).await?;
        rows.iter().map(|row| Ok(decode::event(row)?.0)).collect()
    }

    async fn mark(&self, marks: &Marks, water: Water, now: Timestamp, lease: Duration) -> Result<Option<i64>, Error> {
        let mut busy = self.writes.take().await?;
        let levels = self.levels(water);
        let is_plain = marks.parked.is_empty() && marks.released.is_empty();
        if is_plain {
            let found = self.mark_published(&mut busy.connection, marks, levels, lease).await?;
            busy.done();
            return Ok(self.moved(levels, found));
        }
        let mut tx = sqlx::Connection::begin(&mut busy.connection).await?;
        let found = self.mark_published(&mut tx, marks, levels, lease).await?;
        let mut lowered = None;
        if !marks.released.is_empty() {
            lowered = sqlx::query_scalar(include_str!("release_parked.sql"))
                .bind(&marks.released)
                .bind(self.number)
                .fetch_optional(&mut *tx)
                .await?;
        }
        if !marks.parked.is_empty() {
            park_events(&mut tx, marks, now).await?;
        }
        tx.commit().await?;
        busy.done();
        let from = self.moved(levels, found);
        if let Some(lowered) = lowered {
            // The lane reads on from the released event by itself.
            self.mark.store(lowered, Ordering::Relaxed);
        }
        Ok(from)
    }

    async fn parked(&self) -> Result<Vec<Parked>, Error> {
        read_parked(&self.db, self.first, self.last, PARKED).await
    }
}

async fn park_events(tx: &mut PgConnection, marks: &Marks, now: Timestamp) -> Result<(), Error> {
    let parked = &marks.parked;
    let spots = |part: fn(&Spot) -> i32| parked.iter().map(|park| part(&park.spot)).collect::<Vec<_>>();
    sqlx::query(include_str!("park_events.sql"))
        .bind(parked.iter().map(|park| park.spot.bucket).collect::<Vec<_>>())
        .bind(parked.iter().map(|park| park.event).collect::<Vec<_>>())
        .bind(spots(|spot| spot.day))
        .bind(parked.iter().map(|park| i32::try_from(park.attempts).unwrap_or(i32::MAX)).collect::<Vec<_>>())
        .bind(parked.iter().map(|park| park.error.as_str()).collect::<Vec<_>>())
        .bind(parked.iter().map(|park| millis(park.next_attempt_at)).collect::<Vec<_>>())
        .bind(parked.iter().map(|park| park.dead).collect::<Vec<_>>())
        .bind(millis(now))
        .execute(tx)
        .await?;
    Ok(())
}
