//! A saga call as the participant sees it: the headers, believed only as far as the call's own token vouches for them.

use std::fmt;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use steadfast_core::{Knowledge, Op, Problem, StepKey, Timestamp, header, problem};

use super::token::{self, Key};

/// A verified call of the orchestrator.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// Which effect is asked for.
    pub key: StepKey,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// When the saga started.
    pub started: Timestamp,
    /// What the orchestrator knows of the action; on compensations only.
    pub knowledge: Option<Knowledge>,
    /// The user on whose behalf the saga runs. Their own token may have expired long ago.
    pub user: String,
    /// The permission that the orchestrator has checked for this step.
    pub permission: String,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// The epoch of the orchestrator that called; for logs only.
    pub epoch: Option<i64>,
}

impl fmt::Debug for Call {
    /// Without the user.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("key", &format_args!("{}", self.key))
            .field("attempt", &self.attempt)
            .field("started", &self.started)
            .field("knowledge", &self.knowledge)
            .field("permission", &self.permission)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

impl Call {
    /// The call that these headers describe, if a token minted under `key` for `audience` vouches for it and carries the
    /// permission `scope` that the route requires.
    ///
    /// # Errors
    /// 401 where the token is missing or wrong, 403 where it is for another step or permission or where a header of the
    /// protocol is missing or wrong. Never 400: the protocol reads that as a refusal by the business, and a call that is
    /// not well formed is a fault of the installation, which an operator must see.
    pub fn from_headers(
        headers: &HeaderMap,
        key: &Key,
        audience: &str,
        scope: &str,
        now: Timestamp,
    ) -> Result<Self, Problem> {
        let claims = bearer(headers)
            .and_then(|text| token::verify(key, text, audience, now).map_err(|error| error.to_string()))
            .map_err(|fault| problem::UNAUTHENTICATED.with(fault))?;
        let step_key: StepKey = require(headers, header::IDEMPOTENCY_KEY)?
            .trim_matches('"')
            .parse()
            .map_err(|error| problem::FORBIDDEN.with(format!("{}: {error}", header::IDEMPOTENCY_KEY)))?;
        if claims.key != step_key.to_string() {
            return Err(
                problem::FORBIDDEN.with("the token was minted for another step: its jti is not the Idempotency-Key")
            );
        }
        if claims.scope != scope {
            return Err(problem::FORBIDDEN.with(format!("this route requires the permission {scope:?}, which the token's scope does not name: add it to the step's permissions")));
        }
        agree(headers, header::SAGA_ID, |text| text.parse() == Ok(step_key.saga))?;
        agree(headers, header::SAGA_STEP, |text| text == step_key.step)?;
        let knowledge = match step_key.op {
            Op::Action => None,
            Op::Compensate => Some(knowledge(require(headers, header::SAGA_ACTION)?)?),
        };
        Ok(Self {
            attempt: optional(headers, header::SAGA_ATTEMPT)?.unwrap_or(1),
            started: Timestamp::from_millis(number(header::SAGA_STARTED, require(headers, header::SAGA_STARTED)?)?),
            epoch: optional(headers, header::SAGA_EPOCH)?,
            knowledge,
            user: claims.user.into_owned(),
            permission: claims.scope.into_owned(),
            traceparent: single(headers, header::TRACEPARENT)?.map(str::to_owned),
            key: step_key,
        })
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, String> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else {
        return Err("one Authorization header with the orchestrator's bearer is required".to_owned());
    };
    let text = value.to_str().map_err(|_| "the Authorization header is not text".to_owned())?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err("the Authorization header is not a bearer".to_owned());
    }
    Ok(token.trim())
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut all = headers.get_all(name).iter();
    let first = all.next();
    if all.next().is_some() {
        return Err(problem::FORBIDDEN.with(format!("the header {name} is there twice")));
    }
    first
        .map(|value| value.to_str().map_err(|_| problem::FORBIDDEN.with(format!("the header {name} is not text"))))
        .transpose()
}

fn require<'a>(headers: &'a HeaderMap, name: &str) -> Result<&'a str, Problem> {
    single(headers, name)?
        .ok_or_else(|| problem::FORBIDDEN.with(format!("the header {name} is required on saga calls")))
}

fn optional<T: std::str::FromStr>(headers: &HeaderMap, name: &str) -> Result<Option<T>, Problem> {
    single(headers, name)?.map(|text| number(name, text)).transpose()
}

fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| problem::FORBIDDEN.with(format!("the header {name} must be a whole number")))
}

/// `Saga-Id` and `Saga-Step` repeat what the key says, for logs and proxies; where they are there they must agree.
fn agree(headers: &HeaderMap, name: &str, agrees: impl Fn(&str) -> bool) -> Result<(), Problem> {
    match single(headers, name)? {
        Some(text) if !agrees(text) => {
            Err(problem::FORBIDDEN.with(format!("the header {name} contradicts the Idempotency-Key")))
        }
        _ => Ok(()),
    }
}

