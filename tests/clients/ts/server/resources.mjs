// The reference server's resources, and subscriptions to them.

import { ResourceTemplate } from "@modelcontextprotocol/server";
import { IMAGE } from "./samples.mjs";

export function resources(server) {
  const fixed = (name, uri, mimeType, content) =>
    server.registerResource(name, uri, { title: name, description: name, mimeType }, () => ({
      contents: [{ uri, mimeType, ...content }],
    }));
  fixed("static-text", "test://static-text", "text/plain", { text: "This is the content of the static text resource." });
  fixed("static-binary", "test://static-binary", IMAGE.mimeType, { blob: IMAGE.data });
  fixed("watched-resource", "test://watched-resource", "text/plain", { text: "Watched resource content" });

  const template = new ResourceTemplate("test://template/{id}/data", { list: undefined });
  const mimeType = "application/json";
  server.registerResource("template", template, { title: "template", description: "template", mimeType }, (uri, { id }) => ({
    contents: [
      { uri: uri.toString(), mimeType, text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` }) },
    ],
  }));

  server.server.setRequestHandler("resources/subscribe", () => ({}));
  server.server.setRequestHandler("resources/unsubscribe", () => ({}));
}
