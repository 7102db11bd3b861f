//! A file into whole invoices. A bad line is located, and its invoice dropped: an order with a line missing is not what
//! was bought. Everything else is kept.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::{fmt, fs, io};

use super::error::Error;
use super::model::Invoice;
use super::row::{self, Bad, COLUMNS, Row, shown};
use super::source::{Line, Lines};
use super::split::split;

/// What a file may hold at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes in one line; a longer one is a fault.
    pub line_bytes: usize,
    /// Lines; reading stops there.
    pub rows: u64,
    /// Lines of one invoice; one that has more is dropped.
    pub items: usize,
    /// Faults that are kept with their text; the others are only counted.
    pub faults: usize,
}

impl Default for Limits {
    /// 4 KiB a line, two million lines, 10,000 an invoice, 100 faults: several times the largest published file.
    fn default() -> Self {
        Self { line_bytes: 4_096, rows: 2_000_000, items: 10_000, faults: 100 }
    }
}

/// What was done about a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The line was skipped: to which invoice it belongs cannot be told.
    LineSkipped,
    /// The whole invoice was dropped.
    InvoiceDropped(String),
}

/// Something wrong in a file that is read on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1 with the line of column names.
    pub line: u64,
    /// The column, where the fault has one.
    pub column: Option<&'static str>,
    /// What is wrong.
    pub fault: String,
    /// What was done about it.
    pub done: Done,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if let Some(column) = self.column {
            write!(f, ", column {column}")?;
        }
        write!(f, ": {}; ", self.fault)?;
        match &self.done {
            Done::LineSkipped => f.write_str("the line was skipped"),
            Done::InvoiceDropped(number) => write!(f, "invoice {number} was dropped, the rest is kept"),
        }
    }
}

/// How reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At the end of the file.
    Complete,
    /// Before it: what comes after this line cannot be read.
    Early {
        /// The last line that was read.
        after_line: u64,
        /// Why.
        fault: String,
        /// The invoice of that line, dropped because further lines of it may be missing.
        dropped: Option<String>,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Complete => f.write_str("read to the end"),
            Self::Early { after_line, fault, dropped } => {
                write!(f, "nothing was read after line {after_line}: {fault}; the invoices before it are kept")?;
                match dropped {
                    Some(number) => write!(f, ", but for {number}, of which lines may be missing"),
                    None => Ok(()),
                }
            }
        }
    }
}

/// What happened while reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Lines after the column names.
    pub rows: u64,
    /// The first faults; see [`Limits::faults`].
    pub faults: Vec<Fault>,
    /// All faults.
    pub fault_count: u64,
    /// Invoices that were dropped.
    pub invoices_dropped: usize,
    /// How it ended.
    pub end: End,
}

impl Report {
    /// Whether everything was read and nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.fault_count == 0 && self.end == End::Complete
    }
}

/// The invoices of a file.
#[derive(Clone, Debug)]
pub struct Read {
    /// In the order of their first lines.
    pub invoices: Vec<Invoice>,
    /// What happened while reading.
    pub report: Report,
}

/// Reads the file at `path`, plain or gzip.
///
/// # Errors
/// When it cannot be opened, is neither gzip nor CSV text, or has other columns.
pub fn open(path: &Path, limits: &Limits) -> Result<Read, Error> {
    let error = |source| Error::Open { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(error)?;
    if file.metadata().map_err(error)?.is_dir() {
        return Err(error(io::Error::from(io::ErrorKind::IsADirectory)));
    }
    read(file, limits)
}

/// Reads invoices from any source of bytes, line by line, plain or gzip.
///
/// # Errors
/// When it is neither gzip nor CSV text, or has other columns.
pub fn read(source: impl io::Read, limits: &Limits) -> Result<Read, Error> {
    let mut lines = Lines::new(source, limits.line_bytes)?;
    check_header(&mut lines)?;
    let mut gathered = Gathered::default();
    let end = loop {
        match lines.next() {
            Ok(None) => break None,
            Ok(Some(line)) => {
                let parsed = match line {
                    Line::Text(b"") => continue,
                    Line::Text(text) => row::parse(text),
                    Line::TooLong => {
                        let fault = format!("the line is longer than {} bytes", limits.line_bytes);
                        Err(Bad { column: None, fault, invoice: None })
                    }
                };
                if gathered.rows == limits.rows {
                    break Some((lines.number - 1, format!("more than {} lines are not read", limits.rows)));
                }
                gathered.rows += 1;
                gathered.take(lines.number, parsed, limits);
            }
            Err(error) => break Some((lines.number, describe(&error, lines.gzip))),
        }
    };
    Ok(gathered.finish(end))
}

fn describe(error: &io::Error, gzip: bool) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof if gzip => "the gzip file is truncated".to_owned(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if gzip => {
            format!("the gzip file is damaged ({error})")
        }
        _ => format!("reading failed ({error})"),
    }
}

