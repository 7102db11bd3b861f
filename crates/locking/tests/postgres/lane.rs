//! The hot-row lane: many callers, two processes, one product.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;
use sqlx::{Postgres, Row, Transaction};
use steadfast_core::{Classified, ErrorKind};
use steadfast_db::postgres::Db;
use steadfast_locking::lane::{Amounts, Bounds, Commit, Committed, Decided, Error, Lane, Seen, Sum, Verdict};
use steadfast_locking::{Key, Part, Version};
use tokio::time::Instant;

use super::ints;

const SCHEMA: &str = "
    create table stock (
        product text primary key, on_hand bigint not null, reserved bigint not null default 0,
        version bigint not null default 1, check (reserved between 0 and on_hand)
    ) with (fillfactor = 50);
    create table sale (id bigint primary key, product text not null, version bigint, check (id >= 0));
    insert into stock (product, on_hand) values ('lamp', 10000), ('hook', 20000), ('rare', 3);
";

#[derive(Debug)]
struct Broken(ErrorKind);

impl Classified for Broken {
    fn kind(&self) -> ErrorKind {
        self.0
    }
}

impl From<sqlx::Error> for Broken {
    fn from(error: sqlx::Error) -> Self {
        Self(steadfast_db::Error::from(error).kind())
    }
}

#[derive(Clone)]
struct Shop {
    db: Db,
    commits: Arc<AtomicUsize>,
}

fn name(key: &Key) -> String {
    match key.parts() {
        [Part::Text(name)] => name.clone(),
        _ => String::new(),
    }
}

#[async_trait]
impl Commit for Shop {
    type Payload = i64;
    type Error = Broken;

    fn entity(&self) -> &'static str {
        "stock"
    }

    async fn read(&self, keys: &[Key]) -> Result<Vec<Option<Seen>>, Broken> {
        let names: Vec<String> = keys.iter().map(name).collect();
        let sql = "select product, on_hand - reserved as free, version from stock where product = any($1)";
        let rows = sqlx::query(sql).bind(&names).fetch_all(self.db.pool()).await?;
        let seen = |row: &sqlx::postgres::PgRow| {
            let version = Version::from_stored(row.get("version"));
            (row.get::<String, _>("product"), Seen { free: row.get("free"), version })
        };
        let found: BTreeMap<_, _> = rows.iter().map(seen).collect();
        Ok(names.iter().map(|name| found.get(name).copied()).collect())
    }

    async fn commit(&self, sums: &[Sum], batch: &[Decided<'_, i64>]) -> Result<Committed, Broken> {
        let mut tx = self.db.pool().begin().await?;
        let ids: Vec<i64> = batch.iter().map(|it| *it.payload).collect();
        let first = |it: &Decided<'_, i64>| it.amounts.keys().next().map(name).unwrap();
        let products: Vec<String> = batch.iter().map(first).collect();
        let version = |it: &Decided<'_, i64>| match it.verdict {
            Verdict::Taken(versions) => versions.values().next().map(|version| version.get()),
            Verdict::Refused(_) => None,
        };
        let versions: Vec<Option<i64>> = batch.iter().map(version).collect();
        let insert = "insert into sale select * from unnest($1::bigint[], $2::text[], $3::bigint[])
            on conflict (id) do nothing returning id";
        let fresh: Vec<i64> =
            sqlx::query_scalar(insert).bind(&ids).bind(&products).bind(&versions).fetch_all(&mut *tx).await?;
        if fresh.len() < ids.len() {
            let known = (0..ids.len()).filter(|place| !fresh.contains(&ids[*place]));
            return Ok(Committed::Known(known.collect()));
        }
        if !change(&mut tx, sums).await? {
            return Ok(Committed::Stale);
        }
        tx.commit().await?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        Ok(Committed::All)
    }
}

