//! Real invoices, from a file to a plan of what the till will do: pure but for reading bytes.
//!
//! A file of the UCI "Online Retail" form is read line by line, plain or gzip, with each fault located and the rest kept
//! ([`read`], [`open`]); its invoices become orders, returns and adjustments in the order of time, with a catalog whose
//! opening stock makes some products run out ([`Plan`]). Nothing here talks to a service.
//!
//! ```
//! use goodgo_pos::invoice::{self, Plan, Settings};
//!
//! let read = invoice::sample()?;
//! let plan = Plan::new(&read.invoices, &Settings { orders: Some(100), seed: 7 });
//! assert_eq!(plan.summary.orders, 100);
//! # Ok::<(), invoice::Error>(())
//! ```

mod error;
mod matching;
mod model;
mod plan;
mod reader;
mod row;
mod sample;
mod source;
mod split;
mod stock;

pub use error::Error;
pub use model::{Customer, Invoice, Item, Kind, Milli};
pub use plan::{
    AccountAdjustment, Order, OrderLine, Plan, Return, ReturnKind, Settings, Step, StockAdjustment, Summary,
};
pub use reader::{Done, End, Fault, Limits, Read, Report, open, read};
pub use row::COLUMNS;
pub use sample::sample;
pub use stock::{Product, moves_stock};
