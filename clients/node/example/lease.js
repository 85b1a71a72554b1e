// A connection that nobody else uses until it is released. The stream that it was acquired on keeps it alive: when the
// program dies, so does the stream, and the service takes the connection back.
import { callOf } from "./failure.js";

const SECONDS = 10;
const TIME_TO_LIVE = 3; // without a heartbeat: so long the service waits for a program that vanished

/** Leases a connection to the hypervisor of a VM while `use` works with it, and gives it back, whatever happened. */
export async function withLease(pool, vmId, use) {
  const holder = hold(pool.HoldLeases(undefined, { seconds: 3600 }));
  try {
    const { lease } = (await holder.call({ acquire: { vm_id: vmId } })).acquire;
    let held = true;
    const release = async () => {
      if (held) await holder.call({ release: { lease_id: lease.lease_id } });
      held = false;
    };
    try {
      return await use(lease, release);
    } finally {
      await release();
    }
  } finally {
    holder.end();
  }
}

/** A holder on a stream: `call` sends an operation and resolves to its result. */
function hold(stream) {
  const waiting = new Map();
  let seq = 0;
  let beating;
  stream.on("data", ({ welcome, results }) => {
    if (welcome) {
      // Every message shows that the holder is alive, an empty one too.
      const { seconds, nanos } = welcome.heartbeat_interval;
      beating = setInterval(() => stream.write({}), Number(seconds) * 1000 + nanos / 1e6);
    }
    for (const result of results) {
      const { resolve, reject } = waiting.get(result.seq);
      waiting.delete(result.seq);
      if (result.status) reject(callOf(result.status));
      else resolve(result);
    }
  });
  const ended = (error) => {
    clearInterval(beating);
    for (const { reject } of waiting.values()) reject(error ?? new Error("the service closed the stream"));
  };
  stream.on("error", ended);
  stream.on("end", () => ended());
  stream.write({ hello: { purpose: "the Node example", ttl: { seconds: TIME_TO_LIVE } } });
  return {
    call(operation) {
      const name = String(++seq); // 64 bits are text here
      return new Promise((resolve, reject) => {
        waiting.set(name, { resolve, reject });
        stream.write({ operations: [{ seq: name, timeout: { seconds: SECONDS }, ...operation }] });
      });
    },
    end() {
      clearInterval(beating);
      stream.end();
    },
  };
}
