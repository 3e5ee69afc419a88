"""The issuer as PyPI `Authlib` sees it, id_tokens checked with joserfc.

Told {"issuer", "resource", "scope", "client": {"id", "redirect_uri"}, "workload": {"id", "jwk"}}; tells what it was
given.
"""

import httpx2
from authlib.common.security import generate_token
from authlib.integrations.httpx_client import OAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import OpenIDProviderMetadata, get_well_known_url
from joserfc import jwt
from joserfc.jwk import KeySet, OKPKey
from lines import open_page, outcome


def discovered(issuer: str) -> OpenIDProviderMetadata:
    answer = httpx2.get(get_well_known_url(issuer, external=True)).raise_for_status()
    metadata = OpenIDProviderMetadata(answer.json())
    assert metadata["issuer"] == issuer
    return metadata


def keys_of(metadata: dict) -> KeySet:
    return KeySet.import_key_set(httpx2.get(metadata["jwks_uri"]).raise_for_status().json())


def user(metadata: dict, told: dict) -> dict:
    """Authorization code with PKCE, id_token, userinfo, refresh."""
    client = OAuth2Client(
        client_id=told["client"]["id"],
        token_endpoint_auth_method="none",
        scope=told["scope"],
        redirect_uri=told["client"]["redirect_uri"],
        code_challenge_method="S256",
        token_endpoint=metadata["token_endpoint"],
    )
    verifier, nonce = generate_token(48), generate_token(24)
    start, state = client.create_authorization_url(
        metadata["authorization_endpoint"], code_verifier=verifier, nonce=nonce, resource=told["resource"]
    )
    landed = open_page(start)
    token = client.fetch_token(
        metadata["token_endpoint"],
        authorization_response=landed,
        state=state,
        code_verifier=verifier,
        resource=told["resource"],
    )
    algorithms = metadata["id_token_signing_alg_values_supported"]
    decoded = jwt.decode(token["id_token"], keys_of(metadata), algorithms=algorithms)
    claims = CodeIDToken(
        decoded.claims,
        decoded.header,
        options={
            "iss": {"value": metadata["issuer"]},
            "aud": {"value": told["client"]["id"]},
            "nonce": {"value": nonce},
        },
        params={"client_id": told["client"]["id"], "access_token": token["access_token"], "nonce": nonce},
    )
    claims.validate(leeway=0)
    info = client.get(metadata["userinfo_endpoint"]).raise_for_status().json()
    refreshed = client.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
    assert refreshed["access_token"] != token["access_token"]
    assert refreshed["refresh_token"] != token["refresh_token"]
    return {"claims": dict(claims), "info": info, "scope": refreshed["scope"]}


def workload(metadata: dict, told: dict) -> dict:
    """Client credentials with private_key_jwt."""
    key = OKPKey.import_key(told["workload"]["jwk"])
    client = OAuth2Client(
        client_id=told["workload"]["id"], client_secret=key, token_endpoint_auth_method="private_key_jwt"
    )
    # rfc7523bis: the issuer is the one audience of an assertion.
    claims = {"aud": metadata["issuer"]}
    client.register_client_auth_method(PrivateKeyJWT(metadata["token_endpoint"], claims=claims, alg="EdDSA"))
    token = client.fetch_token(
        metadata["token_endpoint"],
        grant_type="client_credentials",
        resource=told["resource"],
        scope=told["resource_scope"],
    )
    return {"token_type": token["token_type"], "scope": token["scope"]}


def run(told: dict) -> dict:
    metadata = discovered(told["issuer"])
    return {"user": user(metadata, told), "workload": workload(metadata, told)}


outcome(run)
