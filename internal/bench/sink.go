package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tract/internal/sign"
)

// Every verifyEvery-th call is checked to be signed: that costs CPU, which here
// would count as the hub's.
const (
	verifyEvery = 64
	tolerance   = 5 * time.Minute
)

// sink is every receiver at once: tools' hooks and channel webhooks, told apart
// by their paths.
type sink struct {
	url     string
	now     func() time.Time
	current atomic.Pointer[flow]
	calls   atomic.Int64
	hanging atomic.Int64
	most    atomic.Int64 // hanging at once since the last release

	mu      sync.Mutex // guards everything below
	secrets map[string]string
	think   time.Duration
	hang    func(path string) bool
	release chan struct{} // closed when those that hang may answer
}

func newSink(now func() time.Time) *sink {
	return &sink{now: now, secrets: map[string]string{}, release: make(chan struct{})}
}

// serve answers until ctx ends.
func (s *sink) serve(ctx context.Context) (wait func() error, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.url = "http://" + l.Addr().String()
	srv := &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	return func() error {
		stop()
		srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, nil
}

// behave sets how receivers answer from now on, and lets those go that hang.
func (s *sink) behave(think time.Duration, hang func(path string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.release)
	s.release = make(chan struct{})
	s.think, s.hang = think, hang
	s.most.Store(0)
}

func (s *sink) setSecret(path, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets[path] = secret
}

var answerOK = []byte(`{"error":null}`)

// ServeHTTP takes one delivery.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := make([]byte, max(0, min(r.ContentLength, 1<<20)))
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return // the hub died while it sent
	}
	at := s.now()
	s.mu.Lock()
	think, hang, release := s.think, s.hang, s.release
	s.mu.Unlock()
	if hang != nil && hang(r.URL.Path) {
		s.hold(r.Context(), release)
		return
	}
	if f := s.current.Load(); f != nil {
		s.note(f, r, body, at)
	}
	if think > 0 {
		t := time.NewTimer(think)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		}
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	w.Write(answerOK)
}

var jsonType = []string{"application/json"}

// hold does not answer until the caller hangs up or the receivers recover.
func (s *sink) hold(ctx context.Context, release chan struct{}) {
	n := s.hanging.Add(1)
	defer s.hanging.Add(-1)
	for {
		most := s.most.Load()
		if n <= most || s.most.CompareAndSwap(most, n) {
			break
		}
	}
	select {
	case <-ctx.Done():
	case <-release:
	}
	panic(http.ErrAbortHandler) // no answer at all
}

func (s *sink) note(f *flow, r *http.Request, body []byte, at time.Time) {
	a := f.place(r.URL.Path)
	if a == nil {
		return
	}
	if s.calls.Add(1)%verifyEvery == 0 {
		s.verify(a, r, body, at)
	}
	run, thread, seq, marked := readMark(body)
	switch {
	case marked && run == f.run:
		f.arrive(a, thread, seq, int64(at.Sub(f.base)))
		if f.learn != nil {
			f.learn(thread, body)
		}
	case !marked && f.byUser:
		if thread, ok := threadOf(body); ok {
			f.counted(a, thread, int64(at.Sub(f.base)))
		}
	}
}

func (s *sink) verify(a *arrivals, r *http.Request, body []byte, at time.Time) {
	s.mu.Lock()
	secret := s.secrets[r.URL.Path]
	s.mu.Unlock()
	err := sign.Verify(secret, r.Header, body, at, tolerance)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.looked++
	if err != nil {
		a.unsigned++
	}
}

// threadOf finds the thread of a channel's payload by its user.
func threadOf(body []byte) (int, bool) {
	if !bytes.Contains(body, []byte(`"event_name":"message"`)) {
		return 0, false
	}
	_, rest, ok := bytes.Cut(body, []byte(`"auth_id":"`+userPrefix))
	if !ok {
		return 0, false
	}
	digits, _, _ := strings.Cut(string(rest[:min(len(rest), 16)]), `"`)
	n, err := strconv.Atoi(digits)
	return n, err == nil
}
