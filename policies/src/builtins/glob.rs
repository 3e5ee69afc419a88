//! `glob.*`, as OPA documents them.
//!
//! Its own, because the engine's makes a regular expression of each pattern for each call, and brings an engine for those
//! of 150 KB into the filter.

use regorus::Value;

use super::{Failure, text};

/// The longest pattern, in characters.
const MAX_PATTERN: usize = 1_024;

/// The most places where a pattern is tried against a text.
const MAX_STEPS: usize = 100_000;

/// What the separators are where an empty list of them is given.
const DEFAULT_SEPARATOR: char = '.';

const MATCH: &str = "glob.match";

/// A part of a pattern.
enum Part {
    Character(char),
    /// `?`: one character that is no separator.
    One,
    /// `*`: any number of characters that are no separators.
    Many,
    /// `**`: any number of characters.
    All,
    /// `[a-z]`, `[!abc]`: one character of these ranges, or of no such range.
    Class {
        ranges: Vec<(char, char)>,
        not: bool,
    },
    /// `{a,b}`.
    OneOf(Vec<Vec<Part>>),
}

pub(super) fn matches(
    pattern: &Value,
    separators: &Value,
    within: &Value,
) -> Result<Value, Failure> {
    let pattern: Vec<char> = text(MATCH, pattern)?.chars().collect();
    if pattern.len() > MAX_PATTERN {
        let told = format!("was given a pattern of more than {MAX_PATTERN} characters");
        return Err(Failure::Limit(MATCH, told));
    }
    let within: Vec<char> = text(MATCH, within)?.chars().collect();
    let mut left = &pattern[..];
    let parts = parse(&mut left, false).ok_or(Failure::Undefined(MATCH, "it is no pattern"))?;
    let mut run = Run {
        separators: self::separators(separators)?,
        text: &within,
        steps: 0,
    };
    let rest = Rest {
        parts: &parts,
        then: None,
    };
    run.matches(&rest, 0).map(Value::Bool)
}

fn separators(value: &Value) -> Result<Vec<char>, Failure> {
    let wrong = Failure::Undefined(MATCH, "the delimiters are no list of characters");
    let Value::Array(list) = value else {
        return match value {
            Value::Null => Ok(Vec::new()),
            _ => Err(wrong),
        };
    };
    if list.is_empty() {
        return Ok(vec![DEFAULT_SEPARATOR]);
    }
    let one = |value: &Value| {
        let mut characters = text(MATCH, value).ok()?.chars();
        characters.next().filter(|_| characters.next().is_none())
    };
    list.iter().map(one).collect::<Option<_>>().ok_or(wrong)
}

/// Escapes what means something in a pattern.
pub(super) fn quote_meta(value: &Value) -> Result<Value, Failure> {
    let mut quoted = String::new();
    for character in text("glob.quote_meta", value)?.chars() {
        if matches!(character, '*' | '?' | '\\' | '[' | ']' | '{' | '}') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    Ok(Value::from(quoted))
}

/// Reads parts up to the end, or within braces up to what ends an alternative.
fn parse(left: &mut &[char], in_braces: bool) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    while let Some((&first, rest)) = left.split_first() {
        if in_braces && matches!(first, ',' | '}') {
            break;
        }
        *left = rest;
        parts.push(match first {
            '?' => Part::One,
            '*' if rest.first() == Some(&'*') => {
                *left = rest.get(1..)?;
                Part::All
            }
            '*' => Part::Many,
            '\\' => {
                let (&escaped, rest) = rest.split_first()?;
                *left = rest;
                Part::Character(escaped)
            }
            '[' => class(left)?,
            '{' => alternatives(left)?,
            other => Part::Character(other),
        });
    }
    Some(parts)
}

fn alternatives(left: &mut &[char]) -> Option<Part> {
    let mut all = Vec::new();
    loop {
        all.push(parse(left, true)?);
        let (&end, rest) = left.split_first()?;
        *left = rest;
        if end == '}' {
            return Some(Part::OneOf(all));
        }
    }
}

fn class(left: &mut &[char]) -> Option<Part> {
    let not = left.first() == Some(&'!');
    let mut rest = left.get(usize::from(not)..)?;
    let mut ranges = Vec::new();
    loop {
        match rest {
            [']', after @ ..] if !ranges.is_empty() => {
                *left = after;
                return Some(Part::Class { ranges, not });
            }
            [low, '-', high, after @ ..] if *high != ']' => {
                if low > high {
                    return None;
                }
                ranges.push((*low, *high));
                rest = after;
            }
            ['\\', one, after @ ..] | [one, after @ ..] => {
                ranges.push((*one, *one));
                rest = after;
            }
            [] => return None,
        }
    }
}

/// The parts that are still to be matched.
struct Rest<'a> {
    parts: &'a [Part],
    then: Option<&'a Rest<'a>>,
}

struct Run<'a> {
    separators: Vec<char>,
    text: &'a [char],
    steps: usize,
}

