//! Who works on the database with the command line: on record with what they change.

use std::sync::OnceLock;

use rustix::process::Uid;

/// Whoever runs this process, where what it changes is put down to them.
static OPERATOR: OnceLock<String> = OnceLock::new();

/// From now on what this process changes is put down to whoever runs it.
pub fn answers_for_changes() {
    let _ = OPERATOR.set(account());
}

/// `os:` and the account of the operating system; none in a service, which changes nothing on its own account.
pub(super) fn operator() -> Option<String> {
    OPERATOR.get().cloned()
}

/// The account that the process runs as, or who became root to run it.
fn account() -> String {
    let sudo = std::env::var("SUDO_USER").ok();
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    called(rustix::process::getuid(), sudo, &accounts)
}

fn called(uid: Uid, sudo: Option<String>, accounts: &str) -> String {
    let sudo = sudo.filter(|name| uid.is_root() && is_name(name));
    let name = sudo.or_else(|| name_of(uid.as_raw(), accounts));
    format!("os:{}", name.unwrap_or_else(|| uid.as_raw().to_string()))
}

/// What an account is called there (passwd(5)).
fn name_of(uid: u32, accounts: &str) -> Option<String> {
    let is_meant = |line: &&str| line.split(':').nth(2) == Some(uid.to_string().as_str());
    let name = accounts.lines().find(is_meant)?.split(':').next()?;
    is_name(name).then(|| name.to_owned())
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_called_what_the_system_calls_it() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        let (root, alice, other) = (Uid::ROOT, Uid::from_raw(1000), Uid::from_raw(10));
        let by = |name: &str| Some(name.to_owned());
        for (uid, sudo, name) in [
            (alice, None, "os:alice"),
            (root, None, "os:root"),
            (root, by("alice"), "os:alice"),
            // Only root is by somebody's leave; what is no name is nobody's.
            (alice, by("root"), "os:alice"),
            (root, by("a b"), "os:root"),
            (other, None, "os:10"),
        ] {
            assert_eq!(called(uid, sudo, accounts), name);
        }
    }
}
