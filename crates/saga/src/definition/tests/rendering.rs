//! Requests; and no text, however damaged, makes the parser panic.

use proptest::prelude::*;

use super::*;

/// A request of one step, by its `action`.
fn request(action: &str) -> Result<Request, Faults> {
    let text = with_steps(&format!("  a: {{ participant: p, kind: pivot, action: {{ {action} }} }}"));
    Ok(parse_text(&text)?.steps.remove(0).action)
}

fn render_one(action: &str, input: &Value) -> Result<(String, String), String> {
    let request = request(action).map_err(|faults| faults.to_string())?;
    let outputs = Vec::new();
    let rendered = render(&request, &context(input, &outputs)).map_err(|error| error.to_string())?;
    let body = body(&rendered).to_owned();
    Ok((rendered.path, body))
}

#[test]
fn paths_are_encoded_and_cannot_lead_elsewhere() {
    let path =
        |path: &str, value: Value| render_one(&format!("post: '{path}'"), &json!({"x": value})).map(|(path, _)| path);
    for (template, value, expected) in [
        ("/a/${input.x}/b", json!("1/2"), Ok("/a/1%2F2/b")),
        ("/a/${input.x}", json!("ü?&#%"), Ok("/a/%C3%BC%3F%26%23%25")),
        ("/a/${input.x}", json!(7), Ok("/a/7")),
        ("/a/${input.x}:go", json!("a.b~_-"), Ok("/a/a.b~_-:go")),
        ("/a?q=${input.x}&r=1", json!(""), Ok("/a?q=&r=1")),
        ("/a/${input.x}", json!(""), Err("path: an expression yields nothing, which would name another route")),
        (
            "/a/${input.x}",
            json!(".."),
            Err("path: an expression yields a segment of dots, which would name another route"),
        ),
        (
            "/a/.${input.x}/b",
            json!("."),
            Err("path: an expression yields a segment of dots, which would name another route"),
        ),
        ("/a/${input.x}", json!(null), Err("path: null cannot stand within a text")),
        ("/a/${input.x}", json!({}), Err("path: a map cannot stand within a text")),
    ] {
        assert_eq!(path(template, value), expected.map(str::to_owned).map_err(str::to_owned), "{template}");
    }
    for template in ["${input.x}", "x", "//host/a", "/a/../b", "/a/./b", "/a b", "/a#b", "http://host/a", "/ü", ""] {
        assert!(path(template, json!("x")).is_err(), "{template}");
    }
}

#[test]
fn bodies_keep_types_and_leave_out_what_is_null() {
    let input =
        json!({"i": 9_007_199_254_740_992_i64, "d": 1.5, "s": "ü\"\n", "t": true, "z": null, "m": {"b": 1, "a": 2}});
    for (body, expected) in [
        ("'${input.i}'", "9007199254740992"),
        ("'${input.d}'", "1.5"),
        ("'${input.s}'", "\"ü\\\"\\n\""),
        ("'${input.m}'", r#"{"a":2,"b":1}"#),
        ("'n${input.i}-${input.t}-${input.d}'", "\"n9007199254740992-true-1.5\""),
        ("'$${input.i} $$ $ {} ${\"\"}'", "\"${input.i} $$ $ {} \""),
        ("'${ {\"a\": \"}\"} }'", r#"{"a":"}"}"#),
        ("{ b: 1, a: [1, 2.5, true, null, x], c: { } }", r#"{"a":[1,2.5,true,null,"x"],"b":1,"c":{}}"#),
        ("{ b?: '${input.z}', a?: '${input.t}', c: '${input.z}' }", r#"{"a":true,"c":null}"#),
        ("{ a?: '${input.z}', b?: '${input.z}' }", "{}"),
        ("{ a?: null, b: 1 }", r#"{"b":1}"#),
        ("[]", "[]"),
        ("''", "\"\""),
        ("'${saga.id}'", "\"0190a5f2-7c3e-8e3b-8a51-2f6d3c9b1a01\""),
    ] {
        let (_, rendered) =
            render_one(&format!("post: /a, body: {body}"), &input).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(rendered, expected, "{body}");
    }
    for (body, error) in [
        ("{ x: ['${input.nothing}'] }", "body.x[0]: there is no member `nothing`"),
        ("{ x: 'a${input.m}' }", "body.x: a map cannot stand within a text"),
    ] {
        assert_eq!(render_one(&format!("post: /a, body: {body}"), &input), Err(error.to_owned()));
    }
    for body in ["'${input.x'", "{ '${input.x}': 1 }", "{ a: 1, a?: 2 }", "'${}'", "18446744073709551615"] {
        assert!(request(&format!("post: /a, body: {body}")).is_err(), "{body}");
    }
}

/// JSON whose maps come in any order.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec(("\\PC{0,4}", inner), 0..6)
                .prop_map(|members| { Value::Object(members.into_iter().collect()) }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = parse_text(&text).is_ok();
    }

    #[test]
    fn no_bytes_make_the_parser_panic(text in "(?s).{0,100}") {
        let _ = parse_text(&text).is_ok();
    }

    /// A valid definition with a piece replaced: the parser meets every level of nonsense.
    #[test]
    fn no_damage_makes_the_parser_panic(
        at in 0..PLACE_ORDER.len(),
        length in 0_usize..40,
        patch in prop::sample::select(vec![
            "", "\n", ": ", "{", "}", "[", "]", "- ", "null", "${", "&a ", "*a", "!!str ", "'", "\"", "5", "none", "steps:\n  ",
        ]),
    ) {
        prop_assume!(PLACE_ORDER.is_char_boundary(at));
        let end = (at + length).min(PLACE_ORDER.len());
        prop_assume!(PLACE_ORDER.is_char_boundary(end));
        let text = [&PLACE_ORDER[..at], patch, &PLACE_ORDER[end..]].concat();
        if let Err(faults) = parse_text(&text) {
            prop_assert!(!faults.is_empty());
            for fault in faults.iter() {
                prop_assert!(!fault.fault.is_empty() && !fault.way_out.is_empty(), "{:?}", fault);
            }
        }
    }

    /// The bytes depend on the content of the input only, and are the content.
    #[test]
    fn rendering_is_deterministic(value in any_json()) {
        let request = request("post: /a, body: { z: '${input}', a: ['${input}', '${[input]}'] }").unwrap();
        let outputs = Vec::new();
        let first = render(&request, &context(&value, &outputs)).unwrap();
        // The same input, read back from another order of members.
        let shuffled = reversed(&value);
        let second = render(&request, &context(&shuffled, &outputs)).unwrap();
        prop_assert_eq!(&first, &second);
        prop_assert!(body(&first).starts_with("{\"a\":["), "{}", body(&first));
        let back: Value = serde_json::from_slice(first.body.as_deref().unwrap()).unwrap();
        prop_assert!(alike(&back["z"], &value) && alike(&back["a"][0], &value) && alike(&back["a"][1][0], &value));
    }
}

fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(reversed).collect(),
        Value::Object(members) => {
            Value::Object(members.iter().rev().map(|(key, value)| (key.clone(), reversed(value))).collect())
        }
        other => other.clone(),
    }
}

/// Equal, but for the last digit of a double, which the reader of the test may lose.
fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) if x.is_f64() || y.is_f64() => {
            let (x, y) = (x.as_f64().unwrap(), y.as_f64().unwrap());
            (x - y).abs() <= x.abs() * 1e-15
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| alike(a, b)))
        }
        _ => a == b,
    }
}