fn knowledge(text: &str) -> Result<Knowledge, Problem> {
    match text {
        "done" => Ok(Knowledge::Done),
        "unknown" => Ok(Knowledge::Unknown),
        _ => Err(problem::FORBIDDEN.with(format!("the header {} must be done or unknown", header::SAGA_ACTION))),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use steadfast_core::SagaId;

    use super::super::token::{Claims, mint};
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn key() -> Key {
        Key::new(&[3; 32]).unwrap()
    }

    fn step(op: Op) -> StepKey {
        StepKey { saga: SagaId::derive("a", "b", "c"), step: "pay".into(), op }
    }

    fn headers(op: Op) -> HeaderMap {
        let step = step(op);
        let token = mint(&key(), &Claims::new("steadfast", "payment", "till-7", "payment.process", &step), NOW);
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("authorization", format!("Bearer {token}")),
            (header::IDEMPOTENCY_KEY, step.to_string()),
            (header::SAGA_ID, step.saga.to_string()),
            (header::SAGA_STEP, step.step.clone()),
            (header::SAGA_ATTEMPT, "2".to_owned()),
            (header::SAGA_STARTED, "1699999999000".to_owned()),
            (header::SAGA_EPOCH, "9".to_owned()),
            (header::TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ] {
            headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).unwrap());
        }
        if op == Op::Compensate {
            headers.insert(header::SAGA_ACTION, HeaderValue::from_static("unknown"));
        }
        headers
    }

    fn read(headers: &HeaderMap) -> Result<Call, Problem> {
        Call::from_headers(headers, &key(), "payment", "payment.process", NOW)
    }

    #[test]
    fn a_call_is_read_whole() {
        let call = read(&headers(Op::Compensate)).unwrap();
        assert_eq!(call.key, step(Op::Compensate));
        assert_eq!((call.attempt, call.started.as_millis(), call.epoch), (2, 1_699_999_999_000, Some(9)));
        assert_eq!(call.knowledge, Some(Knowledge::Unknown));
        assert_eq!((call.user.as_str(), call.permission.as_str()), ("till-7", "payment.process"));
        assert!(call.traceparent.is_some());
        assert!(!format!("{call:?}").contains("till-7"));
        assert_eq!(read(&headers(Op::Action)).unwrap().knowledge, None);
    }

    #[test]
    fn the_key_may_be_quoted_and_hints_may_be_absent() {
        let mut headers = headers(Op::Action);
        headers.insert(header::IDEMPOTENCY_KEY, HeaderValue::try_from(format!("\"{}\"", step(Op::Action))).unwrap());
        for hint in [header::SAGA_ID, header::SAGA_STEP, header::SAGA_ATTEMPT, header::SAGA_EPOCH, header::TRACEPARENT]
        {
            headers.remove(hint);
        }
        assert_eq!(read(&headers).unwrap().attempt, 1);
    }

    #[test]
    fn without_a_good_token_there_is_no_call() {
        let check = |change: fn(&mut HeaderMap)| {
            let mut headers = headers(Op::Action);
            change(&mut headers);
            let problem = read(&headers).unwrap_err();
            assert!(problem.is(&problem::UNAUTHENTICATED), "{problem:?}");
        };
        check(|it| drop(it.remove("authorization")));
        check(|it| drop(it.insert("authorization", HeaderValue::from_static("Basic dGlsbDp0aWxs"))));
        check(|it| drop(it.insert("authorization", HeaderValue::from_static("Bearer"))));
        check(|it| assert!(it.append("authorization", HeaderValue::from_static("Bearer x"))));
        let late = Timestamp::from_millis(NOW.as_millis() + 66_000);
        let problem = Call::from_headers(&headers(Op::Action), &key(), "payment", "payment.process", late).unwrap_err();
        assert_eq!(problem.status, 401);
        let problem = Call::from_headers(&headers(Op::Action), &key(), "order", "payment.process", NOW).unwrap_err();
        assert_eq!(problem.status, 401);
    }

    #[test]
    fn a_token_of_another_step_or_permission_and_headers_at_odds_are_forbidden() {
        let check = |name: &'static str, value: &str| {
            let mut headers = headers(Op::Compensate);
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            let problem = read(&headers).unwrap_err();
            assert!(problem.is(&problem::FORBIDDEN), "{name}: {problem:?}");
        };
        check(header::IDEMPOTENCY_KEY, &step(Op::Action).to_string());
        check(header::IDEMPOTENCY_KEY, "receipt-1");
        check(header::SAGA_ID, &SagaId::derive("x", "y", "z").to_string());
        check(header::SAGA_STEP, "ship");
        check(header::SAGA_STARTED, "yesterday");
        check(header::SAGA_ATTEMPT, "-1");
        check(header::SAGA_ACTION, "maybe");
        let problem = Call::from_headers(&headers(Op::Action), &key(), "payment", "payment.refund", NOW).unwrap_err();
        assert_eq!(problem.status, 403);
        for required in [header::IDEMPOTENCY_KEY, header::SAGA_STARTED, header::SAGA_ACTION] {
            let mut headers = headers(Op::Compensate);
            headers.remove(required);
            assert!(read(&headers).unwrap_err().detail.contains(required));
        }
        let mut doubled = headers(Op::Action);
        doubled.append(header::SAGA_STARTED, HeaderValue::from_static("1"));
        assert_eq!(read(&doubled).unwrap_err().status, 403);
    }
}
