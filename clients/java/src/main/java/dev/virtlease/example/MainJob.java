package dev.virtlease.example;

import com.google.protobuf.util.Durations;
import com.google.protobuf.util.Timestamps;
import dev.virtlease.pool.v1.GetVmRequest;
import dev.virtlease.pool.v1.PoolServiceGrpc;
import dev.virtlease.pool.v1.ResumeVmRequest;
import dev.virtlease.pool.v1.StartVmRequest;
import dev.virtlease.pool.v1.SuspendVmRequest;
import dev.virtlease.pool.v1.Vm;
import dev.virtlease.pool.v1.VmEvent;
import dev.virtlease.pool.v1.VmServiceGrpc;
import dev.virtlease.pool.v1.VmState;
import dev.virtlease.pool.v1.WatchVmsRequest;
import dev.virtlease.session.v1.Append;
import dev.virtlease.session.v1.CreateSessionRequest;
import dev.virtlease.session.v1.EndSessionRequest;
import dev.virtlease.session.v1.GetSessionRequest;
import dev.virtlease.session.v1.Mutation;
import dev.virtlease.session.v1.SessionEvent;
import dev.virtlease.session.v1.SessionServiceGrpc;
import dev.virtlease.session.v1.SessionServiceGrpc.SessionServiceBlockingStub;
import dev.virtlease.session.v1.UpdateSessionRequest;
import dev.virtlease.session.v1.WatchSessionsRequest;
import io.grpc.Channel;
import io.grpc.StatusRuntimeException;
import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.SpanContext;
import io.opentelemetry.api.trace.TraceFlags;
import io.opentelemetry.api.trace.TraceState;
import io.opentelemetry.sdk.trace.IdGenerator;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * Keeps its state in a session, leases a connection to a hypervisor, works with a VM on it, and follows what happens, as
 * a service would. Arguments: the addresses of the session and the pool service.
 */
public final class MainJob {

  private static final String VM_ID = "local/test";
  private static final long SECONDS = 10;
  private static final long WATCH_SECONDS = 4;

