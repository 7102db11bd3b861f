//! When orders that were sent were completed, compensated and visible, from the journal and the read model.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use steadfast_core::Timestamp;

use super::orders::Sent;
use crate::roles::front::Opened;

/// How long after it was sent, of each order; sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moments {
    pub(super) accepted: Vec<Duration>,
    pub(super) completed: Vec<Duration>,
    pub(super) compensated: Vec<Duration>,
    /// All that it changed, completed or not.
    pub(super) visible: Vec<Duration>,
}

/// How a saga ended, and when.
pub(super) type Ends = HashMap<Vec<u8>, (String, i64)>;

/// How the orders ended whose numbers begin with `run`.
pub(super) async fn ends(opened: &Opened, run: &str) -> Result<Ends> {
    let ends: Vec<(Vec<u8>, String, i64)> = sqlx::query_as(include_str!("read_ends.sql"))
        .bind(run)
        .fetch_all(opened.orchestrator.pool())
        .await
        .context("reading the ends of the sagas")?;
    Ok(ends.into_iter().map(|(id, status, at)| (id, (status, at))).collect())
}

impl Moments {
    /// Of orders whose numbers begin with `run`, on a platform at rest.
    pub(super) async fn read(opened: &Opened, run: &str, sent: &[Sent]) -> Result<Self> {
        let ends = ends(opened, run).await?;
        let ids: Vec<Vec<u8>> = sent.iter().map(|sent| sent.saga.to_vec()).collect();
        let visible: Vec<(Vec<u8>, i64)> = sqlx::query_as(include_str!("read_visible.sql"))
            .bind(ids)
            .fetch_all(opened.read_model.pool())
            .await
            .context("reading what is visible")?;
        Self::of(sent, &ends, &visible.into_iter().collect())
    }

    fn of(sent: &[Sent], ends: &Ends, visible: &HashMap<Vec<u8>, i64>) -> Result<Self> {
        let mut moments = Self::default();
        for Sent { saga, at, accepted } in sent {
            let after = |moment: i64| Timestamp::from_millis(moment).since(*at);
            let (Some((status, ended)), Some(seen)) = (ends.get(&saga[..]), visible.get(&saga[..])) else {
                bail!("saga {} was accepted, and has no end or is not visible", steadfast_core::hex(saga));
            };
            moments.accepted.push(*accepted);
            moments.visible.push(after(*seen));
            match status.as_str() {
                "completed" => moments.completed.push(after(*ended)),
                "compensated" => moments.compensated.push(after(*ended)),
                other => bail!("saga {} is {other}", steadfast_core::hex(saga)),
            }
        }
        for latencies in [&mut moments.accepted, &mut moments.completed, &mut moments.compensated, &mut moments.visible]
        {
            latencies.sort_unstable();
        }
        Ok(moments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(n: u8, at: i64) -> Sent {
        Sent { saga: [n; 16], at: Timestamp::from_millis(at), accepted: Duration::from_millis(n.into()) }
    }

    #[test]
    fn each_order_counts_from_when_it_was_sent() {
        let sent = [sent(1, 1_000), sent(2, 1_500), sent(3, 2_000)];
        let end = |n: u8, status: &str, at| (vec![n; 16], (status.to_owned(), at));
        let ends = [end(1, "completed", 1_030), end(2, "completed", 1_520), end(3, "compensated", 2_040)].into();
        let visible = [(vec![1; 16], 1_100), (vec![2; 16], 1_550), (vec![3; 16], 2_070)].into();
        let moments = Moments::of(&sent, &ends, &visible).unwrap();
        let millis = |latencies: &[Duration]| latencies.iter().map(Duration::as_millis).collect::<Vec<_>>();
        assert_eq!(millis(&moments.accepted), [1, 2, 3]);
        assert_eq!(millis(&moments.completed), [20, 30]);
        assert_eq!(millis(&moments.compensated), [40]);
        assert_eq!(millis(&moments.visible), [50, 70, 100]);
    }

    #[test]
    fn an_order_without_an_end_is_no_measurement() {
        let visible = [(vec![1; 16], 1_100)].into();
        let error = Moments::of(&[sent(1, 1_000)], &Ends::new(), &visible).unwrap_err().to_string();
        assert!(error.contains("no end"), "{error}");
        let ends = [(vec![1; 16], ("failed".to_owned(), 1_020))].into();
        let error = Moments::of(&[sent(1, 1_000)], &ends, &visible).unwrap_err().to_string();
        assert!(error.ends_with("is failed"), "{error}");
    }
}
