// The TypeScript SDK of the stateless era (@modelcontextprotocol/client).

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { play } from "./story.mjs";

await play(
  async ({ url, token, mode }) => {
    const client = new Client({ name: "writ-tests", version: "1.0.0" }, { versionNegotiation: { mode } });
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
    return client;
  },
  (client, call, options) => client.callTool(call, options),
);
