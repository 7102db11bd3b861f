//! Invariants: SQL in YAML over the services' databases. A row is a violation.
//!
//! ```yaml
//! invariants:
//!   - name: stock_is_never_negative
//!     database: inventory
//!     sql: select sku, on_hand from stock where on_hand < 0
//!   - name: orders_agree_with_payments        # across services: both must give the same rows, in any order
//!     equal:
//!       - { database: order, sql: "select order_id, total from orders where state = 'completed'" }
//!       - { database: payment, sql: "select order_id, amount as total from payment where state = 'captured'" }
//! ```

use std::collections::{BTreeMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::TryStreamExt;
use metrics::{Counter, counter};
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;
use sqlx::{AssertSqlSafe, Column, Executor, SqlSafeStr, Statement as _};
use steadfast_core::metric;
use steadfast_db::Db;
use tokio_util::sync::CancellationToken;

use crate::Error;
use crate::error::{Fault, chain, yaml_fault};
use crate::statement::{Dialect, read};

/// Rows that a finding lists; it counts all of them.
const LISTED: usize = 100;
/// An invariant that takes longer is given up until the next time.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// SQLite's functions take at most 100 arguments, and a column needs two.
const COLUMNS: usize = 50;

/// What an invariant's check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The invariant.
    pub invariant: String,
    /// How many rows violate it.
    pub violations: u64,
    /// The first hundred of them. Where two databases disagree, the member `only_in` names the one that has the row.
    pub rows: Vec<Map<String, Value>>,
    /// Why it could not be checked.
    pub error: Option<String>,
}

impl Finding {
    /// Whether it was checked and holds.
    pub fn holds(&self) -> bool {
        self.violations == 0 && self.error.is_none()
    }
}

/// Invariants that are prepared.
#[derive(Debug)]
pub struct Invariants {
    invariants: Vec<Invariant>,
}

#[derive(Debug)]
struct Invariant {
    name: String,
    queries: Vec<Query>,
    violations: Counter,
    /// Violations of the last check: one that lasts is counted once.
    known: Mutex<HashSet<u64>>,
}

#[derive(Clone, Debug)]
struct Query {
    database: String,
    db: Db,
    sql: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    invariants: Vec<Spanned<InvariantText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvariantText {
    name: String,
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    sql: Option<Spanned<String>>,
    #[serde(default)]
    equal: Option<Vec<QueryText>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryText {
    database: String,
    sql: Spanned<String>,
}

/// Loads and checks once: see [`Invariants`].
pub async fn run(databases: &[(&str, Db)], yaml: &str) -> Result<Vec<Finding>, Error> {
    Ok(Invariants::load(databases, yaml).await?.check().await)
}

impl Invariants {
    /// Reads the file and prepares every statement against its database.
    ///
    /// # Errors
    /// [`Error::Faults`] with all faults, each with its place and the way out; what a database says.
    pub async fn load(databases: &[(&str, Db)], yaml: &str) -> Result<Self, Error> {
        let file: File = serde_saphyr::from_str(yaml).map_err(|error| Error::Faults(vec![yaml_fault(&error)]))?;
        let mut faults = Vec::new();
        let mut invariants: Vec<Invariant> = Vec::new();
        for (index, spanned) in file.invariants.into_iter().enumerate() {
            let (line, text) = (spanned.referenced.line(), spanned.value);
            let path = format!("invariants[{index}]");
            let mut fault = |message: &str, way_out: &str| {
                let (path, message, way_out) = (path.clone(), message.to_owned(), way_out.to_owned());
                faults.push(Fault { line: Some(line), path, message, way_out });
            };
            if text.name.is_empty() || !text.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                fault("the name is not a word", "use letters, digits and _: it becomes a label of a metric");
            }
            if invariants.iter().any(|known| known.name == text.name) {
                fault("another invariant has this name", "give each its own");
            }
            let queries = match (text.database, text.sql, text.equal) {
                (Some(database), Some(sql), None) => vec![QueryText { database, sql }],
                (None, None, Some(pair)) if pair.len() == 2 => pair,
                _ => {
                    fault("it is not clear what to check", "give database and sql, or equal with two of them");
                    continue;
                }
            };
            let queries = prepare_all(databases, queries, &path, &mut faults).await?;
            let violations = counter!(metric::CONSISTENCY_VIOLATIONS, "invariant" => text.name.clone());
            violations.increment(0);
            invariants.push(Invariant { name: text.name, queries, violations, known: Mutex::default() });
        }
        if faults.is_empty() { Ok(Self { invariants }) } else { Err(Error::Faults(faults)) }
    }

    /// Checks all of them, one after the other, and counts violations that were not there the last time.
    pub async fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::with_capacity(self.invariants.len());
        for invariant in &self.invariants {
            let result = tokio::time::timeout(TIME_LIMIT, invariant.violations()).await;
            let finding = match result {
                Ok(Ok(rows)) => invariant.judge(&rows),
                Ok(Err(error)) => invariant.failed(chain(&error)),
                Err(_) => invariant.failed(format!("it took longer than {TIME_LIMIT:?}")),
            };
            findings.push(finding);
        }
        findings
    }

    /// Checks on schedule until `stop`, handing on what was found.
    pub async fn watch(&self, every: Duration, stop: CancellationToken, mut found: impl FnMut(Vec<Finding>) + Send) {
        loop {
            let findings = self.check().await;
            for finding in findings.iter().filter(|finding| !finding.holds()) {
                let (invariant, violations, error) = (&finding.invariant, finding.violations, finding.error.as_deref());
                tracing::error!(invariant, violations, error, "an invariant does not hold or cannot be checked");
            }
            found(findings);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(every) => {}
            }
        }
    }
}

