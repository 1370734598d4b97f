package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"aerie/proto"
	"aerie/worker"
)

// controlPlugin serves the control service through go-plugin.
type controlPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	p *inProcess
}

var _ plugin.GRPCPlugin = (*controlPlugin)(nil)

func (c *controlPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterControlServer(s, &control{p: c.p})
	return nil
}

func (c *controlPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("app: not a host")
}

// control answers the host's calls. Configure, Drain and Stop come one at a
// time from one host.
type control struct {
	proto.UnimplementedControlServer
	p *inProcess
}

var errNotConfigured = errors.New("not configured")

func (c *control) Configure(_ context.Context, r *proto.ConfigureRequest) (*proto.ConfigureReply, error) {
	c.p.env.unset()
	settings, err := worker.DecodeSettings(r.Settings)
	if err != nil {
		return &proto.ConfigureReply{Refused: err.Error()}, nil
	}
	if err := c.p.link.useLogOnce(); err != nil {
		return nil, fmt.Errorf("redirect output to the log: %w", err)
	}
	if err := c.p.configure(settings); err != nil {
		return nil, err
	}
	return &proto.ConfigureReply{RelaySocket: c.p.relayAddr, HandoverSocket: c.p.link.path}, nil
}

// Attach lasts as long as the host does.
func (c *control) Attach(_ *proto.AttachRequest, s grpc.ServerStreamingServer[proto.AttachReply]) error {
	if err := s.Send(&proto.AttachReply{}); err != nil {
		return err
	}
	if !c.tell(1) {
		return nil
	}
	<-s.Context().Done()
	c.tell(-1)
	return nil
}

func (c *control) tell(n int) bool {
	select {
	case c.p.attached <- n:
		return true
	case <-c.p.gone:
		return false
	}
}

func (c *control) Health(ctx context.Context, _ *proto.HealthRequest) (*proto.HealthReply, error) {
	if err := c.p.opts.health(ctx); err != nil {
		return &proto.HealthReply{Problem: err.Error()}, nil
	}
	return &proto.HealthReply{}, nil
}

func (c *control) Drain(ctx context.Context, r *proto.DrainRequest) (*proto.DrainReply, error) {
	if !c.isConfigured() {
		return nil, errNotConfigured
	}
	c.p.draining.Store(true)
	if r.Marker {
		select {
		case <-c.p.link.drained:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if r.Finish {
		c.p.server.Finish()
	} else {
		c.p.server.Drain()
	}
	if err := c.p.server.Wait(ctx); err != nil {
		return nil, err
	}
	return &proto.DrainReply{}, nil
}

func (c *control) Stats(context.Context, *proto.StatsRequest) (*proto.StatsReply, error) {
	if !c.isConfigured() {
		return nil, errNotConfigured
	}
	s := c.p.server.Stats()
	return &proto.StatsReply{
		Requests: s.Requests, Active: int64(s.Active), Queued: int64(s.Queued), Streams: int64(s.Streams),
		Connections: int64(s.Connections), OldestNanoseconds: int64(s.Oldest), Finished: s.Finished,
	}, nil
}

func (c *control) Queue(_ context.Context, r *proto.QueueRequest) (*proto.QueueReply, error) {
	if !c.isConfigured() {
		return nil, errNotConfigured
	}
	reply := &proto.QueueReply{}
	for _, w := range c.p.server.Waiters(int(max(r.Most, 0))) {
		reply.Waiters = append(reply.Waiters, &proto.Waiter{SinceUnixNanoseconds: w.Since.UnixNano(), Client: w.Client, Request: w.Request})
	}
	return reply, nil
}

func (c *control) Stop(_ context.Context, r *proto.StopRequest) (*proto.StopReply, error) {
	c.p.requestStop(time.Duration(r.TimeoutNanoseconds))
	return &proto.StopReply{}, nil
}

func (c *control) isConfigured() bool {
	select {
	case <-c.p.configured:
		return true
	default:
		return false
	}
}
