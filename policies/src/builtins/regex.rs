//! `regex.find_all_string_submatch_n`, which policies take paths apart with.

use regex::RegexBuilder;
use regorus::Value;

use super::{Failure, text};

/// The most matches that are looked for.
const MAX_MATCHES: usize = 1_000;

/// The most memory of a compiled expression, in bytes.
const MAX_COMPILED: usize = 1 << 20;

/// At most `most` matches (all where it is negative), each with its groups; one that took no part is empty.
pub(super) fn find_all_submatches(
    pattern: &Value,
    within: &Value,
    most: &Value,
) -> Result<Value, Failure> {
    let name = "regex.find_all_string_submatch_n";
    let (pattern, within) = (text(name, pattern)?, text(name, within)?);
    let Some(most) = most.as_i64().ok() else {
        return Err(Failure::Undefined(name, "the number is no whole number"));
    };
    let expression = RegexBuilder::new(pattern)
        .size_limit(MAX_COMPILED)
        .build()
        .map_err(|_| Failure::Undefined(name, "the pattern is no regular expression"))?;
    let mut found = Vec::new();
    for groups in expression
        .captures_iter(within)
        .take(usize::try_from(most).unwrap_or(usize::MAX))
    {
        if found.len() == MAX_MATCHES {
            let told = format!("found more than {MAX_MATCHES} matches");
            return Err(Failure::Limit(name, told));
        }
        let groups = groups
            .iter()
            .map(|group| Value::from(group.map_or("", |g| g.as_str())));
        found.push(Value::from(groups.collect::<Vec<_>>()));
    }
    Ok(Value::from(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(pattern: &str, within: &str, most: i64) -> Result<String, Failure> {
        let (pattern, within) = (Value::from(pattern), Value::from(within));
        find_all_submatches(&pattern, &within, &Value::from(most)).map(|v| v.to_string())
    }

    #[test]
    fn matches_come_with_their_groups() {
        let path = find("^/users/([^/]+)(/x)?$", "/users/alice", -1);
        assert_eq!(path.unwrap(), r#"[["/users/alice","alice",""]]"#);
        assert_eq!(
            find("a(.)", "ab ac ad", 2).unwrap(),
            r#"[["ab","b"],["ac","c"]]"#
        );
        assert_eq!(find("x", "ab", -1).unwrap(), "[]");
    }

    #[test]
    fn it_is_bounded() {
        assert!(matches!(find("(", "a", -1), Err(Failure::Undefined(..))));
        assert!(matches!(
            find("(a{1000}){1000}", "a", -1),
            Err(Failure::Undefined(..))
        ));
        let many = "a".repeat(MAX_MATCHES + 1);
        assert!(matches!(find("a", &many, -1), Err(Failure::Limit(..))));
        assert!(find("a", &many, 1000).is_ok());
    }
}
