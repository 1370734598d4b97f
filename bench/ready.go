package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"aerie/admin"
	"aerie/internal/rawhttp"
)

// ready returns when the hosts' applications answer: requests wait while pools
// start. It is an error if the connections of the in-process sites are not in
// the worker process, which is what their rows are named after.
func (s *stage) ready(ctx context.Context) error {
	for name, t := range map[string]*target{"quiet": &s.inProcess, "logged": &s.inProcessLogged} {
		if err := handedOver(ctx, t, filepath.Join(s.dir, name, "run", "admin.sock")); err != nil {
			return fmt.Errorf("in-process: %w\n%s", err, t.proc.out.tail())
		}
	}
	if _, err := verify(ctx, &s.outOfProcess, keepAlive); err != nil {
		return fmt.Errorf("out-of-process: %w\n%s", err, s.outOfProcess.proc.out.tail())
	}
	return nil
}

// handedOver asks the host on that socket where a connection of t is.
func handedOver(ctx context.Context, t *target, socket string) (err error) {
	conn, err := rawhttp.Dial(t.addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := exchange(conn, t, keepAlive); err != nil {
		return err
	}
	client := admin.NewClient(socket)
	defer client.Close()
	status, err := client.Status(ctx)
	if err != nil {
		return err
	}
	for _, pool := range status.Pools {
		for _, w := range pool.Workers {
			if pool.Name == "inside" && w.Connections > 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("no worker process of %s has the client's connection", t.addr)
}
