//! Making the platform: servers, keys, databases with their roles, processes, definitions. Each step leaves alone what is there
//! already, so that a second `up` and one after a start that was cut short come to the same.

use std::env;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::runtime::Runtime;

use super::site::{DATABASES, Database, Part, Site, published, role};
use crate::services::process::{require_free, start, wait_ready};
use crate::services::{haproxy, say, up};
use crate::torture::http::ask;
use crate::torture::token;

const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const OUTBOX_ROLES: &str = include_str!("../../../deploy/sql-roles/outbox.sql");
/// Sagas' definitions, and the schemas that they name.
const DEFINITIONS: [(&str, &str, &str); 2] = [
    (
        include_str!("../../../goodgo/contracts/place_order.saga.yaml"),
        "place_order.schema.json",
        include_str!("../../../goodgo/contracts/place_order.schema.json"),
    ),
    (
        include_str!("../../../goodgo/contracts/return_order.saga.yaml"),
        "return_order.schema.json",
        include_str!("../../../goodgo/contracts/return_order.schema.json"),
    ),
];

/// Starts whatever of it does not run, and waits until every process is ready.
pub(crate) fn make(site: &Site, programs: &Path) -> Result<()> {
    haproxy()?;
    let parts = site.parts();
    // A port in use is told before anything starts.
    for part in &parts {
        if part.running(site)?.is_empty() {
            part.ports.iter().try_for_each(|port| require_free(*port)).with_context(|| part.name.clone())?;
        }
    }
    for server in site.servers() {
        up(server.as_ref(), &site.folder).with_context(|| format!("{} did not come up", server.name()))?;
    }
    make_keys(site)?;
    let runtime = Runtime::new().context("starting the runtime")?;
    runtime.block_on(make_databases(site, programs))?;
    for part in &parts {
        begin(site, part, programs)?;
    }
    for part in &parts {
        let is_alive = || Ok(!part.running(site)?.is_empty());
        wait_ready(&[part.log(site)], is_alive, || Ok(part.is_ready())).with_context(|| part.name.clone())?;
        say(&part.status(site)?.line(&part.name));
    }
    runtime.block_on(upload(site))
}

/// What each process is started with, and where it works.
pub(crate) fn command(site: &Site, part: &Part, programs: &Path) -> Command {
    let program = if part.program == "haproxy" {
        crate::services::find("haproxy", &[PathBuf::from("/usr/sbin")]).unwrap_or_else(|| PathBuf::from(part.program))
    } else {
        programs.join(part.program)
    };
    let mut command = Command::new(program);
    // Nothing of the environment of whoever runs this may change what runs.
    command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default());
    command.envs(part.environment.iter().cloned()).args(&part.arguments).current_dir(part.folder(site));
    command
}

/// Starts a process that does not run.
pub(crate) fn begin(site: &Site, part: &Part, programs: &Path) -> Result<()> {
    if !part.running(site)?.is_empty() {
        return Ok(());
    }
    let folder = part.folder(site);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    start(&mut command(site, part, programs), &part.log(site))
}

/// Secrets that nobody knows: random, in files that only their owner reads.
fn make_keys(site: &Site) -> Result<()> {
    let folder = site.folder.join("keys");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let names = ["users", "seal", "etag-inventory", "call-order", "call-payment", "call-inventory"];
    let of_databases =
        ["order", "payment", "inventory", "orchestrator", "relay"].map(|name| format!("database-{name}"));
    for name in names.into_iter().map(str::to_owned).chain(of_databases) {
        let path = folder.join(name);
        if path.exists() {
            continue;
        }
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).ok().context("the system gives no randomness")?;
        let mut text = String::new();
        for byte in random {
            write!(text, "{byte:02x}")?;
        }
        // Whole or not at all.
        let half = path.with_extension("half");
        let open = File::options().write(true).create(true).truncate(true).mode(0o600).open(&half);
        let mut file = open.with_context(|| format!("creating {}", half.display()))?;
        file.write_all(text.as_bytes()).with_context(|| format!("writing {}", half.display()))?;
        fs::rename(&half, &path).with_context(|| format!("naming {}", path.display()))?;
    }
    Ok(())
}

