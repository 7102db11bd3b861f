//! Taking goods back.

use super::OrderEnd;
use super::message::{Placed, TakeBack, till};
use super::run::Till;
use crate::client::Request;
use crate::invoice::{Order, Return};

impl Till {
    /// Takes goods back, once their order has ended; if it did not complete there is nothing to take back.
    pub(super) async fn take_back(&self, back: &Return, order: Option<&Order>) {
        let order_id = match back.of {
            None => None,
            Some(index) => match self.end_seen(index).await {
                Some(OrderEnd::Completed { order_id }) => Some(order_id),
                _ => return self.count(|outcome| outcome.skipped_returns += 1),
            },
        };
        let matched = order_id.is_some();
        let principal = till(order.map_or("returns", |order| &order.country), &back.invoice);
        let key = back.key();
        let request = Request::post(&self.settings.addresses.order, "/v1/returns", &TakeBack::new(back, order_id))
            .bearer(&(self.settings.mint)(&principal))
            .key(&format!("return-{key}"))
            .header("prefer", format!("wait={}", self.settings.wait.as_secs()));
        let answer = self.send(&key, &request).await;
        self.count(|outcome| {
            outcome.returns += 1;
            outcome.returns_matched += u64::from(matched);
            outcome.returns_standalone += u64::from(!matched);
            match &answer {
                None => outcome.returns_unanswered += 1,
                Some(answer) if answer.status.is_success() => {
                    let ended = answer.json().ok().and_then(|Placed { status, .. }| status);
                    outcome.returns_refused += u64::from(ended.as_deref() == Some("compensated"));
                }
                Some(answer) => {
                    outcome.returns_refused += 1;
                    let (status, detail) = (answer.status.as_u16(), answer.detail());
                    outcome.broken.push(format!("return {key} was turned away: {status}: {detail}"));
                }
            }
        });
    }
}
