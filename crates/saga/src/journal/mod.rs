//! The journal: audit log, recovery log and the folded state that lists show, in one append.
//!
//! A [`Journal`] is written by one lane in groups: [`Journal::append`] is one commit for all sagas of a [`Batch`], fenced
//! by the lane's epoch. Entries are opaque here: a JSON array per saga and commit, which only the machine reads.
//!
//! | failure | what holds |
//! |---|---|
//! | the process dies inside an append | all of the batch is there, or nothing of it |
//! | the acknowledgement is lost | the same batch is appended again with `again`: rows that stand are left as they are |
//! | another process has taken the lane | nothing is written, the answer is [`Error::Fenced`] |
//! | a start whose id is known | costs that saga only: its answer is [`Appended::Known`] |
//! | a saga that another lane has claimed or adopted, or that another has written since it rests | costs that saga only: its answer is [`Appended::Elsewhere`] |
//! | a row that is not the saga's next one | nothing of the batch is written, the answer is an error that is no transient one |
//! | events cannot be appended | nothing of the batch is written |

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use steadfast_core::{NewEvent, SagaId, Timestamp};

use crate::Error;
use crate::machine::Status;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod line;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

pub use line::LINE;
pub use memory::Memory;
#[cfg(feature = "postgres")]
pub use postgres::Postgres;
pub use sqlite::Sqlite;

/// The lane of nobody: sagas that wait in the queue until a node claims them.
pub const QUEUE: i64 = 0;

/// The right to write: a lane and the epoch in which it was taken. The epoch is the fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Which lane.
    pub id: i64,
    /// Since when it is ours.
    pub epoch: i64,
}

/// What a saga's journal folds to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Where it stands.
    pub status: Status,
    /// Whether an operator holds it.
    pub held: bool,
    /// Whether it passed its timeout behind the commit point.
    pub overdue: bool,
    /// When it wakes by itself; each saga that is neither settled, parked nor held has one.
    pub wake_at: Option<Timestamp>,
    /// When it settled or was parked.
    pub ended_at: Option<Timestamp>,
    /// Why it was compensated or parked.
    pub cause: Option<String>,
}

/// A saga that is about to be written for the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSaga {
    /// Its id; it alone decides whether the saga is new.
    pub id: SagaId,
    /// What it runs.
    pub definition: String,
    /// In which version.
    pub version: u32,
    /// What it can be found by.
    pub business_key: Option<String>,
    /// Who started it.
    pub principal: String,
    /// When; its journal lies under this day.
    pub started_at: Timestamp,
    /// A JSON text.
    pub input: String,
    /// A JSON text: what the engine needs again after a recovery.
    pub context: String,
    /// The key of what is sealed in the input, itself sealed; kept apart from the rest, so that it can be erased.
    pub key: Option<String>,
    /// Whether it goes to the [`QUEUE`] instead of the writer's lane: any node may claim it.
    pub queued: bool,
}

/// Whose entries are appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A start.
    New(Box<NewSaga>),
    /// A saga that is in the journal.
    Known {
        /// Its number.
        no: i64,
        /// Its id.
        id: SagaId,
        /// When it was started.
        started_at: Timestamp,
    },
}

impl Target {
    /// The saga's id.
    pub fn id(&self) -> SagaId {
        match self {
            Self::New(new) => new.id,
            Self::Known { id, .. } => *id,
        }
    }

    /// When the saga was started; its journal lies under this day.
    pub fn started_at(&self) -> Timestamp {
        match self {
            Self::New(new) => new.started_at,
            Self::Known { started_at, .. } => *started_at,
        }
    }
}

/// One saga's part of a commit.
#[derive(Clone, Debug)]
pub struct Append {
    /// Which saga.
    pub target: Target,
    /// The number of this row in the saga's journal: 1 for the start, then without a gap.
    pub seq: i64,
    /// The entries since the last row, as a JSON array.
    pub entries: String,
    /// What the journal folds to with them.
    pub head: Head,
    /// The saga's own event, written exactly if the entries are.
    pub event: Option<NewEvent>,
}

/// One commit.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The right to write.
    pub lane: Lane,
    /// The present moment.
    pub at: Timestamp,
    /// At most one row for each saga.
    pub rows: Vec<Append>,
    /// Whether this very batch was tried before, with an unknown outcome: rows that stand already are then left as they are.
    pub again: bool,
}

/// What became of one row of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// The saga is new and has this number.
    Started(i64),
    /// The saga's id was known: nothing of this row was written.
    Known,
    /// The entries stand.
    Written,
    /// The saga is not the writer's: it is in another lane or in the queue, or there is none, or it rests (settled or
    /// parked) and another has written it since. Nothing of this row was written.
    Elsewhere,
}

