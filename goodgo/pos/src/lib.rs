//! The till of GoodGo: real invoices, replayed as orders and returns through the services' public API, and the checker that
//! afterwards reads what the services wrote.
//!
//! A run is: [`invoice`] makes a plan of a file of invoices; [`replay`] carries it out over HTTP with [`client`], with the
//! bad manners of real tills; [`faults`] stands between the orchestrator and the services; [`check`] compares what the
//! databases hold with each other and with the plan; [`report`] says it to people and to programs.
//!
//! It starts no service and no orchestrator, and believes none of their answers: what counts is what [`check`] reads.

mod draw;

pub mod check;
pub mod client;
pub mod faults;
pub mod invoice;
pub mod replay;
pub mod report;
