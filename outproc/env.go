package outproc

import (
	"strconv"

	"aerie/internal/process"
	"aerie/proto"
)

// environment is the worker's: host is what the host gives to all, the
// program's own comes on top, and the contract on top of that.
func (w *Worker) environment(host []string) []string {
	return process.Environment(host, w.contain.Environment(), process.List(w.own), []string{
		"HOST=127.0.0.1",
		proto.EnvPort + "=" + strconv.Itoa(w.port),
		proto.EnvSocket + "=" + w.socket,
		proto.EnvPool + "=" + w.spec.Pool.Name,
		proto.EnvGeneration + "=" + strconv.Itoa(w.spec.Generation),
		proto.EnvToken + "=" + w.token,
		"AERIE_MODE=" + string(w.spec.Program.Hosting),
	})
}
