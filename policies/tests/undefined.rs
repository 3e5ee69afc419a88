//! What has no value holds nothing: a rule that reaches for it answers in the bytecode, which decides, as it does in the
//! interpreter, wherever it stands.
#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking; this file is nothing else"
)]

mod question;

use regorus::{Engine, Extension, Value};
use writ_policy::builtins::{EXTENSIONS, Evaluation};
use writ_policy::decision::Decision;
use writ_policy::engine::{Data, Evaluator, Module, compile};
use writ_policy::input::Mcp;

/// Around a body of `call`: `f` has no value but for `nothing`, `h` has none, `g` holds, `p` lacks `zz`.
fn policy(body: &str) -> String {
    format!(
        "package writ\n\nf(y) := 1 if y == \"nothing\"\n\nf2(_, y) := y\n\nf3(1, _) := 1\n\nf4([_, y]) := y\n\nf5(x) if x.a\n\nf5(_) := 2 if false\n\nelse := 3\n\n\
        f6(_) if false\n\nelse if true\n\nh := 1 if f(input.mcp.tool)\n\ng if h\n\ng if true\n\n\
        p := {{\"a\": 1}}\n\nm.n[day] := 5 if some day in [1]\n\nu[each] := [x | x := [1, 2][_]; x > 1] if some each in [1]\n\ne := h if input.zz\n\nelse := h if true\n\ns contains h if true\n\no[k] := h if some k in [1]\n\nq.a := 1\n\nq.b := h\n\nl(y) := [x | x := 1; x > y]\n\n\
        call := {{\"allow\": true}} if {{\n{body}\n}}\n"
    )
}

/// Bodies, and whether they hold.
const BODIES: &[(&str, bool)] = &[
    // A call of a function.
    ("x := f(input.mcp.tool)", false),
    ("x := f(input.mcp.tool)\n true", false),
    ("x = f(input.mcp.tool)\n true", false),
    ("some x\n x = f(input.mcp.tool)\n true", false),
    ("f(input.mcp.tool)", false),
    ("not f(input.mcp.tool)", true),
    ("_ := f(input.mcp.tool)\n true", false),
    ("x := f2(1, h)\n true", false),
    ("x := f2(h, 1)\n true", false),
    ("x := f2(input.zz, 1)\n true", false),
    ("f2(input.zz, 1) == 1", false),
    ("not f2(input.zz, 1)", true),
    ("x := f2(f(input.mcp.tool), 1)\n true", false),
    ("x := f(\"nothing\")\n x == 1", true),
    ("f3(1, h)", false),
    ("f3(h, 1)", false),
    ("f3(1, 2)", true),
    ("f4(h)", false),
    ("f4([h, 1])", false),
    ("f4([1, 1])", true),
    ("f5(h)", false),
    ("f5(1) == 3", true),
    ("f6(h)", false),
    ("f6(1)", true),
    // A member, an item, a document.
    (
        "name := \"zz\"\n v := input.mcp.arguments[name]\n true",
        false,
    ),
    ("v := input.mcp.arguments.zz\n true", false),
    ("v := data.limits[input.mcp.tool]\n true", false),
    ("v := [1, 2, 3][9]\n true", false),
    ("some i\n v := input.mcp.arguments[i].zz\n true", false),
    ("v := input.mcp.arguments[f(input.mcp.tool)]\n true", false),
    ("v := data.writ.p[\"zz\"]\n true", false),
    ("v := p.zz\n true", false),
    ("v := input.zz.zz.zz\n true", false),
    ("v := input[_].zz\n true", false),
    ("v := input.mcp[input.zz]\n true", false),
    ("v := p[_]\n v == 1", true),
    // A rule.
    ("h\n true", false),
    ("v := h\n true", false),
    ("v := data.writ.h\n true", false),
    ("v := e\n true", false),
    ("e", false),
    ("v := g\n v", true),
    ("count(s) == 0", true),
    ("v := s[_]\n true", false),
    ("v := o[_]\n true", false),
    ("count(o) == 0", true),
    ("q.a == 1", true),
    ("m.n == {1: 5}", true),
    ("u == {1: [2]}", true),
    ("q.b", false),
    ("o == {}", true),
    // Inside of what is put together.
    ("v := [f(input.mcp.tool)]\n true", false),
    ("v := [h]\n true", false),
    ("v := {h}\n true", false),
    ("v := {\"a\": f(input.mcp.tool)}\n true", false),
    ("v := {h: 1}\n true", false),
    ("v := [[[h]]]\n true", false),
    ("v := h + 1\n true", false),
    ("v := 1 - f(input.mcp.tool)\n true", false),
    ("v := h == 1\n true", false),
    ("v := h != 1\n true", false),
    ("h != 1", false),
    ("not h == 1", true),
    ("not h != 1", true),
    ("input.zz < 5", false),
    ("not input.zz < 5", true),
    // Comprehensions and `every`.
    ("count([1 | x := f(input.mcp.tool)]) == 1", false),
    ("v := {x | x := f(input.mcp.tool)}\n count(v) == 1", false),
    ("v := {k: 1 | k := h}\n count(v) == 1", false),
    ("v := [h | true]\n count(v) == 1", false),
    ("v := [h | true]\n count(v) == 0", true),
    ("v := [[h | true] | true]\n v == [[]]", true),
    (
        "v := [[x | x := [y | some y in [1, 2]]] | true]\n v == [[[1, 2]]]",
        true,
    ),
    ("v := {1: h | true}\n v == {}", true),
    ("v := {h: 1 | true}\n v == {}", true),
    ("v := {h | true}\n count(v) == 0", true),
    (
        "v := {x: y | some x, y in [1, 2]}\n v == {0: 1, 1: 2}",
        true,
    ),
    ("v := [(h) | true]\n v == []", true),
    ("v := [((1 + 2) * h) | some _ in [1]]\n v == []", true),
    (
        "v := [(((1 + 2) * 2) + y) | some y in [1]]\n v == [7]",
        true,
    ),
    // A condition of a comprehension that does not hold, within another or within a loop.
    ("v := [y | y := [x | x := 1; x > 5]]\n v == [[]]", true),
    (
        "v := [y | y := [x | true; x := 1; x > 5]]\n v == [[]]",
        true,
    ),
    (
        "v := [y | y := [x | x := 1; x > 5]; y == [1]]\n v == []",
        true,
    ),
    (
        "v := [z | some z in [1, 2]; count([x | x := 1; x > z]) == 0]\n v == [1, 2]",
        true,
    ),
    (
        "some y in [1, 2, 3]\n count({x | x := 1; x > y}) == 0\n y == 3",
        true,
    ),
    (
        "some y in [1, 2, 3]\n count({x | 1 > y; some x in [1]}) == 0\n y == 3",
        true,
    ),
    ("some y in [1, 2, 3]\n l(y) == []\n y == 3", true),
    (
        "every y in [1, 2, 3] { count([x | x := 1; x > y]) == 0 }",
        true,
    ),
    (
        "input.mcp.arguments[_] == 1\n {x: 1 | x := 1; x > 2} == {}",
        true,
    ),
    ("v := [y | y := l(5)]\n v == [[]]", true),
    ("every x in [1] { y := f(input.mcp.tool) }", false),
    ("every x in [1] { h }", false),
    ("every x in input.zz { true }", false),
    ("every x in h { true }", false),
    ("every x in [] { h }", true),
    // Membership.
    ("1 in input.zz", false),
    ("not 1 in input.zz", true),
    ("h in [1]", false),
    ("not h in [1]", true),
    ("some x in input.zz\n true", false),
    ("some x in [h]\n true", false),
    // Arguments of built-ins, and built-ins that fail.
    (
        "v := object.get(input.mcp.arguments, \"zz\", h)\n true",
        false,
    ),
    ("v := sprintf(\"%v\", [h])\n true", false),
    ("v := crypto.sha256(h)\n true", false),
    ("v := crypto.sha256(5)\n true", false),
    ("v := io.jwt.decode(\"x\")\n true", false),
    ("v := to_number(\"a\")\n true", false),
    ("v := json.unmarshal(\"{\")\n true", false),
    ("not startswith(input.zz, \"a\")", true),
    // Parts of what is taken apart.
    ("[a, b] := f(input.mcp.tool)\n true", false),
    ("{\"a\": a, \"zz\": z} := p\n true", false),
];

