package external

import (
	"sync"
	"time"
)

// After this many failures in a row a bot is left alone for a while; then one
// question is tried on it, and its result decides.
const (
	failuresToOpen = 5
	openFor        = 30 * time.Second
)

// line names an external bot: that of one business of one client.
type line struct{ client, business int64 }

// health is what a call told of the endpoint.
type health int

const (
	healthUnknown health = iota // the call did not come to its end
	healthUp
	healthDown
)

// breaker counts the failures of a bot. One without any is not kept.
type breaker struct {
	target   string // the configuration that failed
	failures int    // in a row
	until    time.Time
	probing  bool
}

type breakers struct {
	mu   sync.Mutex // guards have
	have map[line]*breaker
}

// enter says whether the bot may be called now. Whoever may must leave.
func (b *breakers) enter(at line, target string, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.have[at]
	switch {
	case k == nil:
		return true
	case k.target != target: // configured anew
		delete(b.have, at)
		return true
	case k.until.IsZero():
		return true
	case now.Before(k.until) || k.probing:
		return false
	}
	k.probing = true
	return true
}

// leave notes how a call ended, and says whether the breaker opened by it.
func (b *breakers) leave(at line, target string, h health, now time.Time) (opened bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.have[at]
	if k != nil && k.target != target {
		return false // of a configuration that is no more
	}
	switch {
	case h == healthUp:
		delete(b.have, at)
		return false
	case h == healthUnknown:
		if k != nil {
			k.probing = false
		}
		return false
	case k == nil:
		k = &breaker{target: target}
		b.have[at] = k
	}
	if !k.until.IsZero() {
		if k.probing && !now.Before(k.until) {
			k.probing, k.until = false, now.Add(openFor)
		}
		return false // opened before
	}
	if k.failures++; k.failures < failuresToOpen {
		return false
	}
	k.until = now.Add(openFor)
	return true
}

// open counts the bots that are left alone.
func (b *breakers) open() (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.have {
		if !k.until.IsZero() {
			n++
		}
	}
	return n
}