impl Run<'_> {
    /// Whether `rest` matches all of the text from `at` on.
    fn matches(&mut self, rest: &Rest<'_>, mut at: usize) -> Result<bool, Failure> {
        let mut parts = rest.parts;
        loop {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                let told = format!("took more than {MAX_STEPS} steps");
                return Err(Failure::Limit(MATCH, told));
            }
            let Some((part, after)) = parts.split_first() else {
                return match rest.then {
                    Some(then) => self.matches(then, at),
                    None => Ok(at == self.text.len()),
                };
            };
            let after = Rest {
                parts: after,
                then: rest.then,
            };
            let next = self.text.get(at).copied();
            let one = match part {
                Part::Many => return self.stretch(&after, at, false),
                Part::All => return self.stretch(&after, at, true),
                Part::OneOf(all) => {
                    for one in all {
                        let alternative = Rest {
                            parts: one,
                            then: Some(&after),
                        };
                        if self.matches(&alternative, at)? {
                            return Ok(true);
                        }
                    }
                    return Ok(false);
                }
                Part::Character(wanted) => next == Some(*wanted),
                Part::One => next.is_some_and(|c| !self.separators.contains(&c)),
                Part::Class { ranges, not } => next.is_some_and(|c| {
                    ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *not
                }),
            };
            if !one {
                return Ok(false);
            }
            at += 1;
            parts = after.parts;
        }
    }

    /// Whether `after` matches behind any number of characters from `at` on.
    fn stretch(&mut self, after: &Rest<'_>, at: usize, all: bool) -> Result<bool, Failure> {
        for end in at..=self.text.len() {
            if self.matches(after, end)? {
                return Ok(true);
            }
            let passes = |c: &char| all || !self.separators.contains(c);
            if !self.text.get(end).is_some_and(passes) {
                break;
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(pattern: &str, separators: &str, within: &str) -> Result<Value, Failure> {
        let separators = Value::from_json_str(separators).unwrap();
        matches(&Value::from(pattern), &separators, &Value::from(within))
    }

    #[test]
    fn patterns_match_as_opa_documents_them() {
        for (pattern, separators, within, expected) in [
            ("*.github.com", "[]", "api.github.com", true),
            ("*.github.com", "[]", "api.cdn.github.com", false),
            ("*hub.com", "null", "api.cdn.github.com", true),
            ("*:github:com", r#"[":"]"#, "api:github:com", true),
            ("api.**.com", "[]", "api.github.com", true),
            ("api.**.com", "[]", "api.cdn.github.com", true),
            ("/a/*/c", r#"["/"]"#, "/a/b/c", true),
            ("/a/*/c", r#"["/"]"#, "/a/b/b/c", false),
            ("/a/**", r#"["/"]"#, "/a/b/b/c", true),
            ("?at", "[]", "cat", true),
            ("?at", "[]", "at", false),
            ("?at", "[]", ".at", false),
            ("[abc]at", "[]", "bat", true),
            ("[abc]at", "[]", "lat", false),
            ("[!abc]at", "[]", "cat", false),
            ("[!a-c]at", "[]", "lat", true),
            ("{cat,bat,[fr]at}", "[]", "rat", true),
            ("{cat,bat,[fr]at}", "[]", "at", false),
            ("{a,b{c,d}}*", "[]", "bdx", true),
            (r"\*x\{", "[]", "*x{", true),
            (r"\*x", "[]", "yx", false),
            ("", "[]", "", true),
            ("*", "[]", "", true),
            ("ü?", "null", "üß", true),
        ] {
            assert_eq!(
                glob(pattern, separators, within),
                Ok(Value::Bool(expected)),
                "{pattern} {separators} {within}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_is_undefined() {
        for (pattern, separators) in [
            ("[a", "[]"),
            ("[", "[]"),
            ("[z-a]", "[]"),
            ("{a,b", "[]"),
            ("a\\", "[]"),
            ("a", r#"["ab"]"#),
            ("a", "7"),
        ] {
            assert!(matches!(
                glob(pattern, separators, "a"),
                Err(Failure::Undefined(..))
            ));
        }
    }

    #[test]
    fn a_pattern_that_takes_too_long_ends_the_evaluation() {
        let within = "a".repeat(200);
        for pattern in ["*a*a*a*a*a*a*b", "**{a,aa}**{a,aa}**{a,aa}**b"] {
            assert!(matches!(
                glob(pattern, "null", &within),
                Err(Failure::Limit(..))
            ));
        }
        let long = "{".repeat(MAX_PATTERN + 1);
        assert!(matches!(glob(&long, "null", "a"), Err(Failure::Limit(..))));
        let nested = format!("{}a{}", "{".repeat(500), "}".repeat(500));
        assert_eq!(glob(&nested, "null", "a"), Ok(Value::Bool(true)));
    }

    #[test]
    fn what_is_quoted_matches_itself() {
        let text = "a*?[b]{c}\\";
        let Value::String(quoted) = quote_meta(&Value::from(text)).unwrap() else {
            panic!("no string");
        };
        assert_eq!(glob(&quoted, "[]", text), Ok(Value::Bool(true)));
    }
}
