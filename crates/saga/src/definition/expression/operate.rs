//! Operators and functions on values.

use std::cmp::Ordering;

use super::code::{Binary, Function};
use super::evaluate::{Evaluator, Fail};
use super::value::{Val, compare_mixed, write_text};

pub(super) fn negate<'a>(operand: &Val<'a>) -> Result<Val<'a>, Fail> {
    match operand {
        Val::Int(value) => value.checked_neg().map(Val::Int).ok_or_else(overflow),
        Val::Double(value) => Ok(Val::Double(-value)),
        other => Err(Fail::new(format!("- is asked of {}", other.noun()))),
    }
}

fn overflow() -> Fail {
    Fail::new("an integer runs over 64 bits")
}

pub(super) fn binary<'a>(
    evaluator: &mut Evaluator<'_, 'a>,
    binary: Binary,
    left: &Val<'a>,
    right: &Val<'a>,
) -> Result<Val<'a>, Fail> {
    Ok(match binary {
        Binary::Add => return add(evaluator, left, right),
        Binary::Subtract => return arithmetic("-", left, right, i64::checked_sub, |a, b| a - b),
        Binary::Multiply => return arithmetic("*", left, right, i64::checked_mul, |a, b| a * b),
        Binary::Divide | Binary::Modulo if matches!(right, Val::Int(0)) => {
            return Err(Fail::new("an integer is divided by zero"));
        }
        Binary::Divide => return arithmetic("/", left, right, i64::checked_div, |a, b| a / b),
        Binary::Modulo => match (left, right) {
            (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_rem(*b).ok_or_else(overflow)?),
            _ => return Err(mismatch("%", left, right)),
        },
        Binary::Equal => Val::Bool(equal(evaluator, left, right)?),
        Binary::NotEqual => Val::Bool(!equal(evaluator, left, right)?),
        Binary::Less => Val::Bool(compare("<", left, right)? == Some(Ordering::Less)),
        Binary::LessOrEqual => Val::Bool(compare("<=", left, right)?.is_some_and(Ordering::is_le)),
        Binary::Greater => Val::Bool(compare(">", left, right)? == Some(Ordering::Greater)),
        Binary::GreaterOrEqual => Val::Bool(compare(">=", left, right)?.is_some_and(Ordering::is_ge)),
        Binary::In => Val::Bool(contains(evaluator, right, left)?),
        Binary::Index => return index(left, right),
    })
}

fn mismatch(sign: &str, left: &Val<'_>, right: &Val<'_>) -> Fail {
    Fail::new(format!("{sign} does not go with {} and {}", left.noun(), right.noun()))
}

fn arithmetic<'a>(
    sign: &str,
    left: &Val<'a>,
    right: &Val<'a>,
    ints: impl Fn(i64, i64) -> Option<i64>,
    doubles: impl Fn(f64, f64) -> f64,
) -> Result<Val<'a>, Fail> {
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => ints(*a, *b).map(Val::Int).ok_or_else(overflow),
        (Val::Double(a), Val::Double(b)) => Ok(Val::Double(doubles(*a, *b))),
        _ => Err(mismatch(sign, left, right)),
    }
}

fn add<'a>(evaluator: &mut Evaluator<'_, 'a>, left: &Val<'a>, right: &Val<'a>) -> Result<Val<'a>, Fail> {
    if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
        evaluator.allocate(a.len() + b.len())?;
        return Ok(Val::Text([a, b].concat().into()));
    }
    if let (Val::JsonList(_) | Val::List(_), Val::JsonList(_) | Val::List(_)) = (left, right) {
        let (a, b) = (left.size().unwrap_or(0), right.size().unwrap_or(0));
        evaluator.allocate((a + b) * size_of::<Val<'_>>())?;
        let items = (0..a).filter_map(|i| left.item(i)).chain((0..b).filter_map(|i| right.item(i)));
        return Ok(Val::List(items.collect()));
    }
    arithmetic("+", left, right, i64::checked_add, |a, b| a + b)
}

