//! The one task that writes: whatever waits when it is free goes into its next commit.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::Row as _;
use steadfast_core::{Classified, Clock, ErrorKind, Timestamp, hex};
use steadfast_db::Db;
use steadfast_db::tx::Tx;
use tokio::sync::{mpsc, oneshot};

use super::row;
use crate::Error;
use crate::decision::{self, Claim, Decision, Prior, Report, Reported};
use crate::record::{Owner, RecordId};

/// The most steps in one commit.
const BATCH: usize = 512;

/// One step.
#[derive(Clone, Debug)]
pub(super) enum Work {
    Claim(Claim),
    Report { id: RecordId, owner: Owner, report: Report, ttl: Duration },
}

/// What became of it.
#[derive(Debug)]
pub(super) enum Done {
    Claimed(Decision),
    Reported(Reported),
}

type Reply = oneshot::Sender<Result<Done, Error>>;

#[derive(Debug)]
pub(super) struct Writer {
    db: Db,
    clock: Arc<dyn Clock>,
}

impl Writer {
    pub(super) fn new(db: Db, clock: Arc<dyn Clock>) -> Self {
        Self { db, clock }
    }

    /// Writes until every sender is gone.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<(Work, Reply)>) {
        let mut batch = Vec::with_capacity(BATCH);
        while queue.recv_many(&mut batch, BATCH).await > 0 {
            let (works, replies): (Vec<Work>, Vec<Reply>) = batch.drain(..).unzip();
            let results = Box::pin(self.write(&works)).await;
            for (reply, result) in replies.into_iter().zip(results) {
                // Nobody waits for the reply of a request that was given up; its lease tells.
                drop(reply.send(result));
            }
        }
    }

    /// All in one commit. Where that fails they are written once more, since a lost reply of the commit is no reason to
    /// refuse what stands: every step knows itself again by its token. What cannot be done at all must not take the
    /// others with it, so then each goes alone.
    async fn write(&self, works: &[Work]) -> Vec<Result<Done, Error>> {
        let fault = match self.commit(works).await {
            Ok(done) => return done.into_iter().map(Ok).collect(),
            Err(_) => match self.commit(works).await {
                Ok(done) => return done.into_iter().map(Ok).collect(),
                Err(fault) => fault,
            },
        };
        if let (Error::Db(shared), ErrorKind::Transient) = (&fault, fault.kind()) {
            return works.iter().map(|_| Err(Error::Db(Arc::clone(shared)))).collect();
        }
        let mut results = Vec::with_capacity(works.len());
        for work in works {
            let result = self.commit(std::slice::from_ref(work)).await;
            results.push(result.and_then(|mut done| done.pop().ok_or(Error::Closed)));
        }
        results
    }

    /// What each work led to, in order. Reports come first, so that a claim that came with them sees them.
    async fn commit(&self, works: &[Work]) -> Result<Vec<Done>, Error> {
        let mut tx = self.db.begin().await?;
        let now = self.clock.now();
        let mut reported = Vec::new();
        for work in works {
            if let Work::Report { id, owner, report, ttl } = work {
                reported.push(take_report(&mut tx, *id, *owner, report, *ttl, now).await?);
            }
        }
        let claims: Vec<&Claim> = works
            .iter()
            .filter_map(|work| match work {
                Work::Claim(claim) => Some(claim),
                Work::Report { .. } => None,
            })
            .collect();
        let claimed = if claims.is_empty() { Vec::new() } else { take_claims(&mut tx, &claims, now).await? };
        tx.commit().await.map_err(Error::sql)?;
        let (mut reported, mut claimed) = (reported.into_iter(), claimed.into_iter());
        let done = works.iter().map_while(|work| match work {
            Work::Claim(_) => claimed.next().map(Done::Claimed),
            Work::Report { .. } => reported.next().map(Done::Reported),
        });
        Ok(done.collect())
    }
}

async fn take_report(
    tx: &mut Tx,
    id: RecordId,
    owner: Owner,
    report: &Report,
    ttl: Duration,
    now: Timestamp,
) -> Result<Reported, Error> {
    // What nearly every report is: one statement. Whatever it does not fit is read and decided.
    if let Report::Complete(answer) = report
        && row::complete(tx, id, owner, answer, now, now + ttl).await?
    {
        return Ok(Reported::Accepted);
    }
    let seen = row::read(&mut **tx, id).await?;
    let (reported, change) = decision::report(seen.as_ref(), owner, report, ttl, now);
    if let Some(change) = change {
        row::write(tx, id, &change).await?;
    }
    Ok(reported)
}

/// New records are written by one statement for all; those that existed are read by a second and decided one by one.
async fn take_claims(tx: &mut Tx, claims: &[&Claim], now: Timestamp) -> Result<Vec<Decision>, Error> {
    let rows: Vec<Value> = claims.iter().map(|claim| new_row(claim, now)).collect();
    let fresh: HashSet<Owner> = sqlx::query(include_str!("insert_claims.sql"))
        .bind(Value::Array(rows).to_string())
        .fetch_all(&mut **tx)
        .await
        .map_err(Error::sql)?
        .iter()
        .filter_map(|row| Owner::from_slice(row.try_get::<&[u8], _>(0).ok()?))
        .collect();
    let known: HashSet<String> =
        claims.iter().filter(|claim| !fresh.contains(&claim.owner)).map(|claim| hex(claim.id.as_bytes())).collect();
    let mut records = HashMap::new();
    if !known.is_empty() {
        let rows = sqlx::query(include_str!("read_records.sql"))
            .bind(json!(known).to_string())
            .fetch_all(&mut **tx)
            .await
            .map_err(Error::sql)?;
        for row in &rows {
            let (id, record) = row::decode(row)?;
            records.insert(id, record);
        }
    }
    let mut decisions = Vec::with_capacity(claims.len());
    for claim in claims {
        if fresh.contains(&claim.owner) {
            decisions.push(Decision::Execute { attempt: 1, prior: Prior::None });
            continue;
        }
        let (decision, change) = decision::claim(records.get(&claim.id), claim, now);
        if let Some(change) = change {
            row::write(tx, claim.id, &change).await?;
            match change.then {
                Some(record) => records.insert(claim.id, record),
                None => records.remove(&claim.id),
            };
        }
        decisions.push(decision);
    }
    Ok(decisions)
}

/// The columns of [`Claim::first_record`], in the order of `insert_claims.sql`.
fn new_row(claim: &Claim, now: Timestamp) -> Value {
    let record = claim.first_record(now);
    json!([
        hex(claim.id.as_bytes()),
        hex(record.owner.as_bytes()),
        (now + claim.lease).as_millis(),
        record.expires_at.map(Timestamp::as_millis),
        hex(&record.fingerprint.to_bytes()),
        *record.scope,
        *record.subject,
        record.login.as_deref(),
        i32::from(record.forgotten),
        record.claimed_at.as_millis(),
    ])
}
