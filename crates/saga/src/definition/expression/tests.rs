use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NAMES: [&str; 2] = ["pay", "own"];

fn roots<'a>(input: &'a Value, outputs: &'a [Option<Value>; 2]) -> Roots<'a> {
    Roots { input, saga: "the-saga", outputs, body: &Value::Null, status: 0 }
}

fn run_with(source: &str, input: &Value, outputs: &[Option<Value>; 2]) -> Result<Value, String> {
    let expr =
        Expr::compile(source, &Scope::Call(&NAMES)).map_err(|(fault, way_out)| format!("{fault} ({way_out})"))?;
    let value = expr.evaluate(&roots(input, outputs))?;
    to_json(&value)
}

fn run(source: &str) -> Result<Value, String> {
    run_with(source, &input(), &[Some(json!({"id": "p-1"})), None])
}

fn input() -> Value {
    json!({
        "i": 7, "n": -3, "big": 9_007_199_254_740_992_i64, "max": i64::MAX, "huge": u64::MAX, "d": 2.5, "t": true,
        "s": "abc", "u": "grüße", "z": null, "l": [1, 2, 3], "e": [], "m": {"b": 1, "a": [2, {"x": "y"}]},
        "lines": [{"p": "A", "q": 2, "stocked": true}, {"p": "B", "q": 0, "stocked": false}],
    })
}

#[test]
fn values_of_expressions() {
    for (source, expected) in [
        ("input.i + 1", json!(8)),
        ("input.big", json!(9_007_199_254_740_992_i64)),
        ("input.big + 1", json!(9_007_199_254_740_993_i64)),
        ("input.huge", json!(u64::MAX)),
        ("input.i * 1000 / 3 % 10 - 1", json!(2)),
        ("-input.n", json!(3)),
        ("input.d * 2.0", json!(5.0)),
        ("input.i == 7.0 && input.i < 7.5 && 7.0 >= input.i", json!(true)),
        ("input.max < 9223372036854775808.0 && 9223372036854774784.0 < input.max", json!(true)),
        ("input.z == null", json!(true)),
        ("input.s + '-' + string(input.i) + string(true)", json!("abc-7true")),
        ("size(input.u) + input.u.size() + size(input.l) + size(input.m)", json!(15)),
        ("input.u.contains('ü') && input.u.startsWith('gr') && input.u.endsWith('ße')", json!(true)),
        ("int('42') + int(2.9)", json!(44)),
        ("double('1.5') + double(2)", json!(3.5)),
        ("'a' in input.m && !('c' in input.m) && 2 in input.l", json!(true)),
        ("input.l[1] + input.m.a[0]", json!(4)),
        ("input['m']['a'][1].x", json!("y")),
        ("has(input.s) && !has(input.nothing) && has(input.z)", json!(true)),
        ("has(input.m.a) ? 'yes' : 'no'", json!("yes")),
        (
            "input.lines.filter(x, x.stocked).map(x, {'product': x.p, 'quantity': x.q})",
            json!([{"product": "A", "quantity": 2}]),
        ),
        ("input.lines.map(x, x.stocked, x.q * 2)", json!([4])),
        ("input.lines.all(x, x.q >= 0) && input.lines.exists(x, x.p == 'B')", json!(true)),
        ("input.lines.exists_one(x, x.stocked)", json!(true)),
        ("input.m.map(k, k)", json!(["a", "b"])),
        ("input.l[1.0] + [5][0]", json!(7)),
        ("1 in input.m || true in input.m", json!(false)),
        ("input.l.map(x, input.l.map(y, x * y))", json!([[1, 2, 3], [2, 4, 6], [3, 6, 9]])),
        ("input.l.map(input, input + 1)", json!([2, 3, 4])),
        ("{'b': 1, 'a': [input.t, null]}", json!({"a": [true, null], "b": 1})),
        ("[1] + input.l + []", json!([1, 1, 2, 3])),
        ("{'a': [1.0]} == {'a': [1]}", json!(true)),
        ("1 == '1' || [1] == {'a': 1}", json!(false)),
        // The side that decides wins over the other's error.
        ("input.nothing == 1 || true", json!(true)),
        ("false && input.nothing == 1", json!(false)),
        ("input.nothing == 1 && false", json!(false)),
        ("steps.pay.id", json!("p-1")),
        ("has(steps.pay.id) ? steps.pay.id : ''", json!("p-1")),
        ("has(steps.own.x)", json!(false)),
        ("steps.own", json!({})),
        ("saga.id", json!("the-saga")),
    ] {
        assert_eq!(run(source), Ok(expected), "{source}");
    }
}

