package dev.virtlease.example;

import com.google.protobuf.util.Durations;
import dev.virtlease.pool.v1.AcquireLeaseRequest;
import dev.virtlease.pool.v1.Lease;
import dev.virtlease.pool.v1.PoolServiceGrpc.PoolServiceBlockingStub;
import dev.virtlease.pool.v1.ReleaseLeaseRequest;
import dev.virtlease.pool.v1.RenewLeaseRequest;
import io.grpc.StatusRuntimeException;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * A connection that nobody else uses until it is closed. It is kept alive meanwhile; when the program dies, the service
 * takes the connection back within the lease's time to live.
 */
final class HeldLease implements AutoCloseable {

  private static final long SECONDS = 10;

  private final PoolServiceBlockingStub pool;
  private final Lease lease;
  private final AtomicBoolean released = new AtomicBoolean();
  private final ScheduledExecutorService renewing =
      Executors.newSingleThreadScheduledExecutor(HeldLease::daemon);

  /** Leases a connection to the hypervisor of a VM. */
  HeldLease(PoolServiceBlockingStub pool, String vmId) {
    this.pool = pool;
    var request = AcquireLeaseRequest.newBuilder().setVmId(vmId).setPurpose("the Java example").build();
    lease = pool.withDeadlineAfter(3 * SECONDS, TimeUnit.SECONDS).acquireLease(request).getLease();
    var interval = Durations.toMillis(lease.getTtl()) / 3;
    renewing.scheduleAtFixedRate(this::renew, interval, interval, TimeUnit.MILLISECONDS);
  }

  String id() {
    return lease.getLeaseId();
  }

  String hypervisor() {
    return lease.getHypervisor();
  }

  /** Gives the connection back. A second time does nothing. */
  @Override
  public void close() {
    renewing.shutdownNow();
    if (released.compareAndSet(false, true)) {
      pool.withDeadlineAfter(SECONDS, TimeUnit.SECONDS)
          .releaseLease(ReleaseLeaseRequest.newBuilder().setLeaseId(id()).build());
    }
  }

  private void renew() {
    try {
      pool.withDeadlineAfter(SECONDS, TimeUnit.SECONDS)
          .renewLease(RenewLeaseRequest.newBuilder().setLeaseId(id()).build());
    } catch (StatusRuntimeException failure) {
      // A call on it tells of its end; a service that is away now may be back at the next renewal.
    }
  }

  private static Thread daemon(Runnable work) {
    var thread = new Thread(work, "lease");
    thread.setDaemon(true);
    return thread;
  }
}
