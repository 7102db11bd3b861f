//! What an error code of Kafka means for a record, as a function of values.

use rdkafka::types::RDKafkaErrorCode as Code;

use crate::Error;

/// What became of a record that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The batch that held it was too large: alone it may pass.
    Alone,
    /// It will never be taken.
    Refused,
    /// It may or may not be stored.
    Unknown,
}

/// Judges an error code.
pub(super) fn judge(code: Code) -> Verdict {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => Verdict::Alone,
        Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::InvalidRecord
        | Code::PolicyViolation
        | Code::InvalidTimestamp => Verdict::Refused,
        _ => Verdict::Unknown,
    }
}

/// The error for a record that was refused on its own.
pub(super) fn refusal(code: Code, topic: &str, size: usize) -> Error {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => Error::Refused(format!(
            "it has {size} bytes, more than topic {topic} takes: raise the topic's max.message.bytes, or put large \
             content elsewhere and its address here"
        )),
        Code::InvalidTopic => Error::Topic { topic: topic.to_owned() },
        Code::TopicAuthorizationFailed => Error::Refused(format!(
            "this client may not write to topic {topic}: grant it WRITE and DESCRIBE on the topic"
        )),
        Code::PolicyViolation => {
            Error::Refused(format!("a policy of the brokers forbids it for topic {topic}: see the brokers' log"))
        }
        code => Error::Refused(format!("the broker finds it invalid for topic {topic} ({code:?})")),
    }
}

/// The error for a record whose fate is open.
pub(super) fn unknown(code: Code) -> Error {
    let why = match code {
        Code::PurgeQueue | Code::PurgeInflight => "it was given up, since it or one before it was not acknowledged",
        Code::ClusterAuthorizationFailed => {
            "this client may not produce idempotently: grant it IDEMPOTENT_WRITE on the cluster"
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "fewer replicas are in sync than the topic's min.insync.replicas asks for"
        }
        Code::Fatal | Code::GaplessGuarantee => "the producer's sequence broke and it is made anew",
        code => return Error::Unavailable(format!("{code:?}; the record may or may not be stored")),
    };
    Error::Unavailable(format!("{why}; the record may or may not be stored"))
}

#[cfg(test)]
mod tests {
    use steadfast_core::{Classified, ErrorKind};

    use super::*;

    #[test]
    fn what_may_pass_later_is_nobodys_poison() {
        for code in [
            Code::NotEnoughReplicas,
            Code::LeaderNotAvailable,
            Code::BrokerTransportFailure,
            Code::MessageTimedOut,
            Code::Fatal,
            Code::OutOfOrderSequenceNumber,
            Code::UnknownTopicOrPartition,
            Code::ClusterAuthorizationFailed,
            Code::PurgeInflight,
        ] {
            assert_eq!(judge(code), Verdict::Unknown, "{code:?}");
            assert_eq!(unknown(code).kind(), ErrorKind::Transient, "{code:?}");
        }
    }

    #[test]
    fn what_will_never_pass_names_the_way_out() {
        for (code, way_out) in
            [(Code::TopicAuthorizationFailed, "grant it WRITE"), (Code::MessageSizeTooLarge, "max.message.bytes")]
        {
            let error = refusal(code, "order.created.v1", 7);
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(way_out), "{error}");
        }
        assert_eq!(judge(Code::TopicAuthorizationFailed), Verdict::Refused);
        assert_eq!(refusal(Code::InvalidTopic, "a b", 1).kind(), ErrorKind::Invalid);
    }
}
