//! The three services, each with its own database, over HTTP on loopback.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use goodgo_inventory::OpeningStock;
use goodgo_pos::invoice::Product;
use steadfast_core::Clock;
use steadfast_db::Db;
use steadfast_host::{problem, serve};
use steadfast_locking::{EtagKey, Etags, Quota};
use steadfast_outbox::Hint;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::embedded::{Addresses, Keys, Stores};

/// A till of the demo makes thousands of updates a minute: the limit is to be there, not to be met.
const UPDATES: Quota = Quota { name: "updates", burst: 1_000_000, window: Duration::from_mins(1) };

/// How often expired idempotency keys are removed.
const CLEANING: Duration = Duration::from_mins(1);

/// The listeners of all, bound before anything starts, so that everybody knows everybody's address.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) order: TcpListener,
    pub(super) payment: TcpListener,
    pub(super) inventory: TcpListener,
    pub(super) orchestrator: TcpListener,
}

impl Listeners {
    pub(super) async fn bind(port: u16) -> Result<Self> {
        let bind = async |offset: u16| {
            let port = if port == 0 { 0 } else { port + offset };
            serve::bind(&format!("127.0.0.1:{port}"), "--port").await
        };
        Ok(Self {
            order: bind(0).await?,
            payment: bind(1).await?,
            inventory: bind(2).await?,
            orchestrator: bind(3).await?,
        })
    }

    pub(super) fn addresses(&self) -> Result<Addresses> {
        let address = |listener: &TcpListener| -> Result<SocketAddr> { Ok(listener.local_addr()?) };
        Ok(Addresses {
            order: address(&self.order)?,
            payment: address(&self.payment)?,
            inventory: address(&self.inventory)?,
            orchestrator: address(&self.orchestrator)?,
        })
    }
}

/// What stands between the network and a service's routes: the faults of the run.
pub(super) type Around<'a> = &'a (dyn Fn(Router) -> Router + Sync);

/// The running services.
#[derive(Debug)]
pub(super) struct Services {
    order: goodgo_order::Service<Db>,
    payment: goodgo_payment::Service<Db>,
    inventory: goodgo_inventory::Service<Db>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// What the services are made of.
#[derive(Debug)]
pub(super) struct Made<'a> {
    pub(super) stores: &'a Stores,
    pub(super) keys: &'a Keys,
    pub(super) addresses: Addresses,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) hints: &'a [Hint; 3],
}

impl Services {
    pub(super) async fn open(made: &Made<'_>) -> Result<Self> {
        let Made { stores, keys, addresses, clock, hints: [order_hint, payment_hint, inventory_hint], .. } = made;
        let verifier = keys.verifier(Arc::clone(clock))?;
        let order = goodgo_order::Service::open(
            stores.order.clone(),
            goodgo_order::Config {
                call_key: keys.call(goodgo_order::NAME)?,
                verifier: verifier.clone(),
                clock: Arc::clone(clock),
                hint: order_hint.clone(),
                updates: UPDATES,
                orchestrator: format!("http://{}", addresses.orchestrator),
                keys: Arc::new(steadfast_idempotency::Sqlite::new(stores.order.clone(), Arc::clone(clock))),
                read_model: stores.read_model.clone(),
            },
        );
        let payment = goodgo_payment::Service::open(
            stores.payment.clone(),
            goodgo_payment::Config {
                call_key: keys.call(goodgo_payment::NAME)?,
                verifier: verifier.clone(),
                clock: Arc::clone(clock),
                hint: payment_hint.clone(),
                updates: UPDATES,
            },
        );
        let inventory = goodgo_inventory::Service::open(
            stores.inventory.clone(),
            goodgo_inventory::Config {
                call_key: keys.call(goodgo_inventory::NAME)?,
                verifier: verifier.clone(),
                clock: Arc::clone(clock),
                hint: inventory_hint.clone(),
                etags: Etags::new(EtagKey::new("development", &keys.etag(goodgo_inventory::NAME))?),
                updates: UPDATES,
            },
        );
        Ok(Self {
            order: order.await?,
            payment: payment.await?,
            inventory: inventory.await?,
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Lists the catalogue and opens its stock.
    pub(super) async fn stock_up(&self, products: &[Product]) -> Result<()> {
        let opening: Vec<_> = products.iter().map(opening).collect();
        self.inventory.stock_up(&opening).await?;
        Ok(())
    }

    /// Listens. All routes stand behind `around`; `extra` is served beside the order service's routes.
    pub(super) fn serve(
        &self,
        order: TcpListener,
        payment: TcpListener,
        inventory: TcpListener,
        around: Around<'_>,
        extra: Router,
    ) {
        let routers = [
            (order, around(self.order.router()).merge(extra)),
            (payment, around(self.payment.router())),
            (inventory, around(self.inventory.router())),
        ];
        for (listener, router) in routers {
            let limits = serve::Limits { request_time: Duration::from_mins(1), ..serve::Limits::default() };
            let serving = serve::serve(listener, problem::with_fallbacks(router), limits, self.stop.clone());
            self.tasks.spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(error = &error as &dyn std::error::Error, "a service no longer listens");
                }
            });
        }
        let (order, payment, inventory) = (self.order.clone(), self.payment.clone(), self.inventory.clone());
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut ticks = tokio::time::interval(CLEANING);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                let (order, payment, inventory) = (order.clean().await, payment.clean().await, inventory.clean().await);
                let order = order.map_err(anyhow::Error::from);
                for cleaned in [order, payment.map_err(Into::into), inventory.map_err(Into::into)] {
                    if let Err(error) = cleaned {
                        tracing::warn!(%error, "expired idempotency keys could not be removed: tried again later");
                    }
                }
            }
        });
    }

    /// Ends the listeners, then waits for handlers that outlive their connection.
    pub(super) async fn drain(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.order.drain().await;
        self.payment.drain().await;
        self.inventory.drain().await;
    }
}

pub(super) fn opening(product: &Product) -> OpeningStock {
    OpeningStock {
        product: product.sku.clone(),
        description: product.description.clone(),
        price: product.unit_price.0,
        quantity: product.opening_stock,
    }
}
