package ect_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/ect"
)

// screen is what a person sees.
type screen struct {
	bell *bell
	mu   sync.Mutex
	buf  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.bell.ring()
	return s.buf.Write(p)
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// keyboard is a terminal session in a test.
type keyboard struct {
	w      *world
	screen *screen
	in     *io.PipeWriter
	done   chan error
}

func sit(t *testing.T, w *world) *keyboard {
	t.Helper()
	r, in := io.Pipe()
	k := &keyboard{w: w, screen: &screen{bell: &w.hub.bell}, in: in, done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { k.done <- ect.Terminal(ctx, w.tool, r, k.screen) }()
	t.Cleanup(func() {
		cancel()
		in.Close()
	})
	k.sees("is on the line")
	return k
}

// types sends a line and waits until the screen shows what is expected after it.
func (k *keyboard) types(line, want string) {
	k.w.t.Helper()
	before := len(k.screen.text())
	if _, err := io.WriteString(k.in, line+"\n"); err != nil {
		k.w.t.Fatal(err)
	}
	k.w.hub.bell.until(k.w.t, fmt.Sprintf("%s shows %q; the screen is\n%s", line, want, k.screen.text()), func() bool {
		return strings.Contains(k.screen.text()[before:], want)
	})
}

func (k *keyboard) sees(want string) {
	k.w.t.Helper()
	k.w.hub.bell.until(k.w.t, fmt.Sprintf("the screen shows %q", want), func() bool { return strings.Contains(k.screen.text(), want) })
}

func TestTerminalShowsWhatArrives(t *testing.T) {
	w := running(t, nil)
	k := sit(t, w)
	d := said("u1", "is anyone\nthere?\x1b[2J\u202e", 1, "iva", 4)
	d.attempt = 2
	d.payload["timestamp"] = w.clock.Now().Format(time.RFC3339Nano)
	w.hub.mustDeliver(delivery{event: "user_events/create_user", id: "cu", payload: map[string]any{"user_id": "u1", "user_name": "Asha"}})
	w.hub.mustDeliver(d)
	want := fmt.Sprintf("%s  Asha           user: is anyone there?\uFFFD[2J\uFFFD  [iva, epoch 4 · verified ✓ · #1 · attempt 2]\n", w.clock.Now().Local().Format("15:04:05"))
	k.sees(want)
	w.hub.mustDeliver(happened("u1", "thread_control/passed", 2, "desk-one", 5, map[string]any{"from": "iva", "to": "desk-one", "by": "iva"}))
	k.sees("thread_control/passed  by iva, from iva, to desk-one, reason pass  [desk-one, epoch 5 · verified ✓ · #2 · attempt 1]")
	bad := said("u1", "forged", 3, "iva", 4)
	bad.mangle = func(h http.Header, _ []byte) { h.Set("webhook-id", "other") }
	if status, _, _ := w.hub.deliver(bad); status != 401 {
		t.Errorf("status %d", status)
	}
	k.sees("REFUSED message/receive: the signature does not match")
	if strings.Contains(k.screen.text(), "\x1b") {
		t.Errorf("control characters on the screen:\n%q", k.screen.text())
	}
}

func TestTerminalColours(t *testing.T) {
	w := running(t, func(c *ect.Config) { c.Colour = true })
	k := sit(t, w)
	w.hub.mustDeliver(said("u1", "hello", 1, "iva", 1))
	k.sees("attempt 1]\x1b[0m\n")
	k.types("/nonsense", "\x1b[31m")
}

func TestTerminalCommands(t *testing.T) {
	w := running(t, nil)
	k := sit(t, w)
	k.types("hello?", "nobody has written yet")
	k.types("/users", "nobody has written yet")
	k.types("/help", "/offer R [reason]")
	w.hub.mustDeliver(said("u1", "hello", 1, "desk-one", 1))
	w.hub.mustDeliver(said("u2", "hello too", 1, "iva", 1))
	w.await(ect.KindUser, 2) // both looked up
	for _, step := range []struct{ line, want string }{
		{"/users", "*  1  Asha"},
		{"how can I help?", "you as tool: how can I help?"},
		{"/allocate Mia Berg", "done: aeu_events/allocated"},
		{"it is Mia now", "you as agent Mia Berg: it is Mia now"},
		{"/received", "done: aeu_events/received"},
		{"/waiting", "done: conversation_state/waiting"},
		{"/pass sac too hard for me", "done: pass sac"},
		{"/pass", "needs a receiver"},
		{"/offer desk-two", "done: offer desk-two"},
		{"/take", "done: take"},
		{"/accept", "done: accept"},
		{"/decline", "done: decline"},
		{"/release", "done: release"},
		{"/request please", "done: request"},
		{"/who", "desk-one         Desk One                 owns the thread, that is you"},
		{"/feed", "0 new from the feed"},
		{"/use 7", "needs a number"},
		{"/use 2", "now answering Asha"},
		{"/complete", "done: conversation_state/complete"},
		{"/nonsense", "no command /nonsense"},
		{"/fail 2", "share from 0 to 1"},
		{"/fail NaN", "share from 0 to 1"},
		{"/fail 0.5", "fail 0.5, delay 0s, down false"},
		{"/delay -1s", "needs a duration"},
		{"/delay 2s", "fail 0.5, delay 2s, down false"},
		{"/down", "fail 0.5, delay 2s, down true"},
		{"/up", "1 hooks enabled again"},
		{"/stats", "Received:2"},
	} {
		k.types(step.line, step.want)
	}
	if got := w.tool.Faults(); got != (ect.Faults{}) {
		t.Errorf("faults after /up: %+v", got)
	}
	var users []any
	for _, path := range []string{"/tract/message/send/", "/tract/events/send/"} {
		for _, r := range w.hub.calls(path) {
			users = append(users, r.Body["user_id"])
		}
	}
	if diff := cmp.Diff([]any{"u1", "u1", "u1", "u1", "u1", "u2"}, users); diff != "" {
		t.Errorf("who was answered (-want +got):\n%s", diff)
	}
	pass := w.hub.calls("/tract/thread_control/request")[0].Body
	if pass["receiver"] != "sac" || pass["reason"] != "too hard for me" {
		t.Errorf("pass: %v", pass)
	}
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path == "/tract/message/send/" {
				return 403, refusal("not_owner", "thread is controlled by sac", "thread_owner", "sac", "control_epoch", 9)
			}
			return 0, nil
		}
	})
	k.types("am I heard?", "not_owner: thread is controlled by sac (owner sac)")
	if _, err := io.WriteString(k.in, "/quit\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-k.done; err != nil {
		t.Errorf("Terminal: %v", err)
	}
}

func TestTerminalEnds(t *testing.T) {
	w := running(t, nil)
	k := sit(t, w)
	k.in.Close()
	if err := <-k.done; err != nil {
		t.Errorf("at the end of its input: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, in := io.Pipe()
	defer in.Close()
	done := make(chan error, 1)
	go func() { done <- ect.Terminal(ctx, w.tool, r, io.Discard) }()
	cancel()
	if err := <-done; err != nil {
		t.Errorf("when stopped: %v", err)
	}
	seen := len(k.screen.text())
	w.hub.mustDeliver(said("u1", "hello", 1, "iva", 1))
	w.await(ect.KindMessage, 1)
	if len(k.screen.text()) != seen {
		t.Error("a session that has ended still prints")
	}
}
