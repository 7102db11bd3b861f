//! A Redis store as many are built: whoever finishes late overwrites what stands there. For the torture, which must notice it;
//! nobody else wants it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ::redis::Client;
use ::redis::aio::ConnectionManager;
use async_trait::async_trait;
use steadfast_idempotency::redis::Redis;
use steadfast_idempotency::{
    Claim, Cleaned, Decision, Error, Owner, Record, RecordId, Report, Reported, Resolution, Resolved, Store,
};

/// Over one server, since the copy is one command.
pub(crate) struct Overwriting {
    store: Redis,
    connection: ConnectionManager,
    /// What its own executions have claimed.
    claims: Mutex<HashMap<Owner, Claim>>,
}

impl Overwriting {
    pub(crate) async fn over(store: Redis, url: &str) -> Result<Self, Error> {
        let connection = Client::open(url)?.get_connection_manager().await?;
        Ok(Self { store, connection, claims: Mutex::default() })
    }

    /// Writes the record under another name and copies it over the one that stands there.
    async fn overwrite(&self, id: RecordId, owner: Owner, report: Report, ttl: Duration) -> Result<(), Error> {
        let claim = self.claims.lock().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned();
        let Some(claim) = claim else { return Ok(()) };
        let aside = RecordId::derive("overwriting", &claim.subject, &format!("{owner:?} {id}"));
        self.store.claim(&Claim { id: aside, ..claim }).await?;
        self.store.report(aside, owner, report, ttl).await?;
        let mut copy = ::redis::cmd("COPY");
        copy.arg(key(aside)).arg(key(id)).arg("REPLACE");
        Ok(copy.exec_async(&mut self.connection.clone()).await?)
    }
}

fn key(id: RecordId) -> String {
    let name = id.to_string();
    format!("idempotency:{{{}}}", name.rsplit(':').next().unwrap_or_default())
}

impl std::fmt::Debug for Overwriting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overwriting").finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Overwriting {
    fn name(&self) -> &'static str {
        "overwriting"
    }

    async fn answers(&self) -> Result<(), Error> {
        self.store.answers().await
    }

    async fn claim(&self, claim: &Claim) -> Result<Decision, Error> {
        let decision = self.store.claim(claim).await?;
        if matches!(decision, Decision::Execute { .. }) {
            self.claims.lock().unwrap_or_else(PoisonError::into_inner).insert(claim.owner, claim.clone());
        }
        Ok(decision)
    }

    async fn report(&self, id: RecordId, owner: Owner, report: Report, ttl: Duration) -> Result<Reported, Error> {
        let reported = self.store.report(id, owner, report.clone(), ttl).await?;
        if matches!((&reported, &report), (Reported::Lost(_), Report::Complete(_))) {
            self.overwrite(id, owner, report, ttl).await?;
            return Ok(Reported::Accepted);
        }
        Ok(reported)
    }

    async fn show(&self, id: RecordId) -> Result<Option<Record>, Error> {
        self.store.show(id).await
    }

    async fn unresolved(&self, after: Option<RecordId>, limit: u32) -> Result<Vec<(RecordId, Record)>, Error> {
        self.store.unresolved(after, limit).await
    }

    async fn resolve(
        &self,
        id: RecordId,
        expected: Owner,
        resolution: Resolution,
        ttl: Duration,
    ) -> Result<Resolved, Error> {
        self.store.resolve(id, expected, resolution, ttl).await
    }

    async fn forget_answers(&self, subject: &str, login: &str) -> Result<u64, Error> {
        self.store.forget_answers(subject, login).await
    }

    async fn clean(&self, limit: u32) -> Result<Cleaned, Error> {
        self.store.clean(limit).await
    }
}
