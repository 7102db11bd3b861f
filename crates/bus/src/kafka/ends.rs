//! Where the partitions of topics end: for who reads all there is and then stops.

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::time::{Instant, sleep};

use super::Config;
use super::topics::{AGAIN, ANSWER, away, setting};
use crate::{Error, Partition};

/// The partitions of these topics that hold records, each with the offset behind its last one. A topic that is not there
/// holds none.
///
/// # Errors
/// [`Error::Unavailable`] when no broker answers, [`Error::Setting`] for a setting that cannot be used.
pub async fn ends(config: &Config, topics: &[String]) -> Result<Vec<(Partition, i64)>, Error> {
    // It joins no group: the name is never told to a broker.
    let settings = config.consumer("ends")?;
    let limit = Instant::now() + ANSWER;
    loop {
        let (settings, topics) = (settings.clone(), topics.to_vec());
        // All of it waits for brokers' answers.
        let told = tokio::task::spawn_blocking(move || filled(&settings, &topics));
        match told.await.map_err(|_| Error::Closed)? {
            // A topic that was just made, or whose leader moves, has partitions that nobody leads yet.
            Err(Error::Unavailable(_)) if Instant::now() + AGAIN < limit => sleep(AGAIN).await,
            answer => return answer,
        }
    }
}

/// The partitions that hold records, each with its end.
fn filled(settings: &ClientConfig, topics: &[String]) -> Result<Vec<(Partition, i64)>, Error> {
    let consumer: BaseConsumer<DefaultConsumerContext> =
        BaseConsumer::from_config_and_context(settings, DefaultConsumerContext).map_err(|error| setting(&error))?;
    let partitions = named(&consumer, topics).map_err(|error| away(&error))?;
    let first = asked(&consumer, &partitions, Offset::Beginning)?;
    let end = asked(&consumer, &partitions, Offset::End)?;
    Ok(first.into_iter().zip(end).filter(|((_, first), (_, end))| first < end).map(|(_, end)| end).collect())
}

/// The partitions of those topics that are there.
fn named(consumer: &BaseConsumer<DefaultConsumerContext>, topics: &[String]) -> Result<Vec<(String, i32)>, KafkaError> {
    let metadata = consumer.fetch_metadata(None, ANSWER)?;
    let known = metadata.topics().iter().filter(|topic| topics.iter().any(|name| name == topic.name()));
    Ok(known.flat_map(|topic| topic.partitions().iter().map(|one| (topic.name().to_owned(), one.id()))).collect())
}

/// The offset at one end of each partition, in the order of the partitions.
fn asked(
    consumer: &BaseConsumer<DefaultConsumerContext>,
    partitions: &[(String, i32)],
    which: Offset,
) -> Result<Vec<(Partition, i64)>, Error> {
    let mut list = TopicPartitionList::new();
    for (topic, number) in partitions {
        list.add_partition_offset(topic, *number, which).map_err(|error| away(&error))?;
    }
    if partitions.is_empty() {
        return Ok(vec![]);
    }
    // The protocol takes both ends of a partition for moments.
    let answered = consumer.offsets_for_times(list, ANSWER).map_err(|error| away(&error))?;
    partitions
        .iter()
        .map(|(topic, number)| {
            let partition = Partition::of_topic(topic.as_str(), u32::try_from(*number).unwrap_or_default());
            let found = answered.find_partition(topic, *number);
            match found.map(|one| (one.error(), one.offset())) {
                Some((Ok(()), Offset::Offset(offset))) => Ok((partition, offset)),
                Some((Err(error), _)) => Err(away(&error)),
                _ => Err(Error::Unavailable(format!("no broker says where {partition} ends"))),
            }
        })
        .collect()
}
