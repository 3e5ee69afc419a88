//! The local directory: people who sign in with a password that is kept here.
//!
//! A user's name is the `sub` of their tokens. Passwords come in as hashes ([`crate::oauth::password`]): hashing is
//! slow on purpose and never runs inside a transaction.

use std::{collections::BTreeSet, fmt, str::FromStr};

use jiff::Timestamp;
use sqlx::{AnyConnection, Row as _, any::AnyRow};

use super::StoreError;
use crate::{clock::rfc3339, oauth::password::PasswordHash, registry::Status};

/// A checked user name: 1 to 128 printable ASCII characters without spaces, quotes or angle brackets, so that an
/// e-mail address is one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserName(String);

/// Why a text is not a [`UserName`].
#[derive(Debug, thiserror::Error)]
#[error("{given:?} is not a valid user name: use 1 to 128 letters, digits or any of . _ - + @")]
pub struct UserNameError {
    given: String,
}

impl UserName {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserName {
    type Err = UserNameError;

    fn from_str(text: &str) -> Result<Self, UserNameError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-+@".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UserNameError {
                given: text.chars().take(80).collect(),
            })
        }
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A user of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name they sign in with: the `sub` of their tokens.
    pub name: String,
    /// Groups and roles, as policies see them.
    pub groups: Vec<String>,
    /// Approved or disabled.
    pub status: Status,
    /// Their name for people, as their provider gives it.
    pub display_name: Option<String>,
    /// Their e-mail address, as their provider gives it.
    pub email: Option<String>,
    /// Whether the provider has verified that address.
    pub email_verified: bool,
    /// The identity providers they sign in at, by id; none for people of the local directory.
    pub providers: Vec<String>,
    /// When they were added (RFC 3339).
    pub created_at: String,
}

impl User {
    /// Whether they may sign in and hold tokens.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == Status::Approved
    }
}

/// Adds a user.
///
/// # Errors
/// [`StoreError::Exists`] when the name is taken, [`StoreError::Conflict`] when it is an agent's id; when the database
/// fails.
pub async fn add(
    conn: &mut AnyConnection,
    name: &UserName,
    password: &PasswordHash,
    groups: &BTreeSet<String>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let groups = serde_json::Value::from_iter(groups.iter().map(String::as_str)).to_string();
    let added = sqlx::query(
        "INSERT INTO users (name, password_hash, groups, status, created_at) \
         VALUES ($1, $2, $3, 'approved', $4) ON CONFLICT (name) DO NOTHING",
    )
    .bind(name.as_str())
    .bind(password.as_str())
    .bind(groups)
    .bind(rfc3339(now))
    .execute(conn)
    .await
    .map_err(refused)?;
    if added.rows_affected() == 0 {
        return Err(StoreError::Exists {
            what: "user",
            id: name.to_string(),
        });
    }
    Ok(())
}

/// Adds a user who signs in at a provider and has no password.
pub(super) async fn add_without_password(
    conn: &mut AnyConnection,
    name: &UserName,
    now: Timestamp,
) -> Result<(), StoreError> {
    let added = sqlx::query(
        "INSERT INTO users (name, password_hash, groups, status, created_at) \
         VALUES ($1, '', '[]', 'approved', $2) ON CONFLICT (name) DO NOTHING",
    )
    .bind(name.as_str())
    .bind(rfc3339(now))
    .execute(conn)
    .await
    .map_err(refused)?;
    if added.rows_affected() == 0 {
        return Err(StoreError::Exists {
            what: "user",
            id: name.to_string(),
        });
    }
    Ok(())
}

/// A user is as active as the provider they come from.
macro_rules! select_users {
    () => {
        "SELECT name, groups, display_name, email, email_verified, created_at, \
         CASE WHEN EXISTS (SELECT 1 FROM inactive_users AS i WHERE i.name = users.name) THEN 'disabled' ELSE status END AS status, \
         (SELECT json_group_array(coalesce(id, issuer)) FROM identities LEFT JOIN identity_providers USING (issuer) \
          WHERE user_name = users.name) AS providers FROM users"
    };
}

/// All users, by name.
///
/// # Errors
/// When the database fails.
pub async fn list(conn: &mut AnyConnection) -> Result<Vec<User>, StoreError> {
    sqlx::query(concat!(select_users!(), " ORDER BY name"))
        .fetch_all(conn)
        .await?
        .iter()
        .map(user)
        .collect()
}

