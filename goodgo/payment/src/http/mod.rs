//! The routes, one file for each family.

mod adjustments;
mod guard;
mod payments;
mod refunds;
mod step;

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};
use steadfast::host::room::{self, Room};
use steadfast::host::{auth, problem, trace};
use steadfast::idempotency::{Scope, TransactionalLayer};

use crate::{Home, Shared};

/// All routes. Saga calls carry their own bearer and are guarded by the barrier; users' requests are authenticated, then
/// permitted, then looked up by their key, then limited: a replay costs no one's limit. What comes above what one process can
/// work on is refused first of all; what sagas ask for is not, since it ends work that has begun.
pub(crate) fn router<B: Home>(shared: &Arc<Shared<B>>) -> Router {
    let saga = Router::new()
        .route("/saga/payments", post(payments::capture::<B>))
        .route("/saga/payments/refund", post(payments::void::<B>))
        .route("/saga/refunds", post(refunds::refund::<B>));
    let adjust =
        guarded(shared, post(adjustments::adjust::<B>), "payment.adjust", "POST /v1/accounts/{customer}/adjustments");
    let public = Router::new()
        .route("/v1/payments/{order_id}", get(payments::show::<B>))
        .route("/v1/accounts/{customer}/adjustments", adjust)
        .route_layer(from_fn_with_state(shared.config.verifier.clone(), auth::authenticate))
        .route_layer(from_fn_with_state(Room::default(), room::enter));
    let router = saga.merge(public).with_state(Arc::clone(shared));
    problem::with_fallbacks(router).layer(from_fn(trace::request))
}

/// A route that changes something. Its effects lie in one database, so the record of the key is written with them: the
/// form for money.
fn guarded<B: Home>(
    shared: &Arc<Shared<B>>,
    route: MethodRouter<Arc<Shared<B>>>,
    permission: &'static str,
    scope: &str,
) -> MethodRouter<Arc<Shared<B>>> {
    let clock = Arc::clone(&shared.config.clock);
    let once = TransactionalLayer::new(shared.db.clone(), clock, Scope::new(scope)).drain(&shared.drain);
    route
        .layer::<_, Infallible>(from_fn_with_state(Arc::clone(&shared.limiter), guard::limited))
        .layer::<_, Infallible>(once)
        .layer(from_fn_with_state(permission, guard::permitted))
}
