//! From the tree to the definition: what stands at the top.

use serde_json::{Value, json};
use steadfast_core::sha256;

use super::expression::{Expr, Scope};
use super::fault::{Fault, Faults};
use super::fields::{Field, Fields, Reader};
use super::graph::STEPS_MAX;
use super::input::{Input, pointer_fault};
use super::tree::{self, At, Kind as Tree};
use super::validate::{self, Draft, Role, Use};
use super::{Definition, Step, TIMEOUT_DEFAULT};

/// The number of steps below which a saga is at its best.
const STEPS_ADVISED: usize = 5;

pub(super) const TOP_KEYS: [&str; 9] =
    ["saga", "version", "description", "business_key", "timeout", "permissions", "input", "pipelining", "steps"];

/// Reads a definition from YAML or JSON. `schemas` finds the schema that `input` names, by its file name.
pub fn parse(text: &str, schemas: &dyn Fn(&str) -> Option<Value>) -> Result<Definition, Faults> {
    let tree = tree::read(text).map_err(|fault| Faults::from_iter([fault]))?;
    let mut parser = Parser { reader: Reader::default(), uses: Vec::new() };
    let definition = parser.definition(&tree, schemas, text);
    let mut faults = parser.reader.faults;
    match definition {
        Some(definition) if faults.is_empty() => Ok(definition),
        _ => {
            faults.sort();
            Err(faults)
        }
    }
}

/// Reads a tree; gathers faults, and the expressions that rules across steps look at.
pub(super) struct Parser {
    pub(super) reader: Reader,
    /// Every expression that may read steps or the input, and where.
    pub(super) uses: Vec<Use>,
}

impl Parser {
    fn definition(
        &mut self,
        tree: &tree::Node,
        schemas: &dyn Fn(&str) -> Option<Value>,
        text: &str,
    ) -> Option<Definition> {
        let top = Field { node: tree, path: String::new() };
        let fields = self.reader.fields(&top, &TOP_KEYS, "saga: place_order")?;
        let name = self.reader.required(&fields, "saga", "place_order").and_then(|field| {
            let name = self.reader.text(&field, "place_order")?;
            self.reader.check_name(field.node.at, &field.path, name, true);
            Some(name.to_owned())
        });
        let version = self
            .reader
            .required(&fields, "version", "1")
            .and_then(|field| self.reader.integer(&field, 1, i32::MAX.unsigned_abs()));
        let description = self.description(&fields);
        let business_key = fields.get("business_key").and_then(|f| self.expression(&f, Scope::Input, Role::Input));
        let timeout = fields.get("timeout").and_then(|field| self.reader.duration(&field)).unwrap_or(TIMEOUT_DEFAULT);
        let permissions = self.permissions(&fields);
        let input = self.input(&fields, schemas);
        let pipelining = fields.get("pipelining").and_then(|field| self.reader.boolean(&field)).unwrap_or(true);
        let steps = self.steps(&fields);
        let hash = self.hash(tree, input.schema.as_ref());
        let drafts = steps?;
        let steps = validate::check(&mut self.reader, &self.uses, &input, drafts)?;
        let notes = notes(&fields, &steps);
        Some(Definition {
            name: name?,
            version: version?,
            description,
            hash: hash?,
            business_key,
            timeout: Some(timeout),
            permissions,
            input,
            pipelining,
            steps,
            notes,
            source: text.to_owned(),
        })
    }

    fn hash(&mut self, tree: &tree::Node, schema: Option<&Value>) -> Option<[u8; 32]> {
        let content = json!({ "definition": tree.to_json(), "schema": schema });
        let canonical = serde_json_canonicalizer::to_vec(&content).ok();
        if canonical.is_none() {
            let way_out = "keep numbers within what a double holds";
            self.reader.fault(tree.at, "", "the content has no canonical form (RFC 8785)", way_out);
        }
        canonical.map(|canonical| sha256(&[&canonical]))
    }

    pub(super) fn description(&mut self, fields: &Fields<'_>) -> Option<String> {
        let field = fields.get("description")?;
        self.reader.text(&field, "what it is for").map(str::to_owned)
    }

