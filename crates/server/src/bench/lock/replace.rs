//! An edit that names its version, beside the same three statements sent by hand over sqlx, and by pgbench where it is
//! installed. Each client walks round rows of its own, so that every edit meets the version that it expects.

use std::time::Duration;

use anyhow::{Result, ensure};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Postgres};
use steadfast_db::postgres::Db;
use steadfast_locking::{Entity, Version};

use super::pgbench::Pgbench;
use super::{Arguments, WORK};
use crate::bench::beside::{metered, sql_line};
use crate::bench::load::{Run, Work, median};
use crate::bench::report::Line;
use crate::bench::store::Scratch;

/// The rows of each client, as many as `fill_products.sql` makes.
const ROWS: i64 = 100;
/// As the library writes it.
const UPDATE: &str =
    "update product set price = $1, version = version + 1 where id = $2 and version = $3 returning version";

pub(super) async fn measure(scratch: &Scratch, arguments: &Arguments) -> Result<Vec<Line>> {
    sqlx::raw_sql(include_str!("make_products.sql")).execute(scratch.db.pool()).await?;
    let scene = Scene { scratch, entity: Entity::new("product", &["id"])? };
    let program = Pgbench::find(scratch, &arguments.postgres).await?;
    let pace = &arguments.pace;
    scene.library(8, pace.warming()).await?;
    scene.bare(8, pace.warming()).await?;
    let mut lines = Vec::new();
    for &at_once in &arguments.at_once {
        let [mut ours, mut bare, mut by_program] = [const { Vec::new() }; 3];
        for _ in 0..pace.rounds {
            ours.push(scene.library(at_once, pace.length()).await?);
            bare.push(scene.bare(at_once, pace.length()).await?);
            if let Some(program) = &program {
                scene.renew().await?;
                let (run, made) = program.run(at_once, pace.length()).await?;
                scene.check(made).await?;
                by_program.push(run);
            }
        }
        let ours = median(ours)?;
        let setting = |limit: &str| format!("versioned update beside {limit}, {at_once} at once");
        lines.push(sql_line(WORK, setting("sqlx by hand"), &ours, &median(bare)?));
        if program.is_some() {
            lines.push(sql_line(WORK, setting("pgbench"), &ours, &median(by_program)?));
        }
    }
    Ok(lines)
}

struct Scene<'a> {
    scratch: &'a Scratch,
    entity: Entity,
}

impl Scene<'_> {
    /// All rows at version 1 again, in pages without a past.
    async fn renew(&self) -> Result<()> {
        sqlx::raw_sql(include_str!("fill_products.sql")).execute(self.scratch.db.pool()).await?;
        Ok(())
    }

    async fn library(&self, at_once: usize, length: Duration) -> Result<Run> {
        self.renew().await?;
        let one =
            |client| Library { db: self.scratch.db.clone(), entity: self.entity.clone(), turn: Turn::new(client) };
        let run = metered(self.scratch, (0..at_once).map(one).collect(), length).await?;
        self.check(run.latencies.len()).await?;
        Ok(run)
    }

    async fn bare(&self, at_once: usize, length: Duration) -> Result<Run> {
        self.renew().await?;
        let one = |client| Bare { db: self.scratch.db.clone(), connection: None, turn: Turn::new(client) };
        let run = metered(self.scratch, (0..at_once).map(one).collect(), length).await?;
        self.check(run.latencies.len()).await?;
        Ok(run)
    }

    /// Every transaction has raised one version: whoever misses its row is fast and measures nothing.
    async fn check(&self, made: usize) -> Result<()> {
        let sql = "select (coalesce(sum(version), 0) - count(*))::bigint from product";
        let raised: i64 = sqlx::query_scalar(sql).fetch_one(self.scratch.db.pool()).await?;
        ensure!(i64::try_from(made) == Ok(raised), "{made} edits have raised versions {raised} times");
        Ok(())
    }
}

/// Which of its rows a client edits next, and at which version that is.
struct Turn {
    first: i64,
    number: i64,
}

impl Turn {
    fn new(client: usize) -> Self {
        Self { first: i64::try_from(client).unwrap_or(0) * ROWS, number: 0 }
    }

    fn next(&mut self) -> (i64, i64, i64) {
        let number = self.number;
        self.number += 1;
        (number, self.first + number % ROWS, 1 + number / ROWS)
    }
}

struct Library {
    db: Db,
    entity: Entity,
    turn: Turn,
}

impl Work for Library {
    async fn once(&mut self) -> Result<()> {
        let (price, id, version) = self.turn.next();
        let mut tx = self.db.begin().await?;
        self.entity.replace(id, Version::from_stored(version)).set("price", price).run(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}

struct Bare {
    db: Db,
    /// Its own from the first edit on.
    connection: Option<PoolConnection<Postgres>>,
    turn: Turn,
}

impl Work for Bare {
    async fn once(&mut self) -> Result<()> {
        let (price, id, version) = self.turn.next();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            empty => empty.insert(self.db.pool().acquire().await?),
        };
        let mut tx = connection.begin().await?;
        let update = sqlx::query_scalar::<_, i64>(UPDATE).bind(price).bind(id).bind(version);
        update.fetch_one(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}
