// The reference server's prompts, and completions of their arguments.

import { completable } from "@modelcontextprotocol/server";
import { z } from "zod";
import { IMAGE, embedded, text } from "./samples.mjs";

const COLOURS = ["red", "green", "blue"];

const user = (...contents) => ({ messages: contents.map((content) => ({ role: "user", content })) });

export function prompts(server) {
  const prompt = (name, argsSchema, got) =>
    server.registerPrompt(name, { title: name, description: name, argsSchema: argsSchema && z.object(argsSchema) }, got);

  prompt("test_simple_prompt", undefined, () => user(text("This is a simple prompt for testing.")));
  prompt(
    "test_prompt_with_arguments",
    {
      arg1: completable(z.string(), (begun) => COLOURS.filter((colour) => colour.startsWith(begun))),
      arg2: z.string(),
    },
    ({ arg1, arg2 }) => user(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
  );
  prompt("test_prompt_with_embedded_resource", { resourceUri: z.string() }, ({ resourceUri }) =>
    user(
      embedded(resourceUri, "text/plain", "Embedded resource content for testing."),
      text("Please process the embedded resource above."),
    ),
  );
  prompt("test_prompt_with_image", undefined, () =>
    user({ type: "image", ...IMAGE }, text("Please analyze the image above.")),
  );
}
