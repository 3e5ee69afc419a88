// A client of the session era that answers what the server asks of it (@modelcontextprotocol/sdk).
//
// The first line of standard input: {"url", "token", "calls": [{"name", "arguments"}]}. Standard output: {"session": id}, then
// {"result"} or {"error"} a call, and {"ended": true} when the server has ended the session.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { CreateMessageRequestSchema, ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";
import { hear, say } from "./lines.mjs";

const told = await hear();
const client = new Client(
  { name: "writ-tests", version: "1.0.0" },
  { capabilities: { sampling: {}, elicitation: {} } },
);
client.setRequestHandler(CreateMessageRequestSchema, async () => ({
  role: "assistant",
  model: "none",
  content: { type: "text", text: "a sample" },
}));
client.setRequestHandler(ElicitRequestSchema, async () => ({ action: "accept", content: { name: "Alice Example" } }));

const headers = { Authorization: `Bearer ${told.token}` };
const transport = new StreamableHTTPClientTransport(new URL(told.url), { requestInit: { headers } });
await client.connect(transport);
say({ session: transport.sessionId });
for (const call of told.calls) {
  try {
    say({ result: await client.callTool(call) });
  } catch (error) {
    say({ error: { code: error.code ?? null, message: error.message } });
  }
}
await transport.terminateSession();
say({ ended: transport.sessionId === undefined });
process.exit(0);
