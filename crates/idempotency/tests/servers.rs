//! The real Redis servers of the tests: a single one and a cluster, as `cargo xtask services up redis` starts them. A
//! server that is not there fails the test.

use std::cell::RefCell;
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use redis::{Client, Commands, Connection};
use secrecy::SecretString;
use steadfast_idempotency::redis::{Options, Redis};
use steadfast_testkit::SystemClock;

use crate::support::{Backend, Time};

/// The single server.
pub(crate) fn single_url() -> String {
    env::var("STEADFAST_TEST_REDIS").unwrap_or_else(|_| "redis://127.0.0.1:16399".to_owned())
}

/// All nodes of the cluster.
pub(crate) fn cluster_urls() -> Vec<String> {
    let named = env::var("STEADFAST_TEST_REDIS_CLUSTER").ok();
    match named {
        Some(urls) => urls.split(',').map(str::to_owned).collect(),
        None => (7001..=7006).map(|port| format!("redis://127.0.0.1:{port}")).collect(),
    }
}

pub(crate) fn secrets(urls: &[String]) -> Vec<SecretString> {
    urls.iter().map(|url| SecretString::from(url.clone())).collect()
}

/// A prefix that no other test has.
pub(crate) fn prefix() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("t:{}:{}:", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// As patient as is allowed: a crowd of tests on two cores is no reason to fail.
pub(crate) fn options(prefix: &str) -> Options {
    Options { timeout: Duration::from_secs(1), prefix: prefix.to_owned(), ..Options::default() }
}

pub(crate) async fn single() -> Backend {
    let (url, prefix) = (single_url(), prefix());
    let store = Redis::open(&SecretString::from(url.clone()), Arc::new(SystemClock), options(&prefix)).await;
    let store = store.expect("Redis answers: start it with `cargo xtask services up redis`");
    Backend { name: "redis", store: Arc::new(store), time: Time::Redis(Keys::new(vec![url], prefix)) }
}

pub(crate) async fn cluster() -> Backend {
    let (urls, prefix) = (cluster_urls(), prefix());
    let store = Redis::open_cluster(&secrets(&urls[..2]), Arc::new(SystemClock), options(&prefix)).await;
    let store = store.expect("the cluster answers: start it with `cargo xtask services up redis`");
    Backend { name: "redis-cluster", store: Arc::new(store), time: Time::Redis(Keys::new(urls, prefix)) }
}

/// The keys of one test, looked at behind the store's back and removed at its end.
pub(crate) struct Keys {
    urls: Vec<String>,
    prefix: String,
    /// The masters, one connection each.
    masters: RefCell<Vec<Connection>>,
}

impl Keys {
    pub(crate) fn new(urls: Vec<String>, prefix: String) -> Self {
        Self { urls, prefix, masters: RefCell::default() }
    }

    /// Calls `each` with every key of a master and a connection to it.
    pub(crate) fn each(&self, mut each: impl FnMut(&mut Connection, Vec<u8>)) {
        let mut masters = self.masters.borrow_mut();
        if masters.is_empty() {
            let connections = self
                .urls
                .iter()
                .map(|url| Client::open(url.as_str()).unwrap().get_connection().expect("the server answers"));
            masters.extend(connections.filter_map(|mut connection| {
                let info: String = redis::cmd("INFO").arg("replication").query(&mut connection).unwrap();
                info.contains("role:master").then_some(connection)
            }));
        }
        for connection in masters.iter_mut() {
            let keys: Vec<Vec<u8>> =
                connection.scan_match(format!("{}*", self.prefix)).unwrap().map(Result::unwrap).collect();
            for key in keys {
                each(connection, key);
            }
        }
    }

    /// As if so many milliseconds had passed on the server.
    pub(crate) fn age(&self, millis: i64) {
        self.each(|connection, key| {
            let left: i64 = connection.pttl(&key).unwrap();
            let _: i64 = connection.pexpire(&key, left - millis).unwrap();
        });
    }

    pub(crate) fn count(&self) -> i64 {
        let mut count = 0;
        self.each(|_, _| count += 1);
        count
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.each(|connection, key| {
            let _: i64 = connection.unlink(&key).unwrap();
        });
    }
}
