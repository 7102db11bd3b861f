//! What only SQLite can be asked.

use steadfast_db::migrate;
use steadfast_db::sqlite::Db;
use steadfast_testkit::{TestDb, database};

use super::*;

pub(super) struct OnSqlite(TestDb);

impl Ground for OnSqlite {
    type Sql = sqlx::Sqlite;
    type Handle = Db;

    async fn open() -> Self {
        let db = database().await;
        migrate(&*db, &LINE).await.unwrap();
        let mut tx = db.begin().await.unwrap();
        sqlx::query("create table effect (what text not null)").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        Self(db)
    }

    fn db(&self) -> &Db {
        &self.0
    }

    async fn reopen(&self) -> Db {
        self.0.reopen().await
    }

    fn write<'t>(tx: &'t mut Transaction<'static, sqlx::Sqlite>, what: &str) -> BoxFuture<'t, Result<(), Error>> {
        let what = what.to_owned();
        Box::pin(async move {
            sqlx::query("insert into effect (what) values (?)").bind(what).execute(&mut **tx).await?;
            Ok(())
        })
    }

    async fn effects(&self, call: &Call) -> i64 {
        sqlx::query_scalar("select count(*) from effect where what = ?")
            .bind(call.key.to_string())
            .fetch_one(self.0.readers())
            .await
            .unwrap()
    }

    async fn rows(&self) -> i64 {
        sqlx::query_scalar("select count(*) from saga_barrier").fetch_one(self.0.readers()).await.unwrap()
    }
}

#[tokio::test]
async fn the_plans_use_the_indexes_that_the_files_name() {
    let ground = <OnSqlite as Ground>::open().await;
    let plan = async |sql: &str| -> String {
        let rows: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("explain query plan {sql}")))
                .fetch_all(ground.0.readers())
                .await
                .unwrap();
        rows.into_iter().map(|row| row.3).collect::<Vec<_>>().join("\n")
    };
    let read = include_str!("../sqlite/enter_step.sql").split_once("savepoint steadfast_barrier;").unwrap().1;
    let text = plan(read).await;
    assert!(text.contains("SEARCH h USING INTEGER PRIMARY KEY"), "{text}");
    assert!(text.contains("SEARCH b USING INDEX saga_barrier_key (saga=? AND step=?)"), "{text}");
    let text = plan(include_str!("../sqlite/delete_pruned.sql")).await;
    assert!(text.contains("SEARCH saga_barrier USING INTEGER PRIMARY KEY (rowid=?)"), "{text}");
}
