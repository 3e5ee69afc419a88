// What the TypeScript SDKs need from an application to sign a user in: somewhere to keep things, and a browser.

import { open } from "./lines.mjs";

/** Keeps everything in memory; `{"redirect_uri", "metadata_url"}`, the latter where the client has a document. */
export class Provider {
  #redirectUri;
  #state = crypto.randomUUID();
  #client;
  #tokens;
  #verifier;
  #granted = 0;

  constructor({ redirect_uri, metadata_url }) {
    this.#redirectUri = redirect_uri;
    this.clientMetadataUrl = metadata_url ?? undefined;
  }

  get redirectUrl() {
    return this.#redirectUri;
  }

  get clientMetadata() {
    return {
      client_name: "A stock TypeScript client",
      redirect_uris: [this.#redirectUri],
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      token_endpoint_auth_method: "none",
    };
  }

  state() {
    return this.#state;
  }

  clientInformation() {
    return this.#client;
  }

  saveClientInformation(client) {
    this.#client = client;
  }

  tokens() {
    return this.#tokens;
  }

  saveTokens(tokens) {
    this.#tokens = tokens;
    this.#granted += 1;
  }

  saveCodeVerifier(verifier) {
    this.#verifier = verifier;
  }

  codeVerifier() {
    return this.#verifier;
  }

  async redirectToAuthorization(url) {
    this.landed = await open(url);
    if (this.landed.searchParams.get("state") !== this.#state) throw new Error("the state came back changed");
  }

  /** As whom it is signed in, and how often it was given tokens. */
  report() {
    return { client_id: this.#client?.client_id, granted: this.#granted, scope: this.#tokens?.scope };
  }
}
