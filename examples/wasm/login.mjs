// Logs in with the module, and lists the accounts: node login.mjs MODULE CREDENTIALS
//
// For Node and others of its kind. A browser's page is not let through to IBKR (no CORS), and no place for these keys.

import { readFile } from "node:fs/promises";
import { argv } from "node:process";

const [, , modulePath, credentialsPath] = argv;
const module = await WebAssembly.compile(await readFile(modulePath));
const imports = WebAssembly.Module.imports(module);
if (imports.length > 0) throw new Error(`the module imports ${JSON.stringify(imports)}`);
const { exports: wasm } = await WebAssembly.instantiate(module);

// Into the module: bytes, as pointer and length.
function input(bytes) {
  const pointer = wasm.allocate(bytes.length);
  new Uint8Array(wasm.memory.buffer, pointer, bytes.length).set(bytes);
  return [pointer, bytes.length];
}

// Out of the module: JSON that ends in a zero byte.
function reply(pointer) {
  const memory = new Uint8Array(wasm.memory.buffer);
  const { ok, error } = JSON.parse(new TextDecoder().decode(memory.slice(pointer, memory.indexOf(0, pointer))));
  if (error) throw new Error(error);
  return ok;
}

async function send({ method, url, headers }) {
  // `fetch` counts for itself.
  const own = headers.filter(([name]) => name !== "Content-Length");
  const answer = await fetch(url, { method, headers: own, redirect: "manual" });
  return [answer.status, new Uint8Array(await answer.arrayBuffer())];
}

const seed = crypto.getRandomValues(new Uint8Array(32));
const client = wasm.open(...input(Buffer.concat([seed, await readFile(credentialsPath)])));

for (let request; (request = reply(wasm.poll(client, Date.now()))); ) {
  const [status, body] = await send(request);
  console.log(`${request.url}: ${reply(wasm.answer(client, status, ...input(body), Date.now()))}`);
}
const path = new TextEncoder().encode("/portfolio/accounts");
const [, accounts] = await send(reply(wasm.sign(client, ...input(path), Date.now())));
console.log(JSON.parse(new TextDecoder().decode(accounts)).map((account) => account.accountId));
wasm.close(client);
