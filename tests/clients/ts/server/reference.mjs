// A server of both eras on the TypeScript SDK, with all that the conformance suite's scenarios ask of one.
//
// PORT names its port on loopback. Requests of 2026-07-28 stand alone; `initialize` begins a session with a stream that
// can be resumed.

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import {
  NodeStreamableHTTPServerTransport,
  localhostHostValidation,
  localhostOriginValidation,
  toNodeHandler,
} from "@modelcontextprotocol/node";
import { McpServer, classifyInboundRequest, createMcpHandler, isInitializeRequest } from "@modelcontextprotocol/server";
import { asking, requestState } from "./asking.mjs";
import { Events } from "./events.mjs";
import { prompts } from "./prompts.mjs";
import { resources } from "./resources.mjs";
import { tools } from "./tools.mjs";

/** How soon a client whose stream was closed on it comes back, in milliseconds. */
const RETRY_MS = 500;

const sessions = new Map();

function reference() {
  const server = new McpServer(
    { name: "reference", version: "1.0.0" },
    {
      capabilities: {
        tools: { listChanged: true },
        resources: { subscribe: true, listChanged: true },
        prompts: { listChanged: true },
        logging: {},
        completions: {},
      },
      requestState: { verify: requestState.verify },
    },
  );
  tools(server, {
    toolsChanged: () => stateless.notify.toolsChanged(),
    promptsChanged: () => stateless.notify.promptsChanged(),
    closeStream: (session, request) => sessions.get(session)?.closeSSEStream(request),
  });
  asking(server);
  resources(server);
  prompts(server);
  server.server.setRequestHandler("logging/setLevel", () => ({}));
  return server;
}

const stateless = createMcpHandler(reference, { onerror: console.error });
const answerStateless = toNodeHandler(stateless);

async function begin() {
  const server = reference();
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    eventStore: new Events(),
    retryInterval: RETRY_MS,
    onsessioninitialized: (id) => sessions.set(id, transport),
  });
  transport.onclose = () => sessions.delete(transport.sessionId);
  await server.connect(transport);
  return transport;
}

function refuse(res, status, code, message) {
  res.writeHead(status, { "content-type": "application/json" });
  res.end(JSON.stringify({ jsonrpc: "2.0", error: { code, message }, id: null }));
}

async function answerSession(req, res, body) {
  const id = req.headers["mcp-session-id"];
  if (id === undefined && isInitializeRequest(body)) {
    await (await begin()).handleRequest(req, res, body);
  } else if (id === undefined) {
    refuse(res, 400, -32000, "there is no session id");
  } else if (!sessions.has(id)) {
    refuse(res, 404, -32001, "there is no such session");
  } else {
    await sessions.get(id).handleRequest(req, res, body);
  }
}

async function bodyOf(req) {
  const chunks = [];
  for await (const chunk of req) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString("utf8"));
}

async function answer(req, res) {
  if (req.method !== "POST") return answerSession(req, res);
  let body;
  try {
    body = await bodyOf(req);
  } catch {
    return refuse(res, 400, -32700, "the body is not JSON");
  }
  const inbound = classifyInboundRequest({
    httpMethod: req.method,
    protocolVersionHeader: req.headers["mcp-protocol-version"],
    mcpMethodHeader: req.headers["mcp-method"],
    body,
  });
  return inbound.kind === "legacy" ? answerSession(req, res, body) : answerStateless(req, res, body);
}

const allowedHost = localhostHostValidation();
const allowedOrigin = localhostOriginValidation();

createServer((req, res) => {
  if (!allowedHost(req, res) || !allowedOrigin(req, res)) return;
  answer(req, res).catch((error) => {
    console.error(error);
    if (!res.headersSent) refuse(res, 500, -32603, "internal error");
  });
}).listen(Number(process.env.PORT), "127.0.0.1");
