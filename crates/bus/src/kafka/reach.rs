//! Whether brokers answer: for a process that has to say what it lacks while it has nothing to send.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::config::FromClientConfigAndContext;

use super::Config;
use super::context::Quiet;
use super::topics::setting;
use crate::Error;

/// To ask about one topic costs less than to ask about all. Whether there is such a topic does not matter.
const ASKED: &str = "__consumer_offsets";

/// A client that only asks; clones are the same one.
#[derive(Clone)]
pub struct Reach {
    admin: Arc<AdminClient<Quiet>>,
    brokers: String,
}

impl Reach {
    /// A client that has not connected yet.
    ///
    /// # Errors
    /// [`Error::Setting`], naming a setting that cannot be used.
    pub fn open(config: &Config) -> Result<Self, Error> {
        let admin = AdminClient::from_config_and_context(&config.admin()?, Quiet).map_err(|error| setting(&error))?;
        Ok(Self { admin: Arc::new(admin), brokers: config.brokers.clone() })
    }

    /// Asks, and waits for an answer of any broker for so long.
    ///
    /// # Errors
    /// [`Error::Unavailable`], naming the brokers.
    pub async fn answers(&self, limit: Duration) -> Result<(), Error> {
        let admin = Arc::clone(&self.admin);
        // It waits for the answer.
        let asked = tokio::task::spawn_blocking(move || admin.inner().fetch_metadata(Some(ASKED), limit).map(drop));
        match asked.await.map_err(|_| Error::Closed)? {
            Ok(()) => Ok(()),
            Err(error) => {
                let why = error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| format!("{code:?}"));
                Err(Error::Unavailable(format!("no broker of {} answers ({why})", self.brokers)))
            }
        }
    }
}

impl fmt::Debug for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reach").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}
