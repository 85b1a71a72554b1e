// Package client has what any client of the services needs: a connection, errors in words, leases that stay alive.
package client

import (
	"context"
	"crypto/rand"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Dial opens a connection to a service. It connects at the first call, and again whenever the connection is lost.
//
// The trace of each call's context goes along in its metadata. With a token every call carries it; with a file of
// authorities TLS is spoken. A target of the form dns:///name:port reaches all replicas behind the name in turn.
func Dial(target, token, authorities string) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if authorities != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(authorities, ""); err != nil {
			return nil, err
		}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
	}
	if token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer{token, authorities != ""}))
	}
	return grpc.NewClient(target, options...)
}

// RequestID names a write, so that a retry of it has no second effect.
func RequestID() string {
	return rand.Text()
}

// TraceID is the trace that calls with this context belong to, as errors carry it.
func TraceID(ctx context.Context) string {
	return trace.SpanContextFromContext(ctx).TraceID().String()
}

type bearer struct {
	token  string
	secure bool
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

func (b bearer) RequireTransportSecurity() bool { return b.secure }
