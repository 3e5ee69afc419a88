// The reference server's tools that answer by themselves, and those of the session era that ask the client meanwhile.

import { fromJsonSchema } from "@modelcontextprotocol/server";
import { z } from "zod";
import { AUDIO, IMAGE, embedded, said, text } from "./samples.mjs";
import { DEFAULTS, ENUMS, VOCABULARY } from "./schemas.mjs";

const NOTHING = z.object({});

/** `toolsChanged` and `promptsChanged` tell who listens; `closeStream` closes a session's stream on its client. */
export function tools(server, { toolsChanged, promptsChanged, closeStream }) {
  const tool = (name, inputSchema, called) => server.registerTool(name, { description: name, inputSchema }, called);
  const plain = (name, ...content) => tool(name, NOTHING, () => said(...content));

  plain("test_simple_text", text("This is a simple text response for testing."));
  plain("test_image_content", { type: "image", ...IMAGE });
  plain("test_audio_content", { type: "audio", ...AUDIO });
  plain("test_embedded_resource", embedded("test://embedded-resource", "text/plain", "An embedded resource."));
  plain(
    "test_multiple_content_types",
    text("Multiple content types test:"),
    { type: "image", ...IMAGE },
    embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
  );
  plain("test_streaming_elicitation", text("Nothing was asked."));
  tool("test_error_handling", NOTHING, () => {
    throw new Error("This tool intentionally returns an error for testing");
  });
  tool("json_schema_2020_12_tool", fromJsonSchema(VOCABULARY), (given) => said(text(JSON.stringify(given))));
  tool(
    "test_x_mcp_header",
    fromJsonSchema({
      type: "object",
      properties: { region: { type: "string", "x-mcp-header": "Region" }, level: { type: "integer" } },
    }),
    ({ region }) => said(text(`region=${region ?? ""}`)),
  );

  tool("test_tool_with_logging", NOTHING, async (_, { mcpReq }) => {
    for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
      await mcpReq.notify({ method: "notifications/message", params: { level: "info", data } });
    }
    return said(text("Tool with logging executed successfully"));
  });
  tool("test_logging_tool", NOTHING, async (_, { mcpReq }) => {
    await mcpReq.log("info", "heard by those who asked for a log level");
    return said(text("logged"));
  });
  tool("test_tool_with_progress", NOTHING, async (_, { mcpReq }) => {
    const progressToken = mcpReq._meta?.progressToken;
    for (const progress of progressToken === undefined ? [] : [0, 50, 100]) {
      const message = `Completed step ${progress} of 100`;
      await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, total: 100, message } });
    }
    return said(text(String(progressToken ?? "no progress token")));
  });

  tool("test_trigger_tool_change", NOTHING, () => {
    toolsChanged();
    return said(text("tools changed"));
  });
  tool("test_trigger_prompt_change", NOTHING, () => {
    promptsChanged();
    return said(text("prompts changed"));
  });
  tool("test_reconnection", NOTHING, async (_, { sessionId, mcpReq }) => {
    closeStream(sessionId, mcpReq.id);
    return said(text("Reconnection test completed"));
  });

  tool("test_sampling", z.object({ prompt: z.string() }), async ({ prompt }, { mcpReq }) => {
    const messages = [{ role: "user", content: text(prompt) }];
    const { content } = await mcpReq.send({ method: "sampling/createMessage", params: { messages, maxTokens: 100 } });
    return said(text(`LLM response: ${content.text}`));
  });
  const elicits = (name, inputSchema, asked) =>
    tool(name, inputSchema, async (given, { mcpReq }) => {
      const { action, content } = await mcpReq.send({ method: "elicitation/create", params: asked(given) });
      return said(text(`Elicitation completed: action=${action}, content=${JSON.stringify(content ?? {})}`));
    });
  const response = { type: "object", properties: { response: { type: "string" } }, required: ["response"] };
  elicits("test_elicitation", z.object({ message: z.string() }), ({ message }) => ({ message, requestedSchema: response }));
  elicits("test_elicitation_sep1034_defaults", NOTHING, () => ({ message: "Defaults", requestedSchema: DEFAULTS }));
  elicits("test_elicitation_sep1330_enums", NOTHING, () => ({ message: "Choices", requestedSchema: ENUMS }));
}
