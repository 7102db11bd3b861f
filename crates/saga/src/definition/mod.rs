//! Definitions: text in, a typed definition or all its faults out. Pure.
//!
//! ```yaml
//! saga: place_order
//! version: 1
//! business_key: input.order_no
//! timeout: 2m
//! permissions: [order.place]
//! input: { schema: place_order.schema.json, sensitive: [/card] }
//! steps:
//!   create_order:
//!     participant: order
//!     action: { post: /saga/orders, body: { order_no: "${input.order_no}" } }
//!     compensate: { post: /saga/orders/cancel, body: { order_no: "${input.order_no}" } }
//!     output: { order_id: body.id }
//!   confirm_order:
//!     participant: order
//!     kind: retriable
//!     after: [create_order]
//!     action: { post: "/saga/orders/${steps.create_order.order_id}/confirm" }
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `tree` | YAML or JSON within a budget, every node with its place |
//! | `parse`, `step`, `fields` | keys and types; unknown keys are named with their nearest match |
//! | `graph` | the rules of the graph, on indices |
//! | `validate` | what a step may read of another, and behind which guard |
//! | `expression/` | CEL, bounded, compiled once |
//! | `template`, `render` | `${…}` in paths and bodies; the same bytes at every attempt |
//! | `input` | JSON Schema of the input |
//!
//! Rules that are decided here, beyond the words of the design:
//! - A step that its `when` skips **counts as met**: its dependents go on, and it has no outputs. So an output of a
//!   step with a `when` can only be read behind `has()`, or by a step that has the same `when`.
//! - `steps.<name>` is always a map: `has(steps.x.y)` is false, not an error, where `x` was skipped or is unknown.
//! - A member of a body whose name ends in `?` is left out where its value is null.
//! - In a text, `$${` stands for `${`. A text that is one `${…}` keeps the type of its value.
//! - `outcomes` of a step are those of its action; a compensation has its own, within `compensate`.
//! - A saga without `timeout` has [`TIMEOUT_DEFAULT`]; the time of one attempt is [`ATTEMPT_TIMEOUT_DEFAULT`].

mod expression;
mod fault;
mod fields;
mod graph;
mod input;
mod nearest;
mod parse;
mod render;
mod step;
mod template;
mod tree;
mod validate;

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::participant::protocol::Outcomes;

pub use expression::Expr;
pub use fault::{Fault, Faults};
pub use input::Input;
pub use parse::parse;
pub use render::{Context, Outputs, RENDER_VERSION, RenderError, Rendered, map_output, render, when};
pub use template::{BodyTemplate, PathTemplate};

/// The JSON Schema of the format itself.
pub const SCHEMA: &str = include_str!("saga.schema.json");

/// The saga's time-out where the definition has none: nothing hangs, and a participant may be down for a while.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_hours(1);

/// The time of one attempt where the step has none.
pub const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A definition: immutable, and valid as a whole.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name.
    pub name: String,
    /// Its version, from 1.
    pub version: u32,
    /// What it is for.
    pub description: Option<String>,
    /// SHA-256 over the canonical content (RFC 8785) of the definition and of the input's schema: the same version
    /// with other content is another hash. Blanks, comments and the order of keys do not count.
    pub hash: [u8; 32],
    /// What users search for.
    pub business_key: Option<Expr>,
    /// Until the commit point is reached, or the end where there is none. Never `None`: see [`TIMEOUT_DEFAULT`].
    pub timeout: Option<Duration>,
    /// What the caller must be allowed to do.
    pub permissions: Vec<String>,
    /// The input.
    pub input: Input,
    /// Whether calls go out past commits that no promise rests on.
    pub pipelining: bool,
    /// In the order of the text; indices are what everything else uses.
    pub steps: Vec<Step>,
    /// What is allowed but not advised.
    pub notes: Vec<Fault>,
    /// The text.
    pub source: String,
}

/// A step.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name, unique in the definition.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The participant's name in the configuration.
    pub participant: String,
    /// Its kind.
    pub kind: Kind,
    /// The steps that it waits for, ascending. One that was skipped counts as met.
    pub after: Vec<usize>,
    /// Whether it takes place; evaluated once.
    pub when: Option<Expr>,
    /// Its action.
    pub action: Request,
    /// Its compensation; `None` for pivots, retriable steps, and `compensate: none`.
    pub compensation: Option<Request>,
    /// What others may read of the reply to its action, in the order of the text.
    pub output: Vec<(String, Expr)>,
    /// The time of one attempt.
    pub timeout: Duration,
    /// The time of the step with its retries.
    pub deadline: Option<Duration>,
    /// The retries of the action.
    pub retry: Retry,
    /// The retries of the compensation.
    pub compensation_retry: Retry,
    /// What the saga's user must be allowed to do when this step is sent.
    pub permissions: Vec<String>,
    /// What replies to the action mean beyond the table.
    pub outcomes: Outcomes,
    /// What replies to the compensation mean beyond the table.
    pub compensation_outcomes: Outcomes,
    /// Whether the next step waits for this one's result to be committed.
    pub durable: Durable,
    /// For how long the reply to a step without a compensation may be used again for the same user.
    pub cache: Option<Duration>,
    /// The other steps whose outputs the compensation reads without `has()`, ascending: their results are committed
    /// before this step is sent.
    pub compensation_reads: Vec<usize>,
}

/// The kind of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Kind {
    /// Can be taken back, or has nothing to take back.
    #[default]
    Compensatable,
    /// Decides: before it everything can be taken back, after it nothing is.
    Pivot,
    /// Asked until it is done.
    Retriable,
}

/// When a step's result must be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Durable {
    /// Before a promise rests on it.
    #[default]
    Pipelined,
    /// Before the next step is sent.
    Strict,
}

/// Retries with exponential back-off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The most attempts, the first included.
    pub attempts: u32,
    /// The ceiling of the first pause.
    pub base: Duration,
    /// The ceiling of every pause.
    pub cap: Duration,
}

impl Retry {
    /// Where a step says nothing.
    pub const ACTION: Self = Self { attempts: 5, base: Duration::from_millis(100), cap: Duration::from_secs(5) };

    /// Where a compensation says nothing: it has a budget of its own, and an operator waits behind it.
    pub const COMPENSATION: Self =
        Self { attempts: 15, base: Duration::from_millis(200), cap: Duration::from_secs(30) };
}

/// A request, as templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: PathTemplate,
    /// The body, if it has one.
    pub body: Option<BodyTemplate>,
}

impl Definition {
    /// The index of the step of this name.
    pub fn step(&self, name: &str) -> Option<usize> {
        self.steps.iter().position(|step| step.name == name)
    }

    /// Whether an input fits the schema. The faults name places, never values.
    pub fn validate_input(&self, input: &Value) -> Result<(), Faults> {
        self.input.validate(input)
    }

    /// The business key of an input; `None` where the definition has none or it is null. Lists show it and it is stored in
    /// clear, so what is sensitive is null to it.
    pub fn business_key(&self, input: &Value) -> Result<Option<String>, String> {
        let Some(expr) = &self.business_key else { return Ok(None) };
        let sensitive = &self.input.sensitive;
        if sensitive.iter().all(|path| input.pointer(path).is_none()) {
            return render::key_text(expr, input);
        }
        let mut public = input.clone();
        for path in sensitive {
            if let Some(value) = public.pointer_mut(path) {
                *value = Value::Null;
            }
        }
        render::key_text(expr, &public)
    }
}

#[cfg(test)]
mod tests;
