//! Why a file of invoices cannot be read at all. What is wrong within a file that can be read is a
//! [`Fault`](crate::invoice::Fault), and the rest is kept.

use std::io;
use std::path::PathBuf;

use super::row::COLUMNS;

/// The file cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be opened.
    #[error("{path} cannot be opened: give --invoices the path of a CSV file, plain or gzip")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Reading failed before the header was complete.
    #[error("the invoices cannot be read: not even the line of column names came through")]
    Io(#[source] io::Error),
    /// The file is a gzip file that is damaged from the start.
    #[error("the gzip file is damaged before the end of its first line ({fault}): fetch it again")]
    DamagedGzip {
        /// What the decoder said.
        fault: String,
    },
    /// The file is neither gzip nor text.
    #[error("the file is neither gzip nor CSV text{hint}: give --invoices a CSV file, plain or gzip")]
    NotCsv {
        /// What it looks like.
        hint: &'static str,
    },
    /// There is nothing in it.
    #[error("the file is empty: its first line must be {}", COLUMNS.join(","))]
    Empty,
    /// The first line does not name the columns.
    #[error("the first line must be {}, but {fault}", COLUMNS.join(","))]
    Columns {
        /// The first difference.
        fault: String,
    },
}
