//go:build linux

// Command rogue is a worker process that misbehaves: it passes for ready and
// grants credits, and then, as ROGUE says, never takes a connection ("hoard":
// descriptors are received, "taken" is never said, nothing is answered) or never
// reads its hand-over socket again ("deaf").
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"os"
	"path/filepath"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"aerie/internal/seqpacket"
	"aerie/proto"
)

func main() {
	if err := os.Setenv(proto.EnvCookie, proto.Handshake.MagicCookieValue); err != nil {
		log.Fatal(err)
	}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig:  proto.Handshake,
		VersionedPlugins: map[int]plugin.PluginSet{proto.Version: {proto.PluginName: &rogue{}}},
		Logger:           hclog.NewNullLogger(),
		GRPCServer:       plugin.DefaultGRPCServer,
	})
}

type rogue struct {
	plugin.NetRPCUnsupportedPlugin
	proto.UnimplementedControlServer
}

func (r *rogue) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	proto.RegisterControlServer(s, r)
	return nil
}

func (r *rogue) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("not a host")
}

func (r *rogue) Configure(context.Context, *proto.ConfigureRequest) (*proto.ConfigureReply, error) {
	dir := os.Getenv(proto.EnvSocketDir)
	reply := &proto.ConfigureReply{RelaySocket: filepath.Join(dir, "rogue-r"), HandoverSocket: filepath.Join(dir, "rogue-h")}
	relay, err := net.Listen("unix", reply.RelaySocket) // nobody accepts on it
	if err != nil {
		return nil, err
	}
	l, err := seqpacket.Listen(reply.HandoverSocket)
	if err != nil {
		return nil, errors.Join(err, relay.Close())
	}
	go serve(l)
	return reply, nil
}

// serve runs until the process is killed.
func serve(l *seqpacket.Listener) {
	c, err := l.Accept()
	if err != nil {
		log.Fatal(err)
	}
	credit := proto.Frame{Type: proto.FrameReport, Credit: 1 << 20}
	if err := c.Send(credit.Append(nil)); err != nil {
		log.Fatal(err)
	}
	if os.Getenv("ROGUE") == "deaf" {
		return
	}
	buf := make([]byte, proto.MaxFrame)
	for {
		if _, _, err := c.Recv(buf); err != nil {
			log.Fatal(err)
		}
	}
}

func (r *rogue) Attach(_ *proto.AttachRequest, s grpc.ServerStreamingServer[proto.AttachReply]) error {
	if err := s.Send(&proto.AttachReply{}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}

func (r *rogue) Health(context.Context, *proto.HealthRequest) (*proto.HealthReply, error) {
	return &proto.HealthReply{}, nil
}
