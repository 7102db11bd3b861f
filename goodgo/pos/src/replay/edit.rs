//! Two clients that edit one product at once.

use futures_util::future::join;

use super::message::EditProduct;
use super::run::Till;
use crate::client::{Answer, Request, segment};
use crate::invoice::Order;

/// How often the loser reads again and tries.
const ATTEMPTS: u32 = 20;

/// How one of the two fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Won,
    Lost,
    Unknown,
}

impl Till {
    /// Both read the product, both write from the same `ETag`: one may win. The loser reads again and writes.
    pub(super) async fn edit_at_once(&self, order: &Order, principal: &str) {
        let Some(sku) = order.lines.iter().find(|line| line.stocked).map(|line| line.sku.as_str()) else { return };
        let Some(tag) = self.read_tag(sku, principal).await else { return };
        let key = |who: &str, attempt: u32| format!("edit-{}-{who}-{attempt}", order.invoice);
        let (one, two) =
            join(self.edit(sku, principal, &tag, &key("a", 0), 10), self.edit(sku, principal, &tag, &key("b", 0), 20))
                .await;
        if (one, two) == (Edit::Won, Edit::Won) {
            self.broken(format!("product {sku}: two edits from the same ETag were both accepted"));
        }
        for (who, first, surcharge) in [("a", one, 10), ("b", two, 20)] {
            if first != Edit::Lost {
                continue;
            }
            self.count(|outcome| outcome.conflicts += 1);
            for attempt in 1..=ATTEMPTS {
                let Some(tag) = self.read_tag(sku, principal).await else { break };
                match self.edit(sku, principal, &tag, &key(who, attempt), surcharge).await {
                    Edit::Won => {
                        self.count(|outcome| outcome.conflicts_resolved += 1);
                        break;
                    }
                    // Somebody else's order has an editor of the same product.
                    Edit::Lost => self.count(|outcome| outcome.conflicts += 1),
                    Edit::Unknown => break,
                }
            }
        }
    }

    async fn read_tag(&self, sku: &str, principal: &str) -> Option<String> {
        let path = format!("/v1/products/{}", segment(sku));
        let request = Request::get(&self.settings.addresses.inventory, path).bearer(&(self.settings.mint)(principal));
        let answer = self.send(sku, &request).await?;
        let tag = answer.header("etag").map(str::to_owned);
        if tag.is_none() {
            self.broken(format!("product {sku} was read with status {} and no ETag", answer.status.as_u16()));
        }
        tag
    }

    async fn edit(&self, sku: &str, principal: &str, tag: &str, key: &str, surcharge: i64) -> Edit {
        let Some(product) = self.product(sku) else { return Edit::Unknown };
        // Each edit is unlike every other: one that writes what already stands is rightly accepted from any version.
        let description = format!("{} ({key})", product.description);
        let body = EditProduct { description: &description, price: product.unit_price.0.max(0) + surcharge };
        let request = Request::put(&self.settings.addresses.inventory, format!("/v1/products/{}", segment(sku)), &body)
            .bearer(&(self.settings.mint)(principal))
            .key(key)
            .header("if-match", tag);
        match self.send(key, &request).await {
            Some(Answer { status, .. }) if status.is_success() => Edit::Won,
            Some(Answer { status, .. }) if status.as_u16() == 412 => Edit::Lost,
            Some(answer) => {
                let (status, detail) = (answer.status.as_u16(), answer.detail());
                self.broken(format!("an edit of product {sku} was turned away: {status}: {detail}"));
                Edit::Unknown
            }
            None => Edit::Unknown,
        }
    }
}
