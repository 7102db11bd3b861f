//! Projections out of YAML files, each statement prepared against the read database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use steadfast_core::{Classified, ErrorKind};
use steadfast_projection::{Declarative, Error, Projection, Store, Subscription};

/// The projections, with the files they stand in.
pub(super) type Loaded<S> = Vec<(PathBuf, Arc<dyn Projection<<S as Store>::Sql>>)>;

/// Why projections could not be read.
#[derive(Debug)]
pub(super) enum Fault {
    /// The read database is away.
    Away(Error),
    /// Files are at fault: a line for each fault.
    Files(Vec<String>),
}

/// Reads all files and finds every fault in them.
pub(super) async fn read<S: Store>(db: &S, files: &[PathBuf]) -> Result<Loaded<S>, Fault>
where
    Declarative<S::Sql>: Projection<S::Sql>,
{
    let mut loaded: Loaded<S> = Vec::new();
    let mut faults = Vec::new();
    let mut names: BTreeMap<String, &Path> = BTreeMap::new();
    for path in files {
        let projection = match Declarative::open(db, path).await {
            Ok(projection) => projection,
            Err(error) if error.kind() == ErrorKind::Transient => return Err(Fault::Away(error)),
            Err(error) => {
                faults.extend(lines(path, &error));
                continue;
            }
        };
        let name = Projection::<S::Sql>::name(&projection).to_owned();
        if let Some(first) = names.insert(name.clone(), path) {
            let first = first.display();
            faults
                .push(format!("{}: projection: {name} is also the name of {first}: give each its own", path.display()));
        }
        loaded.push((path.clone(), Arc::new(projection)));
    }
    if faults.is_empty() { Ok(loaded) } else { Err(Fault::Files(faults)) }
}

/// Each fault of a file on a line of its own.
fn lines(path: &Path, error: &Error) -> Vec<String> {
    let said = match error {
        Error::File { source, .. } => source.to_string(),
        other => format!("{:#}", anyhow::Error::msg(other.to_string())),
    };
    said.lines().map(|line| format!("{}: {line}", path.display())).collect()
}

/// The topics that a projection reads, as Kafka's clients take them: names, and regular expressions that begin with `^`.
pub(super) fn topics(configured: &[String], subscription: &Subscription) -> Result<Vec<String>> {
    let patterns: Vec<String> = if configured.is_empty() {
        let aggregates = subscription.aggregate_types().context("it reads all aggregates: set topics")?;
        aggregates.iter().map(|aggregate| format!("{aggregate}.*")).collect()
    } else {
        configured.to_vec()
    };
    let globs =
        patterns.iter().map(|pattern| glob::Pattern::new(pattern).with_context(|| format!("topics: {pattern:?}")));
    let globs = globs.collect::<Result<Vec<_>>>()?;
    for event_type in subscription.event_types().into_iter().flatten() {
        if !globs.iter().any(|glob| glob.matches(event_type)) {
            let how = if configured.is_empty() { "without `topics`" } else { "`topics`" };
            let read = patterns.join(", ");
            bail!(
                "on.{event_type}: {how} only {read} is read, and this event would never come: add its topic to topics"
            );
        }
    }
    Ok(patterns.iter().map(|pattern| expression(pattern)).collect())
}

/// A pattern with `*` as a regular expression; without one as it is.
fn expression(pattern: &str) -> String {
    if !pattern.contains('*') {
        return pattern.to_owned();
    }
    format!("^{}$", pattern.replace('.', "\\.").replace('*', ".*"))
}

/// Whether Kafka could have topics of these names.
pub(super) fn check_topics(configured: &[String]) -> Result<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '*');
    if let Some(bad) = configured.iter().find(|topic| topic.is_empty() || !topic.chars().all(legal)) {
        bail!("topics names {bad:?}: use letters, digits, '.', '_' and '-', and * where several are meant");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders() -> Subscription {
        Subscription::aggregates(["order"]).types(["order.created.v1", "order.paid.v1"])
    }

    #[test]
    fn topics_go_by_the_aggregates_unless_they_are_named() {
        assert_eq!(topics(&[], &orders()).unwrap(), [r"^order\..*$"]);
        let named = ["order.created.v1".to_owned(), "order.p*".to_owned()];
        assert_eq!(topics(&named, &orders()).unwrap(), ["order.created.v1", r"^order\.p.*$"]);
    }

    #[test]
    fn an_event_that_would_never_come_is_named() {
        let error = topics(&["order.created.v1".to_owned()], &orders()).unwrap_err().to_string();
        assert!(error.contains("on.order.paid.v1") && error.contains("add its topic"), "{error}");
        let strange = Subscription::aggregates(["order"]).types(["invoice.sent.v1"]);
        assert!(topics(&[], &strange).unwrap_err().to_string().contains("on.invoice.sent.v1"));
        assert!(check_topics(&["order created".to_owned()]).is_err());
    }
}
