package client

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	poolv1 "github.com/virtlease/virtlease/clients/go/pool/v1"
)

const (
	acquireSeq = 1
	releaseSeq = 2
	patience   = 10 * time.Second
	timeToLive = 3 * time.Second // without a heartbeat: so long the service waits for a program that vanished
)

// Lease is a connection that nobody else uses until it is released. The stream that it was acquired on keeps it alive:
// when the program dies, so does the stream, and the service takes the connection back.
type Lease struct {
	ID         string
	Hypervisor string

	stream  poolv1.PoolService_HoldLeasesClient
	cancel  context.CancelFunc
	sending sync.Mutex
	release sync.Once
	results chan *poolv1.LeaseResult
	over    chan struct{} // closed when the stream has ended
	why     error         // why it has
	err     error         // what the release came to
}

// Hold leases a connection to the hypervisor of a VM and keeps it until it is released, or the context is done.
func Hold(ctx context.Context, pool poolv1.PoolServiceClient, vmID string) (*Lease, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := pool.HoldLeases(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	lease := &Lease{stream: stream, cancel: cancel, results: make(chan *poolv1.LeaseResult, 1), over: make(chan struct{})}
	beats := make(chan time.Duration, 1)
	go lease.receive(beats)
	result, err := lease.call(&poolv1.HoldLeasesRequest{
		Hello: &poolv1.HolderHello{Purpose: "the Go example", Ttl: durationpb.New(timeToLive)},
		Operations: []*poolv1.LeaseOperation{{
			Seq:     acquireSeq,
			Timeout: durationpb.New(patience),
			Request: &poolv1.LeaseOperation_Acquire{Acquire: &poolv1.AcquireLeaseRequest{
				Target: &poolv1.AcquireLeaseRequest_VmId{VmId: vmID},
			}},
		}},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	found := result.GetAcquire().GetLease()
	lease.ID, lease.Hypervisor = found.GetLeaseId(), found.GetHypervisor()
	go lease.beat(<-beats)
	return lease, nil
}

// Release gives the connection back and ends the stream. A second time does nothing.
func (l *Lease) Release() error {
	l.release.Do(func() {
		defer l.cancel()
		_, l.err = l.call(&poolv1.HoldLeasesRequest{Operations: []*poolv1.LeaseOperation{{
			Seq:     releaseSeq,
			Timeout: durationpb.New(patience),
			Request: &poolv1.LeaseOperation_Release{Release: &poolv1.ReleaseLeaseRequest{LeaseId: l.ID}},
		}}})
	})
	return l.err
}

// call sends one operation and waits for its result. One at a time is all that this example needs.
func (l *Lease) call(message *poolv1.HoldLeasesRequest) (*poolv1.LeaseResult, error) {
	if err := l.send(message); err != nil {
		<-l.over // the receiver knows why the stream ended
		return nil, l.why
	}
	select {
	case result := <-l.results:
		return result, status.ErrorProto(result.GetStatus()) // nil for one without a status
	case <-l.over:
		return nil, l.why
	}
}

// receive takes what the service sends until the stream ends: the heartbeat interval first, then results.
func (l *Lease) receive(beats chan<- time.Duration) {
	defer close(l.over)
	for {
		response, err := l.stream.Recv()
		if err != nil {
			if l.why = err; errors.Is(err, io.EOF) {
				l.why = errors.New("the service closed the stream")
			}
			return
		}
		if welcome := response.GetWelcome(); welcome != nil {
			beats <- welcome.GetHeartbeatInterval().AsDuration()
		}
		for _, result := range response.GetResults() {
			l.results <- result
		}
	}
}

// beat shows that the holder is alive: every message does, an empty one too.
func (l *Lease) beat(interval time.Duration) {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		select {
		case <-l.over:
			return
		case <-ticks.C:
			_ = l.send(&poolv1.HoldLeasesRequest{}) // one that fails ends the stream, and the receiver sees why
		}
	}
}

func (l *Lease) send(message *poolv1.HoldLeasesRequest) error {
	l.sending.Lock() // a stream takes one sender at a time
	defer l.sending.Unlock()
	return l.stream.Send(message)
}
