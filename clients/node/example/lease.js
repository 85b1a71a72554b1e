// A connection that nobody else uses until it is released.

/**
 * Leases a connection to the hypervisor of a VM, keeps the lease alive while `use` works with it, and gives it back,
 * whatever happened. When the program dies, the service takes the connection back within the lease's time to live.
 */
export async function withLease(pool, vmId, use) {
  const { lease } = await pool.AcquireLease({ vm_id: vmId, purpose: "the Node example" }, { seconds: 30 });
  const renew = () => pool.RenewLease({ lease_id: lease.lease_id }).catch(() => {}); // a call on it tells of its end
  const renewing = setInterval(renew, (Number(lease.ttl.seconds) * 1000) / 3);
  let held = true;
  const release = async () => {
    clearInterval(renewing);
    if (held) await pool.ReleaseLease({ lease_id: lease.lease_id });
    held = false;
  };
  try {
    return await use(lease, release);
  } finally {
    await release();
  }
}
