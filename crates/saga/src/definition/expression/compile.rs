//! From CEL's syntax tree to ours: names resolved, functions known, depth bounded, reads of other steps recorded.

use cel::IdedExpr as Expression;
use cel::common::ast::{CallExpr, EntryExpr, Expr as Ast, LiteralValue, SelectExpr, operators as op};

use super::code::{Binary, Code, Function, Loop, LoopKind};
use super::{Read, SOURCE_MAX};
use crate::definition::nearest;

/// The deepest tree.
const DEPTH_MAX: usize = 64;

/// The most tokens, roughly: it bounds the parser's work and its use of the stack.
const TOKENS_MAX: usize = 800;

/// The deepest nesting of brackets.
const NESTING_MAX: u16 = 24;

/// Which names an expression may use.
#[derive(Clone, Copy, Debug)]
pub(in crate::definition) enum Scope<'a> {
    /// `input`.
    Input,
    /// `input`, `saga.id` and `steps`, whose names are these.
    Call(&'a [&'a str]),
    /// `body` and `status`.
    Reply,
}

impl Scope<'_> {
    fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Input => &["input"],
            Self::Call(_) => &["input", "steps", "saga"],
            Self::Reply => &["body", "status"],
        }
    }
}

/// What compiling yields.
pub(super) struct Compiled {
    pub(super) code: Code,
    pub(super) reads: Vec<Read>,
    pub(super) fields: Vec<String>,
}

/// What is wrong, and the way out.
type Wrong = (String, String);

/// An output of a step.
type Output = (usize, String);

pub(super) fn compile(source: &str, scope: &Scope<'_>) -> Result<Compiled, Wrong> {
    check_size(source)?;
    // No macros: `has`, `map` and the like reach us as they are written.
    let parser = cel::Env::default().parser().max_recursion_depth(NESTING_MAX);
    let tree = parser.parse(source).map_err(|errors| {
        let said = errors.errors.first().map_or("it cannot be read", |error| error.msg.as_str());
        let said = said.trim_start_matches("Syntax error: ");
        (format!("the expression is no CEL: {}", said.chars().take(200).collect::<String>()), "correct it".to_owned())
    })?;
    let mut compiler = Compiler { scope, vars: Vec::new(), guards: Vec::new(), reads: Vec::new(), fields: Vec::new() };
    let code = compiler.compile(&tree, 0)?;
    let Compiler { reads, fields, .. } = compiler;
    Ok(Compiled { code, reads, fields })
}

fn check_size(source: &str) -> Result<(), Wrong> {
    if source.trim().is_empty() {
        return Err(("the expression is empty".to_owned(), "write an expression or remove the key".to_owned()));
    }
    if source.len() > SOURCE_MAX {
        return Err((
            format!("the expression is longer than {} KiB", SOURCE_MAX / 1024),
            "let a participant compute this".to_owned(),
        ));
    }
    let mut tokens = 0;
    let mut within_word = false;
    for c in source.chars() {
        let word = c.is_alphanumeric() || c == '_';
        tokens += usize::from(!(c.is_whitespace() || word && within_word));
        within_word = word;
    }
    if tokens > TOKENS_MAX {
        return Err((
            format!("the expression has more than {TOKENS_MAX} words and signs"),
            "let a participant compute this".to_owned(),
        ));
    }
    Ok(())
}

struct Compiler<'s, 'n> {
    scope: &'s Scope<'n>,
    /// Names of enclosing loops.
    vars: Vec<String>,
    /// Outputs that are known to be there.
    guards: Vec<Output>,
    reads: Vec<Read>,
    fields: Vec<String>,
}

fn unsupported(what: &str) -> Wrong {
    (format!("{what} is not supported in definitions"), "see the list of what expressions know".to_owned())
}

