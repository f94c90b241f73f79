package ect_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"tract"
	"tract/internal/ect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestNewNamesWhatIsMissing(t *testing.T) {
	id, err := ect.NewIdentity("desk-one.example", ect.ECDSA, birth)
	if err != nil {
		t.Fatal(err)
	}
	good := ect.Config{Hub: "http://127.0.0.1:1", Identity: id, CertUUID: "u", ClientID: "acme", ReceiverID: "desk-one", Listen: "127.0.0.1:0", Now: (&clock{now: birth}).Now}
	if _, err := ect.New(good); err != nil {
		t.Fatalf("a good configuration: %v", err)
	}
	tests := map[string]func(*ect.Config){
		"Hub":        func(c *ect.Config) { c.Hub = "127.0.0.1:1" },
		"Identity":   func(c *ect.Config) { c.Identity = nil },
		"CertUUID":   func(c *ect.Config) { c.CertUUID = "" },
		"ClientID":   func(c *ect.Config) { c.ClientID = "" },
		"ReceiverID": func(c *ect.Config) { c.ReceiverID = "" },
		"Now":        func(c *ect.Config) { c.Now = nil },
		"Listen":     func(c *ect.Config) { c.Listen = "" },
		"PublicURL":  func(c *ect.Config) { c.PublicURL = "tool.example" },
	}
	for name, spoil := range tests {
		cfg := good
		spoil(&cfg)
		if _, err := ect.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("error %v does not name %s", err, name)
		}
	}
}

func TestCompleteAfterText(t *testing.T) {
	tests := []struct {
		text string
		want ect.CompleteAfter
		ok   bool
	}{
		{"30s", ect.CompleteAfter{Silence: 30 * time.Second}, true},
		{"3", ect.CompleteAfter{Replies: 3}, true},
		{"0", ect.CompleteAfter{}, false},
		{"-1s", ect.CompleteAfter{}, false},
		{"soon", ect.CompleteAfter{}, false},
	}
	for _, tt := range tests {
		var got ect.CompleteAfter
		if err := got.UnmarshalText([]byte(tt.text)); (err == nil) != tt.ok || got != tt.want {
			t.Errorf("%q: %+v, %v", tt.text, got, err)
		}
	}
}

func TestRunRegistersEveryHook(t *testing.T) {
	w := running(t, nil)
	var want []string
	for _, s := range []string{"bot", "waiting", "pinned", "complete"} {
		want = append(want, "conversation_state/"+s)
	}
	want = append(want, "user_events/create_user")
	for _, s := range []string{"passed", "taken", "released", "reset", "failed_over", "requested", "offered", "accepted", "declined", "expired"} {
		want = append(want, "thread_control/"+s)
	}
	want = append(want, "message/receive") // last: it makes the tool available
	if diff := cmp.Diff(want, w.hub.registered()); diff != "" {
		t.Errorf("hooks (-want +got):\n%s", diff)
	}
	for _, r := range w.hub.calls("/tract/hooks/register/") {
		if r.Body["rotate_secret"] != true {
			t.Errorf("registered without a new secret: %v", r.Body)
		}
	}
	if n := len(w.hub.calls("/tract/management/token/issue/")); n != 1 {
		t.Errorf("%d tokens for one registration", n)
	}
	w.hub.mustDeliver(delivery{event: "user_events/create_user", id: "ping", payload: map[string]any{"ping": true}})
	w.await(ect.KindPing, 1)
}

func TestRSAIdentityIsAccepted(t *testing.T) {
	c := &clock{now: birth}
	id, err := ect.NewIdentity("desk-one.example", ect.RSA, birth)
	if err != nil {
		t.Fatal(err)
	}
	hub := newFakeHub(t, id, c)
	running(t, func(cfg *ect.Config) { cfg.Hub, cfg.Identity = hub.srv.URL, id })
	if hub.tokens() != 1 {
		t.Errorf("%d tokens issued", hub.tokens())
	}
}

func TestRunWaitsForTheHub(t *testing.T) {
	w := newWorld(t, nil)
	var mu sync.Mutex
	left := 2
	w.hub.set(func(h *fakeHub) {
		h.script = func(request) (int, any) {
			mu.Lock()
			defer mu.Unlock()
			if left > 0 {
				left--
				return 503, refusal("unavailable", "starting")
			}
			return 0, nil
		}
	})
	w.run()
	select {
	case <-w.tool.Ready():
	case <-time.After(patience):
		t.Fatal("never registered")
	}
	if got := w.heard(ect.KindProblem); len(got) != 2 || tract.KindOf(got[0].Err) != tract.KindUnavailable {
		t.Errorf("problems told: %+v", got)
	}
}

func TestRunWaitsForAnUnreachableHub(t *testing.T) {
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	w := newWorld(t, func(c *ect.Config) { c.Hub = dead.URL })
	w.run()
	got := w.await(ect.KindProblem, 1)
	if !errors.Is(got[0].Err, ect.ErrUnreachable) {
		t.Errorf("told: %v", got[0].Err)
	}
	if err := w.stop(); err != nil { // in the middle of the pause
		t.Errorf("Run: %v", err)
	}
}

func TestRunEndsWhenTheHubRefuses(t *testing.T) {
	w := newWorld(t, func(c *ect.Config) { c.CertUUID = "another" })
	err := w.tool.Run(context.Background())
	if tract.CodeOf(err) != "unknown_certificate" || !strings.Contains(err.Error(), "register hook") {
		t.Errorf("Run: %v", err)
	}
}

