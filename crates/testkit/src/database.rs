//! A database for each test.

use std::ops::Deref;

use steadfast_db::Db;
use steadfast_db::sqlite::Options;
use tempfile::TempDir;

/// A SQLite database in a temporary folder of its own, removed when dropped.
#[derive(Debug)]
pub struct TestDb {
    db: Db,
    folder: TempDir,
}

impl TestDb {
    /// The folder, for tests that open the file again or put others beside it.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A second handle on the same file, with a writer of its own: another process, as far as SQLite can tell.
    ///
    /// # Panics
    /// When the file cannot be opened.
    pub async fn reopen(&self) -> Db {
        Db::open(self.db.path(), Options::default()).await.expect("the test's own database opens again")
    }
}

impl Deref for TestDb {
    type Target = Db;

    fn deref(&self) -> &Db {
        &self.db
    }
}

/// A new, empty database.
///
/// # Panics
/// When there is no place for a temporary file.
pub async fn database() -> TestDb {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let db = Db::open(&folder.path().join("test.sqlite"), Options::default()).await.expect("a new database opens");
    TestDb { db, folder }
}
