//! What the grants that act for a user give: an access token, and what the client may have beside it.

use jiff::{SignedDuration, Timestamp};

use super::issue;
use crate::{
    app::App,
    clock::unix,
    http::Peer,
    oauth::{
        OAuthError,
        caller_token::{CallerClaims, Subject},
        client_auth::Client,
        openid::{
            IdentityScope, PersonClaims,
            id_token::{IdToken, at_hash},
        },
        token::TokenResponse,
        wanted::Wanted,
    },
    registry::{AuthMethod, Grant},
    secret::{self, SecretHash},
    store::{
        WriteTx,
        grants::{self, Family},
        users::{self, User},
    },
};

/// What is issued, to whom and for whom.
pub(super) struct OnBehalf<'a> {
    pub(super) client: &'a Client,
    pub(super) user: User,
    pub(super) family: &'a Family,
    /// Of what the family was granted, what is asked for now.
    pub(super) wanted: &'a Wanted,
    pub(super) grant: Grant,
    pub(super) nonce: Option<String>,
    pub(super) peer: Peer,
}

impl OnBehalf<'_> {
    /// Signs and commits everything together.
    pub(super) async fn issue(
        self,
        app: &App,
        mut tx: WriteTx,
    ) -> Result<TokenResponse, OAuthError> {
        let now = app.clock.now();
        let (family, wanted) = (self.family, self.wanted);
        let person = PersonClaims::of(&self.user, &wanted.identity);
        let mut claims = CallerClaims::new(
            app,
            Subject::User(self.user),
            (self.client.id(), self.client.authn()),
            wanted.audience(&app.config.issuer),
            wanted.scope(),
            now,
        );
        claims.grant_id = Some(family.id.clone());
        claims.cnf = self.client.key().cloned();
        claims.exp = claims.exp.min(unix(family.expires_at));
        if wanted.target.is_none() {
            // Userinfo looks them up when it is asked.
            claims.groups = None;
        }
        let refresh_token = match self.client.must_have(Grant::RefreshToken) {
            Ok(()) => Some(refresh_token(app, &mut tx, family, now).await?),
            Err(_) => None,
        };
        let server = wanted.target.as_ref().map(|target| &*target.server);
        let mut answer = issue::commit(app, tx, &claims, server, self.grant, self.peer).await?;
        answer.refresh_token = refresh_token;
        if wanted.identity.contains(&IdentityScope::OpenId) {
            let id_token = IdToken {
                iss: claims.iss,
                sub: claims.sub,
                aud: family.client_id.clone(),
                azp: family.client_id.clone(),
                iat: claims.iat,
                exp: claims.exp,
                auth_time: family.auth_time,
                nonce: self.nonce,
                at_hash: at_hash(app.keys.algorithm(), answer.access_token()),
                sid: family.session_id.clone(),
                person,
            };
            answer.id_token = Some(id_token.sign(app).map_err(|e| OAuthError::internal(&e))?);
        }
        Ok(answer)
    }
}

async fn refresh_token(
    app: &App,
    tx: &mut WriteTx,
    family: &Family,
    now: Timestamp,
) -> Result<String, OAuthError> {
    let token = secret::generate();
    let idle = SignedDuration::try_from(app.config.tokens.refresh_idle_ttl)
        .ok()
        .and_then(|idle| now.checked_add(idle).ok())
        .unwrap_or(family.expires_at);
    let expires = idle.min(family.expires_at);
    let hash = SecretHash::of(&token);
    grants::add_refresh_token(tx.conn(), &hash, &family.id, now, expires).await?;
    Ok(token.to_string())
}

/// The user that a grant is from, while they are active.
pub(super) async fn active_user(tx: &mut WriteTx, name: &str) -> Result<User, OAuthError> {
    users::find(tx.conn(), name)
        .await?
        .filter(User::is_active)
        .ok_or(OAuthError::InvalidGrant(
            "the user who granted this is disabled".into(),
        ))
}

/// Refuses a request for another resource than was granted (RFC 8707 section 2.2).
pub(super) fn same_resource(
    requested: Option<&str>,
    granted: Option<&str>,
) -> Result<(), OAuthError> {
    match requested {
        Some(_) if requested != granted => {
            let told = "resource is not the one of the authorization request";
            Err(OAuthError::InvalidTarget(told.into()))
        }
        _ => Ok(()),
    }
}

/// The key that a new family's refresh tokens are bound to. Those of a client that authenticates are bound to that.
pub(super) fn bound_to(client: &Client) -> Option<String> {
    let public = client.agent().auth == AuthMethod::None;
    client.key().filter(|_| public).map(|key| key.jkt.clone())
}

/// When a new family ends: with its access token, or as late as refresh tokens may carry it on.
pub(super) fn family_ends(app: &App, client: &Client, now: Timestamp) -> Timestamp {
    let life = match client.must_have(Grant::RefreshToken) {
        Ok(()) => app.config.tokens.refresh_ttl,
        Err(_) => app.config.tokens.caller_ttl,
    };
    let seconds = i64::try_from(life.as_secs()).unwrap_or(i64::MAX);
    now.checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(now)
}
