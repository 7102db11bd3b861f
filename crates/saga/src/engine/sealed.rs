//! Sensitive input at rest: each value at a sensitive path is sealed with a key of the saga's own, and that key with the
//! engine's keyring. Both are bound to the saga, a value also to its path. The key stands apart, so that erasing it shreds
//! the values wherever their copies are.

use std::borrow::Cow;

use serde_json::Value;
use steadfast_core::SagaId;
use steadfast_core::sealing::{self, KEY_LEN, Keyring, RANDOM_LEN};

use crate::Error;

/// The name that a saga's own key has in what it seals.
const KID: &str = "saga";

/// An input as it is stored.
pub(super) struct Sealed<'a> {
    /// The input itself, where nothing in it is sensitive.
    pub(super) input: Cow<'a, Value>,
    /// Which paths are sealed, in the order in which that was done.
    pub(super) paths: Vec<String>,
    /// The saga's key, sealed; `None` where the input has nothing sensitive.
    pub(super) key: Option<String>,
}

/// Why an input cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Its key was erased.
    #[error("its sensitive input was shredded: the key is gone")]
    Shredded,
    /// What stands there is not what was stored.
    #[error("its sensitive input at {path}: {fault}")]
    Unreadable { path: String, fault: String },
}

/// Seals what stands at the sensitive paths.
pub(super) fn seal<'a>(
    keyring: &Keyring,
    id: SagaId,
    input: &'a Value,
    sensitive: &[String],
) -> Result<Sealed<'a>, Error> {
    let mut sealed = Sealed { input: Cow::Borrowed(input), paths: Vec::new(), key: None };
    if sensitive.iter().all(|path| input.pointer(path).is_none()) {
        return Ok(sealed);
    }
    let public = sealed.input.to_mut();
    let key: [u8; KEY_LEN] = random()?;
    let own = Keyring::new(KID, key);
    for path in sensitive {
        // A path below one that is sealed already leads nowhere any more, and is sealed with it.
        let Some(value) = public.pointer_mut(path) else { continue };
        let text = serde_json::to_vec(value).map_err(|error| Error::Corrupt(error.to_string()))?;
        *value =
            Value::String(own.seal(&text, &place(id, path), random::<RANDOM_LEN>()?).map_err(|error| failed(&error))?);
        sealed.paths.push(path.clone());
    }
    sealed.key = Some(keyring.seal(&key, &key_place(id), random::<RANDOM_LEN>()?).map_err(|error| failed(&error))?);
    Ok(sealed)
}

/// Opens what [`seal`] sealed, in place.
pub(super) fn open(
    keyring: &Keyring,
    id: SagaId,
    input: &mut Value,
    paths: &[String],
    key: Option<&str>,
) -> Result<(), Fault> {
    if paths.is_empty() {
        return Ok(());
    }
    let unreadable = |path: &str, fault: String| Fault::Unreadable { path: path.to_owned(), fault };
    let key = keyring.open(key.ok_or(Fault::Shredded)?, &key_place(id));
    let key = key.map_err(|error| unreadable("the key", error.to_string()))?;
    let key = <[u8; KEY_LEN]>::try_from(key).map_err(|_| unreadable("the key", "it has another length".to_owned()))?;
    let own = Keyring::new(KID, key);
    for path in paths.iter().rev() {
        let value = input.pointer_mut(path).ok_or_else(|| unreadable(path, "it is missing".to_owned()))?;
        let text = value.as_str().ok_or_else(|| unreadable(path, sealing::Error::Malformed.to_string()))?;
        let opened = own.open(text, &place(id, path)).map_err(|error| unreadable(path, error.to_string()))?;
        // The error of the parser is left out: it may quote.
        *value = serde_json::from_slice(&opened).map_err(|_| unreadable(path, "no JSON".to_owned()))?;
    }
    Ok(())
}

/// Replaces what stands at these paths (JSON Pointer, RFC 6901), sealed or not.
pub(super) fn mask(input: &mut Value, paths: &[String]) {
    for path in paths {
        if let Some(value) = input.pointer_mut(path) {
            *value = Value::String("(masked)".to_owned());
        }
    }
}

fn place(id: SagaId, path: &str) -> String {
    format!("saga-input/{id}{path}")
}

