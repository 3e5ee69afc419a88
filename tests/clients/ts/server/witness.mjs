// A server on the TypeScript SDK that writes down what it understood: {"tool", "arguments"}, one call a line.

import { createServer } from "node:http";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { Server, createMcpHandler } from "@modelcontextprotocol/server";

function witness() {
  const server = new Server({ name: "witness", version: "1.0.0" }, { capabilities: { tools: {} } });
  server.setRequestHandler("tools/list", () => ({ tools: [] }));
  server.setRequestHandler("tools/call", ({ params }) => {
    process.stdout.write(JSON.stringify({ tool: params.name, arguments: params.arguments }) + "\n");
    return { content: [{ type: "text", text: "heard" }] };
  });
  return server;
}

createServer(toNodeHandler(createMcpHandler(witness))).listen(Number(process.env.PORT), "127.0.0.1");
