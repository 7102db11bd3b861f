//! PostgreSQL as a primary and its standby, and what strikes them: who is promoted is reached under the same address at once,
//! and a new standby is made from it.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::sleep;

use super::super::ground::local;
use super::world::World;
use crate::services::Service as _;
use crate::services::postgres::Pair;

/// By how much a standby that nobody waits for lags when it is promoted.
const BEHIND: Duration = Duration::from_secs(1);

impl World {
    fn pair(&self) -> Result<Pair> {
        self.site.pair().context("a platform without a standby")
    }

    /// Stops the primary as a crash would.
    pub(super) async fn crash_primary(&self) -> Result<()> {
        let pair = self.pair()?;
        self.blocking(move |site, _| pair.crash_primary(&site.folder)).await
    }

    /// Stops the standby as a crash would.
    pub(super) async fn crash_standby(&self) -> Result<()> {
        let pair = self.pair()?;
        self.blocking(move |site, _| pair.crash_standby(&site.folder)).await
    }

    /// Starts whichever of both has ended. One that is there stays as it is.
    pub(super) async fn start_postgres(&self) -> Result<()> {
        let pair = self.pair()?;
        self.blocking(move |site, _| pair.up(&site.folder)).await?;
        self.lead_to_primary().await
    }

    /// The primary is gone for good, and the standby takes its place: with all that was answered, or, where commits do not wait
    /// for it, without the last of it.
    pub(super) async fn promote(&self) -> Result<()> {
        let pair = self.pair()?;
        self.blocking(move |site, _| pair.wait_in_step(&site.folder)).await?;
        if !pair.is_synchronous {
            self.blocking(move |site, _| pair.let_fall_behind(&site.folder)).await?;
            sleep(BEHIND).await;
        }
        self.blocking(move |site, _| pair.promote(&site.folder)).await?;
        self.lead_to_primary().await
    }

    /// Makes a standby of what the former primary was.
    pub(super) async fn renew_standby(&self) -> Result<()> {
        let pair = self.pair()?;
        self.blocking(move |site, _| pair.renew_standby(&site.folder)).await
    }

    pub(super) async fn lead_to_primary(&self) -> Result<()> {
        let pair = self.pair()?;
        let port = self.blocking(move |site, _| pair.primary(&site.folder)).await?;
        self.hub.lead_to(local(port));
        Ok(())
    }
}
