//! Where archived lines go before their rows are deleted: nowhere, a writer of the caller's, or a file of its own, which is
//! durable and read back before the deletion.

use std::fs::File;
use std::io::{BufRead, BufReader, Error as IoError, ErrorKind, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use steadfast_core::{hex, sha256};
use tokio::io::AsyncWriteExt;

use super::Target;
use crate::Error;

/// Lines are written once so many bytes have gathered.
const CHUNK: usize = 256 * 1024;

/// Takes the lines of one archive run.
pub(crate) enum Shelf<'a> {
    Nowhere,
    Stream(Target<'a>),
    Folder(Box<Folder>),
}

/// A folder, and the file that is being written.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    name: String,
    file: Option<GzEncoder<File>>,
    lines: Vec<u8>,
    sum: Sum,
}

/// How many lines there were, and a chain of hashes over them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sum {
    amount: u64,
    chain: [u8; 32],
}

impl Sum {
    fn add(&mut self, line: &[u8]) {
        self.amount += 1;
        self.chain = sha256(&[&self.chain, line]);
    }
}

impl Shelf<'_> {
    pub(crate) fn folder(path: &Path) -> Self {
        let (path, name) = (path.to_owned(), String::new());
        Self::Folder(Box::new(Folder { path, name, file: None, lines: vec![], sum: Sum::default() }))
    }

    /// Begins a file of this name, where there is one for each run.
    pub(crate) async fn begin(&mut self, name: &str) -> Result<(), Error> {
        if let Self::Folder(folder) = self {
            folder.begin(name).await.map_err(Error::Archive)?;
        }
        Ok(())
    }

    /// Takes one event.
    pub(crate) async fn put(&mut self, line: &str) -> Result<(), Error> {
        let written = match self {
            Self::Nowhere => Ok(()),
            Self::Stream(target) => match target.write_all(line.as_bytes()).await {
                Ok(()) => target.write_all(b"\n").await,
                failed => failed,
            },
            Self::Folder(folder) => folder.put(line).await,
        };
        written.map_err(Error::Archive)
    }

    /// Makes the lines as durable as this can: only then may their rows be deleted. Answers with a checksum over them,
    /// empty where nothing was kept to compare.
    pub(crate) async fn seal(&mut self) -> Result<String, Error> {
        match self {
            Self::Nowhere => Ok(String::new()),
            Self::Stream(target) => target.flush().await.map(|()| String::new()).map_err(Error::Archive),
            Self::Folder(folder) => folder.seal().await.map_err(Error::Archive),
        }
    }
}

impl Folder {
    async fn begin(&mut self, name: &str) -> Result<(), IoError> {
        name.clone_into(&mut self.name);
        self.sum = Sum::default();
        self.lines.clear();
        let part = self.part();
        let file = blocking(move || File::create(part)).await?;
        self.file = Some(GzEncoder::new(file, Compression::default()));
        Ok(())
    }

    fn part(&self) -> PathBuf {
        self.path.join(format!("{}.jsonl.gz.part", self.name))
    }

    async fn put(&mut self, line: &str) -> Result<(), IoError> {
        self.sum.add(line.as_bytes());
        self.lines.extend_from_slice(line.as_bytes());
        self.lines.push(b'\n');
        if self.lines.len() >= CHUNK { self.write().await } else { Ok(()) }
    }

    async fn write(&mut self) -> Result<(), IoError> {
        let Some(mut file) = self.file.take() else { return Err(ErrorKind::NotFound.into()) };
        let mut lines = std::mem::take(&mut self.lines);
        let (file, lines) = blocking(move || {
            file.write_all(&lines)?;
            lines.clear();
            Ok((file, lines))
        })
        .await?;
        (self.file, self.lines) = (Some(file), lines);
        Ok(())
    }

    async fn seal(&mut self) -> Result<String, IoError> {
        self.write().await?;
        let Some(file) = self.file.take() else { return Err(ErrorKind::NotFound.into()) };
        let (part, folder, wanted) = (self.part(), self.path.clone(), self.sum.clone());
        let name = self.name.clone();
        blocking(move || {
            file.finish()?.sync_all()?;
            let found = read_back(&part)?;
            if found != wanted {
                return Err(IoError::new(
                    ErrorKind::InvalidData,
                    "the archive's file differs from what was written to it",
                ));
            }
            std::fs::rename(&part, free_name(&folder, &name)?)?;
            File::open(&folder)?.sync_all()
        })
        .await?;
        Ok(hex(&self.sum.chain))
    }
}

/// A name that no archive of an earlier run has: one that was written before a crash stays.
fn free_name(folder: &Path, name: &str) -> Result<PathBuf, IoError> {
    (0..1_000)
        .map(|n| folder.join(if n == 0 { format!("{name}.jsonl.gz") } else { format!("{name}.{n}.jsonl.gz") }))
        .find(|path| !path.exists())
        .ok_or_else(|| ErrorKind::AlreadyExists.into())
}

fn read_back(path: &Path) -> Result<Sum, IoError> {
    let mut sum = Sum::default();
    for line in BufReader::new(GzDecoder::new(File::open(path)?)).split(b'\n') {
        sum.add(&line?);
    }
    Ok(sum)
}

/// Files are written where blocking is allowed.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, IoError> + Send + 'static) -> Result<T, IoError> {
    tokio::task::spawn_blocking(work).await.map_err(IoError::other)?
}
