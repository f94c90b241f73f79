package main

import "testing"

// The heap may grow by about the same whatever is live, but never by next to
// nothing, nor by many times what there is.
func TestGrowth(t *testing.T) {
	for live, want := range map[uint64]int{0: growthMost, 5 << 20: growthMost, 16 << 20: 200, 32 << 20: 100, 40 << 20: 80, 500 << 20: growthLeast} {
		if got := growth(live); got != want {
			t.Errorf("%d MiB live: %d %%, want %d", live>>20, got, want)
		}
	}
}
