// What the status of a call says, with its details decoded.
import { Metadata, status } from "@grpc/grpc-js";
import protobuf from "protobufjs";
import { PROTOS } from "./services.js";

const root = new protobuf.Root();
root.resolvePath = (_origin, target) => `${PROTOS}/${target}`;
root.loadSync(["google/rpc/status.proto", "google/rpc/error_details.proto"]);
const Status = root.lookupType("google.rpc.Status");

/**
 * `code` is NOT_FOUND and the like; `reason` is for programs (docs/errors.md lists them), empty when the failure is the
 * transport's; `metadata` has the trace id and what the reason is about; `fields` are those that are wrong;
 * `retryAfter`, in seconds, says when a retry has a chance.
 */
export function failureOf(error) {
  const failure = { code: status[error.code], message: error.details, reason: "", metadata: {}, fields: [] };
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (!bytes) return failure;
  for (const any of Status.decode(bytes).details) {
    const name = any.type_url.split("/").at(-1);
    const detail = root.lookupType(name).decode(any.value);
    if (name === "google.rpc.ErrorInfo") Object.assign(failure, { reason: detail.reason, metadata: detail.metadata });
    if (name === "google.rpc.BadRequest") failure.fields = detail.fieldViolations.map(({ field }) => field);
    if (name === "google.rpc.RetryInfo") failure.retryAfter = Number(detail.retryDelay.seconds) + detail.retryDelay.nanos / 1e9;
  }
  return failure;
}

/** The error of a call whose google.rpc.Status came in a message of a stream, in the form that other calls have. */
export function callOf({ code, message, details }) {
  const metadata = new Metadata();
  const encoded = details.map((any) => ({ type_url: any.type_url, value: any.value }));
  metadata.set("grpc-status-details-bin", Buffer.from(Status.encode({ code, message, details: encoded }).finish()));
  return Object.assign(new Error(message), { code, details: message, metadata });
}

/** The failure of a call that is expected to fail. */
export async function refused(call) {
  try {
    await call;
  } catch (error) {
    return failureOf(error);
  }
  throw new Error("it was expected to fail");
}
