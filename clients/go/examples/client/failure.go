package client

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// Failure is what the status of a call says, with its details decoded.
type Failure struct {
	Code       string            // NOT_FOUND and the like
	Message    string            // for people
	Reason     string            // for programs: docs/errors.md lists them
	Metadata   map[string]string // the trace id, and what the reason is about
	Fields     []string          // INVALID_ARGUMENT: the fields that are wrong
	RetryAfter time.Duration     // when a retry has a chance; 0 for never or unknown
}

// Describe decodes the error of a call.
func Describe(err error) Failure {
	found := status.Convert(err)
	failure := Failure{Code: code.Code(found.Code()).String(), Message: found.Message()}
	for _, detail := range found.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			failure.Reason, failure.Metadata = detail.GetReason(), detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				failure.Fields = append(failure.Fields, violation.GetField())
			}
		case *errdetails.RetryInfo:
			failure.RetryAfter = detail.GetRetryDelay().AsDuration()
		}
	}
	return failure
}