#[test]
fn errors_of_evaluation_name_no_data() {
    for (source, part) in [
        ("input.nothing", "no member `nothing`"),
        ("input.s.x", "has no members"),
        ("input.max + 1", "64 bits"),
        ("-(-9223372036854775807 - 1)", "64 bits"),
        ("input.huge + 1", "beyond 64 bits"),
        ("input.huge == 1", "beyond 64 bits"),
        ("input.i / 0", "divided by zero"),
        ("input.i % 0", "divided by zero"),
        ("1.0 / 0.0", "JSON has no form"),
        ("input.i + 1.0", "does not go with"),
        ("input.s < 1", "does not go with"),
        ("input.l[3]", "outside of its list"),
        ("input.l[-1]", "outside of its list"),
        ("input.l[0.5]", "does not go with"),
        ("input.l in input.m", "does not go with"),
        ("input.s ? 1 : 2", "not a boolean"),
        ("input.i.map(x, x)", "not a list"),
        ("int('4 2')", "no integer"),
        ("int(1e300)", "64 bits"),
        ("size(1)", "size()"),
        ("{input.s: 1, 'abc': 2}", "twice"),
        ("input.nothing == 1 && true", "no member"),
    ] {
        let error = run(source).unwrap_err();
        assert!(error.contains(part), "{source}: {error}");
        assert!(!error.contains("abc"), "{source}: {error}");
    }
}

#[test]
fn faults_of_compiling_name_the_way_out() {
    for (source, fault, way_out) in [
        ("", "empty", "remove the key"),
        ("1 +", "no CEL", "correct"),
        ("inptu.x", "`inptu` is not known", "did you mean `input`?"),
        ("steps.pya.id", "no step `pya`", "did you mean `pay`?"),
        ("steps", "stands alone", "steps.<step>.<output>"),
        ("steps[input.s]", "stands alone", "name the output"),
        ("saga.started", "not known", "saga.id"),
        ("body.x", "`body` is not known", "known: input"),
        ("now()", "now() is not known", "neither a clock nor randomness"),
        ("timestamp(input.s)", "not known", "neither a clock"),
        ("siez(input.l)", "not known", "did you mean `size`?"),
        ("size()", "does not take 0", "size(x)"),
        ("input.s.matches('a')", "not known", "known: "),
        ("has(input)", "no member", "has(a.b)"),
        ("has(steps.pay)", "always there", "has(steps.<step>.<output>)"),
        ("1u", "unsigned", ""),
        ("b'x'", "bytes", ""),
        ("Foo{a: 1}", "struct", ""),
        ("{1: 2}", "no string", "quotes"),
        ("input.l.map(1, 2)", "no name", ""),
        ("input.?x", "optional", ""),
    ] {
        let (found, out) = Expr::compile(source, &Scope::Call(&NAMES)).unwrap_err();
        assert!(found.contains(fault) && out.contains(way_out), "{source}: {found} ({out})");
    }
    assert!(Expr::compile("body.id + string(status)", &Scope::Reply).is_ok());
    assert!(Expr::compile("input.id", &Scope::Reply).is_err());
    assert!(Expr::compile("steps.pay.id", &Scope::Input).is_err());
}

