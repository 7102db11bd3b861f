//! Where the keys of users' requests are remembered: a word of the configuration.
//!
//! The routes are leased, since their handlers call the orchestrator; a repeat starts the same saga, so that what Redis may
//! forget at a failover costs a call and never a second order.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use steadfast::core::Clock;
use steadfast::{db, idempotency};

use crate::Error;

/// A database that can remember keys beside its orders.
pub trait Home {
    /// The leased form, in this database.
    #[doc(hidden)]
    fn keys(&self, clock: Arc<dyn Clock>) -> Arc<dyn idempotency::Store>;
}

impl Home for db::Db {
    fn keys(&self, clock: Arc<dyn Clock>) -> Arc<dyn idempotency::Store> {
        Arc::new(idempotency::Sqlite::new(self.clone(), clock))
    }
}

#[cfg(feature = "postgres")]
impl Home for db::postgres::Db {
    fn keys(&self, _: Arc<dyn Clock>) -> Arc<dyn idempotency::Store> {
        // It counts by the clock of its database.
        Arc::new(idempotency::Postgres::new(self.clone()))
    }
}

/// Where keys are remembered.
///
/// ```
/// use goodgo_order::Keys;
///
/// assert!(matches!("database".parse(), Ok(Keys::Database)));
/// assert!("redis://10.0.0.1:7001,redis://10.0.0.2:7001".parse::<Keys>().is_ok());
/// assert!("memcached://10.0.0.1".parse::<Keys>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub enum Keys {
    /// In the service's own database.
    Database,
    /// In Redis, by URL: a single server, or some nodes of a cluster.
    Redis {
        /// The URLs; they may hold a password.
        nodes: Vec<String>,
        /// What all keys begin with, where a server serves several services.
        prefix: String,
    },
}

impl fmt::Debug for Keys {
    /// Without the URLs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Database => "Database",
            Self::Redis { .. } => "Redis { .. }",
        })
    }
}

impl FromStr for Keys {
    type Err = Error;

    /// `database`, `redis://host:port`, or the URLs of a cluster's nodes with commas between them.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "database" {
            return Ok(Self::Database);
        }
        let nodes: Vec<String> = text.split(',').map(|url| url.trim().to_owned()).collect();
        let is_redis = |url: &String| url.starts_with("redis://") || url.starts_with("rediss://");
        if nodes.iter().all(is_redis) {
            return Ok(Self::Redis { nodes, prefix: String::new() });
        }
        // The text itself may hold a password.
        Err(Error::Config(
            "keys: write database, or redis://host:port, with commas between nodes of a cluster".to_owned(),
        ))
    }
}

impl Keys {
    /// Opens the store, for [`Config::keys`](crate::Config::keys). `db` is the service's own database.
    ///
    /// # Errors
    /// What is wrong with the server, or that this build has no Redis.
    pub async fn open<B: Home>(&self, db: &B, clock: Arc<dyn Clock>) -> Result<Arc<dyn idempotency::Store>, Error> {
        match self {
            Self::Database => Ok(db.keys(clock)),
            Self::Redis { nodes, prefix } => redis(nodes, prefix, clock).await,
        }
    }
}

#[cfg(feature = "redis")]
async fn redis(nodes: &[String], prefix: &str, clock: Arc<dyn Clock>) -> Result<Arc<dyn idempotency::Store>, Error> {
    use idempotency::redis::{Options, Redis};

    let options = Options { prefix: prefix.to_owned(), ..Options::default() };
    let urls: Vec<_> = nodes.iter().map(|url| url.clone().into()).collect();
    let store = match urls.as_slice() {
        [one] => Redis::open(one, clock, options).await?,
        several => Redis::open_cluster(several, clock, options).await?,
    };
    Ok(Arc::new(store))
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "with Redis it waits for it")]
async fn redis(_: &[String], _: &str, _: Arc<dyn Clock>) -> Result<Arc<dyn idempotency::Store>, Error> {
    Err(Error::Config("keys: this build lacks Redis: build it with `--features redis`".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_told() {
        let keys: Keys = "rediss://u:secret@10.0.0.1:6379".parse().unwrap();
        assert!(!format!("{keys:?}").contains("secret"));
        let error = "http://u:secret@10.0.0.1".parse::<Keys>().unwrap_err().to_string();
        assert!(error.contains("keys: write database") && !error.contains("secret"), "{error}");
        let mixed = "redis://10.0.0.1,database".parse::<Keys>();
        assert!(mixed.is_err(), "{mixed:?}");
    }
}
