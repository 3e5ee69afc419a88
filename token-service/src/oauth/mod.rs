//! The OAuth 2.1 issuer: everything that a standard names.
//!
//! [`metadata`] says where things are; [`authorize`] takes a user through sign-in and consent to a code; [`token`]
//! authenticates the client ([`client_auth`]) and hands over to one of the [`grants`]; [`introspect`] tells servers
//! about tokens. Parameters are read by [`params`], errors answered by [`OAuthError`].

pub mod assertion;
pub mod authorize;
pub mod caller_token;
pub mod chain;
pub mod client;
pub mod client_auth;
pub mod client_documents;
pub mod cors;
pub mod dpop;
mod error;
pub mod grants;
pub mod id_jag;
pub mod introspect;
mod jws;
pub mod logout;
pub mod metadata;
pub mod openid;
pub mod par;
pub mod params;
pub mod password;
pub mod pkce;
pub mod redirect;
pub mod registration;
pub mod remote_keys;
pub mod revoke;
pub mod scope;
mod stopped;
pub(crate) mod strict_json;
pub mod target;
pub mod tasks;
pub mod token;
pub mod wanted;
mod weak_keys;
pub mod workload;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};

pub use error::{Description, NO_STORE, OAuthError};
pub(crate) use jws::is_public_key;
pub(crate) use stopped::{locked_out, stopped};

use crate::{app::SharedApp, config::Config, federation};

/// The most a form of a person or client may hold: the longest one is an assertion.
const MAX_BODY: usize = 64 * 1024;

/// The public endpoints of the issuer, under the issuer's path where it has one.
pub fn public_routes(config: &Config) -> Router<SharedApp> {
    let at = metadata::Endpoints::of(&config.issuer);
    let openid = at.openid_paths();
    let openid = openid.iter().fold(Router::new(), |routes, path| {
        routes.route(path, get(metadata::metadata))
    });
    openid
        .route(&at.metadata_path(), get(metadata::metadata))
        .route(&at.path("/oauth/jwks"), get(metadata::jwks))
        .route(&at.path("/oauth/token"), post(token::token))
        .route(&at.path("/oauth/par"), post(par::serve))
        .route(&at.path("/oauth/revoke"), post(revoke::serve))
        .route(
            &at.path("/oauth/userinfo"),
            get(openid::userinfo::serve).post(openid::userinfo::serve_form),
        )
        .merge(registration::routes(at))
        .layer(middleware::from_fn(cors::any_origin))
        .route(
            &at.path("/oauth/authorize"),
            get(authorize::ask).post(authorize::answer),
        )
        .route(
            &at.path("/oauth/logout"),
            get(logout::by_query).post(logout::by_form),
        )
        .route(&at.path("/oauth/logout/confirm"), post(logout::confirm))
        .route(&at.path("/oauth/logout/done"), get(logout::done))
        .merge(federation::routes(at))
        .merge(tasks::routes(&at))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

#[derive(utoipa::OpenApi)]
#[openapi(paths(
    metadata::metadata,
    metadata::jwks,
    token::token,
    revoke::serve,
    par::serve,
    introspect::serve,
    openid::userinfo::serve,
    openid::userinfo::serve_form
))]
struct Api;

/// The endpoints, for the OpenAPI document.
pub(crate) fn api() -> utoipa::openapi::OpenApi {
    let mut api = <Api as utoipa::OpenApi>::openapi();
    api.merge(tasks::api());
    api.merge(registration::api());
    api
}
