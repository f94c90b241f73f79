package safehttp_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tract/internal/safehttp"
)

// open lets a test call receivers on this machine.
var open = safehttp.Policy{AllowPrivate: true}

// newClient closes its connections when the test ends, and then nothing may be
// left running. Call it first, so that this check comes last.
func newClient(t *testing.T, cfg safehttp.Config) *safehttp.Client {
	t.Helper()
	t.Cleanup(func() { goleak.VerifyNone(t) })
	c := safehttp.New(cfg)
	t.Cleanup(c.CloseIdle)
	return c
}

// receiver is an HTTP server that counts the connections it accepted.
func receiver(t *testing.T, h http.HandlerFunc) (*httptest.Server, *atomic.Int64) {
	t.Helper()
	srv := httptest.NewUnstartedServer(h)
	accepted := new(atomic.Int64)
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			accepted.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	return srv, accepted
}

func post(t *testing.T, target, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestDo(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: open, UserAgent: "tract/test", MaxResponse: 8})
	srv, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for _, name := range []string{"User-Agent", "Accept-Encoding", "Idempotency-Key", "X-Idempotency-Key", "X-Other"} {
			w.Header().Set("Saw-"+name, strings.Join(r.Header[name], "|"))
		}
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	})
	tests := []struct {
		name, body, want string
		truncated        bool
	}{
		{"empty", "", "", false},
		{"shorter", "1234567", "1234567", false},
		{"exactly the limit", "12345678", "12345678", false},
		{"longer", "123456789", "12345678", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := post(t, srv.URL, tt.body)
			req.Header = http.Header{"idempotency-key": {"a"}, "Idempotency-Key": {"b"}, "X-Idempotency-Key": {"c"}, "X-Other": {"d"}}
			got, err := c.Do(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if got.Status != http.StatusTeapot || string(got.Body) != tt.want || got.Truncated != tt.truncated {
				t.Errorf("got %d %q truncated %v", got.Status, got.Body, got.Truncated)
			}
			for name, want := range map[string]string{
				"User-Agent": "tract/test", "Accept-Encoding": "", "Idempotency-Key": "", "X-Idempotency-Key": "", "X-Other": "d",
			} {
				if saw := got.Header.Get("Saw-" + name); saw != want {
					t.Errorf("the receiver saw %s: %q, want %q", name, saw, want)
				}
			}
		})
	}
	req := post(t, srv.URL, "")
	req.Header.Set("User-Agent", "own")
	if got, err := c.Do(t.Context(), req); err != nil || got.Header.Get("Saw-User-Agent") != "own" {
		t.Errorf("own user agent: %v, %v", got, err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: open})
	target, reached := receiver(t, func(http.ResponseWriter, *http.Request) {})
	for _, status := range []int{301, 302, 303, 307, 308} {
		srv, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", target.URL)
			w.WriteHeader(status)
		})
		got, err := c.Do(t.Context(), post(t, srv.URL, "x"))
		if err != nil || got.Status != status || got.Header.Get("Location") != target.URL {
			t.Errorf("%d: %v, %v", status, got, err)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the target was connected to %d times", n)
	}
}

// TestMain names a proxy that nobody can reach: net/http reads these variables
// only once, so that a single test could not set them.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestProxyIsIgnored(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true, Resolver: names{"hook.example": {"127.0.0.1"}}}})
	srv, reached := receiver(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	if _, err := c.Do(t.Context(), post(t, "http://hook.example:"+port, "x")); err != nil {
		t.Error(err)
	}
	if n := reached.Load(); n != 1 {
		t.Errorf("the receiver was connected to %d times, want 1", n)
	}
}

