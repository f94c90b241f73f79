package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"tract/internal/web"
)

func TestStreamFormat(t *testing.T) {
	m, _ := newMux(t)
	m.Handle("GET /s", web.Hub, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		st := web.OpenStream(w, r)
		st.Send(web.StreamEvent{ID: "17", Name: "entry", Data: []byte(`{"a":1}`)})
		st.Send(web.StreamEvent{Data: []byte("one\ntwo\r\nthree\rfour")})
		st.Send(web.StreamEvent{ID: "1\ndata: forged", Name: "x\r\rdata: forged", Data: nil})
		return web.Answer{}, nil
	})
	w := call(m, "GET", "/s", "")
	want := "retry: 2000\n\nid: 17\nevent: entry\ndata: {\"a\":1}\n\ndata: one\ndata: two\ndata: three\ndata: four\n\nid: 1 data: forged\nevent: x  data: forged\ndata: \n\n"
	if w.Body.String() != want {
		t.Errorf("got %q\nwant %q", w.Body, want)
	}
	h := w.Header()
	if w.Code != 200 || h.Get("Content-Type") != "text/event-stream; charset=utf-8" || h.Get("Cache-Control") != "no-store" || h.Get("Content-Length") != "" || !w.Flushed {
		t.Errorf("%d %v", w.Code, h)
	}
}

// ticking is a stream that sends what comes over a channel.
func ticking(m *web.Mux, wake chan struct{}, left chan string) {
	m.Handle("GET /s", web.Hub, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		st := web.OpenStream(w, r)
		n := 0
		for ok := true; ok; ok = st.Wait(wake) {
			st.Send(web.StreamEvent{ID: fmt.Sprint(n), Data: []byte("x")})
			n++
		}
		left <- fmt.Sprint("left after ", n)
		return web.Answer{}, nil
	})
}

const openStream = "GET /s HTTP/1.1\r\nHost: x\r\n\r\n"

// readUntil reads up to and with a piece of text.
func readUntil(t *testing.T, r *bufio.Reader, piece string) string {
	t.Helper()
	var b strings.Builder
	for !strings.HasSuffix(b.String(), piece) {
		c, err := r.ReadByte()
		if err != nil {
			t.Fatalf("%v after %q, waiting for %q", err, b.String(), piece)
		}
		b.WriteByte(c)
	}
	return b.String()
}

func TestStreamsOutliveTheServersTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newMux(t)
		wake, left := make(chan struct{}, 1), make(chan string, 1)
		ticking(m, wake, left)
		l, s := pipeServer(t, m)
		c := l.dial()
		begin := time.Now()
		_, _ = io.WriteString(c, openStream)
		r := bufio.NewReader(c)
		readUntil(t, r, "id: 0\ndata: x\n\n")
		for i := range 8 { // two minutes without news
			readUntil(t, r, ":\n\n")
			if since := time.Since(begin); since != time.Duration(i+1)*15*time.Second {
				t.Fatalf("heartbeat %d after %v", i, since)
			}
		}
		wake <- struct{}{}
		if got := readUntil(t, r, "data: x\n\n"); !strings.Contains(got, "id: 1\n") {
			t.Errorf("got %q", got)
		}
		// Shutdown ends the stream instead of waiting for it.
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(context.Background()) }()
		rest, _ := io.ReadAll(r)
		if err := <-down; err != nil {
			t.Error(err)
		}
		if got := <-left; got != "left after 2" {
			t.Error(got)
		}
		if !strings.HasSuffix(string(rest), "0\r\n\r\n") {
			t.Errorf("the stream does not end properly: %q", rest)
		}
		if since := time.Since(begin); since > 121*time.Second {
			t.Errorf("shutdown took until %v", since)
		}
	})
}

func TestStreamEndsWhenTheCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, book := newMux(t)
		wake, left := make(chan struct{}, 1), make(chan string, 1)
		ticking(m, wake, left)
		l, _ := pipeServer(t, m)
		c := l.dial()
		_, _ = io.WriteString(c, openStream)
		readUntil(t, bufio.NewReader(c), "data: x\n\n")
		begin := time.Now()
		c.Close()
		if got := <-left; got != "left after 1" || time.Since(begin) != 0 {
			t.Error(got, time.Since(begin))
		}
		synctest.Wait()
		if n := len(book.lines("request failed")); n != 0 {
			t.Errorf("leaving is no failure:\n%s", book)
		}
	})
}

func TestStreamEndsWhenTheCallerDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newMux(t)
		wake, left := make(chan struct{}, 1), make(chan string, 1)
		ticking(m, wake, left)
		l, _ := pipeServer(t, m)
		c := l.dial()
		defer c.Close()
		_, _ = io.WriteString(c, openStream)
		begin := time.Now()
		<-left
		if since := time.Since(begin); since != 10*time.Second {
			t.Errorf("given up after %v, want 10s", since)
		}
	})
}

func TestShutdownDoesNotWaitForACallerThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newMux(t)
		left := make(chan string, 1)
		ticking(m, make(chan struct{}), left)
		l, s := pipeServer(t, m)
		c := l.dial()
		defer c.Close()
		_, _ = io.WriteString(c, openStream)
		readUntil(t, bufio.NewReader(c), "data: x\n\n")
		begin := time.Now()
		if err := s.Shutdown(context.Background()); err != nil || len(left) != 1 {
			t.Error(err, len(left))
		}
		if since := time.Since(begin); since < 10*time.Second || since > 12*time.Second {
			t.Errorf("shutdown took %v", since)
		}
	})
}

func TestStreamOfAHeadRequestEnds(t *testing.T) {
	m, _ := newMux(t)
	left := make(chan string, 1)
	ticking(m, make(chan struct{}), left)
	c, err := net.Dial("tcp", listen(t, m))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() // not before the handler has ended by itself
	_, _ = io.WriteString(c, "HEAD /s HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		t.Error("the handler goes on")
	}
}
