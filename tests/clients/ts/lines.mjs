// One JSON object a line, in and out: how a test and a script talk.

import { createInterface } from "node:readline";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** What the test says next. */
export async function hear() {
  const { value, done } = await lines.next();
  if (done) throw new Error("the test has nothing more to say");
  return JSON.parse(value);
}

export const say = (line) => process.stdout.write(JSON.stringify(line) + "\n");

/** Sends the person's browser to a page; answers where it ended up. */
export async function open(url) {
  say({ open: String(url) });
  return new URL((await hear()).landed);
}

/** Runs a script that has one thing to say in the end. */
export async function outcome(run) {
  try {
    say(await run(await hear()));
  } catch (error) {
    const { name, message, code, cause } = error;
    say({ error: { name, message, code, cause: cause?.stack ?? cause, stack: error.stack } });
  }
  process.exit(0);
}
