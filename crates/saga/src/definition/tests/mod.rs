//! Both contracts of GoodGo, the published schema, the hash.

mod faults;
mod rendering;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;

const PLACE_ORDER: &str = include_str!("../../../../../goodgo/contracts/place_order.saga.yaml");
const RETURN_ORDER: &str = include_str!("../../../../../goodgo/contracts/return_order.saga.yaml");

fn schemas(name: &str) -> Option<Value> {
    let text = match name {
        "place_order.schema.json" => include_str!("../../../../../goodgo/contracts/place_order.schema.json"),
        "return_order.schema.json" => include_str!("../../../../../goodgo/contracts/return_order.schema.json"),
        _ => return None,
    };
    serde_json::from_str(text).ok()
}

fn parse_text(text: &str) -> Result<Definition, Faults> {
    parse(text, &schemas)
}

fn check(text: &str, expected: &Expect) {
    match parse_text(text) {
        Ok(definition) => expected.assert_eq(&format!("valid: {} steps", definition.steps.len())),
        Err(faults) => expected.assert_eq(&faults.to_string()),
    }
}

/// Steps as text, below a valid head.
fn with_steps(steps: &str) -> String {
    format!("saga: s\nversion: 1\npermissions: []\nsteps:\n{steps}")
}

const STEP: &str = "participant: p, action: { post: /a }";

fn order() -> Value {
    json!({
        "order_id": "0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00", "order_no": "536365", "customer": "17850",
        "placed_at": "2010-12-01T08:26:00Z", "total": 139_120, "currency": "GBP", "card": "tok_visa",
        "lines": [
            {"product": "85123A", "description": "WHITE HANGING HEART", "quantity": 6, "unit_price": 2_550, "stocked": true},
            {"product": "POST", "quantity": 1, "unit_price": 9_007_199_254_740_992_i64, "stocked": false},
        ],
        "stock": [{"product": "85123A", "quantity": 6}],
    })
}

fn context<'a>(input: &'a Value, outputs: &'a Vec<Option<Value>>) -> Context<'a> {
    Context { saga: "0190a5f2-7c3e-8e3b-8a51-2f6d3c9b1a01", input, outputs }
}

fn body(rendered: &Rendered) -> &str {
    std::str::from_utf8(rendered.body.as_deref().unwrap_or_default()).unwrap()
}