// Calls one after the other use one connection, whatever the answers look like,
// as long as they fit; concurrent ones keep theirs.
func TestKeepAlive(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: open, MaxResponse: 64})
	const parallel = 40
	arrived, release := make(chan struct{}, parallel), make(chan struct{})
	srv, accepted := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/full":
			_, _ = w.Write(bytes.Repeat([]byte("x"), 64))
		case "/chunked":
			_, _ = w.Write([]byte("a"))
			w.(http.Flusher).Flush()
			_, _ = w.Write([]byte("b"))
		case "/error":
			http.Error(w, "no", http.StatusServiceUnavailable)
		case "/wait":
			arrived <- struct{}{}
			<-release
		}
	})
	for range 5 {
		for _, path := range []string{"/empty", "/full", "/chunked", "/error"} {
			if _, err := c.Do(t.Context(), post(t, srv.URL+path, "x")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := accepted.Load(); n != 1 {
		t.Errorf("20 calls in turn took %d connections, want 1", n)
	}
	for round := range 2 {
		done := make(chan error, parallel)
		for range parallel {
			req := post(t, srv.URL+"/wait", "x")
			go func() {
				_, err := c.Do(t.Context(), req)
				done <- err
			}()
		}
		for range parallel {
			<-arrived
		}
		for range parallel {
			release <- struct{}{}
		}
		for range parallel {
			if err := <-done; err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
	}
	if n := accepted.Load(); n != parallel {
		t.Errorf("two rounds of %d calls took %d connections", parallel, n)
	}
}

// A receiver that takes a request on a kept connection and hangs up has perhaps
// acted on it: the request must not be sent again.
func TestRequestIsNotSentTwice(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: open})
	var requests atomic.Int64
	srv, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if requests.Add(1) == 2 {
			panic(http.ErrAbortHandler)
		}
	})
	if _, err := c.Do(t.Context(), post(t, srv.URL, "first")); err != nil {
		t.Fatal(err)
	}
	req := post(t, srv.URL, "second")
	req.Header.Set("Idempotency-Key", "k")
	_, err := c.Do(t.Context(), req)
	if got := safehttp.Class(err); got != "reset" && got != "connection" {
		t.Errorf("class %q: %v", got, err)
	}
	if n := requests.Load(); n != 2 {
		t.Errorf("the receiver saw %d requests, want 2", n)
	}
}

// rebinding answers with a public address first, then with the given one.
type rebinding struct {
	asked atomic.Int64
	then  string
}

func (r *rebinding) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	if r.asked.Add(1) == 1 {
		return []netip.Addr{netip.MustParseAddr("8.8.8.8")}, nil
	}
	return []netip.Addr{netip.MustParseAddr(r.then)}, nil
}

func TestRebindingNeverConnects(t *testing.T) {
	for _, then := range []string{"127.0.0.1", "::ffff:127.0.0.1"} {
		t.Run(then, func(t *testing.T) {
			policy := safehttp.Policy{Resolver: &rebinding{then: then}}
			c := newClient(t, safehttp.Config{Policy: policy})
			sentinel, reached := receiver(t, func(http.ResponseWriter, *http.Request) {})
			_, port, _ := net.SplitHostPort(sentinel.Listener.Addr().String())
			u, err := policy.CheckURL("https://rebind.example:" + port + "/hook?key=canary")
			if err != nil {
				t.Fatal(err)
			}
			if err := policy.CheckHost(t.Context(), u); err != nil {
				t.Fatalf("at registration the address was public: %v", err)
			}
			_, err = c.Do(t.Context(), post(t, u.String(), "x"))
			if safehttp.Class(err) != "blocked_address" || !errors.Is(err, safehttp.ErrBlocked) {
				t.Errorf("got %v", err)
			}
			if n := reached.Load(); n != 0 {
				t.Errorf("the sentinel was connected to %d times", n)
			}
		})
	}
}

func TestStrictTargets(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: safehttp.Policy{Resolver: names{"both.example": {"8.8.8.8", "127.0.0.1"}}}})
	sentinel, reached := receiver(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(sentinel.Listener.Addr().String())
	for _, target := range []string{
		"http://127.0.0.1:" + port, "https://127.0.0.1:" + port, "https://[::ffff:127.0.0.1]:" + port,
		"https://both.example:" + port, "http://both.example:" + port, "https://8.8.8.8:22", "ftp://8.8.8.8/",
	} {
		_, err := c.Do(t.Context(), post(t, target, "x"))
		if safehttp.Class(err) != "blocked_address" {
			t.Errorf("%s: %v", target, err)
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("the sentinel was connected to %d times", n)
	}
}

func TestGet(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: open, MaxResponse: 4, UserAgent: "tract/test"})
	srv, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.URL.Query().Get("text")))
	})
	if got, err := c.Get(t.Context(), srv.URL+"/?text=abcd"); err != nil || string(got.Body) != "abcd" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := c.Get(t.Context(), srv.URL+"/?text=abcde"); safehttp.Class(err) != "too_large" {
		t.Errorf("too long: %v", err)
	}
	if _, err := c.Get(t.Context(), "ftp://example.com/"); err == nil {
		t.Error("ftp was fetched")
	}
}

