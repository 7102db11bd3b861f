//! One span for each request.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use steadfast_core::header;
use tokio::time::Instant;
use tracing::{Instrument, Span, field};

/// Middleware: opens a server span with method, matched route, status and the caller's trace context. Never the path as
/// sent, the query or a body: they may hold what nobody may read in a log. Add it by [`axum::Router::layer`] after the
/// routes, so that it knows which one matched.
pub async fn request(request: Request, next: Next) -> Response {
    let span = tracing::info_span!(
        "request",
        otel.kind = "server",
        http.request.method = %request.method(),
        http.route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str),
        http.response.status_code = field::Empty,
        traceparent = request.headers().get(header::TRACEPARENT).and_then(|it| it.to_str().ok()).filter(|it| is_traceparent(it)),
    );
    let began = Instant::now();
    let inner = span.clone();
    async move {
        let response = next.run(request).await;
        finish(&inner, &response, began);
        response
    }
    .instrument(span)
    .await
}

fn finish(span: &Span, response: &Response, began: Instant) {
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    if status.is_server_error() {
        tracing::warn!(millis, status = status.as_u16(), "answered with an error");
    } else {
        tracing::debug!(millis, "answered");
    }
}

/// Whether the text has the form of a W3C `traceparent`, so that a stranger's header cannot put anything else into a log.
pub fn is_traceparent(text: &str) -> bool {
    let lengths = [2, 32, 16, 2];
    let mut parts = text.split('-');
    lengths.iter().all(|length| {
        parts.next().is_some_and(|part| {
            part.len() == *length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        })
    }) && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_traceparent_passes_for_one() {
        assert!(is_traceparent("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        for text in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\n-01",
        ] {
            assert!(!is_traceparent(text), "{text:?}");
        }
    }
}
