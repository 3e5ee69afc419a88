// An MCP server's own web application, which signs its users in at the issuer by npm `openid-client` as at any OpenID
// provider, and out again.
//
// Told {"issuer", "client": {"id", "secret", "redirect_uri", "post_logout_redirect_uri"}}; tells what it learned.

import * as openid from "openid-client";
import { open, outcome } from "./lines.mjs";

await outcome(async ({ issuer, client }) => {
  const provider = await openid.discovery(
    new URL(issuer),
    client.id,
    { client_secret: client.secret },
    openid.ClientSecretBasic(client.secret),
    // The issuer of the tests is on loopback.
    { execute: [openid.allowInsecureRequests] },
  );
  const verifier = openid.randomPKCECodeVerifier();
  const nonce = openid.randomNonce();
  const state = openid.randomState();
  const signIn = openid.buildAuthorizationUrl(provider, {
    redirect_uri: client.redirect_uri,
    scope: "openid profile email",
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    nonce,
    state,
  });
  const tokens = await openid.authorizationCodeGrant(provider, await open(signIn), {
    pkceCodeVerifier: verifier,
    expectedNonce: nonce,
    expectedState: state,
    idTokenExpected: true,
  });
  const claims = tokens.claims();
  const info = await openid.fetchUserInfo(provider, tokens.access_token, claims.sub);

  // Signed out, the person has to sign in again: `prompt=none` finds nobody.
  const signOut = openid.buildEndSessionUrl(provider, {
    id_token_hint: tokens.id_token,
    post_logout_redirect_uri: client.post_logout_redirect_uri,
    state: "signed-out",
  });
  const out = await open(signOut);
  const silent = openid.buildAuthorizationUrl(provider, {
    redirect_uri: client.redirect_uri,
    scope: "openid",
    code_challenge: await openid.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    state,
    prompt: "none",
  });
  const again = await open(silent);
  return {
    claims,
    info,
    signed_out: { address: out.origin + out.pathname, state: out.searchParams.get("state") },
    again: again.searchParams.get("error"),
  };
});
