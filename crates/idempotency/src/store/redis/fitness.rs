//! Whether a server may keep records, from what it says of itself: a function of the text of INFO.

/// The oldest version: its `SET … NX GET PX` is a claim in one command.
const OLDEST: u32 = 7;

/// How a server is going to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Alone.
    Single,
    /// As one of a cluster.
    Cluster,
}

/// What an operator should hear about a server that may be used all the same.
pub(super) type Advice = &'static str;

/// Why the server must not be used, or what to say about it.
pub(super) fn judge(info: &str, way: Use) -> Result<Vec<Advice>, String> {
    let field = |name: &str| {
        info.lines().find_map(|line| line.trim_end().strip_prefix(name)?.strip_prefix(':')).unwrap_or_default()
    };
    let version = field("redis_version");
    let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
    match major {
        None => return Err("it does not say its version: is it a Redis?".to_owned()),
        Some(major) if major < OLDEST => {
            return Err(format!("it is of version {version}: use Redis {OLDEST}.0 or later"));
        }
        Some(_) => {}
    }
    if field("role") == "slave" {
        return Err("it is a replica and takes no writes: name its master".to_owned());
    }
    match (way, field("cluster_enabled")) {
        (Use::Single, "1") => return Err("it is a node of a cluster: open it as a cluster".to_owned()),
        (Use::Cluster, "0") => return Err("it is not a node of a cluster: open it as a single server".to_owned()),
        _ => {}
    }
    let mut advice = Vec::new();
    match field("maxmemory_policy") {
        "noeviction" => {}
        "" => advice.push("it does not say its maxmemory-policy: make sure that it is noeviction"),
        policy => {
            return Err(format!(
                "its maxmemory-policy is {policy}, so it may drop the record of a request that was executed: set maxmemory-policy noeviction"
            ));
        }
    }
    if field("aof_enabled") != "1" {
        advice.push("appendonly is no: a restart forgets records, and the requests they stand for are executed again");
    }
    if field("min_slaves_good_slaves").is_empty() {
        advice.push(
            "min-replicas-to-write is 0: a master that is cut off accepts claims that are lost when its replica is promoted; advised is 1",
        );
    }
    Ok(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\n\
        aof_enabled:1\r\ncluster_enabled:0\r\nmin_slaves_good_slaves:1\r\n";

    fn fault(from: &str, to: &str) -> String {
        judge(&GOOD.replace(from, to), Use::Single).unwrap_err()
    }

    #[test]
    fn a_server_that_may_forget_by_itself_is_refused() {
        assert_eq!(judge(GOOD, Use::Single), Ok(Vec::new()));
        for policy in ["allkeys-lru", "volatile-ttl", "allkeys-random", "volatile-lfu"] {
            let said = fault("noeviction", policy);
            assert!(said.contains(policy) && said.contains("set maxmemory-policy noeviction"), "{said}");
        }
    }

    #[test]
    fn versions_replicas_and_the_wrong_kind_are_refused() {
        assert!(fault("7.0.15", "6.2.14").contains("6.2.14: use Redis 7.0 or later"));
        assert!(fault("redis_version", "other_version").contains("version"));
        assert!(fault("role:master", "role:slave").contains("replica"));
        assert!(fault("cluster_enabled:0", "cluster_enabled:1").contains("as a cluster"));
        assert!(judge(GOOD, Use::Cluster).unwrap_err().contains("single server"));
        assert!(judge(&GOOD.replace("7.0.15", "8.2.1"), Use::Single).is_ok());
    }

    #[test]
    fn what_is_only_risky_is_said() {
        let risky = GOOD.replace("aof_enabled:1", "aof_enabled:0").replace("min_slaves_good_slaves:1\r\n", "");
        let advice = judge(&risky, Use::Single).unwrap();
        assert_eq!(advice.len(), 2);
        assert!(advice[0].contains("appendonly") && advice[1].contains("min-replicas-to-write"));
        assert_eq!(judge(&GOOD.replace("maxmemory_policy:noeviction\r\n", ""), Use::Single).unwrap().len(), 1);
    }
}
