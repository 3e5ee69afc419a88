// What both TypeScript SDKs do: connect, go through the steps given, print one JSON object a line.
//
// The first line of standard input: {"url", "token" or "oauth", "mode", "steps": [{"list": true} | {"call", "arguments",
// "progress"} | {"prompts": true} | {"prompt", "arguments"} | {"resources": true} | {"read": uri} | {"complete", "argument",
// "of"} | {"listen": tool} | {"pause": true} | {"signed_in": true}]}; "oauth" is told to provider.mjs. A pause prints
// {"paused"} and ends with the next line of input. To listen is to call the tool until it is heard that tools changed.
// Standard output: {"connected": version}, then per step {"tools"} | {"result"} | {"prompts"} | {"resources", "templates"}
// | {"text"} | {"values"} | {"changed"} | {"error"}, with {"progress"} lines in between as they arrive.

import { setTimeout } from "node:timers/promises";
import { hear, say } from "./lines.mjs";
import { Provider } from "./provider.mjs";

/** What a person and a model answer to whatever a server asks them. */
export const ELICITED = { action: "accept", content: { name: "Ada" } };
export const SAMPLED = { role: "assistant", model: "none", content: { type: "text", text: "Paris" } };

/** How long a change is waited for before the tool that makes one is called again, in milliseconds. */
const AGAIN_MS = 250;

const failure = (error) => ({
  error: { name: error.constructor.name, code: error.code ?? null, message: error.message, data: error.data ?? null },
});

/** Connects with the token given, or signs in when the server asks for it. */
async function connected(story, provider, sdk) {
  const headers = story.token ? { Authorization: `Bearer ${story.token}` } : {};
  const options = provider ? { authProvider: provider } : { requestInit: { headers } };
  const attempt = async (transport) => {
    const client = sdk.client(story);
    await client.connect(transport);
    return client;
  };
  const first = sdk.transport(new URL(story.url), options);
  try {
    return await attempt(first);
  } catch (error) {
    if (!provider?.landed) throw error;
    await sdk.finish(first, provider.landed);
    return await attempt(sdk.transport(new URL(story.url), options));
  }
}

async function played(step, client, sdk, provider) {
  if (step.list) {
    const { tools } = await client.listTools();
    return { tools: tools.map(({ name }) => name) };
  }
  if (step.prompts) {
    const { prompts } = await client.listPrompts();
    return { prompts: prompts.map(({ name }) => name) };
  }
  if (step.prompt) {
    const { messages } = await client.getPrompt({ name: step.prompt, arguments: step.arguments });
    return { text: messages[0].content.text };
  }
  if (step.resources) {
    const [{ resources }, { resourceTemplates }] = [await client.listResources(), await client.listResourceTemplates()];
    return { resources: resources.map(({ uri }) => uri), templates: resourceTemplates.map(({ uriTemplate }) => uriTemplate) };
  }
  if (step.read) {
    const { contents } = await client.readResource({ uri: step.read });
    return { text: contents[0].text };
  }
  if (step.complete !== undefined) {
    const argument = { name: step.argument, value: step.complete };
    const { completion } = await client.complete({ ref: { type: "ref/prompt", name: step.of }, argument });
    return { values: completion.values };
  }
  if (step.listen) {
    const { heard } = await sdk.listen(client);
    let changed = false;
    while (!changed) {
      await sdk.call(client, { name: step.listen, arguments: {} });
      changed = await Promise.race([heard.then(() => true), setTimeout(AGAIN_MS, false)]);
    }
    return { changed };
  }
  if (step.pause) {
    say({ paused: true });
    await hear();
    return undefined;
  }
  if (step.signed_in) return provider.report();
  const options = step.progress ? { onprogress: (progress) => say({ progress }) } : {};
  return { result: await sdk.call(client, { name: step.call, arguments: step.arguments }, options) };
}

export async function play(sdk) {
  const story = await hear();
  const provider = story.oauth && new Provider(story.oauth);
  let client;
  try {
    client = await connected(story, provider, sdk);
  } catch (error) {
    say(failure(error));
    process.exit(0);
  }
  say({ connected: true });
  for (const step of story.steps) {
    try {
      const line = await played(step, client, sdk, provider);
      if (line) say(line);
    } catch (error) {
      say(failure(error));
    }
  }
  await client.close();
  process.exit(0);
}
