//! What the end of a handler means: a function of its status and of the marks on its response.

use http::{Extensions, Response, StatusCode};

/// A mark in a response's extensions: the handler was not reached. Layers behind this one that turn a request away
/// (limiter, body checks, routing) set it, and the claim is freed instead of storing their answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotExecuted;

/// A mark in a response's extensions: the handler did nothing, and may do it when it is asked again with the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFinal;

/// Marks that a handler or a layer can put on its response.
pub trait ResponseExt {
    /// Nothing was done and the same key may ask again: the answer is not stored. Without effect on a 5xx, after which
    /// nobody knows what was done.
    #[must_use]
    fn not_final(self) -> Self;

    /// The handler was not reached, whatever the status says.
    #[must_use]
    fn not_executed(self) -> Self;
}

impl<B> ResponseExt for Response<B> {
    fn not_final(mut self) -> Self {
        self.extensions_mut().insert(NotFinal);
        self
    }

    fn not_executed(mut self) -> Self {
        self.extensions_mut().insert(NotExecuted);
        self
    }
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Stored and replayed.
    Final,
    /// Nothing happened: the claim is freed.
    NotExecuted,
    /// Nobody knows: the route's policy.
    Unknown,
}

/// The meaning of a response that the handler, or a layer before it, gave.
pub(crate) fn end(status: StatusCode, extensions: &Extensions, turned_away: bool) -> End {
    if turned_away || extensions.get::<NotExecuted>().is_some() {
        End::NotExecuted
    } else if status.is_server_error() || status.is_informational() {
        End::Unknown
    } else if extensions.get::<NotFinal>().is_some() {
        End::NotExecuted
    } else {
        End::Final
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, mark: impl FnOnce(Response<()>) -> Response<()>) -> End {
        let response = mark(Response::builder().status(status).body(()).unwrap());
        end(response.status(), response.extensions(), false)
    }

    #[test]
    fn the_table_of_ends() {
        for status in [200, 201, 202, 204, 303, 304, 400, 401, 404, 409, 412, 422, 429] {
            assert_eq!(of(status, |response| response), End::Final, "{status} by the handler");
            assert_eq!(of(status, ResponseExt::not_final), End::NotExecuted, "{status} not final");
        }
        for status in [401, 403, 405, 408, 413, 415, 425, 429, 503] {
            assert_eq!(of(status, ResponseExt::not_executed), End::NotExecuted, "{status} by a layer of ours");
        }
        for status in [500, 502, 503, 504] {
            assert_eq!(of(status, |response| response), End::Unknown, "{status}");
            assert_eq!(of(status, ResponseExt::not_final), End::Unknown, "{status}: not final says nothing");
        }
    }
}
