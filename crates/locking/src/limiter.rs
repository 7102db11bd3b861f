//! Update attempts are limited per user: GCRA (the generic cell rate algorithm, ITU-T I.371), one number for each user.
//!
//! In memory, bounded, and failing open: when more users are active than it can remember, those it does not know pass.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use steadfast_core::{Problem, problem};
use tokio::time::Instant;

use crate::security;

/// How much one user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The policy's name in the `RateLimit` headers: letters, digits, `-` and `_`.
    pub name: &'static str,
    /// So many at once …
    pub burst: u32,
    /// … and so many again, evenly, in this time.
    pub window: Duration,
}

impl Quota {
    /// The time in which one request's worth grows back.
    fn interval(&self) -> Duration {
        (self.window / self.burst.max(1)).max(Duration::from_nanos(1))
    }
}

/// What the limiter says to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    quota: Quota,
    /// Whether the request may go on.
    pub allowed: bool,
    /// Requests that may follow at once.
    pub remaining: u32,
    /// The time after which the whole burst is there again.
    pub reset: Duration,
    /// The time after which the next request passes; zero when it may follow at once.
    pub retry_after: Duration,
}

impl Verdict {
    /// `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10), for every answer of the route.
    pub fn headers(&self) -> [(HeaderName, HeaderValue); 2] {
        let Quota { name, burst, window } = self.quota;
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        [
            (HeaderName::from_static("ratelimit-policy"), value(format!("\"{name}\";q={burst};w={}", seconds(window)))),
            (
                HeaderName::from_static("ratelimit"),
                value(format!("\"{name}\";r={};t={}", self.remaining, seconds(self.reset))),
            ),
        ]
    }

    /// 429 with `Retry-After`, when the request may not go on.
    pub fn problem(&self) -> Option<Problem> {
        let wait = seconds(self.retry_after).max(1);
        (!self.allowed).then(|| {
            problem::RATE_LIMITED
                .with(format!(
                    "more than {} requests in {} s: send the next after {wait} s",
                    self.quota.burst,
                    seconds(self.quota.window)
                ))
                .retry_after(wait)
        })
    }
}

/// Whole seconds, rounded up: a client that waits so long waits long enough.
fn seconds(time: Duration) -> u32 {
    let up = u64::from(time.subsec_nanos() > 0);
    u32::try_from(time.as_secs().saturating_add(up)).unwrap_or(u32::MAX)
}

/// The decision: pure. `full_at` is when the user's burst is whole again, `None` for a user not seen before; times count
/// from some fixed moment. The new `full_at` with the verdict.
fn decide(full_at: Option<Duration>, now: Duration, quota: &Quota) -> (Duration, Verdict) {
    let interval = quota.interval();
    let burst = interval * quota.burst;
    let full_at = full_at.map_or(now, |at| at.max(now));
    let next = full_at + interval;
    let allowed = next.saturating_sub(now) <= burst;
    let full_at = if allowed { next } else { full_at };
    let debt = full_at.saturating_sub(now);
    let room = burst.saturating_sub(debt);
    let remaining = u32::try_from(room.as_nanos() / interval.as_nanos()).unwrap_or(u32::MAX);
    let retry_after = if remaining > 0 { Duration::ZERO } else { (debt + interval).saturating_sub(burst) };
    (full_at, Verdict { quota: *quota, allowed, remaining, reset: debt, retry_after })
}

/// A limiter in memory, for one process.
///
/// ```
/// use std::time::Duration;
/// use steadfast_locking::{Limiter, Quota};
///
/// let edits = Limiter::new(Quota { name: "edits", burst: 2, window: Duration::from_secs(60) });
/// assert!(edits.check("till-7").allowed);
/// assert!(edits.check("till-7").allowed);
/// let verdict = edits.check("till-7");
/// assert_eq!(verdict.problem().unwrap().retry_after, Some(30));
/// assert!(edits.check("till-8").allowed);
/// ```
#[derive(Debug)]
pub struct Limiter {
    quota: Quota,
    capacity: usize,
    hasher: RandomState,
    born: Instant,
    users: Mutex<Users>,
}

#[derive(Debug, Default)]
struct Users {
    /// By the hash of the name, so that its length does not matter.
    full_at: HashMap<u64, Duration>,
    swept_at: Duration,
}

impl Limiter {
    /// A limiter that remembers 100,000 users (about 2 MB).
    pub fn new(quota: Quota) -> Self {
        Self::with_capacity(quota, 100_000)
    }

