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
	for _, e := range engines {
		t.Run(e, func(t *testing.T) { test(t, Fresh(t, e)) })
	}
}

// Fresh gives the options of a new database on an engine.
func Fresh(t *testing.T, engine string) store.Options {
	t.Helper()
	if engine == "sqlite" {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tract.db"), emptySQLite(t), 0o600); err != nil {
			t.Fatal(err)
		}
		return store.Options{Dir: dir, Verify: true}
	}
	return store.Options{URL: PostgresURL(t)}
}

// emptySQLite is a migrated SQLite store, made once.
func emptySQLite(t *testing.T) []byte {
	t.Helper()
	template.Lock()
	defer template.Unlock()
	if sqliteTemplate == nil {
		dir := t.TempDir()
		s, err := store.Open(context.Background(), store.Options{Dir: dir})
		if err == nil {
			err = s.Close()
		}
		if err != nil {
			t.Fatalf("migrate the template: %v", err)
		}
		if sqliteTemplate, err = os.ReadFile(filepath.Join(dir, "tract.db")); err != nil {
			t.Fatal(err)
		}
	}
	return sqliteTemplate
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
	template  sync.Mutex // held while a template is made
	templates = map[string]string{}

	sqliteTemplate []byte
)

// PostgresURL makes a fresh, migrated database and gives its URL.
func PostgresURL(t *testing.T) string {
	t.Helper()
	server, err := postgresServer()
	if err != nil {
		if os.Getenv("TRACT_TEST_ALL") == "1" {
			t.Fatalf("PostgreSQL is needed: %v", err)
		}
		t.Skipf("NOT RUN ON POSTGRESQL: %v (set TRACT_TEST_POSTGRES or install PostgreSQL)", err)
	}
	ctx := context.Background()
	tpl := templateOf(t, ctx, server)
	name := fmt.Sprintf("tract_test_%d_%d", os.Getpid(), databases.Add(1))
	admin(t, ctx, server, "create database "+name+" template "+tpl)
	t.Cleanup(func() { admin(t, ctx, server, "drop database if exists "+name+" with (force)") })
	return database(server, name)
}

func templateOf(t *testing.T, ctx context.Context, server string) string {
	template.Lock()
	defer template.Unlock()
	if name := templates[server]; name != "" {
		return name
	}
	name := fmt.Sprintf("tract_template_%d", os.Getpid())
	admin(t, ctx, server, "drop database if exists "+name)
	admin(t, ctx, server, "create database "+name)
	s, err := store.Open(ctx, store.Options{URL: database(server, name)})
	if err != nil {
		t.Fatalf("migrate the template database: %v", err)
	}
	s.Close()
	templates[server] = name
	return name
}

func admin(t *testing.T, ctx context.Context, server, sql string) {
	t.Helper()
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
