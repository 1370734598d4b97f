// Package peer is what the servers that Aerie is compared with have in common.
package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// Address is one to listen on, as for net.Listen.
type Address struct{ Network, Name string }

// Loopback is a free port of the loopback address.
func Loopback() Address { return Address{Network: "tcp", Name: "127.0.0.1:0"} }

// Serve serves h with a net/http server as it is, on all the addresses, until
// the process is told to end. It prints each address on a line of its own once
// connections are accepted there.
func Serve(h http.Handler, addresses ...Address) error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	s := &http.Server{Handler: h}
	errs := make(chan error, len(addresses))
	var serving sync.WaitGroup
	defer serving.Wait()
	defer func() { _ = s.Close() }() // the process ends: nobody is left to be told
	for _, a := range addresses {
		l, err := net.Listen(a.Network, a.Name)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		serving.Go(func() { errs <- s.Serve(l) })
		fmt.Println(l.Addr())
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-errs:
		return errors.Join(errors.New("a listener ended"), err)
	}
}
