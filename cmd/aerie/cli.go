package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"aerie/admin"
	"aerie/config"
	"aerie/internal/systemd"
)

// Exit codes.
const (
	exitFailure = 1 // what was asked was not done
	exitUsage   = 2 // the command line is wrong
)

// cli is one run of the command line.
type cli struct {
	stdout, stderr io.Writer
	config         string // -c, as written
	json           bool   // --json

	// What a test replaces.
	newHost func(*config.Config, *slog.Logger, *systemd.Service) service
	signals func() (got <-chan os.Signal, stop func())
}

// run carries out one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	c := &cli{stdout: stdout, stderr: stderr, newHost: newHost, signals: notified}
	return c.run(ctx, args, stdin)
}

// notified delivers the signals that end or reload a host.
func notified() (<-chan os.Signal, func()) {
	got := make(chan os.Signal, 8)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	return got, func() { signal.Stop(got) }
}

func (c *cli) run(ctx context.Context, args []string, stdin io.Reader) int {
	root := c.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	err := root.ExecuteContext(ctx)
	code := exitFailure
	switch said, ok := errors.AsType[exit](err); {
	case err == nil:
		return 0
	case ok:
		return said.code
	default:
		if _, usage := errors.AsType[usageError](err); usage || strings.HasPrefix(err.Error(), "unknown command") {
			code = exitUsage
		}
	}
	c.complain(err)
	return code
}

// complain writes an error to stderr, with all that an operator needs.
func (c *cli) complain(err error) {
	var b strings.Builder
	fmt.Fprintf(&b, "aerie: %s\n", strings.TrimRight(clean(err.Error()), "\n"))
	if e, ok := errors.AsType[*admin.Error](err); ok {
		for _, problem := range e.Problems {
			fmt.Fprintf(&b, "  %s\n", clean(problem))
		}
		if e.Pool != nil {
			b.WriteString(lastOutput(*e.Pool))
		}
	}
	_, _ = io.WriteString(c.stderr, b.String()) // there is nowhere else to say it
}

// root is the command with all its verbs.
func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "aerie",
		Short: "Aerie hosts web applications",
		Long: `Aerie hosts web applications: it owns the ports, knows the sites, and keeps the
apps behind them alive. One word in sites.toml decides how an app is hosted.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentFlags().StringVarP(&c.config, "config", "c", "sites.toml", "the configuration `file`")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	root.AddCommand(c.runVerb(), c.checkVerb(), c.reloadVerb(), c.statusVerb(), c.poolVerb(), c.versionVerb())
	return root
}

// jsonFlag gives cmd the flag --json.
func (c *cli) jsonFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&c.json, "json", false, "print JSON")
	return cmd
}

// printJSON prints v as it is sent by the host.
func (c *cli) printJSON(v any) error {
	enc := json.NewEncoder(c.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// print prints text.
func (c *cli) print(text string) error {
	_, err := io.WriteString(c.stdout, text)
	return err
}

// exit is the error of a verb that has already said what there is to say.
type exit struct{ code int }

// Error returns the code.
func (e exit) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// usageError is a wrong command line.
type usageError struct{ err error }

// Error returns the message.
func (e usageError) Error() string { return e.err.Error() }

// usage makes err a usage error that names the help.
func usage(cmd *cobra.Command, err error) error {
	return usageError{fmt.Errorf("%w (see: %s --help)", err, cmd.CommandPath())}
}

// noArgs is the rule of a verb without arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(cmd, fmt.Errorf("%q is too much: the verb takes no arguments", args[0]))
	}
	return nil
}

// clean makes text that an app or a client wrote harmless to a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}
