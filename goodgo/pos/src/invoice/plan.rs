//! Invoices into the steps of a replay: pure and deterministic.

use std::collections::BTreeMap;
use std::fmt;

use time::PrimitiveDateTime;

use super::matching::{Basket, Ledger, Part};
use super::model::{Customer, Invoice, Item, Kind, Milli};
use super::stock::{Product, catalog, moves_stock};

/// What to make a plan of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The first so many orders; all, where it is `None`.
    pub orders: Option<usize>,
    /// Decides which products are opened short.
    pub seed: u64,
}

/// A line of an order or of a return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderLine {
    /// The product.
    pub sku: String,
    /// How many; positive.
    pub quantity: i64,
    /// What one costs, or brings back.
    pub unit_price: Milli,
    /// Whether it lies on a shelf: else no stock moves.
    pub stocked: bool,
}

/// An order to place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its place among the orders, from 0; returns name it.
    pub index: usize,
    /// The invoice that it comes from: a natural idempotency key.
    pub invoice: String,
    /// Who buys.
    pub customer: Customer,
    /// Where the customer lives.
    pub country: String,
    /// When.
    pub at: PrimitiveDateTime,
    /// What, as on the invoice: a product may stand there twice.
    pub lines: Vec<OrderLine>,
    /// What it comes to. Nothing is captured where it is 0.
    pub total: Milli,
}

impl Order {
    /// Whether there is money to capture.
    pub fn captures(&self) -> bool {
        self.total > Milli(0)
    }

    /// What leaves the shelves: products summed, in order, without what moves no stock.
    pub fn takes(&self) -> BTreeMap<&str, i64> {
        sums(&self.lines)
    }
}

/// How a return relates to what was bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnKind {
    /// The whole order, for all that was paid: cancel it and refund.
    Cancel,
    /// A part of an order.
    Partial,
    /// Of no order that is known: the goods come in and the money goes out.
    Standalone,
}

/// Goods that come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Return {
    /// The cancellation invoice.
    pub invoice: String,
    /// Which of the cancellation's returns, from 1: it is split where it takes back of several orders.
    pub part: usize,
    /// The order, by its index; it stands earlier in the plan. `None` for a standalone return.
    pub of: Option<usize>,
    /// How it relates to that order.
    pub kind: ReturnKind,
    /// Who returns.
    pub customer: Customer,
    /// When.
    pub at: PrimitiveDateTime,
    /// What, at the prices that are refunded.
    pub lines: Vec<OrderLine>,
    /// What is refunded: never more than was paid for these lines.
    pub refund: Milli,
}

impl Return {
    /// A natural idempotency key.
    pub fn key(&self) -> String {
        format!("{}-{}", self.invoice, self.part)
    }

    /// What goes back on the shelves.
    pub fn restocks(&self) -> BTreeMap<&str, i64> {
        sums(&self.lines)
    }
}

/// Goods that are written off: damaged, lost, counted wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockAdjustment {
    /// The invoice.
    pub invoice: String,
    /// When.
    pub at: PrimitiveDateTime,
    /// What leaves the shelves, summed by product; positive.
    pub takes: BTreeMap<String, i64>,
}

/// Money that is booked to an account without goods, such as bad debt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountAdjustment {
    /// The invoice.
    pub invoice: String,
    /// When.
    pub at: PrimitiveDateTime,
    /// How much; may be negative.
    pub amount: Milli,
}

/// One step of the replay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Place an order.
    Place(Order),
    /// Take goods back, once the order that it names has been settled.
    Return(Return),
    /// Take goods off the shelves.
    WriteOff(StockAdjustment),
    /// Book it to an account.
    Account(AccountAdjustment),
}

/// How many of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Orders.
    pub orders: usize,
    /// Of them, those that come to 0 and capture nothing.
    pub orders_without_capture: usize,
    /// Of them, those without a named customer.
    pub orders_of_walk_ins: usize,
    /// Cancellation invoices.
    pub cancellations: usize,
    /// Of them, those of which every line was matched to an earlier order.
    pub cancellations_matched: usize,
    /// Of them, those of which some was.
    pub cancellations_partly_matched: usize,
    /// Returns that cancel a whole order and refund it.
    pub cancels: usize,
    /// Returns of a part of an order.
    pub partial_returns: usize,
    /// Returns of no order that is known.
    pub standalone_returns: usize,
    /// Invoices with goods that are written off.
    pub write_offs: usize,
    /// Invoices that adjust an account.
    pub account_adjustments: usize,
}

impl Summary {
    /// All returns.
    pub const fn returns(&self) -> usize {
        self.cancels + self.partial_returns + self.standalone_returns
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unmatched = self.cancellations - self.cancellations_matched - self.cancellations_partly_matched;
        write!(
            f,
            "{} orders ({} without capture, {} of walk-in customers); {} cancellations ({} matched to earlier orders, {} \
             in part, {unmatched} not) become {} returns: {} cancel and refund an order, {} return a part of one, {} \
             stand alone; {} write-offs, {} account adjustments",
            self.orders,
            self.orders_without_capture,
            self.orders_of_walk_ins,
            self.cancellations,
            self.cancellations_matched,
            self.cancellations_partly_matched,
            self.returns(),
            self.cancels,
            self.partial_returns,
            self.standalone_returns,
            self.write_offs,
            self.account_adjustments,
        )
    }
}

/// What the till will do, in the order of time, and what the shop has at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The steps, in the order of time; where two invoices have the same minute, in the order of the file.
    pub steps: Vec<Step>,
    /// All products that any step names, by code.
    pub products: Vec<Product>,
    /// How many of each.
    pub summary: Summary,
}

