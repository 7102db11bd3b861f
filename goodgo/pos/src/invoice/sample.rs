//! The sample that the binary brings: December 2010 of the UCI data set "Online Retail" (Chen, 2015, doi 10.24432/C5BW33,
//! CC BY 4.0); see `data/README.md`.

use super::error::Error;
use super::reader::{Limits, Read, read};

static SAMPLE: &[u8] = include_bytes!("../../data/online-retail-2010-12.csv.gz");

/// The invoices of the sample: 42,481 lines, 2,025 invoices.
///
/// # Errors
/// Never, unless this program was built from a damaged copy.
pub fn sample() -> Result<Read, Error> {
    read(SAMPLE, &Limits::default())
}
