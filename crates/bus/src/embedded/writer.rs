//! Group commit: one task writes, and whatever has arrived while it was flushing goes into its next commit.

use std::sync::LazyLock;

use sqlx::{Sqlite, Transaction};
use steadfast_db::Db;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{Error, Record, partition_of};

/// Records that wait for one shared answer.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) records: Vec<Record>,
    pub(super) answer: oneshot::Sender<Result<(), Error>>,
}

/// A commit takes no further job beyond so many records, or so many bytes of payload.
const GROUP_RECORDS: usize = 4096;
const GROUP_BYTES: usize = 16 * 1024 * 1024;

/// Rows of one statement; few sizes, so that each is prepared once.
const CHUNKS: [usize; 5] = [256, 64, 16, 4, 1];

static STATEMENTS: LazyLock<[String; CHUNKS.len()]> = LazyLock::new(|| {
    const ROW: &str = "(?, ?, ?, ?, ?)";
    let one = include_str!("append_records.sql").trim_end();
    CHUNKS.map(|rows| format!("{one}{}", format!(", {ROW}").repeat(rows - 1)))
});

#[derive(Debug)]
pub(super) struct Writer {
    db: Db,
    partitions: u32,
    end: watch::Sender<i64>,
}

impl Writer {
    pub(super) fn new(db: Db, partitions: u32, end: watch::Sender<i64>) -> Self {
        Self { db, partitions, end }
    }

    /// Writes until every producer is gone and the queue is empty.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.recv().await {
            let (records, answers) = gather(first, &mut queue);
            let outcome = self.append(records).await;
            if let Ok(end) = outcome {
                advance(&self.end, end);
            }
            let outcome = outcome.map(|_| ());
            for answer in answers {
                // A producer that no longer waits has no use for the answer.
                drop(answer.send(outcome.clone()));
            }
        }
    }

    /// Appends all in one commit; answers with the newest offset.
    async fn append(&self, records: Vec<Record>) -> Result<i64, Error> {
        let mut tx = self.db.begin().await?;
        let mut left = records.len();
        let mut records = records.into_iter();
        let mut end = 0;
        for (rows, statement) in CHUNKS.iter().zip(STATEMENTS.iter()) {
            while left >= *rows {
                end = insert(&mut tx, statement, records.by_ref().take(*rows), self.partitions).await?;
                left -= rows;
            }
        }
        tx.commit().await?;
        Ok(end)
    }
}

/// Takes the first job and all that wait behind it, up to the bound of a commit.
fn gather(first: Job, queue: &mut mpsc::Receiver<Job>) -> (Vec<Record>, Vec<oneshot::Sender<Result<(), Error>>>) {
    let size = |records: &[Record]| records.iter().map(|record| record.payload.len()).sum::<usize>();
    let mut bytes = size(&first.records);
    let mut records = first.records;
    let mut answers = vec![first.answer];
    while records.len() < GROUP_RECORDS && bytes < GROUP_BYTES {
        let Ok(job) = queue.try_recv() else { break };
        bytes += size(&job.records);
        records.extend(job.records);
        answers.push(job.answer);
    }
    (records, answers)
}

async fn insert(
    tx: &mut Transaction<'static, Sqlite>,
    statement: &'static str,
    records: impl Iterator<Item = Record>,
    partitions: u32,
) -> Result<i64, Error> {
    let mut query = sqlx::query(statement);
    for record in records {
        query = query
            .bind(partition_of(&record.key, partitions))
            .bind(record.topic)
            .bind(record.key)
            .bind(headers_text(&record.headers))
            .bind(Vec::from(record.payload));
    }
    Ok(query.execute(&mut **tx).await?.last_insert_rowid())
}

/// Headers as they are stored: a JSON array of pairs, which keeps their order.
fn headers_text(headers: &[(String, String)]) -> String {
    // Pairs of strings always serialize.
    serde_json::to_string(headers).unwrap_or_default()
}

/// Makes a newer end known; an older one, which another reader was slower to see, changes nothing.
pub(super) fn advance(end: &watch::Sender<i64>, to: i64) {
    end.send_if_modified(|known| {
        let newer = to > *known;
        if newer {
            *known = to;
        }
        newer
    });
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn job(records: usize, bytes: usize) -> Job {
        let record =
            Record { topic: "t".into(), key: "k".into(), headers: vec![], payload: Bytes::from(vec![0; bytes]) };
        Job { records: vec![record; records], answer: oneshot::channel().0 }
    }

    #[test]
    fn what_waits_shares_one_commit_up_to_its_bound() {
        let (jobs, mut queue) = mpsc::channel(100);
        for waiting in [job(1, 1), job(2, 1), job(GROUP_RECORDS, 1), job(1, 1)] {
            jobs.try_send(waiting).unwrap();
        }
        let (records, answers) = gather(job(3, 1), &mut queue);
        assert_eq!((records.len(), answers.len()), (6 + GROUP_RECORDS, 4));

        let mut group = |first| gather(first, &mut queue).1.len();
        assert_eq!(group(job(1, GROUP_BYTES)), 1);
        assert_eq!(group(job(1, 1)), 2);
        assert_eq!(group(job(1, 1)), 1);
    }

    #[test]
    fn a_statement_has_a_row_for_each_record() {
        for (rows, statement) in CHUNKS.iter().zip(STATEMENTS.iter()) {
            assert_eq!(statement.matches("(?, ?, ?, ?, ?)").count(), *rows);
        }
    }
}
