//! Migrations: numbered, append-only, one line for each crate, recorded in a table of our own, so that several crates
//! can share a database without agreeing on numbers.

use steadfast_core::{hex, sha256};

use crate::{Db, Error};

/// One numbered change of the schema. Once released, its text never changes.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// 1, 2, 3 …
    pub version: u32,
    /// The file's name without number and suffix.
    pub name: &'static str,
    /// The statements.
    pub sql: &'static str,
}

/// All migrations of one crate.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The crate's word, such as `outbox`.
    pub name: &'static str,
    /// In order, for SQLite.
    pub sqlite: &'static [Migration],
}

const TABLE: &str = "create table if not exists steadfast_migration (
    line text not null,
    version integer not null,
    name text not null,
    checksum text not null,
    primary key (line, version)
) without rowid";

/// Brings the database to the newest version of `line`. All new migrations commit together, so a crash leaves the old
/// version or the new one. Repeating it changes nothing.
///
/// # Errors
/// [`Error::Newer`] when the database was written by a later program, [`Error::MigrationChanged`] when one that has run
/// differs from ours; in both cases nothing is written.
pub async fn migrate(db: &Db, line: &Line) -> Result<(), Error> {
    let mut tx = db.begin().await?;
    sqlx::query(TABLE).execute(&mut *tx).await?;
    let done: Vec<(u32, String)> =
        sqlx::query_as("select version, checksum from steadfast_migration where line = ? order by version")
            .bind(line.name)
            .fetch_all(&mut *tx)
            .await?;
    let known = line.sqlite.last().map_or(0, |migration| migration.version);
    if let Some((found, _)) = done.last().filter(|(version, _)| *version > known) {
        return Err(Error::Newer { path: db.path().to_owned(), line: line.name, found: *found, known });
    }
    for migration in line.sqlite {
        let checksum = hex(&sha256(&[migration.sql.as_bytes()]));
        match done.iter().find(|(version, _)| *version == migration.version) {
            Some((_, stored)) if *stored == checksum => {}
            Some(_) => {
                return Err(Error::MigrationChanged {
                    path: db.path().to_owned(),
                    line: line.name,
                    version: migration.version,
                });
            }
            None => {
                sqlx::raw_sql(migration.sql).execute(&mut *tx).await?;
                sqlx::query("insert into steadfast_migration (line, version, name, checksum) values (?, ?, ?, ?)")
                    .bind(line.name)
                    .bind(migration.version)
                    .bind(migration.name)
                    .bind(checksum)
                    .execute(&mut *tx)
                    .await?;
            }
        }
    }
    tx.commit().await?;
    Ok(())
}
