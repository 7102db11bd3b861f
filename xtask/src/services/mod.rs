//! `cargo xtask services`: the servers that development and tests talk to, on loopback and on ports of their own.

pub(crate) mod etcd;
mod install;
pub(crate) mod kafka;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod redis;

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use self::etcd::Etcd;
pub(crate) use self::install::build_tools;
#[cfg(feature = "torture")]
pub(crate) use self::install::{faketime, find, haproxy};
use self::kafka::Kafka;
use self::postgres::Postgres;
use self::redis::Redis;

const OFFSET: &str = "XTASK_SERVICES_OFFSET";
/// The cluster of Redis adds 10,000 to its ports, and none may meet another's.
const OFFSET_MAX: u16 = 1000;

/// One server, or a cluster that is used as one.
pub(crate) trait Service {
    fn name(&self) -> &'static str;

    /// Installs the programs it needs, where they are missing.
    fn install(&self) -> Result<()>;

    /// Starts what is not running and returns when it answers. Data of an earlier complete `up` is kept.
    fn up(&self, target: &Path) -> Result<()>;

    /// Stops it and removes its data. To find nothing is success.
    fn down(&self, target: &Path) -> Result<()>;

    fn status(&self, target: &Path) -> Result<Status>;
}

pub(crate) struct Status {
    /// What is wrong, in a few words; nothing when the service answers.
    fault: Option<String>,
    address: String,
    pids: Vec<u32>,
    folder: String,
}

impl Status {
    pub(crate) fn new(fault: Option<String>, address: String, pids: Vec<u32>, folder: String) -> Self {
        Self { fault, address, pids, folder }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.fault.is_none()
    }

    pub(crate) fn line(&self, name: &str) -> String {
        let state = self.fault.as_ref().map_or_else(|| "up".to_owned(), |fault| format!("down ({fault})"));
        let pids = match self.pids.as_slice() {
            [] => "-".to_owned(),
            pids => pids.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
        };
        format!("{name}  {state}  {}  pid {pids}  {}", self.address, self.folder)
    }
}

/// Every service, in the order in which they start.
fn known(brokers: Option<u16>, offset: u16) -> [Box<dyn Service>; 4] {
    let (postgres, etcd, redis, kafka) =
        (Postgres::DEVELOPMENT, Etcd::DEVELOPMENT, Redis::DEVELOPMENT, Kafka::DEVELOPMENT);
    [
        Box::new(Postgres { port: postgres.port + offset }),
        Box::new(Etcd { client_port: etcd.client_port + offset, peer_port: etcd.peer_port + offset }),
        Box::new(Redis {
            cluster_port: redis.cluster_port + offset,
            single_port: redis.single_port + offset,
            announced: None,
        }),
        Box::new(Kafka { brokers, port: kafka.port + offset, behind: None }),
    ]
}

/// How far all ports are from the usual ones: for a second checkout on the same machine, and for trying this program
/// beside services that are in use. The data then lies in a folder of its own.
fn offset() -> Result<u16> {
    let Ok(text) = env::var(OFFSET) else { return Ok(0) };
    match text.parse() {
        Ok(offset) if offset <= OFFSET_MAX => Ok(offset),
        _ => bail!("{OFFSET} is {text:?}: it must be a number from 0 to {OFFSET_MAX}"),
    }
}

fn names() -> [&'static str; 4] {
    known(None, 0).map(|service| service.name())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Up,
    Down,
    Status,
}

