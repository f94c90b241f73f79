// Package apitest runs a whole hub within a test, with its outside: two
// external chat tools and a client's channel, all on loopback, on either
// database. Tests only.
//
// It must not know what is right in one endpoint; that is in the tests. What
// holds for all of them is checked here: every answer, and every call that a
// receiver gets, is held against docs/api/openapi.yaml, and a difference fails
// the test. Nothing sleeps: what happens later is waited for, with a deadline.
package apitest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"tract"
	"tract/internal/clock"
	"tract/internal/conversation"
	"tract/internal/files"
	"tract/internal/manifest"
	"tract/internal/server"
	"tract/internal/sign"
	"tract/internal/store"
	"tract/internal/tracttest"
	"tract/internal/web"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// Settings are what tests may want otherwise. The zero value is changed by the
// functions given to New.
type Settings struct {
	Server server.Config
	// Fixture turns the declarative file into the one to begin with.
	Fixture func(yaml string) string
}

// World is a running hub with two clients (acme and other), two tools of acme
// (desk-one, plain; desk-two, with every permission) and the channel of acme.
type World struct {
	T      *testing.T // whose failures these are; see On
	Server *server.Server
	Store  *store.Store
	URL    string

	One, Two *Receiver // the webhooks of desk-one and desk-two
	Channel  *Receiver // the channel webhook of both clients

	Token      string // of the client acme
	OtherToken string // of the client other
	AdminToken string

	shared *shared
}

// shared is what all the views of a world (see On) have in common.
type shared struct {
	http  *httptest.Server
	mu    sync.Mutex // guards jwts and hooks
	jwts  map[string]string
	hooks map[string]bool
}

// Engines runs a test once per database engine, each in a world of its own.
func Engines(t *testing.T, test func(t *testing.T, w *World), change ...func(*Settings)) {
	t.Helper()
	Databases(t, func(t *testing.T, o store.Options) { test(t, New(t, o, change...)) })
}

// Databases runs a test once per engine with the options of a fresh database.
func Databases(t *testing.T, test func(t *testing.T, o store.Options)) {
	t.Helper()
	tracttest.EnginesPrepared(t, taught, test)
}

// SQLite gives the options of a fresh database where one engine will do.
func SQLite(t *testing.T) store.Options {
	t.Helper()
	return tracttest.Prepared(t, "sqlite", taught)
}

// New starts a world on a fresh database and ends it with the test. It begins
// sooner on one of Databases.
func New(t *testing.T, o store.Options, change ...func(*Settings)) *World {
	t.Helper()
	w := &World{T: t, Token: "acme-" + rand.Text(), OtherToken: "other-" + rand.Text(), AdminToken: "admin-" + rand.Text(),
		shared: &shared{jwts: map[string]string{}, hooks: map[string]bool{}}}
	w.One, w.Two, w.Channel = newReceiver(t, "desk-one"), newReceiver(t, "desk-two"), newReceiver(t, "channel")
	w.Store = tracttest.Open(t, o)
	s := Settings{Server: server.Config{
		Store: w.Store, SecretKey: secretKey(), AdminToken: sign.Secret(w.AdminToken), AllowPrivate: true, HookTimeout: 2 * time.Second,
		Ladder:    []time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond, 160 * time.Millisecond, 160 * time.Millisecond, 160 * time.Millisecond},
		RateLimit: -1, Files: files.Settings{Dir: t.TempDir()}, Version: "test", Name: "apitest", Now: clock.System, Log: slog.New(slog.DiscardHandler),
	}}
	if testing.Verbose() {
		s.Server.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	for _, f := range change {
		f(&s)
	}
	w.run(&s)
	text := w.Fixture()
	if s.Fixture != nil {
		text = s.Fixture(text)
	}
	w.Apply(text, manifest.Flags{})
	w.Until("the server is ready", func(*store.Tx) (bool, error) { return w.Call("GET", "/readyz", nil).Status == http.StatusOK, nil })
	return w
}

