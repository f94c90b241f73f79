package bench

import (
	"slices"
	"time"
)

// Latency are the percentiles of some durations, in milliseconds. They are
// exact: every duration is kept and sorted.
type Latency struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

// latencyOf sorts ds.
func latencyOf(ds []time.Duration) Latency {
	if len(ds) == 0 {
		return Latency{}
	}
	slices.Sort(ds)
	// The rank is rounded up: p99 of few samples is their maximum.
	at := func(percent int) float64 { return milliseconds(ds[(len(ds)*percent+99)/100-1]) }
	return Latency{P50: at(50), P95: at(95), P99: at(99), Max: milliseconds(ds[len(ds)-1])}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// median is the middle of vs, or the mean of the middle two; 0 of none.
func median(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Clone(vs)
	slices.Sort(vs)
	n := len(vs)
	if n%2 == 1 {
		return vs[n/2]
	}
	return (vs[n/2-1] + vs[n/2]) / 2
}
