//! The data folder of an embedded platform: one owner at a time, of one version, and never half written unnoticed.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const MARK: &str = "steadfast.data";
const FORMAT: &str = "1";

/// Why a folder cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// The file system said no.
    #[error("data folder {path}: {action} failed")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Another process owns it.
    #[error("data folder {0} is in use by another process: stop that process, or choose another folder")]
    InUse(PathBuf),
    /// It holds data of another format.
    #[error(
        "data folder {path} has format {found:?}, this program writes {FORMAT:?}: use the program that wrote it, or choose another folder"
    )]
    OtherFormat {
        /// The folder.
        path: PathBuf,
        /// What its mark says.
        found: String,
    },
    /// It holds files, but not ours.
    #[error(
        "data folder {0} is not empty and holds no {MARK}: it is not a data folder, or was left half written; nothing was changed; choose another folder, or empty this one"
    )]
    Foreign(PathBuf),
}

/// An exclusive hold on a data folder; given up when dropped, also by a crash. It stands for the lease where there is
/// only one process.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    fresh: bool,
    // Held for its lock.
    _mark: File,
}

impl DataFolder {
    /// Takes the folder, which is created where it does not exist. A new folder is marked before anything is written
    /// to it; one with files but without the mark is refused.
    pub fn take(path: &Path) -> Result<Self, FolderError> {
        let io = |action| move |source| FolderError::Io { path: path.to_owned(), action, source };
        fs::create_dir_all(path).map_err(io("creating it"))?;
        let mark_path = path.join(MARK);
        let fresh = !mark_path.exists();
        if fresh && fs::read_dir(path).map_err(io("reading it"))?.next().is_some() {
            return Err(FolderError::Foreign(path.to_owned()));
        }
        let mut mark = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&mark_path)
            .map_err(io("opening its mark"))?;
        match mark.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(io("locking its mark")(source)),
        }
        if fresh {
            mark.write_all(FORMAT.as_bytes()).and_then(|()| mark.sync_all()).map_err(io("writing its mark"))?;
        } else {
            let found = fs::read_to_string(&mark_path).map_err(io("reading its mark"))?;
            if found.trim() != FORMAT {
                return Err(FolderError::OtherFormat { path: path.to_owned(), found });
            }
        }
        Ok(Self { path: path.to_owned(), fresh, _mark: mark })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the folder held nothing before.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_owner_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let held = DataFolder::take(&path).unwrap();
        assert!(held.is_fresh());
        assert!(matches!(DataFolder::take(&path), Err(FolderError::InUse(_))));
        drop(held);
        assert!(!DataFolder::take(&path).unwrap().is_fresh());
    }

    #[test]
    fn a_foreign_or_other_folder_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "words").unwrap();
        assert!(matches!(DataFolder::take(dir.path()), Err(FolderError::Foreign(_))));
        assert!(!dir.path().join(MARK).exists());

        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join(MARK), "99").unwrap();
        let error = DataFolder::take(other.path()).unwrap_err();
        assert!(matches!(&error, FolderError::OtherFormat { found, .. } if found == "99"), "{error}");
        assert_eq!(fs::read_to_string(other.path().join(MARK)).unwrap(), "99");
    }
}
