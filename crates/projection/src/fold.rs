//! One transaction's work: from events in any order to a read model that has moved on, in few statements.
//!
//! | statement | when |
//! |---|---|
//! | fence (move the checkpoints) | always, by the runner |
//! | read the aggregates' sequences; read their parked events | when there is an event |
//! | the projection's own | when there is one to apply |
//! | save the sequences | when one moved |
//! | release, park, mark, record | when there is something to |

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use sqlx::Database;
use steadfast_core::{Event, EventId, Timestamp};

use crate::error::chain;
use crate::isolate::{Chunk, Held, apply, apply_each};
use crate::metrics::Tally;
use crate::ordering::{GapPolicy, Mark, Pick, Plan, order};
use crate::store::{Aggregate, ParkRow, SequenceRow, SkipRow, State, Store, Tx, Waiting};
use crate::{Error, Projection, Subscription, Upcasters};

/// What stays the same from batch to batch.
#[derive(Debug)]
pub(crate) struct Rules<'a, DB: Database> {
    pub(crate) id: i64,
    pub(crate) projection: &'a dyn Projection<DB>,
    pub(crate) subscription: &'a Subscription,
    pub(crate) upcasters: &'a Upcasters,
    pub(crate) gaps: GapPolicy,
}

/// What a transaction did.
#[derive(Debug, Default)]
pub(crate) struct Folded {
    pub(crate) tally: Tally,
    /// When the oldest event that was applied had been written.
    pub(crate) oldest: Option<Timestamp>,
    /// Aggregates whose gap has lasted too long.
    pub(crate) alarms: u32,
    /// Whether anything was written.
    pub(crate) changed: bool,
}

/// One event that is due.
#[derive(Debug)]
struct Item {
    group: usize,
    mark: Mark,
    incoming: bool,
    /// Whether the projection knows its type.
    known: bool,
    /// The event as it came, while the projection does not have it.
    event: Option<Event>,
    /// Why it could not be applied.
    error: Option<String>,
}

/// One aggregate of the batch.
#[derive(Debug)]
struct Group {
    aggregate: Aggregate,
    waiting: Waiting,
    /// Where it stands at the end.
    last: i64,
    /// Whether a poison event holds it at the end.
    held: bool,
}

/// Folds events into the read model, within the transaction; `due` are aggregates to look at without a new event.
/// With `careful` an event that fails is found and parked, without it it fails the batch.
pub(crate) async fn fold<S: Store>(
    store: &S,
    rules: &Rules<'_, S::Sql>,
    tx: &mut Tx<S>,
    events: Vec<Event>,
    due: Vec<Aggregate>,
    careful: bool,
    now: Timestamp,
) -> Result<Folded, Error> {
    let mut by_aggregate: BTreeMap<Aggregate, Vec<usize>> = due.into_iter().map(|one| (one, Vec::new())).collect();
    for (index, event) in events.iter().enumerate() {
        let aggregate = Aggregate(event.aggregate_type.clone(), event.aggregate_id.clone());
        by_aggregate.entry(aggregate).or_default().push(index);
    }
    if by_aggregate.is_empty() {
        return Ok(Folded::default());
    }
    let keys: Vec<&Aggregate> = by_aggregate.keys().collect();
    let standings = store.standings(tx, rules.id, &keys).await?;
    let mut work = Work::plan(rules, by_aggregate, standings, events, now)?;
    let chunk = work.lift(rules);
    work.folded.oldest = chunk.events.iter().map(|event| event.created_at).min();
    if careful {
        let items = &work.items;
        let held = apply_each(store, rules.projection, tx, chunk, |item| items[item].group).await?;
        work.take_back(held);
    } else {
        apply::<S>(rules.projection, tx, &chunk).await?;
    }
    work.settle();
    work.folded.changed = work.write(store, rules.id, tx, now).await?;
    Ok(work.folded)
}

type Keys<'a> = Vec<(&'a str, &'a str)>;

#[derive(Debug, Default)]
struct Work {
    groups: Vec<Group>,
    items: Vec<Item>,
    /// Incoming events that only wait, each with its group.
    parked: Vec<(usize, Event)>,
    skips: Vec<SkipRow>,
    folded: Folded,
}

