//! The orchestrator's refusals, remembered for a moment. While it takes no more sagas of a definition, asking it for each
//! request would cost those that are under way: a key claimed and freed, a call, a refusal.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use steadfast::core::{Problem, problem};
use tokio::time::Instant;

/// The longest that nothing is asked. What the orchestrator has under way lasts longer, so it never runs out of work.
const LONGEST: Duration = Duration::from_secs(1);

/// Until when each definition is refused here.
#[derive(Debug, Default)]
pub(crate) struct Pushback(Mutex<HashMap<&'static str, Instant>>);

impl Pushback {
    /// The orchestrator takes no saga of this definition, and says when to ask again.
    pub(crate) fn refused(&self, definition: &'static str, retry_after: Option<Duration>, now: Instant) {
        self.until().insert(definition, now + retry_after.unwrap_or(LONGEST).min(LONGEST));
    }

    /// What a new request is told while there is no use in asking.
    pub(crate) fn problem(&self, definition: &str, now: Instant) -> Option<Problem> {
        let refused = self.until().get(definition).is_some_and(|until| now < *until);
        let detail = || format!("no {definition} is begun at present: ask again with the same Idempotency-Key");
        refused.then(|| problem::OVERLOADED.with(detail()).retry_after(1))
    }

    fn until(&self) -> MutexGuard<'_, HashMap<&'static str, Instant>> {
        // Each change is one insertion: a panic of another holder leaves it whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_holds_for_its_definition_and_for_a_moment() {
        let (pushback, now) = (Pushback::default(), Instant::now());
        let after = |millis| now + Duration::from_millis(millis);
        let holds = |definition: &str, at| pushback.problem(definition, at).is_some();
        assert!(!holds("place_order", now));
        pushback.refused("place_order", Some(Duration::from_mins(1)), now);
        assert!(holds("place_order", after(999)) && !holds("return_order", now));
        assert!(!holds("place_order", after(1_000)), "never longer than a second");
        pushback.refused("place_order", Some(Duration::ZERO), now);
        assert!(!holds("place_order", now));
    }
}
