//! Topics: made where they are missing, and judged by what their settings promise.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::{Instant, sleep};

use super::context::Quiet;
use super::{Config, NewTopics};
use crate::Error;

/// How long an answer about a topic may take.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// When to ask again about a topic of which brokers do not know everything yet.
pub(super) const AGAIN: Duration = Duration::from_millis(50);
/// How long a refusal is remembered: one bad topic must not cost every batch a round trip.
const REMEMBER: Duration = Duration::from_secs(10);

/// A promise that a topic's own settings break.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Weakness {
    /// There are fewer than three replicas.
    Replication {
        /// The topic.
        topic: String,
        /// How many there are.
        replicas: usize,
    },
    /// A write is acknowledged with fewer than two replicas.
    MinInsync {
        /// The topic.
        topic: String,
        /// The setting.
        min_insync: usize,
    },
    /// A write needs every replica.
    NoSpare {
        /// The topic.
        topic: String,
        /// How many replicas there are, and are needed.
        replicas: usize,
    },
    /// A replica that is behind may become the leader.
    UncleanElection {
        /// The topic.
        topic: String,
    },
    /// Only the newest record of each key is kept.
    Compacted {
        /// The topic.
        topic: String,
    },
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replication { topic, replicas } => write!(
                f,
                "topic {topic} has {replicas} of 3 replicas: an acknowledged event is lost with that many disks; raise its replication factor"
            ),
            Self::MinInsync { topic, min_insync } => write!(
                f,
                "topic {topic} has min.insync.replicas {min_insync}: an event is acknowledged while one broker alone holds it, and lost with it; set 2"
            ),
            Self::NoSpare { topic, replicas } => write!(
                f,
                "topic {topic} needs all of its {replicas} replicas for a write: with one broker down nothing is published; set min.insync.replicas to {}",
                replicas.saturating_sub(1)
            ),
            Self::UncleanElection { topic } => write!(
                f,
                "topic {topic} allows unclean leader elections: acknowledged events may be cut off; set unclean.leader.election.enable to false"
            ),
            Self::Compacted { topic } => write!(
                f,
                "topic {topic} is compacted: of each aggregate only the newest event is kept, and a projection that is behind waits for the others for ever; set cleanup.policy to delete"
            ),
        }
    }
}

/// What a topic's settings are, as far as they are judged.
#[derive(Clone, Debug)]
struct Settings {
    replicas: usize,
    min_insync: usize,
    unclean: bool,
    compacted: bool,
}

fn judge(topic: &str, settings: &Settings) -> Vec<Weakness> {
    let topic = || topic.to_owned();
    let Settings { replicas, min_insync, .. } = *settings;
    let mut found = Vec::new();
    if replicas < 3 {
        found.push(Weakness::Replication { topic: topic(), replicas });
    }
    if min_insync < 2 {
        found.push(Weakness::MinInsync { topic: topic(), min_insync });
    } else if min_insync >= replicas {
        found.push(Weakness::NoSpare { topic: topic(), replicas });
    }
    if settings.unclean {
        found.push(Weakness::UncleanElection { topic: topic() });
    }
    if settings.compacted {
        found.push(Weakness::Compacted { topic: topic() });
    }
    found
}

type Known = HashMap<String, Result<(), (Error, Instant)>>;

/// Knows which topics exist.
pub(super) struct Topics {
    admin: Arc<AdminClient<Quiet>>,
    new: NewTopics,
    known: Mutex<Known>,
}

impl Topics {
    pub(super) fn new(config: &Config) -> Result<Self, Error> {
        let admin = AdminClient::from_config_and_context(&config.admin()?, Quiet).map_err(|error| setting(&error))?;
        Ok(Self { admin: Arc::new(admin), new: config.topics, known: Mutex::default() })
    }

    /// Whether the topic is there, after it was made where it was not.
    pub(super) async fn ready(&self, topic: &str) -> Result<(), Error> {
        match self.known().get(topic) {
            Some(Ok(())) => return Ok(()),
            Some(Err((error, since))) if since.elapsed() < REMEMBER => return Err(error.clone()),
            _ => {}
        }
        let found = match self.replicas(topic).await? {
            Some(_) => Ok(()),
            None => self.create(topic).await,
        };
        match &found {
            Ok(()) => drop(self.known().insert(topic.to_owned(), Ok(()))),
            Err(error) => self.refuse(topic, error),
        }
        found
    }

