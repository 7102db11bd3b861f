//! One request, sent until it is answered.

use std::future::Future;
use std::time::Duration;

use serde_json::Value;
use steadfast::core::retry::Backoff;
use tokio::time::{Instant, sleep, timeout};

use super::run::Till;
use super::{OrderEnd, message};
use crate::client::{Answer, Error, Request, segment};
use crate::draw::draw;

/// Pauses between attempts.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(20), cap: Duration::from_secs(2) };
/// Pauses between looks at a read model.
const LOOK: Backoff = Backoff { base: Duration::from_millis(50), cap: Duration::from_secs(1) };

impl Till {
    /// Sends the request until it is answered, always under its one key; `None` when patience ends. `name` seeds the
    /// pauses.
    pub(super) async fn send(&self, name: &str, request: &Request) -> Option<Answer> {
        let end = Instant::now() + self.settings.patience;
        let mut failures = 0_u32;
        loop {
            let asked = match self.client.send(request).await {
                Ok(answer) if !answer.is_for_later() => return Some(answer),
                Ok(answer) => answer.retry_after(),
                Err(Error::Request { .. }) => return None,
                Err(_) => None,
            };
            failures += 1;
            let random = draw(self.settings.seed, &["pause", name, &failures.to_string()]);
            // A service that asks for a second means "not at once": among many tills, a jitter below that is as kind.
            let pause = BACKOFF.pause(failures, random) + asked.unwrap_or_default().min(Duration::from_millis(250));
            if Instant::now() + pause >= end {
                return None;
            }
            sleep(pause).await;
            self.count(|outcome| outcome.retries += 1);
        }
    }

    /// The end of an order or a return that was accepted, from the answer, else from the read model.
    pub(super) async fn end_of(&self, principal: &str, answer: Option<&Answer>) -> OrderEnd {
        let Some(answer) = answer else { return OrderEnd::Unanswered };
        if !answer.status.is_success() {
            return OrderEnd::Rejected { detail: format!("{}: {}", answer.status.as_u16(), answer.detail()) };
        }
        let Ok(message::Placed { order_id: Some(order_id), status }) = answer.json() else {
            return OrderEnd::Rejected { detail: "the answer names no order_id".to_owned() };
        };
        match status.as_deref() {
            Some("completed") => OrderEnd::Completed { order_id },
            Some("compensated") => OrderEnd::Compensated { order_id },
            Some("failed") => OrderEnd::Failed { order_id },
            _ => self.seen(principal, order_id).await,
        }
    }

    /// Looks at the read model until the order has come to its end there.
    async fn seen(&self, principal: &str, order_id: String) -> OrderEnd {
        let token = (self.settings.mint)(principal);
        let request =
            Request::get(&self.settings.addresses.order, format!("/v1/orders/{}", segment(&order_id))).bearer(&token);
        let look = || async {
            let answer = self.client.send(&request).await.ok().filter(|answer| answer.status.is_success())?;
            let summary: Value = answer.json().ok()?;
            match summary.get("status")?.as_str()? {
                "confirmed" | "completed" => Some(true),
                "cancelled" | "compensated" => Some(false),
                _ => None,
            }
        };
        match until(self.settings.patience, self.settings.seed, &order_id, look).await {
            Some(true) => OrderEnd::Completed { order_id },
            Some(false) => OrderEnd::Compensated { order_id },
            None => OrderEnd::Accepted { order_id },
        }
    }
}

/// Looks until there is something to see or patience ends.
async fn until<T, F: Future<Output = Option<T>>>(
    patience: Duration,
    seed: u64,
    name: &str,
    mut look: impl FnMut() -> F,
) -> Option<T> {
    let looking = async {
        let mut looks = 0_u32;
        loop {
            if let Some(found) = look().await {
                return found;
            }
            looks += 1;
            sleep(LOOK.pause(looks, draw(seed, &["look", name, &looks.to_string()]))).await;
        }
    };
    timeout(patience, looking).await.ok()
}
