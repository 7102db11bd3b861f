//! Election through a real etcd: the three members that `cargo xtask services up etcd` starts, and three of the test's own,
//! which it kills.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use steadfast_saga::engine::{Election, Etcd, EtcdConfig};
use steadfast_testkit::wait_for;
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const SERVICE: [&str; 3] = ["http://127.0.0.1:23791", "http://127.0.0.1:23792", "http://127.0.0.1:23793"];

/// The shortest that etcd keeps to.
const TTL: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_secs(30);

struct Candidate {
    etcd: Etcd,
    stop: CancellationToken,
}

fn candidate(endpoints: &[String], prefix: &str, node: &str) -> Candidate {
    let stop = CancellationToken::new();
    let config = EtcdConfig::new(endpoints.to_vec(), prefix, node, TTL);
    Candidate { etcd: Etcd::campaign(config, stop.clone()).unwrap(), stop }
}

/// Never more than one.
fn leaders(candidates: &[Candidate]) -> Vec<usize> {
    let leaders: Vec<_> =
        candidates.iter().enumerate().filter(|(_, it)| it.etcd.is_leader()).map(|(at, _)| at).collect();
    assert!(leaders.len() <= 1, "two lead at once");
    leaders
}

async fn one_leads(candidates: &[Candidate]) -> usize {
    wait_for("a leader", PATIENCE, || async { leaders(candidates).len() == 1 }).await;
    leaders(candidates)[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_leads_and_the_next_one_when_it_gives_up() {
    let endpoints = SERVICE.map(str::to_owned);
    let prefix = format!("test-{:016x}", fastrand::u64(..));
    let mut candidates: Vec<_> = ["a", "b", "c"].iter().map(|node| candidate(&endpoints, &prefix, node)).collect();
    let first = one_leads(&candidates).await;
    let gone = candidates.swap_remove(first);
    let begun = Instant::now();
    gone.stop.cancel();
    gone.etcd.ended().await;
    assert!(!gone.etcd.is_leader());
    one_leads(&candidates).await;
    assert!(begun.elapsed() < TTL, "it need not wait for the end of the lease: {:?}", begun.elapsed());
    for it in &candidates {
        it.stop.cancel();
        it.etcd.ended().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_etcd_is_away_nobody_leads_and_nobody_waits() {
    let port = free_port();
    let begun = Instant::now();
    let alone = candidate(&[format!("http://127.0.0.1:{port}")], "p", "a");
    assert!(!alone.etcd.is_leader());
    alone.stop.cancel();
    alone.etcd.ended().await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// Seconds, since leases of etcd are no shorter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_majority_the_leader_stops_leading_and_comes_back_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let ports: Vec<(u16, u16)> = (0..3).map(|_| (free_port(), free_port())).collect();
    let mut members: Vec<_> = (0..3).map(|at| member(folder.path(), &ports, at)).collect();
    let endpoints: Vec<_> = ports.iter().map(|(client, _)| format!("http://127.0.0.1:{client}")).collect();
    let candidates = [candidate(&endpoints, "p", "a"), candidate(&endpoints, "p", "b")];
    one_leads(&candidates).await;

    // One member less changes nothing for long.
    members[0].kill().await.unwrap();
    tokio::time::sleep(TTL).await;
    one_leads(&candidates).await;

    members[1].kill().await.unwrap();
    let begun = Instant::now();
    wait_for("nobody to lead", PATIENCE, || async { leaders(&candidates).is_empty() }).await;
    // etcd's own leader answers until it finds itself without a majority, which takes up to two of its election timeouts.
    let most = TTL + Duration::from_secs(3);
    assert!(begun.elapsed() <= most, "{:?}", begun.elapsed());
    tokio::time::sleep(TTL).await;
    assert!(leaders(&candidates).is_empty());

    members[0] = member(folder.path(), &ports, 0);
    members[1] = member(folder.path(), &ports, 1);
    one_leads(&candidates).await;
    for it in &candidates {
        it.stop.cancel();
        it.etcd.ended().await;
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A member of a cluster of three; killed when it is dropped.
fn member(folder: &Path, ports: &[(u16, u16)], at: usize) -> Child {
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let cluster: Vec<_> = ports.iter().enumerate().map(|(at, (_, peer))| format!("e{at}={}", url(*peer))).collect();
    let (client, peer) = (url(ports[at].0), url(ports[at].1));
    Command::new("etcd")
        .args(["--name", &format!("e{at}"), "--logger", "zap", "--log-level", "panic"])
        .arg("--data-dir")
        .arg(folder.join(format!("e{at}")))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &cluster.join(","), "--initial-cluster-state", "new"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("etcd is installed: `cargo xtask services up etcd` does so")
}
