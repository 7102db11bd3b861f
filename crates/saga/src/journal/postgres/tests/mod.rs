//! What only this backend can show: its races, each with one side held at the decisive point; its plans; its tables.

mod races;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use sqlx::{PgConnection, Postgres as Server, Transaction};
use steadfast_core::{NewEvent, SagaId, Timestamp};
use steadfast_db::migrate;
use steadfast_testkit::{TestPostgres, postgres, wait_for};

use super::append::append as append_rows;
use super::{Postgres, rows};
use crate::journal::{Append, Appended, Batch, Head, Hold, Journal, LINE, Lane, NewSaga, Target};
use crate::machine::Status;

pub(super) const NOON: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const LONG: Duration = Duration::from_mins(10);
const LIMIT: Duration = Duration::from_secs(10);

/// A database with the tables, and a journal in it.
pub(super) struct World {
    pub(super) db: TestPostgres,
    pub(super) journal: Arc<Postgres>,
}

impl World {
    pub(super) async fn new() -> Self {
        let db = postgres().await;
        migrate(&*db, &LINE).await.unwrap();
        let journal = Arc::new(Postgres::open(db.clone(), false).await.unwrap());
        Self { db, journal }
    }

    pub(super) async fn take(&self, node: &str) -> Lane {
        self.journal.take_lane(hold(node, LONG)).await.unwrap()
    }

    async fn append(&self, lane: Lane, rows: Vec<Append>) -> Vec<Appended> {
        self.journal.append(&batch(lane, rows)).await.unwrap()
    }

    async fn began(&self, lane: Lane, key: &str) -> i64 {
        number(self.append(lane, vec![start(key)]).await[0])
    }

    /// The numbers of the rows of a saga's journal.
    async fn seqs(&self, key: &str) -> Vec<i64> {
        let Some(row) = self.journal.find(id(key)).await.unwrap() else { return Vec::new() };
        let history = self.journal.histories(&[row]).await.unwrap().remove(0).unwrap();
        history.commits.iter().map(|commit| commit.seq).collect()
    }

    /// Until so many statements wait for a lock that another holds.
    async fn blocked(&self, count: i64) {
        wait_for("a statement that waits", LIMIT, async || {
            let waiting: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            )
            .fetch_one(self.db.pool())
            .await
            .unwrap();
            waiting >= count
        })
        .await;
    }

    async fn held(&self) -> Transaction<'static, Server> {
        self.db.begin().await.unwrap()
    }
}

pub(super) fn hold(node: &str, lease: Duration) -> Hold<'_> {
    Hold { node, lease, now: NOON }
}

pub(super) fn id(key: &str) -> SagaId {
    SagaId::derive("till-7", "place_order", key)
}

pub(super) fn running() -> Head {
    Head { status: Status::Running, held: false, overdue: false, wake_at: Some(NOON), ended_at: None, cause: None }
}

pub(super) fn ended(status: Status) -> Head {
    Head { status, wake_at: None, ended_at: Some(NOON), ..running() }
}

pub(super) fn start(key: &str) -> Append {
    let new = NewSaga {
        id: id(key),
        definition: "place_order".to_owned(),
        version: 1,
        business_key: Some(format!("order-{key}")),
        principal: "till-7".to_owned(),
        started_at: NOON,
        input: format!(r#"{{"order_no":"{key}","lines":[{{"sku":"A-1","quantity":2}}]}}"#),
        context: r#"{"user":"till-7"}"#.to_owned(),
        key: None,
        queued: false,
    };
    let entries = r#"[{"e":"started"}]"#.to_owned();
    Append { target: Target::New(Box::new(new)), seq: 1, entries, head: running(), event: None }
}

pub(super) fn queued(key: &str) -> Append {
    let mut start = start(key);
    if let Target::New(new) = &mut start.target {
        new.queued = true;
    }
    start
}

pub(super) fn more(key: &str, no: i64, seq: i64, head: Head) -> Append {
    let target = Target::Known { no, id: id(key), started_at: NOON };
    Append { target, seq, entries: format!(r#"[{{"e":"row","seq":{seq}}}]"#), head, event: None }
}

pub(super) fn batch(lane: Lane, rows: Vec<Append>) -> Batch {
    Batch { lane, at: NOON, rows, again: false }
}

pub(super) fn number(outcome: Appended) -> i64 {
    let Appended::Started(no) = outcome else { panic!("not started: {outcome:?}") };
    no
}

/// A commit that is not yet committed.
async fn append_in(tx: &mut PgConnection, lane: Lane, rows: Vec<Append>) -> Vec<Appended> {
    append_rows(tx, &batch(lane, rows), false).await.unwrap()
}

fn event(key: &str) -> NewEvent {
    NewEvent::new("saga", id(key).to_string(), "saga.completed.v1", serde_json::json!({"cause": "a\0b"}))
}
