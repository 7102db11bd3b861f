//! What travels.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::Error;

/// A record: what a producer appends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it belongs; events use their type.
    pub topic: String,
    /// Records with the same key keep their order; events use their aggregate's id.
    pub key: String,
    /// Names and values, in order.
    pub headers: Vec<(String, String)>,
    /// The content.
    pub payload: Bytes,
}

/// What has an order and offsets of its own: in Kafka one of a topic's partitions, in the embedded log a partition of
/// all topics together. A position belongs to one of these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition {
    /// The topic; none where a partition holds all topics.
    pub topic: Option<Arc<str>>,
    /// Which one, counted from 0.
    pub number: u32,
}

impl Partition {
    /// A partition of a topic.
    pub fn of_topic(topic: impl Into<Arc<str>>, number: u32) -> Self {
        Self { topic: Some(topic.into()), number }
    }

    /// A partition of a log whose partitions hold all topics.
    pub const fn of_log(number: u32) -> Self {
        Self { topic: None, number }
    }

    /// The topic, or the empty text: as a position's owner stores it.
    pub fn topic(&self) -> &str {
        self.topic.as_deref().unwrap_or_default()
    }

    /// The opposite of storing [`topic`](Self::topic) and the number.
    pub fn from_stored(topic: &str, number: u32) -> Self {
        Self { topic: (!topic.is_empty()).then(|| Arc::from(topic)), number }
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.topic {
            Some(topic) => write!(f, "{topic}[{}]", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

/// A record as a consumer receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The record's topic.
    pub topic: String,
    /// The partition it stands in.
    pub partition: Partition,
    /// Its place in the partition; rises, with gaps.
    pub offset: i64,
    /// The record.
    pub record: Record,
}

/// Which topics a consumer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// All there are and will be.
    All,
    /// Those with these names.
    Named(Vec<String>),
}

/// Where a consumer begins. [`Consumer::seek`](crate::Consumer::seek) moves it to a stored position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the oldest record that is kept.
    Beginning,
    /// After the newest record.
    End,
}

/// The longest topic name, as in Kafka.
const TOPIC_LENGTH: usize = 249;
/// The largest payload.
pub(crate) const PAYLOAD_SIZE: usize = 8 * 1024 * 1024;

impl Record {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Whether a log takes it: the rules of Kafka for the topic's name, and a bound for the payload.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let topic = &self.topic;
        if topic.is_empty() || topic.len() > TOPIC_LENGTH || !topic.chars().all(legal) || topic == "." || topic == ".."
        {
            return Err(Error::Topic { topic: topic.chars().take(TOPIC_LENGTH).collect() });
        }
        if self.payload.len() > PAYLOAD_SIZE {
            return Err(Error::TooLarge { size: self.payload.len(), limit: PAYLOAD_SIZE });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(topic: &str) -> Record {
        Record { topic: topic.to_owned(), key: String::new(), headers: vec![], payload: Bytes::new() }
    }

    #[test]
    fn topics_follow_the_rules_of_kafka() {
        for good in ["order.created.v1", "a", "A_b-9", &"x".repeat(249)] {
            assert!(record(good).check().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "order created", "order/created", "bestellung.geändert", &"x".repeat(250)] {
            assert!(matches!(record(bad).check(), Err(Error::Topic { .. })), "{bad}");
        }
    }

    #[test]
    fn a_partition_is_stored_and_read_back() {
        for (partition, text) in
            [(Partition::of_topic("order.created.v1", 3), "order.created.v1[3]"), (Partition::of_log(3), "3")]
        {
            assert_eq!(Partition::from_stored(partition.topic(), partition.number), partition);
            assert_eq!(partition.to_string(), text);
        }
    }

    #[test]
    fn a_payload_has_a_bound() {
        let mut large = record("a");
        large.payload = Bytes::from(vec![0; PAYLOAD_SIZE]);
        assert!(large.check().is_ok());
        large.payload = Bytes::from(vec![0; PAYLOAD_SIZE + 1]);
        assert!(matches!(large.check(), Err(Error::TooLarge { .. })));
    }
}
