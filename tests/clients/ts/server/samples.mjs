// What the tools, resources and prompts of the reference server return.

/** A PNG of one red pixel. */
export const IMAGE = {
  data: "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==",
  mimeType: "image/png",
};

/** A WAV without a sample. */
export const AUDIO = {
  data: "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=",
  mimeType: "audio/wav",
};

export const text = (text) => ({ type: "text", text });

export const said = (...content) => ({ content });

export const embedded = (uri, mimeType, text) => ({ type: "resource", resource: { uri, mimeType, text } });
