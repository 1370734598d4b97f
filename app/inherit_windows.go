package app

import (
	"fmt"
	"os"

	"aerie/proto"
)

// inherit opens what the host names: descriptors are not passed on Windows.
func inherit(env map[string]string) (inherited, error) {
	log, err := os.OpenFile(env[proto.EnvLog], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return inherited{}, fmt.Errorf("open log: %w", err)
	}
	access, err := os.OpenFile(env[proto.EnvAccessLog], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return inherited{}, fmt.Errorf("open access log: %w", err)
	}
	return inherited{log: log, accessLog: access, token: env[proto.EnvToken]}, nil
}
