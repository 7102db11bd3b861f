//! What every journal keeps to: run it against a backend of your own.

mod appends;
mod lists;
mod ownership;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use steadfast_core::{SagaId, Timestamp};

use super::{Append, Appended, Batch, Head, Hold, Journal, Lane, NewSaga, Row, Target};
use crate::machine::Status;

const NOON: Timestamp = Timestamp::from_millis(1_700_000_000_000);
/// Longer than any test.
const LONG: Duration = Duration::from_mins(10);

/// Runs every case, each on a journal of its own.
///
/// # Panics
/// When a case does not hold.
pub async fn run<F, Fut>(open: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = Arc<dyn Journal>>,
{
    ownership::epochs_grow(&*open().await).await;
    appends::a_former_owner_writes_nothing(&*open().await).await;
    appends::a_saga_is_kept_whole_and_in_order(&*open().await).await;
    appends::a_key_is_kept_with_the_start_and_erased_only_at_rest(&*open().await).await;
    appends::a_known_start_costs_its_own_row_only(&*open().await).await;
    appends::a_repeated_batch_writes_each_row_once(&*open().await).await;
    appends::a_row_out_of_turn_spoils_the_whole_batch(&*open().await).await;
    appends::an_append_that_was_cut_stands_whole_or_not_at_all(&*open().await).await;
    appends::a_foreign_saga_costs_its_own_row_only(&*open().await).await;
    appends::any_text_is_kept(&*open().await).await;
    lists::pages_hold_every_unsettled_saga_once(&*open().await).await;
    lists::lists_are_filtered_and_newest_first(&*open().await).await;
    lists::the_oldest_start_is_of_what_is_not_over(&*open().await).await;
    lists::what_neither_rests_nor_wakes_is_counted(&*open().await).await;
    lists::a_version_of_a_definition_is_immutable(&*open().await).await;
    lists::standings_come_in_the_order_asked(&*open().await).await;
    ownership::the_queue_is_claimed_oldest_first_and_once(&*open().await).await;
    ownership::a_parked_saga_is_adopted_by_whoever_acts_last(&*open().await).await;
    ownership::a_command_stays_until_it_is_forgotten(&*open().await).await;
    ownership::a_tick_hears_of_definitions_and_of_the_election(&*open().await).await;
    ownership::a_lane_is_ones_own_where_the_journal_is_shared(&*open().await).await;
    ownership::the_queue_is_counted_as_far_as_is_asked(&*open().await).await;
    if open().await.is_shared() {
        ownership::no_two_lanes_share_an_epoch(&*open().await).await;
        ownership::a_lapsed_lane_is_taken_by_one(&*open().await).await;
        ownership::a_renewed_lane_is_nobody_elses(&*open().await).await;
        ownership::an_empty_lane_is_taken_again(&*open().await).await;
        ownership::a_command_finds_the_owner(&*open().await).await;
        ownership::others_are_hinted(&*open().await).await;
        ownership::claims_at_once_share_the_queue(&*open().await).await;
    }
}

fn hold(node: &str, lease: Duration) -> Hold<'_> {
    Hold { node, lease, now: NOON }
}

fn id(key: &str) -> SagaId {
    SagaId::derive("till-7", "place_order", key)
}

fn running() -> Head {
    Head { status: Status::Running, held: false, overdue: false, wake_at: Some(NOON), ended_at: None, cause: None }
}

fn pending() -> Head {
    Head { status: Status::Pending, ..running() }
}

fn ended(status: Status, cause: Option<&str>) -> Head {
    Head { status, wake_at: None, ended_at: Some(NOON), cause: cause.map(str::to_owned), ..running() }
}

fn new(key: &str) -> NewSaga {
    NewSaga {
        id: id(key),
        definition: "place_order".to_owned(),
        version: 3,
        business_key: Some(format!("order-{key}")),
        principal: "till-7".to_owned(),
        started_at: NOON,
        input: format!(r#"{{"key":"{key}","text":"ünï \"quoted\" \\ \u0000"}}"#),
        context: r#"{"user":"till-7"}"#.to_owned(),
        key: Some(format!("key of \"{key}\"")),
        queued: false,
    }
}

fn start_of(new: NewSaga) -> Append {
    let entries = format!(r#"[{{"e":"started","by":"{}"}}]"#, new.business_key.as_deref().unwrap_or_default());
    Append { target: Target::New(Box::new(new)), seq: 1, entries, head: running(), event: None }
}

fn start(key: &str) -> Append {
    start_of(new(key))
}

fn queued(key: &str) -> Append {
    Append { head: pending(), ..start_of(NewSaga { queued: true, ..new(key) }) }
}

fn more(key: &str, no: i64, seq: i64, head: Head) -> Append {
    let target = Target::Known { no, id: id(key), started_at: NOON };
    Append { target, seq, entries: format!(r#"[{{"e":"row","seq":{seq}}}]"#), head, event: None }
}

fn batch(lane: Lane, rows: Vec<Append>) -> Batch {
    Batch { lane, at: NOON, rows, again: false }
}

async fn take(journal: &dyn Journal) -> Lane {
    journal.take_lane(hold("n-1", LONG)).await.expect("the lane is taken")
}

/// The next owner of the lane.
async fn succeed(journal: &dyn Journal, lane: Lane) -> Lane {
    journal.release(&[lane]).await.expect("given up");
    match journal.take_over(lane, hold("n-2", LONG)).await.expect("taken, or not") {
        Some(owner) => owner,
        // There is only one, which whoever opens the journal takes.
        None => take(journal).await,
    }
}

async fn append(journal: &dyn Journal, lane: Lane, rows: Vec<Append>) -> Vec<Appended> {
    journal.append(&batch(lane, rows)).await.expect("the rows are written")
}

fn number(outcome: Appended) -> i64 {
    let Appended::Started(no) = outcome else { return -1 };
    no
}

async fn began(journal: &dyn Journal, lane: Lane, key: &str) -> i64 {
    number(append(journal, lane, vec![start(key)]).await[0])
}

async fn found(journal: &dyn Journal, key: &str) -> Row {
    journal.find(id(key)).await.expect("it is looked for").expect("it is there")
}

/// The rows of a saga: numbers and texts.
async fn rows(journal: &dyn Journal, key: &str) -> Vec<(i64, String)> {
    let Some(row) = journal.find(id(key)).await.expect("it is looked for") else { return Vec::new() };
    let histories = journal.histories(&[row]).await.expect("its history is read");
    let history = histories.into_iter().next().flatten().expect("it has a history");
    history.commits.into_iter().map(|commit| (commit.seq, commit.entries)).collect()
}

fn numbers(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.no).collect()
}
