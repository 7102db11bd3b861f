//! A version on its way through a client: opaque, and provably ours.
//!
//! | request | answer |
//! |---|---|
//! | no `If-Match` | 428 |
//! | a tag of the present version, in a list of any length | goes on |
//! | only tags of other versions, weak tags, tags under a key id that is retired or not ours | 412 |
//! | a tag under a known key id that was not issued for this row, variant and user | 400 and a security event |
//! | `*` | 428, unless the route allows it |

mod list;
mod token;

use std::fmt;

use http::header::{CACHE_CONTROL, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};
use steadfast_core::{Principal, Problem, problem};

use self::list::{List, Tag};
use self::token::Opened;
pub use self::token::{EtagKey, EtagKeyError};
use crate::expected::Row;
use crate::{Expected, Stamp, security};

/// What an entity tag stands for: the row, the form in which it is shown, and for sensitive ones who sees it.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    entity: &'a str,
    id: &'a str,
    variant: &'a str,
    user: Option<&'a str>,
    sensitive: bool,
}

impl<'a> Subject<'a> {
    /// The row `id` of `entity`.
    pub fn new(entity: &'a str, id: &'a str) -> Self {
        Self { entity, id, variant: "", user: None, sensitive: false }
    }

    /// The form that the tag is for, where one resource has several (media type, language, fields). Tags of one form do
    /// not pass for another.
    #[must_use]
    pub fn variant(mut self, variant: &'a str) -> Self {
        self.variant = variant;
        self
    }

    /// Who asks: named in the security log.
    #[must_use]
    pub fn by(mut self, principal: &'a Principal) -> Self {
        self.user = Some(principal.subject());
        self
    }

    /// The entity is sensitive: a tag serves only the user that it was issued to, and the answer is not for shared caches.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// The parts that the MAC covers beside the version.
    fn parts(&self) -> [&str; 4] {
        [self.entity, self.id, self.variant, if self.sensitive { self.user.unwrap_or_default() } else { "" }]
    }
}

/// Whether a route accepts `If-Match: *`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Star {
    /// 428: an edit must name what it is based on.
    Refused,
    /// Any version will do, as long as the resource exists.
    Allowed,
}

/// What a `PUT` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// `If-None-Match: *`: create it; a resource that exists is 412.
    Create,
    /// `If-Match`: replace what was read.
    Replace(Expected),
}

/// Issues entity tags and reads them back. The version travels encrypted and authenticated (HMAC-SHA-256, one key for
/// each purpose), so that a client can neither read nor choose it; the same version always gives the same tag.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use steadfast_locking::{EtagKey, Etags, Star, Subject, Version};
///
/// let etags = Etags::new(EtagKey::new("2026q4", &[7; 32])?);
/// let subject = Subject::new("product", "A-1");
/// let mut answer = HeaderMap::new();
/// etags.put(&mut answer, &subject, Version::FIRST);
///
/// let mut request = HeaderMap::new();
/// assert_eq!(etags.if_match(&request, &subject, Star::Refused).unwrap_err().status, 428);
/// request.insert("if-match", answer["etag"].clone());
/// let expected = etags.if_match(&request, &subject, Star::Refused).unwrap();
/// assert!(expected.is_met_by(Version::FIRST.into()));
/// # Ok::<(), steadfast_locking::EtagKeyError>(())
/// ```
#[derive(Clone)]
pub struct Etags {
    /// The first one issues, all of them verify.
    keys: Vec<EtagKey>,
}

impl fmt::Debug for Etags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(EtagKey::id)).finish()
    }
}

impl Etags {
    /// Tags under this key.
    pub fn new(key: EtagKey) -> Self {
        Self { keys: vec![key] }
    }

    /// A former key, whose tags are still good. A key that is no longer named here is retired: its tags are stale (412).
    #[must_use]
    pub fn with_former(mut self, key: EtagKey) -> Self {
        self.keys.push(key);
        self
    }