  private MainJob() {}

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 2) {
      System.err.println("usage: MainJob SESSION-ADDRESS POOL-ADDRESS");
      System.exit(2);
    }
    var token = System.getenv("VIRTLEASE_CLIENT_TOKEN");
    var authorities = System.getenv("VIRTLEASE_CLIENT_TLS_CA");
    var sessionChannel = Services.open(arguments[0], token, authorities);
    var poolChannel = Services.open(arguments[1], token, authorities);
    try (var scope = span().makeCurrent()) {
      var sessions = SessionServiceGrpc.newBlockingStub(sessionChannel);
      var sessionId = keepState(sessions);
      useVm(poolChannel);
      endSession(sessions, sessionId);
    } finally {
      sessionChannel.shutdownNow();
      poolChannel.shutdownNow();
    }
  }

  /** Begins a session, watches it, and writes to it. */
  private static String keepState(SessionServiceBlockingStub sessions) {
    var created =
        soon(sessions)
            .createSession(
                CreateSessionRequest.newBuilder()
                    .setIdleTtl(Durations.fromMinutes(10))
                    .putValues("vm", "\"" + VM_ID + "\"") // values are JSON text
                    .setRequestId(requestId()) // makes a retry safe
                    .build());
    var id = created.getSession().getSessionId();
    var left = Timestamps.between(created.getServerTime(), created.getSession().getExpireTime());
    System.out.printf("session: lives for %d s without use%n", Durations.toSeconds(left));

    var watch =
        soon(sessions)
            .watchSessions(WatchSessionsRequest.newBuilder().setSessionId(id).build());
    watch.next(); // carries a token, and says that the watch has begun
    soon(sessions)
        .updateSession(
            UpdateSessionRequest.newBuilder()
                .setSessionId(id)
                .setRequestId(requestId())
                .addMutations(Mutation.newBuilder().setKey("runs").setIncrement(1))
                .addMutations(Mutation.newBuilder().setKey("log").setAppend(Append.newBuilder().setItem("\"started\"")))
                .build());
    for (SessionEvent event : watch.next().getEventsList()) {
      var keys = event.getChangedKeysList().stream().sorted().collect(Collectors.joining(" "));
      System.out.printf("watch: %s %s%n", event.getType().name().replace("SESSION_EVENT_TYPE_", ""), keys);
    }

    var values = soon(sessions).getSession(GetSessionRequest.newBuilder().setSessionId(id).build()).getSession();
    System.out.printf(
        "session: log=%s runs=%s vm=%s%n",
        values.getValuesOrThrow("log"), values.getValuesOrThrow("runs"), values.getValuesOrThrow("vm"));

    var tooShort = CreateSessionRequest.newBuilder().setIdleTtl(Durations.fromMillis(1)).build();
    var failure = failureOf(() -> soon(sessions).createSession(tooShort));
    System.out.printf(
        "refused: %s %s, field %s%n", failure.code(), failure.reason(), String.join(" ", failure.fields()));
    return id;
  }

  /** Leases a connection and runs calls on it. */
  private static void useVm(Channel channel) {
    var vms = VmServiceGrpc.newBlockingStub(channel);
    try (var lease = new HeldLease(PoolServiceGrpc.newStub(channel), VM_ID)) {
      System.out.printf("lease: a connection to %s%n", lease.hypervisor());
      var watch =
          vms.withDeadlineAfter(WATCH_SECONDS, TimeUnit.SECONDS)
              .watchVms(WatchVmsRequest.newBuilder().addVmIds(VM_ID).build());
      watch.next(); // a token: from here on nothing is missed
      var read = GetVmRequest.newBuilder().setVmId(VM_ID).setLeaseId(lease.id()).build();
      print(vms.withDeadlineAfter(SECONDS, TimeUnit.SECONDS).getVm(read).getVm());
      var suspend =
          SuspendVmRequest.newBuilder()
              .setVmId(VM_ID)
              .setLeaseId(lease.id())
              .setIfState(VmState.VM_STATE_RUNNING)
              .setRequestId(requestId())
              .build();
      print(vms.withDeadlineAfter(SECONDS, TimeUnit.SECONDS).suspendVm(suspend).getVm());
      var resume =
          ResumeVmRequest.newBuilder().setVmId(VM_ID).setLeaseId(lease.id()).setRequestId(requestId()).build();
      print(vms.withDeadlineAfter(SECONDS, TimeUnit.SECONDS).resumeVm(resume).getVm());

      // Until its deadline, and longer than the lease lives by itself.
      var ended = failureOf(() -> watch.forEachRemaining(response -> response.getEventsList().forEach(MainJob::print)));
      System.out.printf("watch: ended by %s%n", ended.code());

      var start = StartVmRequest.newBuilder().setVmId(VM_ID).setLeaseId(lease.id()).setRequestId(requestId()).build();
      var failure = failureOf(() -> vms.withDeadlineAfter(SECONDS, TimeUnit.SECONDS).startVm(start));
      var ours = Span.current().getSpanContext().getTraceId().equals(failure.metadata().get("trace_id"));
      System.out.printf(
          "refused: %s %s, state %s, in this trace: %b%n",
          failure.code(), failure.reason(), failure.metadata().get("state"), ours);

      lease.close();
      failure = failureOf(() -> vms.withDeadlineAfter(SECONDS, TimeUnit.SECONDS).getVm(read));
      System.out.printf("lease: over, %s %s%n", failure.code(), failure.reason());
    }
  }

  private static void endSession(SessionServiceBlockingStub sessions, String id) {
    soon(sessions)
        .endSession(EndSessionRequest.newBuilder().setSessionId(id).setRequestId(requestId()).build());
    var read = GetSessionRequest.newBuilder().setSessionId(id).build();
    var failure = failureOf(() -> soon(sessions).getSession(read));
    System.out.printf("session: over, %s %s%n", failure.code(), failure.reason());
  }

  /** No call without a deadline. */
  private static SessionServiceBlockingStub soon(SessionServiceBlockingStub stub) {
    return stub.withDeadlineAfter(SECONDS, TimeUnit.SECONDS);
  }

  private static Failure failureOf(Runnable call) {
    try {
      call.run();
    } catch (StatusRuntimeException error) {
      return Failure.of(error);
    }
    throw new IllegalStateException("it was expected to fail");
  }

  private static void print(VmEvent event) {
    System.out.printf("watch: %s%n", event.getType().name().replace("VM_EVENT_TYPE_", ""));
  }

  private static void print(Vm vm) {
    System.out.printf("vm: %s is %s%n", vm.getName(), vm.getState().name().replace("VM_STATE_", ""));
  }

  /** A trace to call in. A program that OpenTelemetry instruments is in one already. */
  private static Span span() {
    var ids = IdGenerator.random();
    return Span.wrap(
        SpanContext.create(
            ids.generateTraceId(), ids.generateSpanId(), TraceFlags.getSampled(), TraceState.getDefault()));
  }

  private static String requestId() {
    return UUID.randomUUID().toString();
  }
}
