package app

import (
	"fmt"
	"os"
	"strings"

	"aerie/proto"
)

// takeEnvironment reads what the host has put into the environment and removes
// it, so that a child of this program does not take itself for a worker.
func takeEnvironment() map[string]string { return take(proto.EnvPrefix) }

func take(prefix string) map[string]string {
	env := map[string]string{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, prefix) {
			env[name] = value
			_ = os.Unsetenv(name) // fails only for names that cannot be set
		}
	}
	return env
}

// pluginEnvironment is what go-plugin reads from the environment. It is there
// only while go-plugin starts.
type pluginEnvironment map[string]string

func takePluginEnvironment() pluginEnvironment {
	env := take("PLUGIN_")
	env[proto.EnvCookie] = proto.Handshake.MagicCookieValue
	return env
}

func (e pluginEnvironment) set() error {
	for name, value := range e {
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (e pluginEnvironment) unset() {
	for name := range e {
		_ = os.Unsetenv(name) // could be set, so it can be unset
	}
}
