// Works with interactive-brokers-mcp's client, as against the Client Portal Gateway. Arguments: the package's folder, a port. Any
// surprise is an exception.

import assert from "node:assert";

const [folder, port] = process.argv.slice(2);
console.error = console.warn = console.log.bind(undefined, "");
const { IBClient } = await import(`${folder}/dist/ib-client.js`);
const client = new IBClient({ host: "localhost", port: Number(port) });

assert(await client.checkAuthenticationStatus());
await client.initializeBrokerageSession();
await client.reauthenticate();
await client.tickle();
assert(client.isAuthenticated);

const account = (await client.request("GET", "/iserver/accounts")).data.accounts[0];
assert.strictEqual((await client.request("GET", "/portfolio/accounts")).data[0].id, account);
const [quote] = (await client.request("GET", "/iserver/marketdata/snapshot?conids=265598&fields=31,84,86")).data;
assert(Number(quote[84]) < Number(quote[31]) && Number(quote[31]) < Number(quote[86]));

// Ways into the session that only its login at the gateway takes.
const form = { body: "compete=true&locale=en_US&username=-", headers: { "Content-Type": "application/x-www-form-urlencoded" } };
assert((await client.request("POST", "/iserver/auth/ssodh/init", form)).data.authenticated);
const portal = `https://localhost:${port}/v1/portal/iserver/reauthenticate?force=true`;
assert.deepStrictEqual((await client.request("POST", portal)).data, { message: "triggered" });

const order = { conid: 265598, orderType: "MKT", side: "BUY", tif: "DAY", quantity: 1 };
const placed = (await client.request("POST", `/iserver/account/${account}/orders`, { body: { orders: [order] } })).data;
assert.strictEqual(placed[0].order_status, "Filled");
client.destroy();
console.log("\ninteractive-brokers-mcp works with the proxy");
process.exit(0);
