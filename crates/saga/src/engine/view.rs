//! What others see of a saga: a line in a list, or the whole with its steps and its history.

use serde::Serialize;
use serde_json::Value;
use steadfast_core::SagaId;

use super::core::Core;
use super::recovery::entries;
use super::running::Baggage;
use super::sealed::mask;
use crate::Error;
use crate::journal::{Filter, Row};
use crate::machine::{Entry, Plan, Saga};

/// A line in a list: no input, no outputs, no reasons of people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The saga's id.
    pub saga_id: String,
    /// Its number, in the order of the starts; `before` of the next page.
    pub no: i64,
    /// What it runs.
    pub definition: String,
    /// In which version.
    pub version: u32,
    /// Where it stands.
    pub status: &'static str,
    /// Whether an operator holds it.
    pub held: bool,
    /// Whether it passed its timeout behind the commit point.
    pub overdue: bool,
    /// Why it was compensated.
    pub cause: Option<String>,
    /// What it can be found by.
    pub business_key: Option<String>,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub accepted_at: i64,
    /// When it was settled or parked.
    pub ended_at: Option<i64>,
}

/// A saga as a whole, for those who may see it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    /// As in a list.
    #[serde(flatten)]
    pub summary: Summary,
    /// The saga's context, by the names that the audit asks for.
    pub context: ContextView,
    /// Its steps.
    pub steps: Vec<StepState>,
    /// Where it is parked: effects that may be left in the world.
    pub effects_left: Vec<Left>,
}

/// The saga's context.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContextView {
    /// The saga's id.
    pub saga_id: String,
    /// Who began it.
    pub user_id: String,
    /// What they were permitted at the start.
    pub permissions: Vec<String>,
    /// The input with its sensitive paths masked; `encryptedData` is what stands there.
    pub input: Value,
    /// The sensitive paths of the input.
    pub encrypted_data: Vec<EncryptedField>,
    /// Every entry of the journal, in words.
    pub audit_log: Vec<AuditLine>,
}

/// A sensitive path of the input.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EncryptedField {
    /// Where, as a JSON pointer.
    pub path: String,
    /// What is stored there: a JWE (RFC 7516). `None` where the input has nothing there of its own, or is from before there was
    /// sealing.
    pub sealed: Option<String>,
}

/// One entry of the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditLine {
    /// When, milliseconds since the Unix epoch; a condition has no time of its own.
    pub at: Option<i64>,
    /// The step that it is about.
    pub step: Option<String>,
    /// What happened.
    pub what: String,
    /// The journal row it was committed with.
    pub seq: i64,
    /// The epoch it was written in.
    pub epoch: i64,
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepState {
    /// Its name.
    pub name: String,
    /// Whom it asks.
    pub participant: String,
    /// Where it stands.
    pub phase: &'static str,
    /// Attempts spent on the action.
    pub attempts: u32,
    /// Attempts spent on the compensation.
    pub compensation_attempts: u32,
    /// Why it waits for an operator.
    pub parked: Option<&'static str>,
}

/// An effect that may be left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// The step.
    pub step: String,
    /// Whether it is known to be done; where not, it may be.
    pub certain: bool,
    /// Why nobody has taken it back.
    pub parked: Option<&'static str>,
}

impl Core {
    pub(super) async fn list(&self, filter: &Filter) -> Result<Vec<Summary>, Error> {
        Ok(self.journal.list(filter).await?.iter().map(summary).collect())
    }

    pub(super) async fn show(&self, id: SagaId) -> Result<Option<View>, Error> {
        let Some(row) = self.journal.find(id).await? else { return Ok(None) };
        let corrupt = |what: &str| Error::Corrupt(format!("saga {id}: {what}"));
        let histories = self.journal.histories(std::slice::from_ref(&row)).await?;
        let history = histories.into_iter().next().flatten().ok_or_else(|| corrupt("its history is missing"))?;
        let find = || self.registry.find(&row.definition, Some(row.version));
        if find().is_none() {
            self.registry.load(&*self.journal, &self.participants).await?;
        }
        let loaded = find().ok_or_else(|| corrupt("its definition is missing"))?;
        let baggage: Baggage = serde_json::from_str(&history.context).map_err(|_| corrupt("its context"))?;
        let mut input: Value = serde_json::from_str(&history.input).map_err(|_| corrupt("its input"))?;
        let sensitive = &loaded.definition.input.sensitive;
        let encrypted_data = sensitive.iter().map(|path| encrypted(&input, path, &baggage.sealed)).collect();
        mask(&mut input, sensitive);
        let plan = &loaded.plan;
        let all = entries(&history).map_err(|_| corrupt("its journal"))?;
        let saga = Saga::read(plan, &all).map_err(|error| corrupt(&error.to_string()))?;
        let mut audit_log = Vec::new();
        for commit in &history.commits {
            let entries: Vec<Entry> = serde_json::from_str(&commit.entries).map_err(|_| corrupt("its journal"))?;
            audit_log.extend(entries.iter().map(|entry| audit_line(entry, plan, commit.seq, commit.epoch)));
        }
        let context = ContextView {
            saga_id: id.to_string(),
            user_id: baggage.user,
            permissions: baggage.permissions,
            input,
            encrypted_data,
            audit_log,
        };
        let steps = loaded.definition.steps.iter().enumerate();
        let steps = steps.filter_map(|(index, step)| step_state(&saga, index, &step.name, &step.participant)).collect();
        let left = if saga.is_parked() { saga.effects_left(plan) } else { Vec::new() };
        let effects_left = left
            .iter()
            .map(|left| Left {
                step: plan.step(left.step).name.clone(),
                certain: left.certain,
                parked: left.parked.map(crate::machine::Why::name),
            })
            .collect();
        Ok(Some(View { summary: summary(&row), context, steps, effects_left }))
    }
}

fn summary(row: &Row) -> Summary {
    Summary {
        saga_id: row.id.to_string(),
        no: row.no,
        definition: row.definition.clone(),
        version: row.version,
        status: row.head.status.as_str(),
        held: row.head.held,
        overdue: row.head.overdue,
        cause: row.head.cause.clone(),
        business_key: row.business_key.clone(),
        accepted_at: row.started_at.as_millis(),
        ended_at: row.head.ended_at.map(steadfast_core::Timestamp::as_millis),
    }
}

fn step_state(saga: &Saga, index: usize, name: &str, participant: &str) -> Option<StepState> {
    let view = saga.step(index)?;
    Some(StepState {
        name: name.to_owned(),
        participant: participant.to_owned(),
        phase: view.phase.as_str(),
        attempts: view.attempts,
        compensation_attempts: view.compensation_attempts,
        parked: view.parked.map(|(_, why)| why.name()),
    })
}

fn audit_line(entry: &Entry, plan: &Plan, seq: i64, epoch: i64) -> AuditLine {
    AuditLine {
        at: entry.at().map(steadfast_core::Timestamp::as_millis),
        step: entry.step().and_then(|step| plan.steps().get(step)).map(|step| step.name.clone()),
        what: entry.describe(plan).to_string(),
        seq,
        epoch,
    }
}

/// Only what was sealed is shown: whatever else stands there may be plain.
fn encrypted(input: &Value, path: &str, sealed: &[String]) -> EncryptedField {
    let stored = input.pointer(path).and_then(Value::as_str).filter(|_| sealed.iter().any(|it| it == path));
    EncryptedField { path: path.to_owned(), sealed: stored.map(str::to_owned) }
}
