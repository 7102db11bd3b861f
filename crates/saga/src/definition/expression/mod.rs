//! Expressions: the Common Expression Language (CEL), bounded.
//!
//! The crate `cel` parses; what is parsed is compiled once into a small tree of our own, because an expression of a
//! definition must keep promises that a general interpreter does not make: it is evaluated over JSON as it stands (no
//! copy of the input, integers stay integers), its cost in steps and in bytes is bounded, it knows neither a clock nor
//! randomness, and what it reads of other steps is known before it runs. A test holds both evaluators side by side.
//!
//! There are: `input`, `steps.<name>.<output>`, `saga.id` (in `output`: `body` and `status` instead); integers, doubles,
//! strings, booleans, null, lists, maps with string keys; `+ - * / %`, comparisons, `&& || !`, `?:`, `in`, indexing;
//! `has`, `all`, `exists`, `exists_one`, `map`, `filter`; `size`, `contains`, `startsWith`, `endsWith`, `string`, `int`,
//! `double`. There are not: bytes, unsigned integers, structs, types as values, time, regular expressions.

mod code;
mod compile;
mod evaluate;
mod operate;
mod value;

use std::fmt;
use std::sync::Arc;

pub(super) use compile::Scope;
pub(super) use evaluate::Roots;
pub(super) use value::{OUTPUT_MAX, Val, to_json, write_json, write_text};

/// The longest source, in bytes.
pub(super) const SOURCE_MAX: usize = 4 * 1024;

/// A compiled expression.
#[derive(Clone)]
pub struct Expr(Arc<Inner>);

struct Inner {
    source: String,
    code: code::Code,
    reads: Vec<Read>,
    fields: Vec<String>,
}

/// What an expression reads of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// The step's index.
    pub(super) step: usize,
    /// The output's name; `None` reads the step's outputs as a whole.
    pub(super) output: Option<String>,
    /// Reached only where `has()` has found it.
    pub(super) guarded: bool,
}

impl Expr {
    /// Compiles `source`, or says what is wrong with it and the way out.
    pub(super) fn compile(source: &str, scope: &Scope<'_>) -> Result<Self, (String, String)> {
        let compiled = compile::compile(source, scope)?;
        Ok(Self(Arc::new(Inner {
            source: source.to_owned(),
            code: compiled.code,
            reads: compiled.reads,
            fields: compiled.fields,
        })))
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    pub(super) fn reads(&self) -> &[Read] {
        &self.0.reads
    }

    /// The members of the input that it names.
    pub(super) fn input_fields(&self) -> &[String] {
        &self.0.fields
    }

    /// Its value. Errors name what failed, never the data.
    pub(super) fn evaluate<'a>(&'a self, roots: &Roots<'a>) -> Result<Val<'a>, String> {
        evaluate::evaluate(&self.0.code, roots)
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expr").field(&self.0.source).finish()
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Expr {}

#[cfg(test)]
mod tests;