    pub(super) fn permissions(&mut self, fields: &Fields<'_>) -> Vec<String> {
        let Some(field) = fields.get("permissions") else { return Vec::new() };
        let mut permissions: Vec<String> = Vec::new();
        for (item, text) in self.reader.texts(&field, "[order.place]") {
            let valid = !text.is_empty()
                && text.len() <= 128
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b));
            if !valid {
                self.reader.fault(item.node.at, &item.path, "this is no permission", "write it like order.place");
            } else if permissions.iter().any(|known| known == text) {
                self.reader.fault(item.node.at, &item.path, "the permission stands here twice", "remove one");
            } else {
                permissions.push(text.to_owned());
            }
        }
        permissions
    }

    pub(super) fn expression(&mut self, field: &Field<'_>, scope: Scope<'_>, role: Role) -> Option<Expr> {
        let source = self.reader.text(field, "\"input.total > 0\"")?;
        match Expr::compile(source.trim(), &scope) {
            Ok(expr) => {
                self.uses.push(Use { at: field.node.at, path: field.path.clone(), expr: expr.clone(), role });
                Some(expr)
            }
            Err((fault, way_out)) => {
                self.reader.fault(field.node.at, &field.path, fault, way_out);
                None
            }
        }
    }

    fn input(&mut self, fields: &Fields<'_>, schemas: &dyn Fn(&str) -> Option<Value>) -> Input {
        let example = "{ schema: place_order.schema.json, sensitive: [/card] }";
        let Some(fields) =
            fields.get("input").and_then(|field| self.reader.fields(&field, &["schema", "sensitive"], example))
        else {
            return Input::default();
        };
        let schema_field = fields.get("schema");
        let (name, schema) = match schema_field.as_ref().map(|field| (field, &field.node.kind)) {
            None => (None, None),
            Some((field, Tree::Map(_))) => (None, Some(field.node.to_json())),
            Some((field, _)) => match self.reader.text(field, "place_order.schema.json") {
                None => (None, None),
                Some(name) => {
                    let found = schemas(name);
                    if found.is_none() {
                        let fault = format!("there is no schema `{}`", name.chars().take(100).collect::<String>());
                        let way_out = "put the file beside the definition, or send it along";
                        self.reader.fault(field.node.at, &field.path, fault, way_out);
                    }
                    (Some(name.to_owned()), found)
                }
            },
        };
        let sensitive = fields.get("sensitive").map(|field| self.reader.texts(&field, "[/card]")).unwrap_or_default();
        let pointers = sensitive.iter().map(|(_, pointer)| (*pointer).to_owned()).collect();
        let input = match Input::compile(name, schema, pointers) {
            Ok(input) => input,
            Err(fault) => {
                let (at, path) = schema_field.map_or((fields.at, fields.path.clone()), |f| (f.node.at, f.path));
                self.reader.fault(at, &path, format!("the schema is not valid: {fault}"), "correct the schema");
                Input::default()
            }
        };
        let members = input.members();
        for (field, pointer) in sensitive {
            if let Some((fault, way_out)) = pointer_fault(pointer, members.as_deref()) {
                self.reader.fault(field.node.at, &field.path, fault, way_out);
            }
        }
        input
    }

    fn steps(&mut self, fields: &Fields<'_>) -> Option<Vec<Draft>> {
        let field = self.reader.required(fields, "steps", "{ create_order: { … } }")?;
        let steps = self.reader.map(&field, "{ create_order: { … } }")?;
        let count = steps.entries.len();
        if count == 0 || count > STEPS_MAX {
            let fault = format!("a saga has 1 to {STEPS_MAX} steps, this one {count}");
            self.reader.fault(steps.at, &steps.path, fault, "split it, or let participants do more in one step");
            return None;
        }
        let names: Vec<&str> = steps.entries.iter().map(|entry| entry.key.as_str()).collect();
        let drafts: Vec<Option<Draft>> =
            steps.entries.iter().enumerate().map(|(index, entry)| self.step(index, entry, &names)).collect();
        // Where a step could not be read, rules across steps would find faults that are none.
        drafts.into_iter().collect()
    }
}

fn notes(fields: &Fields<'_>, steps: &[Step]) -> Vec<Fault> {
    let mut notes = Vec::new();
    let at = |key: &str| fields.entries.iter().find(|entry| entry.key == key).map_or(fields.at, |entry| entry.at);
    let mut note = |at: At, path: &str, fault: String, way_out: &str| notes.push(at.fault(path, fault, way_out));
    if steps.len() >= STEPS_ADVISED {
        let fault = format!("{} steps: fewer than {STEPS_ADVISED} is the ideal", steps.len());
        note(at("steps"), "steps", fault, "let a participant do more in one step");
    }
    if fields.get("permissions").is_none() {
        let fault = "no permissions: whoever has logged in may start it".to_owned();
        note(fields.at, "permissions", fault, "write permissions: [order.place]");
    }
    notes
}
