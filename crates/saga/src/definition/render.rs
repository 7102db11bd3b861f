//! Requests, from templates: the same bytes at every attempt.

use std::fmt;

use bytes::Bytes;
use http::Method;
use serde_json::{Map, Value};

use super::expression::{Expr, OUTPUT_MAX, Roots, Val, to_json, write_json, write_text};
use super::template::{PathTemplate, Piece, Tree};
use super::{Request, Step};

/// The version of the rules by which requests are rendered. It stands in the journal; a change of a single byte of any
/// rendering raises it, and the former rules stay until no saga needs them.
pub const RENDER_VERSION: u16 = 1;

/// The longest path and query.
const PATH_MAX: usize = 8 * 1024;

/// The outputs of finished steps.
pub trait Outputs: fmt::Debug {
    /// The outputs of the step of this index: a JSON object; `None` while there are none.
    fn output(&self, step: usize) -> Option<&Value>;
}

impl Outputs for [Option<Value>] {
    fn output(&self, step: usize) -> Option<&Value> {
        self.get(step)?.as_ref()
    }
}

impl Outputs for Vec<Option<Value>> {
    fn output(&self, step: usize) -> Option<&Value> {
        self.as_slice().output(step)
    }
}

impl<const N: usize> Outputs for [Option<Value>; N] {
    fn output(&self, step: usize) -> Option<&Value> {
        self.as_slice().output(step)
    }
}

/// No outputs at all.
impl Outputs for () {
    fn output(&self, _: usize) -> Option<&Value> {
        None
    }
}

/// What a rendering draws on.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The saga's id, in text.
    pub saga: &'a str,
    /// The saga's input.
    pub input: &'a Value,
    /// The outputs of finished steps; for a compensation also the step's own, where it is known.
    pub outputs: &'a dyn Outputs,
}

impl<'a> Context<'a> {
    fn roots(&self) -> Roots<'a> {
        Roots { input: self.input, saga: self.saga, outputs: self.outputs, body: &Value::Null, status: 0 }
    }
}

/// A request, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// The body, JSON, if the request has one.
    pub body: Option<Bytes>,
}

/// A request cannot be rendered. Never holds data of the saga.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct RenderError {
    /// Which part of the request: `path`, `body`, `body.lines[0].product`.
    pub place: String,
    /// What is wrong.
    pub fault: String,
}

/// Renders a request: the same bytes from the same context, whatever the order in which members stand in the input.
pub fn render(request: &Request, context: &Context<'_>) -> Result<Rendered, RenderError> {
    let roots = context.roots();
    let path = render_path(&request.path, &roots).map_err(|fault| RenderError { place: "path".to_owned(), fault })?;
    let body = match &request.body {
        None => None,
        Some(template) => {
            let mut out = Vec::with_capacity(256);
            render_tree(&template.tree, &roots, &mut out)
                .map_err(|(place, fault)| RenderError { place: format!("body{place}"), fault })?;
            Some(Bytes::from(out))
        }
    };
    Ok(Rendered { method: request.method.clone(), path, body })
}

/// What became wrong, and where below the body; the place is built on the way up.
type Wrong = (String, String);

fn render_tree(tree: &Tree, roots: &Roots<'_>, out: &mut Vec<u8>) -> Result<(), Wrong> {
    let here = |fault: String| (String::new(), fault);
    match tree {
        Tree::Literal(bytes) => out.extend_from_slice(bytes),
        Tree::Expr(expr) => write_json(out, &expr.evaluate(roots).map_err(here)?).map_err(here)?,
        Tree::Text(pieces) => {
            let mut text = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(plain) => text.push_str(plain),
                    Piece::Expr(expr) => write_text(&mut text, &expr.evaluate(roots).map_err(here)?).map_err(here)?,
                }
            }
            write_json(out, &Val::Str(&text)).map_err(here)?;
        }
        Tree::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                render_tree(item, roots, out).map_err(|(place, fault)| (format!("[{index}]{place}"), fault))?;
            }
            out.push(b']');
        }
        Tree::Map(members) => {
            out.push(b'{');
            let empty = out.len();
            for member in members {
                let before = out.len();
                if before > empty {
                    out.push(b',');
                }
                out.extend_from_slice(&member.head);
                let value = out.len();
                render_tree(&member.value, roots, out)
                    .map_err(|(place, fault)| (format!(".{}{place}", member.name), fault))?;
                if member.optional && out[value..] == *b"null" {
                    out.truncate(before);
                }
            }
            out.push(b'}');
        }
    }
    if out.len() > OUTPUT_MAX {
        return Err(here(format!("the body is longer than {} MiB", OUTPUT_MAX >> 20)));
    }
    Ok(())
}

fn render_path(template: &PathTemplate, roots: &Roots<'_>) -> Result<String, String> {
    let mut path = String::with_capacity(64);
    let mut query = false;
    for piece in &template.pieces {
        match piece {
            Piece::Text(text) => {
                path.push_str(text);
                query |= text.contains('?');
            }
            Piece::Expr(expr) => {
                let mut text = String::new();
                write_text(&mut text, &expr.evaluate(roots)?)?;
                if text.is_empty() && !query {
                    return Err("an expression yields nothing, which would name another route".to_owned());
                }
                percent_encode(&mut path, &text);
            }
        }
        if path.len() > PATH_MAX {
            return Err(format!("the path is longer than {} KiB", PATH_MAX / 1024));
        }
    }
    let route = path.split('?').next().unwrap_or_default();
    if route.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("an expression yields a segment of dots, which would name another route".to_owned());
    }
    Ok(path)
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
fn percent_encode(out: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

/// Whether a condition holds.
pub fn when(condition: &Expr, context: &Context<'_>) -> Result<bool, String> {
    match condition.evaluate(&context.roots())? {
        Val::Bool(value) => Ok(value),
        other => Err(format!("`when` is {}, not a boolean", other.noun())),
    }
}

/// The outputs of a step, from the reply to its action. An error is a fault of the definition: the effect stands.
pub fn map_output(step: &Step, status: u16, body: &Value) -> Result<Value, String> {
    let roots = Roots { input: &Value::Null, saga: "", outputs: &(), body, status };
    let mut outputs = Map::new();
    for (name, expr) in &step.output {
        let wrong = |fault: String| format!("output {name}: {fault}");
        let value = expr.evaluate(&roots).and_then(|value| to_json(&value)).map_err(wrong)?;
        outputs.insert(name.clone(), value);
    }
    Ok(Value::Object(outputs))
}

/// The text of a business key.
pub(super) fn key_text(expr: &Expr, input: &Value) -> Result<Option<String>, String> {
    const KEY_MAX: usize = 200;
    let roots = Roots { input, saga: "", outputs: &(), body: &Value::Null, status: 0 };
    let value = expr.evaluate(&roots).map_err(|fault| format!("business_key: {fault}"))?;
    let mut text = String::new();
    match &value {
        Val::Null => return Ok(None),
        Val::Int(_) | Val::Big(_) | Val::Str(_) | Val::Text(_) => write_text(&mut text, &value)?,
        other => return Err(format!("business_key: it is {}, not a string or an integer", other.noun())),
    }
    if text.is_empty() || text.len() > KEY_MAX {
        return Err(format!("business_key: it must have 1 to {KEY_MAX} bytes, not {}", text.len()));
    }
    Ok(Some(text))
}
