// What both TypeScript clients do: connect, go through the steps given, print one JSON object a line.
//
// Standard input: {"url", "token", "mode", "steps": [{"list": true} | {"call", "arguments", "progress"}]}
// Standard output: {"connected": version}, then per step {"tools"} | {"result"} | {"error"}, with {"progress"}
// lines in between as they arrive.

import { readFileSync } from "node:fs";

const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

const failure = (error) => ({
  error: { name: error.constructor.name, code: error.code ?? null, message: error.message, data: error.data ?? null },
});

export async function play(connect, callTool) {
  const story = JSON.parse(readFileSync(0, "utf8"));
  let client;
  try {
    client = await connect(story);
  } catch (error) {
    say(failure(error));
    process.exit(0);
  }
  say({ connected: true });
  for (const step of story.steps) {
    try {
      if (step.list) {
        const { tools } = await client.listTools();
        say({ tools: tools.map((tool) => tool.name) });
      } else {
        const options = step.progress ? { onprogress: (progress) => say({ progress }) } : {};
        say({ result: await callTool(client, { name: step.call, arguments: step.arguments }, options) });
      }
    } catch (error) {
      say(failure(error));
    }
  }
  await client.close();
  process.exit(0);
}
