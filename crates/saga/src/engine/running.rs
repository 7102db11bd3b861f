//! One saga in memory: the machine with what it needs from outside, and who waits for it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steadfast_core::{SagaId, Timestamp};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::registry::Loaded;
use super::tenure::Tenure;
use super::watch::Told;
use crate::definition::{self, Context};
use crate::journal::Appended;
use crate::machine::{Conditions, Outputs, Saga, Status};

/// What a saga carries beside its input; stored with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Baggage {
    /// Who began it.
    pub(super) user: String,
    /// What they were permitted at the start.
    pub(super) permissions: Vec<String>,
    /// W3C trace context of the start.
    pub(super) traceparent: String,
    /// The paths of the input that are sealed where it is stored; none in sagas from before there was sealing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sealed: Vec<String>,
}

/// A saga that is neither settled nor parked, or on its way there.
pub(super) struct Running {
    pub(super) id: SagaId,
    pub(super) id_text: String,
    /// Whose lane its entries are written in, in which epoch.
    pub(super) tenure: Arc<Tenure>,
    pub(super) loaded: Arc<Loaded>,
    pub(super) input: Value,
    pub(super) baggage: Baggage,
    pub(super) started_at: Timestamp,
    /// When it was started here, if few of its definition were in flight then.
    pub(super) calm_since: Option<Instant>,
    /// When it wakes next, for the sweep; 0 for never.
    pub(super) wake: AtomicI64,
    /// Whether its end is durable.
    pub(super) ended: AtomicBool,
    /// Its end is durable, or it has left memory without one.
    pub(super) end: Notify,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) saga: Saga,
    /// The earliest moment for which the timers hold it.
    pub(super) armed: Option<Timestamp>,
    /// Who waits for the commit of the start.
    pub(super) starting: Vec<oneshot::Sender<Appended>>,
    /// When it was parked, of a saga that was taken up again for an operator's act.
    pub(super) ended_at: Option<Timestamp>,
    /// The status that the gauges count it under.
    pub(super) counted: Option<Status>,
    pub(super) place: Place,
    /// What those who watch are told with the commits to come.
    pub(super) told: VecDeque<Told>,
}

/// Whether it belongs here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It does.
    Here,
    /// It is written into the queue: it leaves memory with the commit of its start.
    Queued,
    /// It was claimed before it was heard what became of its start. Where that was known before, what was claimed is another
    /// start of the same saga, and is to be taken up from the journal.
    Claimed,
    /// It is parked and leaves memory: an act takes it up anew, with what the journal has.
    Rests,
    /// It goes on elsewhere, or not at all: nothing that happens here changes it any more.
    Withdrawn,
}

/// What a saga in memory is made of beside its machine.
pub(super) struct Made {
    pub(super) id: SagaId,
    pub(super) tenure: Arc<Tenure>,
    pub(super) loaded: Arc<Loaded>,
    pub(super) input: Value,
    pub(super) baggage: Baggage,
    pub(super) started_at: Timestamp,
    pub(super) calm_since: Option<Instant>,
    pub(super) queued: bool,
}

impl Running {
    pub(super) fn new(made: Made, saga: Saga) -> Self {
        let inner = Inner {
            saga,
            armed: None,
            starting: Vec::new(),
            ended_at: None,
            counted: None,
            place: if made.queued { Place::Queued } else { Place::Here },
            told: VecDeque::new(),
        };
        Self {
            id: made.id,
            id_text: made.id.to_string(),
            tenure: made.tenure,
            loaded: made.loaded,
            input: made.input,
            baggage: made.baggage,
            started_at: made.started_at,
            calm_since: made.calm_since,
            wake: AtomicI64::new(0),
            ended: AtomicBool::new(false),
            end: Notify::new(),
            inner: Mutex::new(inner),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn conditions(&self) -> When<'_> {
        When { loaded: &self.loaded, input: &self.input, saga: &self.id_text }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Keeps it in memory as a saga of its lane; `false` where it is on its way out.
    pub(super) fn keep(&self) -> bool {
        let mut inner = self.lock();
        if matches!(inner.place, Place::Rests | Place::Withdrawn) {
            return false;
        }
        inner.place = if inner.saga.committed() == 0 { Place::Claimed } else { Place::Here };
        true
    }

    pub(super) fn is_withdrawn(&self) -> bool {
        self.lock().place == Place::Withdrawn
    }

    /// Where it stands, as far as it may be reported: an end that is not durable is none.
    pub(super) fn reported(&self) -> Status {
        let inner = self.lock();
        let status = inner.saga.status();
        match status {
            Status::Completed if !self.has_ended() => Status::Running,
            Status::Compensated if !self.has_ended() => Status::Compensating,
            Status::Failed if !self.has_ended() && inner.ended_at.is_none() => {
                if inner.saga.cause().is_some() {
                    Status::Compensating
                } else {
                    Status::Running
                }
            }
            status => status,
        }
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("id", &self.id_text).finish_non_exhaustive()
    }
}

/// The definition's `when` expressions over this saga's input.
pub(super) struct When<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) input: &'a Value,
    pub(super) saga: &'a str,
}

impl Conditions for When<'_> {
    fn when(&self, step: usize, outputs: &Outputs<'_>) -> Result<bool, String> {
        let Some(expr) = &self.loaded.definition.steps[step].when else { return Ok(true) };
        definition::when(expr, &Context { saga: self.saga, input: self.input, outputs: &Seen(*outputs) })
    }
}

/// The machine's outputs, as expressions see them.
#[derive(Debug)]
pub(super) struct Seen<'a>(pub(super) Outputs<'a>);

impl definition::Outputs for Seen<'_> {
    fn output(&self, step: usize) -> Option<&Value> {
        self.0.get(step)
    }
}
