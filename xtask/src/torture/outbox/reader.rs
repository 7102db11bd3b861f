//! A reader of the read model: at no moment may it see a total that is not that of a prefix of the aggregate's events.

use std::time::Duration;

use anyhow::Result;
use sqlx::Row as _;
use sqlx::postgres::PgPool;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::fold::{Row, View, Watch};

const REST: Duration = Duration::from_millis(100);

/// What a reader has seen.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub(super) looks: u64,
    pub(super) rows: u64,
    pub(super) faults: Vec<String>,
}

/// The read model in one statement, and so of one moment.
pub(super) async fn view(db: &PgPool) -> Result<View> {
    let rows = sqlx::query(include_str!("sql/select_view.sql")).fetch_all(db).await?;
    let view = rows.iter().map(|row| {
        let aggregate = (row.get("aggregate_type"), row.get("aggregate_id"));
        (aggregate, Row { events: row.get("events"), total: row.get("total"), chain: row.get("chain") })
    });
    Ok(view.collect())
}

/// Looks until it is told to end, and then once more.
pub(super) async fn run(db: PgPool, stop: CancellationToken) -> Looked {
    let (mut looked, mut watch) = (Looked::default(), Watch::default());
    loop {
        let is_last = stop.is_cancelled();
        // A server that is down is looked at again.
        if let Ok(view) = view(&db).await {
            looked.looks += 1;
            for (aggregate, row) in view {
                looked.rows += 1;
                looked.faults.extend(watch.look(&aggregate, row));
            }
        }
        if is_last {
            return looked;
        }
        stop.run_until_cancelled(sleep(REST)).await;
    }
}