impl Compiler<'_, '_> {
    fn compile(&mut self, tree: &Expression, depth: usize) -> Result<Code, Wrong> {
        if depth > DEPTH_MAX {
            return Err((
                format!("the expression is nested more than {DEPTH_MAX} deep"),
                "let a participant compute this".to_owned(),
            ));
        }
        match &tree.expr {
            Ast::Literal(literal) => compile_literal(literal),
            Ast::Ident(name) => self.compile_name(name),
            Ast::Select(select) => self.compile_select(select, depth),
            Ast::Call(call) => self.compile_call(call, depth),
            Ast::List(list) => {
                Ok(Code::List(list.elements.iter().map(|e| self.compile(e, depth + 1)).collect::<Result<_, _>>()?))
            }
            Ast::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { return Err(unsupported("a struct")) };
                    let key = self.compile(&entry.key, depth + 1)?;
                    if matches!(key, Code::Null | Code::Bool(_) | Code::Int(_) | Code::Double(_)) {
                        return Err(("the key of a map is no string".to_owned(), "put it in quotes".to_owned()));
                    }
                    entries.push((key, self.compile(&entry.value, depth + 1)?));
                }
                Ok(Code::Map(entries))
            }
            Ast::Struct(_) => Err(unsupported("a struct")),
            Ast::Comprehension(_) | Ast::Unspecified => Err(unsupported("this form")),
        }
    }

    fn compile_name(&mut self, name: &str) -> Result<Code, Wrong> {
        if let Some(depth) = self.vars.iter().rposition(|known| known == name) {
            return Ok(Code::Var(depth));
        }
        match name {
            "input" if !matches!(self.scope, Scope::Reply) => Ok(Code::Input),
            "body" if matches!(self.scope, Scope::Reply) => Ok(Code::Body),
            "status" if matches!(self.scope, Scope::Reply) => Ok(Code::Status),
            "steps" if matches!(self.scope, Scope::Call(_)) => {
                Err(("`steps` stands alone".to_owned(), "name the output: steps.<step>.<output>".to_owned()))
            }
            "saga" if matches!(self.scope, Scope::Call(_)) => {
                Err(("`saga` stands alone".to_owned(), "write saga.id".to_owned()))
            }
            _ => {
                let mut known: Vec<&str> = self.scope.names().to_vec();
                known.extend(self.vars.iter().map(String::as_str));
                Err((format!("`{name}` is not known here"), nearest::advise(name, &known)))
            }
        }
    }

    fn compile_select(&mut self, select: &SelectExpr, depth: usize) -> Result<Code, Wrong> {
        let (operand, field) = (select.operand.as_ref(), select.field.as_str());
        if select.test {
            return Err(unsupported("this form"));
        }
        self.compile_member(operand, field, depth)
    }

    fn compile_member(&mut self, operand: &Expression, field: &str, depth: usize) -> Result<Code, Wrong> {
        if self.is_root(operand, "saga") {
            return match field {
                "id" => Ok(Code::SagaId),
                _ => Err((format!("`saga.{field}` is not known"), "only saga.id is".to_owned())),
            };
        }
        if self.is_root(operand, "steps") {
            let step = self.step(field)?;
            self.reads.push(Read { step, output: None, guarded: false });
            return Ok(Code::Step(step));
        }
        if let Some(name) = self.step_name(operand) {
            let step = self.step(name)?;
            let guarded = self.guards.iter().any(|(s, o)| *s == step && o == field);
            self.reads.push(Read { step, output: Some(field.to_owned()), guarded });
            return Ok(Code::Member(Box::new(Code::Step(step)), field.into()));
        }
        if self.is_root(operand, "input") {
            self.fields.push(field.to_owned());
        }
        Ok(Code::Member(Box::new(self.compile(operand, depth + 1)?), field.into()))
    }

    fn compile_has(&mut self, argument: &Expression, depth: usize) -> Result<Code, Wrong> {
        let Some((operand, field)) = member(argument) else {
            return Err(("the argument of has() is no member".to_owned(), "write has(a.b)".to_owned()));
        };
        if self.is_root(operand, "steps") || self.is_root(operand, "saga") {
            return Err((
                "has() asks for what is always there".to_owned(),
                "ask for an output: has(steps.<step>.<output>)".to_owned(),
            ));
        }
        if let Some(name) = self.step_name(operand) {
            let step = self.step(name)?;
            self.reads.push(Read { step, output: Some(field.to_owned()), guarded: true });
            return Ok(Code::Has(Box::new(Code::Step(step)), field.into()));
        }
        if self.is_root(operand, "input") {
            self.fields.push(field.to_owned());
        }
        Ok(Code::Has(Box::new(self.compile(operand, depth + 1)?), field.into()))
    }

    /// Whether this is the root of that name, not shadowed by a loop.
    fn is_root(&self, tree: &Expression, root: &str) -> bool {
        let known = match root {
            "input" => !matches!(self.scope, Scope::Reply),
            _ => matches!(self.scope, Scope::Call(_)),
        };
        known && matches!(&tree.expr, Ast::Ident(name) if name == root && !self.vars.contains(name))
    }

    /// The name in `steps.<name>`.
    fn step_name<'t>(&self, tree: &'t Expression) -> Option<&'t str> {
        let (operand, field) = member(tree)?;
        self.is_root(operand, "steps").then_some(field)
    }

    fn step(&self, name: &str) -> Result<usize, Wrong> {
        let Scope::Call(names) = self.scope else { return Err(unsupported("`steps` here")) };
        names
            .iter()
            .position(|known| *known == name)
            .ok_or_else(|| (format!("there is no step `{name}`"), nearest::advise(name, names)))
    }

    fn compile_call(&mut self, call: &CallExpr, depth: usize) -> Result<Code, Wrong> {
        let args = call.args.as_slice();
        if let Some(target) = &call.target {
            return self.compile_method(call.func_name.as_str(), target, args, depth);
        }
        match (call.func_name.as_str(), args) {
            (op::LOGICAL_NOT, [a]) => Ok(Code::Not(Box::new(self.compile(a, depth + 1)?))),
            (op::NEGATE, [a]) => Ok(Code::Negate(Box::new(self.compile(a, depth + 1)?))),
            (op::LOGICAL_AND, [a, b]) => {
                let left = self.compile(a, depth + 1)?;
                let right = self.guarded(self.found(a, true), |this| this.compile(b, depth + 1))?;
                Ok(Code::And(Box::new([left, right])))
            }
            (op::LOGICAL_OR, [a, b]) => {
                let left = self.compile(a, depth + 1)?;
                let right = self.guarded(self.found(a, false), |this| this.compile(b, depth + 1))?;
                Ok(Code::Or(Box::new([left, right])))
            }
            (op::CONDITIONAL, [test, yes, no]) => {
                let test_code = self.compile(test, depth + 1)?;
                let yes = self.guarded(self.found(test, true), |this| this.compile(yes, depth + 1))?;
                let no = self.guarded(self.found(test, false), |this| this.compile(no, depth + 1))?;
                Ok(Code::If(Box::new([test_code, yes, no])))
            }
            (op::INDEX, [a, b]) => match &b.expr {
                Ast::Literal(LiteralValue::String(name)) => self.compile_member(a, name.inner(), depth),
                _ => self.compile_binary(Binary::Index, a, b, depth),
            },
            (op::OPT_SELECT | op::OPT_INDEX, _) => Err(unsupported("an optional member")),
            (op::HAS, [a]) => self.compile_has(a, depth),
            (name, [a, b]) if binary(name).is_some() => {
                self.compile_binary(binary(name).unwrap_or(Binary::Equal), a, b, depth)
            }
            ("size", [a]) => self.compile_function(Function::Size, &[a], depth),
            ("string", [a]) => self.compile_function(Function::String, &[a], depth),
            ("int", [a]) => self.compile_function(Function::Int, &[a], depth),
            ("double", [a]) => self.compile_function(Function::Double, &[a], depth),
            (name, args) => Err(unknown_function(name, args.len())),
        }
    }

    fn compile_method(
        &mut self,
        name: &str,
        target: &Expression,
        args: &[Expression],
        depth: usize,
    ) -> Result<Code, Wrong> {
        match (name, args) {
            ("size", []) => self.compile_function(Function::Size, &[target], depth),
            ("contains", [a]) => self.compile_function(Function::Contains, &[target, a], depth),
            ("startsWith", [a]) => self.compile_function(Function::StartsWith, &[target, a], depth),
            ("endsWith", [a]) => self.compile_function(Function::EndsWith, &[target, a], depth),
            ("all", [var, test]) => self.compile_loop(LoopKind::All, target, var, Some(test), None, depth),
            ("exists", [var, test]) => self.compile_loop(LoopKind::Exists, target, var, Some(test), None, depth),
            ("exists_one" | "existsOne", [var, test]) => {
                self.compile_loop(LoopKind::ExistsOne, target, var, Some(test), None, depth)
            }
            ("filter", [var, test]) => self.compile_loop(LoopKind::Filter, target, var, Some(test), None, depth),
            ("map", [var, result]) => self.compile_loop(LoopKind::Map, target, var, None, Some(result), depth),
            ("map", [var, test, result]) => {
                self.compile_loop(LoopKind::Map, target, var, Some(test), Some(result), depth)
            }
            _ => Err(unknown_function(name, args.len())),
        }
    }

    fn compile_function(&mut self, function: Function, args: &[&Expression], depth: usize) -> Result<Code, Wrong> {
        Ok(Code::Call(function, args.iter().map(|arg| self.compile(arg, depth + 1)).collect::<Result<_, _>>()?))
    }

    fn compile_binary(&mut self, binary: Binary, a: &Expression, b: &Expression, depth: usize) -> Result<Code, Wrong> {
        Ok(Code::Binary(binary, Box::new([self.compile(a, depth + 1)?, self.compile(b, depth + 1)?])))
    }

    fn compile_loop(
        &mut self,
        kind: LoopKind,
        range: &Expression,
        var: &Expression,
        test: Option<&Expression>,
        result: Option<&Expression>,
        depth: usize,
    ) -> Result<Code, Wrong> {
        let Ast::Ident(name) = &var.expr else {
            return Err(("the first argument of a loop is no name".to_owned(), "write list.map(item, …)".to_owned()));
        };
        let range = self.compile(range, depth + 1)?;
        self.vars.push(name.clone());
        let test = test.map(|tree| self.compile(tree, depth + 1)).transpose();
        let result = result.map(|tree| self.compile(tree, depth + 1)).transpose();
        self.vars.pop();
        Ok(Code::Loop(Box::new(Loop { kind, range, test: test?, result: result? })))
    }

    fn guarded<T>(&mut self, guards: Vec<Output>, body: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.guards.len();
        self.guards.extend(guards);
        let result = body(self);
        self.guards.truncate(outer);
        result
    }

    /// The outputs that are there for sure where `tree` has this truth.
    fn found(&self, tree: &Expression, truth: bool) -> Vec<Output> {
        let Ast::Call(call) = &tree.expr else { return Vec::new() };
        match (call.func_name.as_str(), call.args.as_slice(), &call.target) {
            (op::HAS, [argument], None) if truth => member(argument)
                .and_then(|(operand, field)| Some((self.step(self.step_name(operand)?).ok()?, field.to_owned())))
                .into_iter()
                .collect(),
            (op::LOGICAL_NOT, [inner], None) => self.found(inner, !truth),
            (op::LOGICAL_AND, [a, b], None) if truth => [self.found(a, truth), self.found(b, truth)].concat(),
            (op::LOGICAL_OR, [a, b], None) if !truth => [self.found(a, truth), self.found(b, truth)].concat(),
            _ => Vec::new(),
        }
    }
}

