package client

import (
	"context"
	"sync"
	"time"

	poolv1 "github.com/virtlease/virtlease/clients/go/pool/v1"
)

// Lease is a connection that nobody else uses until it is released.
type Lease struct {
	ID         string
	Hypervisor string

	pool    poolv1.PoolServiceClient
	ctx     context.Context
	stop    context.CancelFunc
	release sync.Once
	err     error
}

// Hold leases a connection to the hypervisor of a VM and keeps the lease alive until it is released, or the context
// is done. When the program dies, the service takes the connection back within the lease's time to live.
func Hold(ctx context.Context, pool poolv1.PoolServiceClient, vmID string) (*Lease, error) {
	granted, err := pool.AcquireLease(ctx, &poolv1.AcquireLeaseRequest{
		Target:  &poolv1.AcquireLeaseRequest_VmId{VmId: vmID},
		Purpose: "the Go example",
	})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	found := granted.GetLease()
	lease := &Lease{ID: found.GetLeaseId(), Hypervisor: found.GetHypervisor(), pool: pool, ctx: ctx, stop: stop}
	go lease.keepAlive(found.GetTtl().AsDuration() / 3)
	return lease, nil
}

// Release gives the connection back. A second time does nothing.
func (l *Lease) Release() error {
	l.release.Do(func() {
		defer l.stop()
		// Also when the caller's context is done: it is given back, whatever happened.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(l.ctx), 5*time.Second)
		defer cancel()
		_, l.err = l.pool.ReleaseLease(ctx, &poolv1.ReleaseLeaseRequest{LeaseId: l.ID})
	})
	return l.err
}

func (l *Lease) keepAlive(interval time.Duration) {
	ticks := time.NewTicker(interval)
	defer ticks.Stop()
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-ticks.C:
			target := &poolv1.RenewLeaseRequest_LeaseId{LeaseId: l.ID}
			_, _ = l.pool.RenewLease(l.ctx, &poolv1.RenewLeaseRequest{Target: target}) // a call on it tells of its end
		}
	}
}
