package dev.virtlease.example;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.BadRequest.FieldViolation;
import com.google.rpc.Code;
import com.google.rpc.ErrorInfo;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.List;
import java.util.Map;

/**
 * What the status of a call says, with its details decoded.
 *
 * @param code NOT_FOUND and the like
 * @param reason for programs: docs/errors.md lists them; empty when the failure is the transport's
 * @param metadata the trace id, and what the reason is about
 * @param fields INVALID_ARGUMENT: the fields that are wrong
 */
record Failure(String code, String message, String reason, Map<String, String> metadata, List<String> fields) {

  static Failure of(StatusRuntimeException error) {
    var status = StatusProto.fromThrowable(error);
    var reason = "";
    var metadata = Map.<String, String>of();
    var fields = List.<String>of();
    try {
      for (Any detail : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          var info = detail.unpack(ErrorInfo.class);
          reason = info.getReason();
          metadata = info.getMetadataMap();
        } else if (detail.is(BadRequest.class)) {
          fields =
              detail.unpack(BadRequest.class).getFieldViolationsList().stream()
                  .map(FieldViolation::getField)
                  .toList();
        }
      }
    } catch (InvalidProtocolBufferException broken) {
      throw new IllegalStateException("the details of a status cannot be read", broken);
    }
    return new Failure(
        Code.forNumber(status.getCode()).name(), status.getMessage(), reason, metadata, fields);
  }
}
