// The TypeScript SDK of the session era (@modelcontextprotocol/sdk).

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { ELICITED, SAMPLED, play } from "./story.mjs";

await play({
  client: () => {
    const capabilities = { elicitation: {}, sampling: {} };
    const client = new Client({ name: "writ-tests", version: "1.0.0" }, { capabilities });
    client.setRequestHandler(ElicitRequestSchema, () => ELICITED);
    client.setRequestHandler(CreateMessageRequestSchema, () => SAMPLED);
    return client;
  },
  transport: (url, options) => new StreamableHTTPClientTransport(url, options),
  finish: (transport, landed) => transport.finishAuth(landed.searchParams.get("code")),
  call: (client, call, options) => client.callTool(call, undefined, options),
});
