//! A browser comes back from a provider (OpenID Connect Core sections 3.1.2.5 to 3.1.3.7).

use axum::{
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::Response,
};
use jiff::{SignedDuration, Timestamp};
use openidconnect::{
    AdditionalClaims, AuthorizationCode, OAuth2TokenResponse as _, SubjectIdentifier,
    TokenResponse as _, UserInfoClaims,
    core::{CoreGenderClaim, CoreTokenResponse},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Failure, Provider, account, claims,
    fetch::Http,
    id_token::{self, IdTokenError, SignedIn},
    provider::{Metadata, RelyingParty, whole},
    start::{Proof, callback_url},
};
use crate::{
    app::{App, SharedApp},
    audit::{Kind, Record, Verdict},
    http::Peer,
    oauth::{
        authorize::{SESSION, see_other, with_cookie},
        metadata::Endpoints,
        params::Params,
    },
    pages::session::{Browser, Transport},
    secret::SecretHash,
    store::{
        departures,
        oauth::{self, Upstream},
        sign_ins::{self, PendingSignIn},
    },
};

/// `GET /oauth/callback/{provider}`.
pub async fn serve(
    State(app): State<SharedApp>,
    Path(id): Path<String>,
    peer: Peer,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let Some(provider) = app.federation.provider(&id) else {
        return Failure::UnknownProvider.page(&app, None, None);
    };
    let query = query.unwrap_or_default();
    let arrived = match Arrival::of(&app, provider, &query, &headers).await {
        Ok(arrived) => arrived,
        Err(failure) => return failure.page(&app, Some(provider), None),
    };
    match arrived.finish(&app, provider, peer).await {
        Ok(response) => response,
        Err(failure) => {
            arrived.put_on_record(&app, provider, peer, &failure).await;
            failure.page(&app, Some(provider), Some(&arrived.pending.query))
        }
    }
}

/// A sign-in that has come back in the browser that it began in. It does not come back again.
struct Arrival {
    browser: Browser,
    params: Params,
    state: String,
    pending: PendingSignIn,
}

