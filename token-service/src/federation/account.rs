//! The user that somebody at a provider is here: tied by issuer and subject, made at the first sign-in.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use sqlx::AnyConnection;

use super::{Failure, claims, id_token::SignedIn};
use crate::{
    clock::rfc3339,
    config::federation::Provider as Config,
    hex::hex,
    oauth::id_jag::IdJag,
    store::{
        StoreError,
        identities::{self, Identity, Profile},
        providers,
        sign_ins::{self, PendingSignIn},
        users::{self, User, UserName},
    },
};

/// Lengths of what is added to a name that is taken, in bytes of a digest.
const SUFFIXES: [usize; 3] = [0, 4, 16];
/// What fits before it.
const MAX_BASE: usize = 90;

/// The name of the active user that this identity is tied to; a new one when it is tied to none.
pub(super) async fn tie(
    conn: &mut AnyConnection,
    config: &Config,
    signed_in: &SignedIn,
    wanted: &str,
    pending: &PendingSignIn,
    now: Timestamp,
) -> Result<String, Failure> {
    let identity = Identity {
        issuer: &config.issuer,
        subject: &signed_in.subject,
    };
    if !providers::is_on(conn, identity.issuer).await? {
        return Err(Failure::SwitchedOff);
    }
    if let Some(sid) = &signed_in.sid
        && sign_ins::is_ended(conn, identity.issuer, sid, now).await?
    {
        return Err(Failure::Ended);
    }
    match find(conn, identity, &pending.created_at).await? {
        Some(user) => Ok(user.name),
        None => add(conn, identity, wanted, now).await,
    }
}

/// The active user that a provider speaks for in a grant of its own (ID-JAG); a new one where nobody has signed in as that
/// identity yet. What it says of somebody who has is left as their last sign-in said.
///
/// # Errors
/// When provider or user is switched off, or the provider has ended what came before; when the store fails.
pub async fn user_of(
    conn: &mut AnyConnection,
    granted: &IdJag<'_>,
    now: Timestamp,
) -> Result<User, Failure> {
    let config = granted.provider;
    let identity = Identity {
        issuer: &config.issuer,
        subject: &granted.subject,
    };
    if !providers::is_on(conn, identity.issuer).await? {
        return Err(Failure::SwitchedOff);
    }
    let since = rfc3339(granted.issued_at);
    if let Some(user) = find(conn, identity, &since).await? {
        return Ok(user);
    }
    let profile = claims::profile(&granted.claims, config)?;
    let wanted = claims::user_name(&granted.claims, &granted.subject, config);
    let name = add(conn, identity, &wanted, now).await?;
    keep(conn, &name, &profile).await?;
    users::find(conn, &name).await?.ok_or(Failure::Disabled)
}

/// The active user that this identity is tied to, for what has begun at `since` (RFC 3339).
async fn find(
    conn: &mut AnyConnection,
    identity: Identity<'_>,
    since: &str,
) -> Result<Option<User>, Failure> {
    let Some(tied) = identities::find(conn, identity).await? else {
        return Ok(None);
    };
    if tied.ended_at.is_some_and(|ended| *since <= *ended) {
        return Err(Failure::Ended);
    }
    match users::find(conn, &tied.user).await?.filter(User::is_active) {
        Some(user) => Ok(Some(user)),
        None => Err(Failure::Disabled),
    }
}

/// The name of a new user, tied to this identity.
async fn add(
    conn: &mut AnyConnection,
    identity: Identity<'_>,
    wanted: &str,
    now: Timestamp,
) -> Result<String, Failure> {
    let name = free_name(conn, identity, wanted).await?;
    identities::add(conn, identity, &name, now).await?;
    Ok(name.to_string())
}

/// Keeps what the provider says about a user now.
pub(super) async fn keep(
    conn: &mut AnyConnection,
    user: &str,
    profile: &Profile,
) -> Result<(), StoreError> {
    identities::update(conn, user, profile).await
}

/// The wanted name, or one like it that nobody has: whoever has it, it is somebody else.
async fn free_name(
    conn: &mut AnyConnection,
    identity: Identity<'_>,
    wanted: &str,
) -> Result<UserName, Failure> {
    for bytes in SUFFIXES {
        let Ok(name) = suffixed(wanted, identity, bytes).parse::<UserName>() else {
            continue;
        };
        if !identities::name_is_taken(conn, &name).await? {
            return Ok(name);
        }
    }
    Err(StoreError::Exists {
        what: "user",
        id: wanted.to_owned(),
    }
    .into())
}

/// A name with the beginning of a digest over who it is for, before the `@`.
fn suffixed(wanted: &str, identity: Identity<'_>, bytes: usize) -> String {
    if bytes == 0 {
        return wanted.to_owned();
    }
    let mut digest = Sha256::new();
    digest.update(identity.issuer);
    digest.update([0]);
    digest.update(identity.subject);
    let digest = digest.finalize();
    let suffix = hex(digest.get(..bytes).unwrap_or(&digest));
    let (local, domain) = match wanted.rsplit_once('@') {
        Some((local, domain)) => (local, format!("@{domain}")),
        None => (wanted, String::new()),
    };
    let room = MAX_BASE.saturating_sub(domain.len());
    let local: String = local.chars().take(room).collect();
    format!("{local}-{suffix}{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALICE: Identity<'static> = Identity {
        issuer: "https://a.example",
        subject: "1",
    };

    #[test]
    fn a_taken_name_gets_a_suffix_of_its_owners_own() {
        let other = Identity {
            subject: "2",
            ..ALICE
        };
        let name = suffixed("alice@corp", ALICE, 4);
        assert!(
            name.starts_with("alice-") && name.ends_with("@corp"),
            "{name}"
        );
        assert_eq!(name, suffixed("alice@corp", ALICE, 4));
        assert_ne!(name, suffixed("alice@corp", other, 4));
        let long = format!("{}@{}", "a".repeat(64), "b".repeat(63));
        assert!(suffixed(&long, ALICE, 16).parse::<UserName>().is_ok());
    }

    #[tokio::test]
    async fn nobody_is_given_a_name_that_somebody_has() {
        let dir = tempfile::tempdir().unwrap();
        let store = crate::store::Store::open(&crate::store::Place::of_test(dir.path()))
            .await
            .unwrap();
        let now = Timestamp::now();
        let mut tx = store.write().await.unwrap();
        let hash = crate::oauth::password::PasswordHash::new("correct horse").unwrap();
        let name: UserName = "alice".parse().unwrap();
        users::add(
            tx.conn(),
            &name,
            &hash,
            &std::collections::BTreeSet::new(),
            now,
        )
        .await
        .unwrap();
        let free = free_name(tx.conn(), ALICE, "alice").await.unwrap();
        assert_ne!(free.as_str(), "alice");
        identities::add(tx.conn(), ALICE, &free, now).await.unwrap();
        let again = identities::find(tx.conn(), ALICE).await.unwrap().unwrap();
        assert_eq!(again.user, free.as_str());
    }
}