/// How a lane is held.
#[derive(Clone, Copy, Debug)]
pub struct Hold<'a> {
    /// Who holds it: unique for each start of a process.
    pub node: &'a str,
    /// How long it is held without being renewed. Counted by the clock of the journal's database.
    pub lease: Duration,
    /// The caller's present moment, for a journal without a clock of its own.
    pub now: Timestamp,
}

/// What a node asks of the journal at each of its ticks, in one statement.
#[derive(Clone, Copy, Debug)]
pub struct Attend<'a> {
    /// As whom.
    pub hold: Hold<'a>,
    /// The lanes that it holds.
    pub lanes: &'a [Lane],
    /// Whether their leases are renewed this time.
    pub renew: bool,
    /// Whether it stands for election: where nobody else elects, the journal does.
    pub stand: bool,
    /// How far the [`QUEUE`] is counted. A count costs time in proportion.
    pub count: u32,
}

/// What a node hears at its tick.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attendance {
    /// The lanes of the node that still are its own; one that is missing was taken over.
    pub held: Vec<i64>,
    /// Lanes of other nodes whose lease has ended or was given up, that hold unsettled sagas.
    pub lapsed: Vec<Lapsed>,
    /// What other nodes want done to sagas of this node's lanes, oldest first; they stay until they are answered.
    pub commands: Vec<Command>,
    /// Sagas that wait in the [`QUEUE`], counted up to [`Attend::count`].
    pub queued: u32,
    /// Grows with each upload of a definition.
    pub definitions: i64,
    /// Whether the journal has elected this node.
    pub leader: bool,
}

/// A lane that nobody holds any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lapsed {
    /// Its number and the epoch to compare with.
    pub lane: Lane,
    /// For how long.
    pub since: Duration,
    /// Whether its owner gave it up: it may be taken at once by anybody.
    pub released: bool,
}

/// Something to be done to a saga by its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its number.
    pub no: i64,
    /// The saga.
    pub saga: SagaId,
    /// What, as a JSON text; only the engine reads it.
    pub text: String,
}

/// A saga as it stands in the journal, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its number, in the order of the starts.
    pub no: i64,
    /// Its id.
    pub id: SagaId,
    /// What it runs.
    pub definition: String,
    /// In which version.
    pub version: u32,
    /// What it can be found by.
    pub business_key: Option<String>,
    /// Who started it.
    pub principal: String,
    /// When.
    pub started_at: Timestamp,
    /// What its journal folds to.
    pub head: Head,
}

/// What a saga was started with, and all that happened to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// A JSON text.
    pub input: String,
    /// A JSON text.
    pub context: String,
    /// The sealed key of what is sealed in the input; `None` where there was none, or where it was erased.
    pub key: Option<String>,
    /// In order.
    pub commits: Vec<Commit>,
}

/// One row of a saga's journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// 1, 2, 3 … without a gap.
    pub seq: i64,
    /// The epoch it was written in.
    pub epoch: i64,
    /// When it was written.
    pub at: Timestamp,
    /// A JSON array.
    pub entries: String,
}

/// Which sagas a list shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only sagas in this state.
    pub status: Option<Status>,
    /// Only sagas of this definition.
    pub definition: Option<String>,
    /// Only sagas of this business key.
    pub business_key: Option<String>,
    /// Only sagas that were started at or after this.
    pub since: Option<Timestamp>,
    /// Only sagas older than this one, by number: where the former page ended.
    pub before: Option<i64>,
    /// The length of the page.
    pub limit: u32,
}

/// A stored version of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// The hash of its content.
    pub hash: [u8; 32],
    /// The text it was uploaded as.
    pub source: String,
    /// The JSON Schema of its input, as a JSON text; it may have come in a file of its own.
    pub schema: Option<String>,
    /// When.
    pub uploaded_at: Timestamp,
    /// By whom.
    pub uploaded_by: String,
}

/// What became of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The version is new.
    Added,
    /// The version is known, with the same content.
    Same,
    /// The version is known with other content, which stands.
    Differs,
}

/// What became of a saga's key that was to be erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erased {
    /// It was there and is gone.
    Erased,
    /// There is none: the saga had nothing sensitive, or its key was erased before.
    Absent,
    /// The saga is neither settled nor parked: it needs its key.
    Unsettled,
}

/// Where sagas are kept. Only the lane's owner appends; everybody reads.
#[async_trait]
pub trait Journal: Debug + Send + Sync {
    /// Whether several nodes can have lanes in it at once.
    fn is_shared(&self) -> bool;

