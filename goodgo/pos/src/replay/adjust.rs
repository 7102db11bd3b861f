//! Write-offs of stock and adjustments of accounts.

use steadfast::core::problem;

use super::message::{AdjustAccount, AdjustStock};
use super::run::Till;
use crate::client::{Request, segment};
use crate::invoice::{AccountAdjustment, StockAdjustment};

/// Who counts the stock.
const STOCK_KEEPER: &str = "till-stock";
/// Who keeps the accounts.
const ACCOUNTANT: &str = "till-accounts";
/// The data names no customer on an account's adjustment.
const NOBODY: &str = "walk-in";

impl Till {
    /// Writes each product of the invoice off.
    pub(super) async fn write_off(&self, adjustment: &StockAdjustment) {
        for (sku, quantity) in &adjustment.takes {
            self.write_off_one(&adjustment.invoice, sku, *quantity).await;
        }
    }

    async fn write_off_one(&self, invoice: &str, sku: &str, quantity: i64) {
        let body = AdjustStock { reference: invoice, quantity: -quantity, reason: "write-off" };
        let path = format!("/v1/stock/{}/adjustments", segment(sku));
        let key = format!("write-off-{invoice}-{sku}");
        let request = Request::post(&self.settings.addresses.inventory, path, &body)
            .bearer(&(self.settings.mint)(STOCK_KEEPER))
            .key(&key);
        let answer = self.send(&key, &request).await;
        self.count(|outcome| match &answer {
            None => *outcome.applied.doubtful_write_offs.entry(sku.to_owned()).or_default() += quantity,
            Some(answer) if answer.status.is_success() => {
                outcome.write_offs += 1;
                *outcome.applied.write_offs.entry(sku.to_owned()).or_default() += quantity;
            }
            // More than is free: sold meanwhile.
            Some(answer) if answer.status.as_u16() == 409 || answer.is_problem(&problem::BUSINESS_REFUSAL) => {
                outcome.write_offs_refused += 1;
            }
            Some(answer) => {
                let (status, detail) = (answer.status.as_u16(), answer.detail());
                outcome.broken.push(format!("write-off {invoice} of {sku} was turned away: {status}: {detail}"));
            }
        });
    }

    /// Books an adjustment of an account.
    pub(super) async fn adjust_account(&self, adjustment: &AccountAdjustment) {
        let AccountAdjustment { invoice, amount, .. } = adjustment;
        if amount.0 == 0 {
            return; // Nothing is booked.
        }
        let body = AdjustAccount { reference: invoice, amount: amount.0, reason: "account adjustment" };
        let key = format!("account-{invoice}");
        let path = format!("/v1/accounts/{NOBODY}/adjustments");
        let request = Request::post(&self.settings.addresses.payment, path, &body)
            .bearer(&(self.settings.mint)(ACCOUNTANT))
            .key(&key);
        let answer = self.send(&key, &request).await;
        self.count(|outcome| match &answer {
            None => outcome.applied.doubtful_adjustments.push(amount.0),
            Some(answer) if answer.status.is_success() => {
                outcome.account_adjustments += 1;
                outcome.applied.adjusted += amount.0;
            }
            Some(answer) => {
                let (status, detail) = (answer.status.as_u16(), answer.detail());
                outcome.broken.push(format!("account adjustment {invoice} was turned away: {status}: {detail}"));
            }
        });
    }
}
