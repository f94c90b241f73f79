package delivery

import (
	"context"
	"net/http"
	"time"
)

// Wait is one step of a ladder.
func Wait(ladder []time.Duration, attempt int, retryAfter time.Duration, random float64) (time.Duration, bool) {
	return wait(ladder, attempt, retryAfter, random)
}

// RetryAfter reads the header.
func RetryAfter(h http.Header, now time.Time) time.Duration { return retryAfter(h, now) }

// Heartbeat and Sweep run one round at once.
func (d *Dispatcher) Heartbeat(ctx context.Context) { d.heartbeat(ctx) }
func (d *Dispatcher) Sweep(ctx context.Context)     { d.sweep(ctx) }

// Leftovers counts what a dispatcher with nothing to do must not keep.
func (d *Dispatcher) Leftovers() (lanes, endpoints, bytes, meetings, doubts int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.lanes), len(d.endpoints), d.bytes, len(d.meetings), len(d.doubts)
}
