//! (d) Events: each one committed is in the log, once for a consumer that deduplicates, without a gap.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap, HashSet};

use steadfast::core::EventId;

use super::{Violation, violations};

/// An event, in an outbox or in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EventRow {
    pub(super) id: EventId,
    /// Type and id of its aggregate.
    pub(super) aggregate: Box<str>,
    pub(super) sequence: i64,
}

/// An outbox.
#[derive(Clone, Debug, Default)]
pub(super) struct Outbox {
    pub(super) events: Vec<EventRow>,
    /// Of each aggregate the numbers that were archived, up to the first, and given out, up to the second.
    pub(super) numbers: Vec<(Box<str>, i64, i64)>,
    /// Events that are not marked as published.
    pub(super) unpublished: u64,
}

/// The log, deduplicated by event id.
#[derive(Debug, Default)]
pub(super) struct Log {
    events: HashMap<EventId, (Box<str>, i64)>,
    /// Events whose copies differ.
    torn: Vec<EventId>,
}

/// What outboxes account for.
#[derive(Debug, Default)]
pub(super) struct Known {
    events: HashSet<EventId>,
    archived: HashMap<Box<str>, i64>,
}

impl Log {
    pub(super) fn new(rows: impl IntoIterator<Item = EventRow>) -> Self {
        let mut log = Self::default();
        for EventRow { id, aggregate, sequence } in rows {
            match log.events.entry(id) {
                Slot::Vacant(slot) => {
                    slot.insert((aggregate, sequence));
                }
                Slot::Occupied(slot) if *slot.get() != (aggregate, sequence) => log.torn.push(id),
                Slot::Occupied(_) => {}
            }
        }
        log
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }
}

/// One outbox against the log.
pub(super) fn check(source: &str, outbox: &Outbox, log: &Log, known: &mut Known) -> Vec<Violation> {
    let mut details = Vec::new();
    let mut numbers: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    for EventRow { id, aggregate, sequence } in &outbox.events {
        known.events.insert(*id);
        numbers.entry(aggregate).or_default().push(*sequence);
        match log.events.get(id) {
            None => {
                let what = format!("event {id} ({aggregate} {sequence})");
                details.push(format!("{source}: {what} is committed and not in the log"));
            }
            Some(copy) if (&*copy.0, copy.1) != (&**aggregate, *sequence) => {
                details.push(format!(
                    "{source}: event {id} is {aggregate} {sequence}, but {} {} in the log",
                    copy.0, copy.1
                ));
            }
            Some(_) => {}
        }
    }
    for (aggregate, floor, last) in &outbox.numbers {
        let mut found = numbers.remove(&**aggregate).unwrap_or_default();
        found.sort_unstable();
        if !found.iter().copied().eq(floor + 1..=*last) {
            details.push(format!(
                "{source}: {aggregate} should have the numbers {} to {last} once each, and has {}",
                floor + 1,
                ranges(&found)
            ));
        }
        if *floor > 0 {
            known.archived.insert(aggregate.clone(), *floor);
        }
    }
    details
        .extend(numbers.into_keys().map(|aggregate| format!("{source}: {aggregate} has events that nobody numbered")));
    if outbox.unpublished > 0 {
        details.push(format!("{source}: {} events are not marked as published", outbox.unpublished));
    }
    violations("events", details)
}

/// What is in the log and was never committed.
pub(super) fn strays(log: &Log, known: &Known) -> Vec<Violation> {
    let archived = |aggregate: &str, sequence| known.archived.get(aggregate).is_some_and(|floor| sequence <= *floor);
    let torn = log.torn.iter().map(|id| format!("event {id} has copies in the log that differ"));
    let stray = log
        .events
        .iter()
        .filter(|(id, (aggregate, sequence))| !known.events.contains(id) && !archived(aggregate, *sequence))
        .map(|(id, (aggregate, sequence))| {
            format!("event {id} ({aggregate} {sequence}) is in the log and in no outbox")
        });
    violations("events", torn.chain(stray))
}

/// Ascending numbers as ranges: `1-3, 5`.
fn ranges(numbers: &[i64]) -> String {
    let mut out: Vec<(i64, i64)> = Vec::new();
    for number in numbers {
        match out.last_mut() {
            Some((_, last)) if *number == *last + 1 => *last = *number,
            _ => out.push((*number, *number)),
        }
    }
    let text = |(first, last): &(i64, i64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    if out.is_empty() { "none".to_owned() } else { out.iter().map(text).collect::<Vec<_>>().join(", ") }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use steadfast::core::Timestamp;

    use super::super::testing::text;
    use super::*;

    fn event(n: u8, aggregate: &str, sequence: i64) -> EventRow {
        EventRow { id: EventId::from_parts(Timestamp::from_millis(0), [n; 10]), aggregate: aggregate.into(), sequence }
    }

    fn outbox() -> Outbox {
        Outbox {
            events: vec![event(1, "order/a", 1), event(2, "order/a", 2), event(3, "order/b", 1)],
            numbers: vec![("order/a".into(), 0, 2), ("order/b".into(), 0, 1)],
            unpublished: 0,
        }
    }

    fn found(outbox: &Outbox, log: Vec<EventRow>) -> String {
        let log = Log::new(log);
        let mut known = Known::default();
        let mut violations = check("order", outbox, &log, &mut known);
        violations.extend(strays(&log, &known));
        text(&violations)
    }

    #[test]
    fn copies_in_the_log_are_well() {
        let mut log = outbox().events;
        log.push(event(1, "order/a", 1));
        assert_eq!(found(&outbox(), log), "");
        let mut archived = outbox();
        archived.events.remove(0);
        archived.numbers[0].1 = 1;
        assert_eq!(found(&archived, outbox().events), "");
    }

    #[test]
    fn an_event_that_was_dropped_is_found() {
        let mut log = outbox().events;
        log.remove(1);
        expect![[r"
            events: order: event 00000000-0000-7202-8202-020202020202 (order/a 2) is committed and not in the log
        "]]
        .assert_eq(&found(&outbox(), log));
    }

    #[test]
    fn gaps_doubles_and_strays_are_found() {
        let mut outbox = outbox();
        outbox.events[1] = event(2, "order/a", 3);
        outbox.events.push(event(4, "order/b", 1));
        outbox.events.push(event(5, "order/c", 1));
        outbox.unpublished = 1;
        let mut log = outbox.events.clone();
        log.push(event(1, "order/a", 9));
        log.push(event(6, "order/d", 1));
        log[0] = event(1, "order/a", 1);
        expect![[r"
            events: order: order/a should have the numbers 1 to 2 once each, and has 1, 3
            events: order: order/b should have the numbers 1 to 1 once each, and has 1, 1
            events: order: order/c has events that nobody numbered
            events: order: 1 events are not marked as published
            events: event 00000000-0000-7101-8101-010101010101 has copies in the log that differ
            events: event 00000000-0000-7606-8606-060606060606 (order/d 1) is in the log and in no outbox
        "]]
        .assert_eq(&found(&outbox, log));
    }

    #[test]
    fn ranges_are_short() {
        assert_eq!([ranges(&[]), ranges(&[1, 2, 3, 5])], ["none", "1-3, 5"]);
    }
}
