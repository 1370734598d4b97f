// Command bare serves the benchmark's application with net/http and nothing
// else: the limit that in-process hosting is held against.
package main

import (
	"errors"
	"flag"
	"log"

	"aerie/bench/hello"
	"aerie/bench/peers/peer"
)

func main() {
	file := flag.String("log", "", "append a JSON line for each request to this `file`")
	flag.Parse()
	if err := run(*file); err != nil {
		log.Fatal(err)
	}
}

func run(file string) error {
	if file == "" {
		return peer.Serve(hello.Handler(), peer.Loopback())
	}
	out, err := openLines(file)
	if err != nil {
		return err
	}
	return errors.Join(peer.Serve(logged(hello.Handler(), out), peer.Loopback()), out.Close())
}
