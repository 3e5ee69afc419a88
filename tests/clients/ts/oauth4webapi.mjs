// The issuer as npm `oauth4webapi` sees it: that library checks every answer against the standards.
//
// Told {"issuer", "resource", "scope", "client": {"id", "redirect_uri"}, "workload": {"id", "jwk"}, "server": {"id",
// "secret"}, "dpop": bool}. Everything that is not as it should be is an error; tells what it was given.

import * as oauth from "oauth4webapi";
import { open, outcome } from "./lines.mjs";

// The issuer of the tests is on loopback.
const insecure = { [oauth.allowInsecureRequests]: true };

async function discovered(issuer, algorithm) {
  const url = new URL(issuer);
  const response = await oauth.discoveryRequest(url, { algorithm, ...insecure });
  return await oauth.processDiscoveryResponse(url, response);
}

/** Authorization code with PAR, PKCE, `iss` and `nonce`; answers the token response. */
async function signedIn(as, client, authentication, { redirect_uri, resource, scope, dpop }) {
  const verifier = oauth.generateRandomCodeVerifier();
  const state = oauth.generateRandomState();
  const nonce = oauth.generateRandomNonce();
  const parameters = {
    response_type: "code",
    redirect_uri,
    scope,
    state,
    nonce,
    code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    ...(resource && { resource }),
  };
  const push = () =>
    oauth.pushedAuthorizationRequest(as, client, authentication, parameters, { DPoP: dpop, ...insecure });
  const pushed = await nonced(dpop, async () =>
    oauth.processPushedAuthorizationResponse(as, client, await push()),
  );
  const start = new URL(as.authorization_endpoint);
  start.searchParams.set("client_id", client.client_id);
  start.searchParams.set("request_uri", pushed.request_uri);

  const answer = oauth.validateAuthResponse(as, client, await open(start), state);
  const redeem = () =>
    oauth.authorizationCodeGrantRequest(as, client, authentication, answer, redirect_uri, verifier, {
      DPoP: dpop,
      additionalParameters: resource ? { resource } : {},
      ...insecure,
    });
  const wantsIdToken = scope.split(" ").includes("openid");
  return await nonced(dpop, async () =>
    oauth.processAuthorizationCodeResponse(as, client, await redeem(), {
      expectedNonce: wantsIdToken ? nonce : oauth.expectNoNonce,
      requireIdToken: wantsIdToken,
    }),
  );
}

/** Tries once more when the server wants its nonce in the DPoP proof (RFC 9449 section 8). */
async function nonced(dpop, attempt) {
  try {
    return await attempt();
  } catch (error) {
    if (!dpop || !oauth.isDPoPNonceError(error)) throw error;
    return await attempt();
  }
}

async function refreshed(as, client, authentication, token, dpop) {
  const request = () =>
    oauth.refreshTokenGrantRequest(as, client, authentication, token, { DPoP: dpop, ...insecure });
  return await nonced(dpop, async () => oauth.processRefreshTokenResponse(as, client, await request()));
}

/** What an error of the token endpoint is called; an error if there was none. */
async function refusal(attempt) {
  try {
    await attempt();
  } catch (error) {
    if (error instanceof oauth.ResponseBodyError) return error.error;
    throw error;
  }
  throw new Error("this was allowed");
}

