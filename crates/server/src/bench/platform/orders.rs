//! Orders of one line each, from tills that wait for the end or at a steady rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use goodgo_inventory::{OpeningStock, stock_up};
use goodgo_pos::client::{Answer, Client, Limits, Request};
use goodgo_pos::replay::Mint;
use serde_json::{Value, json};
use steadfast_core::{Clock, Timestamp};
use steadfast_host::clock::System;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::bench::load::Work;
use crate::roles::front::{Front, Opened};

/// Products in turn, so that what is measured is not one row.
const PRODUCTS: u64 = 500;
/// More than anybody buys.
const STOCK: i64 = 1_000_000_000;
/// Users in turn: a service limits what one of them may do.
const USERS: u64 = 256;
/// What a till may do.
const TILL: [&str; 2] = ["order.place", "payment.process"];
/// How long one order is tried, and the pause after a service was not ready for it.
const PATIENCE: Duration = Duration::from_mins(1);
const AGAIN: Duration = Duration::from_millis(100);
/// One of so many orders is paid with a card that is declined: its saga is compensated.
const DECLINED: u64 = 10;

/// Where the orders go, and what has been ordered.
#[derive(Clone)]
pub(super) struct Shop {
    client: Client,
    door: String,
    mint: Mint,
    /// What the orders' numbers begin with, unlike those of every other run.
    pub(super) run: String,
    count: Arc<AtomicU64>,
    /// How often an order was not taken at once.
    turned_away: Arc<AtomicU64>,
}

/// An order that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    /// The id of its saga.
    pub(super) saga: [u8; 16],
    /// When it was sent.
    pub(super) at: Timestamp,
    /// After how long it was accepted.
    pub(super) accepted: Duration,
}

impl Shop {
    /// Lists the products where they are not there yet.
    pub(super) async fn open(front: &Front, opened: &Opened) -> Result<Self> {
        let product = |n| OpeningStock {
            product: product(n),
            description: "of a measurement".to_owned(),
            price: 1_000,
            quantity: STOCK,
        };
        let products: Vec<_> = (0..PRODUCTS).map(product).collect();
        stock_up(&opened.inventory, System.now(), &products).await.context("stocking up")?;
        let limits = Limits { kept: 1_024, ..Limits::default() };
        Ok(Self {
            client: Client::new(limits),
            door: front.addresses().order,
            mint: front.mint(&TILL)?,
            run: format!("bench-{:012x}-", fastrand::u64(..1 << 48)),
            count: Arc::default(),
            turned_away: Arc::default(),
        })
    }

    /// So many tills, each waiting for its order's end.
    pub(super) fn tills(&self, amount: u32) -> Vec<Till> {
        (0..amount).map(|_| Till(self.clone())).collect()
    }

    pub(super) fn request(&self, declined: bool) -> Request {
        let n = self.count.fetch_add(1, Ordering::Relaxed);
        let number = format!("{}{n}", self.run);
        let body = json!({
            "order_no": number,
            "customer": null,
            "placed_at": "2026-01-02T03:04:05Z",
            "lines": [{"product": product(n % PRODUCTS), "quantity": 1, "unit_price": 1_000, "stocked": true}],
            "currency": "GBP",
            "card": if declined { "tok_declined" } else { "tok_visa" },
        });
        let user = format!("till-bench-{}", n % USERS);
        Request::post(&self.door, "/v1/orders", &body).bearer(&(self.mint)(&user)).key(&number)
    }

    /// Sends at this rate, whatever comes back, and waits for the answers.
    pub(super) async fn steady(&self, rate: u32, length: Duration) -> Result<Vec<Sent>> {
        let mut ticks = interval(Duration::from_secs(1) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let amount = u64::from(rate) * length.as_secs();
        let mut running = JoinSet::new();
        for n in 0..amount {
            ticks.tick().await;
            let (shop, request) = (self.clone(), self.request(n % DECLINED == 0));
            running.spawn(async move { shop.send(&request).await });
        }
        let mut sent = Vec::new();
        while let Some(one) = running.join_next().await {
            sent.push(one??);
        }
        Ok(sent)
    }

    /// Places one order, once, and answers after how long it was completed.
    pub(super) async fn one(&self) -> Result<Duration> {
        let begun = Instant::now();
        let answer = self.client.send(&waiting(self.request(false))).await?;
        ensure_completed(&answer)?;
        Ok(begun.elapsed())
    }

    async fn send(&self, request: &Request) -> Result<Sent> {
        let (at, begun) = (System.now(), Instant::now());
        let answer = self.ask(request).await?;
        let accepted = begun.elapsed();
        let id = saga_of(&answer).with_context(|| unexpected(&answer))?;
        Ok(Sent { saga: id, at, accepted })
    }

    /// Sends until it is taken, always under its one key: what that costs belongs to the latency.
    async fn ask(&self, request: &Request) -> Result<Answer> {
        let begun = Instant::now();
        loop {
            let why = match self.client.send(request).await {
                Ok(answer) if !answer.is_for_later() => return Ok(answer),
                Ok(answer) => anyhow!(unexpected(&answer)),
                Err(error) => error.into(),
            };
            ensure!(begun.elapsed() < PATIENCE, "an order was not taken within {PATIENCE:?}: {why:#}");
            self.turned_away.fetch_add(1, Ordering::Relaxed);
            sleep(AGAIN).await;
        }
    }

    /// How often an order was not taken at once, since this was last asked.
    pub(super) fn turned_away(&self) -> u64 {
        self.turned_away.swap(0, Ordering::Relaxed)
    }
}

/// One till.
pub(super) struct Till(Shop);

impl Work for Till {
    async fn once(&mut self) -> Result<()> {
        let request = waiting(self.0.request(false));
        ensure_completed(&self.0.ask(&request).await?)
    }
}

/// Answered at the order's end.
fn waiting(request: Request) -> Request {
    request.header("prefer", "wait=30")
}

fn ensure_completed(answer: &Answer) -> Result<()> {
    ensure!(answer.status.as_u16() == 201, "an order did not complete: {}", unexpected(answer));
    Ok(())
}

fn product(n: u64) -> String {
    format!("bench-{n}")
}

fn unexpected(answer: &Answer) -> String {
    format!("the front door answered {}: {}", answer.status, answer.detail())
}

/// The saga that an order which was accepted has begun.
pub(super) fn saga_of(answer: &Answer) -> Option<[u8; 16]> {
    let body: Value = answer.status.is_success().then(|| answer.json().ok())??;
    let id: steadfast_core::SagaId = body.get("saga_id")?.as_str()?.parse().ok()?;
    Some(*id.as_bytes())
}
