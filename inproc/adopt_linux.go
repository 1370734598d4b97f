package inproc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"aerie/apppool"
	"aerie/config"
	"aerie/internal/cgroup"
	"aerie/internal/process"
	"aerie/proto"
)

// Adopt takes over a worker process that a host before this one has started, and
// returns when it is proven to be the record's, obeys this host, and has told which
// connections it has. It has its old settings then: Configure follows. ctx bounds
// it. After an error the process is none of this host's: one that could not be
// proven is left alone, and ends by itself when its host_away is over; one that was
// proven is asked to stop.
func (s *Starter) Adopt(ctx context.Context, rec Record, pool *config.Pool) (*Worker, error) {
	w := &Worker{
		starter: s, spec: apppool.Spec{Pool: pool, Program: pool.Program, Generation: rec.Generation},
		logger:    s.Logger.With("pool", rec.Pool, "generation", rec.Generation),
		startedAt: rec.StartedAt, digest: rec.Digest, cleaned: make(chan struct{}),
		controlSocket: rec.Control, relaySocket: rec.Relay, handoverSocket: rec.Handover,
		user: rec.User, socketDir: rec.Dir, controlDir: filepath.Join(rec.Dir, controlDirName(rec.Generation)),
	}
	proc, err := w.prove(ctx, rec)
	if err != nil {
		w.hangUp()
		return nil, fmt.Errorf("adopt process %d: %w", rec.Pid, err)
	}
	w.run = &pluginRunner{proc: proc}
	if err := w.takeOver(ctx, rec); err != nil {
		return nil, errors.Join(fmt.Errorf("adopt process %d: %w", rec.Pid, err), w.turnAway(ctx))
	}
	go w.reap()
	s.Running(w)
	return w, nil
}

// prove establishes that the record is that of a process which lives, and makes it
// obey this host. The process is the same all the time, for it began when the
// record says before its socket was connected to, and does so after that.
func (w *Worker) prove(ctx context.Context, rec Record) (*process.Process, error) {
	if ticks, err := process.StartTime(rec.Pid); err != nil {
		return nil, err
	} else if ticks != rec.Ticks {
		return nil, fmt.Errorf("%w: the number is another one's", process.ErrGone)
	}
	held := process.Held{Dumps: w.spec.Pool.ShutdownTimeout > 0, OutOfMemory: rec.OutOfMemory}
	if len(rec.Group) > 0 {
		var err error
		if held.Group, err = cgroup.Find(w.starter.Groups, rec.Group, rec.Pid); err != nil {
			return nil, err
		}
	}
	conn, err := w.dialControl(rec)
	if err != nil {
		return nil, err
	}
	w.rpc, w.control = conn, proto.NewControlClient(conn)
	if err := w.claim(ctx, rec.Token); err != nil {
		return nil, err
	}
	return process.Adopt(rec.Pid, rec.Ticks, held)
}

// dialControl makes a connection to the process's control service. Every time that
// it connects, the kernel must say that it is the process which listens, and that
// it is of the user as whom it was started.
func (w *Worker) dialControl(rec Record) (*grpc.ClientConn, error) {
	connect := w.dialer(func() string { return rec.Control })
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		c, err := connect(ctx)
		if err != nil {
			return nil, err
		}
		if err := listens(c, rec.Pid); err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	}
	opts := append(proto.DialEpoch(w.starter.Epoch), grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	return grpc.NewClient("passthrough:///worker", opts...)
}

// listens checks that the process pid listens at the other end of a connection.
func listens(c net.Conn, pid int) error {
	return withDescriptor(c, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			return os.NewSyscallError("getsockopt SO_PEERCRED", err)
		}
		if int(cred.Pid) != pid {
			return fmt.Errorf("process %d listens on the control socket, not %d", cred.Pid, pid)
		}
		return nil
	})
}

// takeOver makes a proven process this host's.
func (w *Worker) takeOver(ctx context.Context, rec Record) error {
	s := w.starter
	var err error
	if w.log, err = s.Log(rec.Pool); err != nil {
		return err
	}
	if w.logFrom, err = sizeOf(w.log.Path()); err != nil {
		return err
	}
	if err := w.attach(); err != nil {
		return err
	}
	w.forget = s.Started(rec.Pool, rec.Generation, rec.Token)
	owned := func(o proto.Owned) *Client { return s.Owned(rec.Pool, o) }
	if err := w.connect(owned); err != nil || w.link == nil {
		return err
	}
	select {
	case <-w.link.told:
		return nil
	case <-w.link.closed:
		return errors.New("the worker closed its hand-over socket")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// askLimit is how long a process may take to answer that it will stop.
const askLimit = time.Second

// turnAway asks a process to stop that is proven, but of no use to this host. It
// finishes what it has begun, and is cleaned up after when it has ended.
func (w *Worker) turnAway(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	_, err := w.control.Stop(ctx, &proto.StopRequest{TimeoutNanoseconds: int64(w.spec.Pool.ShutdownTimeout)})
	if w.link != nil {
		_ = w.link.conn.Close() // nothing more is to be said on it
	}
	w.hangUp()
	go w.reap() // ends with the process
	if err != nil {
		return fmt.Errorf("ask worker to stop: %w", err)
	}
	return nil
}

// isConnection checks that a descriptor is that of a TCP connection between the two
// addresses.
func isConnection(fd int, local, remote netip.AddrPort) error {
	for _, want := range []struct {
		option, value int
		what          string
	}{{unix.SO_TYPE, unix.SOCK_STREAM, "a stream"}, {unix.SO_PROTOCOL, unix.IPPROTO_TCP, "TCP"}} {
		if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.option); err != nil || got != want.value {
			return fmt.Errorf("not a client's connection: it is not %s (%d, %v)", want.what, got, err)
		}
	}
	here, err := unix.Getsockname(fd)
	if err != nil {
		return fmt.Errorf("not a client's connection: %w", os.NewSyscallError("getsockname", err))
	}
	there, err := unix.Getpeername(fd)
	if errors.Is(err, unix.ENOTCONN) {
		return errEnded
	}
	if err != nil {
		return fmt.Errorf("not a client's connection: %w", os.NewSyscallError("getpeername", err))
	}
	if addrOf(here) != local || addrOf(there) != remote {
		return fmt.Errorf("not the client's connection: it is from %s to %s, not from %s to %s", addrOf(there), addrOf(here), remote, local)
	}
	return nil
}

// addrOf is a socket's address without a zone, unmapped.
func addrOf(a unix.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
