//! Old versions of events, brought up to date before the fold sees them.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use steadfast_core::Event;
use steadfast_db::BoxError;

use crate::Error;

type Change = Arc<dyn Fn(Value) -> Result<Value, BoxError> + Send + Sync>;

/// Steps from one version of an event type to the next. Events are stored and parked as they came.
///
/// ```
/// use serde_json::json;
/// use steadfast_projection::Upcasters;
///
/// // Version 1 had the amount in whole pounds.
/// let upcasters = Upcasters::default().step("payment.taken.v1", "payment.taken.v2", |mut payload| {
///     payload["pence"] = json!(payload["pounds"].as_i64().ok_or("pounds is not a number")? * 100);
///     Ok(payload)
/// });
/// # let _ = upcasters;
/// ```
#[derive(Clone, Default)]
pub struct Upcasters(BTreeMap<String, (String, Change)>);

impl Upcasters {
    /// Adds the step from one type to the next; steps are chained.
    #[must_use]
    pub fn step<F>(mut self, from: &str, to: &str, change: F) -> Self
    where
        F: Fn(Value) -> Result<Value, BoxError> + Send + Sync + 'static,
    {
        self.0.insert(from.to_owned(), (to.to_owned(), Arc::new(change)));
        self
    }

    /// All steps of both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Refuses chains without an end.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for start in self.0.keys() {
            let mut at = start;
            for _ in 0..=self.0.len() {
                match self.0.get(at) {
                    Some((to, _)) => at = to,
                    None => break,
                }
            }
            if self.0.contains_key(at) {
                return Err(Error::UpcastCycle { event_type: start.clone() });
            }
        }
        Ok(())
    }

    /// The type that events of this type end up with.
    pub(crate) fn target<'a>(&'a self, event_type: &'a str) -> &'a str {
        let mut at = event_type;
        while let Some((to, _)) = self.0.get(at) {
            at = to;
        }
        at
    }

    /// The event in its newest version; borrowed where it is that already.
    pub(crate) fn lift<'a>(&self, event: &'a Event) -> Result<Cow<'a, Event>, BoxError> {
        if !self.0.contains_key(&event.event_type) {
            return Ok(Cow::Borrowed(event));
        }
        let mut event = event.clone();
        while let Some((to, change)) = self.0.get(&event.event_type) {
            event.payload = change(event.payload)?;
            event.event_type.clone_from(to);
        }
        Ok(Cow::Owned(event))
    }
}

impl fmt::Debug for Upcasters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(from, (to, _))| (from, to))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_circle_is_refused() {
        let straight = Upcasters::default().step("a.v1", "a.v2", Ok).step("a.v2", "a.v3", Ok);
        assert!(straight.check().is_ok());
        assert_eq!(straight.target("a.v1"), "a.v3");
        let circle = straight.step("a.v3", "a.v1", Ok);
        assert!(matches!(circle.check(), Err(Error::UpcastCycle { .. })));
        assert!(Upcasters::default().step("a.v1", "a.v1", Ok).check().is_err());
    }
}
