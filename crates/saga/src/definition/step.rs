//! From the tree to a step.

use std::time::Duration;

use http::Method;

use super::expression::{Expr, Scope};
use super::fields::{Field, Fields, join};
use super::parse::Parser;
use super::template::Builder;
use super::tree::{Entry, Kind as Tree};
use super::validate::{Draft, Role, Use};
use super::{ATTEMPT_TIMEOUT_DEFAULT, Durable, Kind, Request, Retry, Step, nearest};
use crate::participant::protocol::{Outcome, Outcomes};

pub(super) const STEP_KEYS: [&str; 15] = [
    "participant",
    "kind",
    "description",
    "after",
    "when",
    "action",
    "compensate",
    "output",
    "timeout",
    "deadline",
    "retry",
    "permissions",
    "outcomes",
    "durable",
    "cache",
];

const METHODS: [(&str, Method); 5] = [
    ("post", Method::POST),
    ("get", Method::GET),
    ("put", Method::PUT),
    ("patch", Method::PATCH),
    ("delete", Method::DELETE),
];

impl Parser {
    /// Reads one step; `None` where it has no participant or no action.
    pub(super) fn step(&mut self, index: usize, entry: &Entry, names: &[&str]) -> Option<Draft> {
        let path = join("steps", &entry.key);
        self.reader.check_name(entry.at, &path, &entry.key, false);
        let field = Field { node: &entry.value, path };
        let fields =
            self.reader.fields(&field, &STEP_KEYS, "{ participant: order, action: { post: /saga/orders } }")?;
        let scope = Scope::Call(names);
        let participant = self.reader.required(&fields, "participant", "order").and_then(|field| {
            let name = self.reader.text(&field, "order")?;
            self.reader.check_name(field.node.at, &field.path, name, true);
            Some(name.to_owned())
        });
        let kind = self.kind(&fields);
        let after = fields.get("after").map(|field| self.after(&field, names)).unwrap_or_default();
        let when = fields.get("when").and_then(|field| self.expression(&field, scope, Role::Action(index)));
        let action = self
            .reader
            .required(&fields, "action", "{ post: /saga/orders }")
            .and_then(|field| self.request(&field, &["body"], scope, Role::Action(index)));
        let compensation = self.compensation(&fields, kind, scope, index);
        let output = fields.get("output").map(|field| self.output(&field)).unwrap_or_default();
        let timeout = fields.get("timeout").and_then(|field| self.reader.duration(&field));
        let timeout = timeout.unwrap_or(ATTEMPT_TIMEOUT_DEFAULT);
        let deadline = self.deadline(&fields, timeout);
        let retry = fields.get("retry").map_or(Retry::ACTION, |field| self.retry(&field, Retry::ACTION));
        let outcomes = fields.get("outcomes").map(|field| self.outcomes(&field)).unwrap_or_default();
        let durable = fields.get("durable").and_then(|f| self.reader.word(&f, &["strict", "pipelined"]));
        let step = Step {
            name: entry.key.clone(),
            description: self.description(&fields),
            participant: participant?,
            kind,
            after,
            when,
            action: action?,
            output,
            timeout,
            deadline,
            retry,
            permissions: self.permissions(&fields),
            outcomes,
            durable: if durable == Some(0) { Durable::Strict } else { Durable::Pipelined },
            cache: self.cache(&fields, &compensation),
            compensation_retry: compensation.retry,
            compensation_outcomes: compensation.outcomes,
            compensation: compensation.request,
            compensation_reads: Vec::new(),
        };
        Some(Draft { at: entry.at, step })
    }

    fn kind(&mut self, fields: &Fields<'_>) -> Kind {
        let word = fields.get("kind").and_then(|f| self.reader.word(&f, &["compensatable", "pivot", "retriable"]));
        match word {
            Some(1) => Kind::Pivot,
            Some(2) => Kind::Retriable,
            _ => Kind::Compensatable,
        }
    }

    fn after(&mut self, field: &Field<'_>, names: &[&str]) -> Vec<usize> {
        let mut after = Vec::new();
        for (item, name) in self.reader.texts(field, "[create_order]") {
            match names.iter().position(|known| *known == name) {
                None => {
                    let fault = format!("there is no step `{}`", name.chars().take(64).collect::<String>());
                    self.reader.fault(item.node.at, &item.path, fault, nearest::advise(name, names));
                }
                Some(index) if after.contains(&index) => {
                    self.reader.fault(item.node.at, &item.path, "the step stands here twice", "remove one");
                }
                Some(index) => after.push(index),
            }
        }
        after.sort_unstable();
        after
    }

    fn request(&mut self, field: &Field<'_>, more: &[&str], scope: Scope<'_>, role: Role) -> Option<Request> {
        let known: Vec<&str> = METHODS.iter().map(|(name, _)| *name).chain(more.iter().copied()).collect();
        let fields = self.reader.fields(field, &known, "{ post: /saga/orders, body: { … } }")?;
        let mut targets = METHODS.iter().filter_map(|(name, method)| Some((method, fields.get(name)?)));
        let (target, second) = (targets.next(), targets.next());
        let Some((method, target)) = target else {
            let way_out = "write one of post, get, put, patch, delete with its path";
            self.reader.fault(fields.at, &fields.path, "the request has no path", way_out);
            return None;
        };
        if let Some((_, second)) = second {
            self.reader.fault(second.node.at, &second.path, "the request has two methods", "keep one");
        }
        let mut builder = Builder::new(scope);
        let path =
            self.reader.text(&target, "/saga/orders").map(|text| builder.path(text, target.node.at, &target.path));
        let body = fields.get("body").map(|field| {
            if matches!(*method, Method::GET | Method::DELETE) {
                let fault = format!("a {method} request has no body");
                self.reader.fault(field.node.at, &field.path, fault, "put it into the path, or use post");
            }
            builder.body(field.node, &field.path)
        });
        for (at, path, fault, way_out) in builder.wrong {
            self.reader.fault(at, &path, fault, way_out);
        }
        self.uses.extend(builder.uses.into_iter().map(|(at, path, expr)| Use { at, path, expr, role }));
        Some(Request { method: method.clone(), path: path?, body })
    }

