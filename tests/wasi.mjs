// Runs a test binary for wasm32-wasip1 in V8, the engine that Envoy has: `node tests/wasi.mjs FILE [ARGUMENT…]`.
import { readFile } from 'node:fs/promises';
import { WASI } from 'node:wasi';
const [, , file, ...args] = process.argv;
const wasi = new WASI({ version: 'preview1', args: [file, ...args], env: process.env, preopens: { '/': '/' } });
const { instance } = await WebAssembly.instantiate(await readFile(file), wasi.getImportObject());
// What the tests end with: without this, Node.js makes 0 of it.
process.exitCode = wasi.start(instance);
