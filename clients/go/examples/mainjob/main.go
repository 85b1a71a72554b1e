// Mainjob keeps its state in a session, leases a connection to a hypervisor, works with a VM on it, and follows
// what happens, as a service would.
//
//	go run ./examples/mainjob 127.0.0.1:50051 127.0.0.1:50052
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/virtlease/virtlease/clients/go/examples/client"
	poolv1 "github.com/virtlease/virtlease/clients/go/pool/v1"
	sessionv1 "github.com/virtlease/virtlease/clients/go/session/v1"
)

const (
	vmID     = "local/test"
	watchFor = 4 * time.Second
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: mainjob SESSION-ADDRESS POOL-ADDRESS")
	}
	otel.SetTracerProvider(trace.NewTracerProvider())
	otel.SetTextMapPropagator(propagation.TraceContext{})

	// No call without a deadline: this one holds for all that follow.
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ctx, span := otel.Tracer("mainjob").Start(ctx, "main job")
	defer span.End()

	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, sessionAddress, poolAddress string) error {
	sessionConn, err := client.Dial(sessionAddress, os.Getenv("VIRTLEASE_CLIENT_TOKEN"), os.Getenv("VIRTLEASE_CLIENT_TLS_CA"))
	if err != nil {
		return err
	}
	defer sessionConn.Close()
	poolConn, err := client.Dial(poolAddress, os.Getenv("VIRTLEASE_CLIENT_TOKEN"), os.Getenv("VIRTLEASE_CLIENT_TLS_CA"))
	if err != nil {
		return err
	}
	defer poolConn.Close()

	sessions := sessionv1.NewSessionServiceClient(sessionConn)
	sessionID, err := keepState(ctx, sessions)
	if err != nil {
		return err
	}
	if err := useVM(ctx, poolConn); err != nil {
		return err
	}
	return endSession(ctx, sessions, sessionID)
}

// keepState begins a session, watches it, and writes to it.
func keepState(ctx context.Context, sessions sessionv1.SessionServiceClient) (string, error) {
	created, err := sessions.CreateSession(ctx, &sessionv1.CreateSessionRequest{
		IdleTtl:   durationpb.New(10 * time.Minute),
		Values:    map[string]string{"vm": `"` + vmID + `"`}, // values are JSON text
		RequestId: client.RequestID(),                        // makes a retry safe
	})
	if err != nil {
		return "", err
	}
	id := created.GetSession().GetSessionId()
	left := created.GetSession().GetExpireTime().AsTime().Sub(created.GetServerTime().AsTime())
	fmt.Printf("session: lives for %.0f s without use\n", left.Seconds())

	watchCtx, stop := context.WithCancel(ctx)
	defer stop()
	watch, err := sessions.WatchSessions(watchCtx, &sessionv1.WatchSessionsRequest{SessionId: id})
	if err != nil {
		return "", err
	}
	if _, err := watch.Recv(); err != nil { // the first message carries a token, and says that the watch has begun
		return "", err
	}

	_, err = sessions.UpdateSession(ctx, &sessionv1.UpdateSessionRequest{
		SessionId: id,
		RequestId: client.RequestID(),
		Mutations: []*sessionv1.Mutation{
			{Key: "runs", Operation: &sessionv1.Mutation_Increment{Increment: 1}},
			{Key: "log", Operation: &sessionv1.Mutation_Append{Append: &sessionv1.Append{Item: `"started"`}}},
		},
	})
	if err != nil {
		return "", err
	}
	changes, err := watch.Recv()
	if err != nil {
		return "", err
	}
	for _, event := range changes.GetEvents() {
		keys := slices.Sorted(slices.Values(event.GetChangedKeys()))
		kind := strings.TrimPrefix(event.GetType().String(), "SESSION_EVENT_TYPE_")
		fmt.Printf("watch: %s %s\n", kind, strings.Join(keys, " "))
	}
	found, err := sessions.GetSession(ctx, &sessionv1.GetSessionRequest{SessionId: id})
	if err != nil {
		return "", err
	}
	values := found.GetSession().GetValues()
	fmt.Printf("session: log=%s runs=%s vm=%s\n", values["log"], values["runs"], values["vm"])

	_, err = sessions.CreateSession(ctx, &sessionv1.CreateSessionRequest{IdleTtl: durationpb.New(time.Millisecond)})
	failure := client.Describe(err)
	fmt.Printf("refused: %s %s, field %s\n", failure.Code, failure.Reason, strings.Join(failure.Fields, " "))
	return id, nil
}

