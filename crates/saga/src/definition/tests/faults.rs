//! Faults: all at once, each with its place and the way out.

#![expect(clippy::needless_raw_string_hashes, reason = "expect-test writes them")]

use super::*;

#[test]
fn all_faults_at_once_each_with_its_place_and_the_way_out() {
    check(
        "\
saga: Place Order
version: 0
bussiness_key: input.order_no
timeout: 30
permissions: [order.place, order.place, 'a b']
input: { schema: nowhere.json, sensitive: [card] }
steps:
  create-order:
    particpant: order
    action: { post: 'orders/${inptu.x}', body: { a: '${', n: 9007199254740993 } }
  b:
    participant: p
    after: [create_order, b2, b2]
    action: { post: /b, put: /b, bdy: 1 }
    compensate: nothing
    retry: { attempts: 0, base: 10s, cap: 1s }
    deadline: 1s
    durable: always
    cache: 1m
  b2:
    participant: p
    kind: retriable
    action: { get: /b, body: 1 }
    compensate: { post: /x }
    outcomes: { 404: finished, gone: done, 700: done }
    output: { Id: body.id, x: input.y }
",
        &expect![[r#"
            1:7: saga: `Place Order` cannot be a name: it must begin with a letter from a to z (like order-service: [a-z][a-z0-9_-]*)
            2:10: version: the number is out of range (an integer from 1 to 2147483647)
            3:1: bussiness_key: the key `bussiness_key` is not known (did you mean `business_key`?)
            4:10: timeout: a duration without a unit (write a unit: 100ms, 30s, 2m, 1h)
            5:28: permissions[1]: the permission stands here twice (remove one)
            5:41: permissions[2]: this is no permission (write it like order.place)
            6:18: input.schema: there is no schema `nowhere.json` (put the file beside the definition, or send it along)
            6:44: input.sensitive[0]: this is no JSON pointer to a member of the input (write it like /card)
            8:3: steps.create-order: `create-order` cannot be a name: a character is not allowed (like create_order: [a-z][a-z0-9_]*)
            9:5: steps.create-order.particpant: the key `particpant` is not known (did you mean `participant`?)
            9:5: steps.create-order: the key `participant` is missing (write participant: order)
            9:5: steps.create-order: the key `compensate` is missing (write compensate: { post: /saga/orders/cancel, body: { … } }, or: compensate: none, for what only reads)
            10:21: steps.create-order.action.post: `inptu` is not known here (did you mean `input`?)
            10:21: steps.create-order.action.post: a path begins with a slash; hosts come from configuration only (write it like /saga/orders/${input.order_id}?dry=false)
            10:53: steps.create-order.action.body.a: `${` is not closed (close it by `}`, or write `$${` for the text `${`)
            10:62: steps.create-order.action.body.n: an integer beyond 2^53: not every reader of JSON keeps it (put it in quotes)
            13:13: steps.b.after[0]: there is no step `create_order` (did you mean `create-order`?)
            13:31: steps.b.after[2]: the step stands here twice (remove one)
            14:30: steps.b.action.put: the request has two methods (keep one)
            14:34: steps.b.action.bdy: the key `bdy` is not known (did you mean `body`?)
            15:17: steps.b.compensate: this is a text, neither a request nor the word none (write compensate: { post: /saga/orders/cancel, body: { … } }, or: compensate: none, for what only reads)
            16:12: steps.b.retry: `base` is longer than `cap` (write it like { attempts: 5, base: 100ms, cap: 5s })
            16:24: steps.b.retry.attempts: the number is out of range (an integer from 1 to 1000)
            17:15: steps.b.deadline: the deadline is shorter than the time of one attempt (raise `deadline` or lower `timeout`)
            18:14: steps.b.durable: `always` is not known (known: strict, pipelined)
            19:12: steps.b.cache: only a step with `compensate: none` is cached (remove `cache`, or write compensate: none where the step only reads)
            23:30: steps.b2.action.body: a GET request has no body (put it into the path, or use post)
            24:17: steps.b2.compensate: a retriable step is never compensated (remove `compensate`, or change the kind)
            25:22: steps.b2.outcomes.404: `finished` is not known (known: done, refused, unknown)
            25:32: steps.b2.outcomes.gone: this is neither a status nor a problem's type (write a status, as 404, or the whole type of a problem, as https://example.com/sold-out)
            25:44: steps.b2.outcomes.700: this is no status of a reply (from 200 to 599)
            26:15: steps.b2.output.Id: `Id` cannot be a name: it must begin with a letter from a to z (like create_order: [a-z][a-z0-9_]*)
            26:31: steps.b2.output.x: `input` is not known here (known: body, status)"#]],
    );
}

#[test]
fn faults_of_the_graph() {
    let step = |name: &str, rest: &str| {
        let compensate = if rest.contains("kind") { "" } else { ", compensate: none" };
        format!("  {name}: {{ {STEP}{compensate}{rest} }}\n")
    };
    check(
        &with_steps(&[step("a", ", after: [c]"), step("b", ", after: [a]"), step("c", ", after: [b]")].concat()),
        &expect!["5:3: steps.a.after: steps wait for each other: a after c after b after a (remove one `after`)"],
    );
    check(
        &with_steps(&step("a", ", after: [a]")),
        &expect!["5:3: steps.a.after: steps wait for each other: a after a (remove one `after`)"],
    );
    check(
        &with_steps(&[step("a", ", kind: pivot"), step("b", ", kind: pivot, after: [a]")].concat()),
        &expect![
            "6:3: steps.b.kind: a second pivot beside `a` (a saga decides once: make one of them retriable or compensatable)"
        ],
    );
    check(
        &with_steps(
            &[
                step("a", ""),
                step("r", ", kind: retriable"),
                step("p", ", kind: pivot, after: [r]"),
                step("c", ", after: [p]"),
            ]
            .concat(),
        ),
        &expect![[r#"
            5:3: steps.a.after: the step runs beside the pivot `p` (put it before (into the `after` of `p`) or after it (after: [p]))
            6:3: steps.r.kind: the step comes before the pivot `p` and is not compensatable (give it a compensation, or put it after the pivot)
            8:3: steps.c.kind: the step comes after the pivot `p` and is not retriable (make it retriable, or put it before the pivot)"#]],
    );
    check(
        &with_steps(&[step("a", ""), step("b", ""), step("r", ", kind: retriable, after: [a]")].concat()),
        &expect![
            "7:3: steps.r.after: a retriable step is never taken back, and this one may be done before b can still fail (let it wait: after: [b])"
        ],
    );
    let many: String = (0..65).map(|n| step(&format!("s{n}"), "")).collect();
    check(
        &with_steps(&many),
        &expect![
            "5:3: steps: a saga has 1 to 64 steps, this one 65 (split it, or let participants do more in one step)"
        ],
    );
    let most: String = (0..64).map(|n| step(&format!("s{n}"), "")).collect();
    check(&with_steps(&most), &expect!["valid: 64 steps"]);
    check(
        &with_steps("  {}"),
        &expect![
            "5:3: steps: a saga has 1 to 64 steps, this one 0 (split it, or let participants do more in one step)"
        ],
    );
}

#[test]
fn faults_of_reading_others() {
    let text = with_steps(
        "
  a:
    participant: p
    action: { post: '/a/${steps.a.id}', body: '${steps.b.id}' }
    compensate: { post: '/a/${steps.a.id}', body: ['${steps.a}', '${has(steps.a.id) ? steps.a.id : null}', '${steps.b.id}'] }
    output: { id: body.id }
  b:
    participant: p
    after: [a]
    when: steps.a.id != steps.a.no
    action: { post: /b }
    compensate: { post: '/b/${steps.a.id}', body: '${has(steps.b.id)}' }
    output: { id: body.id }
  c:
    participant: p
    kind: retriable
    after: [b]
    action: { post: '/c/${steps.b.id}', body: { x: '${has(steps.b.id) ? steps.b.id : null}', y: '${steps.d.id}' } }
  d: { participant: p, kind: retriable, after: [b], action: { post: /d } }
",
    );
    check(
        &text,
        &expect![[r#"
        8:21: steps.a.action.post: the step reads its own output `steps.a` (only its compensation can, behind has())
        8:47: steps.a.action.body: `a` does not wait for `b`, so it cannot read its outputs (put `b` into the `after` of `a` or of one that it waits for)
        9:25: steps.a.compensate.post: the compensation reads its own step's output `id`, which there is none of while the outcome is unknown (use what the input has, or ask first: has(steps.a.id) ? steps.a.id : null)
        9:52: steps.a.compensate.body[0]: the compensation reads `steps.a` as a whole (name the output: has(steps.a.x) ? steps.a.x : …)
        9:108: steps.a.compensate.body[2]: `a` does not wait for `b`, so it cannot read its outputs (put `b` into the `after` of `a` or of one that it waits for)
        14:11: steps.b.when: `a` has no output `no` (known: id)
        22:21: steps.c.action.post: `b` may be skipped by its `when`, and then has no output `id` (ask first: has(steps.b.id) ? steps.b.id : null)
        22:97: steps.c.action.body.y: `c` does not wait for `d`, so it cannot read its outputs (put `d` into the `after` of `c` or of one that it waits for)"#]],
    );
}

#[test]
fn a_compensation_that_reads_another_step_without_has_is_recorded() {
    let text = with_steps(
        "
  a: { participant: p, action: { post: /a }, compensate: none, output: { id: body.id } }
  b: { participant: p, action: { post: /b }, compensate: none, output: { id: body.id } }
  c:
    participant: p
    after: [a, b]
    action: { post: '/c/${steps.a.id}' }
    compensate: { post: '/c/${steps.b.id}', body: '${has(steps.a.id) ? steps.a.id : null}' }
",
    );
    let definition = parse_text(&text).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(definition.steps[2].compensation_reads, [1]);
    let text = text.replace("body: '${has(steps.a.id) ? steps.a.id : null}'", "body: ['${steps.b.id}', '${steps.a}']");
    assert_eq!(parse_text(&text).unwrap().steps[2].compensation_reads, [0, 1]);
}

#[test]
fn two_steps_of_one_condition_may_read_each_other() {
    let text = |second: &str| {
        with_steps(&format!(
            "
  a: {{ participant: p, when: input.x > 0, action: {{ post: /a }}, compensate: none, output: {{ id: body.id }} }}
  b: {{ participant: p, after: [a], when: {second}, action: {{ post: '/b/${{steps.a.id}}' }}, compensate: none }}
"
        ))
    };
    assert!(parse_text(&text("input.x > 0")).is_ok());
    assert!(parse_text(&text("input.x > 1")).is_err());
}

#[test]
fn names_of_the_input_are_checked_where_the_schema_is_closed() {
    let text = PLACE_ORDER.replace("input.customer}", "input.custmer}").replace("[/card]", "[/cart, /card]");
    check(
        &text,
        &expect![[r#"
        11:15: input.sensitive[0]: the schema knows no member `cart` (did you mean `card`?)
        21:19: steps.create_order.action.body.customer: the input's schema knows no member `custmer` (did you mean `customer`?)
        44:19: steps.process_payment.action.body.customer: the input's schema knows no member `custmer` (did you mean `customer`?)"#]],
    );
}

#[test]
fn schemas_that_are_none_are_faults() {
    let head =
        "saga: s\nversion: 1\npermissions: []\nsteps: { a: { participant: p, kind: pivot, action: { post: /a } } }\n";
    check(
        &format!("{head}input: {{ schema: {{ type: nothing }} }}\n"),
        &expect![
            "5:18: input.schema: the schema is not valid: value is not valid under any of the schemas listed in the 'anyOf' keyword (correct the schema)"
        ],
    );
    check(
        &format!("{head}input: {{ schema: {{ $ref: 'https://example.com/x' }} }}\n"),
        &expect![
            "5:18: input.schema: the schema is not valid: Resource 'https://example.com/x' is not present in a registry and retrieving it failed: https://example.com/x lies outside of the schema (correct the schema)"
        ],
    );
    check(
        &format!("{head}input: {{ schema: {{ $ref: 'file:///etc/passwd' }} }}\n"),
        &expect![
            "5:18: input.schema: the schema is not valid: Resource 'file:///etc/passwd' is not present in a registry and retrieving it failed: file:///etc/passwd lies outside of the schema (correct the schema)"
        ],
    );
    check(
        &format!("{head}input: {{ schema: 5 }}\n"),
        &expect!["5:18: input.schema: this is a number, not a text (write it like place_order.schema.json)"],
    );
    check(
        &format!("{head}namespace: x\n"),
        &expect!["5:1: namespace: `namespace` is reserved (remove it: there is one tenant)"],
    );
}

#[test]
fn inputs_are_checked_and_faults_name_places_not_values() {
    let definition = parse_text(PLACE_ORDER).unwrap_or_else(|faults| panic!("{faults}"));
    let mut input = order();
    input["card"] = json!(4_111_111_111_111_111_i64);
    input["total"] = json!(-5);
    input["order_id"] = json!("secret-id");
    input["placed_at"] = json!("secret-day");
    input["lines"][1]["quantity"] = json!(0);
    input["lines"][1].as_object_mut().unwrap().remove("product");
    input["extra"] = json!("secret");
    let faults = definition.validate_input(&input).unwrap_err();
    let text = faults.to_string();
    assert!(!text.contains("secret") && !text.contains("4111"), "{text}");
    expect![[r#"
        input.card: value is not of type "string" (the schema asks for it at /properties/card/type)
        input.lines[1]: "product" is a required property (add product)
        input.lines[1].quantity: value is less than the minimum of 1 (the schema asks for it at /$defs/line/properties/quantity/minimum)
        input.order_id: value is not a "uuid" (the schema asks for it at /properties/order_id/format)
        input.placed_at: value is not a "date-time" (the schema asks for it at /properties/placed_at/format)
        input.total: value is less than the minimum of 0 (the schema asks for it at /properties/total/minimum)
        input: Additional properties are not allowed ('extra' was unexpected) (remove what the schema does not know)"#]].assert_eq(&text);

    let mut input = order();
    input["lines"][0]["unit_price"] = json!(9_007_199_254_740_993_i64);
    input["lines"][1]["unit_price"] = json!(u64::MAX);
    expect![[r#"
        input.lines[0].unit_price: an integer beyond 2^53: not every reader of JSON keeps it (send it as a string)
        input.lines[1].unit_price: an integer beyond 2^53: not every reader of JSON keeps it (send it as a string)"#]]
    .assert_eq(&definition.validate_input(&input).unwrap_err().to_string());
    let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
    expect!["input.x[0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0][0]: the input is nested too deep (flatten it)"].assert_eq(&definition.validate_input(&json!({"x": deep})).unwrap_err().to_string());
}

#[test]
fn a_schema_that_refers_to_itself_does_not_run_away() {
    let head = "saga: s\nversion: 1\nsteps: { a: { participant: p, kind: pivot, action: { post: /a } } }\n";
    for schema in ["{ $ref: '#' }", "{ allOf: [{ $ref: '#' }] }"] {
        let definition = parse_text(&format!("{head}input: {{ schema: {schema} }}\n")).unwrap();
        assert_eq!(definition.validate_input(&json!({"a": 1})), Ok(()), "{schema}");
    }
}