#[test]
fn reads_are_guarded_only_behind_has() {
    let guarded = |source: &str| {
        let expr = Expr::compile(source, &Scope::Call(&NAMES)).unwrap();
        expr.reads().iter().all(|read| read.guarded)
    };
    for source in [
        "has(steps.own.x)",
        "has(steps.own.x) ? steps.own.x : null",
        "has(steps.own.x) ? steps['own']['x'].deep : null",
        "!has(steps.own.x) ? null : steps.own.x",
        "has(steps.own.x) && steps.own.x > 1",
        "!has(steps.own.x) || steps.own.x > 1",
        "has(steps.own.x) && has(steps.own.y) ? steps.own.x + steps.own.y : 0",
        "(!has(steps.own.x) || !has(steps.own.y)) ? 0 : steps.own.x + steps.own.y",
        "input.l.map(i, has(steps.own.x) ? steps.own.x : i)",
        "input.l.map(steps, steps.own.x)",
    ] {
        assert!(guarded(source), "{source}");
    }
    for source in [
        "steps.own.x",
        "steps.own",
        "has(steps.own.x) ? steps.own.y : null",
        "has(steps.own.x) ? null : steps.own.x",
        "has(steps.own.x) || steps.own.x > 1",
        "(has(steps.own.x) || true) ? steps.own.x : null",
        "has(steps.own.x.y)",
        "has(steps.own.x) ? steps.pay.x : null",
        "(has(steps.own.x) ? 1 : 2) + steps.own.x",
    ] {
        assert!(!guarded(source), "{source}");
    }
}

#[test]
fn cost_is_bounded_in_steps_and_in_bytes() {
    let many = json!({"l": vec![1; 2_000], "s": "x".repeat(1 << 20)});
    let none = [None, None];
    assert_eq!(run_with("size(input.l.map(x, x + 1))", &many, &none), Ok(json!(2_000)));
    for source in [
        "input.l.all(x, input.l.all(y, input.l.all(z, z > 0)))",
        "input.l.map(x, input.l)==input.l.map(x, input.l)",
        "input.nothing || input.l.all(x, input.l.all(y, y > 0))",
    ] {
        assert_eq!(run_with(source, &many, &none), Err("the expression costs too much".to_owned()), "{source}");
    }
    for source in ["size(input.l.map(x, input.s + 'x'))", "input.s+input.s+input.s+input.s+input.s"] {
        assert_eq!(run_with(source, &many, &none), Err("the expression needs too much memory".to_owned()), "{source}");
    }
}

