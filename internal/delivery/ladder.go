package delivery

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DefaultLadder are the waits after each failed attempt, counted from its end.
// When they are used up the delivery is dead.
func DefaultLadder() []time.Duration {
	return []time.Duration{5 * time.Second, 25 * time.Second, 125 * time.Second, 625 * time.Second, 1410 * time.Second, 1410 * time.Second}
}

// jitter is the most that a wait is stretched: never early, at most 10 % late.
const jitter = 0.1

// wait gives how long to wait after a failed attempt (1 = the first); ok is
// false when the ladder is used up. Retry-After is a lower bound, capped by the
// next step. random is in [0,1).
func wait(ladder []time.Duration, attempt int, retryAfter time.Duration, random float64) (d time.Duration, ok bool) {
	if attempt > len(ladder) {
		return 0, false
	}
	d = ladder[attempt-1]
	limit := ladder[min(attempt, len(ladder)-1)]
	d = max(d, min(retryAfter, limit))
	return d + time.Duration(float64(d)*jitter*random), true
}

// retryAfter reads the header: seconds or a date. Nonsense and the past are 0.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	if v == "" {
		return 0
	}
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		if n < 0 {
			return 0
		}
		return time.Duration(min(n, int64(24*time.Hour/time.Second))) * time.Second
	}
	t, err := http.ParseTime(v)
	if err != nil {
		return 0
	}
	return max(0, t.Sub(now))
}
