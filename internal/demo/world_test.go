package demo_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tract/internal/clock"
	"tract/internal/demo"
)

// patience is how long anything may take before a test says that it does not
// happen.
const patience = 30 * time.Second

// show runs the demo for a test and checks that it leaves nothing behind.
func show(t *testing.T, cfg demo.Config) (url string) {
	t.Helper()
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	cfg.Listener, cfg.Now, cfg.Version, cfg.Ready = l, clock.System, "test", func(url string) { ready <- url }
	if cfg.Ladder == nil { // quick, but not used up before a slow machine has looked
		cfg.Ladder = append([]time.Duration{100 * time.Millisecond, 200 * time.Millisecond}, slices.Repeat([]time.Duration{400 * time.Millisecond}, 100)...)
	}
	ctx, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	ended := make(chan struct{})
	g.Go(func() error { defer close(ended); return demo.Run(ctx, cfg) })
	t.Cleanup(func() {
		stop()
		if err := g.Wait(); err != nil {
			t.Errorf("the demo ended with: %v", err)
		}
		if left, err := filepath.Glob(filepath.Join(folder, "tract-demo-*")); err != nil || len(left) > 0 {
			t.Errorf("the demo left %v behind (%v)", left, err)
		}
	})
	select {
	case url = <-ready:
	case <-ended:
		t.Fatalf("the demo did not start: %v", g.Wait())
	case <-time.After(patience):
		t.Fatal("the demo is not ready in time")
	}
	return url
}

// state is the page's state as the stream brings it.
type state struct {
	Thread struct {
		Customer  string
		Owner     string
		OwnerName string `json:"owner_name"`
		Epoch     int64
		State     string
		Steps     [4]bool
	}
	Chat       []struct{ From, Name, Text string }
	Tools      []toolState
	Log        []struct{ Kind, Name, Who, Text, Detail string }
	Ledger     []ledgerLine
	Deliveries []delivery
}

type toolState struct {
	ID, Mode, Health, Notice string
	Owner                    bool
	Entries                  []struct {
		Seq              int64
		Kind, From, Text string
		Standby          bool
	}
	Can     map[string]*refusal
	Targets []struct {
		ID          string
		Pass, Offer *refusal
	}
}

type ledgerLine struct {
	Op, From, To, Code string
	Granted            bool
	Epoch              int64
}

type delivery struct {
	ID, To, Name, About, State string
	Seq                        int64 `json:"delivery_seq"`
	Attempts                   []struct {
		N, Status int
		OK        bool
	}
}

type refusal struct{ Code, Message string }

func (s *state) tool(id string) *toolState {
	for i := range s.Tools {
		if s.Tools[i].ID == id {
			return &s.Tools[i]
		}
	}
	return &toolState{}
}

// browser is one visitor without a browser.
type browser struct {
	t    *testing.T
	url  string
	http *http.Client

	mu     sync.Mutex // guards the fields below
	state  state
	lastID string
	events []string // names, in the order they came
	news   chan struct{}
}

func visit(t *testing.T, url string) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, url: url, http: &http.Client{Jar: jar}, news: make(chan struct{}, 1)}
	if res, _ := b.get("/"); res.StatusCode != http.StatusOK {
		t.Fatalf("the page answers %d", res.StatusCode)
	}
	return b
}

func (b *browser) get(path string) (*http.Response, string) {
	b.t.Helper()
	res, err := b.http.Get(b.url + path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res, string(body)
}

// follow reads the stream until stop is called, or the test ends.
func (b *browser) follow(lastID string) (stop func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/demo/events", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		b.t.Fatalf("the stream answers %d", res.StatusCode)
	}
	var g errgroup.Group
	g.Go(func() error {
		defer res.Body.Close()
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 4<<20)
		var name, id, data string
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ": ")
			switch field {
			case "event":
				name = value
			case "id":
				id = value
			case "data":
				data = value
			case "": // only now the event is whole
				if name != "" {
					b.take(name, id, data)
				}
				name = ""
			}
		}
		return nil
	})
	stop = sync.OnceFunc(func() { cancel(); _ = g.Wait() })
	b.t.Cleanup(stop)
	return stop
}