/// Operand and name in `a.b` and `a["b"]`.
fn member(tree: &Expression) -> Option<(&Expression, &str)> {
    match &tree.expr {
        Ast::Select(select) if !select.test => Some((&select.operand, &select.field)),
        Ast::Call(call) if call.func_name == op::INDEX => match call.args.as_slice() {
            [operand, index] => match &index.expr {
                Ast::Literal(LiteralValue::String(name)) => Some((operand, name.inner())),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn compile_literal(literal: &LiteralValue) -> Result<Code, Wrong> {
    Ok(match literal {
        LiteralValue::Null => Code::Null,
        LiteralValue::Boolean(value) => Code::Bool(*value.inner()),
        LiteralValue::Int(value) => Code::Int(*value.inner()),
        LiteralValue::Double(value) => Code::Double(*value.inner()),
        LiteralValue::String(value) => Code::Str(value.inner().into()),
        LiteralValue::Bytes(_) => return Err(unsupported("a literal of bytes")),
        LiteralValue::UInt(_) => return Err(unsupported("an unsigned literal")),
    })
}

fn binary(name: &str) -> Option<Binary> {
    Some(match name {
        op::ADD => Binary::Add,
        op::SUBSTRACT => Binary::Subtract,
        op::MULTIPLY => Binary::Multiply,
        op::DIVIDE => Binary::Divide,
        op::MODULO => Binary::Modulo,
        op::EQUALS => Binary::Equal,
        op::NOT_EQUALS => Binary::NotEqual,
        op::LESS => Binary::Less,
        op::LESS_EQUALS => Binary::LessOrEqual,
        op::GREATER => Binary::Greater,
        op::GREATER_EQUALS => Binary::GreaterOrEqual,
        op::IN => Binary::In,
        _ => return None,
    })
}

fn unknown_function(name: &str, args: usize) -> Wrong {
    const KNOWN: [&str; 14] = [
        "size",
        "string",
        "int",
        "double",
        "has",
        "contains",
        "startsWith",
        "endsWith",
        "all",
        "exists",
        "exists_one",
        "map",
        "filter",
        "in",
    ];
    if KNOWN.contains(&name) {
        return (
            format!("{name}() does not take {args} arguments, or not in this form"),
            "functions: size(x), string(x), int(x), double(x), has(a.b); methods: s.contains(t), list.map(item, …)"
                .to_owned(),
        );
    }
    let way_out = match name {
        "now" | "timestamp" | "duration" | "rand" | "random" | "uuid" => {
            "an expression knows neither a clock nor randomness: let the caller put it into the input".to_owned()
        }
        _ => nearest::advise(name, &KNOWN),
    };
    (format!("the function {name}() is not known"), way_out)
}
