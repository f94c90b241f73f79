// Package bench measures the hub on the machine it runs on: it owns the load,
// the receivers, the controls and the limits that the figures are held against.
//
// The hub under test is the program itself in processes of its own, spoken to
// over HTTP alone; load and receivers are in this process, on loopback. It must
// not know how the hub is built: only the controls B and N use the store, to say
// what the store can do without a hub.
//
// Invariants: a figure counts as a ratio to a control of the same round, because
// a machine's mood changes from minute to minute; every run is bounded in time
// and in messages; latencies of an open loop count from when a message was due;
// when Run has returned its processes have ended, and its folders and databases
// are removed.
package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// The engines.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// Config is what is measured. Binary, Dir and Now are required.
type Config struct {
	Binary      string   // this program, for the hub's processes
	Env         []string // of the processes, without TRACT_ variables
	Dir         string   // an existing folder on the disk to measure
	Engine      string   // SQLite or Postgres; "" = SQLite
	DatabaseURL string   // a PostgreSQL server on which databases may be created
	Replicas    int      // processes of the hub; more than one needs Postgres
	Rounds      int
	Duration    time.Duration // of each workload
	Only        []string      // names of workloads; empty = all
	Threads     int           // that are written to; 0 = 1,024
	Fill        int64         // messages that are in the store before; 0 = that is not measured
	Profiles    string        // a folder for CPU profiles of the hub's processes; "" = none are made
	Short       bool          // whether everything runs, not how fast
	Version     string
	Now         func() time.Time
	Say         func(format string, args ...any) // hears how far it is; nil = nobody
}

// sizes are how much a run does.
type sizes struct {
	duration                            time.Duration
	threads, slowThreads, senders       int
	mostMessages                        int
	crowd                               int // tools, of which hanging hang
	hanging, crowdRate                  int
	queueClients, queueTools, queueEach int // the memory workload
	drain                               time.Duration
}

func (c *Config) sizes() sizes {
	s := sizes{duration: c.Duration, threads: 1024, slowThreads: 2048, senders: 64, mostMessages: 400_000, crowd: 20, hanging: 3, crowdRate: 500,
		queueClients: 2, queueTools: 64, queueEach: 80, drain: 60 * time.Second}
	if c.Threads > 0 {
		s.threads, s.slowThreads = c.Threads, max(s.slowThreads, c.Threads)
	}
	if c.Short {
		s.duration, s.threads, s.slowThreads, s.senders, s.mostMessages = 250*time.Millisecond, 64, 64, 16, 5000
		s.crowdRate, s.queueTools, s.queueEach, s.drain = 200, 4, 50, 30*time.Second
	}
	return s
}

// bench is one run of everything.
type bench struct {
	cfg                     Config
	size                    sizes
	dir                     string
	http                    caller
	sink                    *sink
	flows, children, stores int // made so far
	filled                  homeOf
}

// Run measures. A workload in which order was violated or messages were lost,
// doubled or not signed is in the report and not an error here.
func Run(ctx context.Context, cfg Config) (rep *Report, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	b := &bench{cfg: cfg, size: cfg.sizes(), http: newCaller(), sink: newSink(cfg.Now)}
	if b.dir, err = os.MkdirTemp(cfg.Dir, "bench-"); err != nil {
		return nil, fmt.Errorf("make a folder for the benchmark: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	serving, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	wait, err := b.sink.serve(serving)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, wait(), b.remove(b.filled)) }()
	rep = newReport(cfg)
	for n := range cfg.Rounds {
		if err := b.round(ctx, n+1, rep); err != nil {
			if ctx.Err() != nil {
				err = ctx.Err() // what fails then fails for that
			}
			return nil, err
		}
	}
	rep.conclude()
	return rep, nil
}

func (c *Config) complete() error {
	if c.Engine == "" {
		c.Engine = SQLite
	}
	c.Replicas, c.Rounds = max(c.Replicas, 1), max(c.Rounds, 1)
	if c.Duration <= 0 {
		c.Duration = 3 * time.Second
	}
	if c.Say == nil {
		c.Say = func(string, ...any) {}
	}
	switch {
	case c.Engine != SQLite && c.Engine != Postgres:
		return fmt.Errorf("the engine must be %s or %s, not %q", SQLite, Postgres, c.Engine)
	case c.Engine == Postgres && c.DatabaseURL == "":
		return errors.New("the engine postgres needs a server: --database-url or TRACT_DATABASE_URL")
	case c.Engine == SQLite && c.Replicas > 1:
		return errors.New("several replicas need PostgreSQL: --engine postgres")
	}
	for _, name := range c.Only {
		if !slices.ContainsFunc(workloads(), func(w workload) bool { return w.name == name }) {
			return fmt.Errorf("there is no workload %q; there are: %s", name, strings.Join(Workloads(), ", "))
		}
	}
	return nil
}

// Workloads are the names of what can be measured, in the order of a round.
func Workloads() (names []string) {
	for _, w := range workloads() {
		names = append(names, w.name)
	}
	return names
}

func (b *bench) nextRun() int { b.flows++; return b.flows }

// round runs every workload once, the controls between them.
type round struct {
	*bench
	main   *hub // of most workloads; nil before the first of them
	homes  []homeOf
	relay  *child
	warmed map[string]int // threads that have a message, by target
}

func (b *bench) round(ctx context.Context, number int, rep *Report) (err error) {
	r := &round{bench: b, warmed: map[string]int{}}
	defer func() { err = errors.Join(err, r.close()) }()
	for _, w := range workloads() {
		if !b.wanted(w) {
			continue
		}
		b.cfg.Say("round %d of %d: %s", number, b.cfg.Rounds, w.name)
		samples, err := w.run(r, ctx)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		for _, s := range samples {
			s.Round = number
			rep.Samples = append(rep.Samples, s)
		}
	}
	return nil
}

// wanted says whether a workload is asked for, or is the control of one that is.
func (b *bench) wanted(w workload) bool {
	if w.engine != "" && w.engine != b.cfg.Engine || w.fill && b.cfg.Fill == 0 {
		return false
	}
	if len(b.cfg.Only) == 0 || slices.Contains(b.cfg.Only, w.name) {
		return true
	}
	for _, other := range workloads() {
		if slices.Contains(b.cfg.Only, other.name) && slices.Contains(other.controls, w.name) {
			return true
		}
	}
	return false
}

func (r *round) close() error {
	err := r.main.stop()
	if r.relay != nil {
		err = errors.Join(err, r.relay.stop())
	}
	for _, h := range r.homes {
		err = errors.Join(err, r.remove(h))
	}
	return err
}