impl Work {
    /// Decides for each aggregate, and lines up what is due in the order of arrival.
    fn plan<DB: Database>(
        rules: &Rules<'_, DB>,
        by_aggregate: BTreeMap<Aggregate, Vec<usize>>,
        mut standings: HashMap<Aggregate, Waiting>,
        events: Vec<Event>,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut events: Vec<Option<Event>> = events.into_iter().map(Some).collect();
        let mut work = Self::default();
        let mut line: Vec<(usize, Item)> = Vec::with_capacity(events.len());
        for (group, (aggregate, indices)) in by_aggregate.into_iter().enumerate() {
            let mut waiting = standings.remove(&aggregate).unwrap_or_default();
            let marks: Vec<Mark> = (indices.iter().filter_map(|index| events[*index].as_ref()))
                .map(|event| Mark { sequence: event.sequence, event_id: event.event_id })
                .collect();
            let plan = order(&waiting.standing, &marks, rules.gaps, now);
            // A parked event is applied when the last of those that it waited for has arrived.
            let mut turn = 0;
            for pick in &plan.apply {
                let (mark, incoming, event) = match *pick {
                    Pick::Incoming(at) => {
                        turn = turn.max(indices[at]);
                        (marks[at], true, events[indices[at]].take())
                    }
                    Pick::Parked(at) => (
                        waiting.standing.parked[at].mark,
                        false,
                        waiting.events[at].take().map(|text| parse(&text)).transpose()?,
                    ),
                };
                line.push((turn, Item { group, mark, incoming, known: true, event, error: None }));
            }
            work.account(group, &aggregate, &plan, &indices, &mut events);
            work.groups.push(Group {
                aggregate,
                last: plan.last,
                held: waiting.standing.parked.iter().any(|one| one.poison),
                waiting,
            });
        }
        line.sort_by_key(|(turn, _)| *turn);
        work.items = line.into_iter().map(|(_, item)| item).collect();
        Ok(work)
    }

    /// Counts and keeps what a plan does not apply.
    fn account(
        &mut self,
        group: usize,
        aggregate: &Aggregate,
        plan: &Plan,
        indices: &[usize],
        events: &mut [Option<Event>],
    ) {
        let Aggregate(kind, id) = aggregate;
        let tally = &mut self.folded.tally;
        tally.duplicate += plan.duplicates.len() as u64;
        self.folded.alarms += u32::from(plan.alarm);
        for event in plan.collisions.iter().filter_map(|at| events[indices[*at]].take()) {
            let detail = "another event of this aggregate has its number: its writer must number by one way only";
            tracing::error!(
                aggregate_type = kind,
                aggregate_id = id,
                sequence = event.sequence,
                "two events with one number"
            );
            tally.skipped += 1;
            let numbers = (event.sequence, event.sequence);
            self.skips.push(SkipRow::of("collision", aggregate, numbers, Some(text_of(&event)), detail));
        }
        for (first, last) in &plan.skipped {
            tracing::warn!(aggregate_type = kind, aggregate_id = id, first, last, "missing events were given up");
            tally.skipped += last.abs_diff(*first) + 1;
            let detail = "missing for longer than the policy allows";
            self.skips.push(SkipRow::of("gap", aggregate, (*first, *last), None, detail));
        }
        let park = plan.park.iter().filter_map(|at| events[indices[*at]].take());
        self.parked.extend(park.map(|event| (group, event)));
    }

    /// Brings the events up to date, leaves out what the projection does not know, and what stands behind an event that
    /// cannot be brought up to date.
    fn lift<DB: Database>(&mut self, rules: &Rules<'_, DB>) -> Chunk {
        let mut chunk = Chunk::default();
        for (index, item) in self.items.iter_mut().enumerate() {
            let Some(event) = item.event.take() else { continue };
            item.known = rules.subscription.knows(rules.upcasters.target(&event.event_type));
            if !item.known || self.groups[item.group].held {
                item.event = Some(event);
                continue;
            }
            match rules.upcasters.lift(&event) {
                Ok(Cow::Borrowed(_)) => chunk.push(index, event),
                Ok(Cow::Owned(lifted)) => {
                    item.event = Some(event);
                    chunk.push(index, lifted);
                }
                Err(error) => {
                    item.event = Some(event);
                    item.error = Some(chain(error.as_ref()));
                    self.groups[item.group].held = true;
                }
            }
        }
        chunk
    }

    /// Takes back what could not be applied.
    fn take_back(&mut self, held: Held) {
        for (index, event, error) in held.poison {
            let item = &mut self.items[index];
            item.event.get_or_insert(event);
            item.error = Some(chain(error.as_ref()));
            self.groups[item.group].held = true;
        }
        for (index, event) in held.behind {
            self.items[index].event.get_or_insert(event);
        }
    }

