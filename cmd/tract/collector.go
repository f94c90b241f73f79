package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// The garbage collector by itself lets the heap grow in proportion to what is
// live: too little where that is little, and too much where thousands of messages
// wait. Here it may grow by about the same, within bounds.
const (
	headroom    = 32 << 20 // bytes
	growthLeast = 60
	growthMost  = 400
	growthStep  = 20 // smaller changes are not worth a pause
)

// keepHeadroom sets how often garbage is collected until ctx ends.
func keepHeadroom(ctx context.Context) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for now := 100; ; { // as it is without us
		metrics.Read(live)
		if p := growth(live[0].Value.Uint64()); p > now+growthStep || p < now-growthStep {
			now = p
			debug.SetGCPercent(now)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// growth is how far the heap may grow above what is live.
func growth(live uint64) int {
	return int(min(max(headroom*100/max(live, 1), growthLeast), growthMost))
}
