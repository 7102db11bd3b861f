//! Many clients at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use steadfast_core::{Classified, ErrorKind};
use steadfast_db::sqlite::Options;
use steadfast_db::{Db, tx};
use steadfast_locking::{Entity, Error, Version, run};
use tokio::task::JoinSet;

use crate::{ints, shop};

const CLIENTS: usize = 256;

/// About a thousand commits, each flushed: the one slow test of this crate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_product_is_sold_exactly() {
    let db = shop().await;
    let sell = Entity::new("counter", &["id"]).unwrap().adjust("n = n - :n", "n >= :n").unwrap();
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (db, sell) = (db.clone(), sell.clone());
        clients.spawn(async move {
            // Sizes from 8 to 11, then what is left one by one.
            let mut amount = 8 + i64::try_from(client % 4).unwrap();
            let (mut sold, mut versions) = (0, Vec::new());
            loop {
                let mut tx = db.begin().await.unwrap();
                match sell.run(&mut tx, 1, amount).await {
                    Ok(changed) => {
                        tx.commit().await.unwrap();
                        sold += amount;
                        versions.push(changed.version.get());
                    }
                    Err(Error::Refused { .. }) if amount > 1 => amount = 1,
                    Err(Error::Refused { .. }) => return (sold, versions),
                    Err(error) => panic!("{error}"),
                }
            }
        });
    }
    let (mut sold, mut versions, mut successes) = (0, Vec::new(), Vec::new());
    while let Some(client) = clients.join_next().await {
        let (amount, mine) = client.unwrap();
        assert!(mine.is_sorted(), "a client's own changes are in order");
        sold += amount;
        successes.push(mine.len());
        versions.extend(mine);
    }
    let [left, version] = ints(&db, "select n, version from counter where id = 1").await[..] else { panic!() };
    assert_eq!((sold, left), (10_000, 0), "sold + left = 10,000: no oversell, no undersell");
    versions.sort_unstable();
    assert_eq!(versions, (2..=version).collect::<Vec<_>>(), "contiguous");
    let (most, least) = (successes.iter().max().unwrap(), successes.iter().min().unwrap());
    assert!(*most <= 2 * *least, "fair: {most} to {least}");
}

async fn increment(order: &Entity, db: &Db, read_first: Arc<AtomicU32>, stale: u32) -> Result<Version, Error> {
    run(order, db, &tx::Policy::default(), |tx| {
        let (order, attempt) = (order.clone(), read_first.fetch_add(1, Ordering::SeqCst));
        Box::pin(async move {
            let (mut version, n): (i64, i64) = sqlx::query_as("select version, n from counter where id = 2")
                .fetch_one(&mut **tx)
                .await
                .map_err(steadfast_db::Error::from)?;
            if attempt < stale {
                version -= 1;
            }
            let expected = Version::from_stored(version);
            Ok(order.replace(2, expected).set("n", n + 1).run(tx).await?.version)
        })
    })
    .await
}

#[tokio::test]
async fn a_conflict_runs_the_whole_transaction_again() {
    let db = shop().await;
    let counter = Entity::new("counter", &["id"]).unwrap();
    let attempts = Arc::new(AtomicU32::new(0));
    assert_eq!(increment(&counter, &db, Arc::clone(&attempts), 3).await.unwrap().get(), 2);
    assert_eq!(attempts.load(Ordering::SeqCst), 4);
    assert_eq!(ints(&db, "select n, version from counter where id = 2").await, [4, 2]);
    let given_up = increment(&counter, &db, Arc::new(AtomicU32::new(0)), 1_000).await.unwrap_err();
    assert!(matches!(given_up, Error::Conflict(_)), "{given_up}");
}

#[tokio::test]
async fn a_lock_of_another_process_is_waited_out() {
    let db = shop().await;
    let impatient = Options { busy_timeout: Duration::from_millis(1), ..Options::default() };
    let other = Db::open(db.path(), impatient).await.unwrap();
    let counter = Entity::new("counter", &["id"]).unwrap();
    let attempts = Arc::new(AtomicU32::new(0));
    let held = db.begin().await.unwrap();
    let work = tokio::time::timeout(Duration::from_secs(10), increment(&counter, &other, attempts, 0));
    let release = async {
        // The other's one writer serves in turn: when this is locked out, the work before it was too.
        let locked_out = other.begin().await.unwrap_err();
        assert_eq!(locked_out.kind(), ErrorKind::Transient, "{locked_out}");
        held.rollback().await.unwrap();
    };
    let (done, ()) = tokio::join!(work, release);
    assert_eq!(done.unwrap().unwrap().get(), 2);
}