const scenarios = {
  /** A user signs in by OpenID Connect; the tokens are used, refreshed and revoked. */
  async user({ issuer, resource, scope, client: { id, redirect_uri }, server }) {
    const as = await discovered(issuer, "oidc");
    const client = { client_id: id };
    const none = oauth.None();
    const first = await signedIn(as, client, none, { redirect_uri, resource, scope });
    const claims = oauth.getValidatedIdTokenClaims(first);
    const info = await oauth.processUserInfoResponse(
      as,
      client,
      claims.sub,
      await oauth.userInfoRequest(as, client, first.access_token, insecure),
    );

    const second = await refreshed(as, client, none, first.refresh_token);
    const access = await accessToken(as, second.access_token, resource);
    // A caller's token is for the gateway; to the server itself it is nothing.
    const introspected = await introspect(as, server, second.access_token);
    // The first refresh token is used up: whoever has it now is a thief, or the user is being robbed.
    const reuse = await refusal(() => refreshed(as, client, none, first.refresh_token));
    const family = await refusal(() => refreshed(as, client, none, second.refresh_token));

    const third = await signedIn(as, client, none, { redirect_uri, resource, scope });
    await oauth.processRevocationResponse(
      await oauth.revocationRequest(as, client, none, third.refresh_token, insecure),
    );
    const revoked = await refusal(() => refreshed(as, client, none, third.refresh_token));
    const dead = await oauth.userInfoRequest(as, client, third.access_token, insecure);
    return { claims, info, access, introspected, reuse, family, revoked, dead: dead.status, scope: first.scope };
  },

  /** A workload with a key of its own. */
  async workload({ issuer, resource, scope, workload: { id, jwk } }) {
    const as = await discovered(issuer, "oauth2");
    const client = { client_id: id };
    const key = await crypto.subtle.importKey("jwk", jwk, { name: "Ed25519" }, false, ["sign"]);
    const authentication = oauth.PrivateKeyJwt({ key, kid: jwk.kid });
    const token = await oauth.processClientCredentialsResponse(
      as,
      client,
      await oauth.clientCredentialsGrantRequest(as, client, authentication, { resource, scope }, insecure),
    );
    return { token_type: token.token_type, access: await accessToken(as, token.access_token, resource) };
  },

  /** A client registers itself, and signs a user in. */
  async registration({ issuer, resource, scope, client: { redirect_uri } }) {
    const as = await discovered(issuer, "oauth2");
    const metadata = {
      client_name: "Registered by oauth4webapi",
      redirect_uris: [redirect_uri],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "client_secret_basic",
    };
    const client = await oauth.processDynamicClientRegistrationResponse(
      await oauth.dynamicClientRegistrationRequest(as, metadata, insecure),
    );
    const authentication = oauth.ClientSecretBasic(client.client_secret);
    const token = await signedIn(as, client, authentication, { redirect_uri, resource, scope });
    return { client_id: client.client_id, client_name: client.client_name, scope: token.scope };
  },

  /** A user's tokens are bound to a key (RFC 9449); answers them and what a call at the server with them brings. */
  async dpop({ issuer, resource, scope, call, client: { id, redirect_uri } }) {
    const as = await discovered(issuer, "oauth2");
    const client = { client_id: id };
    const dpop = oauth.DPoP(client, await oauth.generateKeyPair("ES256"));
    const token = await signedIn(as, client, oauth.None(), { redirect_uri, resource, scope, dpop });
    const second = await refreshed(as, client, oauth.None(), token.refresh_token, dpop);
    const request = () =>
      oauth.protectedResourceRequest(
        second.access_token,
        "POST",
        new URL(resource),
        new Headers(call.headers),
        call.body,
        { DPoP: dpop, ...insecure },
      );
    const answer = await nonced(dpop, request);
    const stolen = await fetch(resource, {
      method: "POST",
      headers: { ...call.headers, authorization: `Bearer ${second.access_token}` },
      body: call.body,
    });
    return {
      token_type: token.token_type,
      call: { status: answer.status, body: await answer.text() },
      stolen: { status: stolen.status, challenge: stolen.headers.get("www-authenticate") },
    };
  },
};

/** The claims of an access token, as a resource server checks them (RFC 9068 section 4). */
async function accessToken(as, token, resource) {
  const request = new Request(resource, { headers: { authorization: `Bearer ${token}` } });
  return await oauth.validateJwtAccessToken(as, request, resource, insecure);
}

/** What an MCP server is told about a token. */
async function introspect(as, server, token) {
  const client = { client_id: server.id };
  const authentication = oauth.ClientSecretBasic(server.secret);
  const response = await oauth.introspectionRequest(as, client, authentication, token, insecure);
  return await oauth.processIntrospectionResponse(as, client, response);
}

await outcome((told) => scenarios[told.scenario](told));
