package delivery_test

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"

	"tract/internal/delivery"
)

func TestWait(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name       string
		attempt    int
		retryAfter time.Duration
		random     float64
		want       time.Duration
		ok         bool
	}{
		{"first", 1, 0, 0, 5 * s, true},
		{"second", 2, 0, 0, 25 * s, true},
		{"third", 3, 0, 0, 125 * s, true},
		{"fourth", 4, 0, 0, 625 * s, true},
		{"fifth", 5, 0, 0, 1410 * s, true},
		{"sixth", 6, 0, 0, 1410 * s, true},
		{"used up", 7, 0, 0, 0, false},
		{"used up, whatever is asked", 7, time.Hour, 0, 0, false},
		{"jitter", 3, 0, 0.5, 131250 * time.Millisecond, true},
		{"Retry-After below", 2, 3 * s, 0, 25 * s, true},
		{"Retry-After between", 1, 11 * s, 0, 11 * s, true},
		{"Retry-After is capped by the next step", 1, time.Hour, 0, 25 * s, true},
		{"the last step caps itself", 6, 24 * time.Hour, 0, 1410 * s, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := delivery.Wait(delivery.DefaultLadder(), tt.attempt, tt.retryAfter, tt.random)
			if got != tt.want || ok != tt.ok {
				t.Errorf("wait = %v, %v; want %v, %v", got, ok, tt.want, tt.ok)
			}
		})
	}
	if _, ok := delivery.Wait([]time.Duration{}, 1, 0, 0); ok {
		t.Error("an empty ladder has a step")
	}
}

func TestWaitProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfN(rapid.Int64Range(1, 5000), 1, 8).Draw(t, "ladder")
		ladder := make([]time.Duration, len(steps))
		for i, n := range steps {
			ladder[i] = time.Duration(n) * time.Second
		}
		attempt := rapid.IntRange(1, 10).Draw(t, "attempt")
		asked := time.Duration(rapid.Int64Range(0, 1e6).Draw(t, "asked")) * time.Second
		got, ok := delivery.Wait(ladder, attempt, asked, rapid.Float64Range(0, 0.999).Draw(t, "random"))
		if ok != (attempt <= len(ladder)) {
			t.Fatalf("attempt %d of %d: ok = %v", attempt, len(ladder), ok)
		}
		if !ok {
			return
		}
		step, next := ladder[attempt-1], ladder[min(attempt, len(ladder)-1)]
		least := max(step, min(asked, next))
		if got < least || got > least+least/10 {
			t.Fatalf("waits %v, want %v to 10 %% more", got, least)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC)
	tests := []struct {
		header string
		want   time.Duration
	}{
		{"", 0}, {"3", 3 * time.Second}, {" 3 ", 3 * time.Second}, {"0", 0}, {"-7", 0}, {"3600", time.Hour},
		{"315360000", 24 * time.Hour}, {"99999999999999999999", 0}, {"soon", 0}, {"1.5", 0},
		{now.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		{now.Add(-time.Hour).Format(http.TimeFormat), 0},
	}
	for _, tt := range tests {
		if got := delivery.RetryAfter(http.Header{"Retry-After": {tt.header}}, now); got != tt.want {
			t.Errorf("%q: %v, want %v", tt.header, got, tt.want)
		}
	}
}
