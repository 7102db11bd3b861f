//! The input of a saga: its schema, and what in it is sensitive.

use std::fmt;
use std::sync::Arc;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Retrieve, Uri, ValidationError, Validator};
use serde_json::Value;

use super::fault::{Fault, Faults};
use super::nearest;
use super::template::INTEGER_MAX;

/// The deepest nesting of an input.
const DEPTH_MAX: usize = 64;

/// The most faults of an input that are reported.
const INPUT_FAULTS_MAX: usize = 20;

/// What a definition says about the saga's input.
#[derive(Clone, Default)]
pub struct Input {
    /// The name of the schema's file, if it has one of its own.
    pub schema_name: Option<String>,
    /// The JSON Schema.
    pub schema: Option<Value>,
    /// JSON pointers to what is sealed at rest and shown to nobody.
    pub sensitive: Vec<String>,
    validator: Option<Arc<Validator>>,
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("schema_name", &self.schema_name)
            .field("sensitive", &self.sensitive)
            .finish_non_exhaustive()
    }
}

/// No schema is ever fetched.
struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(&self, uri: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{uri} lies outside of the schema").into())
    }
}

impl Input {
    /// Compiles a schema; an error says what is wrong with it.
    pub(super) fn compile(
        schema_name: Option<String>,
        schema: Option<Value>,
        sensitive: Vec<String>,
    ) -> Result<Self, String> {
        let validator = schema
            .as_ref()
            .map(|schema| {
                jsonschema::options()
                    .with_retriever(Nowhere)
                    .should_validate_formats(true)
                    .with_pattern_options(PatternOptions::regex().size_limit(1 << 20).dfa_size_limit(1 << 20))
                    .build(schema)
                    .map(Arc::new)
                    .map_err(|error| error.masked().to_string().chars().take(300).collect::<String>())
            })
            .transpose()?;
        Ok(Self { schema_name, schema, sensitive, validator })
    }

    /// The members that an input can have, where the schema lists them all.
    pub(super) fn members(&self) -> Option<Vec<&str>> {
        const OPEN: [&str; 8] =
            ["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas"];
        let schema = self.schema.as_ref()?.as_object()?;
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        if !closed || OPEN.iter().any(|keyword| schema.contains_key(*keyword)) {
            return None;
        }
        Some(schema.get("properties")?.as_object()?.keys().map(String::as_str).collect())
    }

    /// Whether an input fits; the faults name places, never values.
    pub(super) fn validate(&self, input: &Value) -> Result<(), Faults> {
        let mut faults = Faults::default();
        check_numbers(input, &mut Vec::new(), &mut faults);
        // A validator recurses as deep as its input does.
        if faults.is_empty()
            && let Some(validator) = &self.validator
        {
            for error in validator.iter_errors(input).take(INPUT_FAULTS_MAX) {
                faults.push(fault(&error));
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

/// Integers that not every reader keeps, and nesting that not every reader takes.
fn check_numbers<'v>(value: &'v Value, place: &mut Vec<Step<'v>>, faults: &mut Faults) {
    let fault = match value {
        Value::Number(number) => {
            let beyond = number.as_u64().is_some_and(|n| n > INTEGER_MAX)
                || number.as_i64().is_some_and(|n| n.unsigned_abs() > INTEGER_MAX);
            beyond.then_some(("an integer beyond 2^53: not every reader of JSON keeps it", "send it as a string"))
        }
        Value::Array(_) | Value::Object(_) if place.len() >= DEPTH_MAX => {
            Some(("the input is nested too deep", "flatten it"))
        }
        _ => None,
    };
    if let Some((fault, way_out)) = fault {
        faults.push(at(path_of(place), fault, way_out));
        return;
    }
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                place.push(Step::Index(index));
                check_numbers(item, place, faults);
                place.pop();
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                place.push(Step::Name(name));
                check_numbers(member, place, faults);
                place.pop();
            }
        }
        _ => {}
    }
}

/// A step down into a value.
enum Step<'v> {
    Name(&'v str),
    Index(usize),
}

fn path_of(place: &[Step<'_>]) -> String {
    let mut path = "input".to_owned();
    for step in place {
        match step {
            Step::Name(name) => {
                path.push('.');
                path.push_str(name);
            }
            Step::Index(index) => path.extend(["[", index.to_string().as_str(), "]"]),
        }
    }
    path
}

/// `/lines/0/product` as `input.lines[0].product`.
fn path_of_pointer(pointer: &str) -> String {
    let mut path = "input".to_owned();
    for segment in pointer.split('/').skip(1) {
        if !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_digit()) {
            path.extend(["[", segment, "]"]);
        } else {
            path.push('.');
            path.push_str(&segment.replace("~1", "/").replace("~0", "~"));
        }
    }
    path
}

fn at(path: String, fault: impl Into<String>, way_out: impl Into<String>) -> Fault {
    Fault { path, line: None, column: None, fault: fault.into(), way_out: way_out.into() }
}

fn fault(error: &ValidationError<'_>) -> Fault {
    let path = path_of_pointer(&error.instance_path().to_string());
    let way_out = match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("add {}", property.as_str().unwrap_or("it"))
        }
        ValidationErrorKind::AdditionalProperties { .. } => "remove what the schema does not know".to_owned(),
        _ => format!("the schema asks for it at {}", error.schema_path()),
    };
    let said: String = error.masked().to_string().chars().take(300).collect();
    at(path, said, way_out)
}

/// What is wrong with a pointer to something sensitive.
pub(super) fn pointer_fault(pointer: &str, members: Option<&[&str]>) -> Option<(String, String)> {
    if !pointer.starts_with('/') || pointer.ends_with('/') || pointer.len() > 256 {
        return Some(("this is no JSON pointer to a member of the input".to_owned(), "write it like /card".to_owned()));
    }
    let first = pointer.split('/').nth(1).unwrap_or_default().replace("~1", "/").replace("~0", "~");
    match members {
        Some(members) if !members.contains(&first.as_str()) => {
            Some((format!("the schema knows no member `{first}`"), nearest::advise(&first, members)))
        }
        _ => None,
    }
}