/// A secret of the platform.
pub(crate) fn key(site: &Site, name: &str) -> Result<String> {
    let path = site.folder.join("keys").join(name);
    fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
}

/// A few connections as the administrator.
pub(crate) fn pool(url: &str) -> Result<PgPool> {
    let options = PgPoolOptions::new().max_connections(2).acquire_timeout(ANSWER_LIMIT);
    options.connect_lazy(url).with_context(|| format!("the database at {url}"))
}

/// Each service's database and its role; who may do what with an outbox as deploy/sql-roles says.
async fn make_databases(site: &Site, programs: &Path) -> Result<()> {
    let server = pool(&format!("postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable", site.postgres()))?;
    for name in ["order", "payment", "inventory", "orchestrator", "relay"] {
        let (role, password) = (role(name), key(site, &format!("database-{name}"))?);
        let there: bool = sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(&role)
            .fetch_one(&server)
            .await?;
        let verb = if there { "alter" } else { "create" };
        // Names of ours, and digits.
        let sql = AssertSqlSafe(format!("{verb} role {role} login password '{password}'"));
        sqlx::raw_sql(sql).execute(&server).await.with_context(|| format!("making the role {role}"))?;
    }
    for Database { name, role: owner, tables } in &DATABASES {
        let (database, owner) = (format!("goodgo_{name}"), role(owner));
        let there: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(&database)
            .fetch_one(&server)
            .await?;
        if !there {
            let sql = AssertSqlSafe(format!("create database {database} owner {owner}"));
            sqlx::raw_sql(sql).execute(&server).await.with_context(|| format!("making the database {database}"))?;
        }
        migrate(site, programs, &site.url(&owner, name), tables)?;
    }
    for Database { name, role: owner, .. } in published() {
        let db = pool(&site.url("postgres", name))?;
        let sql = format!(
            "{OUTBOX_ROLES};\ngrant outbox_writer to {}; grant outbox_relay to {};",
            role(owner),
            role("relay")
        );
        sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&db)
            .await
            .with_context(|| format!("the roles of {name}'s outbox"))?;
    }
    Ok(())
}

fn migrate(site: &Site, programs: &Path, url: &str, tables: &[&str]) -> Result<()> {
    let mut migrate = Command::new(programs.join("steadfast"));
    migrate.env_clear().env("STEADFAST_DATABASE__URL", url).arg("migrate").args(tables).current_dir(&site.folder);
    let output = migrate.output().with_context(|| format!("starting {migrate:?}"))?;
    if !output.status.success() {
        bail!("steadfast migrate {}: {}", tables.join(" "), String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}

/// A user's bearer.
pub(crate) fn bearer(site: &Site, user: &str, permissions: &[&str]) -> Result<String> {
    let claims = json!({
        "iss": "goodgo-platform", "aud": "goodgo", "sub": user, "iat": 0, "exp": 4_000_000_000_u64,
        "permissions": permissions,
    });
    Ok(format!("Bearer {}", token::mint(key(site, "users")?.as_bytes(), "users", &claims)))
}

/// Through the front door, as whoever deploys would.
async fn upload(site: &Site) -> Result<()> {
    let bearer = bearer(site, "platform", &["saga.define"])?;
    let to = crate::torture::ground::local(site.front("orchestrator"));
    for (definition, name, schema) in DEFINITIONS {
        let schema: Value = serde_json::from_str(schema).with_context(|| format!("reading {name}"))?;
        let body = json!({ "definition": definition, "schemas": { name: schema } });
        let headers = [("authorization", &*bearer)];
        let reply = ask(to, Method::POST, "/v1/definitions", &headers, Some(&body), ANSWER_LIMIT).await?;
        if reply.status >= 300 {
            bail!("a definition was not accepted: {} {}", reply.status, reply.body);
        }
    }
    Ok(())
}