impl Plan {
    /// Plans the first orders and, up to the last of them, the returns and adjustments between; `settings.orders` counts
    /// orders only.
    pub fn new(invoices: &[Invoice], settings: &Settings) -> Self {
        let mut by_time: Vec<&Invoice> = invoices.iter().collect();
        by_time.sort_by_key(|invoice| invoice.at);
        let mut planner = Planner::default();
        let most = settings.orders.unwrap_or(usize::MAX);
        let within = by_time.iter().take_while(|invoice| planner.invoice(invoice, most)).count();
        let products = catalog(&by_time[..within], &planner.steps, settings);
        Self { steps: planner.steps, products, summary: planner.summary }
    }

    /// The orders, by index.
    pub fn orders(&self) -> impl Iterator<Item = &Order> {
        self.steps.iter().filter_map(|step| match step {
            Step::Place(order) => Some(order),
            _ => None,
        })
    }
}

#[derive(Default)]
struct Planner {
    steps: Vec<Step>,
    summary: Summary,
    ledger: Ledger,
}

impl Planner {
    /// Adds an invoice's steps; `false` when it would be one order too many.
    fn invoice(&mut self, invoice: &Invoice, most_orders: usize) -> bool {
        match invoice.kind {
            Kind::Plain => {
                let sells = invoice.items.iter().any(|item| item.quantity > 0);
                if sells && self.summary.orders == most_orders {
                    return false;
                }
                if sells {
                    self.place(invoice);
                }
                self.write_off(invoice);
            }
            Kind::Cancellation => self.take_back(invoice),
            Kind::Account => {
                self.summary.account_adjustments += 1;
                let (number, at) = (invoice.number.clone(), invoice.at);
                self.steps.push(Step::Account(AccountAdjustment { invoice: number, at, amount: invoice.total() }));
            }
        }
        true
    }

    fn place(&mut self, invoice: &Invoice) {
        let lines: Vec<OrderLine> =
            invoice.items.iter().filter(|item| item.quantity > 0).map(OrderLine::from).collect();
        let order = Order {
            index: self.summary.orders,
            invoice: invoice.number.clone(),
            customer: invoice.customer,
            country: invoice.country.clone(),
            at: invoice.at,
            total: total(&lines),
            lines,
        };
        self.summary.orders += 1;
        self.summary.orders_without_capture += usize::from(!order.captures());
        self.summary.orders_of_walk_ins += usize::from(order.customer == Customer::WalkIn);
        self.ledger.place(order.customer, order.index, basket(&order.lines));
        self.steps.push(Step::Place(order));
    }

    fn write_off(&mut self, invoice: &Invoice) {
        let mut takes = BTreeMap::new();
        for item in invoice.items.iter().filter(|item| item.quantity < 0 && moves_stock(&item.sku)) {
            *takes.entry(item.sku.clone()).or_default() -= item.quantity;
        }
        if !takes.is_empty() {
            self.summary.write_offs += 1;
            let (number, at) = (invoice.number.clone(), invoice.at);
            self.steps.push(Step::WriteOff(StockAdjustment { invoice: number, at, takes }));
        }
    }

    fn take_back(&mut self, invoice: &Invoice) {
        let lines: Vec<OrderLine> = invoice.items.iter().map(OrderLine::from).collect();
        let parts = self.ledger.take(invoice.customer, basket(&lines));
        let matched = parts.iter().filter(|part| part.of.is_some()).count();
        self.summary.cancellations += 1;
        self.summary.cancellations_matched += usize::from(matched == parts.len());
        self.summary.cancellations_partly_matched += usize::from(0 < matched && matched < parts.len());
        for (part, index) in parts.into_iter().zip(1..) {
            self.give_back(invoice, part, index);
        }
    }

    fn give_back(&mut self, invoice: &Invoice, part: Part, index: usize) {
        let kind = match part {
            Part { of: None, .. } => ReturnKind::Standalone,
            Part { whole: true, .. } => ReturnKind::Cancel,
            Part { .. } => ReturnKind::Partial,
        };
        match kind {
            ReturnKind::Cancel => self.summary.cancels += 1,
            ReturnKind::Partial => self.summary.partial_returns += 1,
            ReturnKind::Standalone => self.summary.standalone_returns += 1,
        }
        let line = |((sku, unit_price), quantity): ((String, Milli), i64)| OrderLine {
            stocked: moves_stock(&sku),
            sku,
            quantity,
            unit_price,
        };
        let lines: Vec<OrderLine> = part.basket.into_iter().map(line).collect();
        self.steps.push(Step::Return(Return {
            invoice: invoice.number.clone(),
            part: index,
            of: part.of,
            kind,
            customer: invoice.customer,
            at: invoice.at,
            refund: total(&lines),
            lines,
        }));
    }
}

impl From<&Item> for OrderLine {
    /// The sign of the quantity is the business of the step.
    fn from(item: &Item) -> Self {
        Self {
            sku: item.sku.clone(),
            quantity: item.quantity.abs(),
            unit_price: item.unit_price,
            stocked: moves_stock(&item.sku),
        }
    }
}

fn total(lines: &[OrderLine]) -> Milli {
    lines.iter().map(|line| line.unit_price.times(line.quantity)).sum()
}

fn basket(lines: &[OrderLine]) -> Basket {
    let mut basket = Basket::new();
    for line in lines {
        *basket.entry((line.sku.clone(), line.unit_price)).or_default() += line.quantity;
    }
    basket
}

fn sums(lines: &[OrderLine]) -> BTreeMap<&str, i64> {
    let mut sums = BTreeMap::new();
    for line in lines.iter().filter(|line| line.stocked) {
        *sums.entry(line.sku.as_str()).or_default() += line.quantity;
    }
    sums
}