    fn compensation(&mut self, fields: &Fields<'_>, kind: Kind, scope: Scope<'_>, index: usize) -> Compensation {
        let mut compensation =
            Compensation { none: false, request: None, retry: Retry::COMPENSATION, outcomes: Outcomes::default() };
        let example = "{ post: /saga/orders/cancel, body: { … } }, or: compensate: none, for what only reads";
        let Some(field) = fields.get("compensate") else {
            if kind == Kind::Compensatable {
                self.reader.required(fields, "compensate", example);
            }
            return compensation;
        };
        if kind != Kind::Compensatable {
            let word = if kind == Kind::Pivot { "a pivot" } else { "a retriable step" };
            let fault = format!("{word} is never compensated");
            self.reader.fault(field.node.at, &field.path, fault, "remove `compensate`, or change the kind");
            return compensation;
        }
        match &field.node.kind {
            Tree::Text(word) if word == "none" => compensation.none = true,
            Tree::Map(entries) => {
                compensation.request =
                    self.request(&field, &["body", "retry", "outcomes"], scope, Role::Compensation(index));
                let inner = Fields { entries, at: field.node.at, path: field.path.clone() };
                if let Some(field) = inner.get("retry") {
                    compensation.retry = self.retry(&field, Retry::COMPENSATION);
                }
                if let Some(field) = inner.get("outcomes") {
                    compensation.outcomes = self.outcomes(&field);
                }
            }
            _ => {
                let fault = format!("this is {}, neither a request nor the word none", field.node.noun());
                self.reader.fault(field.node.at, &field.path, fault, format!("write compensate: {example}"));
            }
        }
        compensation
    }

    fn output(&mut self, field: &Field<'_>) -> Vec<(String, Expr)> {
        let Some(fields) = self.reader.map(field, "{ order_id: body.id }") else { return Vec::new() };
        let mut output = Vec::new();
        for entry in fields.entries {
            let path = join(&fields.path, &entry.key);
            self.reader.check_name(entry.at, &path, &entry.key, false);
            let field = Field { node: &entry.value, path };
            if let Some(expr) = self.expression(&field, Scope::Reply, Role::Reply) {
                output.push((entry.key.clone(), expr));
            }
        }
        output
    }

    fn deadline(&mut self, fields: &Fields<'_>, timeout: Duration) -> Option<Duration> {
        let field = fields.get("deadline")?;
        let deadline = self.reader.duration(&field)?;
        if deadline < timeout {
            let fault = "the deadline is shorter than the time of one attempt";
            self.reader.fault(field.node.at, &field.path, fault, "raise `deadline` or lower `timeout`");
        }
        Some(deadline)
    }

    fn retry(&mut self, field: &Field<'_>, default: Retry) -> Retry {
        let example = "{ attempts: 5, base: 100ms, cap: 5s }";
        let Some(fields) = self.reader.fields(field, &["attempts", "base", "cap"], example) else { return default };
        let attempts = fields.get("attempts").and_then(|field| self.reader.integer(&field, 1, 1_000));
        let base = fields.get("base").and_then(|field| self.reader.duration(&field));
        let cap = fields.get("cap").and_then(|field| self.reader.duration(&field));
        let retry = Retry {
            attempts: attempts.unwrap_or(default.attempts),
            base: base.unwrap_or(default.base),
            cap: cap.unwrap_or(default.cap),
        };
        if retry.base > retry.cap {
            self.reader.fault(
                fields.at,
                &fields.path,
                "`base` is longer than `cap`",
                format!("write it like {example}"),
            );
        }
        retry
    }

    fn outcomes(&mut self, field: &Field<'_>) -> Outcomes {
        let mut outcomes = Outcomes::default();
        let Some(fields) = self.reader.map(field, "{ 404: done }") else { return outcomes };
        for entry in fields.entries {
            let field = Field { node: &entry.value, path: join(&fields.path, &entry.key) };
            let Some(word) = self.reader.word(&field, &["done", "refused", "unknown"]) else { continue };
            let outcome = [Outcome::Done, Outcome::Refused, Outcome::Unknown][word];
            if let Ok(status) = entry.key.parse::<u16>() {
                if (200..600).contains(&status) {
                    outcomes.statuses.push((status, outcome));
                } else {
                    self.reader.fault(entry.at, &field.path, "this is no status of a reply", "from 200 to 599");
                }
            } else if entry.key.contains(':') || entry.key.starts_with('/') {
                outcomes.types.push((entry.key.clone(), outcome));
            } else {
                let way_out = "write a status, as 404, or the whole type of a problem, as https://example.com/sold-out";
                self.reader.fault(entry.at, &field.path, "this is neither a status nor a problem's type", way_out);
            }
        }
        outcomes
    }

    fn cache(&mut self, fields: &Fields<'_>, compensation: &Compensation) -> Option<Duration> {
        let field = fields.get("cache")?;
        if !compensation.none {
            let way_out = "remove `cache`, or write compensate: none where the step only reads";
            self.reader.fault(field.node.at, &field.path, "only a step with `compensate: none` is cached", way_out);
        }
        self.reader.duration(&field)
    }
}

/// What `compensate` says.
struct Compensation {
    /// The word `none`.
    none: bool,
    request: Option<Request>,
    retry: Retry,
    outcomes: Outcomes,
}