#[test]
fn place_order_is_valid_and_says_what_it_should() {
    let definition = parse_text(PLACE_ORDER).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!((definition.name.as_str(), definition.version), ("place_order", 1));
    assert_eq!(definition.timeout, Some(Duration::from_mins(2)));
    assert_eq!(definition.permissions, ["order.place"]);
    assert_eq!(definition.input.sensitive, ["/card"]);
    assert!(definition.pipelining);
    let steps: Vec<_> = definition
        .steps
        .iter()
        .map(|step| (step.name.as_str(), step.participant.as_str(), step.kind, step.after.as_slice()))
        .collect();
    assert_eq!(
        steps,
        [
            ("create_order", "order", Kind::Compensatable, &[][..]),
            ("process_payment", "payment", Kind::Compensatable, &[0]),
            ("reserve_inventory", "inventory", Kind::Compensatable, &[1]),
            ("commit_stock", "inventory", Kind::Retriable, &[2]),
            ("confirm_order", "order", Kind::Retriable, &[2]),
        ]
    );
    let payment = &definition.steps[1];
    assert_eq!(payment.timeout, Duration::from_secs(30));
    assert_eq!(payment.permissions, ["payment.process"]);
    let soon = Retry { attempts: 8, base: Duration::from_millis(200), cap: Duration::from_secs(2) };
    assert_eq!((payment.retry, payment.compensation_retry), (Retry::ACTION, soon));
    assert!(definition.steps.iter().all(|step| step.compensation_reads.is_empty()));
    assert_eq!(definition.business_key(&order()), Ok(Some("536365".to_owned())));
    expect!["13:1: steps: 5 steps: fewer than 5 is the ideal (let a participant do more in one step)"]
        .assert_eq(&definition.notes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
}

#[test]
fn place_order_renders_what_the_services_take() {
    let definition = parse_text(PLACE_ORDER).unwrap_or_else(|faults| panic!("{faults}"));
    let input = order();
    definition.validate_input(&input).unwrap_or_else(|faults| panic!("{faults}"));
    let mut outputs = vec![None; 5];
    let text = |request: &Request, outputs: &Vec<Option<Value>>| {
        let rendered = render(request, &context(&input, outputs)).unwrap_or_else(|error| panic!("{error}"));
        format!("{} {} {}\n", rendered.method, rendered.path, body(&rendered))
    };
    let mut all = String::new();
    for step in &definition.steps {
        all += &text(&step.action, &outputs);
        if let Some(compensation) = &step.compensation {
            all += &text(compensation, &outputs);
        }
    }
    outputs[1] = Some(json!({"payment_id": "p-1"}));
    all += &text(&definition.steps[4].action, &outputs);
    expect![[r#"
        POST /saga/orders {"currency":"GBP","customer":"17850","lines":[{"description":"WHITE HANGING HEART","product":"85123A","quantity":6,"stocked":true,"unit_price":2550},{"product":"POST","quantity":1,"stocked":false,"unit_price":9007199254740992}],"order_id":"0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00","order_no":"536365","placed_at":"2010-12-01T08:26:00Z","total":139120}
        POST /saga/orders/cancel {"order_id":"0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00"}
        POST /saga/payments {"amount":139120,"card":"tok_visa","customer":"17850","order_id":"0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00"}
        POST /saga/payments/refund {"order_id":"0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00"}
        POST /saga/reservations {"lines":[{"product":"85123A","quantity":6}],"order_id":"0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00"}
        POST /saga/reservations/release {"order_id":"0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00"}
        POST /saga/reservations/commit {"order_id":"0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00"}
        POST /saga/orders/confirm {"order_id":"0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00"}
        POST /saga/orders/confirm {"order_id":"0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00","payment_id":"p-1"}
    "#]]
    .assert_eq(&all);
}

#[test]
fn conditions_and_outputs_of_place_order() {
    let definition = parse_text(PLACE_ORDER).unwrap_or_else(|faults| panic!("{faults}"));
    let mut free = order();
    free["total"] = json!(0);
    free["stock"] = json!([]);
    let outputs = Vec::new();
    for (input, expected) in [(order(), true), (free, false)] {
        for step in 1..4 {
            let condition = definition.steps[step].when.as_ref().unwrap();
            assert_eq!(when(condition, &context(&input, &outputs)), Ok(expected));
        }
    }
    let step = &definition.steps[1];
    assert_eq!(map_output(step, 201, &json!({"payment_id": 12, "more": 1})), Ok(json!({"payment_id": 12})));
    assert_eq!(
        map_output(step, 200, &Value::Null),
        Err("output payment_id: `payment_id` is asked of null, which has no members".to_owned())
    );
    assert_eq!(map_output(&definition.steps[4], 200, &Value::Null), Ok(json!({})));
}

#[test]
fn return_order_is_valid() {
    let definition = parse_text(RETURN_ORDER).unwrap_or_else(|faults| panic!("{faults}"));
    let steps: Vec<_> =
        definition.steps.iter().map(|step| (step.name.as_str(), step.kind, step.after.as_slice())).collect();
    assert_eq!(
        steps,
        [
            ("create_return", Kind::Compensatable, &[][..]),
            ("refund_payment", Kind::Retriable, &[0]),
            ("restock", Kind::Retriable, &[0]),
            ("confirm_return", Kind::Retriable, &[1, 2]),
        ]
    );
    assert!(definition.notes.is_empty(), "{:?}", definition.notes);
    let input = json!({
        "return_id": "0190a5f2-7c3e-7e3b-8a51-2f6d3c9b1a00", "return_no": "C536379", "order_id": null,
        "customer": "14527", "placed_at": "2010-12-01T09:41:00Z", "amount": 27_500,
        "lines": [{"product": "D", "quantity": 1, "unit_price": 27_500, "stocked": false}], "stock": [],
    });
    definition.validate_input(&input).unwrap_or_else(|faults| panic!("{faults}"));
    let outputs = Vec::new();
    let rendered = render(&definition.steps[0].action, &context(&input, &outputs)).unwrap();
    assert!(body(&rendered).contains(r#""order_id":null"#), "{}", body(&rendered));
}

#[test]
fn the_published_schema_takes_both_and_refuses_what_we_refuse() {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let json = |text: &str| tree::read(text).unwrap().to_json();
    for text in [PLACE_ORDER, RETURN_ORDER] {
        let errors: Vec<String> = validator.iter_errors(&json(text)).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
    for steps in [
        format!("  a: {{ {STEP} }}"),
        format!("  a: {{ {STEP}, compensate: nothing }}"),
        format!("  a: {{ {STEP}, kind: retriable, compensate: {{ post: /b }} }}"),
        "  a: { participant: p, kind: pivot, action: { post: /a, get: /b } }".to_owned(),
        "  a: { participant: p, kind: pivot, action: { body: 1 } }".to_owned(),
        format!("  a: {{ {STEP}, kind: pivot, timeout: 3 }}"),
        format!("  a: {{ {STEP}, kind: pivot, colour: red }}"),
        format!("  A: {{ {STEP}, kind: pivot }}"),
        format!("  a: {{ {STEP}, kind: pivot, outcomes: {{ done: done }} }}"),
    ] {
        let text = with_steps(&steps);
        assert!(!validator.is_valid(&json(&text)), "{text}");
        assert!(parse_text(&text).is_err(), "{text}");
    }
    // Everything that the schema knows of, we know of, and the other way round.
    let keys = |pointer: &str| {
        let keys = schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned();
        keys.collect::<std::collections::BTreeSet<String>>()
    };
    assert_eq!(keys("/properties"), parse::TOP_KEYS.map(str::to_owned).into());
    assert_eq!(keys("/$defs/step/properties"), step::STEP_KEYS.map(str::to_owned).into());
}

#[test]
fn the_hash_is_of_the_content() {
    let text = with_steps(&format!("  a: {{ {STEP}, kind: pivot }}\n  b: {{ {STEP}, kind: retriable, after: [a] }}"));
    let hash = |text: &str| parse_text(text).unwrap_or_else(|faults| panic!("{faults}")).hash;
    let base = hash(&text);
    assert_eq!(hash(&text.replace("steps:", "steps: # the steps")), base);
    assert_eq!(
        hash(&text.replace("participant: p, action: { post: /a }", "action: {post: \"/a\"}, participant: p")),
        base
    );
    let as_json = serde_json::to_string(&tree::read(&text).unwrap().to_json()).unwrap();
    assert_eq!(hash(&as_json), base);
    assert_ne!(hash(&text.replace("version: 1", "version: 2")), base);
    assert_ne!(hash(&text.replace("/a", "/b")), base);
    assert_eq!(hash(PLACE_ORDER), hash(PLACE_ORDER));
    // The schema is part of the content.
    let other = |name: &str| {
        let mut schema = schemas(name)?;
        schema["properties"]["customer"]["maxLength"] = json!(65);
        Some(schema)
    };
    assert_ne!(parse(PLACE_ORDER, &other).unwrap().hash, hash(PLACE_ORDER));
}

#[test]
fn business_keys_are_short_texts() {
    let definition = |key: &str| {
        parse_text(&format!("business_key: {key}\n{}", with_steps(&format!("  a: {{ {STEP}, kind: pivot }}")))).unwrap()
    };
    for (key, input, expected) in [
        ("input.a", json!({"a": "x"}), Ok(Some("x".to_owned()))),
        ("input.a", json!({"a": 5}), Ok(Some("5".to_owned()))),
        ("input.a", json!({"a": null}), Ok(None)),
        (
            "input.a",
            json!({"a": "x".repeat(201)}),
            Err("business_key: it must have 1 to 200 bytes, not 201".to_owned()),
        ),
        ("input.a", json!({"a": ""}), Err("business_key: it must have 1 to 200 bytes, not 0".to_owned())),
        ("input.a", json!({"a": [1]}), Err("business_key: it is a list, not a string or an integer".to_owned())),
        ("input.a", json!({}), Err("business_key: there is no member `a`".to_owned())),
    ] {
        assert_eq!(definition(key).business_key(&input), expected);
    }
}
