package outproc

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"aerie/proto"
)

// environment is the worker's: host is what the host gives to all, the
// program's env comes on top, and the contract on top of that.
func (w *Worker) environment(host []string) []string {
	env := make(map[string]string, len(host))
	for _, entry := range host {
		if name, value, ok := strings.Cut(entry, "="); ok && name != "" { // Windows has names like "=C:"
			env[name] = value
		}
	}
	maps.Copy(env, w.spec.Program.Env)
	maps.Copy(env, map[string]string{
		"HOST":              "127.0.0.1",
		proto.EnvPort:       strconv.Itoa(w.port),
		proto.EnvSocket:     w.socket,
		proto.EnvPool:       w.spec.Pool.Name,
		proto.EnvGeneration: strconv.Itoa(w.spec.Generation),
		proto.EnvToken:      w.token,
		"AERIE_MODE":        string(w.spec.Program.Hosting),
	})
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}
