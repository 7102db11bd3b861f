//! What both layers have in common.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderName, Method, StatusCode};

use crate::drain::Drain;

/// Method and route template, such as `POST /v1/orders/{id}/payment`: what a key is unique in, beside its user.
///
/// The template may stand without a method (`/v1/orders`) where one layer serves several; the request's method is then
/// put before it, so that a key is never shared between methods.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope(Arc<str>);

impl Scope {
    /// A scope of this text.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The scope.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn of(&self, method: &Method) -> Arc<str> {
        let named = self.0.strip_prefix(method.as_str()).is_some_and(|rest| rest.starts_with(' '));
        if named { Arc::clone(&self.0) } else { format!("{method} {}", self.0).into() }
    }
}

type LoginOf = dyn Fn(&Extensions) -> Option<String> + Send + Sync;
type TurnedAway = dyn Fn(&Extensions) -> bool + Send + Sync;

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) scope: Scope,
    pub(crate) ttl: Duration,
    pub(crate) body_limit: usize,
    pub(crate) answer_limit: usize,
    pub(crate) fingerprint_headers: Vec<HeaderName>,
    pub(crate) replay_headers: Vec<HeaderName>,
    pub(crate) older_header: bool,
    pub(crate) statuses: Vec<(&'static str, StatusCode)>,
    pub(crate) drain: Drain,
    pub(crate) login_of: Option<Arc<LoginOf>>,
    pub(crate) turned_away: Vec<Arc<TurnedAway>>,
}

impl Options {
    pub(crate) fn new(scope: Scope) -> Self {
        Self {
            scope,
            ttl: Duration::from_hours(24),
            body_limit: 1024 * 1024,
            answer_limit: 256 * 1024,
            fingerprint_headers: Vec::new(),
            replay_headers: Vec::new(),
            older_header: false,
            statuses: Vec::new(),
            drain: Drain::new(),
            login_of: None,
            turned_away: Vec::new(),
        }
    }

    /// Whether a layer behind this one says, by its own mark, that it turned the request away.
    pub(crate) fn was_turned_away(&self, extensions: &Extensions) -> bool {
        self.turned_away.iter().any(|mark| mark(extensions))
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("scope", &self.scope)
            .field("ttl", &self.ttl)
            .field("body_limit", &self.body_limit)
            .field("answer_limit", &self.answer_limit)
            .finish_non_exhaustive()
    }
}

/// The settings that both layers have, as methods of a type with a field `options`.
macro_rules! options {
    () => {
        /// How long an answer is replayed, from its completion: 24 hours by default, 24 to 48 advised.
        #[must_use]
        pub fn ttl(mut self, ttl: std::time::Duration) -> Self {
            self.options.ttl = ttl;
            self
        }

        /// The largest request: 1 MiB by default; a larger one is answered with 413.
        #[must_use]
        pub fn body_limit(mut self, bytes: usize) -> Self {
            self.options.body_limit = bytes;
            self
        }

        /// The largest answer that is kept: 256 KiB by default. A larger one is passed on, and of it status, `Location`
        /// and `ETag` are kept; a retry is answered with 410.
        #[must_use]
        pub fn answer_limit(mut self, bytes: usize) -> Self {
            self.options.answer_limit = bytes;
            self
        }

        /// Request headers that belong to what is asked for, such as a currency.
        #[must_use]
        pub fn fingerprint_headers(mut self, names: impl IntoIterator<Item = http::HeaderName>) -> Self {
            self.options.fingerprint_headers.extend(names);
            self
        }

        /// Response headers that are replayed beside those that always are. Without effect on those that belong to one
        /// exchange or client, such as `Set-Cookie`, `Date`, `RateLimit` and `traceparent`.
        #[must_use]
        pub fn replay_headers(mut self, names: impl IntoIterator<Item = http::HeaderName>) -> Self {
            self.options.replay_headers.extend(names);
            self
        }

        /// Also sends `Idempotent-Replayed: true`, as older clients expect.
        #[must_use]
        pub fn older_replay_header(mut self) -> Self {
            self.options.older_header = true;
            self
        }

        /// Another status for problems of this type.
        #[must_use]
        pub fn status(mut self, of: &steadfast_core::problem::Type, status: http::StatusCode) -> Self {
            self.options.statuses.push((of.code, status));
            self
        }

        /// Where executions are counted, so that a shutting down process can wait for them.
        #[must_use]
        pub fn drain(mut self, drain: &crate::Drain) -> Self {
            self.options.drain = drain.clone();
            self
        }

        /// Answers of this route are sensitive: they end with the login that `login_of` finds in the request's
        /// extensions, see [`Store::forget_answers`](crate::Store::forget_answers). Without a login nothing of the answer
        /// but its status is kept.
        #[must_use]
        pub fn sensitive(
            mut self,
            login_of: impl Fn(&http::Extensions) -> Option<String> + Send + Sync + 'static,
        ) -> Self {
            self.options.login_of = Some(std::sync::Arc::new(login_of));
            self
        }

        /// Recognises, beside [`NotExecuted`](crate::NotExecuted), the mark that a layer behind this one puts into the
        /// extensions of its response when it has turned a request away.
        #[must_use]
        pub fn turned_away(mut self, mark: impl Fn(&http::Extensions) -> bool + Send + Sync + 'static) -> Self {
            self.options.turned_away.push(std::sync::Arc::new(mark));
            self
        }
    };
}
pub(crate) use options;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_method_is_always_part_of_the_scope() {
        assert_eq!(&*Scope::new("POST /v1/orders").of(&Method::POST), "POST /v1/orders");
        assert_eq!(&*Scope::new("/v1/orders").of(&Method::PUT), "PUT /v1/orders");
        assert_eq!(&*Scope::new("POST /v1/orders").of(&Method::PUT), "PUT POST /v1/orders");
        assert_eq!(&*Scope::new("POSTAL").of(&Method::POST), "POST POSTAL");
    }
}
