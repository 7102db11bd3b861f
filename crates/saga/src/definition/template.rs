//! Templates: text with `${expression}` in it, and JSON made of such texts.

use serde_json::Value;

use super::expression::{Expr, Scope};
use super::tree::{At, Kind, Node};

/// The largest integer that every reader of JSON keeps: 2^53.
pub(super) const INTEGER_MAX: u64 = 1 << 53;

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    Expr(Expr),
}

/// A template of a request's path and query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathTemplate {
    pub(super) pieces: Vec<Piece>,
}

/// A template of a request's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyTemplate {
    pub(super) tree: Tree,
}

/// JSON with expressions in it. Literal parts are rendered already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tree {
    Literal(Vec<u8>),
    Expr(Expr),
    Text(Vec<Piece>),
    List(Vec<Tree>),
    /// Sorted by name.
    Map(Vec<Member>),
}

/// A member of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// The name as JSON, and the colon.
    pub(super) head: Vec<u8>,
    /// Left out where its value is null.
    pub(super) optional: bool,
    pub(super) value: Tree,
}

/// A fault, where it stands, and the way out.
type Wrong = (At, String, String, String);

/// Builds templates; gathers the expressions in them and what is wrong.
#[derive(Debug)]
pub(super) struct Builder<'s> {
    pub(super) scope: Scope<'s>,
    pub(super) uses: Vec<(At, String, Expr)>,
    pub(super) wrong: Vec<Wrong>,
}

impl<'s> Builder<'s> {
    pub(super) fn new(scope: Scope<'s>) -> Self {
        Self { scope, uses: Vec::new(), wrong: Vec::new() }
    }

    /// A path: it begins with a slash, what expressions yield is percent-encoded.
    pub(super) fn path(&mut self, text: &str, at: At, path: &str) -> PathTemplate {
        let pieces = self.pieces(text, at, path);
        if let Some((fault, way_out)) = path_fault(&pieces) {
            self.wrong.push((at, path.to_owned(), fault, way_out));
        }
        PathTemplate { pieces }
    }

    /// A body.
    pub(super) fn body(&mut self, node: &Node, path: &str) -> BodyTemplate {
        BodyTemplate { tree: self.tree(node, path) }
    }

    fn tree(&mut self, node: &Node, path: &str) -> Tree {
        match &node.kind {
            Kind::Null | Kind::Bool(_) => literal(&node.to_json()),
            Kind::Number(number) => {
                let beyond = number.as_u64().is_some_and(|n| n > INTEGER_MAX)
                    || number.as_i64().is_some_and(|n| n.unsigned_abs() > INTEGER_MAX);
                if beyond {
                    let fault = "an integer beyond 2^53: not every reader of JSON keeps it".to_owned();
                    self.wrong.push((node.at, path.to_owned(), fault, "put it in quotes".to_owned()));
                }
                literal(&node.to_json())
            }
            Kind::Text(text) => {
                let mut pieces = self.pieces(text, node.at, path);
                match pieces.as_slice() {
                    [] => literal(&Value::String(String::new())),
                    [Piece::Text(text)] => literal(&Value::String(text.clone())),
                    [Piece::Expr(_)] => match pieces.pop() {
                        Some(Piece::Expr(expr)) => Tree::Expr(expr),
                        _ => Tree::Text(pieces),
                    },
                    _ => Tree::Text(pieces),
                }
            }
            Kind::List(items) => {
                let items: Vec<Tree> = items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| self.tree(item, &format!("{path}[{index}]")))
                    .collect();
                fold(Tree::List(items))
            }
            Kind::Map(entries) => {
                let mut members: Vec<Member> = Vec::with_capacity(entries.len());
                for entry in entries {
                    let path = format!("{path}.{}", entry.key);
                    if entry.key.contains("${") {
                        let fault = "an expression in the name of a member".to_owned();
                        let way_out = "make the whole map one expression: \"${ {…} }\"".to_owned();
                        self.wrong.push((entry.at, path.clone(), fault, way_out));
                    }
                    let value = self.tree(&entry.value, &path);
                    let (name, optional) = match entry.key.strip_suffix('?') {
                        Some(name) => (name, true),
                        None => (entry.key.as_str(), false),
                    };
                    if members.iter().any(|member| member.name == name) {
                        let fault = format!("the member `{name}` stands here twice");
                        self.wrong.push((entry.at, path, fault, "remove one".to_owned()));
                    }
                    members.push(member(name, optional, value));
                }
                members.sort_by(|a, b| a.name.cmp(&b.name));
                fold(Tree::Map(members))
            }
        }
    }

    /// The pieces of a text; neighbouring texts are one.
    fn pieces(&mut self, text: &str, at: At, path: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if rest[..start].ends_with('$') {
                // `$${` stands for `${`.
                plain.push_str(&rest[..start]);
                plain.push('{');
                rest = &rest[start + 2..];
                continue;
            }
            plain.push_str(&rest[..start]);
            let Some(end) = closing(&rest[start + 2..]) else {
                let fault = "`${` is not closed".to_owned();
                self.wrong.push((
                    at,
                    path.to_owned(),
                    fault,
                    "close it by `}`, or write `$${` for the text `${`".to_owned(),
                ));
                return pieces;
            };
            let source = &rest[start + 2..start + 2 + end];
            match Expr::compile(source.trim(), &self.scope) {
                Ok(expr) => {
                    if !plain.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut plain)));
                    }
                    self.uses.push((at, path.to_owned(), expr.clone()));
                    pieces.push(Piece::Expr(expr));
                }
                Err((fault, way_out)) => self.wrong.push((at, path.to_owned(), fault, way_out)),
            }
            rest = &rest[start + 3 + end..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        pieces
    }
}

