use proptest::prelude::*;

use super::*;
use crate::Version;

fn etags() -> Etags {
    Etags::new(key("k2", 2)).with_former(key("k1", 1))
}

fn key(id: &str, seed: u8) -> EtagKey {
    EtagKey::new(id, &[seed; 32]).unwrap()
}

fn subject() -> Subject<'static> {
    Subject::new("product", "A-1")
}

fn version(number: i64) -> Version {
    Version::from_stored(number)
}

fn tag(etags: &Etags, subject: &Subject<'_>, number: i64) -> String {
    etags.issue(subject, version(number)).to_str().unwrap().to_owned()
}

fn if_match(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(IF_MATCH, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// The versions that the header stands for, or the status and the code of the problem.
fn read_match(values: &[&str], subject: &Subject<'_>) -> Result<Vec<i64>, (u16, String)> {
    match etags().if_match(&if_match(values), subject, Star::Refused) {
        Ok(Expected { row: Row::OneOf(stamps), precondition: true, .. }) => {
            Ok(stamps.iter().map(|stamp| stamp.version.get()).collect())
        }
        Ok(other) => panic!("{other:?}"),
        Err(problem) => Err((problem.status, problem.type_uri.rsplit('/').next().unwrap().to_owned())),
    }
}

fn stale() -> Result<Vec<i64>, (u16, String)> {
    Err((412, "version-mismatch".to_owned()))
}

fn invalid() -> Result<Vec<i64>, (u16, String)> {
    Err((400, "etag-invalid".to_owned()))
}

#[test]
fn one_version_has_one_tag_and_it_comes_back() {
    let (first, again) = (tag(&etags(), &subject(), 3), tag(&etags(), &subject(), 3));
    assert_eq!(first, again);
    assert_ne!(first, tag(&etags(), &subject(), 4));
    assert_eq!(read_match(&[&first], &subject()), Ok(vec![3]));
    let epoch = Stamp { epoch: -9, version: version(1) };
    let value = etags().issue(&subject(), epoch);
    let expected = etags().if_match(&if_match(&[value.to_str().unwrap()]), &subject(), Star::Refused).unwrap();
    assert!(expected.is_met_by(epoch));
    assert!(!expected.is_met_by(version(1).into()), "an earlier life of the row");
}

#[test]
fn the_version_cannot_be_read_from_the_tag() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let bytes = |number| {
        let tag = tag(&etags(), &subject(), number);
        URL_SAFE_NO_PAD.decode(tag.trim_matches('"').split_once('.').unwrap().1).unwrap()
    };
    let (one, two) = (bytes(1), bytes(2));
    assert_ne!(one[..8], [0; 8]);
    assert!(one[..16].iter().zip(&two[..16]).filter(|(a, b)| a != b).count() > 8, "neighbours share nothing");
}

#[test]
fn what_is_missing_or_names_no_version_is_428() {
    let missing = Err((428, "precondition-required".to_owned()));
    assert_eq!(read_match(&[], &subject()), missing);
    assert_eq!(read_match(&["*"], &subject()), missing);
    let any = etags().if_match(&if_match(&["*"]), &subject(), Star::Allowed).unwrap();
    assert!(any.is_met_by(version(77).into()));
}

#[test]
fn lists_match_when_any_member_does_over_all_lines() {
    let (three, four) = (tag(&etags(), &subject(), 3), tag(&etags(), &subject(), 4));
    assert_eq!(read_match(&[&format!("{three}, {four}")], &subject()), Ok(vec![3, 4]));
    assert_eq!(read_match(&["\"foreign\"", &four], &subject()), Ok(vec![4]));
    assert_eq!(read_match(&[&format!("{three}, {three}")], &subject()), Ok(vec![3]));
}

#[test]
fn weak_foreign_and_retired_tags_are_stale() {
    let three = tag(&etags(), &subject(), 3);
    assert_eq!(read_match(&[&format!("W/{three}")], &subject()), stale());
    assert_eq!(read_match(&["\"abc\""], &subject()), stale());
    let retired = tag(&Etags::new(key("k0", 9)), &subject(), 3);
    assert_eq!(read_match(&[&retired], &subject()), stale());
}

#[test]
fn a_former_key_still_verifies_and_no_longer_issues() {
    let former = tag(&Etags::new(key("k1", 1)), &subject(), 3);
    assert_eq!(read_match(&[&former], &subject()), Ok(vec![3]));
    assert!(tag(&etags(), &subject(), 3).starts_with("\"k2."));
}

#[test]
fn a_tag_of_something_else_is_invalid() {
    let three = tag(&etags(), &subject(), 3);
    for other in [
        Subject::new("product", "A-2"),
        Subject::new("stock", "A-1"),
        Subject::new("productA", "-1"),
        subject().variant("text/csv"),
    ] {
        assert_eq!(read_match(&[&three], &other), invalid(), "{other:?}");
    }
    let known_id_other_secret = tag(&Etags::new(key("k2", 3)), &subject(), 3);
    assert_eq!(read_match(&[&known_id_other_secret], &subject()), invalid());
    assert_eq!(read_match(&["\"k2.\""], &subject()), invalid());
    assert_eq!(read_match(&["\"k2.AAAA\""], &subject()), invalid());
    assert_eq!(
        read_match(&[&format!("{three}, \"k2.AAAA\"")], &subject()),
        invalid(),
        "one forged tag spoils the list"
    );
}

#[test]
fn a_tag_of_a_sensitive_entity_serves_its_user_only() {
    let (ann, bob) = (Principal::new("ann", ["x"]), Principal::new("bob", ["x"]));
    let for_ann = subject().by(&ann).sensitive();
    let three = tag(&etags(), &for_ann, 3);
    assert_eq!(read_match(&[&three], &for_ann), Ok(vec![3]));
    assert_eq!(read_match(&[&three], &subject().by(&bob).sensitive()), invalid());
    let mut headers = HeaderMap::new();
    etags().put(&mut headers, &for_ann, version(3));
    assert_eq!(headers[CACHE_CONTROL], "private");
    // Without that, users share tags, and caches may too.
    let plain = tag(&etags(), &subject().by(&ann), 3);
    assert_eq!(read_match(&[&plain], &subject().by(&bob)), Ok(vec![3]));
    etags().put(&mut headers, &subject().by(&ann), version(3));
}

#[test]
fn a_header_that_is_no_list_is_a_bad_request() {
    for text in ["3", "\"a", ""] {
        assert_eq!(read_match(&[text], &subject()), Err((400, "invalid-request".to_owned())), "{text}");
    }
}

#[test]
fn a_put_creates_or_replaces() {
    let mut headers = HeaderMap::new();
    headers.insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
    let read = |headers: &HeaderMap| etags().precondition(headers, &subject(), Star::Refused);
    assert_eq!(read(&headers), Ok(Precondition::Create));
    headers.insert(IF_MATCH, etags().issue(&subject(), version(1)));
    assert_eq!(read(&headers).unwrap_err().status, 400);
    headers.remove(IF_NONE_MATCH);
    assert!(matches!(read(&headers), Ok(Precondition::Replace(_))));
    headers.insert(IF_NONE_MATCH, HeaderValue::from_static("\"a\""));
    headers.remove(IF_MATCH);
    assert_eq!(read(&headers).unwrap_err().status, 400);
    assert_eq!(read(&HeaderMap::new()).unwrap_err().status, 428);
}

#[test]
fn a_get_is_not_modified_when_its_tag_is_the_present_one() {
    let not_modified = |text: &str, number| {
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, HeaderValue::from_str(text).unwrap());
        etags().not_modified(&headers, &subject(), version(number))
    };
    let three = tag(&etags(), &subject(), 3);
    assert!(not_modified(&three, 3));
    assert!(not_modified(&format!("\"x\", W/{three}"), 3), "weak comparison");
    assert!(not_modified(&tag(&Etags::new(key("k1", 1)), &subject(), 3), 3), "a former key");
    assert!(not_modified("*", 3));
    assert!(!not_modified(&three, 4));
    assert!(!not_modified("rubbish", 3));
    assert!(!etags().not_modified(&HeaderMap::new(), &subject(), version(3)));
}