func TestRunNeedsItsAddress(t *testing.T) {
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	w := newWorld(t, func(c *ect.Config) { c.Listen = strings.TrimPrefix(taken.URL, "http://") })
	if err := w.tool.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "listen") {
		t.Errorf("Run: %v", err)
	}
}

func TestHandlerBehindAnotherServer(t *testing.T) {
	var handler http.Handler
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.StripPrefix("/tools/one", handler).ServeHTTP(w, r)
	}))
	defer front.Close()
	w := newWorld(t, func(c *ect.Config) { c.Listen, c.PublicURL = "", front.URL+"/tools/one/" })
	handler = w.tool.Handler()
	w.run()
	<-w.tool.Ready()
	w.hub.mustDeliver(said("u1", "hello", 1, "iva", 1))
	if diff := cmp.Diff([]string{"hello"}, w.texts("u1")); diff != "" {
		t.Error(diff)
	}
}

// eofBell says when a body has been read.
type eofBell struct {
	io.ReadCloser
	read func()
}

func (b eofBell) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.read()
	}
	return n, err
}

func TestHookWaitsForItsSecret(t *testing.T) {
	arrived := make(chan struct{})
	arrive := sync.OnceFunc(func() { close(arrived) })
	var handler http.Handler
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = eofBell{r.Body, arrive}
		handler.ServeHTTP(w, r)
	}))
	defer front.Close()
	w := newWorld(t, func(c *ect.Config) { c.Listen, c.PublicURL = "", front.URL })
	handler = w.tool.Handler()
	answered := make(chan int, 1)
	// The hub calls the hook before it gives the answer that holds the secret.
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path != "/tract/hooks/register/" || r.Body["subcategory"] != "receive" {
				return 0, nil
			}
			h.mu.Lock()
			status, body := h.register(r.Body)
			h.mu.Unlock()
			go func() {
				got, _, err := h.deliver(said("u1", "early", 1, "iva", 1))
				if err != nil {
					h.t.Errorf("deliver: %v", err)
				}
				answered <- got
			}()
			<-arrived
			return status, body
		}
	})
	w.run()
	if got := <-answered; got != 200 {
		t.Errorf("an early call was answered %d", got)
	}
}

func TestRunLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	w := newWorld(t, func(c *ect.Config) {
		c.GapGrace, c.Rules = time.Minute, ect.Rules{Reply: "ok", CompleteAfter: ect.CompleteAfter{Silence: time.Minute}}
	})
	stuck := make(chan struct{})
	release := sync.OnceFunc(func() { close(stuck) })
	t.Cleanup(release)
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path == "/tract/message/send/" && r.Body["user_id"] == "u1" {
				<-stuck // the tool is in the middle of a rule when it is stopped
			}
			return 0, nil
		}
	})
	w.run()
	<-w.tool.Ready()
	w.hub.mustDeliver(said("u1", "with a gap before it", 2, "desk-one", 1))
	w.hub.awaitCalls("/tract/user/", 1)
	w.hub.bell.until(t, "the rule is at work", func() bool { return len(w.hub.calls("/tract/message/send/")) == 1 })
	w.hub.mustDeliver(said("u2", "whose answer leaves an idle connection", 1, "desk-one", 1))
	w.await(ect.KindSent, 1)
	if err := w.stop(); err != nil {
		t.Fatal(err)
	}
	release()
	w.hub.bell.until(t, "the tool hangs up", func() bool { return w.hub.connections() == 0 })
	w.hub.srv.Close()
	goleak.VerifyNone(t, before)
	if got := w.heard(ect.KindProblem); len(got) != 0 {
		t.Errorf("being stopped is told as a problem: %+v", got)
	}
}

func TestTokenIsRenewed(t *testing.T) {
	ctx := context.Background()
	w := running(t, nil)
	send := func() {
		t.Helper()
		if _, err := w.tool.Send(ctx, "u1", "hi", ""); err != nil {
			t.Fatal(err)
		}
	}
	send()
	w.clock.Advance(58 * time.Minute)
	send()
	if w.hub.tokens() != 1 {
		t.Fatalf("%d tokens before the first is about to expire", w.hub.tokens())
	}
	w.clock.Advance(90 * time.Second) // half a minute before it expires
	send()
	if w.hub.tokens() != 2 {
		t.Fatalf("%d tokens after the first ran out", w.hub.tokens())
	}
	w.hub.set(func(h *fakeHub) { h.token = "revoked" })
	before := len(w.hub.calls("/tract/message/send/"))
	send()
	sends := w.hub.calls("/tract/message/send/")[before:]
	if w.hub.tokens() != 3 || len(sends) != 2 || sends[0].Token == sends[1].Token {
		t.Errorf("after a 401: %d tokens, sends %v", w.hub.tokens(), sends)
	}
}

func TestTokenRefusedTwiceIsAnError(t *testing.T) {
	w := running(t, nil)
	w.hub.set(func(h *fakeHub) {
		h.script = func(r request) (int, any) {
			if r.Path == "/tract/message/send/" {
				return 401, refusal("invalid_token", "no")
			}
			return 0, nil
		}
	})
	_, err := w.tool.Send(context.Background(), "u1", "hi", "")
	if tract.KindOf(err) != tract.KindUnauthorized || len(w.hub.calls("/tract/message/send/")) != 2 {
		t.Errorf("%v after %d calls", err, len(w.hub.calls("/tract/message/send/")))
	}
}

func TestOneTokenForManyCallers(t *testing.T) {
	w := running(t, nil)
	w.clock.Advance(2 * time.Hour)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := w.tool.Send(context.Background(), "u1", "hi", ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if w.hub.tokens() != 2 {
		t.Errorf("%d tokens were asked for", w.hub.tokens())
	}
}
