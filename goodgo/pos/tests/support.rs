//! A server for each test.

use axum::Router;
use steadfast::host::serve;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A server on loopback that ends with this value.
pub(crate) struct Server {
    pub(crate) base: String,
    _tasks: JoinSet<()>,
}

pub(crate) async fn serve(router: Router) -> Server {
    let listener = serve::bind("127.0.0.1:0", "test").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        serve::serve(listener, router, serve::Limits::default(), CancellationToken::new()).await.unwrap();
    });
    Server { base, _tasks: tasks }
}
