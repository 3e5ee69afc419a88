//! What has no value holds nothing, and is nowhere in a collection, as Rego has it.
//!
//! The engine's bytecode goes on after `x := e` where `e` has no value, calls a function with an argument that has none,
//! counts such a value among what a comprehension or a partial object yields, and where a condition of a comprehension
//! does not hold, goes on with the next round of whatever loop is around it: a rule would hold where it should not. Each
//! of these is written in another way before it is compiled, one that says the same and stops:
//!
//! - `x := e` as `some x; x = e`,
//! - `f(x, _) := y if …` as `f(x, w) := y if { [x, w]; … }`,
//! - `[e | …]` as `[w | some v in [0]; …; some w; w = e]`, and `p[k] := e if …` as `p[k] := w if { …; some w; w = e }`.

use std::collections::BTreeMap;
use std::ops::Range;

use regorus::Engine;
use regorus::unstable::{
    AssignOp, Expr, Literal, Module as Parsed, Query, Rule, RuleAssign, RuleBody, RuleHead, Span,
};

use crate::engine::Module;
use crate::walk::{self, Node};

/// The modules that `engine` has parsed, written so. Lines stay where they are.
pub fn modules(engine: &mut Engine) -> Vec<Module> {
    engine
        .get_modules()
        .iter()
        .map(|module| rewritten(module))
        .collect()
}

fn rewritten(module: &Parsed) -> Module {
    let source = &module.package.span.source;
    let mut text = Text::of(source.get_contents());
    let mut yields = Vec::new();
    for rule in &module.policy {
        if let Rule::Spec { head, bodies, .. } = &**rule {
            yields.extend(text.bodies(head, bodies));
        }
        walk::rule(rule, &mut |node| match node {
            Node::Assign { name } => text.declared(name),
            Node::Comprehension { terms, query } => {
                text.looped(query);
                let terms = terms.into_iter().flatten();
                yields.extend(terms.map(|term| Yield {
                    term: range(term.span()),
                    ends: last(query).into_iter().collect(),
                    bodiless: None,
                }));
            }
            _ => {}
        });
    }
    // What is within another first.
    yields.sort_by_key(|each| each.term.len());
    for each in yields {
        text.yielded(each);
    }
    Module {
        path: source.get_path().clone(),
        text: text.written(),
    }
}

/// What a comprehension or a partial object consists of.
struct Yield {
    term: Range<usize>,
    /// Where the last statements end of which it is a result.
    ends: Vec<usize>,
    /// Where the definition ends, if it has no body.
    bodiless: Option<usize>,
}

/// Where `span` is, with the quotes of the strings that it begins and ends with: the parser leaves those out.
pub(crate) fn range(span: &Span) -> Range<usize> {
    let text = span.source.get_contents();
    let (mut start, mut end) = (span.start as usize, span.end as usize);
    let quote = |at: &str| at.starts_with(['"', '`']);
    if start > 0 && text.get(start - 1..).is_some_and(quote) {
        start -= 1;
    }
    if text.get(end..).is_some_and(quote) {
        end += 1;
    }
    start..end
}

/// Where the last statement of `query` ends.
fn last(query: &Query) -> Option<usize> {
    Some(range(&query.stmts.last()?.span).end)
}

/// Where an edit stands among those at the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    /// What a body begins with.
    Opens,
    /// What the statement is that is there.
    Says,
    /// What follows the last statement.
    Follows,
    /// What a body ends with.
    Closes,
}

/// What is to stand instead of the text from a place to this one.
struct Edit {
    end: usize,
    text: String,
}

/// A module's text, and what is to be written otherwise in it.
struct Text<'a> {
    text: &'a str,
    /// By where they begin; those at one place by their order, then as they were found.
    edits: BTreeMap<(usize, Order, usize), Edit>,
    /// What no name of the module begins with.
    prefix: String,
    /// How many edits and names there have been.
    found: usize,
    names: usize,
}

impl<'a> Text<'a> {
    fn of(text: &'a str) -> Self {
        let mut prefix = "writ_".to_owned();
        while text.contains(&prefix) {
            prefix.push('_');
        }
        Self {
            text,
            edits: BTreeMap::new(),
            prefix,
            found: 0,
            names: 0,
        }
    }

    fn replace(&mut self, range: Range<usize>, order: Order, text: String) {
        let Range { start, end } = range;
        self.found += 1;
        self.edits
            .insert((start, order, self.found), Edit { end, text });
    }

    fn insert(&mut self, at: usize, order: Order, text: String) {
        self.replace(at..at, order, text);
    }

    /// A name that the module does not have.
    fn name(&mut self) -> String {
        self.names += 1;
        format!("{}{}", self.prefix, self.names)
    }

