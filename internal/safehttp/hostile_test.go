package safehttp_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tract/internal/safehttp"
)

const (
	deadline = 300 * time.Millisecond
	patience = 5 * time.Second // by far more than a call may take, even on a busy machine
	ok       = "HTTP/1.1 200 OK\r\n"
)

// hostile listens and lets behave loose on each connection until the test ends.
func hostile(t *testing.T, behave func(c net.Conn, over <-chan struct{})) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer c.Close()
				behave(c, over)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(over)
		running.Wait()
	})
	return l.Addr().String()
}

// after reads the request's head and first bytes, then answers with text.
func after(text string) func(net.Conn, <-chan struct{}) {
	return func(c net.Conn, over <-chan struct{}) {
		readSome(c)
		_, _ = io.WriteString(c, text)
		<-over
	}
}

// forever answers with head and then part without end, as long as someone reads.
func forever(head, part string) func(net.Conn, <-chan struct{}) {
	return func(c net.Conn, _ <-chan struct{}) {
		readSome(c)
		_, err := io.WriteString(c, head)
		for err == nil {
			_, err = io.WriteString(c, part)
		}
	}
}

// trickle answers with head and then a byte now and then.
func trickle(head string) func(net.Conn, <-chan struct{}) {
	return func(c net.Conn, over <-chan struct{}) {
		readSome(c)
		_, err := io.WriteString(c, head)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for err == nil {
			select {
			case <-over:
				return
			case <-tick.C:
				_, err = io.WriteString(c, "x")
			}
		}
	}
}

// slam answers with head and resets the connection.
func slam(head string) func(net.Conn, <-chan struct{}) {
	return func(c net.Conn, _ <-chan struct{}) {
		readSome(c)
		_, _ = io.WriteString(c, head)
		_ = c.(*net.TCPConn).SetLinger(0)
	}
}

func readSome(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }

func idle(_ net.Conn, over <-chan struct{}) { <-over }

func zipped(t *testing.T, n int) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestHostileReceivers(t *testing.T) {
	bomb := zipped(t, 10<<20)
	line := "X-Filler: " + strings.Repeat("a", 1000) + "\r\n"
	tests := []struct {
		name   string
		behave func(net.Conn, <-chan struct{})
		scheme string
		body   string
		class  string
		status int // of an answer that is accepted
		size   int // of its body, as far as read
	}{
		{name: "never reads, never answers", behave: idle, body: strings.Repeat("x", 32<<20), class: "timeout"},
		{name: "never answers", behave: after(""), class: "timeout"},
		{name: "stops in the headers", behave: after(ok + "Content-"), class: "timeout"},
		{name: "stops in the body", behave: after(ok + "Content-Length: 9\r\n\r\nhalf"), class: "timeout"},
		{name: "trickles headers", behave: trickle(ok + "X-Slow: "), class: "timeout"},
		{name: "trickles the body", behave: trickle(ok + "Content-Length: 9000\r\n\r\n"), class: "timeout"},
		{name: "trickles a chunk", behave: trickle(ok + "Transfer-Encoding: chunked\r\n\r\nffff\r\n"), class: "timeout"},
		{name: "no TLS handshake", behave: idle, scheme: "https", class: "timeout"},
		{name: "hangs up in the TLS handshake", behave: slam(""), scheme: "https", class: "reset"},
		{name: "endless headers", behave: forever(ok, line), class: "too_large"},
		{name: "one endless header", behave: forever(ok+"X-Filler: ", strings.Repeat("a", 1000)), class: "too_large"},
		{name: "endless provisional answers", behave: forever("", "HTTP/1.1 103 Early Hints\r\n"+line+"\r\n"), class: "too_large"},
		{name: "reset before the answer", behave: slam(""), class: "reset"},
		{name: "reset in the body", behave: slam(ok + "Content-Length: 9\r\n\r\nhalf"), class: "reset"},
		{name: "not HTTP", behave: after("SSH-2.0-OpenSSH_9.9\r\n\r\n"), class: "connection"},
		{name: "two lengths", behave: after(ok + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"), class: "connection"},
		{name: "endless body", behave: forever(ok+"\r\n", line), status: 200, size: 16 << 10},
		{name: "endless chunks", behave: forever(ok+"Transfer-Encoding: chunked\r\n\r\n", "4\r\nabcd\r\n"), status: 200, size: 16 << 10},
		{name: "zip bomb", behave: after(ok + "Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + bomb + strings.Repeat("x", 16<<10)), status: 200, size: 16 << 10},
		{name: "switches protocols", behave: after("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"), status: 101},
		{name: "answers without reading on", behave: after(ok + "Content-Length: 2\r\n\r\nhi"), body: strings.Repeat("x", 32<<20), status: 200, size: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newClient(t, safehttp.Config{Policy: open, Timeout: deadline})
			scheme, body := tt.scheme, tt.body
			if scheme == "" {
				scheme = "http"
			}
			if body == "" {
				body = "{}"
			}
			req := post(t, scheme+"://"+hostile(t, tt.behave)+"/hook", body)
			resp, err := within(t, func() (*safehttp.Response, error) { return c.Do(t.Context(), req) })
			if tt.class != "" {
				if got := safehttp.Class(err); got != tt.class {
					t.Errorf("class %q, want %q: %v, %v", got, tt.class, resp, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if resp.Status != tt.status || len(resp.Body) != tt.size || resp.Truncated != (tt.size == 16<<10) {
				t.Errorf("status %d, %d bytes, truncated %v", resp.Status, len(resp.Body), resp.Truncated)
			}
			if bytes.Count(resp.Body, []byte{0}) > len(resp.Body)/2 {
				t.Error("the bomb was unpacked")
			}
		})
	}
}

// A cut answer leaves unread bytes on the connection: it must not be used again.
func TestCutAnswerClosesTheConnection(t *testing.T) {
	c := newClient(t, safehttp.Config{Policy: open, MaxResponse: 4})
	srv, accepted := receiver(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "too long") })
	for range 3 {
		if got, err := c.Do(t.Context(), post(t, srv.URL, "x")); err != nil || string(got.Body) != "too " {
			t.Fatalf("%v, %v", got, err)
		}
	}
	if n := accepted.Load(); n != 3 {
		t.Errorf("3 cut answers over %d connections", n)
	}
}

// within fails the test if call does not return in time.
func within[T any](t *testing.T, call func() (T, error)) (T, error) {
	t.Helper()
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := call()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-time.After(patience):
		t.Fatal("the call outlived its deadline")
		panic("not reached")
	}
}
