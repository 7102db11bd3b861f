//! Several projections over one checkpoint: their rows move in the same transaction.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{Database, Sqlite, Transaction};
use steadfast_core::Event;
use steadfast_db::BoxError;

use crate::{Projection, Subscription, Upcasters};

/// Projections that see the same batches in the same transactions. Each is given the events that it subscribes to, in
/// the order in which they are listed. An event that one of them cannot apply is parked for all.
///
/// The consistency auditor belongs at the end of such a list: it then sees an event in the very transaction that makes
/// it visible in the read models before it.
#[derive(Debug)]
pub struct Together<DB: Database = Sqlite> {
    name: String,
    members: Vec<(Subscription, Arc<dyn Projection<DB>>)>,
}

impl<DB: Database> Together<DB> {
    /// Joins `members` under a name of their own.
    pub fn new(name: impl Into<String>, members: Vec<Arc<dyn Projection<DB>>>) -> Self {
        let members = members.into_iter().map(|member| (member.subscribes(), member)).collect();
        Self { name: name.into(), members }
    }
}

#[async_trait]
impl<DB: Database> Projection<DB> for Together<DB> {
    fn name(&self) -> &str {
        &self.name
    }

    fn subscribes(&self) -> Subscription {
        let none = Subscription::aggregates(BTreeSet::<String>::new()).types(BTreeSet::<String>::new());
        self.members.iter().fold(none, |sum, (subscription, _)| sum.or(subscription.clone()))
    }

    fn upcasters(&self) -> Upcasters {
        self.members.iter().fold(Upcasters::default(), |sum, (_, member)| sum.and(member.upcasters()))
    }

    async fn apply(&self, tx: &mut Transaction<'static, DB>, events: &[Event]) -> Result<(), BoxError> {
        for (subscription, member) in &self.members {
            let wanted =
                |event: &&Event| subscription.wants(&event.aggregate_type) && subscription.knows(&event.event_type);
            if events.iter().all(|event| wanted(&event)) {
                member.apply(tx, events).await?;
                continue;
            }
            let own: Vec<Event> = events.iter().filter(wanted).cloned().collect();
            if !own.is_empty() {
                member.apply(tx, &own).await?;
            }
        }
        Ok(())
    }
}