fn interpreted(policy: &str) -> bool {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(false);
    for (name, arity) in EXTENSIONS {
        let extension: Box<dyn Extension> = Box::new(move |arguments: Vec<Value>| {
            let answer = Evaluation::at(&|| None).call(name, &arguments);
            Ok(answer.unwrap_or(Value::Undefined))
        });
        let arity = u8::try_from(*arity).unwrap();
        engine
            .add_extension((*name).to_owned(), arity, extension)
            .unwrap();
    }
    engine
        .add_policy("p.rego".to_owned(), policy.to_owned())
        .unwrap();
    let input =
        r#"{"mcp": {"method": "tools/call", "tool": "transfer", "arguments": {"amount": 1}}}"#;
    engine.set_input(Value::from_json_str(input).unwrap());
    engine.eval_rule("data.writ.call".to_owned()).unwrap() != Value::Undefined
}

fn decided(policy: String) -> Decision {
    let module = Module {
        path: "p.rego".to_owned(),
        text: policy,
    };
    let program = compile(&[module]).unwrap();
    let mut evaluator = Evaluator::new(&program, &Data::from_json("{}").unwrap()).unwrap();
    let arguments = Value::from_json_str(r#"{"amount": 1}"#).unwrap();
    let mcp = Mcp {
        method: "tools/call",
        tool: Some("transfer"),
        arguments: Some(&arguments),
        ..Mcp::default()
    };
    question::about(&[], &mcp, |input| evaluator.call(input))
}

#[test]
fn what_has_no_value_holds_nothing() {
    let mut wrong = Vec::new();
    // On its own, and as the engine runs what asks for a built-in of Writ's.
    for before in ["", "crypto.sha256(\"a\")\n"] {
        for (body, holds) in BODIES {
            let text = policy(&format!("{before}{body}"));
            let interpreted = interpreted(&text);
            let decision = decided(text);
            let decided = matches!(decision, Decision::Allow { .. });
            if (interpreted, decided) != (*holds, *holds) {
                wrong.push(format!(
                    "{before:?} {body:?}: {holds}; interpreter: {interpreted}; bytecode: {decision:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
