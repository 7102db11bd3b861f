//! How the events of one append are numbered: pure.

use std::collections::HashMap;

use steadfast_core::NewEvent;

use crate::Error;

/// How an aggregate type numbers its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// By the aggregate's version.
    Given,
    /// From the outbox's own count.
    Drawn,
}

impl Way {
    /// As it stands in the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Given => "given",
            Self::Drawn => "drawn",
        }
    }

    /// The error for an event of the other way.
    pub(crate) fn mixed(self, aggregate_type: &str) -> Error {
        let way_out = match self {
            Self::Given => "set `sequence` to the aggregate's version",
            Self::Drawn => "leave `sequence` unset",
        };
        Error::MixedNumbering { aggregate_type: aggregate_type.to_owned(), way: self.as_str(), way_out }
    }
}

/// What one append wants of one aggregate: the numbers `first ..= last`, where drawn ones count from 1 until the
/// database has said where they begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim<'a> {
    pub(crate) aggregate_type: &'a str,
    pub(crate) aggregate_id: &'a str,
    pub(crate) way: Way,
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// The claim that an event belongs to, and its number within that claim, from 0.
pub(crate) type Place = (usize, i64);

/// Groups events by aggregate. Answers with the claims, in order of first appearance, and its place for each event.
pub(crate) fn claims(events: &[NewEvent]) -> Result<(Vec<Claim<'_>>, Vec<Place>), Error> {
    let mut claims: Vec<Claim<'_>> = Vec::new();
    let mut places = Vec::with_capacity(events.len());
    let mut known: HashMap<(&str, &str), usize> = HashMap::new();
    let mut ways: HashMap<&str, Way> = HashMap::new();
    for event in events {
        let (kind, id) = (event.aggregate_type.as_str(), event.aggregate_id.as_str());
        let way = if event.sequence.is_some() { Way::Given } else { Way::Drawn };
        let first_way = *ways.entry(kind).or_insert(way);
        if first_way != way {
            return Err(first_way.mixed(kind));
        }
        let first = event.sequence.unwrap_or(1);
        let Some(&at) = known.get(&(kind, id)) else {
            known.insert((kind, id), claims.len());
            places.push((claims.len(), 0));
            claims.push(Claim { aggregate_type: kind, aggregate_id: id, way, first, last: first });
            continue;
        };
        let claim = &mut claims[at];
        if let Some(given) = event.sequence.filter(|given| *given != claim.last + 1) {
            return Err(Error::Sequence {
                aggregate_type: kind.to_owned(),
                aggregate_id: id.to_owned(),
                given,
                last: claim.last,
            });
        }
        claim.last += 1;
        places.push((at, claim.last - claim.first));
    }
    Ok((claims, places))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(kind: &str, id: &str, sequence: Option<i64>) -> NewEvent {
        NewEvent { sequence, ..NewEvent::new(kind, id, "e.v1", json!({})) }
    }

    #[test]
    fn events_are_grouped_and_numbered_in_order() {
        let events = [
            event("order", "a", Some(4)),
            event("stock", "x", None),
            event("order", "a", Some(5)),
            event("order", "b", Some(1)),
            event("stock", "x", None),
        ];
        let (claims, places) = claims(&events).unwrap();
        let seen: Vec<_> = claims.iter().map(|c| (c.aggregate_id, c.way, c.first, c.last)).collect();
        assert_eq!(seen, [("a", Way::Given, 4, 5), ("x", Way::Drawn, 1, 2), ("b", Way::Given, 1, 1)]);
        assert_eq!(places, [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1)]);
    }

    #[test]
    fn a_gap_a_repeat_and_a_mixture_are_refused() {
        for second in [3, 1, 0] {
            let events = [event("order", "a", Some(1)), event("order", "a", Some(second))];
            assert!(matches!(claims(&events), Err(Error::Sequence { last: 1, given, .. }) if given == second));
        }
        let events = [event("order", "a", Some(1)), event("order", "b", None)];
        assert!(matches!(claims(&events), Err(Error::MixedNumbering { way: "given", .. })));
        let events = [event("order", "a", None), event("order", "b", Some(1))];
        assert!(matches!(claims(&events), Err(Error::MixedNumbering { way: "drawn", .. })));
    }
}
