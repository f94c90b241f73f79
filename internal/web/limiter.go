package web

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"tract"
)

// ErrRateLimited is answered to a caller over its limit.
var ErrRateLimited = &tract.Error{Kind: tract.KindRateLimited, Code: "rate_limited", Msg: "too many requests"}

// Rate is how often a key may call. The zero Rate is 100 a second with a burst
// of 200.
type Rate struct {
	PerSecond int
	Burst     int // 0 = twice PerSecond
}

func (r Rate) orDefault() Rate {
	if r.PerSecond <= 0 {
		r.PerSecond = 100
	}
	if r.Burst <= 0 {
		r.Burst = 2 * r.PerSecond
	}
	return r
}

const defaultKeys = 50_000

// Limiter holds a token bucket for each key.
//
// Memory is bounded: it keeps at least the Keys/2 keys used last and at most
// Keys. A key that falls out starts again with a full bucket.
type Limiter struct {
	Now  func() time.Time
	Keys int // 0 = 50,000

	mu         sync.Mutex // guards young and old
	young, old map[string]*rate.Limiter
}

// Bucket is what calls are counted in.
type Bucket struct {
	Key  string
	Rate Rate
}

// Take uses up one call in each bucket, in their order up to one that has none
// left: then it returns ErrRateLimited with the time to wait, and the buckets
// behind are untouched. The RateLimit headers are those of the bucket with the
// least left.
func (l *Limiter) Take(w http.ResponseWriter, buckets ...Bucket) error {
	now := l.Now()
	least := math.Inf(1)
	for _, one := range buckets {
		r := one.Rate.orDefault()
		b := l.bucket(one.Key, r, now)
		ok := b.AllowN(now, 1)
		left := max(0, b.TokensAt(now))
		reset := 0
		if left < 1 {
			reset = int(math.Ceil((1 - left) / float64(r.PerSecond)))
		}
		if left < least || !ok {
			least = left
			h := w.Header()
			h.Set("RateLimit-Limit", strconv.Itoa(r.PerSecond))
			h.Set("RateLimit-Remaining", strconv.Itoa(int(left)))
			h.Set("RateLimit-Reset", strconv.Itoa(reset))
		}
		if !ok {
			return ErrRateLimited.Fact(retryAfter, reset)
		}
	}
	return nil
}

func (l *Limiter) bucket(key string, r Rate, now time.Time) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.young[key]
	if b == nil {
		if b = l.old[key]; b == nil {
			b = rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst)
		}
		l.keep(key, b)
	}
	if b.Limit() != rate.Limit(r.PerSecond) || b.Burst() != r.Burst {
		b.SetLimitAt(now, rate.Limit(r.PerSecond))
		b.SetBurstAt(now, r.Burst)
	}
	return b
}

// keep puts a bucket among the young ones. When these are half of what may be
// kept they become the old ones, and the old ones nobody used meanwhile go.
func (l *Limiter) keep(key string, b *rate.Limiter) {
	half := l.Keys / 2
	if l.Keys == 0 {
		half = defaultKeys / 2
	}
	if l.young == nil || len(l.young) >= max(half, 1) {
		l.old, l.young = l.young, map[string]*rate.Limiter{}
	}
	l.young[key] = b
}