/// Carries out `services ACTION [NAME]...`.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<ExitCode> {
    let (action, services) = parse(arguments)?;
    let target = root.join("target");
    let target = match offset()? {
        0 => target,
        offset => target.join(format!("offset-{offset}")),
    };
    fs::create_dir_all(&target).with_context(|| format!("creating {}", target.display()))?;
    // Processes are recognised by their working folder, which the kernel tells without symbolic links.
    let target = target.canonicalize().with_context(|| format!("resolving {}", target.display()))?;
    // Two invocations at once would start everything twice. The folder itself is the lock: no file to leave behind.
    let lock = File::open(&target).with_context(|| format!("opening {}", target.display()))?;
    if action != Action::Status {
        lock.lock().with_context(|| format!("locking {}", target.display()))?;
    }

    let mut all_up = true;
    for service in services {
        let (name, service) = (service.name(), service.as_ref());
        match action {
            Action::Up => up(service, &target).with_context(|| format!("{name} did not come up"))?,
            Action::Down => {
                service.down(&target).with_context(|| format!("{name} did not go down"))?;
                say(&format!("{name}  down"));
            }
            Action::Status => {
                let status = service.status(&target).with_context(|| format!("asking {name}"))?;
                all_up &= status.is_up();
                say(&status.line(name));
            }
        }
    }
    if action == Action::Down {
        // Fails, as it should, while another service has its folder here.
        drop(fs::remove_dir(target.join("services")));
    }
    Ok(if all_up { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

pub(crate) fn up(service: &dyn Service, target: &Path) -> Result<()> {
    let name = service.name();
    let before = service.status(target)?;
    if before.is_up() {
        say(&format!("{} (it was already)", before.line(name)));
        return Ok(());
    }
    service.install()?;
    service.up(target)?;
    say(&service.status(target)?.line(name));
    Ok(())
}

fn parse(arguments: &[String]) -> Result<(Action, Vec<Box<dyn Service>>)> {
    let Some((action, names)) = arguments.split_first() else {
        bail!("say what to do with the services: up, down or status");
    };
    let action = match action.as_str() {
        "up" => Action::Up,
        "down" => Action::Down,
        "status" => Action::Status,
        other => bail!("services cannot {other:?}: say up, down or status"),
    };
    let (brokers, asked) = brokers(names)?;
    for name in &asked {
        if !self::names().contains(name) {
            bail!("there is no service {name:?}; the nearest known: {}", nearest(name).join(", "));
        }
    }
    let is_asked = |service: &dyn Service| asked.is_empty() || asked.contains(&service.name());
    let services = known(brokers, offset()?).into_iter().filter(|service| is_asked(service.as_ref()));
    Ok((action, services.collect()))
}

/// Takes `--brokers N` out of the names.
fn brokers(words: &[String]) -> Result<(Option<u16>, Vec<&str>)> {
    let (mut brokers, mut names) = (None, Vec::new());
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if word == "--brokers" {
            let count = words.next().unwrap_or_default();
            brokers = Some(match count {
                "1" => 1,
                "3" => 3,
                other => bail!("--brokers {other:?}: Kafka has 1 broker or 3"),
            });
        } else if word.starts_with('-') {
            bail!("services know no {word:?}: the one option is --brokers 1 or --brokers 3, for Kafka");
        } else {
            names.push(word);
        }
    }
    Ok((brokers, names))
}

/// The known names, the most alike first.
fn nearest(name: &str) -> Vec<&'static str> {
    let mut names = names().to_vec();
    names.sort_by_key(|known| distance(name, known));
    names
}

/// How many letters must be added, removed or replaced to make one word the other.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[right.len()]
}

#[expect(clippy::print_stdout, reason = "a command of the terminal says what it does")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<(Action, Vec<&'static str>)> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        parse(&words).map(|(action, services)| (action, services.into_iter().map(|service| service.name()).collect()))
    }

    #[test]
    fn no_name_means_all() {
        assert_eq!(parsed(&["up"]).unwrap(), (Action::Up, vec!["postgres", "etcd", "redis", "kafka"]));
    }

    #[test]
    fn a_name_given_twice_is_one_service() {
        assert_eq!(parsed(&["down", "etcd", "etcd"]).unwrap(), (Action::Down, vec!["etcd"]));
        assert_eq!(parsed(&["status", "etcd", "postgres"]).unwrap(), (Action::Status, vec!["postgres", "etcd"]));
    }

    #[test]
    fn an_unknown_name_is_told_the_nearest() {
        let told = |name| parsed(&["up", name]).unwrap_err().to_string();
        assert!(told("postgresql").starts_with("there is no service \"postgresql\"; the nearest known: postgres, "));
        assert!(told("etc").contains("known: etcd, "), "{}", told("etc"));
        assert!(told("reddis").contains("known: redis, "), "{}", told("reddis"));
    }

    #[test]
    fn kafka_has_one_broker_or_three() {
        assert_eq!(parsed(&["up", "--brokers", "3", "kafka"]).unwrap(), (Action::Up, vec!["kafka"]));
        for words in [&["up", "--brokers", "2"] as &[_], &["up", "--brokers"], &["up", "--broker", "3"]] {
            let told = parsed(words).unwrap_err().to_string();
            assert!(told.contains("broker") && told.contains('3'), "{told}");
        }
    }

    #[test]
    fn an_unknown_or_missing_action_is_refused() {
        assert!(parsed(&["restart"]).unwrap_err().to_string().contains("up, down or status"));
        assert!(parsed(&[]).is_err());
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("", "etcd"), 4);
        assert_eq!(distance("etdc", "etcd"), 2);
        assert_eq!(distance("postgre", "postgres"), 1);
        assert_eq!(distance("etcd", "etcd"), 0);
    }

    #[test]
    fn a_status_is_one_line() {
        let mut status = Status {
            fault: None,
            address: "127.0.0.1:1".to_owned(),
            pids: vec![7, 8],
            folder: "/t/services/x".to_owned(),
        };
        assert_eq!(status.line("x"), "x  up  127.0.0.1:1  pid 7,8  /t/services/x");
        status.fault = Some("not running".to_owned());
        status.pids.clear();
        assert_eq!(status.line("x"), "x  down (not running)  127.0.0.1:1  pid -  /t/services/x");
    }
}
