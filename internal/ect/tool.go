// Package ect owns the simulated external chat tool: a client of the hub over
// real HTTP, for developers of connectors (tract ect) and for the demo.
//
// It must not know the hub's inside: store, conversation, delivery and auth stay
// out. What it knows it learned from webhooks and from answers of the API.
//
// Invariants: a webhook call is believed only after every signature on it
// verified; each call is acted upon once, however often it is sent; what a rule
// does happens after the hook was answered, in order for each user; when Run
// has returned no goroutine of the tool is left.
package ect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tract"
	"tract/internal/safehttp"
)

// Config says who the tool is and how it behaves. Hub, Identity, CertUUID,
// ClientID and ReceiverID are required, and one of Listen and PublicURL.
type Config struct {
	Hub        string    // base URL of the hub
	Identity   *Identity // key and certificate
	CertUUID   string    // the id the hub gave the certificate
	FQDN       string    // as registered; "" = the identity's
	ClientID   string    // the client organisation the tool works for
	ReceiverID string    // the tool's own id at that client

	Listen    string // address of the tool's own server; "" = Handler is served by somebody else
	PublicURL string // where the hub reaches the tool; "" = the address it listens on

	Rules  Rules
	Out    func(Event) // hears everything that happens; it must be quick and may be called concurrently
	Colour bool        // Terminal prints in colours

	// GapGrace is how long a missing delivery_seq may be under way on another
	// hook before it counts as lost and is fetched. 0 = 2 s.
	GapGrace time.Duration

	Log  *slog.Logger     // nil = silent
	Now  func() time.Time // required
	Rand rand.Source      // for nonces, jitter and faults; nil = seeded by the system
	HTTP *safehttp.Client // nil = one that may reach private addresses
}

// Rules are what the tool does by itself. The zero value does nothing.
type Rules struct {
	Reply         string        // answer to each user message while it owns the thread; {{text}} is what the user wrote
	Allocate      string        // name of the agent who gets each chat that is handed to the tool
	CompleteAfter CompleteAfter // when it completes a conversation
}

// CompleteAfter completes a conversation after silence, or after a number of
// replies by rule. As text it is a duration ("30s") or a number ("3").
type CompleteAfter struct {
	Silence time.Duration
	Replies int
}

// UnmarshalText reads "30s" as silence and "3" as replies.
func (c *CompleteAfter) UnmarshalText(text []byte) error {
	n, err := parsePositive(string(text))
	if err == nil {
		*c = CompleteAfter{Replies: n}
		return nil
	}
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is neither a duration such as 30s nor a number of replies", text)
	}
	*c = CompleteAfter{Silence: d}
	return nil
}

// Tool is a running simulated tool. Its methods may be called concurrently.
type Tool struct {
	cfg   Config
	log   *slog.Logger
	dice  *dice
	hub   *hub
	hooks map[tract.Event]*hook
	work  work
	ready chan struct{} // closed when every hook is registered

	mu        sync.Mutex // guards the fields below; never held across I/O or a call of Out
	threads   map[string]*thread
	order     []string // user ids as they were first heard of
	seen      *recent  // webhook ids that were acted upon
	faults    Faults
	stats     Stats
	listeners map[int]func(Event)
	nextID    int
}

const (
	defaultGapGrace = 2 * time.Second
	seenCapacity    = 20_000
	maxBackoff      = 15 * time.Second
	shutdownTime    = 2 * time.Second
)

// New checks the configuration and makes a tool that does nothing yet.
func New(cfg Config) (*Tool, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	t := &Tool{
		cfg: cfg, log: cfg.Log, dice: newDice(cfg.Rand),
		hooks: map[tract.Event]*hook{}, ready: make(chan struct{}),
		threads: map[string]*thread{}, seen: newRecent(seenCapacity), listeners: map[int]func(Event){},
	}
	t.hub = newHub(cfg, t.dice)
	for _, e := range hookEvents() {
		t.hooks[e] = &hook{known: make(chan struct{})}
	}
	if cfg.Out != nil {
		t.Subscribe(cfg.Out)
	}
	return t, nil
}

