// The TypeScript SDK of the stateless era (@modelcontextprotocol/client).

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { play } from "./story.mjs";

await play({
  client: ({ mode }) => new Client({ name: "writ-tests", version: "1.0.0" }, { versionNegotiation: { mode } }),
  transport: (url, options) => new StreamableHTTPClientTransport(url, options),
  finish: (transport, landed) => transport.finishAuth(landed.searchParams),
  call: (client, call, options) => client.callTool(call, options),
});
