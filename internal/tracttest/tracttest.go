// Package tracttest gives tests a fresh database on each engine, a clock that
// stands still, and receivers on loopback. Tests only.
//
// PostgreSQL is found by TRACT_TEST_POSTGRES (a postgres:// URL of a server on
// which databases may be created), else started from an installed initdb. When
// there is neither, the tests that need it say so and do not run; with
// TRACT_TEST_ALL=1 that is a failure.
package tracttest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tract/internal/store"
)

// Engines are the databases every test of the store runs on.
var engines = []string{"sqlite", "postgres"}

// Stores runs a test once per engine on a fresh database whose clock is Start
// and stands still.
func Stores(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	Engines(t, func(t *testing.T, o store.Options) {
		o.Now = NewClock().Now
		test(t, Open(t, o))
	})
}

// Engines runs a test once per engine with the options of a fresh database, for
// tests that open it themselves.
func Engines(t *testing.T, test func(t *testing.T, o store.Options)) {
	t.Helper()
	EnginesPrepared(t, nil, test)
}

// EnginesPrepared is Engines on databases that begin with a preparation.
func EnginesPrepared(t *testing.T, p *Preparation, test func(t *testing.T, o store.Options)) {
	t.Helper()
	for _, e := range engines {
		t.Run(e, func(t *testing.T) { test(t, Prepared(t, e, p)) })
	}
}

// Fresh gives the options of a new database on an engine.
func Fresh(t *testing.T, engine string) store.Options {
	t.Helper()
	return Prepared(t, engine, nil)
}

// Preparation is what a test's database begins with.
type Preparation struct {
	Name string // in small letters, one of its kind
	Fill func(t *testing.T, s *store.Store)
}

// Prepared gives the options of a new database on an engine that begins with what
// a preparation filled it with: once a process, after which it is copied. nil is
// an empty store.
func Prepared(t *testing.T, engine string, p *Preparation) store.Options {
	t.Helper()
	if engine == "sqlite" {
		return copySQLite(t, p, t.TempDir())
	}
	return store.Options{URL: copyPostgres(t, p)}
}

// SQLiteIn is Fresh in a folder of the test's choice.
func SQLiteIn(t *testing.T, dir string) store.Options {
	t.Helper()
	return copySQLite(t, nil, dir)
}

func copySQLite(t *testing.T, p *Preparation, dir string) store.Options {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "tract.db"), templateSQLite(t, p), 0o600); err != nil {
		t.Fatal(err)
	}
	return store.Options{Dir: dir, Verify: true}
}

// templateSQLite is the file of a prepared store.
func templateSQLite(t *testing.T, p *Preparation) []byte {
	t.Helper()
	return made(p.named("sqlite"), func() []byte {
		o := store.Options{Dir: t.TempDir()}
		if p != nil {
			o = copySQLite(t, nil, o.Dir)
		}
		p.fill(t, o)
		file, err := os.ReadFile(filepath.Join(o.Dir, "tract.db"))
		if err != nil {
			t.Fatal(err)
		}
		return file
	})
}

// named tells templates apart.
func (p *Preparation) named(where string) string {
	if p == nil {
		return where
	}
	return where + " " + p.Name
}

// fill migrates a store and prepares it.
func (p *Preparation) fill(t *testing.T, o store.Options) {
	t.Helper()
	s, err := store.Open(context.Background(), o)
	if err != nil {
		t.Fatalf("open the template: %v", err)
	}
	if p != nil {
		p.Fill(t, s)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("close the template: %v", err)
	}
}

// Open opens a store and closes it when the test ends.
func Open(t *testing.T, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), o)
	if err != nil {
		t.Fatalf("open the store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// Start is the instant at which test clocks begin.
var start = time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC)

// Clock is a clock that moves only when told to.
type Clock struct {
	mu  sync.Mutex // guards now
	now time.Time
}

// NewClock gives a clock that stands at 2026-11-20 10:30:00 UTC.
func NewClock() *Clock { return &Clock{now: start} }

// Now is the time it shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves it on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var (
	databases atomic.Int64
	templates sync.Map // by name, *template
)

// template is made by the first who needs it.
type template struct {
	mu    sync.Mutex // held while it is made
	value any
}

// made gives a template, which make makes unless it is there. A make that fails
// the test is tried again by the next.
func made[T any](name string, make func() T) T {
	v, _ := templates.LoadOrStore(name, &template{})
	tpl := v.(*template)
	tpl.mu.Lock()
	defer tpl.mu.Unlock()
	if tpl.value == nil {
		tpl.value = make()
	}
	return tpl.value.(T)
}

// copyPostgres makes a fresh, prepared database and gives its URL.
func copyPostgres(t *testing.T, p *Preparation) string {
	t.Helper()
	server, err := postgresServer()
	if err != nil {
		if os.Getenv("TRACT_TEST_ALL") == "1" {
			t.Fatalf("PostgreSQL is needed: %v", err)
		}
		t.Skipf("NOT RUN ON POSTGRESQL: %v (set TRACT_TEST_POSTGRES or install PostgreSQL)", err)
	}
	from := templatePostgres(t, server, p)
	name := fmt.Sprintf("tract_test_%d_%d", os.Getpid(), databases.Add(1))
	admin(t, server, "create database "+name+" template "+from)
	t.Cleanup(func() { admin(t, server, "drop database if exists "+name+" with (force)") })
	return database(server, name)
}

// templatePostgres is the name of a prepared database.
func templatePostgres(t *testing.T, server string, p *Preparation) string {
	t.Helper()
	return made(p.named(server), func() string {
		name, from := fmt.Sprintf("tract_template_%d", os.Getpid()), "template1"
		if p != nil {
			name, from = name+"_"+p.Name, templatePostgres(t, server, nil)
		}
		admin(t, server, "drop database if exists "+name)
		admin(t, server, "create database "+name+" template "+from)
		p.fill(t, store.Options{URL: database(server, name)})
		return name
	})
}

func admin(t *testing.T, server, sql string) {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, server)
	if err != nil {
		t.Fatalf("connect to PostgreSQL: %v", err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// database names another database on the same server.
func database(server, name string) string {
	head, query, _ := strings.Cut(server, "?")
	i := strings.LastIndexByte(head, '/')
	u := head[:i+1] + name
	if query != "" {
		u += "?" + query
	}
	return u
}
