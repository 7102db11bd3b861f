//! Definitions by name and version, each with its plan. A version is immutable; a saga stays on the one it started with.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use serde::Serialize;
use serde_json::Value;
use steadfast_core::{hex, problem};
use tokio::time::Instant;

use super::pressure::Pressure;
use crate::Error;
use crate::definition::{self, Definition, Durable, Faults, Step};
use crate::journal::{Journal, Put, Stored};
use crate::machine::{Kind, Plan, PlanStep, Retry};
use crate::participant::client::{Participant, Participants};

/// A definition that sagas can run.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) definition: Definition,
    pub(super) plan: Plan,
    pressure: Mutex<Pressure>,
}

impl Loaded {
    fn new(definition: Definition, plan: Plan) -> Self {
        Self { definition, plan, pressure: Mutex::default() }
    }

    /// How its sagas fare at this node.
    pub(super) fn pressure(&self) -> MutexGuard<'_, Pressure> {
        // Numbers only, each changed by itself: a panic of another holder leaves nothing that matters half done.
        self.pressure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
pub(super) struct Registry {
    // By name; the versions ascend.
    known: RwLock<HashMap<String, BTreeMap<u32, Arc<Loaded>>>>,
    /// Held by whoever reads.
    reading: tokio::sync::Mutex<Reading>,
}

#[derive(Debug, Default)]
struct Reading {
    /// When the last one began that went well.
    begun: Option<Instant>,
    /// What stands in the journal and cannot be used.
    broken: HashSet<(String, u32)>,
}

/// What became of an upload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Uploaded {
    /// The definition's name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// SHA-256 of its canonical content, in hexadecimal.
    pub hash: String,
    /// Whether it is new; an equal one that stands is left as it is.
    pub added: bool,
    /// What is allowed but not advised.
    pub notes: Vec<String>,
}

impl Registry {
    /// The newest version, or the one that is asked for.
    pub(super) fn find(&self, name: &str, version: Option<u32>) -> Option<Arc<Loaded>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let versions = known.get(name)?;
        match version {
            Some(version) => versions.get(&version).cloned(),
            None => versions.last_key_value().map(|(_, loaded)| Arc::clone(loaded)),
        }
    }

    /// All definitions that are known, for an error that names them.
    pub(super) fn names(&self) -> Vec<String> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let mut names: Vec<_> = known.keys().cloned().collect();
        names.sort();
        names
    }

    fn insert(&self, loaded: Loaded) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let versions = known.entry(loaded.definition.name.clone()).or_default();
        // A version never changes; the one that stands knows how its sagas fare.
        versions.entry(loaded.definition.version).or_insert_with(|| Arc::new(loaded));
    }

    /// Reads the definitions from the journal that are not known yet. One that cannot be read is reported and left out.
    /// Callers that come while one reads share what the next one reads.
    pub(super) async fn load(&self, journal: &dyn Journal, participants: &Participants) -> Result<(), Error> {
        let asked = Instant::now();
        let mut reading = self.reading.lock().await;
        if reading.begun.is_some_and(|begun| begun >= asked) {
            return Ok(());
        }
        let begun = Instant::now();
        for stored in journal.definitions().await? {
            let known = self.find(&stored.name, Some(stored.version)).is_some();
            if known || reading.broken.contains(&(stored.name.clone(), stored.version)) {
                continue;
            }
            let schema = stored.schema.as_deref().map(serde_json::from_str).transpose();
            let read = schema.map_err(|error| error.to_string()).and_then(|schema| {
                load(&stored.source, &|_| schema.clone(), participants).map_err(|it| it.to_string())
            });
            match read {
                Ok(loaded) => self.insert(loaded),
                Err(fault) => {
                    tracing::error!(
                        definition = stored.name,
                        version = stored.version,
                        fault,
                        "a stored definition cannot be used: its sagas rest until this is mended"
                    );
                    reading.broken.insert((stored.name, stored.version));
                }
            }
        }
        reading.begun = Some(begun);
        Ok(())
    }

    /// Checks, keeps and publishes a definition.
    pub(super) async fn upload(
        &self,
        journal: &dyn Journal,
        participants: &Participants,
        text: &str,
        schemas: &BTreeMap<String, Value>,
        by: &str,
        now: steadfast_core::Timestamp,
    ) -> Result<Uploaded, Error> {
        let loaded = load(text, &|name| schemas.get(name).cloned(), participants).map_err(|faults| invalid(&faults))?;
        let definition = &loaded.definition;
        let stored = Stored {
            name: definition.name.clone(),
            version: definition.version,
            hash: definition.hash,
            source: text.to_owned(),
            schema: definition.input.schema.as_ref().map(Value::to_string),
            uploaded_at: now,
            uploaded_by: by.to_owned(),
        };
        let put = journal.put_definition(&stored).await?;
        if put == Put::Differs {
            let detail = format!(
                "{} version {} stands with other content: a version is immutable; raise `version`",
                stored.name, stored.version
            );
            return Err(problem::CONFLICT.with(detail).into());
        }
        let uploaded = Uploaded {
            name: stored.name,
            version: stored.version,
            hash: hex(&stored.hash),
            added: put == Put::Added,
            notes: definition.notes.iter().map(ToString::to_string).collect(),
        };
        self.insert(loaded);
        Ok(uploaded)
    }
}

