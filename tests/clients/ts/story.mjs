// What both TypeScript SDKs do: connect, go through the steps given, print one JSON object a line.
//
// The first line of standard input: {"url", "token" or "oauth", "mode", "steps": [{"list": true} | {"call", "arguments",
// "progress"} | {"pause": true} | {"signed_in": true}]}; "oauth" is told to provider.mjs. A pause prints {"paused"}
// and ends with the next line of input.
// Standard output: {"connected": version}, then per step {"tools"} | {"result"} | {"error"}, with {"progress"}
// lines in between as they arrive.

import { hear, say } from "./lines.mjs";
import { Provider } from "./provider.mjs";

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
      if (step.list) {
        const { tools } = await client.listTools();
        say({ tools: tools.map((tool) => tool.name) });
      } else if (step.pause) {
        say({ paused: true });
        await hear();
      } else if (step.signed_in) {
        say(provider.report());
      } else {
        const options = step.progress ? { onprogress: (progress) => say({ progress }) } : {};
        say({ result: await sdk.call(client, { name: step.call, arguments: step.arguments }, options) });
      }
    } catch (error) {
      say(failure(error));
    }
  }
  await client.close();
  process.exit(0);
}
