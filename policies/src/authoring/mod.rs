//! For whoever writes policies: what is wrong with one ([`check`]) or with its data ([`data`]), whether its tests hold
//! ([`testing`]), how it comes to an answer ([`trace`]) and whether that depends on what is not known any longer ([`reads`]).
//!
//! The filter is built without all of this (the feature `authoring`).

pub mod check;
pub mod data;
mod interpreter;
pub mod reads;
pub mod schema;
pub mod testing;
pub mod trace;

use regorus::Engine;
use regorus::unstable::{Expr, Module as Parsed, Ref, Rule, RuleHead};
use serde::Serialize;

use crate::engine::Module;
use crate::nesting;

/// A place in a source file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, by its path below the policy's root.
    pub path: String,
    /// Its line, from 1.
    pub line: u32,
    /// The column, in characters from 1.
    pub column: u32,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", self.path, self.line, self.column)
    }
}

impl Place {
    fn of(span: &regorus::unstable::Span) -> Self {
        Self {
            path: span.source.file().clone(),
            line: span.line,
            column: untabbed(span.source.line(span.line.saturating_sub(1)), span.col),
        }
    }
}

/// A message of the engine's, which has its place in its first lines and what it says in the last.
fn located(message: &str) -> (Option<Place>, String) {
    let place = message.split_once("--> ").and_then(|(_, rest)| {
        let mut lines = rest.lines();
        let mut parts = lines.next()?.rsplitn(3, ':');
        let column = parts.next()?.trim().parse().ok()?;
        let source = lines.nth(1).and_then(|line| line.split_once("| "));
        let column = source.map_or(column, |(_, text)| untabbed(text, column));
        let line = parts.next()?.parse().ok()?;
        Some(Place {
            path: parts.next()?.to_owned(),
            line,
            column,
        })
    });
    let said = match place {
        Some(_) => message
            .rsplit_once("error: ")
            .map_or(message, |(_, said)| said),
        None => message,
    };
    (place, said.trim().to_owned())
}

/// The column that an editor shows, for one of the engine's, where a tab is as wide as four characters.
fn untabbed(line: &str, column: u32) -> u32 {
    let mut width = 1;
    let mut characters = 1;
    for character in line.chars() {
        if width >= column {
            break;
        }
        width += if character == '\t' { 4 } else { 1 };
        characters += 1;
    }
    characters
}

/// Parsed modules, which have parsed before.
fn parsed(modules: &[Module]) -> Vec<Ref<Parsed>> {
    let mut engine = Engine::new();
    for module in modules {
        let _ = engine.add_policy(module.path.clone(), module.text.clone());
    }
    engine.get_modules().clone()
}

/// The package that a module is in, as in `data.writ`; none where it does not parse.
#[must_use]
pub fn package_of(text: &str) -> Option<String> {
    nesting::brackets(text).ok()?;
    let mut engine = Engine::new();
    engine.add_policy(String::new(), text.to_owned()).ok()
}

/// `data.` and the package of a module, as in `data.writ`.
fn package(module: &Parsed) -> String {
    format!("data.{}", dotted(&module.package.refr).join("."))
}

/// The names that a reference is made of (`a.b["c"]`), as far as they are fixed.
fn dotted(mut expr: &Expr) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match expr {
            Expr::RefDot { refr, field, .. } => {
                names.push(field.0.text().to_owned());
                expr = refr;
            }
            Expr::RefBrack { refr, index, .. } => {
                match &**index {
                    Expr::String { value, .. } | Expr::RawString { value, .. } => {
                        names.extend(value.as_string().ok().map(|name| name.to_string()));
                    }
                    // What comes after something that is not fixed says nothing about a name.
                    _ => names.clear(),
                }
                expr = refr;
            }
            other => {
                names.push(other.span().text().to_owned());
                names.reverse();
                return names;
            }
        }
    }
}

/// What a rule is called within its package.
fn rule_name(rule: &Rule) -> Vec<String> {
    match rule {
        Rule::Default { refr, .. } => dotted(refr),
        Rule::Spec { head, .. } => match head {
            RuleHead::Compr { refr, .. }
            | RuleHead::Set { refr, .. }
            | RuleHead::Func { refr, .. } => dotted(refr),
        },
    }
}
