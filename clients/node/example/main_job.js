// Keeps its state in a session, leases a connection to a hypervisor, works with a VM on it, and follows what happens, as
// a service would. Arguments: the addresses of the session and the pool service.
import { randomBytes, randomUUID } from "node:crypto";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { context, trace, TraceFlags } from "@opentelemetry/api";
import { failureOf, refused } from "./failure.js";
import { withLease } from "./lease.js";
import { open, virtlease } from "./services.js";

const VM_ID = "local/test";
const WATCH_SECONDS = 4;

/** Begins a session, watches it, and writes to it. */
async function keepState(sessions) {
  const { session, server_time: now } = await sessions.CreateSession({
    idle_ttl: { seconds: 600 },
    values: { vm: JSON.stringify(VM_ID) }, // values are JSON text
    request_id: randomUUID(), // makes a retry safe
  });
  const id = session.session_id;
  console.log(`session: lives for ${session.expire_time.seconds - now.seconds} s without use`);

  const watch = sessions.WatchSessions({ session_id: id });
  const changes = watch[Symbol.asyncIterator]();
  await changes.next(); // carries a token, and says that the watch has begun
  const mutations = [
    { key: "runs", increment: 1 },
    { key: "log", append: { item: JSON.stringify("started") } },
  ];
  await sessions.UpdateSession({ session_id: id, request_id: randomUUID(), mutations });
  for (const { type, changed_keys: keys } of (await changes.next()).value.events) {
    console.log(`watch: ${type.replace("SESSION_EVENT_TYPE_", "")} ${keys.sort().join(" ")}`);
  }
  watch.on("error", () => {}); // of being cancelled
  watch.cancel();

  const { values } = (await sessions.GetSession({ session_id: id })).session;
  console.log(`session: log=${values.log} runs=${values.runs} vm=${values.vm}`);

  const failure = await refused(sessions.CreateSession({ idle_ttl: { nanos: 1_000_000 } }));
  console.log(`refused: ${failure.code} ${failure.reason}, field ${failure.fields.join(" ")}`);
  return id;
}

/** Runs calls on a leased connection. */
async function useVm(vms, lease, release) {
  console.log(`lease: a connection to ${lease.hypervisor}`);
  const target = { vm_id: VM_ID, lease_id: lease.lease_id };
  const tell = ({ vm }) => console.log(`vm: ${vm.name} is ${vm.state.replace("VM_STATE_", "")}`);
  const watch = vms.WatchVms({ vm_ids: [VM_ID] }, { seconds: WATCH_SECONDS });
  const events = watch[Symbol.asyncIterator]();
  await events.next(); // a token: from here on nothing is missed
  tell(await vms.GetVm(target));
  tell(await vms.SuspendVm({ ...target, if_state: "VM_STATE_RUNNING", request_id: randomUUID() }));
  tell(await vms.ResumeVm({ ...target, request_id: randomUUID() }));

  try {
    // Until its deadline, and longer than the lease lives by itself.
    for await (const { events: seen } of { [Symbol.asyncIterator]: () => events }) {
      for (const { type } of seen) console.log(`watch: ${type.replace("VM_EVENT_TYPE_", "")}`);
    }
  } catch (error) {
    console.log(`watch: ended by ${failureOf(error).code}`);
  }

  const failure = await refused(vms.StartVm({ ...target, request_id: randomUUID() }));
  const ours = failure.metadata.trace_id === trace.getSpanContext(context.active()).traceId;
  console.log(`refused: ${failure.code} ${failure.reason}, state ${failure.metadata.state}, in this trace: ${ours}`);

  await release();
  const { code, reason } = await refused(vms.GetVm(target));
  console.log(`lease: over, ${code} ${reason}`);
}

async function endSession(sessions, id) {
  await sessions.EndSession({ session_id: id, request_id: randomUUID() });
  const { code, reason } = await refused(sessions.GetSession({ session_id: id }));
  console.log(`session: over, ${code} ${reason}`);
}

async function main(sessionAddress, poolAddress) {
  const identity = { token: process.env.VIRTLEASE_CLIENT_TOKEN, authorities: process.env.VIRTLEASE_CLIENT_TLS_CA };
  const sessions = open(virtlease.session.v1.SessionService, sessionAddress, identity);
  const pool = open(virtlease.pool.v1.PoolService, poolAddress, identity);
  const vms = open(virtlease.pool.v1.VmService, poolAddress, identity);
  try {
    const id = await keepState(sessions);
    await withLease(pool, VM_ID, (lease, release) => useVm(vms, lease, release));
    await endSession(sessions, id);
  } finally {
    for (const client of [sessions, pool, vms]) client.close();
  }
}

if (process.argv.length !== 4) {
  console.error("usage: main_job.js SESSION-ADDRESS POOL-ADDRESS");
  process.exit(2);
}
context.setGlobalContextManager(new AsyncLocalStorageContextManager());
// A trace to call in. A program that OpenTelemetry instruments is in one already.
const span = { traceId: randomBytes(16).toString("hex"), spanId: randomBytes(8).toString("hex"), traceFlags: TraceFlags.SAMPLED };
await context.with(trace.setSpanContext(context.active(), span), () => main(...process.argv.slice(2)));
