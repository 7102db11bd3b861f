//! A version is never accepted from a client directly.

use serde_json::Value;
use steadfast_core::{Problem, problem};

use crate::security;

/// Refuses a body that has a field `version` (in any case) anywhere in it, with a problem that names the field as a JSON
/// Pointer. Where a body carries foreign data that may have such a field, pass only the part that is yours.
///
/// ```
/// use steadfast_locking::refuse_version_in_body;
/// use serde_json::json;
///
/// assert!(refuse_version_in_body(&json!({"name": "lantern"})).is_ok());
/// let problem = refuse_version_in_body(&json!({"items": [{"name": "lantern", "version": 3}]})).unwrap_err();
/// assert_eq!(problem.status, 400);
/// assert_eq!(problem.extra["field"], "/items/0/version");
/// ```
pub fn refuse_version_in_body(body: &Value) -> Result<(), Problem> {
    let Some(field) = find(body) else { return Ok(()) };
    security::version_in_body(&field);
    Err(problem::VERSION_IN_BODY
        .with(format!(
            "the field {field} is not accepted: remove it, and send the ETag that came with the resource in If-Match"
        ))
        .member("field", field))
}

fn find(value: &Value) -> Option<String> {
    match value {
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            if name.eq_ignore_ascii_case("version") {
                return Some(format!("/{name}"));
            }
            // RFC 6901: ~ and / in names are escaped.
            find(value).map(|rest| format!("/{}{rest}", name.replace('~', "~0").replace('/', "~1")))
        }),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, value)| find(value).map(|rest| format!("/{index}{rest}")))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_version_is_found_wherever_it_hides() {
        for (body, field) in [
            (json!({"version": 1}), "/version"),
            (json!({"Version": null}), "/Version"),
            (json!([{"a": {"b/c": {"version": "1"}}}]), "/0/a/b~1c/version"),
        ] {
            assert_eq!(refuse_version_in_body(&body).unwrap_err().extra["field"], field);
        }
    }

    #[test]
    fn a_value_is_not_a_field() {
        assert!(
            refuse_version_in_body(&json!({"name": "version", "versions": 2, "conversion": [1, "version"]})).is_ok()
        );
    }
}
