// The TypeScript SDK of the stateless era (@modelcontextprotocol/client).

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { ELICITED, SAMPLED, play } from "./story.mjs";

await play({
  client: ({ mode }) => {
    const options = { capabilities: { elicitation: {}, sampling: {} }, versionNegotiation: { mode } };
    const client = new Client({ name: "writ-tests", version: "1.0.0" }, options);
    client.setRequestHandler("elicitation/create", () => ELICITED);
    client.setRequestHandler("sampling/createMessage", () => SAMPLED);
    return client;
  },
  listen: async (client) => {
    const heard = new Promise((resolve) => client.setNotificationHandler("notifications/tools/list_changed", resolve));
    await client.listen({ toolsListChanged: true });
    return { heard };
  },
  transport: (url, options) => new StreamableHTTPClientTransport(url, options),
  finish: (transport, landed) => transport.finishAuth(landed.searchParams),
  call: (client, call, options) => client.callTool(call, options),
});
