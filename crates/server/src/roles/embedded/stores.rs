//! The databases of an embedded platform, each a file of its own.

use std::path::Path;

use anyhow::{Context, Result};
use steadfast_db::Db;
use steadfast_db::sqlite::Options;

/// All databases.
#[derive(Clone, Debug)]
pub(crate) struct Stores {
    pub(crate) order: Db,
    pub(crate) payment: Db,
    pub(crate) inventory: Db,
    pub(crate) orchestrator: Db,
    pub(crate) log: Db,
    pub(crate) read_model: Db,
}

impl Stores {
    /// Opens them; those that do not exist are created.
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let open = async |name: &str| {
            let path = folder.join(format!("{name}.sqlite"));
            Db::open(&path, Options::default()).await.with_context(|| format!("opening the {name} database"))
        };
        Ok(Self {
            order: open("order").await?,
            payment: open("payment").await?,
            inventory: open("inventory").await?,
            orchestrator: open("orchestrator").await?,
            log: open("log").await?,
            read_model: open("read_model").await?,
        })
    }

    pub(crate) fn all(&self) -> Vec<Db> {
        let all = [&self.order, &self.payment, &self.inventory, &self.orchestrator, &self.log, &self.read_model];
        all.map(Clone::clone).to_vec()
    }
}