fn invalid(faults: &Faults) -> Error {
    let list = serde_json::to_value(faults).unwrap_or_default();
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    let detail = format!("{} fault(s), all under `faults`; the first: {first}", faults.len());
    problem::INVALID_DEFINITION.with(detail).member("faults", list).into()
}

fn load(text: &str, schemas: &dyn Fn(&str) -> Option<Value>, participants: &Participants) -> Result<Loaded, Faults> {
    let definition = definition::parse(text, schemas)?;
    let unknown = definition.steps.iter().filter(|step| participants.get(&step.participant).is_none());
    let faults: Faults = unknown.map(|step| unknown_participant(step, participants)).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let plan = plan(&definition, participants).map_err(|fault| {
        Faults::from_iter([definition::Fault {
            path: "steps".to_owned(),
            line: None,
            column: None,
            fault: fault.to_string(),
            way_out: "change `after` or `kind` of the step".to_owned(),
        }])
    })?;
    Ok(Loaded::new(definition, plan))
}

fn unknown_participant(step: &Step, participants: &Participants) -> definition::Fault {
    let known: Vec<_> = participants.names().collect();
    definition::Fault {
        path: format!("steps.{}.participant", step.name),
        line: None,
        column: None,
        fault: format!("there is no participant {:?} in the configuration", step.participant),
        way_out: format!("use one of {}, or add it under `participants`", known.join(", ")),
    }
}

fn plan(definition: &Definition, participants: &Participants) -> Result<Plan, crate::machine::PlanFault> {
    let steps = definition.steps.iter().map(|step| plan_step(step, participants)).collect();
    Plan::new(steps, definition.timeout, definition.pipelining)
}

fn plan_step(step: &Step, participants: &Participants) -> PlanStep {
    let participant = participants.get(&step.participant);
    let retry = |retry: definition::Retry| Retry { attempts: retry.attempts, base: retry.base, cap: retry.cap };
    PlanStep {
        name: step.name.clone(),
        kind: match step.kind {
            definition::Kind::Compensatable => Kind::Compensatable,
            definition::Kind::Pivot => Kind::Pivot,
            definition::Kind::Retriable => Kind::Retriable,
        },
        needs: step.after.clone(),
        compensable: step.compensation.is_some(),
        barrier: participant.is_some_and(Participant::barrier),
        strict: step.durable == Durable::Strict,
        conditional: step.when.is_some(),
        probe: participant.is_some_and(Participant::has_probe),
        attempt_timeout: step.timeout,
        deadline: step.deadline,
        retry: retry(step.retry),
        compensation_retry: retry(step.compensation_retry),
        reads: step.compensation_reads.clone(),
    }
}
