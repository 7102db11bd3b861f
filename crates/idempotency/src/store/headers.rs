//! The headers of a stored answer as one block of bytes.

use http::{HeaderName, HeaderValue};

use crate::Answer;

/// Headers as HTTP/1.1 writes them: a name cannot hold a colon, and neither part a line feed.
pub(super) fn encode(answer: &Answer) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in &answer.headers {
        block.extend_from_slice(name.as_str().as_bytes());
        block.push(b':');
        block.extend_from_slice(value.as_bytes());
        block.push(b'\n');
    }
    block
}

/// The headers of a block; `None` where it is none.
pub(super) fn decode(block: &[u8]) -> Option<Vec<(HeaderName, HeaderValue)>> {
    block
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            let line = line.strip_suffix(b"\n")?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((HeaderName::from_bytes(&line[..colon]).ok()?, HeaderValue::from_bytes(&line[colon + 1..]).ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use http::{StatusCode, header};

    use super::*;

    #[test]
    fn headers_read_back_with_every_byte_that_a_header_may_hold() {
        let mut answer = Answer::new(StatusCode::OK)
            .with_header(header::LINK, HeaderValue::from_static("<a>; rel=\"x: y\""))
            .with_header(header::LINK, HeaderValue::from_static(""));
        answer = answer.with_header(header::ETAG, HeaderValue::from_bytes(b"\"\xff\t\"").unwrap());
        assert_eq!(decode(&encode(&answer)).unwrap(), answer.headers);
        assert_eq!(decode(b""), Some(Vec::new()));
        assert_eq!(decode(b"no colon\n"), None);
        assert_eq!(decode(b"cut: off"), None);
    }
}
