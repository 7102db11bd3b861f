//! The executions of this process, so that a duplicate that waits is woken by the end of the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::record::RecordId;

type Table = HashMap<RecordId, watch::Receiver<()>>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Running(Arc<Mutex<Table>>);

impl Running {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks an execution as running until the mark is dropped.
    pub(crate) fn enter(&self, id: RecordId) -> Mark {
        let (end, ends) = watch::channel(());
        self.table().insert(id, ends.clone());
        Mark { running: self.clone(), id, ends, _end: end }
    }

    /// Waits until the execution that runs at present has ended; `false` when none does in this process.
    pub(crate) async fn ended(&self, id: RecordId) -> bool {
        let Some(mut ends) = self.table().get(&id).cloned() else { return false };
        // Nothing is ever sent: an error says that the mark has been dropped.
        let _dropped = ends.changed().await;
        true
    }
}

#[derive(Debug)]
pub(crate) struct Mark {
    running: Running,
    id: RecordId,
    ends: watch::Receiver<()>,
    _end: watch::Sender<()>,
}

impl Drop for Mark {
    fn drop(&mut self) {
        let mut table = self.running.table();
        // One that took over has put its own mark there.
        if table.get(&self.id).is_some_and(|ends| ends.same_channel(&self.ends)) {
            table.remove(&self.id);
        }
    }
}