    /// The bodies of a definition: a function's hold only of arguments that have values, a partial object's, whose value this
    /// answers, only with one.
    fn bodies(&mut self, head: &RuleHead, bodies: &[RuleBody]) -> Option<Yield> {
        let guard = self.guard(head);
        let assign = walk::head_assign(head);
        let member = assign.filter(|_| {
            matches!(head, RuleHead::Compr { refr, .. } if matches!(&**refr, Expr::RefBrack { .. }))
        });
        let bodiless = assign.filter(|_| bodies.is_empty());
        let mut ends = Vec::new();
        for body in bodies {
            match (last(&body.query), &body.assign) {
                (Some(end), _) => {
                    self.body(&body.query, end, guard.as_deref(), member.is_some());
                    ends.push(end);
                }
                // `else := y`
                (None, Some(assign)) => self.holds(assign, guard.as_deref()),
                (None, None) => {}
            }
        }
        if let Some(assign) = bodiless {
            self.holds(assign, guard.as_deref());
        }
        member.map(|assign| Yield {
            term: range(assign.value.span()),
            ends,
            bodiless: bodiless.map(|assign| range(&assign.span).end),
        })
    }

    /// Gives what has no body one of this statement, if there is one.
    fn holds(&mut self, assign: &RuleAssign, statement: Option<&str>) {
        if let Some(statement) = statement {
            let end = range(&assign.span).end;
            self.insert(end, Order::Follows, format!(" if {{ {statement} }}"));
        }
    }

    /// `query` after a statement, and in braces if it will be more than the one statement that needs none.
    fn body(&mut self, query: &Query, end: usize, before: Option<&str>, more: bool) {
        let start = range(&query.span).start;
        let first = query.stmts.first();
        let braces = first.is_some_and(|first| first.span.start > query.span.start);
        let assigns = query.stmts.iter().any(|stmt| {
            matches!(&stmt.literal, Literal::Expr { expr, .. }
                if matches!(&**expr, Expr::AssignExpr { op: AssignOp::ColEq, .. }))
        });
        let before = before
            .map(|before| format!(" {before};"))
            .unwrap_or_default();
        if braces {
            self.insert(start + 1, Order::Opens, before);
        } else if assigns || more || !before.is_empty() {
            self.insert(start, Order::Opens, format!("{{{before} "));
            self.insert(end, Order::Closes, " }".to_owned());
        }
    }

    /// The statement that holds where every argument of a function has a value. A pattern holds of nothing else anyway.
    fn guard(&mut self, head: &RuleHead) -> Option<String> {
        let RuleHead::Func { args, .. } = head else {
            return None;
        };
        let mut names = Vec::new();
        for arg in args {
            if let Expr::Var { span, .. } = &**arg {
                let mut name = span.text().to_owned();
                if name == "_" {
                    name = self.name();
                    self.replace(range(span), Order::Says, name.clone());
                }
                names.push(name);
            }
        }
        (!names.is_empty()).then(|| format!("[{}]", names.join(", ")))
    }

    /// `name := …` as `some name; name = …`.
    fn declared(&mut self, name: &Span) {
        let Range { start, end } = range(name);
        let Some(between) = self.text.get(end..).and_then(until_operator) else {
            return;
        };
        if name.text() != "_" {
            self.insert(start, Order::Says, format!("some {}; ", name.text()));
        }
        let operator = end + between.len();
        self.replace(operator..operator + ":=".len(), Order::Says, "=".to_owned());
    }

    /// A loop of one round around the body of a comprehension that does not begin with one.
    fn looped(&mut self, query: &Query) {
        let first = query.stmts.first();
        if let Some(first) = first.filter(|first| !matches!(first.literal, Literal::SomeIn { .. }))
        {
            let name = self.name();
            let start = range(&first.span).start;
            self.insert(start, Order::Opens, format!("some {name} in [0]; "));
        }
    }

    /// A new name instead of a term, which gets its value at the end of each body.
    fn yielded(&mut self, each: Yield) {
        let name = self.name();
        let value = self.taken(&each.term);
        let statement = format!("some {name}; {name} = {value}");
        self.replace(each.term, Order::Says, name);
        for end in each.ends {
            self.insert(end, Order::Follows, format!("; {statement}"));
        }
        if let Some(end) = each.bodiless {
            self.insert(end, Order::Follows, format!(" if {{ {statement} }}"));
        }
    }

    /// What is to stand at `range`, which is no longer written there.
    fn taken(&mut self, range: &Range<usize>) -> String {
        let places = (range.start, Order::Opens, 0)..(range.end, Order::Opens, 0);
        let within = |_: &_, edit: &mut Edit| edit.end <= range.end;
        let edits: Vec<_> = self.edits.extract_if(places, within).collect();
        edited(self.text, range.clone(), edits)
    }

    fn written(self) -> String {
        edited(self.text, 0..self.text.len(), self.edits)
    }
}

/// The text at `range`, after edits in their order.
fn edited(
    text: &str,
    range: Range<usize>,
    edits: impl IntoIterator<Item = ((usize, Order, usize), Edit)>,
) -> String {
    let mut written = String::with_capacity(range.len());
    let mut done = range.start;
    for ((start, _, _), edit) in edits {
        written.push_str(text.get(done..start).unwrap_or_default());
        written.push_str(&edit.text);
        done = edit.end;
    }
    written.push_str(text.get(done..range.end).unwrap_or_default());
    written
}