func (c *Config) complete() error {
	for _, field := range []struct {
		name    string
		missing bool
	}{
		{"Identity", c.Identity == nil}, {"CertUUID", c.CertUUID == ""}, {"ClientID", c.ClientID == ""},
		{"ReceiverID", c.ReceiverID == ""}, {"Now", c.Now == nil},
	} {
		if field.missing {
			return fmt.Errorf("simulated tool: %s is not set", field.name)
		}
	}
	if c.Listen == "" && c.PublicURL == "" {
		return errors.New("simulated tool: neither Listen nor PublicURL is set: the hub could not reach it")
	}
	var err error
	if c.Hub, err = baseURL(c.Hub); err != nil {
		return fmt.Errorf("simulated tool: Hub %w", err)
	}
	if c.PublicURL != "" {
		if c.PublicURL, err = baseURL(c.PublicURL); err != nil {
			return fmt.Errorf("simulated tool: PublicURL %w", err)
		}
	}
	if c.FQDN == "" {
		c.FQDN = c.Identity.FQDN()
	}
	if c.GapGrace == 0 {
		c.GapGrace = defaultGapGrace
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.HTTP == nil {
		c.HTTP = newHTTP()
	}
	return nil
}

func baseURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("%q is not an http(s) URL", text)
	}
	return strings.TrimRight(text, "/"), nil
}

// Run serves the hooks (if Listen is set), registers them as soon as the hub
// can be reached, and carries out the rules, until ctx ends. It may be called
// once. A definite refusal by the hub ends it with that error.
func (t *Tool) Run(ctx context.Context) error {
	public := t.cfg.PublicURL
	var ln net.Listener
	if t.cfg.Listen != "" {
		var err error
		if ln, err = new(net.ListenConfig).Listen(ctx, "tcp", t.cfg.Listen); err != nil {
			return fmt.Errorf("listen for hooks: %w", err)
		}
		public = first(public, "http://"+reachable(ln.Addr()))
	}
	g, inner := errgroup.WithContext(ctx)
	if ln != nil {
		t.serve(inner, g, ln)
	}
	t.work.open(inner, func(f func()) { g.Go(func() error { f(); return nil }) })
	g.Go(func() error {
		<-inner.Done()
		t.work.close()
		return nil
	})
	g.Go(func() error { return t.register(inner, public) })
	err := g.Wait()
	t.stopTimers()
	t.cfg.HTTP.CloseIdle()
	if ctx.Err() != nil {
		return nil // being stopped is how it is meant to end
	}
	return err
}

// Ready is closed once every hook is registered.
func (t *Tool) Ready() <-chan struct{} { return t.ready }

// ID is the tool's own receiver id.
func (t *Tool) ID() string { return t.cfg.ReceiverID }

// reachable turns "any address" into one that can be called on this machine.
func reachable(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", fmt.Sprint(tcp.Port))
	}
	return a.String()
}

func (t *Tool) serve(ctx context.Context, g *errgroup.Group, ln net.Listener) {
	srv := &http.Server{
		Handler:           t.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		IdleTimeout:       2 * time.Minute,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // a delayed answer ends with the tool
		ErrorLog:          slog.NewLogLogger(t.log.Handler(), slog.LevelDebug),
	}
	g.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve hooks: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if srv.Shutdown(stop) != nil {
			return srv.Close()
		}
		return nil
	})
}

// register tells the hub where the tool hears each event. Every secret is made
// anew, because a tool that was restarted does not know the old ones.
func (t *Tool) register(ctx context.Context, public string) error {
	for _, e := range hookEvents() {
		for attempt := 0; ; attempt++ {
			secret, err := t.hub.registerHook(ctx, e, public+"/hooks/"+string(e))
			if err == nil {
				t.hooks[e].learn(secret)
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			err = fmt.Errorf("register hook %s: %w", e, err)
			if definite(err) {
				return err
			}
			pause := t.dice.backoff(attempt)
			t.problem("", "", fmt.Errorf("%w (next try in %s)", err, pause.Round(100*time.Millisecond)))
			if !wait(ctx, pause) {
				return nil
			}
		}
	}
	close(t.ready)
	t.log.InfoContext(ctx, "hooks registered", "receiver", t.cfg.ReceiverID, "count", len(t.hooks))
	t.emit(Event{Kind: KindReady, Note: fmt.Sprintf("%d hooks registered at %s", len(t.hooks), public)})
	return nil
}

// hookEvents are the events the tool listens to, under their canonical names.
// Messages come last: with that hook the tool becomes available to the hub, and
// by then it hears everything else.
func hookEvents() []tract.Event {
	var out []tract.Event
	for _, n := range tract.EventNames() {
		if n.Direction != tract.FromTool && n.Event != tract.EventMessage && string(n.Event) == n.Category+"/"+n.Subcategory {
			out = append(out, n.Event)
		}
	}
	return append(out, tract.EventMessage)
}

// definite says that asking again would not help.
func definite(err error) bool {
	switch tract.KindOf(err) {
	case tract.KindInvalid, tract.KindUnauthorized, tract.KindForbidden, tract.KindNotFound:
		return true
	}
	return false
}

// wait pauses for d; false when ctx ended first.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