fn check_header<R: io::Read>(lines: &mut Lines<R>) -> Result<(), Error> {
    let gzip = lines.gzip;
    let wrong = |fault: String| Error::Columns { fault };
    let header = match lines.next() {
        Ok(Some(Line::Text(header))) => header,
        Ok(Some(Line::TooLong)) => return Err(wrong("it is a line that does not end".to_owned())),
        Ok(None) => return Err(Error::Empty),
        Err(error) if gzip => return Err(Error::DamagedGzip { fault: describe(&error, gzip) }),
        Err(error) => return Err(Error::Io(error)),
    };
    let names = split(header).map_err(|(index, fault)| wrong(format!("column {} {fault}", index + 1)))?;
    for (index, want) in COLUMNS.iter().enumerate() {
        let found = names.get(index).map(|name| String::from_utf8_lossy(name).trim().to_owned());
        match found {
            Some(found) if found == *want => {}
            Some(found) => return Err(wrong(format!("column {} is {} instead of {want}", index + 1, shown(&found)))),
            None => return Err(wrong(format!("column {} ({want}) is missing", index + 1))),
        }
    }
    if names.len() > COLUMNS.len() {
        return Err(wrong(format!("it has {} columns instead of {}", names.len(), COLUMNS.len())));
    }
    Ok(())
}

/// What has been read so far. The lines of an invoice need not stand together.
#[derive(Debug, Default)]
struct Gathered {
    rows: u64,
    invoices: Vec<Invoice>,
    place: HashMap<String, usize>,
    dropped: HashSet<String>,
    faults: Vec<Fault>,
    fault_count: u64,
    last: Option<String>,
}

impl Gathered {
    fn take(&mut self, line: u64, parsed: Result<Row, Bad>, limits: &Limits) {
        match parsed {
            Ok(row) => {
                self.last = Some(row.number.clone());
                self.add(line, row, limits);
            }
            Err(Bad { column, fault, invoice }) => {
                self.last.clone_from(&invoice);
                self.fault(line, column, fault, invoice, limits);
            }
        }
    }

    fn add(&mut self, line: u64, row: Row, limits: &Limits) {
        if self.dropped.contains(&row.number) {
            return;
        }
        let known = self.place.get(&row.number).and_then(|index| self.invoices.get_mut(*index));
        let Some(invoice) = known else {
            self.place.insert(row.number.clone(), self.invoices.len());
            self.invoices.push(Invoice {
                number: row.number,
                kind: row.kind,
                at: row.at,
                customer: row.customer,
                country: row.country,
                items: vec![row.item],
            });
            return;
        };
        if invoice.customer != row.customer {
            let fault = format!("{} is another customer than the invoice's first line names", row.customer);
            self.fault(line, Some("customer_id"), fault, Some(row.number), limits);
        } else if invoice.items.len() == limits.items {
            let fault = format!("the invoice has more than {} lines", limits.items);
            self.fault(line, None, fault, Some(row.number), limits);
        } else {
            invoice.items.push(row.item);
        }
    }

    fn fault(
        &mut self,
        line: u64,
        column: Option<&'static str>,
        fault: String,
        invoice: Option<String>,
        limits: &Limits,
    ) {
        self.fault_count += 1;
        if let Some(number) = &invoice {
            self.dropped.insert(number.clone());
        }
        if self.faults.len() < limits.faults {
            let done = invoice.map_or(Done::LineSkipped, Done::InvoiceDropped);
            self.faults.push(Fault { line, column, fault, done });
        }
    }

    fn finish(mut self, end: Option<(u64, String)>) -> Read {
        let end = match end {
            None => End::Complete,
            Some((after_line, fault)) => {
                self.dropped.extend(self.last.clone());
                End::Early { after_line, fault, dropped: self.last }
            }
        };
        let dropped = self.dropped;
        self.invoices.retain(|invoice| !dropped.contains(&invoice.number));
        let report = Report {
            rows: self.rows,
            faults: self.faults,
            fault_count: self.fault_count,
            invoices_dropped: dropped.len(),
            end,
        };
        Read { invoices: self.invoices, report }
    }
}
