//! The flags that every server role has.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use serde::de::DeserializeOwned;
use steadfast_host::config::Source;

/// Variables with our prefix that are no part of a role's configuration.
const IGNORED: [&str; 8] = [
    "STEADFAST_CONFIG",
    "STEADFAST_LOG",
    "STEADFAST_LOG_JSON",
    "STEADFAST_URL",
    "STEADFAST_TOKEN",
    "STEADFAST_DATABASE_URL",
    "STEADFAST_TEST_POSTGRES",
    "STEADFAST_TEST_KAFKA",
];

/// Where the configuration comes from.
// Part of another command's arguments too.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Arguments {
    /// The TOML file; each of its keys may also be a variable: `database.url` is `STEADFAST_DATABASE__URL`.
    #[arg(long, env = "STEADFAST_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Overrides `listen`.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Reads the configuration, says whether it is in order, and starts nothing.
    #[arg(long)]
    pub(crate) check: bool,
}

/// What file and environment say.
pub(crate) fn source(config: Option<&Path>) -> Result<Source> {
    let mut source = Source::new();
    if let Some(path) = config {
        source = source.file(path, "--config")?;
    }
    Ok(source.process_environment("STEADFAST", &IGNORED)?)
}

/// The configuration that file, environment and flags make.
pub(crate) fn load<T: DeserializeOwned>(arguments: &Arguments) -> Result<T> {
    let mut source = source(arguments.config.as_deref())?;
    if let Some(listen) = &arguments.listen {
        source = source.flag("--listen", "listen", listen);
    }
    Ok(source.load()?.value)
}