async fn change(tx: &mut Transaction<'_, Postgres>, sums: &[Sum]) -> Result<bool, Broken> {
    for sum in sums {
        let sql = "update stock set reserved = reserved + $2, version = version + $3
            where product = $1 and version = $4 and on_hand - reserved >= $2";
        let update = sqlx::query(sql).bind(name(&sum.key)).bind(sum.amount).bind(sum.count).bind(sum.expected.get());
        if update.execute(&mut **tx).await?.rows_affected() != 1 {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn shop() -> (steadfast_testkit::TestPostgres, Shop) {
    let db = steadfast_testkit::postgres().await;
    sqlx::raw_sql(SCHEMA).execute(db.pool()).await.unwrap();
    let shop = Shop { db: Db::clone(&db), commits: Arc::default() };
    (db, shop)
}

fn one(product: &str) -> Amounts {
    [(Key::from(product), 1)].into()
}

/// 256 clients of two processes buy one each until nothing is left; how often each was served.
async fn sell_out(shop: &Shop) -> Vec<usize> {
    let lanes = [Lane::open(shop.clone(), Bounds::default()), Lane::open(shop.clone(), Bounds::default())];
    let next = Arc::new(AtomicUsize::new(0));
    let client = |n: usize| {
        let (lane, next) = (lanes[n % 2].clone(), Arc::clone(&next));
        async move {
            let mut served = 0;
            loop {
                let id = i64::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap();
                match lane.take(one("lamp"), id).await {
                    Ok(Verdict::Taken(_)) => served += 1,
                    Ok(Verdict::Refused(_)) => return served,
                    Err(error) => {
                        assert!(matches!(error, Error::Contended), "{error:?}");
                    }
                }
            }
        }
    };
    join_all((0..256).map(client)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_256_clients_and_two_processes_none_oversells_none_is_skipped_and_none_starves() {
    let (db, shop) = shop().await;
    let served = sell_out(&shop).await;
    assert_eq!(served.iter().sum::<usize>(), 10_000);
    assert_eq!(
        ints(&db, "select reserved, on_hand - reserved, version from stock where product = 'lamp'").await,
        [10_000, 0, 10_001]
    );
    let numbered =
        "select count(*), count(distinct version), min(version), max(version) from sale where version is not null";
    assert_eq!(ints(&db, numbered).await, [10_000, 10_000, 2, 10_001], "each change has a version of its own");
    let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
    assert!(most <= &(least * 2), "{least} to {most}: {served:?}");
    assert!(shop.commits.load(Ordering::Relaxed) < 2_500, "{:?}", shop.commits);
}

#[tokio::test]
async fn a_want_that_is_known_is_handed_back_and_the_others_go_on() {
    let (db, shop) = shop().await;
    sqlx::raw_sql("insert into sale values (3, 'lamp', 99)").execute(db.pool()).await.unwrap();
    let lane = Lane::open(shop, Bounds::default());
    let outcomes = join_all((0..6).map(|id| lane.take(one("lamp"), id))).await;
    for (id, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Err(Error::Known) => assert_eq!(id, 3),
            Ok(Verdict::Taken(_)) => assert_ne!(id, 3),
            other => panic!("{id}: {other:?}"),
        }
    }
    assert_eq!(ints(&db, "select reserved, version from stock where product = 'lamp'").await, [5, 6]);
}

#[tokio::test]
async fn one_that_cannot_be_written_is_found_and_the_others_go_on() {
    let (db, shop) = shop().await;
    let lane = Lane::open(shop, Bounds::default());
    // The table refuses a negative id, by a constraint that no retry mends.
    let ids = [10, 11, -1, 12, 13, 14, 15];
    let outcomes = join_all(ids.map(|id| lane.take(one("lamp"), id))).await;
    for (id, outcome) in ids.iter().zip(&outcomes) {
        match outcome {
            Err(Error::Failed(_) | Error::Contended) => assert_eq!(*id, -1),
            Ok(Verdict::Taken(_)) => {}
            other => panic!("{id}: {other:?}"),
        }
    }
    assert_eq!(ints(&db, "select reserved, version from stock where product = 'lamp'").await, [6, 7]);
}

#[tokio::test]
async fn a_refusal_never_rests_on_what_another_process_has_changed_since() {
    let (db, shop) = shop().await;
    let lane = Lane::open(shop, Bounds::default());
    let all: Amounts = [(Key::from("rare"), 3)].into();
    assert!(matches!(lane.take(all, 1).await, Ok(Verdict::Taken(_))));
    assert!(matches!(lane.take(one("rare"), 2).await, Ok(Verdict::Refused(_))));
    sqlx::raw_sql("update stock set reserved = 2, version = version + 1 where product = 'rare'")
        .execute(db.pool())
        .await
        .unwrap();
    assert!(matches!(lane.take(one("rare"), 3).await, Ok(Verdict::Taken(_))), "one was released elsewhere");
}

#[tokio::test]
async fn lines_of_several_products_are_all_or_none() {
    let (db, shop) = shop().await;
    let lane = Lane::open(shop, Bounds::default());
    let order = |lamp: i64, rare: i64| Amounts::from([(Key::from("lamp"), lamp), (Key::from("rare"), rare)]);
    let outcomes =
        join_all([(order(1, 2), 1), (order(1, 2), 2), (order(1, 1), 3)].map(|(order, id)| lane.take(order, id))).await;
    let taken: Vec<bool> = outcomes.iter().map(|it| matches!(it, Ok(Verdict::Taken(_)))).collect();
    assert_eq!(taken, [true, false, true]);
    let sql = "select reserved, (select reserved from stock where product = 'rare') from stock where product = 'lamp'";
    assert_eq!(ints(&db, sql).await, [2, 3]);
}

#[tokio::test]
async fn a_full_queue_turns_away_and_a_database_that_is_gone_fails_all_at_once() {
    let (db, shop) = shop().await;
    let lane = Lane::open(shop.clone(), Bounds { queue: 2, ..Bounds::default() });
    let outcomes = join_all((0..64).map(|id| lane.take(one("lamp"), id))).await;
    assert!(outcomes.iter().any(|it| matches!(it, Err(Error::Full))));
    assert!(outcomes.iter().any(|it| matches!(it, Ok(Verdict::Taken(_)))));
    db.close().await;
    let begun = Instant::now();
    let outcomes = join_all((100..102).map(|id| lane.take(one("lamp"), id))).await;
    assert!(outcomes.iter().all(|it| matches!(it, Err(Error::Failed(_)))), "{outcomes:?}");
    assert!(begun.elapsed().as_secs() < 2);
}

#[tokio::test]
async fn a_lane_that_is_closed_commits_what_waits_and_takes_nothing_more() {
    let (db, shop) = shop().await;
    let lane = Lane::open(shop, Bounds { batch: 1, ..Bounds::default() });
    let waiting = join_all((0..5).map(|id| lane.take(one("lamp"), id)));
    let (outcomes, ()) = tokio::join!(waiting, lane.close());
    assert!(outcomes.iter().all(|it| matches!(it, Ok(Verdict::Taken(_)))), "{outcomes:?}");
    assert!(matches!(lane.take(one("lamp"), 9).await, Err(Error::Closed)));
    assert_eq!(ints(&db, "select reserved, version from stock where product = 'lamp'").await, [5, 6]);
}
