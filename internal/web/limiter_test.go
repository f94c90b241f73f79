package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"tract"
	"tract/internal/tracttest"
	"tract/internal/web"
)

func TestRateLimitAnswers(t *testing.T) {
	clock := tracttest.NewClock()
	lim := &web.Limiter{Now: clock.Now}
	m, _ := newMux(t)
	ran := 0
	m.Handle("POST /x", web.Platform, func(w http.ResponseWriter, r *http.Request) (web.Answer, error) {
		if err := lim.Take(w, web.Bucket{Key: r.Header.Get("client-id")}); err != nil {
			return web.Answer{}, err
		}
		ran++
		if r.Header.Get("fail") != "" {
			return web.Answer{}, tract.Invalid("c", "t")
		}
		return web.NoContent(), nil
	})
	post := func(header ...string) *httptest.ResponseRecorder { return call(m, "POST", "/x", "", header...) }
	headers := func(w *httptest.ResponseRecorder) string {
		h := w.Header()
		return fmt.Sprint(w.Code, " ", h.Get("RateLimit-Limit"), " ", h.Get("RateLimit-Remaining"), " ", h.Get("RateLimit-Reset"), " ", h.Get("Retry-After"))
	}
	if got := headers(post("client-id", "a")); got != "204 100 199 0 " {
		t.Errorf("first: %s", got)
	}
	if got := headers(post("client-id", "a", "fail", "1")); got != "400 100 198 0 " {
		t.Errorf("an error, too: %s", got)
	}
	for range 197 {
		post("client-id", "a")
	}
	if got := headers(post("client-id", "a")); got != "204 100 0 1 " {
		t.Errorf("last: %s", got)
	}
	before := ran
	w := post("client-id", "a")
	if got := headers(w); got != "429 100 0 1 1" || object(t, w)["code"] != "rate_limited" {
		t.Errorf("HT-18: %s %s", got, w.Body)
	}
	if ran != before {
		t.Error("HT-18: a refused call had an effect")
	}
	if got := headers(post("client-id", "b")); got != "204 100 199 0 " {
		t.Errorf("another key: %s", got)
	}
	clock.Advance(50 * time.Millisecond)
	for i := range 5 {
		if w := post("client-id", "a"); w.Code != 204 {
			t.Errorf("call %d after 50 ms: %d", i, w.Code)
		}
	}
	if w := post("client-id", "a"); w.Code != 429 {
		t.Errorf("call 6 after 50 ms: %d", w.Code)
	}
}

func TestRatesAreSetPerKey(t *testing.T) {
	clock := tracttest.NewClock()
	lim := &web.Limiter{Now: clock.Now}
	take := func(r web.Rate) bool { return lim.Take(httptest.NewRecorder(), web.Bucket{Key: "k", Rate: r}) == nil }
	slow := web.Rate{PerSecond: 1, Burst: 1}
	if !take(slow) || take(slow) {
		t.Fatal("one a second: first yes, second no")
	}
	clock.Advance(time.Second)
	if fast := (web.Rate{PerSecond: 10}); !take(fast) {
		t.Error("the key's rate was raised")
	}
	clock.Advance(time.Second)
	n := 0
	for take(web.Rate{PerSecond: 10}) {
		n++
	}
	if n != 10 {
		t.Errorf("%d calls after a second at 10 a second", n)
	}
}

func TestLimiterForgetsOldKeys(t *testing.T) {
	clock := tracttest.NewClock()
	lim := &web.Limiter{Now: clock.Now, Keys: 10}
	one := web.Rate{PerSecond: 1, Burst: 1}
	take := func(key string) bool { return lim.Take(httptest.NewRecorder(), web.Bucket{Key: key, Rate: one}) == nil }
	take("busy")
	for i := range 100 {
		take(fmt.Sprint("key ", i))
		if take("busy") {
			t.Fatalf("a key in use was forgotten after %d others", i)
		}
	}
	if !take("key 0") {
		t.Error("a key is kept although 99 others came after it")
	}
}

func TestLimiterIsExactUnderConcurrency(t *testing.T) {
	lim := &web.Limiter{Now: tracttest.NewClock().Now}
	var mu sync.Mutex
	var wg sync.WaitGroup
	passed := 0
	for range 8 {
		wg.Go(func() {
			for range 100 {
				if lim.Take(httptest.NewRecorder(), web.Bucket{Key: "k"}) == nil {
					mu.Lock()
					passed++
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if passed != 200 {
		t.Errorf("%d of 800 calls passed, want the burst of 200", passed)
	}
}