/// The order of two values; `None` where a NaN has none.
fn compare(sign: &str, left: &Val<'_>, right: &Val<'_>) -> Result<Option<Ordering>, Fail> {
    if let Some(order) = compare_numbers(left, right) {
        return Ok(order);
    }
    match (left, right) {
        (Val::Bool(a), Val::Bool(b)) => Ok(Some(a.cmp(b))),
        _ => match (left.as_str(), right.as_str()) {
            (Some(a), Some(b)) => Ok(Some(a.cmp(b))),
            _ => Err(mismatch(sign, left, right)),
        },
    }
}

/// The order of two numbers; `None` where one is none.
#[expect(clippy::option_option, reason = "no numbers at all, and numbers without an order, are two answers")]
fn compare_numbers(left: &Val<'_>, right: &Val<'_>) -> Option<Option<Ordering>> {
    Some(match (left, right) {
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Int(a), Val::Double(b)) => compare_mixed(*a, *b),
        (Val::Double(a), Val::Int(b)) => compare_mixed(*b, *a).map(Ordering::reverse),
        _ => return None,
    })
}

fn equal(evaluator: &mut Evaluator<'_, '_>, left: &Val<'_>, right: &Val<'_>) -> Result<bool, Fail> {
    evaluator.charge(1)?;
    if let Some(order) = compare_numbers(left, right) {
        return Ok(order == Some(Ordering::Equal));
    }
    if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
        evaluator.charge(a.len().min(b.len()) / 256)?;
        return Ok(a == b);
    }
    match (left, right) {
        (Val::Null, Val::Null) => Ok(true),
        (Val::Bool(a), Val::Bool(b)) => Ok(a == b),
        (Val::Big(_), _) | (_, Val::Big(_)) => Err(Fail::new("an integer beyond 64 bits is compared")),
        (Val::JsonList(_) | Val::List(_), Val::JsonList(_) | Val::List(_)) => {
            let size = left.size().unwrap_or(0);
            if right.size() != Some(size) {
                return Ok(false);
            }
            for index in 0..size {
                if let (Some(a), Some(b)) = (left.item(index), right.item(index))
                    && !equal(evaluator, &a, &b)?
                {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        (Val::JsonMap(_) | Val::Map(_), Val::JsonMap(_) | Val::Map(_)) => {
            if left.size() != right.size() {
                return Ok(false);
            }
            for (key, a) in entries(left) {
                match right.member(key.as_str().unwrap_or_default()) {
                    Some(b) if equal(evaluator, &a, &b)? => {}
                    _ => return Ok(false),
                }
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn entries<'a>(map: &Val<'a>) -> Vec<(Val<'a>, Val<'a>)> {
    match map {
        Val::JsonMap(members) => members.iter().map(|(key, value)| (Val::Str(key), Val::of(value))).collect(),
        Val::Map(entries) => entries.to_vec(),
        _ => Vec::new(),
    }
}

fn contains(evaluator: &mut Evaluator<'_, '_>, range: &Val<'_>, wanted: &Val<'_>) -> Result<bool, Fail> {
    match range {
        Val::JsonMap(_) | Val::Map(_) => match wanted {
            Val::Str(name) => Ok(range.member(name).is_some()),
            Val::Text(name) => Ok(range.member(name).is_some()),
            // Keys of other types are keys, of which these maps have none.
            Val::Bool(_) | Val::Int(_) | Val::Double(_) => Ok(false),
            _ => Err(mismatch("in", wanted, range)),
        },
        Val::JsonList(_) | Val::List(_) => {
            for index in 0..range.size().unwrap_or(0) {
                if let Some(item) = range.item(index)
                    && equal(evaluator, wanted, &item)?
                {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        _ => Err(mismatch("in", wanted, range)),
    }
}

fn index<'a>(operand: &Val<'a>, index: &Val<'a>) -> Result<Val<'a>, Fail> {
    match (operand, index) {
        (Val::JsonList(_) | Val::List(_), Val::Double(at)) if at.fract() == 0.0 => {
            self::index(operand, &Val::Int(to_int(*at)?))
        }
        (Val::JsonList(_) | Val::List(_), Val::Int(at)) => usize::try_from(*at)
            .ok()
            .and_then(|at| operand.item(at))
            .ok_or_else(|| Fail::new("an index lies outside of its list")),
        (Val::JsonMap(_) | Val::Map(_), Val::Str(_) | Val::Text(_)) => operand
            .member(index.as_str().unwrap_or_default())
            .ok_or_else(|| Fail::new("a map has no member of the name that it is indexed with")),
        _ => Err(mismatch("[]", operand, index)),
    }
}

pub(super) fn call_one<'a>(
    evaluator: &mut Evaluator<'_, 'a>,
    function: Function,
    arg: &Val<'a>,
) -> Result<Val<'a>, Fail> {
    let wrong = |name: &str| Fail::new(format!("{name}() does not take {}", arg.noun()));
    match function {
        Function::Size => {
            let size = arg.size().ok_or_else(|| wrong("size"))?;
            if arg.as_str().is_some() {
                evaluator.charge(size / 64)?;
            }
            Ok(Val::Int(i64::try_from(size).unwrap_or(i64::MAX)))
        }
        Function::String => match arg {
            Val::Str(_) | Val::Text(_) => Ok(arg.clone()),
            _ => {
                let mut text = String::new();
                write_text(&mut text, arg).map_err(|_| wrong("string"))?;
                evaluator.allocate(text.len())?;
                Ok(Val::Text(text.into()))
            }
        },
        Function::Int => match arg {
            Val::Int(_) => Ok(arg.clone()),
            Val::Double(value) => to_int(*value).map(Val::Int),
            _ => {
                let text = arg.as_str().ok_or_else(|| wrong("int"))?;
                text.parse().map(Val::Int).map_err(|_| Fail::new("int() is given a string that is no integer"))
            }
        },
        Function::Double => match arg {
            Val::Double(_) => Ok(arg.clone()),
            #[expect(clippy::cast_precision_loss, reason = "double() is asked for by name")]
            Val::Int(value) => Ok(Val::Double(*value as f64)),
            _ => {
                let text = arg.as_str().ok_or_else(|| wrong("double"))?;
                text.parse().map(Val::Double).map_err(|_| Fail::new("double() is given a string that is no number"))
            }
        },
        Function::Contains | Function::StartsWith | Function::EndsWith => Err(Fail::new("an argument is missing")),
    }
}

fn to_int(value: f64) -> Result<i64, Fail> {
    match compare_mixed(i64::MAX, value).zip(compare_mixed(i64::MIN, value)) {
        Some((Ordering::Greater | Ordering::Equal, Ordering::Less | Ordering::Equal)) => {
            #[expect(clippy::cast_possible_truncation, reason = "int() drops the fraction; the range is checked above")]
            let whole = value as i64;
            Ok(whole)
        }
        _ => Err(overflow()),
    }
}

pub(super) fn call_two<'a>(
    evaluator: &mut Evaluator<'_, 'a>,
    function: Function,
    target: &Val<'a>,
    arg: &Val<'a>,
) -> Result<Val<'a>, Fail> {
    let (Some(text), Some(part)) = (target.as_str(), arg.as_str()) else {
        return Err(Fail::new(format!("a string's method is asked of {} with {}", target.noun(), arg.noun())));
    };
    evaluator.charge(text.len() / 64)?;
    match function {
        Function::Contains => Ok(Val::Bool(text.contains(part))),
        Function::StartsWith => Ok(Val::Bool(text.starts_with(part))),
        Function::EndsWith => Ok(Val::Bool(text.ends_with(part))),
        _ => Err(Fail::new("an argument too many")),
    }
}