#[test]
fn keys_that_are_none_are_refused_and_secrets_stay_hidden() {
    assert!(EtagKey::new("", &[1; 32]).is_err());
    assert!(EtagKey::new("a.b", &[1; 32]).is_err());
    assert!(EtagKey::new("a\"b", &[1; 32]).is_err());
    assert!(EtagKey::new("a", &[1; 31]).unwrap_err().to_string().contains("31 bytes"));
    assert_eq!(format!("{:?} {:?}", key("k", 7), etags()), "EtagKey { id: \"k\", .. } [\"k2\", \"k1\"]");
}

proptest! {
    #[test]
    fn every_stamp_comes_back_and_no_changed_tag_does(
        epoch in any::<i64>(), number in any::<i64>(), place in 0_usize..43, with in 0_usize..64,
    ) {
        let stamp = Stamp { epoch, version: version(number) };
        let value = etags().issue(&subject(), stamp).to_str().unwrap().to_owned();
        prop_assert!(etags().if_match(&if_match(&[&value]), &subject(), Star::Refused).unwrap().is_met_by(stamp));
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut changed = value.clone().into_bytes();
        let place = value.find('.').unwrap() + 1 + place;
        changed[place] = alphabet[with];
        let changed = String::from_utf8(changed).unwrap();
        if changed != value {
            prop_assert_eq!(read_match(&[&changed], &subject()), invalid());
        }
    }
}
