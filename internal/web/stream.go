package web

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"time"
)

const (
	heartbeat     = 15 * time.Second
	eventDeadline = 10 * time.Second // for one write to a caller that does not read
)

// past is a deadline that has always passed: it ends what is being read or written.
var past = time.Unix(1, 0)

// StreamEvent is one server-sent event. ID and Name may be empty.
type StreamEvent struct {
	ID   string
	Name string
	Data []byte
}

// Stream is an answer of server-sent events. One goroutine uses it:
//
//	st := web.OpenStream(w, r)
//	for ok := true; ok; ok = st.Wait(wake) {
//		… st.Send(e) for what is new …
//	}
//	return web.Answer{}, nil
//
// A write that fails ends the stream: later ones do nothing and Wait is false.
type Stream struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	gone    <-chan struct{} // the caller has left
	closing <-chan struct{} // the server is being shut down
	beat    *time.Ticker
	head    bool
	err     error
}

// OpenStream begins the answer and lifts the server's time-outs from it.
func OpenStream(w http.ResponseWriter, r *http.Request) *Stream {
	s := &Stream{w: w, rc: http.NewResponseController(w), gone: r.Context().Done(), closing: closingOf(r.Context()), beat: time.NewTicker(heartbeat), head: r.Method == http.MethodHead}
	s.err = liftDeadlines(s.rc)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("X-Accel-Buffering", "no") // a proxy that collects would hold events back
	if r.ProtoMajor == 1 {
		h.Set("Connection", "close") // see end
	}
	w.WriteHeader(http.StatusOK)
	s.write([]byte("retry: 2000\n\n"))
	return s
}

// Send writes one event and sends it at once.
func (s *Stream) Send(e StreamEvent) {
	var b bytes.Buffer
	if e.ID != "" {
		b.WriteString("id: " + oneLine.Replace(e.ID) + "\n")
	}
	if e.Name != "" {
		b.WriteString("event: " + oneLine.Replace(e.Name) + "\n")
	}
	for line := range strings.SplitSeq(lineBreaks.Replace(string(e.Data)), "\n") {
		b.WriteString("data: " + line + "\n")
	}
	b.WriteByte('\n')
	s.write(b.Bytes())
}

// A receiver ends a line at any of these; inside a field they would forge one.
var (
	lineBreaks = strings.NewReplacer("\r\n", "\n", "\r", "\n")
	oneLine    = strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ")
)

// Wait returns true when wake has something; meanwhile it keeps the connection
// warm. It is false when the stream is over: the caller left, or the server is
// being shut down.
func (s *Stream) Wait(wake <-chan struct{}) bool {
	for s.err == nil && !s.head && !closed(s.gone) && !closed(s.closing) {
		select {
		case <-wake:
			return true
		case <-s.beat.C:
			s.write([]byte(":\n\n"))
		case <-s.gone:
		case <-s.closing:
		}
	}
	s.end()
	return false
}

// end bounds what the server still has to write after the handler. The deadline
// stays on the connection, so no second request may come over it.
func (s *Stream) end() {
	s.beat.Stop()
	time.AfterFunc(eventDeadline, func() { _ = s.rc.SetWriteDeadline(past) })
}

func (s *Stream) write(b []byte) {
	if s.err != nil {
		return
	}
	slow := time.AfterFunc(eventDeadline, func() { _ = s.rc.SetWriteDeadline(past) })
	defer slow.Stop()
	if _, s.err = s.w.Write(b); s.err == nil {
		s.err = s.rc.Flush()
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

type closingKey struct{}

// closingOf is closed when the server that serves a request shuts down; it is
// nil, which never closes, where the request came without a server.
func closingOf(ctx context.Context) <-chan struct{} {
	c, _ := ctx.Value(closingKey{}).(chan struct{})
	return c
}
