//! A walk through all keys, for what an operator asks seldom: there is no index of open records, since none could be
//! written in the same step as the record of another slot.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, FromRedisValue as _, RedisError};

use super::{Redis, encoding};
use crate::Error;
use crate::record::{Record, RecordId};
use crate::store::steps::Slots as _;

/// How many keys a server looks at in one go, which is how long others wait for it.
const STRIDE: u32 = 512;

/// How many records are asked for at once.
const AT_ONCE: usize = 64;

/// Where a walk through one server stands.
struct Place {
    /// `host:port`; nothing where there is one server.
    node: Option<String>,
    cursor: Vec<u8>,
}

pub(super) async fn unresolved(
    store: &Redis,
    after: Option<RecordId>,
    limit: usize,
) -> Result<Vec<(RecordId, Record)>, Error> {
    let mut found = BTreeMap::new();
    let mut open = begin(store).await?;
    while let Some((place, keys)) = open.pop() {
        let ids = keys.iter().filter_map(|key| store.id_of(key)).filter(|id| after.is_none_or(|after| *id > after));
        let ids: Vec<RecordId> = ids.collect();
        for few in ids.chunks(AT_ONCE) {
            let records = try_join_all(few.iter().map(|id| look(store, *id))).await?;
            found.extend(few.iter().zip(records).filter_map(|(id, record)| Some((*id, record?))));
        }
        while found.len() > limit {
            found.pop_last();
        }
        if place.cursor != b"0" {
            open.push(go_on(store, place).await?);
        }
    }
    Ok(found.into_iter().collect())
}

/// The record, where nobody knows its outcome. Of those that are done only the beginning is read.
async fn look(store: &Redis, id: RecordId) -> Result<Option<Record>, Error> {
    let mut command = redis::cmd("GETRANGE");
    command.arg(store.key(id)).arg(0).arg(encoding::HEAD);
    let start: Vec<u8> = store.within(async { Ok(store.link.call(super::lane(id), &command).await?) }).await?;
    if start.is_empty() || !encoding::is_open(&start) {
        return Ok(None);
    }
    let seen = store.within(store.see(id)).await?;
    Ok(seen.record.filter(|record| record.is_unresolved(seen.now) && !record.is_expired(seen.now)))
}

fn scan(store: &Redis, cursor: &[u8]) -> Cmd {
    let mut command = redis::cmd("SCAN");
    command.arg(cursor).arg("MATCH").arg(store.pattern()).arg("COUNT").arg(STRIDE);
    command
}

/// The first stretch of every server that serves keys.
async fn begin(store: &Redis) -> Result<Vec<(Place, Vec<Vec<u8>>)>, Error> {
    if store.link.whole_cluster().is_none() {
        return Ok(vec![go_on(store, Place { node: None, cursor: b"0".to_vec() }).await?]);
    }
    // Half of a list would look like all of it.
    let replies = store.within(async { Ok(store.link.to_all_masters(scan(store, b"0")).await?) }).await?;
    let placed = |(node, reply)| {
        let (cursor, keys) = <(Vec<u8>, Vec<Vec<u8>>)>::from_redis_value(reply).map_err(RedisError::from)?;
        Ok((Place { node: Some(node), cursor }, keys))
    };
    replies.into_iter().map(placed).collect()
}

/// The next stretch of one server.
async fn go_on(store: &Redis, place: Place) -> Result<(Place, Vec<Vec<u8>>), Error> {
    let command = scan(store, &place.cursor);
    let (cursor, keys) = store
        .within(async {
            let (Some(node), Some(mut cluster)) = (&place.node, store.link.whole_cluster()) else {
                return Ok(store.link.call(0, &command).await?);
            };
            let (host, port) = node.rsplit_once(':').ok_or_else(unexpected)?;
            let host = host.to_owned();
            let port = port.parse().map_err(|_| unexpected())?;
            let there = RoutingInfo::SingleNode(SingleNodeRoutingInfo::ByAddress { host, port });
            let reply = cluster.route_command(command.clone(), there).await?.extract_error()?;
            Ok(<(Vec<u8>, Vec<Vec<u8>>)>::from_redis_value(reply).map_err(RedisError::from)?)
        })
        .await?;
    Ok((Place { cursor, ..place }, keys))
}

fn unexpected() -> Error {
    RedisError::from((redis::ErrorKind::UnexpectedReturnType, "the reply of SCAN is none")).into()
}