impl Arrival {
    async fn of(
        app: &App,
        provider: &Provider,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Self, Failure> {
        let params = Params::parse(query.as_bytes()).map_err(|_| Failure::NotOnItsWay)?;
        let state = params.get("state").ok_or(Failure::NotOnItsWay)?.to_owned();
        let transport = Transport::of(&app.config.issuer);
        let browser = Browser::of(headers, transport).ok_or(Failure::NotOnItsWay)?;
        let mut tx = app.store.write().await?;
        let pending = sign_ins::come_back(
            tx.conn(),
            &SecretHash::of(&state),
            &browser.session(),
            &provider.config().issuer,
            app.clock.now(),
        )
        .await?
        .ok_or(Failure::NotOnItsWay)?;
        tx.commit().await?;
        Ok(Self {
            browser,
            params,
            state,
            pending,
        })
    }

    async fn finish(
        &self,
        app: &App,
        provider: &Provider,
        peer: Peer,
    ) -> Result<Response, Failure> {
        let metadata = provider.metadata(&app.outbound, app.clock.now()).await?;
        self.check_issuer(provider, &metadata)?;
        let code = match (self.params.get("error"), self.params.get("code")) {
            (Some(error), _) => return Err(Failure::Declined(declined(error))),
            (None, None) => return Err(Failure::Incomplete),
            (None, Some(code)) => AuthorizationCode::new(code.to_owned()),
        };
        let proof = Proof::of(&self.browser, &self.state);
        let client = provider.client(&metadata, callback_url(app, provider))?;
        let http = Http::of(&app.outbound);
        let tokens = client
            .exchange_code(code)
            .map_err(|e| Failure::Code(e.to_string()))?
            .set_pkce_verifier(proof.verifier)
            .request_async(&http)
            .await
            .map_err(|e| Failure::Code(whole(&e)))?;
        let signed_in = verify(app, provider, &client, &tokens, &proof.nonce).await?;
        let claims = complete(app, provider, &client, &tokens, &signed_in).await?;
        self.sign_in(app, provider, &signed_in, &claims, peer).await
    }

    /// RFC 9207 section 2.4: an answer says whose it is, if the provider says that its answers do.
    fn check_issuer(&self, provider: &Provider, metadata: &Metadata) -> Result<(), Failure> {
        match self.params.get("iss") {
            Some(issuer) if issuer == provider.config().issuer => Ok(()),
            None if !metadata
                .additional_metadata()
                .authorization_response_iss_parameter_supported =>
            {
                Ok(())
            }
            _ => Err(Failure::MixedUp),
        }
    }

    async fn sign_in(
        &self,
        app: &App,
        provider: &Provider,
        signed_in: &SignedIn,
        claims: &Map<String, Value>,
        peer: Peer,
    ) -> Result<Response, Failure> {
        let config = provider.config();
        let now = app.clock.now();
        let profile = claims::profile(claims, config)?;
        let name = claims::user_name(claims, &signed_in.subject, config);
        let browser = Browser::new();
        let mut tx = app.store.write().await?;
        let user = account::tie(tx.conn(), config, signed_in, &name, &self.pending, now).await?;
        account::keep(tx.conn(), &user, &profile).await?;
        oauth::end_session(tx.conn(), &self.browser.session()).await?;
        let upstream = Upstream {
            issuer: &config.issuer,
            sid: signed_in.sid.as_deref(),
            id_token: &signed_in.token,
        };
        oauth::start_session(
            tx.conn(),
            &browser.session(),
            &user,
            Some(&upstream),
            now,
            now.checked_add(SESSION).unwrap_or(now),
        )
        .await?;
        if let Some(sid) = upstream.sid {
            // A refresh token that is granted at the end of the session lives longest.
            let longest = SignedDuration::try_from(app.config.tokens.refresh_ttl)
                .unwrap_or(SignedDuration::MAX)
                .saturating_add(SESSION);
            let keep_until = now.checked_add(longest).unwrap_or(Timestamp::MAX);
            departures::remember(tx.conn(), (upstream.issuer, sid), &user, now, keep_until).await?;
        }
        let digest = oauth::request_digest(&self.pending.query);
        oauth::set_signed_in_for(tx.conn(), &browser.session(), Some(&digest)).await?;
        let mut record = Record::new(Kind::SignIn, now);
        record.subject = Some(user);
        record.decision = Some(Verdict::Allow);
        record.source_ip = Some(peer.text());
        record.detail = Some(json!({
            "provider": config.id, "upstream_subject": signed_in.subject, "groups": profile.groups,
        }));
        tx.audit(&record).await?;
        tx.commit().await?;
        let here = format!(
            "{}?{}",
            Endpoints::of(&app.config.issuer).path("/oauth/authorize"),
            self.pending.query
        );
        Ok(with_cookie(
            see_other(&here),
            &browser,
            Transport::of(&app.config.issuer),
        ))
    }

    async fn put_on_record(&self, app: &App, provider: &Provider, peer: Peer, failure: &Failure) {
        let mut record = Record::new(Kind::SignIn, app.clock.now());
        record.decision = Some(Verdict::Deny);
        record.reason = Some(failure.reason());
        record.source_ip = Some(peer.text());
        record.detail = Some(json!({ "provider": provider.config().id }));
        if let Err(error) = app.store.record(record).await {
            tracing::warn!(%error, "a failed sign-in is not on record");
        }
    }
}

/// Checks the ID token, with the keys fetched again if it is of one that is not known.
async fn verify(
    app: &App,
    provider: &Provider,
    client: &RelyingParty,
    tokens: &CoreTokenResponse,
    nonce: &openidconnect::Nonce,
) -> Result<SignedIn, Failure> {
    let token = tokens
        .id_token()
        .ok_or_else(|| Failure::Code("the answer has no ID token".to_owned()))?;
    let now = app.clock.now();
    let check = |client: &RelyingParty| {
        let both = (token, tokens.access_token());
        id_token::verify(
            provider.config(),
            client.id_token_verifier(),
            both,
            nonce,
            now,
        )
    };
    match check(client) {
        Err(IdTokenError::UnknownKey) => {
            // The token came from the provider itself, for a code of its own: nobody else makes us ask.
            match provider
                .rotated(&app.outbound, SignedDuration::ZERO, now)
                .await?
            {
                Some(metadata) => Ok(check(
                    &provider.client(&metadata, callback_url(app, provider))?,
                )?),
                None => Err(IdTokenError::UnknownKey.into()),
            }
        }
        done => Ok(done?),
    }
}

/// Whatever a provider says beyond the standard claims.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Rest(Map<String, Value>);

impl AdditionalClaims for Rest {}

/// The claims of the ID token, completed at the userinfo endpoint where some that are mapped are missing (OpenID
/// Connect Core section 5.3).
async fn complete(
    app: &App,
    provider: &Provider,
    client: &RelyingParty,
    tokens: &CoreTokenResponse,
    signed_in: &SignedIn,
) -> Result<Map<String, Value>, Failure> {
    let mut claims = signed_in.claims.clone();
    if claims::are_complete(&claims, &provider.config().claims) {
        return Ok(claims);
    }
    let subject = SubjectIdentifier::new(signed_in.subject.clone());
    let Ok(request) = client.user_info(tokens.access_token().clone(), Some(subject)) else {
        // It has no such endpoint; the ID token says all there is.
        return Ok(claims);
    };
    let http = Http::of(&app.outbound);
    let more: UserInfoClaims<Rest, CoreGenderClaim> = request
        .request_async(&http)
        .await
        .map_err(|e| Failure::UserInfo(whole(&e)))?;
    let more = serde_json::to_value(&more).map_err(|e| Failure::UserInfo(e.to_string()))?;
    if let Value::Object(more) = more {
        for (name, value) in more {
            claims.entry(name).or_insert(value);
        }
    }
    Ok(claims)
}

/// What an error code of the provider means to the user. What it is is never shown: anybody can write it into the URL.
fn declined(code: &str) -> &'static str {
    match code {
        "access_denied" => "The sign-in was cancelled or not allowed there.",
        "login_required"
        | "interaction_required"
        | "account_selection_required"
        | "consent_required" => "The sign-in was not completed there.",
        "temporarily_unavailable" | "server_error" => "It has a problem of its own at the moment.",
        _ => {
            "It refused this service's request; an administrator has to look at how the two are set up."
        }
    }
}
