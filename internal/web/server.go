package web

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	headerTime = 5 * time.Second
	readTime   = 15 * time.Second
	writeTime  = 30 * time.Second
	idleTime   = 120 * time.Second
	maxHeader  = 32 << 10
)

// NewServer makes a server that bounds how long a caller may take for its
// header, its body and for reading the answer. Streams lift these bounds,
// [Extend] widens them for one call. Shutdown ends the streams. A nil log is
// silent.
func NewServer(addr string, h http.Handler, log *slog.Logger) *http.Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	closing := make(chan struct{})
	base := context.WithValue(context.Background(), closingKey{}, closing)
	s := &http.Server{
		Addr:                         addr,
		Handler:                      h,
		ReadHeaderTimeout:            headerTime,
		ReadTimeout:                  readTime,
		WriteTimeout:                 writeTime,
		IdleTimeout:                  idleTime,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:                  func(net.Listener) context.Context { return base },
	}
	s.RegisterOnShutdown(sync.OnceFunc(func() { close(closing) }))
	return s
}

// Extend gives one call the time d from now for reading its body, and some more
// for the answer, instead of the server's. Call stop when the handler returns.
func Extend(w http.ResponseWriter, d time.Duration) (stop func(), err error) {
	rc := http.NewResponseController(w)
	if err := liftDeadlines(rc); err != nil {
		return nil, err
	}
	// Timers instead of instants: a deadline would have to be told by the
	// machine's clock.
	read := time.AfterFunc(d, func() { _ = rc.SetReadDeadline(past) })
	write := time.AfterFunc(d+writeTime, func() { _ = rc.SetWriteDeadline(past) })
	return func() { read.Stop(); write.Stop() }, nil
}

// liftDeadlines takes the server's time-outs off one call. Go would otherwise
// cancel the context of a call that outlives ReadTimeout.
func liftDeadlines(rc *http.ResponseController) error {
	err := errors.Join(rc.SetReadDeadline(time.Time{}), rc.SetWriteDeadline(time.Time{}))
	if errors.Is(err, http.ErrNotSupported) {
		return nil // no connection behind it: nothing to lift
	}
	return err
}