fn literal(value: &Value) -> Tree {
    // A JSON value can always be written.
    Tree::Literal(serde_json::to_vec(value).unwrap_or_default())
}

fn member(name: &str, optional: bool, value: Tree) -> Member {
    let mut head = serde_json::to_vec(name).unwrap_or_default();
    head.push(b':');
    Member { name: name.to_owned(), head, optional, value }
}

/// A list or map of literals is a literal.
fn fold(tree: Tree) -> Tree {
    let mut out = Vec::new();
    match &tree {
        Tree::List(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                let Tree::Literal(bytes) = item else { return tree };
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(bytes);
            }
            out.push(b']');
        }
        Tree::Map(members) => {
            out.push(b'{');
            for (index, member) in members.iter().enumerate() {
                let Tree::Literal(bytes) = &member.value else { return tree };
                if member.optional {
                    return tree;
                }
                if index > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(&member.head);
                out.extend_from_slice(bytes);
            }
            out.push(b'}');
        }
        Tree::Literal(_) | Tree::Expr(_) | Tree::Text(_) => return tree,
    }
    Tree::Literal(out)
}

/// Where the brace stands that closes an expression: braces of maps and those within strings are not it.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut quote = None;
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match (quote, byte) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) if byte == open => quote = None,
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'{') => depth += 1,
            (None, b'}') if depth == 0 => return Some(index),
            (None, b'}') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// What is wrong with a path's fixed parts.
fn path_fault(pieces: &[Piece]) -> Option<(String, String)> {
    let fixed: String = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Expr(_) => "x",
        })
        .collect();
    let route = fixed.split('?').next().unwrap_or_default();
    let fault = if !matches!(pieces.first(), Some(Piece::Text(text)) if text.starts_with('/')) {
        "a path begins with a slash; hosts come from configuration only"
    } else if fixed.starts_with("//") || route.split('/').any(|segment| matches!(segment, "." | "..")) {
        "a path has a segment that leads elsewhere"
    } else if fixed.bytes().any(|b| !(b.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%?".contains(&b))) {
        "a path has a character that must not stand there as it is"
    } else {
        return None;
    };
    Some((fault.to_owned(), "write it like /saga/orders/${input.order_id}?dry=false".to_owned()))
}