/// A user by name, whatever their status.
///
/// # Errors
/// When the database fails.
pub async fn find(conn: &mut AnyConnection, name: &str) -> Result<Option<User>, StoreError> {
    sqlx::query(concat!(select_users!(), " WHERE name = $1"))
        .bind(name)
        .fetch_optional(conn)
        .await?
        .as_ref()
        .map(user)
        .transpose()
}

/// A user's password hash, when the user is there and active.
///
/// # Errors
/// When the database fails, or holds something that is no hash.
pub async fn active_password(
    conn: &mut AnyConnection,
    name: &str,
) -> Result<Option<PasswordHash>, StoreError> {
    let stored: Option<String> = sqlx::query_scalar(
        "SELECT password_hash FROM users WHERE name = $1 AND status = 'approved' AND password_hash <> ''",
    )
    .bind(name)
    .fetch_optional(conn)
    .await?;
    let malformed = || StoreError::Malformed {
        table: "users",
        id: name.to_owned(),
        problem: "the password hash is not in PHC form".to_owned(),
    };
    stored
        .map(|text| PasswordHash::from_stored(text).ok_or_else(malformed))
        .transpose()
}

/// The names of all users that are switched off, by themselves or with the provider they come from.
///
/// # Errors
/// When the database fails.
pub async fn disabled_subjects(conn: &mut AnyConnection) -> Result<BTreeSet<String>, StoreError> {
    let names = sqlx::query_scalar("SELECT name FROM inactive_users")
        .fetch_all(conn)
        .await?;
    Ok(names.into_iter().collect())
}

/// Switches a user on or off. Switching off ends all that their sign-ins have led to; the registry's revision moves on, so
/// that their tokens are refused from the next decision.
///
/// # Errors
/// [`StoreError::NotFound`] when there is no such user; when the database fails.
pub async fn set_active(
    conn: &mut AnyConnection,
    name: &str,
    active: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let status = if active { "approved" } else { "disabled" };
    let changed = sqlx::query("UPDATE users SET status = $1 WHERE name = $2")
        .bind(status)
        .bind(name)
        .execute(&mut *conn)
        .await?;
    if changed.rows_affected() == 0 {
        return Err(StoreError::NotFound {
            what: "user",
            id: name.to_owned(),
        });
    }
    if !active {
        super::departures::end_everything(conn, name, now).await?;
    }
    Ok(())
}

/// What the trigger against a user and an agent of one name says.
pub(super) const SUBJECT_IS_TAKEN: &str = "subject_is_taken";

fn refused(error: sqlx::Error) -> StoreError {
    match error.as_database_error() {
        Some(e) if e.message().contains(SUBJECT_IS_TAKEN) => StoreError::Conflict(
            "an agent has this id: a workload must never pass for a person; choose another name",
        ),
        _ => error.into(),
    }
}

fn user(row: &AnyRow) -> Result<User, StoreError> {
    let name: String = row.try_get("name")?;
    let malformed = |problem: String| StoreError::Malformed {
        table: "users",
        id: name.clone(),
        problem,
    };
    let groups = serde_json::from_str(row.try_get("groups")?)
        .map_err(|e| malformed(format!("groups: {e}")))?;
    let status = match row.try_get("status")? {
        "approved" => Status::Approved,
        "disabled" => Status::Disabled,
        other => return Err(malformed(format!("status {other:?} is unknown"))),
    };
    let providers = serde_json::from_str(row.try_get("providers")?)
        .map_err(|e| malformed(format!("providers: {e}")))?;
    Ok(User {
        groups,
        status,
        display_name: row.try_get("display_name")?,
        email: row.try_get("email")?,
        email_verified: row.try_get::<i64, _>("email_verified")? != 0,
        providers,
        created_at: row.try_get("created_at")?,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_are_printable_and_may_be_e_mail_addresses() {
        for good in ["alice", "a.b-c_d+e@example.com", "7", &"x".repeat(128)] {
            assert!(good.parse::<UserName>().is_ok(), "{good}");
        }
        for bad in ["", "a b", "a\n", "<a>", "ä", "a\"", &"x".repeat(129)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad}");
        }
    }
}
