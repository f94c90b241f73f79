package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"tract/internal/bench"
	"tract/internal/clock"
)

// benchCmd measures in a folder below --data-dir, the disk that counts.
type benchCmd struct {
	Engine   string        `help:"sqlite, or postgres: a server on which databases may be created, by --database-url." enum:"sqlite,postgres" default:"sqlite"`
	Replicas int           `help:"Processes of the hub, on one PostgreSQL database." default:"1"`
	Rounds   int           `help:"How often everything is measured; the medians are shown." default:"5"`
	Duration time.Duration `help:"Time for each workload." default:"3s"`
	Threads  int           `help:"How many threads are written to." default:"1024"`
	Only     []string      `help:"Measure these workloads and what they are compared with, separated by commas." placeholder:"NAME"`
	Fill     int64         `help:"Measure also with this many messages already in the store; they need about 500 bytes of disk each." placeholder:"COUNT"`
	Short    bool          `help:"One small round: shows that everything works, not how fast."`
	Gate     bool          `help:"End with an error also when a limit is missed."`
	Markdown bool          `help:"Write the tables as Markdown."`
	Profiles string        `help:"Write a CPU profile of each process of the hub into this folder, for go tool pprof." placeholder:"DIR"`
	JSON     string        `help:"Write everything measured to this file, too." placeholder:"FILE" name:"json"`
}

// Validate refuses what no type catches.
func (b *benchCmd) Validate() error {
	switch {
	case b.Replicas < 1 || b.Replicas > 16:
		return fmt.Errorf("--replicas must be from 1 to 16, not %d", b.Replicas)
	case b.Threads < 64 || b.Threads > 1_000_000:
		return fmt.Errorf("--threads must be from 64 to 1000000, not %d", b.Threads)
	case b.Rounds < 1 || b.Rounds > 1000:
		return fmt.Errorf("--rounds must be from 1 to 1000, not %d", b.Rounds)
	case b.Duration < 100*time.Millisecond || b.Duration > time.Minute:
		return fmt.Errorf("--duration must be from 100ms to 1m, not %s", b.Duration)
	case b.Fill < 0 || b.Fill > 1e9:
		return fmt.Errorf("--fill must be from 0 to 1000000000, not %d", b.Fill)
	}
	return nil
}

func (b *benchCmd) Run(ctx context.Context, s *Settings, c *console) (err error) {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	if _, missing := os.Stat(s.DataDir); missing != nil {
		if err := os.MkdirAll(s.DataDir, 0o700); err != nil {
			return err
		}
		defer os.Remove(s.DataDir) // only if it is empty again
	}
	if b.Profiles != "" {
		if err := os.MkdirAll(b.Profiles, 0o700); err != nil {
			return fmt.Errorf("--profiles: %w", err)
		}
	}
	rounds := b.Rounds
	if b.Short {
		rounds = 1
	}
	rep, err := bench.Run(ctx, bench.Config{Binary: binary, Env: plainEnvironment(), Dir: s.DataDir, Engine: b.Engine, DatabaseURL: s.DatabaseURL, Replicas: b.Replicas, Rounds: rounds, Duration: b.Duration,
		Threads: b.Threads, Only: b.Only, Fill: b.Fill, Profiles: b.Profiles, Short: b.Short, Version: version, Now: clock.System, Say: func(format string, args ...any) { fmt.Fprintf(c.errs, format+"\n", args...) }})
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	if b.JSON != "" {
		if err := writeReport(rep, b.JSON); err != nil {
			return err
		}
	}
	write := rep.WriteText
	if b.Markdown {
		write = rep.WriteMarkdown
	}
	if err := write(c.out); err != nil {
		return err
	}
	return b.verdict(rep)
}

// verdict is an error when what must never happen has happened.
func (b *benchCmd) verdict(rep *bench.Report) error {
	if broken := rep.Broken(); len(broken) > 0 {
		return errors.New("the laws were broken:\n" + strings.Join(broken, "\n"))
	}
	if missed := rep.Missed(); b.Gate && len(missed) > 0 {
		return errors.New("limits were missed:\n" + strings.Join(missed, "\n"))
	}
	return nil
}

func writeReport(rep *bench.Report, path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(rep.WriteJSON(f), f.Close())
}

// plainEnvironment is ours without the settings: those of the hub under test are
// the benchmark's.
func plainEnvironment() (env []string) {
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "TRACT_") {
			env = append(env, kv)
		}
	}
	return env
}

// benchRelayCmd is the control R of the benchmark, which starts it.
type benchRelayCmd struct {
	Target string `required:"" help:"URL of the receiver."`
	Token  string `required:"" help:"Token that calls carry."`
	Secret string `required:"" help:"Secret that signs."`
}

func (b *benchRelayCmd) Run(ctx context.Context, s *Settings) error {
	l, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return err
	}
	defer l.Close()
	return bench.ServeRelay(ctx, l, b.Target, b.Token, b.Secret, clock.System)
}
