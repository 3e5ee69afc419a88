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
            text.bodies(head, bodies);
        }
        walk::rule(rule, &mut |node| match node {
            Node::Assign { name } => text.declared(name),
            Node::Comprehension { terms, query } => {
                text.looped(query);
                let terms = terms.into_iter().flatten();
                yields.extend(terms.filter_map(|term| Some((range(term.span()), last(query)?))));
            }
            _ => {}
        });
    }
    // What is within another first.
    yields.sort_by_key(|(term, _)| term.len());
    for (term, end) in yields {
        let statement = text.yielded(term);
        text.insert(end, format!("; {statement}"));
    }
    Module {
        path: source.get_path().clone(),
        text: text.written(),
    }
}

/// Where `span` is, with the quotes of the strings that it begins and ends with: the parser leaves those out.
fn range(span: &Span) -> Range<usize> {
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

/// What is to stand at a range of a text.
struct Edit {
    range: Range<usize>,
    text: String,
}

/// A module's text, and what is to be written otherwise in it.
struct Text<'a> {
    text: &'a str,
    /// As they were found: those at one place stand in this order.
    edits: Vec<Edit>,
    /// What no name of the module begins with.
    prefix: String,
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
            edits: Vec::new(),
            prefix,
            names: 0,
        }
    }

    fn replace(&mut self, range: Range<usize>, text: String) {
        self.edits.push(Edit { range, text });
    }

    fn insert(&mut self, at: usize, text: String) {
        self.replace(at..at, text);
    }

    /// A name that the module does not have.
    fn name(&mut self) -> String {
        self.names += 1;
        format!("{}{}", self.prefix, self.names)
    }

    /// The bodies of a definition: a function's hold only of arguments that have values, a partial object's only with a value.
    fn bodies(&mut self, head: &RuleHead, bodies: &[RuleBody]) {
        let guard = self.guard(head);
        let member = match head {
            RuleHead::Compr { refr, assign, .. } if matches!(&**refr, Expr::RefBrack { .. }) => {
                assign.as_ref().map(|assign| range(assign.value.span()))
            }
            _ => None,
        };
        let member = member.map(|value| self.yielded(value));
        let statements = [guard.as_deref(), member.as_deref()];
        let [before, after] = statements;
        let alone: Vec<&str> = statements.into_iter().flatten().collect();
        let bodiless = |assign: &RuleAssign| range(&assign.span).end;
        if let (true, Some(statement), Some(assign)) =
            (bodies.is_empty(), alone.first(), walk::head_assign(head))
        {
            self.insert(bodiless(assign), format!(" if {{ {statement} }}"));
        }
        for body in bodies {
            match (last(&body.query), &body.assign) {
                (Some(end), _) => self.body(&body.query, end, before, after),
                // `else := y`
                (None, Some(assign)) => {
                    if let Some(statement) = before {
                        self.insert(bodiless(assign), format!(" if {{ {statement} }}"));
                    }
                }
                (None, None) => {}
            }
        }
    }

    /// `query` between statements, and in braces if it would be more than the one statement that needs none.
    fn body(&mut self, query: &Query, end: usize, before: Option<&str>, after: Option<&str>) {
        let span = range(&query.span);
        let first = query.stmts.first();
        let braces = first.is_some_and(|first| first.span.start > query.span.start);
        let assigns = query.stmts.iter().any(|stmt| {
            matches!(&stmt.literal, Literal::Expr { expr, .. }
                if matches!(&**expr, Expr::AssignExpr { op: AssignOp::ColEq, .. }))
        });
        let before = before
            .map(|before| format!(" {before};"))
            .unwrap_or_default();
        let after = after.map(|after| format!("; {after}")).unwrap_or_default();
        if braces {
            self.insert(span.start + 1, before);
            self.insert(end, after);
        } else if assigns || !before.is_empty() || !after.is_empty() {
            self.insert(span.start, format!("{{{before} "));
            self.insert(end, format!("{after} }}"));
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
                    self.replace(range(span), name.clone());
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
            self.insert(start, format!("some {}; ", name.text()));
        }
        let operator = end + between.len();
        self.replace(operator..operator + ":=".len(), "=".to_owned());
    }

    /// A loop of one round around the body of a comprehension that does not begin with one.
    fn looped(&mut self, query: &Query) {
        let first = query.stmts.first();
        if let Some(first) = first.filter(|first| !matches!(first.literal, Literal::SomeIn { .. }))
        {
            let name = self.name();
            self.insert(range(&first.span).start, format!("some {name} in [0]; "));
        }
    }

    /// A new name instead of what is at `term`: the statement that gives it the value.
    fn yielded(&mut self, term: Range<usize>) -> String {
        let name = self.name();
        let value = self.taken(&term);
        self.replace(term, name.clone());
        format!("some {name}; {name} = {value}")
    }

    /// What is to stand at `range`, which is no longer written there.
    fn taken(&mut self, range: &Range<usize>) -> String {
        let within =
            |edit: &mut Edit| range.start <= edit.range.start && edit.range.end <= range.end;
        let edits = self.edits.extract_if(.., within).collect();
        edited(self.text, range.clone(), edits)
    }

    fn written(self) -> String {
        edited(self.text, 0..self.text.len(), self.edits)
    }
}

/// The text at `range`, after `edits`.
fn edited(text: &str, range: Range<usize>, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.range.start);
    let mut written = String::with_capacity(range.len() + edits.len() * 16);
    let mut done = range.start;
    for edit in edits {
        written.push_str(text.get(done..edit.range.start).unwrap_or_default());
        written.push_str(&edit.text);
        done = edit.range.end;
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
    const WRITTEN: [(&str, &str); 21] = [
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
