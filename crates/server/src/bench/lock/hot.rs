//! One product that everybody wants: the lane beside retry on conflict, a row lock and a guarded count.

use std::time::Duration;

use anyhow::{Result, ensure};
use steadfast_core::{Clock, NewEvent};
use steadfast_db::migrate;
use steadfast_host::clock::System;
use steadfast_locking::lane::{Bounds, Lane};
use steadfast_locking::{Adjust, Entity};
use steadfast_saga::barrier;

use super::sides::{self, Way};
use super::{Arguments, CONNECTIONS, WORK, lane};
use crate::bench::beside::{metered, sql_line};
use crate::bench::load::{Run, median};
use crate::bench::report::Line;
use crate::bench::store::Scratch;

/// More than anybody can sell in a run.
const ON_HAND: i64 = 1_000_000_000_000;

pub(super) async fn measure(scratch: &Scratch, arguments: &Arguments) -> Result<Vec<Line>> {
    migrate(&scratch.db, &barrier::LINE).await?;
    migrate(&scratch.db, &steadfast_outbox::LINE).await?;
    sqlx::raw_sql(include_str!("make_stock.sql")).execute(scratch.db.pool()).await?;
    let adjust = Entity::new("stock", &["product"])?.adjust("reserved = reserved + :n", "on_hand - reserved >= :n")?;
    let scene = Scene { scratch, clients: usize::try_from(arguments.clients)?, adjust };
    let pace = &arguments.pace;
    scene.lane(pace.warming()).await?;
    for (way, _) in scene.ways() {
        scene.side(way, pace.warming()).await?;
    }
    let (mut by_lane, mut by_side) = (Vec::new(), scene.ways().map(|_| Vec::new()));
    for _ in 0..pace.rounds {
        by_lane.push(scene.lane(pace.length()).await?);
        for ((way, _), runs) in scene.ways().into_iter().zip(&mut by_side) {
            runs.push(scene.side(way, pace.length()).await?);
        }
    }
    let ours = median(by_lane)?;
    let sides = scene.ways().into_iter().zip(by_side);
    sides
        .map(|((_, name), runs)| {
            let limit = median(runs)?;
            let clients = scene.clients;
            let setting = format!("hot product, lane beside {name}, {clients} clients, {CONNECTIONS} connections");
            let mut line = sql_line(WORK, setting, &ours, &limit);
            line.more.extend([("fairness", ours.fairness), ("limit_fairness", limit.fairness)]);
            Ok(line)
        })
        .collect()
}

struct Scene<'a> {
    scratch: &'a Scratch,
    clients: usize,
    adjust: Adjust,
}

impl Scene<'_> {
    fn ways(&self) -> [(Way, &'static str); 3] {
        [
            (Way::Retry, "retry on conflict"),
            (Way::Locked, "FOR NO KEY UPDATE"),
            (Way::Guarded(self.adjust.clone()), "a guarded count"),
        ]
    }

    async fn lane(&self, length: Duration) -> Result<Run> {
        let product = self.open_product().await?;
        let bounds = Bounds { queue: self.clients.max(Bounds::default().queue), ..Bounds::default() };
        let lane = Lane::open(lane::Batches(self.scratch.db.clone()), bounds);
        let one = |_| lane::Client { lane: lane.clone(), product: product.clone() };
        let run = metered(self.scratch, (0..self.clients).map(one).collect(), length).await?;
        lane.close().await;
        self.check(&product, &run).await?;
        Ok(run)
    }

    async fn side(&self, way: Way, length: Duration) -> Result<Run> {
        let product = self.open_product().await?;
        let one = |_| sides::Client { db: self.scratch.db.clone(), product: product.clone(), way: way.clone() };
        let run = metered(self.scratch, (0..self.clients).map(one).collect(), length).await?;
        self.check(&product, &run).await?;
        Ok(run)
    }

    /// A product of its own for each run, so that none inherits the dead rows of another.
    async fn open_product(&self) -> Result<String> {
        let product = format!("product_{:016x}", fastrand::u64(..));
        let mut tx = self.scratch.db.begin().await?;
        let insert = sqlx::query("insert into stock (product, on_hand, reserved, version) values ($1, $2, 0, 1)");
        insert.bind(&product).bind(ON_HAND).execute(&mut *tx).await?;
        let payload = serde_json::json!({"product": product, "on_hand": ON_HAND});
        let opened = NewEvent::new("stock", &product, "stock.opened.v1", payload).with_sequence(1);
        steadfast_outbox::append(&mut tx, &opened, System.now()).await?;
        tx.commit().await?;
        Ok(product)
    }

    /// Each success has taken one, raised the version once, and left a reservation, a barrier row and an event.
    async fn check(&self, product: &str, run: &Run) -> Result<()> {
        let told: (i64, i64, i64, i64, i64) =
            sqlx::query_as(include_str!("check_stock.sql")).bind(product).fetch_one(self.scratch.db.pool()).await?;
        let made = i64::try_from(run.latencies.len())?;
        ensure!(
            told == (made, made, made, made, made + 1),
            "{made} reservations have left (reserved, versions, reservations, barrier rows, events) {told:?}"
        );
        Ok(())
    }
}
