package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
)

// Environment is what the program finds in its environment beside what the host
// puts there: that of EnvFiles, a later file over an earlier one, and Env over
// all. It reads the files; the error names all that is wrong with them, one
// "file:line: rule" a line.
func (p *Program) Environment() (map[string]string, error) {
	env := map[string]string{}
	var errs []error
	for _, file := range p.EnvFiles {
		vars, err := readEnvFile(file)
		errs = append(errs, err)
		maps.Copy(env, vars)
	}
	maps.Copy(env, p.Env)
	return env, errors.Join(errs...)
}

// readEnvFile reads lines KEY=VALUE. The value is all that follows the sign, up
// to the end of the line: nothing is quoted, escaped or expanded, so that every
// value can be written and none means something else than it says. Empty lines
// and lines that begin with "#" are skipped.
func readEnvFile(file string) (map[string]string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("env_files: %w", err)
	}
	vars, at := map[string]string{}, map[string]int{}
	var errs []error
	number := 0
	for line := range strings.Lines(string(b)) {
		number++
		line = strings.TrimRight(line, "\r\n")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		name, value, err := parseEnvLine(line)
		if first, ok := at[name]; err == nil && ok {
			err = fmt.Errorf("%s is set already, on line %d", name, first)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s:%d: %w", file, number, err))
			continue
		}
		vars[name], at[name] = value, number
	}
	return vars, errors.Join(errs...)
}

// parseEnvLine splits one line. Its errors never show the value, which may be
// secret.
func parseEnvLine(line string) (name, value string, err error) {
	name, value, ok := strings.Cut(line, "=")
	switch {
	case !ok:
		return "", "", errors.New("want KEY=VALUE")
	case !isEnvName(name):
		return "", "", fmt.Errorf("bad name %q: want letters, digits and \"_\", not beginning with a digit, and no space around \"=\"", name)
	case strings.ContainsRune(value, 0):
		return "", "", fmt.Errorf("%s: must not hold a NUL byte", name)
	case len(value) > 1 && (value[0] == '"' || value[0] == '\'') && value[len(value)-1] == value[0]:
		return "", "", fmt.Errorf("%s: quotes would be part of the value: leave them out", name)
	}
	return name, value, nil
}

func isEnvName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
