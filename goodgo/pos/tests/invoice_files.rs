//! What becomes of a file: the sample, and everything that can be wrong with another.

use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use goodgo_pos::invoice::{self, COLUMNS, Customer, End, Error, Kind, Limits, Milli, Read};

fn csv(lines: &[&str]) -> String {
    format!("{}\n{}\n", COLUMNS.join(","), lines.join("\n"))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn read(bytes: &[u8]) -> Result<Read, Error> {
    invoice::read(bytes, &Limits::default())
}

fn numbers(read: &Read) -> Vec<&str> {
    read.invoices.iter().map(|invoice| invoice.number.as_str()).collect()
}

const A1: &str = "100,A,LANTERN,6,2010-12-01 08:26:00,2.55,17850,United Kingdom";
const A2: &str = "100,B,\"HANGER, \"\"RED\"\"\",2,2010-12-01 08:26:00,0.001,17850,United Kingdom";
const B1: &str = "101,A,LANTERN,1,2010-12-01 09:00:00,2.55,,France";
const C1: &str = "C102,A,LANTERN,-6,2010-12-02 09:00:00,2.55,17850,United Kingdom";

#[test]
fn the_sample_is_what_its_readme_says() {
    let read = invoice::sample().unwrap();
    assert!(read.report.is_clean(), "{:?}", read.report);
    assert_eq!((read.report.rows, read.invoices.len()), (42_481, 2_025));
    let count = |test: &dyn Fn(&invoice::Invoice) -> bool| read.invoices.iter().filter(|invoice| test(invoice)).count();
    assert_eq!(count(&|invoice| invoice.kind == Kind::Cancellation), 326);
    assert_eq!(count(&|invoice| invoice.total() == Milli(0)), 140);
    let negative = |invoice: &invoice::Invoice| invoice.items.iter().any(|item| item.quantity < 0);
    assert_eq!(count(&|invoice| invoice.kind != Kind::Cancellation && negative(invoice)), 70);
    assert_eq!(count(&|invoice| invoice.customer == Customer::WalkIn), 317);
}

#[test]
fn plain_and_gzip_read_alike() {
    let text = csv(&[A1, A2, B1, C1]);
    let plain = read(text.as_bytes()).unwrap();
    assert_eq!(plain.invoices, read(&gzip(&text)).unwrap().invoices);
    assert_eq!(numbers(&plain), ["100", "101", "C102"]);
    assert_eq!(plain.invoices[0].items[1].description, "HANGER, \"RED\"");
    assert_eq!(plain.invoices[0].total(), Milli(15_302));
    assert!(plain.report.is_clean());
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    assert_eq!(plain.invoices, read(windows.trim_end().as_bytes()).unwrap().invoices, "mark, CRLF, no last line end");
    let two_members = [gzip(&csv(&[A1, A2])), gzip(&format!("{B1}\n{C1}\n"))].concat();
    assert_eq!(plain.invoices, read(&two_members).unwrap().invoices);
}

#[test]
fn lines_of_an_invoice_need_not_stand_together() {
    let read = read(csv(&[A1, B1, A2]).as_bytes()).unwrap();
    assert_eq!(numbers(&read), ["100", "101"]);
    assert_eq!(read.invoices[0].items.len(), 2);
}

#[test]
fn a_bad_line_drops_its_invoice_and_keeps_the_rest() {
    let bad = B1.replace(",1,", ",one,");
    let read = read(csv(&[A1, &bad, B1, "rubbish", A2]).as_bytes()).unwrap();
    assert_eq!(numbers(&read), ["100"]);
    let said: Vec<_> = read.report.faults.iter().map(ToString::to_string).collect();
    let want = [
        "line 3, column quantity: \"one\" is not a whole number; invoice 101 was dropped, the rest is kept",
        "line 5: the line has 1 columns instead of 8; the line was skipped",
    ];
    assert_eq!(said, want);
    assert_eq!((read.report.rows, read.report.fault_count, read.report.invoices_dropped), (5, 2, 1));
    assert_eq!(read.report.end, End::Complete);
}

#[test]
fn an_open_quote_spoils_one_line_only() {
    let open = A2.replace("\"\"\",2", ",2");
    let read = read(csv(&[A1, &open, B1]).as_bytes()).unwrap();
    assert_eq!(numbers(&read), ["101"]);
    assert_eq!((read.report.faults[0].line, read.report.faults[0].column), (3, Some("description")));
}

#[test]
fn an_invoice_of_two_customers_is_dropped() {
    let read = read(csv(&[A1, &A2.replace("17850", "17851"), B1]).as_bytes()).unwrap();
    assert_eq!(numbers(&read), ["101"]);
    assert_eq!(read.report.faults[0].column, Some("customer_id"));
}

#[test]
fn a_truncated_gzip_says_after_which_line_and_drops_the_open_invoice() {
    // Enough lines that the decoder hands out some before it meets the cut.
    let mut lines: Vec<String> = Vec::new();
    for number in 0..20_000 {
        let quantity = 1 + (number * 7_919) % 89;
        lines.push(format!(
            "{number},S{},X{},{quantity},2010-12-01 08:26:00,2.55,17850,United Kingdom",
            number % 97,
            number * 31 % 1_009
        ));
    }
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let whole = gzip(&csv(&lines));
    for cut in [whole.len() / 2, whole.len() - 12, whole.len() - 4] {
        let read = read(&whole[..cut]).unwrap();
        let End::Early { after_line, fault, dropped } = &read.report.end else { panic!("{:?}", read.report.end) };
        assert_eq!(fault, "the gzip file is truncated");
        assert_eq!(*after_line, read.report.rows + 1, "the header is line 1");
        assert_eq!(*dropped, Some((read.report.rows - 1).to_string()), "the last invoice that was seen");
        assert_eq!(read.invoices.len() as u64, read.report.rows - 1);
        assert!(read.report.rows > 5_000, "what came before the cut is kept: {}", read.report.rows);
        assert!(read.report.end.to_string().contains("lines may be missing"));
    }
}

#[test]
fn a_damaged_gzip_is_said_too() {
    let mut bytes = gzip(&csv(&[A1, B1]));
    let crc = bytes.len() - 8;
    bytes[crc] ^= 1;
    let read = read(&bytes).unwrap();
    let End::Early { after_line: 3, fault, dropped: Some(dropped) } = &read.report.end else {
        panic!("{:?}", read.report)
    };
    assert!(fault.starts_with("the gzip file is damaged"), "{fault}");
    assert_eq!((dropped.as_str(), numbers(&read)), ("101", vec!["100"]));
}

#[test]
fn a_file_that_cannot_be_read_at_all_says_why() {
    let said = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
    assert!(said(b"").starts_with("the file is empty: its first line must be invoice_no,"));
    assert!(said(&gzip("")).starts_with("the file is empty"));
    assert!(said(b"PK\x03\x04rest").contains("looks like a zip or xlsx file"));
    assert!(said(b"\x00\x01\x02").starts_with("the file is neither gzip nor CSV text:"));
    assert!(said(&gzip(&csv(&[A1]))[..12]).starts_with("the gzip file is damaged before the end of its first line"));
    assert!(said(b"\x1f\x8bnot gzip at all, but it starts so").starts_with("the gzip file is damaged"));
    assert!(said(b"hello\nworld\n").ends_with("column 1 is \"hello\" instead of invoice_no"));
    assert!(said(b"invoice_no,stock_code\n").ends_with("column 3 (description) is missing"));
    let swapped = csv(&[A1]).replace("quantity,invoice_date", "invoice_date,quantity");
    assert!(said(swapped.as_bytes()).ends_with("column 4 is \"invoice_date\" instead of quantity"));
    let more = csv(&[A1]).replace("country\n", "country,vat\n");
    assert!(said(more.as_bytes()).ends_with("it has 9 columns instead of 8"));
    assert!(said("x".repeat(10_000).as_bytes()).ends_with("it is a line that does not end"));
}

#[test]
fn a_path_that_is_no_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("none.csv.gz"), folder.path().to_owned(), Path::new("").to_owned()] {
        let error = invoice::open(&path, &Limits::default()).unwrap_err();
        assert!(matches!(&error, Error::Open { .. }), "{error}");
        assert!(error.to_string().contains("give --invoices"), "{error}");
    }
    let path = folder.path().join("some.csv");
    std::fs::write(&path, csv(&[A1])).unwrap();
    assert_eq!(invoice::open(&path, &Limits::default()).unwrap().invoices.len(), 1);
}

#[test]
fn limits_hold() {
    let text = csv(&[A1, A2, &B1.replace("LANTERN", &"X".repeat(200)), C1]);
    let limits = Limits { line_bytes: 100, rows: 3, items: 1, faults: 1 };
    let read = invoice::read(text.as_bytes(), &limits).unwrap();
    assert_eq!(numbers(&read), [""; 0]);
    assert_eq!((read.report.faults.len(), read.report.fault_count), (1, 2));
    assert_eq!(read.report.faults[0].fault, "the invoice has more than 1 lines");
    let End::Early { after_line: 4, fault, dropped: None } = &read.report.end else { panic!("{:?}", read.report.end) };
    assert_eq!(fault, "more than 3 lines are not read");
    let exact = Limits { rows: 4, ..Limits::default() };
    assert!(invoice::read(text.as_bytes(), &exact).unwrap().report.is_clean());
}
