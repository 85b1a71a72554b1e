package dev.virtlease.example;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientCall;
import io.grpc.ClientInterceptor;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.TlsChannelCredentials;
import io.opentelemetry.api.trace.propagation.W3CTraceContextPropagator;
import io.opentelemetry.context.Context;
import java.io.File;
import java.io.IOException;

/** How the services are reached: TLS, who is calling, and the trace of the caller. */
final class Services {

  private Services() {}

  /**
   * Opens a channel. It connects at the first call, and again whenever the connection is lost. A target of the form
   * {@code dns:///name:port} reaches all replicas behind the name in turn.
   *
   * @param token sent with every call; null for none
   * @param authorities a file of the authorities that are trusted; null for plain text
   */
  static ManagedChannel open(String target, String token, String authorities) throws IOException {
    ChannelCredentials credentials =
        authorities == null
            ? InsecureChannelCredentials.create()
            : TlsChannelCredentials.newBuilder().trustManager(new File(authorities)).build();
    return Grpc.newChannelBuilder(target, credentials)
        .defaultLoadBalancingPolicy("round_robin")
        .intercept(new Headers(token))
        .build();
  }

  /** Adds the token and the W3C trace context of the caller to each call. */
  private record Headers(String token) implements ClientInterceptor {

    @Override
    public <Q, A> ClientCall<Q, A> interceptCall(
        MethodDescriptor<Q, A> method, CallOptions options, Channel next) {
      return new SimpleForwardingClientCall<>(next.newCall(method, options)) {
        @Override
        public void start(Listener<A> listener, Metadata headers) {
          if (token != null) {
            headers.put(key("authorization"), "Bearer " + token);
          }
          W3CTraceContextPropagator.getInstance()
              .inject(Context.current(), headers, (carrier, name, value) -> carrier.put(key(name), value));
          super.start(listener, headers);
        }
      };
    }

    private static Metadata.Key<String> key(String name) {
      return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
    }
  }
}
