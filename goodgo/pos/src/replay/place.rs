//! Placing an order, as its till's manner is.

use futures_util::future::join;
use steadfast::core::problem;

use super::message::{PlaceOrder, till};
use super::run::Till;
use super::{Manner, OrderEnd, manner};
use crate::client::{Answer, HangUp, Request};
use crate::invoice::Order;

impl Till {
    /// Places an order and waits for its end.
    pub(super) async fn place(&self, order: &Order) -> OrderEnd {
        let manner = manner(self.settings.seed, self.settings.failure_rate, &order.invoice);
        if manner != Manner::Plain {
            self.count(|outcome| *outcome.manners.entry(format!("{manner:?}")).or_default() += 1);
        }
        let principal = till(&order.country, &order.invoice);
        let request = self.request(order, &principal, manner == Manner::Declined);
        let answer = match manner {
            Manner::Plain | Manner::Declined | Manner::OtherBody => self.send(&order.invoice, &request).await,
            Manner::TwiceAtOnce => self.twice_at_once(order, &request).await,
            Manner::TwiceInTurn => self.twice_in_turn(order, &request).await,
            Manner::HangUpMidRequest => self.after_hanging_up(order, &request, HangUp::MidRequest).await,
            Manner::HangUpBeforeAnswer => self.after_hanging_up(order, &request, HangUp::BeforeAnswer).await,
            Manner::TwoEditors => {
                let editing = self.edit_at_once(order, &principal);
                join(self.send(&order.invoice, &request), editing).await.0
            }
        };
        if manner == Manner::OtherBody && answer.as_ref().is_some_and(|answer| answer.status.is_success()) {
            self.reuse_key(order, &request).await;
        }
        let end = self.end_of(&principal, answer.as_ref()).await;
        if let OrderEnd::Rejected { detail } = &end {
            self.broken(format!("order {} was turned away: {detail}", order.invoice));
        }
        end
    }

    fn request(&self, order: &Order, principal: &str, declined: bool) -> Request {
        Request::post(&self.settings.addresses.order, "/v1/orders", &PlaceOrder::new(order, declined))
            .bearer(&(self.settings.mint)(principal))
            .key(&format!("order-{}", order.invoice))
            .header("prefer", format!("wait={}", self.settings.wait.as_secs()))
    }

    async fn twice_at_once(&self, order: &Order, request: &Request) -> Option<Answer> {
        let again = format!("{}-again", order.invoice);
        let (first, second) = join(self.send(&order.invoice, request), self.send(&again, request)).await;
        self.judge_twins(order, first, second)
    }

    async fn twice_in_turn(&self, order: &Order, request: &Request) -> Option<Answer> {
        let first = self.send(&order.invoice, request).await;
        let second = self.send(&format!("{}-again", order.invoice), request).await;
        self.judge_twins(order, first, second)
    }

    fn judge_twins(&self, order: &Order, first: Option<Answer>, second: Option<Answer>) -> Option<Answer> {
        match (&first, &second) {
            (Some(one), Some(two)) if one.says_the_same(two) || one.tells_of_the_same(two) => {
                self.count(|outcome| outcome.duplicates_prevented += 1);
            }
            (Some(one), Some(two)) => self.broken(format!(
                "order {}: two submissions under one key were answered differently ({} {}, {} {})",
                order.invoice,
                one.status.as_u16(),
                String::from_utf8_lossy(&one.body),
                two.status.as_u16(),
                String::from_utf8_lossy(&two.body),
            )),
            _ => {}
        }
        first.or(second)
    }

    async fn after_hanging_up(&self, order: &Order, request: &Request, when: HangUp) -> Option<Answer> {
        // A service that cannot be reached is met again below.
        if self.client.hang_up(request, when).await.is_ok() {
            self.count(|outcome| outcome.hang_ups += 1);
        }
        let answer = self.send(&order.invoice, request).await;
        if answer.as_ref().is_some_and(Answer::is_replayed) {
            self.count(|outcome| outcome.duplicates_prevented += 1);
        }
        answer
    }

    /// Another order under a key that has been used: it must be refused.
    async fn reuse_key(&self, order: &Order, request: &Request) {
        let mut other = PlaceOrder::new(order, false);
        if let Some(line) = other.lines.first_mut() {
            line.quantity += 1;
        }
        match self.send(&format!("{}-other", order.invoice), &request.clone().json(&other)).await {
            Some(answer) if answer.is_problem(&problem::MISMATCH) => {
                self.count(|outcome| outcome.key_reuse_refused += 1);
            }
            Some(answer) => self.broken(format!(
                "order {}: another body under a used key was answered with {} instead of 422",
                order.invoice,
                answer.status.as_u16()
            )),
            None => {}
        }
    }
}
