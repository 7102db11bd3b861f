//! The way to the servers: few connections, on which the requests of all tasks are pipelined by themselves.
//!
//! Whatever is sent may be sent again by a library, here at most twice: each step knows itself again by its owner's
//! token or its mark. Nobody waits here longer than the caller does, who has a deadline of its own.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
    Script, Value,
};
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use super::{Wait, fault};

/// How often one step may be sent again.
const REPEATS: u32 = 2;

/// How soon a connection whose data nobody acknowledges is given up.
const SILENCE: Duration = Duration::from_secs(2);

/// How long to stay away from a cluster that was asked anew for who serves what.
const PAUSE: Duration = Duration::from_millis(500);

/// How many commands of one connection may wait to be written.
const QUEUE: usize = 1024;

pub(super) struct Link {
    way: Way,
    wait: Option<Wait>,
}

#[derive(Clone)]
enum Way {
    Single(Vec<ConnectionManager>),
    Cluster(Arc<Cluster>),
}

struct Cluster {
    client: ClusterClient,
    current: Mutex<ClusterConnection>,
    renewing: AtomicBool,
}

/// A write, and whether enough replicas have it.
pub(super) struct Written {
    pub(super) value: Value,
    /// How many replicas have acknowledged it, where that was asked for and they are too few.
    pub(super) too_few: Option<u32>,
}

/// One connection, to look at a server before it is used.
pub(super) async fn connect(info: &ConnectionInfo, limit: Duration) -> RedisResult<redis::aio::MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(limit)).set_response_timeout(Some(limit));
    Client::open(info.clone())?.get_multiplexed_async_connection_with_config(&config).await
}

