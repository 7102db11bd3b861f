//! The routes, one file for each family.

mod guard;
mod place_order;
mod queries;
mod return_order;
mod saga_orders;
mod saga_returns;
mod start;
mod step;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use http::HeaderName;
use steadfast::db::Backend;
use steadfast::host::room::{self, Room};
use steadfast::host::{auth, problem, trace};
use steadfast::idempotency::{IdempotencyLayer, OnAmbiguous, Scope};
use tokio::time::Instant;

use crate::{Rows, Shared};

/// Starts at once that do not wait for the saga's end. Each takes milliseconds, so these are thousands a second; where the
/// machine has no time for them, more of them at once would only be slower, and keep it from what has begun.
const BRIEF: usize = 32;

/// All routes. Saga calls carry their own bearer and are guarded by the barrier; users' requests are authenticated, then
/// permitted, then looked up by their key, then limited: a replay costs no one's limit. What comes above what one process can
/// work on is refused first of all; what sagas ask for is not, since it ends work that has begun.
pub(crate) fn router<B: Backend<Sql: Rows>>(shared: &Arc<Shared<B>>) -> Router {
    let saga = Router::new()
        .route("/saga/orders", post(saga_orders::create::<B>))
        .route("/saga/orders/cancel", post(saga_orders::cancel::<B>))
        .route("/saga/orders/confirm", post(saga_orders::confirm::<B>))
        .route("/saga/returns", post(saga_returns::create::<B>))
        .route("/saga/returns/cancel", post(saga_returns::cancel::<B>))
        .route("/saga/returns/confirm", post(saga_returns::confirm::<B>));
    let brief = Room::new(BRIEF);
    let place =
        guarded(shared, &brief, post(place_order::place::<B>), "order.place", place_order::SAGA, "POST /v1/orders");
    let take_back = guarded(
        shared,
        &brief,
        post(return_order::take_back::<B>),
        "order.return",
        return_order::SAGA,
        "POST /v1/returns",
    );
    let public = Router::new()
        .route("/v1/orders", place)
        .route("/v1/returns", take_back)
        .route("/v1/orders/{id}", get(queries::order::<B>))
        .route("/v1/sales", get(queries::sales::<B>))
        .route("/v1/stock-view/{product}", get(queries::stock::<B>))
        .route_layer(from_fn_with_state(shared.config.verifier.clone(), auth::authenticate))
        .route_layer(from_fn_with_state(Room::default(), room::enter));
    let router = saga.merge(public).with_state(Arc::clone(shared));
    problem::with_fallbacks(router).layer(from_fn(trace::request))
}

/// A route that starts a saga. No transaction can span the call, so the key is claimed first and the answer stored last;
/// when nobody knows whether the call was heard, it is made again, under the same saga key.
fn guarded<B: Backend<Sql: Rows>>(
    shared: &Arc<Shared<B>>,
    brief: &Room,
    route: MethodRouter<Arc<Shared<B>>>,
    permission: &'static str,
    saga: &'static str,
    scope: &str,
) -> MethodRouter<Arc<Shared<B>>> {
    let asked = Arc::clone(shared);
    let once = IdempotencyLayer::new(Arc::clone(&shared.config.keys), Scope::new(scope))
        .refuse_new(move || asked.orchestrator.pushback.problem(saga, Instant::now()))
        .on_ambiguous(OnAmbiguous::Retry)
        .replay_headers([HeaderName::from_static("preference-applied")])
        .drain(&shared.drain);
    route
        .layer::<_, Infallible>(from_fn_with_state(Arc::clone(&shared.limiter), guard::limited))
        .layer::<_, Infallible>(once)
        .layer::<_, Infallible>(from_fn_with_state(brief.clone(), guard::brief))
        .layer(from_fn_with_state(permission, guard::permitted))
}
