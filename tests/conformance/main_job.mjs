// The main job, with the official TypeScript clients: argv is the era and the URL.
import assert from "node:assert/strict";

const [era, url] = process.argv.slice(2);
const info = { name: "main-job", version: "1" };

async function connect() {
  if (era === "legacy") {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const client = new Client(info);
    await client.connect(new StreamableHTTPClientTransport(new URL(url)));
    return client;
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const client = new Client(info, { versionNegotiation: { mode: "auto" } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  return client;
}

const client = await connect();
const call = async (name, args) => {
  const result = await client.callTool({ name, arguments: args });
  assert.ok(!result.isError, JSON.stringify(result));
  return result.structuredContent;
};
const tools = (await client.listTools()).tools.map((tool) => tool.name);
assert.ok(tools.includes("suspend_vm"));
const { session } = await call("create_session", { idle_ttl: 600 });
const vm_id = (await call("list_vms", { session_id: session.session_id })).vms[0].vm_id;
for (const [command, state] of [["suspend_vm", "PAUSED"], ["get_vm", "PAUSED"], ["resume_vm", "RUNNING"]]) {
  assert.equal((await call(command, { vm_id, session_id: session.session_id })).vm.state, state);
}
const read = (await call("get_session", { session_id: session.session_id })).session;
assert.deepEqual(read.values._history.map((entry) => entry.command), ["list_vms", "suspend_vm", "get_vm", "resume_vm"]);
assert.equal(JSON.parse((await client.readResource({ uri: `vm://${vm_id}` })).contents[0].text).vm.state, "RUNNING");
console.log(`${era}: ${client.getNegotiatedProtocolVersion?.() ?? "older protocol"}: done`);
await client.close();