func (b *browser) take(name, id, data string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	into := map[string]any{"thread": &b.state.Thread, "chat": &b.state.Chat, "tools": &b.state.Tools, "log": &b.state.Log, "ledger": &b.state.Ledger, "deliveries": &b.state.Deliveries}[name]
	b.events = append(b.events, name)
	if into != nil {
		fresh := state{} // what is left out must not stay
		into = map[string]any{"thread": &fresh.Thread, "chat": &fresh.Chat, "tools": &fresh.Tools, "log": &fresh.Log, "ledger": &fresh.Ledger, "deliveries": &fresh.Deliveries}[name]
		if err := json.Unmarshal([]byte(data), into); err != nil {
			b.t.Errorf("section %s: %v", name, err)
		}
		switch name {
		case "thread":
			b.state.Thread = fresh.Thread
		case "chat":
			b.state.Chat = fresh.Chat
		case "tools":
			b.state.Tools = fresh.Tools
		case "log":
			b.state.Log = fresh.Log
		case "ledger":
			b.state.Ledger = fresh.Ledger
		case "deliveries":
			b.state.Deliveries = fresh.Deliveries
		}
		b.lastID = id
	}
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// until waits for the page to show something.
func (b *browser) until(what string, shown func(*state) bool) {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		b.mu.Lock()
		yes := shown(&b.state)
		b.mu.Unlock()
		if yes {
			return
		}
		select {
		case <-b.news:
		case <-deadline:
			b.mu.Lock()
			defer b.mu.Unlock()
			now, _ := json.MarshalIndent(b.state, "", " ")
			b.t.Fatalf("the page never shows: %s\n%.6000s", what, now)
		}
	}
}

// look gives what the page shows now.
func (b *browser) look() state {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state
}

// ask sends an order and gives the code of the refusal, "" for none.
func (b *browser) ask(path string, order map[string]string) (code string) {
	b.t.Helper()
	status, body := b.post(path, order)
	var out struct{ Refused *refusal }
	if err := json.Unmarshal([]byte(body), &out); status != http.StatusOK || err != nil {
		b.t.Fatalf("%s %v: %d %s", path, order, status, body)
	}
	if out.Refused == nil {
		return ""
	}
	return out.Refused.Code
}

func (b *browser) post(path string, order any) (status int, body string) {
	b.t.Helper()
	in, err := json.Marshal(order)
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := b.http.Post(b.url+"/demo/"+path, "application/json", bytes.NewReader(in))
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	out, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return res.StatusCode, string(out)
}

func (b *browser) must(path string, order map[string]string) {
	b.t.Helper()
	if code := b.ask(path, order); code != "" {
		b.t.Fatalf("%s %v: refused with %s", path, order, code)
	}
}

func (b *browser) say(text string) {
	b.t.Helper()
	b.must("customer/message", map[string]string{"text": text})
}

func (b *browser) do(tool, op, to string) {
	b.t.Helper()
	b.must("tool/do", map[string]string{"tool": tool, "op": op, "to": to})
}

func (b *browser) untilChat(from, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("%s says %q to the customer", from, text), func(s *state) bool {
		for _, l := range s.Chat {
			if l.From == from && strings.Contains(l.Text, text) {
				return true
			}
		}
		return false
	})
}

func (b *browser) untilOwner(owner string) {
	b.t.Helper()
	b.until(owner+" is in control", func(s *state) bool { return s.Thread.Owner == owner && (s.tool(owner).Owner || owner == "iva") })
}

// untilSettled waits until what about says was delivered, and nothing waits.
func (b *browser) untilSettled(about string) {
	b.t.Helper()
	b.until("nothing waits after "+about, func(s *state) bool {
		there := false
		for _, d := range s.Deliveries {
			if d.State != "delivered" {
				return false
			}
			there = there || strings.Contains(d.About, about)
		}
		return there
	})
}
