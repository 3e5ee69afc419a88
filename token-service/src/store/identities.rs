//! Who somebody is at an identity provider: issuer and subject, tied to a user of the directory.
//!
//! The tie is made at the first sign-in, or by an administrator, and never by a name or an e-mail address: both can be
//! given to somebody else later, or be claimed by somebody else elsewhere.

use jiff::Timestamp;
use sqlx::{AnyConnection, Row as _};

use super::{StoreError, users::UserName};
use crate::clock::rfc3339;

/// Somebody at a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// The provider's issuer identifier.
    pub issuer: &'a str,
    /// Their subject there.
    pub subject: &'a str,
}

/// The user that an identity is tied to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tied {
    /// The user's name.
    pub user: String,
    /// Sign-ins that began before this are refused (RFC 3339).
    pub ended_at: Option<String>,
}

/// What a provider says about somebody, to be kept with the user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Their name for people.
    pub display_name: Option<String>,
    /// Their e-mail address.
    pub email: Option<String>,
    /// Whether the provider has verified it.
    pub email_verified: bool,
    /// Their groups, as they are called here.
    pub groups: Vec<String>,
}

/// The user that this identity is tied to.
///
/// # Errors
/// When the database fails.
pub async fn find(
    conn: &mut AnyConnection,
    identity: Identity<'_>,
) -> Result<Option<Tied>, StoreError> {
    let row = sqlx::query(
        "SELECT user_name, ended_at FROM identities WHERE issuer = $1 AND subject = $2",
    )
    .bind(identity.issuer)
    .bind(identity.subject)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(Tied {
            user: row.try_get("user_name")?,
            ended_at: row.try_get("ended_at")?,
        })
    })
    .transpose()
}

/// Whether a user or an agent is called this already, or a provider's user was.
///
/// # Errors
/// When the database fails.
pub async fn name_is_taken(conn: &mut AnyConnection, name: &UserName) -> Result<bool, StoreError> {
    let taken =
        sqlx::query("SELECT 1 FROM users WHERE name = $1 UNION SELECT 1 FROM agents WHERE id = $1")
            .bind(name.as_str())
            .fetch_optional(conn)
            .await?;
    Ok(taken.is_some())
}

/// Adds a user without a password who signs in as this identity.
///
/// # Errors
/// [`StoreError::Exists`] when the identity is tied already or the name is taken, [`StoreError::Conflict`] when the
/// name is an agent's id; when the database fails.
pub async fn add(
    conn: &mut AnyConnection,
    identity: Identity<'_>,
    name: &UserName,
    now: Timestamp,
) -> Result<(), StoreError> {
    super::users::add_without_password(conn, name, now).await?;
    let tied = sqlx::query(
        "INSERT INTO identities (issuer, subject, user_name, created_at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (issuer, subject) DO NOTHING",
    )
    .bind(identity.issuer)
    .bind(identity.subject)
    .bind(name.as_str())
    .bind(rfc3339(now))
    .execute(conn)
    .await?;
    if tied.rows_affected() == 0 {
        return Err(StoreError::Exists {
            what: "identity",
            id: identity.subject.to_owned(),
        });
    }
    Ok(())
}

/// Keeps what a provider says about a user now.
///
/// # Errors
/// When the database fails.
pub async fn update(
    conn: &mut AnyConnection,
    user: &str,
    profile: &Profile,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE users SET groups = $1, display_name = $2, email = $3, email_verified = $4 WHERE name = $5",
    )
    .bind(super::json(&profile.groups)?)
    .bind(&profile.display_name)
    .bind(&profile.email)
    .bind(i64::from(profile.email_verified))
    .bind(user)
    .execute(conn)
    .await?;
    Ok(())
}

/// Refuses the sign-ins of an identity that began before now.
///
/// # Errors
/// When the database fails.
pub async fn end_sign_ins(
    conn: &mut AnyConnection,
    identity: Identity<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE identities SET ended_at = $1 WHERE issuer = $2 AND subject = $3")
        .bind(rfc3339(now))
        .bind(identity.issuer)
        .bind(identity.subject)
        .execute(conn)
        .await?;
    Ok(())
}
