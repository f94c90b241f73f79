package web_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tract/internal/tracttest"
	"tract/internal/web"
)

// newMux makes a mux whose ids count up and whose log is kept.
func newMux(t *testing.T) (*web.Mux, *logBook) {
	t.Helper()
	book := &logBook{}
	return web.NewMux(web.Config{
		Log:   slog.New(slog.NewJSONHandler(book, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Now:   tracttest.NewClock().Now,
		NewID: func() string { return "req_made" },
	}), book
}

// logBook keeps log lines.
type logBook struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// lines gives the lines with this message.
func (l *logBook) lines(msg string) (out []map[string]any) {
	for line := range strings.Lines(l.String()) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) == nil && m["msg"] == msg {
			out = append(out, m)
		}
	}
	return out
}

// call runs one request through a handler, without a network.
func call(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// object reads an answer's body.
func object(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		t.Fatalf("body %q: %v", w.Body, err)
	}
	return m
}

// listen serves a handler on loopback with the server's real limits.
func listen(t *testing.T, h http.Handler) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := web.NewServer("", h, nil)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().String()
}

// raw sends bytes and returns everything that comes back until the other side
// closes.
func raw(t *testing.T, addr, send string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		_, _ = io.WriteString(c, send)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, _ := io.ReadAll(c) // a reset after the answer is fine
	return string(got)
}

// statuses gives the status of each answer in what raw returned.
func statuses(t *testing.T, got string) (out []int) {
	t.Helper()
	for r := bufio.NewReader(strings.NewReader(got)); ; {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			return out
		}
		_, _ = io.Copy(io.Discard, res.Body)
		out = append(out, res.StatusCode)
	}
}

// pipeListener hands out in-memory connections, so that a test in a synctest
// bubble has its own time.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

func (l *pipeListener) dial() net.Conn {
	here, there := net.Pipe()
	l.conns <- there
	return here
}

// pipeServer serves a handler inside a synctest bubble.
func pipeServer(t *testing.T, h http.Handler) (*pipeListener, *http.Server) {
	t.Helper()
	l := newPipeListener()
	s := web.NewServer("", h, nil)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return l, s
}

func wallClock() time.Time { return time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC) }

func background() context.Context { return context.Background() }

func ok(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
	return web.JSON(http.StatusOK, map[string]any{"ok": true}), nil
}