impl Invariant {
    /// The violating rows as JSON texts, each with the database that has it where two are compared.
    async fn violations(&self) -> Result<Vec<(String, Option<&str>)>, Error> {
        let [one, two] = &self.queries[..] else {
            let mut rows = Vec::new();
            for query in &self.queries {
                rows.extend(query.rows().await?.into_iter().map(|row| (row, None)));
            }
            return Ok(rows);
        };
        let mut balance: BTreeMap<String, i64> = BTreeMap::new();
        for row in one.rows().await? {
            *balance.entry(row).or_default() += 1;
        }
        for row in two.rows().await? {
            *balance.entry(row).or_default() -= 1;
        }
        let differs = balance.into_iter().filter(|(_, count)| *count != 0);
        Ok(differs
            .map(|(row, count)| (row, Some(if count > 0 { &one.database } else { &two.database }.as_str())))
            .collect())
    }

    fn judge(&self, rows: &[(String, Option<&str>)]) -> Finding {
        let hashes: HashSet<u64> = rows
            .iter()
            .map(|row| {
                let mut hasher = DefaultHasher::new();
                row.hash(&mut hasher);
                hasher.finish()
            })
            .collect();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.violations.increment(hashes.difference(&known).count() as u64);
        *known = hashes;
        Finding {
            invariant: self.name.clone(),
            violations: rows.len() as u64,
            rows: rows.iter().take(LISTED).map(|(row, only_in)| listed(row, *only_in)).collect(),
            error: None,
        }
    }

    fn failed(&self, error: String) -> Finding {
        Finding { invariant: self.name.clone(), violations: 0, rows: Vec::new(), error: Some(error) }
    }
}

fn listed(row: &str, only_in: Option<&str>) -> Map<String, Value> {
    // SQLite made it with json_object.
    let mut row: Map<String, Value> = serde_json::from_str(row).unwrap_or_default();
    if let Some(database) = only_in {
        row.insert("only_in".to_owned(), database.into());
    }
    row
}

impl Query {
    async fn rows(&self) -> Result<Vec<String>, Error> {
        let query = sqlx::query_scalar(AssertSqlSafe(self.sql.as_str()));
        Ok(query.fetch(self.db.readers()).try_collect().await?)
    }
}

/// Prepares the queries of one invariant; faults are added to the list.
async fn prepare_all(
    databases: &[(&str, Db)],
    queries: Vec<QueryText>,
    path: &str,
    faults: &mut Vec<Fault>,
) -> Result<Vec<Query>, Error> {
    let mut prepared = Vec::new();
    let mut columns: Option<Vec<String>> = None;
    for QueryText { database, sql } in queries {
        let mut fault = |message: String, way_out: String| {
            faults.push(Fault { line: Some(sql.referenced.line()), path: format!("{path}.sql"), message, way_out });
        };
        let Some((_, db)) = databases.iter().find(|(name, _)| *name == database) else {
            let names: Vec<_> = databases.iter().map(|(name, _)| *name).collect();
            fault(format!("there is no database {database:?}"), format!("use one of: {}", names.join(", ")));
            continue;
        };
        let statement = match read(&sql.value, &["select", "with", "values"], Dialect::Sqlite) {
            Ok(statement) if statement.names.is_empty() => statement.render(|n| n.to_string()),
            Ok(_) => {
                fault("an invariant has no parameters".to_owned(), "write the values into the statement".to_owned());
                continue;
            }
            Err((message, way_out)) => {
                fault(message, way_out);
                continue;
            }
        };
        match wrap(db, &statement).await? {
            Err(message) => fault(message, "correct the statement, or migrate the database first".to_owned()),
            Ok((_, found)) if columns.as_ref().is_some_and(|first| *first != found) => {
                let message = "the two statements name their columns differently".to_owned();
                fault(message, "rename columns with `as`, in the same order".to_owned());
            }
            Ok((sql, found)) => {
                columns = Some(found);
                prepared.push(Query { database, db: db.clone(), sql });
            }
        }
    }
    Ok(prepared)
}

/// Prepares a statement and wraps it so that each row is one JSON object. A fault of the statement is answered, one of
/// the database is an error.
async fn wrap(db: &Db, sql: &str) -> Result<Result<(String, Vec<String>), String>, Error> {
    let mut connection = db.readers().acquire().await?;
    let statement = match connection.prepare(AssertSqlSafe(sql).into_sql_str()).await {
        Ok(statement) => statement,
        Err(sqlx::Error::Database(error)) => return Ok(Err(error.message().to_owned())),
        Err(error) => return Err(error.into()),
    };
    let columns: Vec<String> = statement.columns().iter().map(|column| column.name().to_owned()).collect();
    let distinct: HashSet<&String> = columns.iter().collect();
    if distinct.len() != columns.len() {
        return Ok(Err("two columns have the same name".to_owned()));
    }
    if columns.len() > COLUMNS {
        return Ok(Err(format!("there are more than {COLUMNS} columns")));
    }
    let members = columns.iter().map(|column| {
        let (text, name) = (column.replace('\'', "''"), column.replace('"', "\"\""));
        format!("'{text}', case typeof(\"{name}\") when 'blob' then hex(\"{name}\") else \"{name}\" end")
    });
    let wrapped = format!("select json_object({}) from ({sql})", members.collect::<Vec<_>>().join(", "));
    Ok(Ok((wrapped, columns)))
}
