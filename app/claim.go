package app

import (
	"context"
	"crypto/hmac"
	"fmt"
	"sync"

	"aerie/proto"
)

// obedience is which host this process obeys: the one of the highest epoch that
// has claimed it.
type obedience struct {
	mu      sync.Mutex // guards below
	claimed bool
	epoch   uint64
}

// claim makes epoch the one that is obeyed, unless a higher one is already.
func (o *obedience) claim(epoch uint64) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.claimed && epoch < o.epoch {
		return fmt.Errorf("it obeys the host of epoch %d, which is later than %d", o.epoch, epoch)
	}
	o.claimed, o.epoch = true, epoch
	return nil
}

// obeys reports whether the host of the epoch has claimed this process, and no
// later one has.
func (o *obedience) obeys(epoch uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.claimed && epoch == o.epoch
}

// Claim proves both sides to each other, and makes this process obey the host.
func (c *control) Claim(_ context.Context, r *proto.ClaimRequest) (*proto.ClaimReply, error) {
	p := c.p
	if !hmac.Equal(r.Proof, proto.HostProof(p.token, r.Epoch, r.Nonce)) {
		return &proto.ClaimReply{Refused: "not from this generation's host"}, nil
	}
	if p.stopping.Load() {
		return &proto.ClaimReply{Refused: "it is stopping"}, nil
	}
	if err := p.host.claim(r.Epoch); err != nil {
		return &proto.ClaimReply{Refused: err.Error()}, nil
	}
	return &proto.ClaimReply{
		Proof: proto.WorkerProof(p.token, r.Epoch, r.Nonce), Pool: p.pool, Generation: int64(p.generation),
		Draining: p.draining.Load(),
	}, nil
}
