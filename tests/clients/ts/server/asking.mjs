// Tools and a prompt of 2026-07-28 that answer with what they need first: `input_required` results, and state that the
// client brings back.

import { randomUUID } from "node:crypto";
import { CLIENT_CAPABILITIES_META_KEY, acceptedContent, createRequestStateCodec, inputRequired } from "@modelcontextprotocol/server";
import { z } from "zod";
import { said, text } from "./samples.mjs";

/** State travels through the client: signed on the way out, verified on the way in. */
export const requestState = createRequestStateCodec({ key: crypto.getRandomValues(new Uint8Array(32)) });

const form = (message, field, type = "string") =>
  inputRequired.elicit({
    message,
    requestedSchema: { type: "object", properties: { [field]: { type } }, required: [field] },
  });

const sample = (question) =>
  inputRequired.createMessage({ messages: [{ role: "user", content: text(question) }], maxTokens: 100 });

const NAME = form("What is your name?", "name");
const CONFIRM = form("Please confirm", "ok", "boolean");

const state = (fields) => requestState.mint({ ...fields, nonce: randomUUID() });

export function asking(server) {
  const tool = (name, called) =>
    server.registerTool(`test_${name}`, { description: name, inputSchema: z.object({}) }, (_, { mcpReq }) =>
      called(mcpReq.inputResponses, mcpReq),
    );

  tool("input_required_result_elicitation", (given) => {
    const name = acceptedContent(given, "user_name")?.name;
    return typeof name === "string"
      ? said(text(`Hello, ${name}!`))
      : inputRequired({ inputRequests: { user_name: NAME } });
  });
  tool("input_required_result_sampling", (given) =>
    given?.capital
      ? said(text(`Sampling response: ${given.capital.content?.text}`))
      : inputRequired({ inputRequests: { capital: sample("What is the capital of France?") } }),
  );
  tool("missing_capability", (given) =>
    given?.answer ? said(text("sampled")) : inputRequired({ inputRequests: { answer: sample("Say: pong") } }),
  );
  tool("input_required_result_list_roots", (given) =>
    Array.isArray(given?.roots?.roots)
      ? said(text(`${given.roots.roots.length} root(s)`))
      : inputRequired({ inputRequests: { roots: inputRequired.listRoots() } }),
  );
  tool("input_required_result_request_state", async (given, mcpReq) =>
    acceptedContent(given, "confirm") && mcpReq.requestState()
      ? said(text("state-ok: confirmed"))
      : inputRequired({ inputRequests: { confirm: CONFIRM }, requestState: await state({}) }),
  );
  tool("input_required_result_tampered_state", async (given, mcpReq) =>
    acceptedContent(given, "confirm") && mcpReq.requestState()
      ? said(text("integrity-ok: verified"))
      : inputRequired({ inputRequests: { confirm: CONFIRM }, requestState: await state({}) }),
  );
  tool("input_required_result_multiple_inputs", async (given) => {
    const name = acceptedContent(given, "user_name")?.name;
    const greeting = given?.greeting?.content?.text;
    const roots = given?.client_roots?.roots;
    return name && greeting && roots
      ? said(text(`${greeting} ${name}, ${roots.length} root(s)`))
      : inputRequired({
          inputRequests: { user_name: NAME, greeting: sample("Greet"), client_roots: inputRequired.listRoots() },
          requestState: await state({}),
        });
  });
  tool("input_required_result_multi_round", async (given, mcpReq) => {
    const { round = 0, name } = mcpReq.requestState() ?? {};
    if (round === 0) {
      return inputRequired({ inputRequests: { step1: NAME }, requestState: await state({ round: 1 }) });
    }
    if (round === 1) {
      const name = acceptedContent(given, "step1")?.name ?? "somebody";
      const step2 = form("What is your favourite colour?", "color");
      return inputRequired({ inputRequests: { step2 }, requestState: await state({ round: 2, name }) });
    }
    return said(text(`${name} likes ${acceptedContent(given, "step2")?.color ?? "no colour"}`));
  });
  tool("input_required_result_capabilities", (given, mcpReq) => {
    const can = mcpReq.envelope?.[CLIENT_CAPABILITIES_META_KEY] ?? {};
    const inputRequests = {
      ...(can.elicitation && { user_name: NAME }),
      ...(can.sampling && { greeting: sample("Greet") }),
      ...(can.roots && { client_roots: inputRequired.listRoots() }),
    };
    return given || Object.keys(inputRequests).length === 0 ? said(text("enough")) : inputRequired({ inputRequests });
  });

  const title = "test_input_required_result_prompt";
  server.registerPrompt(title, { title, description: title }, ({ mcpReq }) => {
    const context = acceptedContent(mcpReq.inputResponses, "user_context")?.context;
    if (typeof context !== "string") {
      return inputRequired({ inputRequests: { user_context: form("What context should the prompt use?", "context") } });
    }
    return { messages: [{ role: "user", content: text(`Use the following context: ${context}`) }] };
  });
}
