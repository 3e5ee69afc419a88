//! The authorization code grant (OAuth 2.1 section 4.1.3): a code, once, by the client it was given to.
//!
//! A code that comes a second time means that somebody else has it too: the token it gave is taken back.

use jiff::{SignedDuration, Timestamp};

use super::issue;
use crate::{
    app::App,
    audit::{Kind, Record, Verdict},
    http::Peer,
    oauth::{
        OAuthError,
        caller_token::{CallerClaims, Subject},
        client_auth::Client,
        params::Params,
        pkce::Challenge,
        scope::Scope,
        target::Target,
        token::TokenResponse,
    },
    registry::{Grant, Registry},
    secret::SecretHash,
    store::{
        WriteTx,
        oauth::{self, CodeGrant, Redeemed},
        users::{self, User},
    },
};

/// Redeems a code.
///
/// # Errors
/// RFC 6749 section 5.2 and RFC 8707 section 2.
pub async fn redeem(
    app: &App,
    client: &Client,
    params: &Params,
    peer: Peer,
) -> Result<TokenResponse, OAuthError> {
    client.must_have(Grant::AuthorizationCode)?;
    let code = SecretHash::of(params.require("code")?);
    let verifier = params.require("code_verifier")?;
    let now = app.clock.now();

    // Under an open write transaction nobody can change the registry: what is read now holds until the commit.
    let mut tx = app.store.write().await?;
    let registry = app.current_registry().await?;
    issue::still_approved(&registry, client)?;
    let token_id = crate::secret::new_id();
    let grant = match oauth::redeem_code(tx.conn(), &code, &token_id, now).await? {
        Redeemed::Granted(grant) => grant,
        Redeemed::Again { grant, token_id } if grant.client_id == client.id() => {
            revoke(app, tx, grant, token_id, peer).await?;
            return Err(refused(
                "the code was used before; the token it gave is revoked",
            ));
        }
        Redeemed::Expired => return Err(refused("the code has expired; start again")),
        Redeemed::Again { .. } | Redeemed::Unknown => return Err(refused("there is no such code")),
    };
    check_binding(&grant, client, params, verifier)?;
    let user = active_user(&mut tx, &grant).await?;
    let target = target(&registry, &grant, params)?;
    let mut claims = CallerClaims::new(
        app,
        Subject::User(user),
        (client.id(), client.authn()),
        &target.server,
        &target.scope,
        now,
    );
    claims.jti = token_id;
    claims.cnf = client.key().cloned();
    issue::commit(
        app,
        tx,
        &claims,
        &target.server,
        Grant::AuthorizationCode,
        peer,
    )
    .await
}

/// Whoever presents the code must be whom it was given to. The transaction is dropped on an error, so that a stolen
/// code cannot be spoiled for its owner.
fn check_binding(
    grant: &CodeGrant,
    client: &Client,
    params: &Params,
    verifier: &str,
) -> Result<(), OAuthError> {
    if grant.client_id != client.id() {
        return Err(refused("there is no such code"));
    }
    // OAuth 2.1 section 10.2: no longer needed beside PKCE, but what is sent must be right.
    if params
        .get("redirect_uri")
        .is_some_and(|uri| uri != grant.redirect_uri)
    {
        return Err(refused(
            "redirect_uri is not the one of the authorization request",
        ));
    }
    let answered = Challenge::parse(&grant.code_challenge).is_some_and(|c| c.answers(verifier));
    if !answered {
        return Err(refused(
            "code_verifier does not match the code_challenge of the authorization request",
        ));
    }
    Ok(())
}

async fn active_user(tx: &mut WriteTx, grant: &CodeGrant) -> Result<User, OAuthError> {
    users::find(tx.conn(), &grant.user)
        .await?
        .filter(User::is_active)
        .ok_or_else(|| refused("the user who granted this is disabled"))
}

fn target(registry: &Registry, grant: &CodeGrant, params: &Params) -> Result<Target, OAuthError> {
    if params
        .get("resource")
        .is_some_and(|resource| resource != grant.resource)
    {
        let told = "resource is not the one of the authorization request";
        return Err(OAuthError::InvalidTarget(told.into()));
    }
    let mut target = Target::of(
        registry,
        Some(&grant.resource),
        Some(grant.scope.as_str()).filter(|s| !s.is_empty()),
    )?;
    if grant.scope.is_empty() {
        // Nothing was granted: asking for nothing must not turn into all that the server has by now.
        target.scope = Scope::default();
    }
    Ok(target)
}

async fn revoke(
    app: &App,
    mut tx: WriteTx,
    grant: CodeGrant,
    token_id: String,
    peer: Peer,
) -> Result<(), OAuthError> {
    let now = app.clock.now();
    oauth::revoke_token(tx.conn(), &token_id, now, dead_by(app, now)).await?;
    let mut record = Record::new(Kind::TokenIssued, now);
    record.subject = Some(grant.user);
    record.agent = Some(grant.client_id);
    record.decision = Some(Verdict::Deny);
    record.reason =
        Some("an authorization code was used again; the token it gave is revoked".to_owned());
    record.token_id = Some(token_id);
    record.source_ip = Some(peer.text());
    tx.audit(&record).await?;
    tx.commit().await?;
    Ok(())
}

/// By when a token that was issued before now has expired by itself.
fn dead_by(app: &App, now: Timestamp) -> Timestamp {
    let ttl = SignedDuration::try_from(app.config.tokens.caller_ttl)
        .unwrap_or(SignedDuration::from_hours(1));
    now.checked_add(ttl).unwrap_or(Timestamp::MAX)
}

fn refused(told: &'static str) -> OAuthError {
    OAuthError::InvalidGrant(told.into())
}
