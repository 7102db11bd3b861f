//! A participant as a process, and its database as the tests see it.

use std::process::Stdio;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use steadfast_db::migrate;
use steadfast_saga::barrier;
use steadfast_testkit::{TestPostgres, postgres, wait_for};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The key that the services share with the tests.
pub(crate) const KEY: &str = "a key of thirty-two bytes or more";

const PATIENCE: Duration = Duration::from_secs(20);

/// What a service does, as far as the cases must know it.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) scope: &'static str,
    pub(crate) action: &'static str,
    pub(crate) compensate: &'static str,
    /// A body that succeeds, for the n-th saga.
    pub(crate) body: fn(u32) -> String,
    /// A body that is refused after something was written.
    pub(crate) refused: fn(u32) -> String,
    schema: &'static str,
    grants: &'static str,
    done: &'static str,
    undone: &'static str,
    balanced: &'static str,
}

pub(crate) const WALLET: Kind = Kind {
    name: "wallet",
    scope: "wallet.charge",
    action: "/saga/charges",
    compensate: "/saga/charges/cancel",
    body: |n| format!(r#"{{"wallet":"w-1","amount":{}}}"#, n + 1),
    refused: |_| r#"{"wallet":"w-1","amount":2000000}"#.to_owned(),
    schema: include_str!("../../../../examples/participant-python/schema.sql"),
    grants: "grant select, insert on wallet_entry to steadfast_test_participant;
             grant select, update on wallet to steadfast_test_participant",
    done: "select count(*) from wallet_entry where saga = $1::uuid and amount < 0",
    undone: "select count(*) from wallet_entry where saga = $1::uuid and amount > 0",
    balanced: "select balance = 1000000 + coalesce((select sum(amount) from wallet_entry), 0) from wallet",
};

pub(crate) const SEATS: Kind = Kind {
    name: "seats",
    scope: "seat.reserve",
    action: "/saga/seats",
    compensate: "/saga/seats/cancel",
    body: |n| format!(r#"{{"seat":"A-{}"}}"#, n + 1),
    refused: |_| r#"{"seat":"A-500"}"#.to_owned(),
    schema: concat!(
        include_str!("../../../../examples/participant-node/schema.sql"),
        "update seat set holder = gen_random_uuid() where id = 'A-500';"
    ),
    grants: "grant select, insert on seat_event to steadfast_test_participant;
             grant select, update on seat to steadfast_test_participant",
    done: "select count(*) from seat_event where saga = $1::uuid and what = 'reserved'",
    undone: "select count(*) from seat_event where saga = $1::uuid and what = 'freed'",
    balanced: "select count(*) - 1 = (select count(*) filter (where what = 'reserved') - count(*) filter (where what = 'freed') from seat_event)
               from seat where holder is not null",
};

const ROLE: &str = "
do $$ begin create role steadfast_test_participant login; exception when duplicate_object or unique_violation then null; end $$;
grant execute on function
    saga_barrier_enter(text, bigint, text, bytea),
    saga_barrier_leave(text, integer, text, bytea),
    saga_barrier_refuse(text, integer, text, bytea)
to steadfast_test_participant;";

/// A running service. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) kind: &'static Kind,
    pub(crate) address: String,
    pub(crate) db: TestPostgres,
    command: Vec<String>,
    child: Child,
}

impl Service {
    /// Makes the database and the role, and starts `command` with the port 0 as its last word.
    pub(crate) async fn start(kind: &'static Kind, command: Vec<String>) -> Self {
        let db = postgres().await;
        migrate(&*db, &barrier::LINE).await.unwrap();
        for sql in [kind.schema, ROLE, kind.grants] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(db.pool()).await.unwrap();
        }
        let (child, address) = spawn(&db, &command).await;
        Self { kind, address, db, command, child }
    }

    /// Kills the process with SIGKILL.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        (self.child, self.address) = spawn(&self.db, &self.command).await;
    }

    /// How often the saga's action and its compensation have taken effect.
    pub(crate) async fn effects(&self, saga: &str) -> (i64, i64) {
        (self.count(self.kind.done, saga).await, self.count(self.kind.undone, saga).await)
    }

    async fn count(&self, sql: &'static str, saga: &str) -> i64 {
        sqlx::query_scalar(sql).bind(saga).fetch_one(self.db.pool()).await.unwrap()
    }

    /// Whether the service's state is the sum of its effects.
    pub(crate) async fn is_balanced(&self) -> bool {
        sqlx::query_scalar(self.kind.balanced).fetch_one(self.db.pool()).await.unwrap()
    }

    pub(crate) async fn rows(&self, saga: &str) -> i64 {
        self.count("select count(*) from saga_barrier where saga = $1::uuid", saga).await
    }

    /// Waits until the service waits for a lock of the database.
    pub(crate) async fn is_stopped(&self) {
        let waiting = "select exists (select from pg_stat_activity
                       where usename = 'steadfast_test_participant' and datname = current_database() and wait_event_type = 'Lock')";
        wait_for("the service to wait for a lock", PATIENCE, async || {
            sqlx::query_scalar(waiting).fetch_one(self.db.pool()).await.unwrap()
        })
        .await;
    }
}

async fn spawn(db: &TestPostgres, command: &[String]) -> (Child, String) {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .arg("0")
        .env("DATABASE_URL", db.url().replace("postgres@", "steadfast_test_participant@"))
        .env("SAGA_KEY", KEY)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = tokio::time::timeout(PATIENCE, async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, address)) = line.split_once("listening on ") {
                return address.trim().to_owned();
            }
        }
        panic!("{command:?} ended without saying where it listens")
    });
    (child, address.await.expect("the service says where it listens"))
}