fn key_place(id: SagaId) -> String {
    format!("saga-key/{id}")
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Config("the system gives no randomness".to_owned()))?;
    Ok(bytes)
}

fn failed(error: &sealing::Error) -> Error {
    Error::Config(format!("sensitive input cannot be sealed: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn id(key: &str) -> SagaId {
        SagaId::derive("till-7", "shop", key)
    }

    fn ring() -> Keyring {
        Keyring::new("now", [7; 32])
    }

    fn paths(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|path| (*path).to_owned()).collect()
    }

    fn opened(sealed: &Sealed<'_>, of: &str) -> Result<Value, Fault> {
        let mut input = sealed.input.clone().into_owned();
        open(&ring(), id(of), &mut input, &sealed.paths, sealed.key.as_deref()).map(|()| input)
    }

    #[test]
    fn any_value_comes_back_and_nothing_of_it_stands_there() {
        let input =
            json!({"no": 1, "card": "tok_secret", "lines": [{"pin": 4711}, {"pin": null}], "who": {"mail": "a@b"}});
        let sensitive = paths(&["/card", "/lines/0/pin", "/lines/1/pin", "/who", "/missing"]);
        let sealed = seal(&ring(), id("1"), &input, &sensitive).unwrap();
        assert_eq!(sealed.paths, sensitive[..4]);
        assert_eq!(sealed.input["no"], 1);
        let text = sealed.input.to_string();
        assert!(["tok_secret", "4711", "a@b", "mail"].iter().all(|secret| !text.contains(secret)), "{text}");
        assert_eq!(opened(&sealed, "1").unwrap(), input);
        // The same value is another text in another saga, and in this one.
        let again = seal(&ring(), id("1"), &input, &sensitive).unwrap();
        assert_ne!((again.input, again.key), (sealed.input, sealed.key));
    }

    #[test]
    fn paths_within_each_other_are_sealed_in_either_order() {
        let input = json!({"who": {"mail": "a@b", "name": "n"}});
        for sensitive in [["/who", "/who/mail"], ["/who/mail", "/who"]] {
            let sealed = seal(&ring(), id("1"), &input, &paths(&sensitive)).unwrap();
            assert!(sealed.input["who"].is_string());
            assert_eq!(opened(&sealed, "1").unwrap(), input);
        }
    }

    #[test]
    fn an_input_with_nothing_sensitive_has_no_key() {
        for sensitive in [paths(&[]), paths(&["/card"])] {
            let input = json!({"no": 1});
            let sealed = seal(&ring(), id("1"), &input, &sensitive).unwrap();
            assert_eq!((sealed.key.is_some(), sealed.paths.len()), (false, 0));
            assert!(matches!(sealed.input, Cow::Borrowed(_)), "it is not copied");
            assert_eq!(opened(&sealed, "1").unwrap(), json!({"no": 1}));
        }
    }

    #[test]
    fn what_was_moved_changed_or_shredded_does_not_open() {
        let input = json!({"card": "tok_secret", "other": "tok_other"});
        let sensitive = paths(&["/card", "/other"]);
        let sealed = seal(&ring(), id("1"), &input, &sensitive).unwrap();
        let stranger = seal(&ring(), id("2"), &input, &sensitive).unwrap();
        let fault = |of: &str, input: Value, key: Option<String>| {
            opened(&Sealed { input: Cow::Owned(input), paths: sensitive.clone(), key }, of).unwrap_err().to_string()
        };
        assert!(
            fault("2", sealed.input.clone().into_owned(), sealed.key.clone()).contains("the key"),
            "another saga's key"
        );
        assert!(
            fault("1", stranger.input.clone().into_owned(), sealed.key.clone()).contains("/other"),
            "another saga's values"
        );
        let swapped = json!({"card": sealed.input["other"], "other": sealed.input["card"]});
        assert!(fault("1", swapped, sealed.key.clone()).contains("/other"), "another path's value");
        for put in [json!({"card": "plain", "other": 1}), json!({"card": "x"})] {
            assert!(fault("1", put, sealed.key.clone()).contains("/other"));
        }
        let shredded = Sealed { key: None, ..sealed };
        assert_eq!(opened(&shredded, "1"), Err(Fault::Shredded));
    }
}
