//! The suite against each backend, and what only one of them can show.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use steadfast_core::{NewEvent, Timestamp};
use steadfast_db::{BoxError, Db, EventSink, Line, migrate};
use steadfast_testkit::{TestDb, database};

use super::{Append, Arc, Journal, batch, began, id, run, start, take};
use crate::Error;
use crate::journal::{LINE, Memory, Sqlite};

#[tokio::test]
async fn memory_conforms() {
    run(async || Arc::new(Memory::new()) as Arc<dyn Journal>).await;
}

#[tokio::test]
async fn sqlite_conforms() {
    let folders = Mutex::new(Vec::<TestDb>::new());
    run(async || {
        let db = database().await;
        let journal = Sqlite::open(Db::clone(&db), None).await.unwrap();
        folders.lock().unwrap().push(db);
        Arc::new(journal) as Arc<dyn Journal>
    })
    .await;
}

/// Writes events to a table, or fails.
#[derive(Debug, Default)]
struct Table {
    fails: AtomicBool,
}

#[async_trait::async_trait]
impl EventSink<sqlx::Sqlite> for Table {
    async fn append_many(
        &self,
        tx: &mut sqlx::Transaction<'_, sqlx::Sqlite>,
        events: &[NewEvent],
        _now: Timestamp,
    ) -> Result<(), BoxError> {
        for event in events {
            sqlx::query("insert into told (id) values (?1)").bind(&event.aggregate_id).execute(&mut **tx).await?;
        }
        if self.fails.load(Ordering::SeqCst) { Err("the sink is full".into()) } else { Ok(()) }
    }
}

fn telling(mut row: Append) -> Append {
    let id = row.target.id().to_string();
    row.event = Some(NewEvent::new("saga", id, "saga.completed.v1", serde_json::json!({})));
    row
}

#[tokio::test]
async fn an_event_stands_exactly_if_its_entries_do() {
    let db = database().await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("create table told (id text not null)").execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let told = async || {
        sqlx::query_scalar::<_, String>("select id from told order by rowid").fetch_all(db.readers()).await.unwrap()
    };
    let sink = Arc::new(Table::default());
    let journal = Sqlite::open(Db::clone(&db), Some(Arc::clone(&sink) as _)).await.unwrap();
    let lane = take(&journal).await;
    began(&journal, lane, "known").await;
    let rows = vec![telling(start("a")), telling(start("known")), start("silent"), telling(start("b"))];
    let mut batch = batch(lane, rows);
    sink.fails.store(true, Ordering::SeqCst);
    assert!(matches!(journal.append(&batch).await, Err(Error::Sink(_))));
    assert_eq!(journal.find(id("a")).await.unwrap(), None, "without its event the saga does not stand");
    sink.fails.store(false, Ordering::SeqCst);
    batch.again = true;
    for _ in 0..3 {
        journal.append(&batch).await.unwrap();
    }
    assert_eq!(told().await, [id("a").to_string(), id("b").to_string()]);
}

#[tokio::test]
async fn what_ran_before_there_was_a_queue_is_taken_up_and_is_not_in_it() {
    const OLD: Line = Line { sqlite: LINE.sqlite.split_at(2).0, ..LINE };
    let db = database().await;
    migrate(&*db, &OLD).await.unwrap();
    let former = "insert into lane (id, epoch) values (0, 1900000000000);
        insert into saga (id, definition, version, status, held, overdue, lane, principal, started_at) values
            (x'00000000000080008000000000000001', 'd', 1, 'running', 0, 0, 0, 'p', 1),
            (x'00000000000080008000000000000002', 'd', 1, 'completed', 0, 0, 0, 'p', 1),
            (x'00000000000080008000000000000003', 'd', 1, 'failed', 0, 0, 0, 'p', 1),
            (x'00000000000080008000000000000004', 'd', 1, 'compensating', 0, 0, 0, 'p', 1)";
    let mut tx = db.begin().await.unwrap();
    sqlx::raw_sql(former).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    let journal = Sqlite::open(Db::clone(&db), None).await.unwrap();
    let lane = take(&journal).await;
    assert!(lane.epoch > 1_900_000_000_000, "it goes on growing");
    let rows = journal.unsettled(lane.id, 0, 10).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.no).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(journal.claim(lane, 10).await.unwrap(), [], "nothing waits in the queue");
    assert_eq!(journal.count_parked().await.unwrap(), 1);
}

#[tokio::test]
async fn the_journal_refuses_changes() {
    let db = database().await;
    let journal = Sqlite::open(Db::clone(&db), None).await.unwrap();
    let lane = take(&journal).await;
    began(&journal, lane, "a").await;
    for sql in ["update saga_journal set entries = '[]'", "delete from saga_journal"] {
        let mut tx = db.begin().await.unwrap();
        let error = sqlx::query(sql).execute(&mut *tx).await.unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

/// Each case has a schema of its own: a database for each would take a minute.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_conforms() {
    use std::sync::atomic::AtomicU32;

    use sqlx::AssertSqlSafe;
    use steadfast_db::postgres;

    use crate::journal::Postgres;

    let server = steadfast_testkit::postgres().await;
    let count = AtomicU32::new(0);
    run(async || {
        let schema = format!("case_{}", count.fetch_add(1, Ordering::SeqCst));
        sqlx::query(AssertSqlSafe(format!("create schema {schema}"))).execute(server.pool()).await.unwrap();
        let url = format!("{}?options=-c%20search_path%3D{schema}", server.url()).into();
        let db = postgres::Db::open(&url, postgres::Options { connections: 4, ..Default::default() }).await.unwrap();
        migrate(&db, &LINE).await.unwrap();
        Arc::new(Postgres::open(db, false).await.unwrap()) as Arc<dyn Journal>
    })
    .await;
}