    /// Remembers for a while that nothing can be written there, if that is what the error says.
    pub(super) fn refuse(&self, topic: &str, error: &Error) {
        if matches!(error, Error::Refused(_)) {
            self.known().insert(topic.to_owned(), Err((error.clone(), Instant::now())));
        }
    }

    /// Looks again next time.
    pub(super) fn forget(&self, topic: &str) {
        self.known().remove(topic);
    }

    pub(super) async fn weaknesses(&self, topic: &str) -> Result<Vec<Weakness>, Error> {
        self.ready(topic).await?;
        let limit = Instant::now() + ANSWER;
        loop {
            match self.settings(topic).await? {
                Some(settings) => return Ok(judge(topic, &settings)),
                None if Instant::now() + AGAIN < limit => sleep(AGAIN).await,
                None => {
                    let way_out =
                        "grant this client DESCRIBE_CONFIGS on the topic, or see whether its brokers are well";
                    return Err(Error::Unavailable(format!(
                        "no broker tells the settings of topic {topic}: {way_out}"
                    )));
                }
            }
        }
    }

    /// What the topic's settings are; none where nobody leads it yet, or a broker tells none of them.
    async fn settings(&self, topic: &str) -> Result<Option<Settings>, Error> {
        let Some(replicas) = self.replicas(topic).await?.filter(|replicas| *replicas > 0) else { return Ok(None) };
        let specifier = [ResourceSpecifier::Topic(topic)];
        let described = self.admin.describe_configs(&specifier, &options()).await.map_err(|error| away(&error))?;
        let config = match described.into_iter().next() {
            Some(Ok(config)) if !config.entries.is_empty() => config,
            // The client passes on no error of a single topic: one that is not known, or not shown to us, has no settings.
            _ => return Ok(None),
        };
        let text = |name: &str| config.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
        Ok(Some(Settings {
            replicas,
            min_insync: text("min.insync.replicas").parse().unwrap_or(1),
            unclean: text("unclean.leader.election.enable") == "true",
            compacted: text("cleanup.policy").contains("compact"),
        }))
    }

    /// How many replicas the topic has; none where there is no such topic.
    async fn replicas(&self, topic: &str) -> Result<Option<usize>, Error> {
        let (admin, name) = (Arc::clone(&self.admin), topic.to_owned());
        // It waits for a broker's answer.
        let asked = tokio::task::spawn_blocking(move || {
            let metadata = admin.inner().fetch_metadata(Some(&name), ANSWER)?;
            let found = metadata.topics().iter().find(|topic| topic.name() == name);
            let replicas = found.and_then(|topic| topic.partitions().iter().map(|one| one.replicas().len()).min());
            Ok((found.and_then(MetadataTopic::error).map(Code::from), replicas))
        });
        let (error, replicas) = asked.await.map_err(|_| Error::Closed)?.map_err(|error: KafkaError| away(&error))?;
        match error {
            None => Ok(replicas),
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Ok(None),
            Some(Code::LeaderNotAvailable) => Ok(replicas.or(Some(0))),
            Some(Code::TopicAuthorizationFailed) => Err(Error::Refused(format!(
                "this client may not see topic {topic}: grant it DESCRIBE and WRITE on the topic"
            ))),
            Some(Code::InvalidTopic) => Err(Error::Topic { topic: topic.to_owned() }),
            Some(code) => Err(Error::Unavailable(format!("topic {topic}: {code:?}"))),
        }
    }