    /// Takes a lane for a node that has none: one that was given up and holds nothing, or a new one. Its epoch grows and is
    /// never below the clock, and no other lane has the same. A journal that only one process can open has one lane: whoever held it writes nothing more.
    /// Read [`unsettled`](Self::unsettled) afterwards in any case: a former owner may have put a saga into the lane while it
    /// was being taken.
    async fn take_lane(&self, hold: Hold<'_>) -> Result<Lane, Error>;

    /// Takes a lapsed lane, if it is still as it was seen: its epoch is the same and its lease has ended. A compare-and-set,
    /// safe for anyone at any time. What the former owner appends afterwards is refused; what it appended before is seen by
    /// every statement begun after this one has returned.
    async fn take_over(&self, seen: Lane, hold: Hold<'_>) -> Result<Option<Lane>, Error>;

    /// Renews, and hears what has happened. One statement.
    async fn attend(&self, attend: Attend<'_>) -> Result<Attendance, Error>;

    /// Gives lanes up: their leases end now, and the other nodes are woken.
    async fn release(&self, lanes: &[Lane]) -> Result<(), Error>;

    /// Moves up to `limit` sagas from the [`QUEUE`] into the lane, oldest first, passing over those that another node is
    /// claiming. Nothing where the lane is lost.
    async fn claim(&self, lane: Lane, limit: u32) -> Result<Vec<Row>, Error>;

    /// Moves one saga into the lane for an operator's act: one that is parked, or one in the [`QUEUE`]. `None` where it is
    /// neither, or there is no such saga, or the lane is lost. Its former lane's appends are refused from here on. A parked
    /// one stays parked, and may be adopted again by others, until a row of this lane says otherwise.
    async fn adopt(&self, lane: Lane, id: SagaId) -> Result<Option<Row>, Error>;

    /// Leaves a command to the owner of the saga, and wakes it. Answers the command's number. Where the saga rests, the last
    /// owner hears it; where it is in no lane at all, everybody does, and the first answer stands.
    async fn send_command(&self, id: SagaId, text: &str, now: Timestamp) -> Result<i64, Error>;

    /// Answers a command with a JSON text; the first answer stands.
    async fn answer_command(&self, no: i64, answer: &str) -> Result<(), Error>;

    /// The answer to a command. Once it was heard, or given up, `forget_command` removes it.
    async fn command_answer(&self, no: i64) -> Result<Option<String>, Error>;

    /// Removes a command, answered or not: nobody waits for it any more.
    async fn forget_command(&self, no: i64) -> Result<(), Error>;

    /// Completes when another node has said that there may be something to hear at once: a lane given up, a command, a saga
    /// in the queue. Only a hint: it may be lost, and it may come for nothing. Never completes where nobody else writes.
    async fn hinted(&self);

    /// Where these sagas stand, in their order; `None` where there is no such saga. One statement.
    async fn standings(&self, ids: &[SagaId]) -> Result<Vec<Option<Head>>, Error>;

    /// What must be done from time to time by one node: partitions made ahead, for one.
    async fn tend(&self, now: Timestamp) -> Result<(), Error>;

    /// One commit. The answers stand in the order of the rows. Dropped before it has answered, its outcome is unknown, as
    /// after a lost acknowledgement: the same batch is to be appended with `again`.
    async fn append(&self, batch: &Batch) -> Result<Vec<Appended>, Error>;

    /// A page of a lane's sagas that are neither settled nor parked, by number, behind `after`.
    async fn unsettled(&self, lane: i64, after: i64, limit: u32) -> Result<Vec<Row>, Error>;

    /// The histories of these sagas, in their order; `None` where a payload or the journal is missing.
    async fn histories(&self, rows: &[Row]) -> Result<Vec<Option<History>>, Error>;

    /// Erases the key of a saga that is settled or parked, for good: no copy of it stays in the journal's own files. A
    /// database server's log and its backups keep theirs, sealed, for as long as they are kept.
    async fn erase_key(&self, id: SagaId) -> Result<Erased, Error>;

    /// One saga.
    async fn find(&self, id: SagaId) -> Result<Option<Row>, Error>;

    /// A page of sagas, newest first.
    async fn list(&self, filter: &Filter) -> Result<Vec<Row>, Error>;

    /// How many sagas wait for an operator.
    async fn count_parked(&self) -> Result<i64, Error>;

    /// The start of the oldest saga that is executing or waits for an operator.
    async fn oldest_start(&self) -> Result<Option<Timestamp>, Error>;

    /// The invariant: sagas that neither rest nor wake. Always 0.
    async fn count_unarmed(&self) -> Result<i64, Error>;

    /// Keeps a version of a definition, unless it stands already.
    async fn put_definition(&self, stored: &Stored) -> Result<Put, Error>;

    /// All definitions.
    async fn definitions(&self) -> Result<Vec<Stored>, Error>;
}

/// The state that `text` names.
pub(crate) fn status_from(text: &str) -> Option<Status> {
    use Status::{Compensated, Compensating, Completed, Failed, Pending, Running};
    [Pending, Running, Compensating, Completed, Compensated, Failed].into_iter().find(|status| status.as_str() == text)
}

/// Whether the saga is executing: neither settled nor parked.
pub(crate) const fn is_unsettled(status: Status) -> bool {
    matches!(status, Status::Pending | Status::Running | Status::Compensating)
}