/// The blanks and comments before `:=`.
fn until_operator(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        match rest.strip_prefix('#') {
            Some(comment) => rest = comment.split_once('\n')?.1,
            None => break,
        }
    }
    rest.starts_with(":=")
        .then(|| text.get(..text.len() - rest.len()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each as it is written, and as it is compiled.
    const WRITTEN: [(&str, &str); 23] = [
        ("default a := 1", "default a := 1"),
        (
            "a := x if {\n\tx # y := 2\n\t\t:= input.a\n\t_ := input.b\n\ts := \"z := 3\"\n}",
            "a := x if {\n\tsome x; x # y := 2\n\t\t= input.a\n\t_ = input.b\n\tsome s; s = \"z := 3\"\n}",
        ),
        (
            "a if { every i in [1] { j\n:= i; j } }",
            "a if { every i in [1] { some j; j\n= i; j } }",
        ),
        (
            "a := 1 if { x:=1 } else := 2 if y := 3 # b",
            "a := 1 if { some x; x=1 } else := 2 if { some y; y = 3 } # b",
        ),
        ("a if\n\tx := \"s\"", "a if\n\t{ some x; x = \"s\" }"),
        ("a if input.b", "a if input.b"),
        ("f(x) := \"é\"", "f(x) := \"é\" if { [x] }"),
        (
            "f(x, _) := y if y := x",
            "f(x, writ_1) := y if { [x, writ_1]; some y; y = x }",
        ),
        (
            "f(\"s\", x) if x == `r` else := 2",
            "f(\"s\", x) if { [x]; x == `r` } else := 2 if { [x] }",
        ),
        ("f(1, [_]) := 1", "f(1, [_]) := 1"),
        ("f() := 1", "f() := 1"),
        (
            "f(x) if {\"k\": x}[\"k\"] == 1",
            "f(x) if { [x]; {\"k\": x}[\"k\"] == 1 }",
        ),
        ("f(x) if \"s\" == x", "f(x) if { [x]; \"s\" == x }"),
        ("f(x) if { x; x } { x }", "f(x) if { [x]; x; x } { [x]; x }"),
        (
            "a := [b | b]",
            "a := [writ_2 | some writ_1 in [0]; b; some writ_2; writ_2 = b]",
        ),
        (
            "a := {\"k\": [b | c := \"d\"] | e }",
            "a := {writ_4: writ_5 | some writ_1 in [0]; e; some writ_4; writ_4 = \"k\"; some writ_5; \
             writ_5 = [writ_3 | some writ_2 in [0]; some c; c = \"d\"; some writ_3; writ_3 = b] }",
        ),
        (
            "a := {((1 + x) * 2) | some x in {\"y\"}}",
            "a := {(writ_1) | some x in {\"y\"}; some writ_1; writ_1 = (1 + x) * 2}",
        ),
        ("a contains b if c", "a contains b if c"),
        (
            "a[b] := c if b := 1",
            "a[b] := writ_1 if { some b; b = 1; some writ_1; writ_1 = c }",
        ),
        (
            "a[b] := [c | c] if b",
            "a[b] := writ_3 if { b; some writ_3; writ_3 = [writ_2 | some writ_1 in [0]; c; some writ_2; writ_2 = c] }",
        ),
        (
            "a[b] := [[c | d] | e] if { some b in f } { g := b }",
            "a[b] := writ_5 if { some b in f; some writ_5; writ_5 = [writ_4 | some writ_1 in [0]; e; some writ_4; \
             writ_4 = [writ_3 | some writ_2 in [0]; d; some writ_3; writ_3 = c]] } { some g; g = b; some writ_5; \
             writ_5 = [writ_4 | some writ_1 in [0]; e; some writ_4; writ_4 = [writ_3 | some writ_2 in [0]; d; some writ_3; writ_3 = c]] }",
        ),
        (
            "a[\"b\"] := c",
            "a[\"b\"] := writ_1 if { some writ_1; writ_1 = c }",
        ),
        (
            "# writ_ is a name\na := [b | b]",
            "# writ_ is a name\na := [writ__2 | some writ__1 in [0]; b; some writ__2; writ__2 = b]",
        ),
    ];

    #[test]
    fn what_would_go_on_without_a_value_is_written_otherwise() {
        for (text, wanted) in WRITTEN {
            let mut engine = Engine::new();
            engine
                .add_policy("p.rego".to_owned(), format!("package p\n\n{text}\n"))
                .unwrap();
            let [module] = modules(&mut engine).try_into().unwrap();
            assert_eq!(module.path, "p.rego");
            assert_eq!(module.text, format!("package p\n\n{wanted}\n"));
            Engine::new().add_policy(module.path, module.text).unwrap();
        }
    }
}
