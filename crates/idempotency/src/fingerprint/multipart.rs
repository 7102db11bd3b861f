//! `multipart/form-data` part by part: the boundary differs with every attempt of most clients, the parts do not.

use super::put;

/// The parts in their order, each with its headers by name and its content; `None` for anything out of the ordinary.
pub(super) fn canonical(parameters: &str, body: &[u8]) -> Option<Vec<u8>> {
    let delimiter = format!("\r\n--{}", boundary(parameters)?).into_bytes();
    let mut out = Vec::with_capacity(body.len() + 64);
    let mut rest = body.strip_prefix(&delimiter[2..])?;
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return matches!(end, b"" | b"\r\n").then_some(out);
        }
        let part = rest.strip_prefix(b"\r\n")?;
        let end = find(part, &delimiter)?;
        put_part(&mut out, &part[..end])?;
        rest = &part[end + delimiter.len()..];
    }
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) -> Option<()> {
    let (head, content) = if let Some(content) = part.strip_prefix(b"\r\n") {
        (&b""[..], content)
    } else {
        let end = find(part, b"\r\n\r\n")?;
        (&part[..end], &part[end + 4..])
    };
    let mut headers = Vec::new();
    for line in std::str::from_utf8(head).ok()?.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        // A name with white space around it, or none, is a folded line or worse.
        if name.is_empty() || name.trim() != name {
            return None;
        }
        headers.push((name.to_ascii_lowercase(), value.trim()));
    }
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    out.extend((headers.len() as u64).to_be_bytes());
    for (name, value) in headers {
        put(out, name.as_bytes());
        put(out, value.as_bytes());
    }
    put(out, content);
    Some(())
}

/// The one parameter `boundary`, bare or quoted, of the characters that RFC 2046 allows.
fn boundary(parameters: &str) -> Option<&str> {
    let mut found = None;
    for parameter in parameters.split(';') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if name.trim().eq_ignore_ascii_case("boundary") && found.replace(value.trim()).is_some() {
            return None;
        }
    }
    let value = found?;
    let value = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'))?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    ((1..=70).contains(&value.len()) && value.bytes().all(allowed)).then_some(value)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    let (first, _) = what.split_first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| byte == first)?;
        if bytes[at..].starts_with(what) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(boundary: &str, content: &str) -> Vec<u8> {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n{content}\r\n--{boundary}\r\ncontent-disposition: form-data; name=\"n\"\r\n\r\n2\r\n--{boundary}--\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn another_boundary_is_the_same_form_another_content_is_not() {
        let one = canonical(" boundary=aaa", &body("aaa", "hello\r\nworld")).unwrap();
        assert_eq!(canonical("boundary=\"b-b\"; charset=utf-8", &body("b-b", "hello\r\nworld")), Some(one.clone()));
        assert_ne!(canonical("boundary=aaa", &body("aaa", "hello\nworld")), Some(one));
    }

    #[test]
    fn anything_out_of_the_ordinary_has_no_form() {
        let whole = body("aaa", "x");
        assert!(canonical("boundary=aaa", &whole).is_some());
        assert_eq!(canonical("", &whole), None);
        assert_eq!(canonical("boundary=aaa; boundary=bbb", &whole), None);
        assert_eq!(canonical("boundary=bbb", &whole), None);
        assert_eq!(canonical("boundary=aaa", &whole[..whole.len() - 6]), None);
        assert_eq!(canonical("boundary=aaa", &[b"preamble\r\n", &whole[..]].concat()), None);
        assert_eq!(canonical("boundary=aaa", &[&whole[..], b"epilogue"].concat()), None);
        assert_eq!(canonical("boundary=aaa", b"--aaa\r\nno header line\r\n\r\nx\r\n--aaa--"), None);
    }
}
