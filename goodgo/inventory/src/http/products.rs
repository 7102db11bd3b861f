//! Products: shown with an entity tag, edited under it.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::ETAG;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use sqlx::Transaction;
use steadfast::core::{Principal, Problem, header, problem};
use steadfast::host::json::{self, Json};
use steadfast::host::problem::Reply;
use steadfast::idempotency::{Answer, Transactional};
use steadfast::locking::{Error as LockingError, Expected, Star, Subject, Version, refuse_version_in_body};

use super::guard::Named;
use crate::store::{Cause, Product, Store};
use crate::{Error, Home, Rows, Shared};

/// The longest description.
const DESCRIPTION_MAX: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    description: String,
    price: i64,
}

/// `GET /v1/products/{product}`
pub(crate) async fn show<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    Named(product): Named,
    headers: HeaderMap,
) -> Result<Response, Reply> {
    let found = find(&shared.db, &product).await.map_err(|error| Reply::of(&error))?;
    let found = found.ok_or_else(|| not_found(&product))?;
    let (subject, version) = (Subject::new("product", &product), Version::from_stored(found.version));
    let mut response = if shared.config.etags.not_modified(&headers, &subject, version) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(&found).into_response()
    };
    shared.config.etags.put(response.headers_mut(), &subject, version);
    Ok(response)
}

async fn find<B: Home>(db: &B, product: &str) -> Result<Option<Product>, Error> {
    let mut connection = db.readers().acquire().await?;
    let row = B::Sql::read_product(&mut connection, product).await?;
    Ok(row.map(|(code, description, price, version)| Product { code, description, price, version }))
}

/// `PUT /v1/products/{product}` with `If-Match`: the edit, its event and the record of its key in one transaction. It is
/// never repeated by the server: who was too late must see what has changed.
pub(crate) async fn edit<B: Home>(
    State(shared): State<Arc<Shared<B>>>,
    Extension(principal): Extension<Principal>,
    Extension(once): Extension<Transactional<B>>,
    Named(product): Named,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Reply> {
    let subject = Subject::new("product", &product).by(&principal);
    let expected = shared.config.etags.if_match(&headers, &subject, Star::Refused)?;
    let wanted = Arc::new(parse(&product, &body)?);
    let traceparent = headers.get(header::TRACEPARENT).and_then(|it| it.to_str().ok()).map(str::to_owned);
    let cause = Arc::new(Cause { traceparent, now: shared.config.clock.now(), ..Cause::default() });
    let response = once
        .run(|tx| {
            let (shared, wanted, cause) = (Arc::clone(&shared), Arc::clone(&wanted), Arc::clone(&cause));
            let expected = expected.clone();
            Box::pin(async move {
                let saved = save(&shared.store, tx, &wanted, expected, &cause).await?;
                let version = match saved {
                    Ok(version) => version,
                    Err(problem) => return Ok(Answer::problem(&problem)),
                };
                let etag = shared.config.etags.issue(&Subject::new("product", &wanted.code), version);
                Ok::<_, Error>(Answer::json(StatusCode::OK, &*wanted)?.with_header(ETAG, etag))
            })
        })
        .await
        .map_err(|error| Reply::of(&error))?;
    shared.config.hint.notify();
    Ok(response.map(Body::new))
}

async fn save<DB: Rows>(
    store: &Store,
    tx: &mut Transaction<'_, DB>,
    wanted: &Product,
    expected: Expected,
    cause: &Cause,
) -> Result<Result<Version, Problem>, Error> {
    match store.edit(tx, wanted, expected, cause).await {
        Ok(version) => Ok(Ok(version)),
        Err(Error::Locking(error @ (LockingError::Conflict(_) | LockingError::NotFound { .. }))) => {
            Ok(Err(error.to_problem()))
        }
        Err(error) => Err(error),
    }
}

fn parse(product: &str, body: &Bytes) -> Result<Product, Problem> {
    let value: Value = json::parse(body)?;
    refuse_version_in_body(&value)?;
    let Edit { description, price } = json::parse(body)?;
    if description.chars().count() > DESCRIPTION_MAX {
        return Err(problem::INVALID.with(format!("description: at most {DESCRIPTION_MAX} characters")));
    }
    if price < 0 {
        return Err(problem::INVALID.with("price: must not be negative"));
    }
    Ok(Product { code: product.to_owned(), description, price, version: 0 })
}

pub(super) fn not_found(product: &str) -> Problem {
    problem::NOT_FOUND.with(format!("{product} is not sold here: check the product's code"))
}
