// The TypeScript SDK of the session era (@modelcontextprotocol/sdk).

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { play } from "./story.mjs";

await play(
  async ({ url, token }) => {
    const client = new Client({ name: "writ-tests", version: "1.0.0" });
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
    return client;
  },
  (client, call, options) => client.callTool(call, undefined, options),
);
