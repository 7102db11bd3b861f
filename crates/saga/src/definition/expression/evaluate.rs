//! Evaluation: borrowed values, a bound on steps and on bytes.

use std::rc::Rc;

use serde_json::Value;

use super::code::{Code, Function, Loop, LoopKind};
use super::operate;
use super::value::{OUTPUT_MAX, Val};
use crate::definition::render::Outputs;

/// The most steps of one evaluation: some milliseconds.
const STEPS_MAX: usize = 250_000;

/// What the names of an expression stand for.
#[derive(Clone, Copy, Debug)]
pub(in crate::definition) struct Roots<'a> {
    pub(in crate::definition) input: &'a Value,
    pub(in crate::definition) saga: &'a str,
    pub(in crate::definition) outputs: &'a dyn Outputs,
    pub(in crate::definition) body: &'a Value,
    pub(in crate::definition) status: u16,
}

/// Why there is no value.
#[derive(Debug)]
pub(super) struct Fail {
    message: String,
    /// Not to be absorbed by the other side of an `&&` or `||`.
    fatal: bool,
}

impl Fail {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), fatal: false }
    }
}

pub(super) fn evaluate<'a>(code: &'a Code, roots: &Roots<'a>) -> Result<Val<'a>, String> {
    let mut evaluator = Evaluator { roots, vars: Vec::new(), steps: 0, bytes: 0 };
    evaluator.evaluate(code).map_err(|fail| fail.message)
}

pub(super) struct Evaluator<'r, 'a> {
    roots: &'r Roots<'a>,
    vars: Vec<Val<'a>>,
    steps: usize,
    bytes: usize,
}

