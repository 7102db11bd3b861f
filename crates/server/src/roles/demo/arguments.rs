//! The demo's flags.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::embedded::Addresses;

/// Runs a whole point-of-sale platform on real invoices, injects faults, and checks that everything adds up.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Replays through a platform that runs already, such as the one of `cargo xtask platform up` with its
    /// `goodgo/production.toml`, instead of one of its own. The platform must not have served anybody yet, since the check
    /// compares all that it holds. Faults are the tills' alone then (two thirds of `--failure-rate`): what stands between
    /// orchestrator and services, which loses replies or turns calls away, needs a platform in this process.
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Invoices as CSV, plain or gzip, in the columns of the UCI "Online Retail" data set. Without it: the sample that is
    /// built in, 2,025 invoices of December 2010.
    #[arg(long, value_name = "FILE")]
    pub(super) invoices: Option<PathBuf>,
    /// Places the first N orders only.
    #[arg(long, value_name = "N")]
    pub(super) orders: Option<usize>,
    /// Tills that work at once.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(super) concurrency: u16,
    /// The share of orders that meet a fault: a declined card, a lost reply, a late answer, a service that turns calls
    /// away, a duplicate submission, a client that hangs up, two editors of one product.
    #[arg(long, default_value_t = 0.05, value_name = "P", value_parser = share)]
    pub(super) failure_rate: f64,
    /// The share of compensations that are refused for good: each parks its saga for an operator.
    #[arg(long, default_value_t = 0.0, value_name = "P", value_parser = share)]
    pub(super) refusal_rate: f64,
    /// Kills orchestrator, relay and projector N times with SIGKILL while orders keep coming.
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=100))]
    pub(super) crash: u16,
    /// Decides which order meets which fault.
    #[arg(long, default_value_t = 7, value_name = "S")]
    pub(super) seed: u64,
    /// Where the databases are kept; must be new or empty. Without it: a temporary folder that is removed at the end.
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// The order service listens here, payment, inventory and orchestrator on the next three ports. 0: on free ones.
    #[arg(long, default_value_t = 0, value_name = "PORT", value_parser = clap::value_parser!(u16).range(0..=65532))]
    pub(super) port: u16,
    /// Keeps the platform up after the run and prints the addresses; Ctrl-C drains it.
    #[arg(long)]
    pub(super) serve: bool,
    /// The report as one JSON object, the last line of stdout.
    #[arg(long)]
    pub(super) json: bool,
}

#[cfg(feature = "kafka")]
impl Arguments {
    /// The flag that only a platform in this process can follow, if one is given together with `--config`; and why.
    pub(super) fn not_elsewhere(&self) -> Option<(&'static str, &'static str)> {
        let only_here = [
            (
                self.crash > 0,
                "--crash",
                "the processes are not the demo's to kill: `cargo xtask torture platform` does",
            ),
            (self.refusal_rate > 0.0, "--refusal-rate", "the demo does not stand between orchestrator and services"),
            (self.data.is_some(), "--data", "the databases are those that the file names"),
            (self.port != 0, "--port", "the services listen where the file says"),
            (self.serve, "--serve", "the platform stays up anyway"),
        ];
        only_here.into_iter().find(|(given, _, _)| *given).map(|(_, flag, why)| (flag, why))
    }
}

/// Orchestrator, relay and projector in a process of their own.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NodeArguments {
    #[arg(long)]
    pub(super) data: PathBuf,
    #[arg(long)]
    order: SocketAddr,
    #[arg(long)]
    payment: SocketAddr,
    #[arg(long)]
    inventory: SocketAddr,
    #[arg(long)]
    orchestrator: SocketAddr,
}

impl NodeArguments {
    pub(super) fn addresses(&self) -> Addresses {
        Addresses {
            order: self.order,
            payment: self.payment,
            inventory: self.inventory,
            orchestrator: self.orchestrator,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) => Err("a share lies between 0 and 1, such as 0.1 for a tenth".to_owned()),
        Err(_) => Err("not a number: a share is written as 0.1 for a tenth".to_owned()),
    }
}