    /// The tag of this version.
    pub fn issue(&self, subject: &Subject<'_>, stamp: impl Into<Stamp>) -> HeaderValue {
        // `new` puts the first key in, and a token is letters, digits and punctuation: neither can fail.
        let text = self.keys.first().map(|key| key.seal(&subject.parts(), stamp.into())).unwrap_or_default();
        HeaderValue::try_from(format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"\""))
    }

    /// Puts `ETag` on an answer, and `Cache-Control: private` where the subject is sensitive.
    pub fn put(&self, headers: &mut HeaderMap, subject: &Subject<'_>, stamp: impl Into<Stamp>) {
        headers.insert(ETAG, self.issue(subject, stamp));
        if subject.sensitive {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
    }

    /// What `If-Match` says an edit is based on; give it to [`Entity::replace`](crate::Entity::replace), whose conflict is
    /// then the 412.
    ///
    /// # Errors
    /// The answer to the client: 428, 412 or 400, see the table above.
    pub fn if_match(&self, headers: &HeaderMap, subject: &Subject<'_>, star: Star) -> Result<Expected, Problem> {
        let (entity, user) = (subject.entity, subject.user);
        let Some(list) = read(headers, &IF_MATCH)? else {
            return Err(problem::PRECONDITION_REQUIRED.with(format!(
                "the header If-Match is required: read the {entity} and send the ETag that came with it"
            )));
        };
        let tags = match list {
            List::Star if star == Star::Refused => {
                return Err(problem::PRECONDITION_REQUIRED.with(format!(
                    "If-Match: * names no version: read the {entity} and send the ETag that came with it"
                )));
            }
            List::Star => {
                let user = user.map(str::to_owned);
                return Ok(Expected { row: Row::Any, precondition: true, user, key_id: None });
            }
            List::Tags(tags) => tags,
        };
        let mut stamps = Vec::new();
        let mut key_id = None;
        // If-Match compares strongly: a weak tag never matches (RFC 9110, 13.1.1).
        for Tag { text, .. } in tags.iter().filter(|tag| !tag.weak) {
            match token::open(&self.keys, &subject.parts(), text) {
                Opened::Ours(stamp, id) => {
                    if !stamps.contains(&stamp) {
                        stamps.push(stamp);
                    }
                    key_id = Some(id.to_owned());
                }
                Opened::Foreign => {}
                Opened::Forged(id) => {
                    security::forged_etag(entity, user, id);
                    return Err(problem::INVALID_ETAG.with(format!(
                        "the entity tag in If-Match was not issued for this {entity}: read it and send the ETag that came with it"
                    )));
                }
            }
        }
        if stamps.is_empty() {
            security::conflict(entity, user, None);
            return Err(problem::VERSION_MISMATCH.with(format!(
                "no entity tag in If-Match is of the present version: read the {entity} again and send its new ETag"
            )));
        }
        Ok(Expected { row: Row::OneOf(stamps), precondition: true, user: user.map(str::to_owned), key_id })
    }

    /// For a `PUT` that creates or replaces: exactly one of `If-None-Match: *` and `If-Match`.
    ///
    /// # Errors
    /// As [`if_match`](Self::if_match); 400 when both are there, or `If-None-Match` holds anything but `*`.
    pub fn precondition(
        &self,
        headers: &HeaderMap,
        subject: &Subject<'_>,
        star: Star,
    ) -> Result<Precondition, Problem> {
        let invalid = |detail: &str| Err(problem::INVALID.with(detail));
        match read(headers, &IF_NONE_MATCH)? {
            Some(_) if headers.contains_key(IF_MATCH) => invalid(
                "If-Match and If-None-Match exclude each other: send If-None-Match: * to create, If-Match to replace",
            ),
            Some(List::Star) => Ok(Precondition::Create),
            Some(List::Tags(_)) => invalid("If-None-Match must be * here: it creates what is not there yet"),
            None => self.if_match(headers, subject, star).map(Precondition::Replace),
        }
    }

    /// Whether a `GET` may be answered with 304: `If-None-Match` lists the present tag (compared weakly) or is `*`.
    pub fn not_modified(&self, headers: &HeaderMap, subject: &Subject<'_>, current: impl Into<Stamp>) -> bool {
        let current = current.into();
        match read(headers, &IF_NONE_MATCH) {
            Ok(Some(List::Star)) => true,
            // Tags under a former key are as good as new ones.
            Ok(Some(List::Tags(tags))) => tags.iter().any(|tag| {
                matches!(token::open(&self.keys, &subject.parts(), &tag.text), Opened::Ours(stamp, _) if stamp == current)
            }),
            Ok(None) | Err(_) => false,
        }
    }
}

/// A header's list over all its lines.
fn read(headers: &HeaderMap, name: &HeaderName) -> Result<Option<List>, Problem> {
    let fault =
        |fault: &str| problem::INVALID.with(format!("the header {name} {fault}")).member("field", name.as_str());
    let mut lines = Vec::new();
    for line in headers.get_all(name) {
        lines.push(line.to_str().map_err(|_| fault("must be visible ASCII: send the ETag as it came"))?);
    }
    if lines.is_empty() {
        return Ok(None);
    }
    list::parse(&lines.join(", ")).map(Some).map_err(fault)
}

#[cfg(test)]
mod tests;
