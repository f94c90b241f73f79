// Command tract is the whole hub in one binary: the server, its declarative
// configuration, credentials, back-ups, a simulated external chat tool and a
// demonstration.
//
// It wires the packages together and holds no rules; environment variables are
// read here and nowhere else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"

	stdlog "log"

	"github.com/alecthomas/kong"

	"tract/internal/manifest"
)

// settingsGroup keeps the settings, which are many, apart from a command's own
// flags in its help.
var settingsGroup = []kong.Group{{Key: "settings", Title: "Settings of every command:"}}

type commands struct {
	Settings `group:"settings"`

	Serve   serveCmd   `cmd:"" help:"Run the server: API, hooks dispatcher, bot. SQLite under ./data unless a PostgreSQL URL is given."`
	Demo    demoCmd    `cmd:"" help:"Show everything in one process on a throw-away store: a client, its FAQ, a bot and two simulated tools."`
	Apply   applyCmd   `cmd:"" help:"Make the store match a declarative file."`
	Export  exportCmd  `cmd:"" help:"Write the present configuration as a declarative file (secrets left out)."`
	Bot     botCmd     `cmd:"" help:"Train a bot on a file, say how good it is, ask it. Needs no server and no store."`
	Ect     ectCmd     `cmd:"" help:"Run a simulated external chat tool against a hub."`
	Token   tokenCmd   `cmd:"" help:"Create, list and revoke client tokens."`
	Cert    certCmd    `cmd:"" help:"Add, list and revoke certificates of external chat tools."`
	Agent   agentCmd   `cmd:"" help:"Create desk agents and set their passwords."`
	Backup  backupCmd  `cmd:"" help:"Copy an SQLite store to a file, also while a server runs on it."`
	Restore restoreCmd `cmd:"" help:"Replace the SQLite store by a back-up, or put it into an empty PostgreSQL database."`
	Doctor  doctorCmd  `cmd:"" help:"Check store, clock, ports, hooks and certificates, and say how to mend what is wrong."`
	Bench   benchCmd   `cmd:"" help:"Measure this machine: load, receivers and controls on loopback, each figure as a ratio to a control of the same run."`
	Version versionCmd `cmd:"" help:"Print version, commit and Go version."`

	BenchRelay benchRelayCmd `cmd:"" hidden:"" help:"A part of tract bench."`
}

// version is set by the linker for releases.
var version = "dev"

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// begin is what is said to who does not know what to say.
const begin = `TRACT is an open, self-hosted switchboard for customer conversations.

    tract demo      shows all of it in a browser, on a throw-away store
    tract serve     runs the server; everything has a default
    tract --help    lists all commands and settings; each command has --help, too
`

func run(args []string, in io.Reader, out, errs io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(errs, begin)
		return 2
	}
	// The HTTP client writes what a receiver sends out of turn to the standard
	// logger, in the receiver's own words.
	stdlog.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var c commands
	parser, err := kong.New(&c, kong.Name("tract"), kong.Description("An open, self-hosted switchboard for customer conversations."), kong.Writers(out, errs),
		kong.Exit(func(code int) { os.Exit(code) }), kong.Configuration(yamlConfig), kong.UsageOnError(), kong.ConfigureHelp(kong.HelpOptions{FlagsLast: true}), kong.ExplicitGroups(settingsGroup),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(in, (*io.Reader)(nil)), kong.Bind(&console{out: out, errs: errs}), kong.Bind(&c.Settings))
	if err != nil {
		fmt.Fprintln(errs, "tract:", err)
		return 2
	}
	k, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintln(errs, "tract:", err)
		var usage *kong.ParseError
		if errors.As(err, &usage) {
			fmt.Fprintln(errs, "Try: tract --help")
		}
		return 2
	}
	if err := k.Run(); err != nil {
		complain(errs, err)
		return 1
	}
	return 0
}

// complain says what went wrong; of a declarative file every line that is.
func complain(w io.Writer, err error) {
	if ps := manifest.Problems(err); len(ps) > 0 {
		for _, p := range ps {
			fmt.Fprintln(w, p)
		}
		fmt.Fprintln(w, "tract: nothing was applied")
		return
	}
	fmt.Fprintln(w, "tract:", err)
}

// console is where a command writes for people.
type console struct{ out, errs io.Writer }

func (c *console) say(format string, args ...any) { fmt.Fprintf(c.out, format+"\n", args...) }

func (c *console) logger(s *Settings) *slog.Logger {
	o := &slog.HandlerOptions{Level: s.level()}
	if s.LogFormat == "text" {
		return slog.New(slog.NewTextHandler(c.errs, o))
	}
	return slog.New(slog.NewJSONHandler(c.errs, o))
}

type versionCmd struct{}

func (versionCmd) Run(c *console) error {
	commit := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				commit = s.Value
			}
		}
	}
	c.say("tract %s, commit %s, %s %s/%s", version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return nil
}
