//! How many requests are worked on at once. What comes above it is refused at once, before anything is read or asked: a
//! service that takes more than it can do does none of it in time.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use steadfast_core::problem;
use tokio::sync::Semaphore;

use crate::problem::Reply;

/// Places for requests; clones share them. Lay it around what users ask for, and around nothing that finishes work already
/// begun, such as the calls of sagas:
///
/// ```
/// # use steadfast_host::room::{self, Room};
/// let routes: axum::Router = axum::Router::new(); // with routes
/// let routes = routes.layer(axum::middleware::from_fn_with_state(Room::default(), room::enter));
/// ```
#[derive(Clone, Debug)]
pub struct Room(Arc<Semaphore>);

impl Default for Room {
    /// 512 places: more than one process can work on, few enough to be answered within seconds.
    fn default() -> Self {
        Self::new(512)
    }
}

impl Room {
    /// With so many places.
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))))
    }
}

/// Middleware: 503 with `Retry-After` where there is no place. A request leaves its place when its answer begins, or when
/// its client goes away.
pub async fn enter(State(room): State<Room>, request: Request, next: Next) -> Response {
    // The semaphore is never closed.
    let Ok(_place) = room.0.try_acquire() else {
        let full = problem::UNAVAILABLE
            .with("the service is fully occupied: nothing was begun; ask again, with the same Idempotency-Key if there was one")
            .retry_after(1);
        return Reply::from(full).into_response();
    };
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tokio::sync::oneshot;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn what_comes_above_it_is_refused_at_once_and_a_place_that_is_left_is_free() {
        let (entered, mut inside) = tokio::sync::mpsc::channel::<oneshot::Sender<()>>(1);
        let held = get(move || async move {
            let (leave, left) = oneshot::channel();
            entered.send(leave).await.ok();
            left.await.ok();
            "done"
        });
        let router = Router::new()
            .route("/", held)
            .layer(from_fn_with_state(Room::new(1), enter))
            .route("/saga", get(|| async { "outside" }));
        let ask = |path: &'static str| router.clone().oneshot(http::Request::get(path).body(Body::empty()).unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(ask("/"));
        let leave = inside.recv().await.unwrap();
        let refused = ask("/").await.unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"1".parse().unwrap()));
        assert_eq!(ask("/saga").await.unwrap().status(), 200);
        leave.send(()).unwrap();
        assert_eq!(tasks.join_next().await.unwrap().unwrap().unwrap().status(), 200);
        tasks.spawn(ask("/"));
        inside.recv().await.unwrap().send(()).unwrap();
        assert_eq!(tasks.join_next().await.unwrap().unwrap().unwrap().status(), 200);
        // A client that goes away leaves its place, too.
        let gone = tasks.spawn(ask("/"));
        let kept = inside.recv().await.unwrap();
        gone.abort();
        assert!(tasks.join_next().await.unwrap().unwrap_err().is_cancelled());
        drop(kept);
        tasks.spawn(ask("/"));
        inside.recv().await.unwrap().send(()).unwrap();
        assert_eq!(tasks.join_next().await.unwrap().unwrap().unwrap().status(), 200);
    }
}
