// Command hello is the benchmark's application, in any hosting mode.
//
// With -unix it is a program that knows nothing of Aerie: a plain net/http
// server on that socket and, where a host has started it, on the host's socket
// too. One process is then the upstream of the host and of its peers.
package main

import (
	"flag"
	"log"
	"os"

	"aerie/app"
	"aerie/bench/hello"
	"aerie/bench/peers/peer"
	"aerie/proto"
)

func main() {
	unix := flag.String("unix", "", "serve plain net/http on this `socket`")
	flag.Parse()
	if err := run(*unix); err != nil {
		log.Fatal(err)
	}
}

func run(unix string) error {
	if unix == "" {
		return app.Run(hello.Handler())
	}
	addresses := []peer.Address{{Network: "unix", Name: unix}}
	if socket := os.Getenv(proto.EnvSocket); socket != "" {
		addresses = append(addresses, peer.Address{Network: "unix", Name: socket})
	}
	return peer.Serve(hello.Handler(), addresses...)
}
