//! A clock that goes by a database's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use steadfast_core::{Clock, Timestamp};
use tokio::time::Instant;
#[cfg(feature = "postgres")]
use {crate::Error, crate::postgres::Db, tokio::time::MissedTickBehavior, tokio_util::sync::CancellationToken};

/// How often the database is asked. Between two answers the machine's own quartz is good for less than a millisecond.
#[cfg(feature = "postgres")]
const PERIOD: Duration = Duration::from_secs(5);

/// How far the machine's clock may be off before it is told.
const NOTABLE: Duration = Duration::from_secs(2);

/// In place of an offset as long as nobody has told one.
const UNTOLD: i64 = i64::MIN;

/// The time by the clock of a PostgreSQL server that several processes share: what they write and what they judge is then of
/// one time, whatever the clocks of their machines do. Between two answers it counts the time that passes, which a step of the
/// machine's clock is no part of. Until it is told for the first time it is the machine's clock.
#[derive(Debug)]
pub struct Followed {
    machine: Arc<dyn Clock>,
    began: Instant,
    /// What the server's clock showed when this one began, in milliseconds.
    offset: AtomicI64,
    /// The machine's clock was told to be off.
    is_off: AtomicBool,
}

impl Followed {
    /// One that nobody has told the time yet, on a machine with this clock.
    pub fn new(machine: Arc<dyn Clock>) -> Self {
        Self { machine, began: Instant::now(), offset: AtomicI64::new(UNTOLD), is_off: AtomicBool::new(false) }
    }

    /// Sets it by the database's clock. To be done before anything of several processes' is judged by it.
    ///
    /// # Errors
    /// As [`Db::time`].
    #[cfg(feature = "postgres")]
    pub async fn set_by(&self, db: &Db) -> Result<(), Error> {
        // On the heap, for whoever waits for it: a connection's future is long, and this is rare.
        self.tell(Box::pin(db.time()).await?);
        Ok(())
    }

    /// Keeps it by the database's clock until `stop`. While that cannot be read the time that passes is counted on.
    #[cfg(feature = "postgres")]
    pub async fn follow(self: Arc<Self>, db: Db, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            if let Some(Err(error)) = stop.run_until_cancelled(self.set_by(&db)).await {
                tracing::debug!(%error, "the database's clock could not be read");
            }
        }
    }

    /// The server's clock shows `time` at this moment. A machine whose own clock is off is warned of, once.
    pub fn tell(&self, time: Timestamp) {
        let machine = self.machine.now();
        self.offset.store(time.as_millis().saturating_sub(self.elapsed()), Ordering::Relaxed);
        let is_off = machine.since(time).max(time.since(machine)) >= NOTABLE;
        if self.is_off.swap(is_off, Ordering::Relaxed) == is_off {
            return;
        }
        let off_ms = machine.as_millis().saturating_sub(time.as_millis());
        if is_off {
            tracing::warn!(off_ms, "this machine's clock is off: the database's is followed");
        } else {
            tracing::info!(off_ms, "this machine's clock agrees with the database's again");
        }
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}

impl Clock for Followed {
    fn now(&self) -> Timestamp {
        match self.offset.load(Ordering::Relaxed) {
            UNTOLD => self.machine.now(),
            offset => Timestamp::from_millis(offset.saturating_add(self.elapsed())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine's clock, in milliseconds.
    #[derive(Debug, Default)]
    struct Stepping(AtomicI64);

    impl Clock for Stepping {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(self.0.load(Ordering::Relaxed))
        }
    }

    const HOUR: i64 = 3_600_000;

    fn within(clock: &Followed, from: i64, to: i64) -> bool {
        (Timestamp::from_millis(from)..Timestamp::from_millis(to)).contains(&clock.now())
    }

    #[test]
    fn a_step_of_the_machines_clock_moves_nothing() {
        let machine = Arc::new(Stepping::default());
        let clock = Followed::new(Arc::clone(&machine) as Arc<dyn Clock>);
        machine.0.store(HOUR, Ordering::Relaxed);
        assert_eq!(clock.now(), Timestamp::from_millis(HOUR), "nobody has told it better yet");
        clock.tell(Timestamp::from_millis(5_000));
        for step in [-HOUR, HOUR] {
            machine.0.store(step, Ordering::Relaxed);
            assert!(within(&clock, 5_000, HOUR / 2), "{}", clock.now());
        }
        clock.tell(Timestamp::from_millis(4_000_000));
        assert!(within(&clock, 4_000_000, 4_000_000 + HOUR / 2), "the server is right: {}", clock.now());
    }
}
