// Package demo owns the demonstration: a real server on a throw-away store, a
// sample client, two simulated tools and a customer's channel, all talking over
// HTTP, and the page that shows them at work.
//
// It must not take short cuts: the customer writes through the platform API, the
// tools act through theirs, and what it reads from the store it only shows.
//
// Invariants: visitors never see or move each other's conversations; what is
// kept in memory for a visitor is bounded; when Run has returned nothing is left
// on the disk and no goroutine runs.
package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"tract"
	"tract/internal/ect"
	"tract/internal/files"
	"tract/internal/server"
	"tract/internal/store"
)

// Config is what the demo is started with. Listener and Now are required.
type Config struct {
	Listener    net.Listener    // where the page and the API are served
	PublicURL   string          // "" = the listener's address
	Ladder      []time.Duration // waits between delivery attempts; short by default, to be watched
	HookTimeout time.Duration   // for one webhook call; 3 s
	AckTimeout  time.Duration   // after which a silent tool loses a thread; 20 s
	Version     string
	Now         func() time.Time
	Log         *slog.Logger     // nil = silent
	Ready       func(url string) // called once everything runs
}

func (c *Config) complete() {
	if c.PublicURL == "" {
		c.PublicURL = "http://" + c.Listener.Addr().String()
	}
	if c.Ladder == nil {
		c.Ladder = []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second}
	}
	if c.HookTimeout == 0 {
		c.HookTimeout = 3 * time.Second
	}
	if c.AckTimeout == 0 {
		c.AckTimeout = 20 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Ready == nil {
		c.Ready = func(string) {}
	}
}

// demo is everything that runs.
type demo struct {
	cfg      Config
	srv      *server.Server
	hub      *hub
	channel  *channel
	tools    []*tool
	board    *board
	visitors *visitors
	client   int64
	html     []byte // of the page
}

// tool is one of the simulated tools with what the page says of it.
type tool struct {
	*ect.Tool
	sample
}

// Run shows the demo until ctx ends, and cleans up.
func Run(ctx context.Context, cfg Config) (err error) {
	cfg.complete()
	dir, err := os.MkdirTemp("", "tract-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	st, err := store.Open(ctx, store.Options{Dir: dir, Now: cfg.Now, Log: cfg.Log})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	d := &demo{cfg: cfg, board: newBoard(), visitors: newVisitors(cfg.Now)}
	if err = d.assemble(ctx, st, dir); err == nil {
		err = d.run(ctx)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// assemble makes the parts; nothing runs yet.
func (d *demo) assemble(ctx context.Context, st *store.Store, dir string) error {
	key := make([]byte, 32)
	rand.Read(key) // never fails: the program ends if the system has no randomness
	var err error
	if d.srv, err = server.New(server.Config{
		Store: st, SecretKey: key, DataDir: dir, Files: files.Settings{Dir: filepath.Join(dir, "files")}, PublicURL: d.cfg.PublicURL, AllowPrivate: true, HookTimeout: d.cfg.HookTimeout, Ladder: d.cfg.Ladder,
		Version: d.cfg.Version, Name: "demo", Now: d.cfg.Now, Log: d.cfg.Log, Observe: d.observe, Home: d.page,
	}); err != nil {
		return err
	}
	if d.channel, err = newChannel(d); err != nil {
		return err
	}
	secrets, err := d.applySample(ctx)
	if err != nil {
		return err
	}
	if err := st.View(ctx, func(tx *store.Tx) error {
		c, err := tx.Client(clientID)
		d.client = c.Key
		return err
	}); err != nil {
		return err
	}
	base := "http://" + d.cfg.Listener.Addr().String()
	d.hub = newHub(base, secrets.clientToken)
	for _, s := range samples() {
		t, err := ect.New(ect.Config{
			Hub: base, Identity: secrets.identities[s.ID], CertUUID: secrets.certificates[s.ID], FQDN: s.fqdn, ClientID: clientID, ReceiverID: string(s.ID),
			Listen: "127.0.0.1:0", Log: d.cfg.Log, Now: d.cfg.Now,
		})
		if err != nil {
			return err
		}
		t.Subscribe(func(e ect.Event) { d.visitors.wakeUser(e.UserID) })
		d.tools = append(d.tools, &tool{t, s})
	}
	return d.routes()
}

func (d *demo) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.srv.Serve(ctx, d.cfg.Listener) })
	g.Go(func() error { return d.channel.serve(ctx) })
	for _, t := range d.tools {
		g.Go(func() error { return t.Run(ctx) })
	}
	g.Go(func() error { return d.follow(ctx) })
	g.Go(func() error { return d.announce(ctx) })
	return g.Wait()
}

// announce says that the demo is ready when every part of it is.
func (d *demo) announce(ctx context.Context) error {
	for _, t := range d.tools {
		select {
		case <-t.Ready():
		case <-ctx.Done():
			return nil
		}
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for d.srv.Bot.Ready(ctx) != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
	d.cfg.Ready(d.cfg.PublicURL)
	return nil
}

// look is how often pages are drawn anew that nothing has woken.
const look = 2 * time.Second

// follow wakes the pages of a visitor when the thread behind them changes.
func (d *demo) follow(ctx context.Context) error {
	changes, stop := d.srv.Conversation.WatchClient(0)
	defer stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case c := <-changes:
			d.visitors.wakeThread(c.Thread)
		case <-tick.C:
			d.visitors.wakeAll()
		case <-ctx.Done():
			return nil
		}
	}
}

// tool finds one of the two by its id; nil when there is none.
func (d *demo) tool(id string) *tool {
	for _, t := range d.tools {
		if t.sample.ID == tract.ReceiverID(id) {
			return t
		}
	}
	return nil
}
