//! A projection without code: a YAML file with one SQL statement for each event type.

mod path;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_saphyr::Spanned;
use sqlx::{AssertSqlSafe, Database, Sqlite, Transaction};
use steadfast_core::Event;
use steadfast_db::BoxError;

use crate::error::{Fault, yaml_fault};
use crate::statement::{Dialect, read};
use crate::store::{Prepared, Store};
use crate::{Error, Projection, Subscription};
use path::{Bound, Path};

/// What a statement may begin with.
const fn writes(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        Dialect::Sqlite => &["insert", "update", "delete", "replace", "with"],
        #[cfg(feature = "postgres")]
        Dialect::Postgres => &["insert", "update", "delete", "merge", "with"],
    }
}

/// A projection that a YAML file describes, with the SQL of the read database.
///
/// ```yaml
/// projection: order_view
/// aggregates: [order]
/// on:
///   order.created.v1:
///     sql: |
///       insert into order_view (order_id, total, state) values (:order_id, :total, 'created')
///     params:
///       order_id: $.aggregate_id
///       total: $.payload.total
///   order.cancelled.v1:
///     sql: update order_view set state = 'cancelled', reason = :reason where order_id = :order_id
///     params:
///       order_id: $.aggregate_id
///       reason: $.payload.reason?      # NULL where it is missing
/// ```
///
/// A path begins with `$.` and one of `event_id`, `aggregate_type`, `aggregate_id`, `event_type`, `sequence`,
/// `created_at` (milliseconds), `saga` or `payload`; objects and arrays are bound as JSON text. In PostgreSQL a value is
/// read as the type that the statement wants there, such as `numeric`, `uuid`, `timestamptz` or `jsonb`. A value that is
/// missing and not marked with `?` makes its event poison, and so does one of another type. Every event costs a statement:
/// where that is too slow, write a [`Projection`] that folds a batch into one.
pub struct Declarative<DB: Database = Sqlite> {
    name: String,
    subscription: Subscription,
    handlers: BTreeMap<String, Handler>,
    database: PhantomData<fn() -> DB>,
}

#[derive(Debug)]
struct Handler {
    sql: Arc<str>,
    params: Vec<Parameter>,
}

#[derive(Debug)]
struct Parameter {
    name: String,
    path: Path,
    /// Whether the database wants JSON there.
    json: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    projection: String,
    aggregates: Vec<String>,
    on: BTreeMap<String, HandlerText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HandlerText {
    sql: Spanned<String>,
    #[serde(default)]
    params: BTreeMap<String, Spanned<String>>,
}

/// The known word nearest to an unknown one, if one is near.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|one| (strsim::damerau_levenshtein(word, one), one))
        .filter(|(far, _)| *far <= 2)
        .min()
        .map(|(_, one)| one)
}

impl<DB: Database> Declarative<DB> {
    /// As [`load`](Self::load), from a file.
    ///
    /// # Errors
    /// [`Error::File`], naming the file and holding what is wrong with it; what the database says.
    pub async fn open<S: Store<Sql = DB>>(db: &S, path: &FilePath) -> Result<Self, Error> {
        let wrong = |source: BoxError| Error::File { path: path.to_owned(), source };
        let yaml = tokio::fs::read_to_string(path).await.map_err(|error| wrong(error.into()))?;
        match Self::load(db, &yaml).await {
            Err(error @ Error::Faults(_)) => Err(wrong(error.into())),
            other => other,
        }
    }

    /// Reads the file's text and prepares every statement against the read database.
    ///
    /// # Errors
    /// [`Error::Faults`] with all faults, each with its place and the way out; what the database says.
    pub async fn load<S: Store<Sql = DB>>(db: &S, yaml: &str) -> Result<Self, Error> {
        let file: File = serde_saphyr::from_str(yaml).map_err(|error| Error::Faults(vec![yaml_fault(&error)]))?;
        let mut faults = Vec::new();
        let mut fault = |path: &str, message: &str, way_out: &str| {
            let (path, message, way_out) = (path.to_owned(), message.to_owned(), way_out.to_owned());
            faults.push(Fault { line: None, path, message, way_out });
        };
        if file.projection.trim().is_empty() {
            fault("projection", "the name is empty", "give it the name that its checkpoint is kept under");
        }
        if file.aggregates.is_empty() {
            fault("aggregates", "there is none", "list the aggregate types whose events it reads, such as [order]");
        }
        if file.on.is_empty() {
            fault("on", "there is no event type", "give at least one event type its statement");
        }
        let mut handlers = BTreeMap::new();
        for (event_type, text) in file.on {
            if let Some(handler) = handler(db, &event_type, &text, &mut faults).await? {
                handlers.insert(event_type, handler);
            }
        }
        if !faults.is_empty() {
            faults.sort_by_key(|fault: &Fault| fault.line);
            return Err(Error::Faults(faults));
        }
        let subscription = Subscription::aggregates(file.aggregates).types(handlers.keys().cloned());
        Ok(Self { name: file.projection, subscription, handlers, database: PhantomData })
    }
}

