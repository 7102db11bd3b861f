//! The command line of a service: what every one of them is started with.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::config::Source;
use crate::telemetry::{self, Format};

/// Where the configuration comes from.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The TOML file; each of its keys may also be a variable: `database.url` is `GOODGO_DATABASE__URL` where the prefix is
    /// GOODGO.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides `listen`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Reads the configuration, says whether it is in order, and starts nothing.
    #[arg(long)]
    pub check: bool,
}

/// `[log]`: what is logged to stderr.
#[derive(Clone, Debug, Deserialize)]
pub struct Log {
    /// `human`, or `json` for one object a line.
    #[serde(default)]
    format: Format,
    /// Such as `info` or `warn,steadfast_saga=debug`.
    #[serde(default = "filter")]
    filter: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: Format::default(), filter: filter() }
    }
}

fn filter() -> String {
    "info".to_owned()
}

impl Log {
    /// Logs like this from now on. Once in a process.
    pub fn begin(&self) -> Result<(), Error> {
        telemetry::init(self.format, &self.filter)
    }
}

impl Arguments {
    /// What file, environment and flags say; `prefix` is what the variables begin with.
    pub fn load<T: DeserializeOwned>(&self, prefix: &str) -> Result<T, Error> {
        let mut source = Source::new();
        if let Some(path) = &self.config {
            source = source.file(path, "--config")?;
        }
        source = source.process_environment(prefix, &[])?;
        if let Some(listen) = &self.listen {
            source = source.flag("--listen", "listen", listen);
        }
        Ok(source.load()?.value)
    }
}

/// A line of what the command was asked for.
pub fn say(line: &str) {
    // Nobody is left to tell where stdout is closed.
    writeln!(std::io::stdout(), "{line}").ok();
}

/// Runs `work` to its end. A fault is one line on stderr, with all causes, and the exit code 1.
pub fn main<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    name: &str,
    work: impl Future<Output = Result<(), E>>,
) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(work).map_err(Into::into),
        Err(error) => Err(error.into()),
    };
    let Err(error) = ended else { return ExitCode::SUCCESS };
    // Nobody is left to tell where stderr is closed.
    writeln!(std::io::stderr(), "{name}: {}", crate::patience::chain(&*error)).ok();
    ExitCode::FAILURE
}