impl<'a> Evaluator<'_, 'a> {
    /// Charges work.
    pub(super) fn charge(&mut self, steps: usize) -> Result<(), Fail> {
        self.steps = self.steps.saturating_add(steps);
        if self.steps > STEPS_MAX {
            return Err(Fail { message: "the expression costs too much".to_owned(), fatal: true });
        }
        Ok(())
    }

    /// Charges memory, and the work of filling it.
    pub(super) fn allocate(&mut self, bytes: usize) -> Result<(), Fail> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > OUTPUT_MAX {
            return Err(Fail { message: "the expression needs too much memory".to_owned(), fatal: true });
        }
        self.charge(bytes / 256)
    }

    fn evaluate(&mut self, code: &'a Code) -> Result<Val<'a>, Fail> {
        self.charge(1)?;
        Ok(match code {
            Code::Null => Val::Null,
            Code::Bool(value) => Val::Bool(*value),
            Code::Int(value) => Val::Int(*value),
            Code::Double(value) => Val::Double(*value),
            Code::Str(text) => Val::Str(text),
            Code::Input => Val::of(self.roots.input),
            Code::SagaId => Val::Str(self.roots.saga),
            Code::Body => Val::of(self.roots.body),
            Code::Status => Val::Int(i64::from(self.roots.status)),
            Code::Step(step) => match self.roots.outputs.output(*step) {
                Some(Value::Null) | None => Val::Map(Rc::new([])),
                Some(value) => Val::of(value),
            },
            Code::Var(depth) => self.vars[*depth].clone(),
            Code::Member(operand, name) => {
                let operand = self.evaluate(operand)?;
                operand.member(name).ok_or_else(|| match operand {
                    Val::JsonMap(_) | Val::Map(_) => Fail::new(format!("there is no member `{name}`")),
                    other => Fail::new(format!("`{name}` is asked of {}, which has no members", other.noun())),
                })?
            }
            Code::Has(operand, name) => match self.evaluate(operand)? {
                operand @ (Val::JsonMap(_) | Val::Map(_)) => Val::Bool(operand.member(name).is_some()),
                other => return Err(Fail::new(format!("has() asks {} for a member", other.noun()))),
            },
            Code::Not(operand) => Val::Bool(!self.truth(operand)?),
            Code::Negate(operand) => {
                let operand = self.evaluate(operand)?;
                operate::negate(&operand)?
            }
            Code::And(sides) => Val::Bool(self.logic(sides, false)?),
            Code::Or(sides) => Val::Bool(self.logic(sides, true)?),
            Code::If(parts) => {
                let [test, yes, no] = &**parts;
                if self.truth(test)? { self.evaluate(yes)? } else { self.evaluate(no)? }
            }
            Code::Binary(binary, sides) => {
                let left = self.evaluate(&sides[0])?;
                let right = self.evaluate(&sides[1])?;
                operate::binary(self, *binary, &left, &right)?
            }
            Code::Call(function, args) => self.call(*function, args)?,
            Code::List(items) => {
                self.allocate(items.len() * size_of::<Val<'_>>())?;
                Val::List(items.iter().map(|item| self.evaluate(item)).collect::<Result<_, _>>()?)
            }
            Code::Map(entries) => self.map(entries)?,
            Code::Loop(body) => self.run_loop(body)?,
        })
    }

    fn truth(&mut self, code: &'a Code) -> Result<bool, Fail> {
        match self.evaluate(code)? {
            Val::Bool(value) => Ok(value),
            other => Err(Fail::new(format!("a condition is {}, not a boolean", other.noun()))),
        }
    }

    /// `&&` and `||`: the side that decides wins over an error of the other.
    fn logic(&mut self, sides: &'a [Code; 2], decisive: bool) -> Result<bool, Fail> {
        match self.truth(&sides[0]) {
            Ok(value) if value == decisive => Ok(decisive),
            Ok(_) => self.truth(&sides[1]),
            Err(fail) if fail.fatal => Err(fail),
            Err(fail) => match self.truth(&sides[1]) {
                Ok(value) if value == decisive => Ok(decisive),
                Err(other) if other.fatal => Err(other),
                _ => Err(fail),
            },
        }
    }

    fn call(&mut self, function: Function, args: &'a [Code]) -> Result<Val<'a>, Fail> {
        let first = match args.first() {
            Some(code) => self.evaluate(code)?,
            None => Val::Null,
        };
        match args.get(1) {
            Some(code) => {
                let second = self.evaluate(code)?;
                operate::call_two(self, function, &first, &second)
            }
            None => operate::call_one(self, function, &first),
        }
    }

    fn map(&mut self, entries: &'a [(Code, Code)]) -> Result<Val<'a>, Fail> {
        self.allocate(entries.len() * size_of::<(Val<'_>, Val<'_>)>())?;
        let mut built = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let key = self.evaluate(key)?;
            if key.as_str().is_none() {
                return Err(Fail::new(format!("the key of a map is {}, not a string", key.noun())));
            }
            built.push((key, self.evaluate(value)?));
        }
        built.sort_by(|(a, _), (b, _)| a.as_str().cmp(&b.as_str()));
        if built.windows(2).any(|pair| pair[0].0.as_str() == pair[1].0.as_str()) {
            return Err(Fail::new("a map has a key twice"));
        }
        Ok(Val::Map(built.into()))
    }

    fn run_loop(&mut self, body: &'a Loop) -> Result<Val<'a>, Fail> {
        let range = self.evaluate(&body.range)?;
        let mut state = LoopState { matches: 0, fail: None, items: Vec::new() };
        let depth = self.vars.len();
        self.vars.push(Val::Null);
        let ended = self.each(&range, depth, |this| this.turn(body, depth, &mut state));
        self.vars.truncate(depth);
        match ended? {
            Some(decided) => Ok(Val::Bool(decided)),
            None => match (body.kind, state.fail) {
                (LoopKind::All | LoopKind::Exists, Some(fail)) => Err(fail),
                (LoopKind::All, None) => Ok(Val::Bool(true)),
                (LoopKind::Exists, None) => Ok(Val::Bool(false)),
                (LoopKind::ExistsOne, _) => Ok(Val::Bool(state.matches == 1)),
                (LoopKind::Map | LoopKind::Filter, _) => Ok(Val::List(state.items.into())),
            },
        }
    }

    /// Runs `turn` for each item of a list or key of a map, in a fixed order, until it decides.
    fn each(
        &mut self,
        range: &Val<'a>,
        depth: usize,
        mut turn: impl FnMut(&mut Self) -> Result<Option<bool>, Fail>,
    ) -> Result<Option<bool>, Fail> {
        let keys = match range {
            Val::JsonMap(members) => {
                let mut keys: Vec<&'a str> = members.keys().map(String::as_str).collect();
                keys.sort_unstable();
                Some(keys.into_iter().map(Val::Str).collect::<Vec<_>>())
            }
            Val::Map(entries) => Some(entries.iter().map(|(key, _)| key.clone()).collect()),
            _ => None,
        };
        let (range, size) = match (keys, range) {
            (Some(keys), _) => {
                let size = keys.len();
                (Val::List(keys.into()), size)
            }
            (None, list @ (Val::JsonList(_) | Val::List(_))) => (list.clone(), list.size().unwrap_or(0)),
            (None, other) => return Err(Fail::new(format!("a loop runs over {}, not a list", other.noun()))),
        };
        for index in 0..size {
            self.charge(1)?;
            self.vars[depth] = range.item(index).unwrap_or(Val::Null);
            if let Some(decided) = turn(self)? {
                return Ok(Some(decided));
            }
        }
        Ok(None)
    }

    fn turn(&mut self, body: &'a Loop, depth: usize, state: &mut LoopState<'a>) -> Result<Option<bool>, Fail> {
        let test = match &body.test {
            Some(code) => self.truth(code),
            None => Ok(true),
        };
        match (body.kind, test) {
            (LoopKind::All, Ok(false)) => return Ok(Some(false)),
            (LoopKind::Exists, Ok(true)) => return Ok(Some(true)),
            (LoopKind::All | LoopKind::Exists, Err(fail)) if !fail.fatal => state.fail = Some(fail),
            (_, Err(fail)) => return Err(fail),
            (LoopKind::ExistsOne, Ok(true)) => state.matches += 1,
            (LoopKind::Filter, Ok(true)) => {
                self.allocate(size_of::<Val<'_>>())?;
                state.items.push(self.vars[depth].clone());
            }
            (LoopKind::Map, Ok(true)) => {
                self.allocate(size_of::<Val<'_>>())?;
                if let Some(result) = &body.result {
                    let item = self.evaluate(result)?;
                    state.items.push(item);
                }
            }
            (_, Ok(_)) => {}
        }
        Ok(None)
    }
}

/// What a loop gathers.
struct LoopState<'a> {
    matches: usize,
    fail: Option<Fail>,
    items: Vec<Val<'a>>,
}
