//! Bytes into lines: plain or gzip, told by the first two bytes, with a bound on what a line may hold.

use std::io::{self, BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use super::error::Error;

const GZIP: [u8; 2] = [0x1f, 0x8b];
/// How much of a file is looked at to tell what it is.
const PROBE: usize = 512;
const BUFFER: usize = 64 * 1024;

/// The lines of a source.
pub(super) struct Lines<R: Read> {
    input: BufReader<Input<R>>,
    longest: usize,
    line: Vec<u8>,
    /// The number of the last line, counted from 1.
    pub(super) number: u64,
    pub(super) gzip: bool,
}

enum Input<R: Read> {
    Plain(io::Chain<io::Cursor<Vec<u8>>, R>),
    Gzip(Box<MultiGzDecoder<io::Chain<io::Cursor<Vec<u8>>, R>>>),
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(input) => input.read(buffer),
        }
    }
}

/// One line.
#[derive(Debug)]
pub(super) enum Line<'a> {
    /// Its content, without the line's end.
    Text(&'a [u8]),
    /// It is longer than allowed; what it held is gone.
    TooLong,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(mut source: R, longest: usize) -> Result<Self, Error> {
        let mut probe = Vec::with_capacity(PROBE);
        source.by_ref().take(PROBE as u64).read_to_end(&mut probe).map_err(Error::Io)?;
        let gzip = probe.starts_with(&GZIP);
        if probe.is_empty() {
            return Err(Error::Empty);
        }
        if !gzip && let Some(hint) = not_text(&probe) {
            return Err(Error::NotCsv { hint });
        }
        let input = io::Cursor::new(probe).chain(source);
        let input = if gzip { Input::Gzip(Box::new(MultiGzDecoder::new(input))) } else { Input::Plain(input) };
        Ok(Self { input: BufReader::with_capacity(BUFFER, input), longest, line: Vec::new(), number: 0, gzip })
    }

    /// The next line; `None` at the end. After an error, `number` is the last line that came whole.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut long = false;
        let mut any = false;
        loop {
            let chunk = match self.input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                break;
            }
            any = true;
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let text = &chunk[..end.unwrap_or(chunk.len())];
            if self.line.len() + text.len() > self.longest {
                long = true;
                self.line.clear();
            } else if !long {
                self.line.extend_from_slice(text);
            }
            let used = text.len() + usize::from(end.is_some());
            self.input.consume(used);
            if end.is_some() {
                break;
            }
        }
        if !any {
            return Ok(None);
        }
        self.number += 1;
        if long {
            return Ok(Some(Line::TooLong));
        }
        let mut text = self.line.as_slice();
        if self.number == 1 {
            text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        }
        Ok(Some(Line::Text(text.strip_suffix(b"\r").unwrap_or(text))))
    }
}

/// What a file looks like that is no text.
fn not_text(probe: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 7] = [
        (b"PK\x03\x04", " (it looks like a zip or xlsx file)"),
        (b"\x28\xb5\x2f\xfd", " (it looks like a zstd file)"),
        (b"\xfd7zXZ", " (it looks like an xz file)"),
        (b"BZh", " (it looks like a bzip2 file)"),
        (b"PAR1", " (it looks like a Parquet file)"),
        (b"SQLite format 3", " (it looks like a SQLite database)"),
        (b"%PDF", " (it looks like a PDF file)"),
    ];
    let hint = known.iter().find(|(magic, _)| probe.starts_with(magic)).map(|(_, hint)| *hint);
    hint.or_else(|| probe.contains(&0).then_some(""))
}