func secretKey() []byte { return bytes.Repeat([]byte{7}, 32) }

func (w *World) run(s *Settings) {
	t := w.T
	t.Helper()
	outer := httptest.NewUnstartedServer(nil)
	w.URL = "http://" + outer.Listener.Addr().String()
	s.Server.PublicURL = w.URL
	srv, err := server.New(s.Server)
	if err != nil {
		t.Fatalf("make the server: %v", err)
	}
	w.Server = srv
	outer.Config = web.NewServer(outer.Listener.Addr().String(), srv.Handler(), s.Server.Log)
	outer.Start()
	outer.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	w.shared.http = outer
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	t.Cleanup(func() {
		outer.Close()
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the server ended with: %v", err)
		}
	})
}

// On is the same world for a subtest.
func (w *World) On(t *testing.T) *World {
	n := *w
	n.T = t
	return &n
}

// Apply makes the configuration that of a declarative file.
func (w *World) Apply(yaml string, flags manifest.Flags) {
	w.T.Helper()
	f, err := manifest.Parse(bytes.NewReader([]byte(yaml)), "fixture.yaml", manifest.Options{ReadFile: fixtureFile})
	if err == nil {
		_, err = w.Server.Manifest.Apply(context.Background(), f, flags)
	}
	if err != nil {
		w.T.Fatalf("apply the fixture: %v", err)
	}
}

// View reads the store.
func (w *World) View(fn func(tx *store.Tx) error) {
	w.T.Helper()
	if err := w.Store.View(context.Background(), fn); err != nil {
		w.T.Fatalf("read the store: %v", err)
	}
}

// Update changes the store behind the API's back.
func (w *World) Update(fn func(tx *store.Tx) error) {
	w.T.Helper()
	if err := w.Store.Update(context.Background(), fn); err != nil {
		w.T.Fatalf("change the store: %v", err)
	}
}

// Until waits until the store says yes.
func (w *World) Until(what string, ok func(tx *store.Tx) (bool, error)) {
	w.T.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	again := time.NewTicker(3 * time.Millisecond)
	defer again.Stop()
	for {
		done := false
		w.View(func(tx *store.Tx) (err error) { done, err = ok(tx); return err })
		if done {
			return
		}
		select {
		case <-again.C:
		case <-late.C:
			w.T.Fatalf("waited %s in vain: %s", patience, what)
		}
	}
}

// Settle waits until everything that was committed has been delivered or given
// up and every job is done. What is queued for a disabled hook never is.
func (w *World) Settle() {
	w.T.Helper()
	w.Until("everything is delivered", func(tx *store.Tx) (bool, error) {
		st, err := tx.Stats()
		if err != nil || st.Queued > 0 {
			return false, err
		}
		due, err := tx.JobsDue()
		return !due, err
	})
}

// Do gives a command on a thread as the hub's own parts do: the bot, the desk,
// an operator. The refusal is returned.
func (w *World) Do(user User, c tract.Command) (*conversation.Result, error) {
	w.T.Helper()
	res, err := w.Server.Conversation.Do(context.Background(), w.Thread(user).ID, c)
	if res == nil && err != nil {
		w.T.Fatalf("command %T: %v", c, err)
	}
	return res, err
}

// ClientKey is the store's number of a client.
func (w *World) ClientKey(id string) (key int64) {
	w.T.Helper()
	w.View(func(tx *store.Tx) error {
		c, err := tx.Client(id)
		key = c.Key
		return err
	})
	return key
}

// Race runs n calls of fn at once and returns when all have.
func Race(n int, fn func(i int)) {
	var ready, done sync.WaitGroup
	start := make(chan struct{})
	ready.Add(n)
	for i := range n {
		done.Go(func() {
			ready.Done()
			<-start
			fn(i)
		})
	}
	ready.Wait()
	close(start)
	done.Wait()
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(fmt.Sprintf("apitest: %v", err))
	}
	return v
}