    /// Works out where each aggregate stands at the end, given what failed, and counts.
    fn settle(&mut self) {
        for item in self.items.iter().filter(|item| item.error.is_some()) {
            let group = &mut self.groups[item.group];
            group.last = group.last.min(item.mark.sequence - 1);
        }
        let tally = &mut self.folded.tally;
        tally.parked += self.parked.len() as u64;
        for item in &self.items {
            let group = &self.groups[item.group];
            match item.mark.sequence.cmp(&(group.last + 1)) {
                Ordering::Less if item.known => tally.applied += 1,
                Ordering::Less => tally.unknown += 1,
                Ordering::Equal => {
                    let Aggregate(aggregate_type, aggregate_id) = &group.aggregate;
                    let (sequence, error) = (item.mark.sequence, item.error.as_deref());
                    tracing::error!(
                        aggregate_type,
                        aggregate_id,
                        sequence,
                        error,
                        "an event cannot be applied and is parked"
                    );
                    tally.poison += 1;
                }
                Ordering::Greater => tally.parked += u64::from(item.incoming),
            }
        }
    }

    /// Writes what has changed, and says whether anything has.
    async fn write<S: Store>(&self, store: &S, id: i64, tx: &mut Tx<S>, now: Timestamp) -> Result<bool, Error> {
        let sequences = self.sequences();
        if !sequences.is_empty() {
            store.save_sequences(tx, id, &sequences).await?;
        }
        let (park, release, marks) = (self.park_rows(), self.release_rows(), self.mark_rows());
        if !release.is_empty() {
            store.release(tx, id, &release).await?;
        }
        if !park.is_empty() {
            store.park(tx, id, &park, now).await?;
        }
        for (rows, state) in [(&marks.0, State::Waiting), (&marks.1, State::Behind)] {
            if !rows.is_empty() {
                store.mark_parked(tx, id, rows, state).await?;
            }
        }
        if !self.skips.is_empty() {
            store.record_skips(tx, id, &self.skips, now).await?;
        }
        Ok(!(sequences.is_empty()
            && park.is_empty()
            && release.is_empty()
            && marks.0.is_empty()
            && marks.1.is_empty()
            && self.skips.is_empty()))
    }

    fn sequences(&self) -> Vec<SequenceRow<'_>> {
        let mut ids: Vec<Option<EventId>> = vec![None; self.groups.len()];
        for item in &self.items {
            if item.mark.sequence == self.groups[item.group].last {
                ids[item.group] = Some(item.mark.event_id);
            }
        }
        let moved = self.groups.iter().zip(ids).filter(|(group, _)| group.last > group.waiting.standing.last);
        moved
            .map(|(group, event_id)| (group.aggregate.0.as_str(), group.aggregate.1.as_str(), group.last, event_id))
            .collect()
    }

    fn park_rows(&self) -> Vec<ParkRow> {
        let row = |group: &Group, event: &Event, state, error| {
            let text = text_of(event);
            (group.aggregate.0.clone(), group.aggregate.1.clone(), event.sequence, event.event_id, text, state, error)
        };
        let mut rows = Vec::new();
        for (group, event) in &self.parked {
            let group = &self.groups[*group];
            rows.push(row(group, event, if group.held { State::Behind } else { State::Waiting }, None));
        }
        for item in &self.items {
            let group = &self.groups[item.group];
            let place = item.mark.sequence.cmp(&(group.last + 1));
            let Some(event) = item.event.as_ref().filter(|_| place.is_ge()) else { continue };
            let (state, error) =
                if place.is_eq() { (State::Poison, item.error.clone()) } else { (State::Behind, None) };
            rows.push(row(group, event, state, error));
        }
        rows
    }

    /// Parked events that are done with.
    fn release_rows(&self) -> Vec<(&str, &str, i64)> {
        let mut rows = Vec::new();
        for group in &self.groups {
            let done = group.waiting.standing.parked.iter().filter(|parked| parked.mark.sequence <= group.last);
            rows.extend(
                done.map(|parked| (group.aggregate.0.as_str(), group.aggregate.1.as_str(), parked.mark.sequence)),
            );
        }
        rows
    }

    /// Aggregates some of whose parked events should wait again, and those where they should stand behind.
    fn mark_rows(&self) -> (Keys<'_>, Keys<'_>) {
        let (mut waiting, mut behind) = (Vec::new(), Vec::new());
        for group in &self.groups {
            let (wanted, rows) = if group.held { (State::Behind, &mut behind) } else { (State::Waiting, &mut waiting) };
            let parked = group.waiting.standing.parked.iter().zip(&group.waiting.states);
            let mut left = parked.filter(|(parked, _)| parked.mark.sequence > group.last);
            if left.any(|(_, state)| *state != wanted && *state != State::Poison) {
                rows.push((group.aggregate.0.as_str(), group.aggregate.1.as_str()));
            }
        }
        (waiting, behind)
    }
}

fn parse(text: &str) -> Result<Event, Error> {
    serde_json::from_str(text).map_err(|error| Error::Corrupt { table: "parked_event", fault: error.to_string() })
}

/// An event as it is stored. Its keys are strings, so it always serializes.
fn text_of(event: &Event) -> String {
    serde_json::to_string(event).unwrap_or_default()
}
