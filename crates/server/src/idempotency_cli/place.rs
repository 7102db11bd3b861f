//! Which store.

use std::path::Path;
use std::sync::Arc;
#[cfg(any(feature = "postgres", feature = "redis"))]
use std::time::Duration;

use clap::Args;
use steadfast_core::{Classified, ErrorKind};
use steadfast_db::Db;
use steadfast_db::sqlite::Options;
use steadfast_host::clock::System;
use steadfast_idempotency::{Error, Sqlite, Store};

use crate::fault::Fault;
use crate::print::Output;

/// How long PostgreSQL may take to let us in.
#[cfg(feature = "postgres")]
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the records are, and how results look.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The store: `postgres://user@host:port/database`, `redis://host:port` (nodes of a cluster with commas between them), or
    /// `sqlite:FILE`. A password is better kept in the variable.
    #[arg(long, env = "STEADFAST_IDEMPOTENCY_STORE", hide_env_values = true, value_name = "URL")]
    store: String,
    /// The one node of Redis that is named belongs to a cluster.
    #[arg(long)]
    cluster: bool,
    /// What all keys in Redis begin with, where the services' do.
    #[arg(long, default_value = "", value_name = "PREFIX")]
    prefix: String,
    /// How results look on stdout.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

impl Place {
    /// Opens the store. Nothing is created in it.
    pub(super) async fn open(&self) -> Result<Arc<dyn Store>, Fault> {
        let url = self.store.as_str();
        let is = |schemes: &[&str]| {
            schemes.iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| rest.starts_with("://")))
        };
        if let Some(file) = url.strip_prefix("sqlite:") {
            return sqlite(Path::new(file)).await;
        }
        if is(&["postgres", "postgresql"]) {
            return postgres(url).await;
        }
        if is(&["redis", "rediss"]) {
            return redis(url, self.cluster, &self.prefix).await;
        }
        // The text itself may hold a password.
        Err(Fault::Usage(
            "--store names no store: write postgres://user@host:port/database, redis://host:port or sqlite:FILE"
                .to_owned(),
        ))
    }
}

async fn sqlite(file: &Path) -> Result<Arc<dyn Store>, Fault> {
    if !file.is_file() {
        return Err(Fault::Usage(format!("--store: there is no file {}", file.display())));
    }
    let db = Db::open(file, Options::default()).await.map_err(|error| fault(&error.into()))?;
    Ok(Arc::new(Sqlite::new(db, Arc::new(System))))
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str) -> Result<Arc<dyn Store>, Fault> {
    let db = crate::roles::database::at(url, "idempotency")
        .map_err(|error| Fault::Usage(format!("{:#}", error.context("--store"))))?;
    // One connection first: of a server that is not there the pool would only say that none became free.
    match tokio::time::timeout(PATIENCE, db.connect()).await {
        Ok(first) => drop(first.map_err(|error| fault(&error.into()))?),
        Err(_) => return Err(Fault::Unreachable(format!("{} does not answer within {PATIENCE:?}", db.name()))),
    }
    db.check().await.map_err(|error| fault(&error.into()))?;
    Ok(Arc::new(steadfast_idempotency::Postgres::new(db)))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(_: &str) -> Result<Arc<dyn Store>, Fault> {
    Err(lacks("PostgreSQL", "postgres"))
}

#[cfg(feature = "redis")]
async fn redis(urls: &str, cluster: bool, prefix: &str) -> Result<Arc<dyn Store>, Fault> {
    use steadfast_idempotency::redis::{Options, Redis};

    // An operator waits rather than hears of a busy server.
    let options = Options { timeout: Duration::from_secs(1), prefix: prefix.to_owned(), ..Options::default() };
    let nodes: Vec<_> = urls.split(',').map(|url| url.trim().to_owned().into()).collect();
    let store = match nodes.as_slice() {
        [one] if !cluster => Redis::open(one, Arc::new(System), options).await,
        several => Redis::open_cluster(several, Arc::new(System), options).await,
    };
    Ok(Arc::new(store.map_err(|error| fault(&error))?))
}

#[cfg(not(feature = "redis"))]
async fn redis(_: &str, _: bool, _: &str) -> Result<Arc<dyn Store>, Fault> {
    Err(lacks("Redis", "redis"))
}

#[cfg(not(all(feature = "postgres", feature = "redis")))]
fn lacks(what: &str, feature: &str) -> Fault {
    Fault::Usage(format!("--store names {what}, which this build lacks: build it with `--features {feature}`"))
}

/// What a store's error means to an operator. Its own words are for whoever sent the request.
pub(super) fn fault(error: &Error) -> Fault {
    let kind = error.kind();
    let text = match error {
        Error::Db(source) => source.to_string(),
        #[cfg(feature = "redis")]
        Error::Redis(source) => format!("Redis: {source}"),
        Error::TimedOut => "the store did not answer in time".to_owned(),
        other => other.to_string(),
    };
    if ["no such table", "\"idempotency_record\" does not exist"].iter().any(|said| text.contains(said)) {
        return Fault::Usage(
            "--store: this database holds no idempotency records: is it the service's own?".to_owned(),
        );
    }
    match kind {
        ErrorKind::Transient => Fault::Unreachable(text),
        ErrorKind::Invalid => Fault::Usage(text),
        _ => Fault::Refused(text),
    }
}
