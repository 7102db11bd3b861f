//! The disk of PostgreSQL's primary, full to the last byte for a while.

use anyhow::{Context, Result};

use super::world::World;
use crate::services::postgres::Pair;

impl World {
    /// Fills it.
    pub(super) async fn fill_disk(&self) -> Result<()> {
        let pair = self.site.pair().context("a platform without disks of its own")?;
        self.blocking(move |site, _| pair.fill_disk(&site.folder)).await
    }

    /// Gives the space back, and starts the server again if it has ended, as it does when its log finds no room.
    pub(super) async fn empty_disk(&self) -> Result<()> {
        self.blocking(|site, _| Pair::empty_disk(&site.folder)).await?;
        self.start_postgres().await
    }
}
