//! Forms (`application/x-www-form-urlencoded`) as ordered pairs.

use super::put;

/// The pairs in their order, decoded; `None` where an escape is not one, since readers treat that differently.
pub(super) fn canonical(body: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(body.len() * 2);
    for pair in body.split(|byte| *byte == b'&') {
        if let Some(at) = pair.iter().position(|byte| *byte == b'=') {
            out.push(1);
            put(&mut out, &decode(&pair[..at])?);
            put(&mut out, &decode(&pair[at + 1..])?);
        } else {
            // `a` and `a=` are not the same to every reader.
            out.push(0);
            put(&mut out, &decode(pair)?);
        }
    }
    Some(out)
}

fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            other => *other,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_pairs_in_the_same_order_are_the_same_form() {
        let form = canonical(b"item=caf%C3%A9+au+lait&n=2").unwrap();
        assert_eq!(Some(&form), canonical("item=caf%c3%a9%20au%20lait&%6e=2".as_bytes()).as_ref());
        for other in [
            &b"n=2&item=caf%C3%A9+au+lait"[..],
            b"item=caf%C3%A9+au+lait&n=2&",
            b"item=caf%C3%A9+au+lait&n=2=",
            b"item&n=2",
        ] {
            assert_ne!(Some(&form), canonical(other).as_ref());
        }
        assert_ne!(canonical(b"a"), canonical(b"a="));
        assert_ne!(canonical(b"a=b%26c=d"), canonical(b"a=b&c=d"));
    }

    #[test]
    fn a_broken_escape_has_no_form() {
        for fault in [&b"a=%"[..], b"a=%1", b"a=%zz"] {
            assert_eq!(canonical(fault), None);
        }
    }
}
