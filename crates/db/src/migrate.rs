//! Migrations: numbered, append-only, one line for each crate, recorded in a table of our own, so that several crates
//! can share a database without agreeing on numbers.

use steadfast_core::{hex, sha256};

use crate::{Backend, Error};

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

/// All migrations of one crate, numbered alike for each backend.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// The crate's word, such as `outbox`.
    pub name: &'static str,
    /// In order, for SQLite.
    pub sqlite: &'static [Migration],
    /// In order, for PostgreSQL; empty where the line is not kept there.
    pub postgres: &'static [Migration],
}

/// A migration that has run: its number and its checksum.
pub(crate) type Recorded = (u32, String);

/// Brings the database to the newest version of `line`. All new migrations commit together, so a crash leaves the old
/// version or the new one. Repeating it changes nothing; processes that do it at once take turns.
///
/// # Errors
/// [`Error::Newer`] when the database was written by a later program, [`Error::MigrationChanged`] when one that has run
/// differs from ours; in both cases nothing is written.
pub async fn migrate<B: Backend>(db: &B, line: &Line) -> Result<(), Error> {
    db.migrate(line).await
}

/// What is still to run, with its checksum.
pub(crate) fn compare(
    database: &str,
    line: &'static str,
    known: &'static [Migration],
    done: &[Recorded],
) -> Result<Vec<(&'static Migration, String)>, Error> {
    let newest = known.last().map_or(0, |migration| migration.version);
    if let Some((found, _)) = done.last().filter(|(version, _)| *version > newest) {
        return Err(Error::Newer { database: database.to_owned(), line, found: *found, known: newest });
    }
    let mut due = Vec::new();
    for migration in known {
        let checksum = hex(&sha256(&[migration.sql.as_bytes()]));
        match done.iter().find(|(version, _)| *version == migration.version) {
            Some((_, stored)) if *stored == checksum => {}
            Some(_) => {
                let version = migration.version;
                return Err(Error::MigrationChanged { database: database.to_owned(), line, version });
            }
            None => due.push((migration, checksum)),
        }
    }
    Ok(due)
}