// useVM leases a connection and runs calls on it.
func useVM(ctx context.Context, conn *grpc.ClientConn) error {
	lease, err := client.Hold(ctx, poolv1.NewPoolServiceClient(conn), vmID)
	if err != nil {
		return err
	}
	defer lease.Release()
	fmt.Printf("lease: a connection to %s\n", lease.Hypervisor)

	vms := poolv1.NewVmServiceClient(conn)
	watchCtx, stop := context.WithTimeout(ctx, watchFor)
	defer stop()
	watch, err := vms.WatchVms(watchCtx, &poolv1.WatchVmsRequest{VmIds: []string{vmID}})
	if err != nil {
		return err
	}
	if _, err := watch.Recv(); err != nil { // a token: from here on nothing is missed
		return err
	}

	running := poolv1.VmState_VM_STATE_RUNNING
	found, err := vms.GetVm(ctx, &poolv1.GetVmRequest{VmId: vmID, LeaseId: lease.ID})
	if err != nil {
		return err
	}
	fmt.Printf("vm: %s is %s\n", found.GetVm().GetName(), stateName(found.GetVm()))
	suspended, err := vms.SuspendVm(ctx, &poolv1.SuspendVmRequest{
		VmId: vmID, LeaseId: lease.ID, IfState: running, RequestId: client.RequestID(),
	})
	if err != nil {
		return err
	}
	fmt.Printf("vm: %s is %s\n", suspended.GetVm().GetName(), stateName(suspended.GetVm()))
	resumed, err := vms.ResumeVm(ctx, &poolv1.ResumeVmRequest{
		VmId: vmID, LeaseId: lease.ID, RequestId: client.RequestID(),
	})
	if err != nil {
		return err
	}
	fmt.Printf("vm: %s is %s\n", resumed.GetVm().GetName(), stateName(resumed.GetVm()))

	for { // until its deadline, and longer than the lease lives by itself
		response, err := watch.Recv()
		if err != nil {
			fmt.Println("watch: ended by", client.Describe(err).Code)
			break
		}
		for _, event := range response.GetEvents() {
			fmt.Println("watch:", strings.TrimPrefix(event.GetType().String(), "VM_EVENT_TYPE_"))
		}
	}

	_, err = vms.StartVm(ctx, &poolv1.StartVmRequest{VmId: vmID, LeaseId: lease.ID, RequestId: client.RequestID()})
	failure := client.Describe(err)
	ours := failure.Metadata["trace_id"] == client.TraceID(ctx)
	fmt.Printf("refused: %s %s, state %s, in this trace: %t\n", failure.Code, failure.Reason, failure.Metadata["state"], ours)

	if err := lease.Release(); err != nil {
		return err
	}
	_, err = vms.GetVm(ctx, &poolv1.GetVmRequest{VmId: vmID, LeaseId: lease.ID})
	failure = client.Describe(err)
	fmt.Printf("lease: over, %s %s\n", failure.Code, failure.Reason)
	return nil
}

func endSession(ctx context.Context, sessions sessionv1.SessionServiceClient, id string) error {
	_, err := sessions.EndSession(ctx, &sessionv1.EndSessionRequest{SessionId: id, RequestId: client.RequestID()})
	if err != nil {
		return err
	}
	_, err = sessions.GetSession(ctx, &sessionv1.GetSessionRequest{SessionId: id})
	failure := client.Describe(err)
	fmt.Printf("session: over, %s %s\n", failure.Code, failure.Reason)
	return nil
}

func stateName(vm *poolv1.Vm) string {
	return strings.TrimPrefix(vm.GetState().String(), "VM_STATE_")
}
