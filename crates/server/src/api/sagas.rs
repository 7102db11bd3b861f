//! Starting, listing and showing sagas.

use std::time::Duration;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{HeaderMap, HeaderName, LOCATION};
use axum::response::AppendHeaders;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use steadfast_core::{Principal, SagaId, Timestamp, header as ours, problem};
use steadfast_host::json::Json;
use steadfast_host::problem::Reply;
use steadfast_host::trace::is_traceparent;
use steadfast_saga::engine::{Engine, StartRequest, Summary, View};
use steadfast_saga::journal::Filter;
use steadfast_saga::machine::Status;

use super::{need, reply};

/// The longest that a request may wait for a saga: less than the 30 s in which a server has to begin its answer.
const WAIT_MAX: Duration = Duration::from_secs(25);
const PAGE: u32 = 50;
const PAGE_MAX: u32 = 500;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    input: Value,
    #[serde(default)]
    version: Option<u32>,
}

/// What a start answers.
#[derive(Debug, Serialize)]
pub(super) struct Started {
    saga_id: String,
    status: &'static str,
    /// Whether this very start was accepted before.
    existing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<String>,
}

type Answer = (StatusCode, AppendHeaders<Vec<(HeaderName, String)>>, axum::Json<Started>);

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

pub(super) async fn start(
    State(engine): State<Engine>,
    Path(definition): Path<String>,
    Extension(principal): Extension<Principal>,
    headers: HeaderMap,
    Json(start): Json<Start>,
) -> Result<Answer, Reply> {
    let key = text(&headers, ours::IDEMPOTENCY_KEY)?.map(|key| key.trim_matches('"').to_owned());
    let wait = prefer_wait(&headers)?;
    let traceparent = text(&headers, ours::TRACEPARENT)?.filter(|text| is_traceparent(text)).map(str::to_owned);
    let request = StartRequest { definition, version: start.version, principal, key, input: start.input, traceparent };
    let accepted = engine.start(request).await.map_err(|error| reply(&error))?;
    let mut status = accepted.status;
    if let Some(limit) = wait {
        status = engine.wait(accepted.id, limit).await.map_err(|error| reply(&error))?.unwrap_or(status);
    }
    let rests = status.is_settled() || status.is_parked();
    let cause = if status == Status::Completed || !rests { None } else { cause(&engine, accepted.id).await? };
    let started =
        Started { saga_id: accepted.id.to_string(), status: status.as_str(), existing: accepted.existing, cause };
    let code = if rests { StatusCode::OK } else { StatusCode::ACCEPTED };
    let mut more = vec![(LOCATION, format!("/v1/sagas/{}", accepted.id))];
    if let Some(limit) = wait {
        more.push((PREFERENCE_APPLIED, format!("wait={}", limit.as_secs())));
    }
    Ok((code, AppendHeaders(more), axum::Json(started)))
}

async fn cause(engine: &Engine, id: SagaId) -> Result<Option<String>, Reply> {
    Ok(engine.show(id).await.map_err(|error| reply(&error))?.and_then(|view| view.summary.cause))
}

pub(super) async fn show(
    State(engine): State<Engine>,
    Path(id): Path<String>,
    Extension(principal): Extension<Principal>,
) -> Result<axum::Json<View>, Reply> {
    Ok(axum::Json(of(&engine, parse_id(&id)?, &principal).await?))
}

/// A saga, for whoever began it or may see all.
pub(super) async fn of(engine: &Engine, id: SagaId, principal: &Principal) -> Result<View, Reply> {
    let absent = || Reply::from(problem::NOT_FOUND.with(format!("there is no saga {id}")));
    let view = engine.show(id).await.map_err(|error| reply(&error))?.ok_or_else(absent)?;
    // A stranger's saga is simply absent.
    if view.context.user_id != principal.subject() && !principal.may("saga.read") {
        return Err(absent());
    }
    Ok(view)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    status: Option<Status>,
    definition: Option<String>,
    business_key: Option<String>,
    since: Option<i64>,
    before: Option<i64>,
    limit: Option<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Page {
    sagas: Vec<Summary>,
    /// `before` of the next page, where there may be one.
    next: Option<i64>,
}

pub(super) async fn list(
    State(engine): State<Engine>,
    Extension(principal): Extension<Principal>,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<axum::Json<Page>, Reply> {
    need(&principal, "saga.read")?;
    let Query(query) = query.map_err(|fault| {
        let known = "status, definition, business_key, since, before, limit";
        problem::INVALID.with(format!("{}: the filters are {known}", fault.body_text()))
    })?;
    let limit = query.limit.unwrap_or(PAGE);
    if limit == 0 || limit > PAGE_MAX {
        return Err(problem::INVALID.with(format!("`limit` is {limit}: it must be 1 to {PAGE_MAX}")).into());
    }
    let filter = Filter {
        status: query.status,
        definition: query.definition,
        business_key: query.business_key,
        since: query.since.map(Timestamp::from_millis),
        before: query.before,
        limit,
    };
    let sagas = engine.list(&filter).await.map_err(|error| reply(&error))?;
    let next = if sagas.len() == limit as usize { sagas.last().map(|saga| saga.no) } else { None };
    Ok(axum::Json(Page { sagas, next }))
}

pub(super) fn parse_id(text: &str) -> Result<SagaId, Reply> {
    text.parse().map_err(|error| problem::INVALID.with(format!("the saga's id: {error}")).into())
}

/// A header as text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Reply> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), next) = (values.next(), values.next()) else { return Ok(None) };
    match (value.to_str(), next) {
        (Ok(text), None) => Ok(Some(text)),
        (_, Some(_)) => Err(problem::INVALID.with(format!("the header {name} came twice: send one")).into()),
        (Err(_), _) => Err(problem::INVALID.with(format!("the header {name} is not ASCII text")).into()),
    }
}

/// `Prefer: wait=N` (RFC 7240), in seconds.
fn prefer_wait(headers: &HeaderMap) -> Result<Option<Duration>, Reply> {
    let Some(prefer) = text(headers, "prefer")? else { return Ok(None) };
    let wait = prefer.split([',', ';']).find_map(|part| part.trim().strip_prefix("wait="));
    let Some(seconds) = wait else { return Ok(None) };
    // A preference that cannot be read is none (RFC 7240, 2).
    Ok(seconds.trim().parse().ok().map(|seconds| Duration::from_secs(seconds).min(WAIT_MAX)))
}