    /// A limiter that remembers so many users; those beyond pass unlimited.
    pub fn with_capacity(quota: Quota, capacity: usize) -> Self {
        Self { quota, capacity, hasher: RandomState::new(), born: Instant::now(), users: Mutex::default() }
    }

    /// Counts one request of this user. A refused one costs nothing.
    pub fn check(&self, user: &str) -> Verdict {
        self.check_at(self.born.elapsed(), user)
    }

    /// `now` counts from the limiter's beginning.
    fn check_at(&self, now: Duration, user: &str) -> Verdict {
        let key = self.hasher.hash_one(user);
        let verdict = {
            let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            let known = users.full_at.get(&key).copied();
            let (full_at, verdict) = decide(known, now, &self.quota);
            if known.is_some() || users.has_room(self.capacity, now) {
                users.full_at.insert(key, full_at);
            }
            verdict
        };
        if !verdict.allowed {
            security::rate_limited(self.quota.name, user);
        }
        verdict
    }
}

impl Users {
    /// Forgets users whose burst is whole again, at most once a second: for them nothing is lost.
    fn has_room(&mut self, capacity: usize, now: Duration) -> bool {
        if self.full_at.len() >= capacity && now.saturating_sub(self.swept_at) >= Duration::from_secs(1) {
            self.swept_at = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < capacity
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUOTA: Quota = Quota { name: "edits", burst: 5, window: Duration::from_secs(10) };

    #[test]
    fn a_burst_passes_and_then_one_every_interval() {
        let mut state = None;
        let mut at = |millis: u64| {
            let (full_at, verdict) = decide(state, Duration::from_millis(millis), &QUOTA);
            state = Some(full_at);
            (verdict.allowed, verdict.remaining, verdict.retry_after.as_millis())
        };
        assert_eq!(at(0), (true, 4, 0));
        assert_eq!((at(0), at(0), at(0)), ((true, 3, 0), (true, 2, 0), (true, 1, 0)));
        assert_eq!(at(0), (true, 0, 2_000));
        assert_eq!(at(0), (false, 0, 2_000));
        assert_eq!(at(1_999), (false, 0, 1));
        assert_eq!(at(2_000), (true, 0, 2_000));
        assert_eq!(at(100_000), (true, 4, 0));
    }

    #[test]
    fn the_headers_are_those_of_the_draft() {
        let (_, verdict) = decide(None, Duration::ZERO, &QUOTA);
        let text = verdict.headers().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()));
        assert_eq!(text, ["ratelimit-policy: \"edits\";q=5;w=10", "ratelimit: \"edits\";r=4;t=2"]);
        assert_eq!(verdict.problem(), None);
        let (_, refused) = decide(Some(Duration::from_secs(10)), Duration::from_millis(500), &QUOTA);
        let problem = refused.problem().unwrap();
        assert_eq!((problem.status, problem.retry_after), (429, Some(2)));
    }

    #[test]
    fn a_full_limiter_lets_strangers_pass_and_still_limits_whom_it_knows() {
        let limiter = Limiter::with_capacity(QUOTA, 2);
        let (early, rested) = (Duration::ZERO, Duration::from_secs(11));
        for user in ["a", "b"] {
            assert!((0..5).all(|_| limiter.check_at(early, user).allowed));
        }
        assert!((0..100).all(|_| limiter.check_at(early, "stranger").allowed));
        assert!(!limiter.check_at(early, "a").allowed);
        assert!((0..5).all(|_| limiter.check_at(rested, "stranger").allowed), "those who rest are forgotten");
        assert!(!limiter.check_at(rested, "stranger").allowed, "and the stranger is known now");
    }

    proptest! {
        /// In no window do more pass than the burst and what grows back in it.
        #[test]
        fn no_more_pass_than_the_quota_says(gaps in proptest::collection::vec(0_u64..3_000, 1..400)) {
            let (mut state, mut now) = (None, Duration::ZERO);
            let mut passed = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                let (full_at, verdict) = decide(state, now, &QUOTA);
                state = Some(full_at);
                prop_assert!(verdict.reset <= QUOTA.window);
                if verdict.allowed {
                    passed.push(now);
                } else {
                    prop_assert!(decide(state, now + verdict.retry_after, &QUOTA).1.allowed);
                }
            }
            for (i, from) in passed.iter().enumerate() {
                for (j, to) in passed.iter().enumerate().skip(i) {
                    let most = 5 + to.saturating_sub(*from).as_millis() / 2_000;
                    prop_assert!(u128::try_from(j - i + 1).unwrap() <= most);
                }
            }
        }
    }
}