func TestTLS(t *testing.T) {
	resolver := names{"example.com": {"127.0.0.1"}, "wrong.test": {"127.0.0.1"}}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Proto", r.Proto)
	}))
	srv.EnableHTTP2 = true
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are wanted here
	roots := x509.NewCertPool()
	trusting := newClient(t, safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true, Resolver: resolver}, RootCAs: roots})
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots.AddCert(srv.Certificate())
	plain, _ := receiver(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())

	got, err := trusting.Do(t.Context(), post(t, "https://example.com:"+port, "x"))
	if err != nil || got.Header.Get("Proto") != "HTTP/1.1" {
		t.Errorf("good certificate: %v, %v", got, err)
	}
	stranger := safehttp.New(safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true, Resolver: resolver}, RootCAs: x509.NewCertPool()})
	t.Cleanup(stranger.CloseIdle)
	for name, call := range map[string]struct {
		client *safehttp.Client
		target string
		says   string
	}{
		"another name":      {trusting, "https://wrong.test:" + port, "wrong.test"},
		"unknown issuer":    {stranger, "https://example.com:" + port, "unknown authority"},
		"no TLS over there": {trusting, strings.Replace(plain.URL, "http:", "https:", 1), "TLS handshake"},
	} {
		_, err := call.client.Do(t.Context(), post(t, call.target, "x"))
		if safehttp.Class(err) != "tls" || !strings.Contains(err.Error(), call.says) {
			t.Errorf("%s: %s, %v", name, safehttp.Class(err), err)
		}
	}
}

// A dead first address is not the end.
func TestNextAddress(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true, Resolver: names{"two.example": {"127.0.0.2", "127.0.0.1"}}}})
	srv, _ := receiver(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	if _, err := c.Do(t.Context(), post(t, "http://two.example:"+port, "x")); err != nil {
		t.Error(err)
	}
}

func TestErrorTextsKeepSecrets(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: safehttp.Policy{AllowPrivate: true, Resolver: names{"dead.example": {"127.0.0.1"}}}})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(closed.Addr().String())
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ target, class string }{
		{"http://user:canary@dead.example:" + port + "/canary?key=canary#canary", "refused"},
		{"http://missing.example/canary?key=canary", "dns"},
		{"ftp://user:canary@dead.example/?key=canary", "blocked_address"},
	}
	for _, tt := range tests {
		req := post(t, tt.target, "canary")
		req.Header.Set("Authorization", "Bearer canary")
		_, err := c.Do(t.Context(), req)
		if safehttp.Class(err) != tt.class {
			t.Errorf("%s: class %q: %v", tt.target, safehttp.Class(err), err)
		}
		if text := err.Error(); strings.Contains(text, "canary") || strings.Contains(text, "10.9.8.7") || !strings.Contains(text, req.URL.Hostname()) {
			t.Errorf("text %q", text)
		}
	}
}

func TestGivenUp(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: open, Timeout: time.Minute})
	ctx, cancel := context.WithCancel(t.Context())
	srv, _ := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	})
	_, err := c.Do(ctx, post(t, srv.URL, "x"))
	if !errors.Is(err, context.Canceled) || safehttp.Class(err) != "connection" {
		t.Errorf("%s: %v", safehttp.Class(err), err)
	}
}

func TestClass(t *testing.T) {
	if got := safehttp.Class(nil); got != "" {
		t.Errorf("no error: %q", got)
	}
	if got := safehttp.Class(errors.New("other")); got != "connection" {
		t.Errorf("foreign error: %q", got)
	}
	u := &url.URL{Host: "127.0.0.1"}
	if got := safehttp.Class((safehttp.Policy{}).CheckHost(t.Context(), u)); got != "blocked_address" {
		t.Errorf("from CheckHost: %q", got)
	}
}

func TestRedact(t *testing.T) {
	tests := []struct{ in, want string }{
		{"https://example.com/hook", "https://example.com/hook"},
		{"https://user:pw@example.com:8443/a/b?token=x#y", "https://example.com:8443/a/b"},
		{"https://example.com/?", "https://example.com/"},
		{"https://example.com/%zz?token=x", "unreadable URL"},
		{"mailto:someone@example.com", "unreadable URL"},
		{"", ""},
	}
	for _, tt := range tests {
		if got := safehttp.Redact(tt.in); got != tt.want {
			t.Errorf("Redact(%q) = %q, want %q", tt.in, got, tt.want)
		}
	}
}

func BenchmarkDo(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	c := safehttp.New(safehttp.Config{Policy: open})
	defer c.CloseIdle()
	body := bytes.Repeat([]byte("x"), 600)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			req, err := http.NewRequest(http.MethodPost, srv.URL, bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			if _, err := c.Do(context.Background(), req); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