/// Untrusted text must not exhaust a small stack: neither the parser's, nor ours, nor the drop's.
#[test]
fn no_source_exhausts_a_small_stack() {
    let repeated = |part: &str, times: usize| part.repeat(times);
    let sources = vec![
        repeated("(", 1_500) + "1" + &repeated(")", 1_500),
        repeated("(", 23) + "1" + &repeated(")", 23),
        repeated("[", 380),
        repeated("!", 700) + "true",
        repeated("-", 700) + "1",
        "1".to_owned() + &repeated("+1", 390),
        "a".to_owned() + &repeated(".a", 390),
        "input".to_owned() + &repeated(".a", 390),
        "input".to_owned() + &repeated("[0]", 260),
        "1".to_owned() + &repeated(" in 1", 390),
        "1".to_owned() + &repeated("==1", 190),
        repeated("true?1:", 190) + "1",
        repeated("{'a':", 200),
        "true".to_owned() + &repeated("&&true", 190),
        "input".to_owned() + &repeated(".map(x,x)", 120),
        repeated("has(", 200),
    ];
    let work = move || {
        for source in sources {
            // Whether it compiles is not the point; that it returns is.
            if let Ok(expr) = Expr::compile(&source, &Scope::Call(&NAMES)) {
                let _ = expr.evaluate(&roots(&Value::Null, &[None, None])).is_ok();
            }
        }
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn integers_and_doubles_compare_without_losing_digits() {
    for (int, double) in [
        (i64::MAX, 9.3e18),
        (i64::MIN, -9.3e18),
        (0, 0.5),
        (-1, -0.5),
        (9_007_199_254_740_993, 9_007_199_254_740_994.0),
    ] {
        let expected = if double > 0.0 || int == -1 { std::cmp::Ordering::Less } else { std::cmp::Ordering::Greater };
        assert_eq!(value::compare_mixed(int, double), Some(expected), "{int} {double}");
    }
    assert_eq!(value::compare_mixed(0, f64::NAN), None);
}

/// Expressions over [`input`], as text.
fn any_source() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "1",
            "0",
            "-2",
            "7",
            "2.5",
            "true",
            "false",
            "null",
            "'abc'",
            "'ü'",
            "[]",
            "[1, 2]",
            "{'a': 1}",
            "input.i",
            "input.n",
            "input.d",
            "input.t",
            "input.s",
            "input.u",
            "input.z",
            "input.l",
            "input.e",
            "input.m",
            "input.m.a",
            "input.lines",
            "input.nothing",
            "input.big",
            "has(input.s)",
            "has(input.nothing)",
        ])
        .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let ops =
            prop::sample::select(vec!["+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "&&", "||", "in"]);
        prop_oneof![
            5 => (inner.clone(), ops, inner.clone()).prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            1 => inner.clone().prop_map(|a| format!("!{a}")),
            1 => inner.clone().prop_map(|a| format!("-({a})")),
            1 => (inner.clone(), inner.clone(), inner.clone()).prop_map(|(a, b, c)| format!("({a} ? {b} : {c})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            1 => inner.clone().prop_map(|a| format!("size({a})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).contains({b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).startsWith({b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).all(x, x == {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).exists(x, x == {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).exists_one(x, x == {b})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).map(x, [x, {b}])")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}).filter(x, x != {b})")),
            1 => inner.clone().prop_map(|a| format!("int({a})")),
            1 => inner.clone().prop_map(|a| format!("double({a})")),
            1 => (inner.clone(), inner).prop_map(|(a, b)| format!("[{a}, {b}]")),
        ]
    })
}

/// The same by the interpreter of the crate `cel`.
fn run_reference(source: &str) -> Result<Value, String> {
    let program = cel::Program::compile(source).map_err(|error| error.to_string())?;
    let mut context = cel::Context::default();
    context.add_variable_from_value("input", reference_value(&reference_input()));
    let value = program.execute(&context).map_err(|error| error.to_string())?;
    value.json().map_err(|error| error.to_string())
}

/// JSON as the interpreter's values; its own conversion makes unsigned integers of most.
fn reference_value(value: &Value) -> cel::Value {
    match value {
        Value::Null => cel::Value::Null,
        Value::Bool(value) => cel::Value::Bool(*value),
        Value::Number(number) => number.as_i64().map_or_else(|| number.as_f64().unwrap().into(), cel::Value::Int),
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(reference_value).collect::<Vec<_>>().into(),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| (key.clone(), reference_value(value)));
            cel::Value::Map(members.collect::<std::collections::HashMap<_, _>>().into())
        }
    }
}

/// [`input`] without what the interpreter reads differently: an integer beyond 64 bits signed, and maps of several
/// members, which it walks in another order each time.
fn reference_input() -> Value {
    let mut input = input();
    input.as_object_mut().unwrap().remove("huge");
    input["m"].as_object_mut().unwrap().remove("b");
    input["lines"] = json!([{"q": 2}, {"q": 0}]);
    input
}

/// JSON with numbers compared by value.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64() && a.is_f64() == b.is_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_evaluators_agree(source in any_source()) {
        let ours = run_with(&source, &reference_input(), &[None, None]);
        let reference = run_reference(&source);
        match (&ours, &reference) {
            (Ok(a), Ok(b)) => prop_assert!(same(a, b), "{source}: {a} is not {b}"),
            (Err(_), Err(_)) => {}
            // The interpreter appends a map's keys to a list; the language knows no such sum.
            (Err(error), Ok(_)) if error == "+ does not go with a list and a map" => {}
            _ => prop_assert!(false, "{source}: {ours:?} is not {reference:?}"),
        }
    }

    #[test]
    fn no_text_makes_the_compiler_panic(source in "\\PC{0,60}") {
        let _ = Expr::compile(&source, &Scope::Call(&NAMES)).is_ok();
    }

    #[test]
    fn no_near_expression_makes_the_compiler_panic(
        words in prop::collection::vec(prop::sample::select(vec![
            "input", "steps", "pay", ".", "(", ")", "[", "]", "{", "}", "has", "map", ",", "x", "+", "-", "!", "?", ":",
            "&&", "'a'", "\"", "1", "1.5", "in", "null", "b'", "r'", "\\", "`", "//",
        ]), 0..30)
    ) {
        let _ = Expr::compile(&words.join(""), &Scope::Call(&NAMES)).is_ok();
    }
}
