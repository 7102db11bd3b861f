//! What an error of Redis means, by what can be done about it.

use redis::{ErrorKind as Kind, RedisError, ServerErrorKind as Server};
use steadfast_core::ErrorKind;

/// The kind of an error. What a failover, a resharding or a starting server says is temporary, and so is what an
/// operator can mend without us: memory, disk, password.
pub(crate) fn kind(error: &RedisError) -> ErrorKind {
    match error.kind() {
        Kind::Io
        | Kind::ClusterConnectionNotFound
        | Kind::AuthenticationFailed
        | Kind::MasterNameNotFoundBySentinel
        | Kind::NoValidReplicasFoundBySentinel
        | Kind::Server(
            Server::BusyLoading
            | Server::Moved
            | Server::Ask
            | Server::TryAgain
            | Server::ClusterDown
            | Server::MasterDown
            | Server::ReadOnly
            | Server::NoPerm
            | Server::NoScript,
        ) => ErrorKind::Transient,
        Kind::Extension => match error.code() {
            Some("OOM" | "MISCONF" | "NOREPLICAS" | "BUSY" | "UNBLOCKED" | "NOAUTH" | "WRONGPASS" | "UNKILLABLE") => {
                ErrorKind::Transient
            }
            Some("WRONGTYPE") => ErrorKind::Corrupt,
            _ => ErrorKind::Bug,
        },
        Kind::Parse | Kind::UnexpectedReturnType => ErrorKind::Corrupt,
        Kind::InvalidClientConfig => ErrorKind::Invalid,
        _ => ErrorKind::Bug,
    }
}

/// Whether the server does not know the user or the password.
pub(super) fn is_refused(error: &RedisError) -> bool {
    error.kind() == Kind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
        || error.detail().is_some_and(|detail| detail.contains("WRONGPASS") || detail.contains("NOAUTH"))
}

/// Whether the server has forgotten a script, as a replica that was promoted has.
pub(super) fn is_script_unknown(error: &RedisError) -> bool {
    error.kind() == Kind::Server(Server::NoScript)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failover_says_is_temporary() {
        for (reply, expected) in [
            ("-MOVED 1234 127.0.0.1:7002", ErrorKind::Transient),
            ("-ASK 1234 127.0.0.1:7002", ErrorKind::Transient),
            ("-CLUSTERDOWN The cluster is down", ErrorKind::Transient),
            ("-READONLY You can't write against a read only replica.", ErrorKind::Transient),
            ("-LOADING Redis is loading the dataset in memory", ErrorKind::Transient),
            ("-TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::Transient),
            ("-MASTERDOWN Link with MASTER is down", ErrorKind::Transient),
            ("-NOREPLICAS Not enough good replicas to write.", ErrorKind::Transient),
            ("-OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Transient),
            ("-MISCONF Redis is configured to save RDB snapshots", ErrorKind::Transient),
            ("-NOAUTH Authentication required.", ErrorKind::Transient),
            ("-WRONGTYPE Operation against a key holding the wrong kind of value", ErrorKind::Corrupt),
            ("-CROSSSLOT Keys in request don't hash to the same slot", ErrorKind::Bug),
            ("-ERR unknown command", ErrorKind::Bug),
        ] {
            let said = redis::parse_redis_value(format!("{reply}\r\n").as_bytes()).unwrap();
            let error = said.extract_error().unwrap_err();
            assert_eq!(kind(&error), expected, "{reply}");
        }
        let cut = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert_eq!(kind(&cut), ErrorKind::Transient);
    }
}