/// Checks one handler; faults are added to the list.
async fn handler<S: Store>(
    db: &S,
    event_type: &str,
    text: &HandlerText,
    faults: &mut Vec<Fault>,
) -> Result<Option<Handler>, Error> {
    let before = faults.len();
    let place = format!("on.{event_type}.sql");
    let line = Some(text.sql.referenced.line());
    let statement = match read(&text.sql.value, writes(S::DIALECT), S::DIALECT) {
        Ok(statement) => statement,
        Err((message, way_out)) => {
            faults.push(Fault { line, path: place, message, way_out });
            return Ok(None);
        }
    };
    let mut params = Vec::new();
    for name in &statement.names {
        let Some(path) = text.params.get(name) else {
            let way_out = match nearest(name, text.params.keys().map(String::as_str)) {
                Some(near) => format!("did you mean :{near}?"),
                None => format!("add it under params, such as {name}: $.payload.{name}"),
            };
            faults.push(Fault {
                line,
                path: place.clone(),
                message: format!("the parameter :{name} has no path"),
                way_out,
            });
            continue;
        };
        match Path::parse(&path.value) {
            Ok(path) => params.push(Parameter { name: name.clone(), path, json: false }),
            Err((message, way_out)) => {
                let (line, path) = (Some(path.referenced.line()), format!("on.{event_type}.params.{name}"));
                faults.push(Fault { line, path, message, way_out });
            }
        }
    }
    for (name, path) in &text.params {
        if !params.iter().any(|used| used.name == *name) && faults.len() == before {
            let (message, way_out) = (format!(":{name} is not in the statement"), "use it or take it out".to_owned());
            let (line, path) = (Some(path.referenced.line()), format!("on.{event_type}.params.{name}"));
            faults.push(Fault { line, path, message, way_out });
        }
    }
    match db.prepare(&statement).await? {
        Ok(Prepared { sql, json }) if faults.len() == before => {
            for (parameter, json) in params.iter_mut().zip(json) {
                parameter.json = json;
            }
            Ok(Some(Handler { sql: sql.into(), params }))
        }
        Ok(_) => Ok(None),
        Err(message) => {
            let way_out = "correct the statement, or migrate the read database first".to_owned();
            faults.push(Fault { line, path: place, message, way_out });
            Ok(None)
        }
    }
}

impl<DB: Database> Declarative<DB> {
    fn value(parameter: &Parameter, event: &Event) -> Result<Bound, String> {
        let Parameter { name, path, json } = parameter;
        path.find(event, *json).ok_or_else(|| {
            let kind = &event.event_type;
            format!("the parameter :{name} of on.{kind} has no value in this event: mark its path with ? to allow that")
        })
    }
}

impl<DB: Database> fmt::Debug for Declarative<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Declarative")
            .field("name", &self.name)
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Projection for Declarative {
    fn name(&self) -> &str {
        &self.name
    }

    fn subscribes(&self) -> Subscription {
        self.subscription.clone()
    }

    async fn apply(&self, tx: &mut Transaction<'static, Sqlite>, events: &[Event]) -> Result<(), BoxError> {
        for event in events {
            let Some(handler) = self.handlers.get(&event.event_type) else { continue };
            let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&handler.sql)));
            for parameter in &handler.params {
                query = match Self::value(parameter, event)? {
                    Bound::Null => query.bind(None::<i64>),
                    Bound::Integer(value) => query.bind(value),
                    Bound::Real(value) => query.bind(value),
                    Bound::Text(value) => query.bind(value),
                };
            }
            query.execute(&mut **tx).await.map_err(steadfast_db::Error::from)?;
        }
        Ok(())
    }
}

#[cfg(feature = "postgres")]
#[async_trait]
impl Projection<sqlx::Postgres> for Declarative<sqlx::Postgres> {
    fn name(&self) -> &str {
        &self.name
    }

    fn subscribes(&self) -> Subscription {
        self.subscription.clone()
    }

    async fn apply(&self, tx: &mut Transaction<'static, sqlx::Postgres>, events: &[Event]) -> Result<(), BoxError> {
        for event in events {
            let Some(handler) = self.handlers.get(&event.event_type) else { continue };
            let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&handler.sql)));
            for parameter in &handler.params {
                // The statement makes of the text what it wants.
                query = query.bind(match Self::value(parameter, event)? {
                    Bound::Null => None,
                    Bound::Integer(value) => Some(value.to_string()),
                    Bound::Real(value) => Some(value.to_string()),
                    Bound::Text(value) => Some(value),
                });
            }
            query.execute(&mut **tx).await.map_err(steadfast_db::Error::from)?;
        }
        Ok(())
    }
}
