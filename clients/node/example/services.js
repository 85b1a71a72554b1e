// How the services are reached: stubs out of ../../protos, TLS, who is calling, and the trace of the caller.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";
import { context, defaultTextMapSetter } from "@opentelemetry/api";
import { W3CTraceContextPropagator } from "@opentelemetry/core";

export const PROTOS = process.env.VIRTLEASE_PROTOS ?? fileURLToPath(new URL("../../../protos", import.meta.url));
const SERVICES = ["virtlease/session/v1/session_service.proto", "virtlease/pool/v1/pool_service.proto", "virtlease/pool/v1/vm_service.proto"];
const loaded = protoLoader.loadSync(SERVICES, {
  includeDirs: [PROTOS],
  keepCase: true,
  longs: String, // 64 bits do not fit a number
  enums: String,
  defaults: true,
  oneofs: true,
});
export const { virtlease } = grpc.loadPackageDefinition(loaded);

/**
 * A client whose methods take a request and return a promise, or an async iterable for one that streams, or
 * a stream for both ways. It connects at
 * the first call, and again whenever the connection is lost. A target of the form dns:///name:port reaches all replicas
 * behind the name in turn. `token` is sent with every call; with `authorities`, a file of those trusted, TLS is spoken.
 */
export function open(Service, target, { token, authorities } = {}) {
  const credentials = authorities
    ? grpc.credentials.createSsl(readFileSync(authorities))
    : grpc.credentials.createInsecure();
  const client = new Service(target, credentials, {
    "grpc.service_config": JSON.stringify({ loadBalancingConfig: [{ round_robin: {} }] }),
  });
  const calls = { close: () => client.close() };
  for (const [name, method] of Object.entries(Service.service)) {
    calls[name] = (request, { seconds = 10 } = {}) => {
      const options = { deadline: Date.now() + seconds * 1000 }; // no call without one
      const metadata = headers(token);
      if (method.requestStream) return client[name](metadata, options);
      if (method.responseStream) return client[name](request, metadata, options);
      return new Promise((resolve, reject) => {
        client[name](request, metadata, options, (error, response) => (error ? reject(error) : resolve(response)));
      });
    };
  }
  return calls;
}

function headers(token) {
  const metadata = new grpc.Metadata();
  if (token) metadata.set("authorization", `Bearer ${token}`);
  const carrier = {};
  new W3CTraceContextPropagator().inject(context.active(), carrier, defaultTextMapSetter);
  for (const [name, value] of Object.entries(carrier)) metadata.set(name, value);
  return metadata;
}
