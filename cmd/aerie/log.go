package main

import (
	"fmt"
	"io"
	"log/slog"
)

// logOptions are the flags of the host's own log.
type logOptions struct {
	format, level string
}

// logger returns the logger that the flags ask for.
func (o logOptions) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, fmt.Errorf("bad --log-level %q: it is debug, info, warn or error", o.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch o.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, fmt.Errorf("bad --log-format %q: it is text or json", o.format)
}