    async fn create(&self, topic: &str) -> Result<(), Error> {
        let NewTopics::Create { partitions, replication } = self.new else {
            return Err(Error::Refused(format!(
                "topic {topic} does not exist, and the setting that makes missing topics is off: make it by hand, or allow it"
            )));
        };
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let min_insync = replication.saturating_sub(1).max(1).to_string();
        let new = NewTopic::new(topic, count, TopicReplication::Fixed(i32::from(replication)))
            .set("min.insync.replicas", &min_insync)
            .set("unclean.leader.election.enable", "false")
            .set("cleanup.policy", "delete");
        let made = self.admin.create_topics([&new], &options()).await.map_err(|error| away(&error))?;
        match made.into_iter().next() {
            Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, code))) => Err(not_made(topic, code, partitions, replication)),
            None => Err(Error::Unavailable(format!("no broker says whether topic {topic} was made"))),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").field("new", &self.new).finish_non_exhaustive()
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(ANSWER)).operation_timeout(Some(ANSWER))
}

/// Why a topic was not made.
fn not_made(topic: &str, code: Code, partitions: u32, replication: u16) -> Error {
    match code {
        // Brokers that are still starting are not there yet.
        Code::InvalidReplicationFactor => Error::Unavailable(format!(
            "topic {topic} cannot be made with {replication} replicas, since fewer brokers are there: start them, or configure fewer replicas"
        )),
        Code::InvalidPartitions => Error::Refused(format!(
            "topic {topic} cannot be made with {partitions} partitions: configure another number"
        )),
        Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => Error::Refused(format!(
            "topic {topic} does not exist and this client may not make it: grant it CREATE on the topic, or make it by hand"
        )),
        Code::PolicyViolation => Error::Refused(format!(
            "topic {topic} does not exist, and the brokers' create.topic.policy forbids to make it with {partitions} partitions and {replication} replicas: configure what it allows, or make the topic by hand"
        )),
        Code::InvalidTopic => Error::Topic { topic: topic.to_owned() },
        code => Error::Unavailable(format!("topic {topic} was not made: {code:?}")),
    }
}

/// A client that cannot be made as it is configured.
pub(super) fn setting(error: &KafkaError) -> Error {
    match error {
        KafkaError::ClientConfig(_, fault, name, _) => {
            Error::Setting { name: name.clone(), fault: format!("{fault}: see librdkafka's list of settings") }
        }
        other => Error::Setting { name: "settings".to_owned(), fault: other.to_string() },
    }
}

/// Brokers that do not answer.
pub(super) fn away(error: &KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(code) => Error::Unavailable(format!("Kafka does not answer ({code:?})")),
        None => Error::Unavailable(format!("Kafka does not answer ({error})")),
    }
}

#[cfg(test)]
mod tests {
    use steadfast_core::{Classified, ErrorKind};

    use super::*;

    #[test]
    fn each_weak_setting_is_named_with_the_promise_that_breaks() {
        let strong = Settings { replicas: 3, min_insync: 2, unclean: false, compacted: false };
        assert_eq!(judge("t", &strong), []);
        let topic = || "t".to_owned();
        for (settings, weakness) in [
            (
                Settings { replicas: 2, min_insync: 1, ..strong.clone() },
                Weakness::Replication { topic: topic(), replicas: 2 },
            ),
            (Settings { min_insync: 1, ..strong.clone() }, Weakness::MinInsync { topic: topic(), min_insync: 1 }),
            (Settings { min_insync: 3, ..strong.clone() }, Weakness::NoSpare { topic: topic(), replicas: 3 }),
            (Settings { unclean: true, ..strong.clone() }, Weakness::UncleanElection { topic: topic() }),
            (Settings { compacted: true, ..strong }, Weakness::Compacted { topic: topic() }),
        ] {
            assert_eq!(judge("t", &settings)[0], weakness);
            assert!(weakness.to_string().contains("topic t"));
        }
    }

    #[test]
    fn a_topic_that_cannot_be_made_says_by_which_setting() {
        for (code, kind, word) in [
            (Code::InvalidReplicationFactor, ErrorKind::Transient, "fewer replicas"),
            (Code::ClusterAuthorizationFailed, ErrorKind::Refused, "grant it CREATE"),
            (Code::PolicyViolation, ErrorKind::Refused, "create.topic.policy"),
            (Code::InvalidPartitions, ErrorKind::Refused, "0 partitions"),
            (Code::RequestTimedOut, ErrorKind::Transient, "was not made"),
        ] {
            let error = not_made("t", code, 0, 3);
            assert_eq!(error.kind(), kind, "{code:?}");
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
