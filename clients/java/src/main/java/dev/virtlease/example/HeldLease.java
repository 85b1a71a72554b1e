package dev.virtlease.example;

import com.google.protobuf.Duration;
import com.google.protobuf.util.Durations;
import dev.virtlease.pool.v1.AcquireLeaseRequest;
import dev.virtlease.pool.v1.HoldLeasesRequest;
import dev.virtlease.pool.v1.HoldLeasesResponse;
import dev.virtlease.pool.v1.HolderHello;
import dev.virtlease.pool.v1.Lease;
import dev.virtlease.pool.v1.LeaseOperation;
import dev.virtlease.pool.v1.LeaseResult;
import dev.virtlease.pool.v1.PoolServiceGrpc.PoolServiceStub;
import dev.virtlease.pool.v1.ReleaseLeaseRequest;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.StreamObserver;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/**
 * A connection that nobody else uses until it is closed. The stream that it was acquired on keeps it alive: when the
 * program dies, so does the stream, and the service takes the connection back.
 */
final class HeldLease implements AutoCloseable, StreamObserver<HoldLeasesResponse> {

  private static final int SECONDS = 10;

  /** Without a heartbeat: so long the service waits for a program that vanished. */
  private static final Duration TIME_TO_LIVE = Durations.fromSeconds(3);

  private final Map<Long, CompletableFuture<LeaseResult>> waiting = new ConcurrentHashMap<>();
  private final AtomicLong seq = new AtomicLong();
  private final AtomicBoolean released = new AtomicBoolean();
  private final ScheduledExecutorService beating = Executors.newSingleThreadScheduledExecutor(HeldLease::daemon);
  private final StreamObserver<HoldLeasesRequest> stream;
  private final Lease lease;

  /** Leases a connection to the hypervisor of a VM. */
  HeldLease(PoolServiceStub pool, String vmId) {
    stream = pool.holdLeases(this);
    var hello = HolderHello.newBuilder().setPurpose("the Java example").setTtl(TIME_TO_LIVE);
    send(HoldLeasesRequest.newBuilder().setHello(hello).build());
    var acquire = LeaseOperation.newBuilder().setAcquire(AcquireLeaseRequest.newBuilder().setVmId(vmId));
    lease = call(acquire).getAcquire().getLease();
  }

  String id() {
    return lease.getLeaseId();
  }

  String hypervisor() {
    return lease.getHypervisor();
  }

  /** Gives the connection back and ends the stream. A second time does nothing. */
  @Override
  public void close() {
    if (released.compareAndSet(false, true)) {
      try {
        call(LeaseOperation.newBuilder().setRelease(ReleaseLeaseRequest.newBuilder().setLeaseId(id())));
      } finally {
        beating.shutdownNow();
        stream.onCompleted();
      }
    }
  }

  @Override
  public void onNext(HoldLeasesResponse response) {
    if (response.hasWelcome()) {
      // Every message shows that the holder is alive, an empty one too.
      var interval = Durations.toMillis(response.getWelcome().getHeartbeatInterval());
      beating.scheduleAtFixedRate(
          () -> send(HoldLeasesRequest.getDefaultInstance()), interval, interval, TimeUnit.MILLISECONDS);
    }
    for (LeaseResult result : response.getResultsList()) {
      waiting.remove(result.getSeq()).complete(result);
    }
  }

  @Override
  public void onError(Throwable error) {
    beating.shutdownNow();
    waiting.values().forEach(each -> each.completeExceptionally(error));
  }

  @Override
  public void onCompleted() {
    onError(new IllegalStateException("the service closed the stream"));
  }

  /** Sends one operation and waits for its result. Throws what the service says. */
  private LeaseResult call(LeaseOperation.Builder operation) {
    var number = seq.incrementAndGet();
    var answer = new CompletableFuture<LeaseResult>();
    waiting.put(number, answer);
    operation.setSeq(number).setTimeout(Durations.fromSeconds(SECONDS));
    send(HoldLeasesRequest.newBuilder().addOperations(operation).build());
    var result = answer.orTimeout(2 * SECONDS, TimeUnit.SECONDS).join();
    if (result.hasStatus()) {
      throw StatusProto.toStatusRuntimeException(result.getStatus());
    }
    return result;
  }

  /** A stream takes one sender at a time. */
  private synchronized void send(HoldLeasesRequest message) {
    stream.onNext(message);
  }

  private static Thread daemon(Runnable work) {
    var thread = new Thread(work, "heartbeat");
    thread.setDaemon(true);
    return thread;
  }
}
