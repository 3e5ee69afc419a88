//! What a server's process inherits: what programs need to run at all, and what was named. No secret of ours, and none of
//! whoever started us.

use std::ffi::{OsStr, OsString};

/// Without these most programs do not run: where programs are, whose home it is, the language, where temporary files go.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "TMPDIR", "TZ"];

/// What begins like this sets the language too.
const LOCALE: &str = "LC_";

/// What begins like this is ours: credentials among it.
const OURS: &str = "WRIT_";

/// The name of a variable that a server may be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed(OsString);

impl Passed {
    /// Checks a name.
    ///
    /// # Errors
    /// When it is no name, or one of this program's own.
    pub fn parse(name: &str) -> Result<Self, String> {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err("it is not the name of an environment variable".to_owned());
        }
        if name.to_ascii_uppercase().starts_with(OURS) {
            return Err(format!(
                "variables that begin with {OURS} are this program's own and are passed to nobody"
            ));
        }
        Ok(Self(name.into()))
    }
}

/// What of `all` a server gets.
pub(super) fn clean(
    all: impl Iterator<Item = (OsString, OsString)>,
    passed: &[Passed],
) -> Vec<(OsString, OsString)> {
    let inherited = |name: &OsStr| {
        name.to_str()
            .is_some_and(|name| INHERITED.contains(&name) || name.starts_with(LOCALE))
    };
    all.filter(|(name, _)| inherited(name) || passed.iter().any(|passed| passed.0 == *name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_programs_need_and_what_was_named_is_inherited() {
        let all = [
            "PATH",
            "HOME",
            "LC_ALL",
            "LANG",
            "TMPDIR",
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
            "WRIT_SERVER_SECRET",
            "LD_PRELOAD",
            "NODE_OPTIONS",
            "NAMED",
            "path",
        ];
        let all = all
            .iter()
            .map(|name| (OsString::from(name), OsString::from("x")));
        let passed = [Passed::parse("NAMED").unwrap()];
        let names: Vec<_> = clean(all, &passed)
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["PATH", "HOME", "LC_ALL", "LANG", "TMPDIR", "NAMED"]);
    }

    #[test]
    fn our_own_variables_cannot_be_named() {
        for name in ["WRIT_SERVER_SECRET", "writ_config", "", "A=B"] {
            assert!(Passed::parse(name).is_err(), "{name}");
        }
        assert!(Passed::parse("GITHUB_TOKEN").is_ok());
    }
}
