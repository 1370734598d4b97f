package inproc

import (
	"os"

	"aerie/internal/process"
	"aerie/proto"
)

// handDown names the logs and the token in the environment: descriptors are not
// passed on Windows.
func handDown(spec *process.Spec, log, access *os.File, token string) error {
	spec.Env = append(spec.Env,
		proto.EnvLog+"="+log.Name(), proto.EnvAccessLog+"="+access.Name(), proto.EnvToken+"="+token)
	return nil
}