impl Link {
    pub(super) fn single(info: ConnectionInfo, limit: Duration, count: usize, wait: Option<Wait>) -> RedisResult<Self> {
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true).set_user_timeout(SILENCE));
        let client = Client::open(info)?;
        let connections = (0..count.max(1)).map(|_| {
            // No limit on responses: the caller's deadline is one, and a timer for each command is dear.
            let config = ConnectionManagerConfig::new()
                .set_connection_timeout(Some(limit))
                .set_response_timeout(None)
                .set_pipeline_buffer_size(QUEUE)
                .set_min_delay(Duration::from_millis(20))
                .set_max_delay(Duration::from_millis(200));
            client.get_connection_manager_lazy(config)
        });
        Ok(Self { way: Way::Single(connections.collect::<RedisResult<_>>()?), wait })
    }

    pub(super) async fn cluster(nodes: Vec<ConnectionInfo>, limit: Duration, wait: Option<Wait>) -> RedisResult<Self> {
        let client = ClusterClientBuilder::new(nodes)
            .retries(REPEATS)
            .min_retry_wait(5)
            .max_retry_wait(50)
            .connection_timeout(limit)
            .response_timeout(limit)
            .overall_response_timeout(None)
            .tcp_settings(TcpSettings::default().set_nodelay(true).set_user_timeout(SILENCE))
            .build()?;
        let current = Mutex::new(client.get_async_connection().await?);
        Ok(Self { way: Way::Cluster(Arc::new(Cluster { client, current, renewing: AtomicBool::new(false) })), wait })
    }

    /// Sends one command. Commands of one lane are executed in the order in which they were sent.
    pub(super) async fn call<T: FromRedisValue>(&self, lane: usize, command: &Cmd) -> RedisResult<T> {
        match &self.way {
            Way::Single(connections) => {
                let mut connection = connections[lane % connections.len()].clone();
                let mut repeats = 0;
                loop {
                    match command.query_async(&mut connection).await {
                        Err(error) if error.is_connection_dropped() && repeats < REPEATS => repeats += 1,
                        other => return other,
                    }
                }
            }
            Way::Cluster(cluster) => command.query_async(&mut cluster.current()).await,
        }
    }

    /// Sends several commands that are executed on one connection, one after the other.
    async fn call_all<T: FromRedisValue>(&self, lane: usize, commands: &Pipeline) -> RedisResult<T> {
        match &self.way {
            Way::Single(connections) => {
                let mut connection = connections[lane % connections.len()].clone();
                let mut repeats = 0;
                loop {
                    match commands.query_async(&mut connection).await {
                        Err(error) if error.is_connection_dropped() && repeats < REPEATS => repeats += 1,
                        other => return other,
                    }
                }
            }
            Way::Cluster(cluster) => commands.query_async(&mut cluster.current()).await,
        }
    }

    /// Sends one command that writes, and waits for replicas where that is set.
    pub(super) async fn write(&self, lane: usize, command: &Cmd) -> RedisResult<Written> {
        let Some(wait) = self.wait else {
            return Ok(Written { value: self.call(lane, command).await?, too_few: None });
        };
        // On the same connection, or it would wait for nothing.
        let mut both = redis::pipe();
        both.add_command(command.clone()).cmd("WAIT").arg(wait.replicas).arg(super::encoding::millis(wait.limit));
        let (value, reached): (Value, u32) = self.call_all(lane, &both).await?;
        Ok(Written { value, too_few: (reached < wait.replicas).then_some(reached) })
    }

    /// Runs a script by its digest; by its text where the server does not know it, as one that was promoted.
    pub(super) async fn script(
        &self,
        lane: usize,
        script: &Script,
        text: &str,
        key: &[u8],
        arguments: &[&[u8]],
    ) -> RedisResult<Written> {
        let command = |verb: &str, what: &str| {
            let mut command = redis::cmd(verb);
            command.arg(what).arg(1).arg(key);
            for argument in arguments {
                command.arg(*argument);
            }
            command
        };
        match self.write(lane, &command("EVALSHA", script.get_hash())).await {
            Err(error) if fault::is_script_unknown(&error) => self.write(lane, &command("EVAL", text)).await,
            other => other,
        }
    }

    /// Runs a script that only reads.
    pub(super) async fn ask(&self, lane: usize, script: &Script, text: &str, key: &[u8]) -> RedisResult<Value> {
        let command = |verb: &str, what: &str| {
            let mut command = redis::cmd(verb);
            command.arg(what).arg(1).arg(key);
            command
        };
        match self.call(lane, &command("EVALSHA", script.get_hash())).await {
            Err(error) if fault::is_script_unknown(&error) => self.call(lane, &command("EVAL", text)).await,
            other => other,
        }
    }

    /// Sends one command to every master of a cluster that can be reached, and answers what each replied; nothing where
    /// there is one server.
    pub(super) async fn to_masters(&self, command: Cmd) -> RedisResult<Vec<(String, Value)>> {
        let Some(mut cluster) = self.whole_cluster() else { return Ok(Vec::new()) };
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let Value::Map(replies) = cluster.route_command(command, everywhere).await? else {
            return Err((ErrorKind::UnexpectedReturnType, "masters did not reply one by one").into());
        };
        let named = |(node, reply): (Value, Value)| {
            Ok((String::from_redis_value(node).map_err(RedisError::from)?, reply.extract_error()?))
        };
        replies.into_iter().map(named).collect()
    }

    /// As [`to_masters`](Self::to_masters), where the reply of none may be missing: the library leaves out a server that it
    /// cannot reach at present.
    pub(super) async fn to_all_masters(&self, command: Cmd) -> RedisResult<Vec<(String, Value)>> {
        let info: String = self.call(0, redis::cmd("CLUSTER").arg("INFO")).await?;
        let size = info.lines().find_map(|line| line.trim_end().strip_prefix("cluster_size:")?.parse().ok());
        let replies = self.to_masters(command).await?;
        if replies.len() < size.unwrap_or(0) {
            return Err((ErrorKind::ClusterConnectionNotFound, "a master of the cluster does not answer").into());
        }
        Ok(replies)
    }

    /// A connection to the whole cluster; `None` where there is one server.
    pub(super) fn whole_cluster(&self) -> Option<ClusterConnection> {
        match &self.way {
            Way::Single(_) => None,
            Way::Cluster(cluster) => Some(cluster.current()),
        }
    }

    /// Somebody waited in vain. A master that hangs, and is not dead, keeps its connection, and the library asks for a
    /// new map only where a connection breaks: so the cluster is asked anew, in the background and seldom.
    pub(super) fn suspect(&self) {
        let Way::Cluster(cluster) = &self.way else { return };
        if cluster.renewing.swap(true, Ordering::SeqCst) {
            return;
        }
        let cluster = Arc::clone(cluster);
        TaskTracker::new().spawn(async move {
            if let Ok(Ok(fresh)) = timeout(SILENCE, cluster.client.get_async_connection()).await {
                *cluster.current.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
            }
            sleep(PAUSE).await;
            cluster.renewing.store(false, Ordering::SeqCst);
        });
    }
}

impl Cluster {
    fn current(&self) -> ClusterConnection {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Link {
    /// Without addresses and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match &self.way {
            Way::Single(connections) => format!("Single({})", connections.len()),
            Way::Cluster(_) => "Cluster".to_owned(),
        };
        f.debug_struct("Link").field("way", &way).field("wait", &self.wait).finish()
    }
}
