//! A projection without code: a YAML file with one SQL statement for each event type.

mod path;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_saphyr::Spanned;
use sqlx::sqlite::SqliteArguments;
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr, Sqlite};
use steadfast_core::Event;
use steadfast_db::tx::Tx;
use steadfast_db::{BoxError, Db};

use crate::error::{Fault, yaml_fault};
use crate::statement::{Statement, read};
use crate::{Error, Projection, Subscription};
use path::{Bound, Path};

const WRITES: &[&str] = &["insert", "update", "delete", "replace", "with"];

/// A projection that a YAML file describes.
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
/// `created_at` (milliseconds), `saga` or `payload`; objects and arrays are bound as JSON text. A value that is missing
/// and not marked with `?` makes its event poison. Every event costs a statement: where that is too slow, write a
/// [`Projection`] that folds a batch into one.
#[derive(Debug)]
pub struct Declarative {
    name: String,
    subscription: Subscription,
    handlers: BTreeMap<String, Handler>,
}

#[derive(Debug)]
struct Handler {
    sql: Arc<str>,
    params: Vec<(String, Path)>,
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

impl Declarative {
    /// Reads the file and prepares every statement against the read database.
    ///
    /// # Errors
    /// [`Error::Faults`] with all faults, each with its place and the way out; what the database says.
    pub async fn load(db: &Db, yaml: &str) -> Result<Self, Error> {
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
        Ok(Self { name: file.projection, subscription, handlers })
    }
}

/// Checks one handler; faults are added to the list.
async fn handler(
    db: &Db,
    event_type: &str,
    text: &HandlerText,
    faults: &mut Vec<Fault>,
) -> Result<Option<Handler>, Error> {
    let before = faults.len();
    let place = format!("on.{event_type}.sql");
    let line = Some(text.sql.referenced.line());
    let Statement { sql, names } = match read(&text.sql.value, WRITES) {
        Ok(statement) => statement,
        Err((message, way_out)) => {
            faults.push(Fault { line, path: place, message, way_out });
            return Ok(None);
        }
    };
    let mut params = Vec::new();
    for name in names {
        let Some(path) = text.params.get(&name) else {
            let way_out = match nearest(&name, text.params.keys().map(String::as_str)) {
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
            Ok(path) => params.push((name, path)),
            Err((message, way_out)) => {
                let (line, path) = (Some(path.referenced.line()), format!("on.{event_type}.params.{name}"));
                faults.push(Fault { line, path, message, way_out });
            }
        }
    }
    for (name, path) in &text.params {
        if !params.iter().any(|(used, _)| used == name) && faults.len() == before {
            let (message, way_out) = (format!(":{name} is not in the statement"), "use it or take it out".to_owned());
            let (line, path) = (Some(path.referenced.line()), format!("on.{event_type}.params.{name}"));
            faults.push(Fault { line, path, message, way_out });
        }
    }
    if let Some(message) = prepare(db, &sql).await? {
        let way_out = "correct the statement, or migrate the read database first".to_owned();
        faults.push(Fault { line, path: place, message, way_out });
    }
    Ok((faults.len() == before).then(|| Handler { sql: sql.into(), params }))
}

/// Prepares a statement; a fault of the statement is answered, one of the database is an error.
async fn prepare(db: &Db, sql: &str) -> Result<Option<String>, Error> {
    let mut connection = db.readers().acquire().await?;
    match connection.prepare(AssertSqlSafe(sql).into_sql_str()).await {
        Ok(_) => Ok(None),
        Err(sqlx::Error::Database(error)) => Ok(Some(error.message().to_owned())),
        Err(error) => Err(error.into()),
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

    async fn apply(&self, tx: &mut Tx, events: &[Event]) -> Result<(), BoxError> {
        for event in events {
            let Some(handler) = self.handlers.get(&event.event_type) else { continue };
            let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&handler.sql)));
            for (name, path) in &handler.params {
                let value = path.find(event).ok_or_else(|| {
                    format!(
                        "the parameter :{name} of on.{} has no value in this event: mark its path with ? to allow that",
                        event.event_type
                    )
                })?;
                query = bind(query, value);
            }
            query.execute(&mut **tx).await.map_err(steadfast_db::Error::from)?;
        }
        Ok(())
    }
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

fn bind(query: Query<'_>, value: Bound) -> Query<'_> {
    match value {
        Bound::Null => query.bind(None::<i64>),
        Bound::Integer(value) => query.bind(value),
        Bound::Real(value) => query.bind(value),
        Bound::Text(value) => query.bind(value),
    }
}
