package store_test

import (
	"slices"
	"testing"

	"tract/internal/store"
)

// Long work in small pieces goes on under traffic that never pauses, and never
// takes more than a small share of it.
func TestLowWorkIsNotStarved(t *testing.T) {
	got := store.BatchesBeforeLow(5, 60)
	if want := []int{10, 10, 10, 10, 10}; !slices.Equal(got, want) {
		t.Errorf("batches before each low job: %v, want %v", got, want)
	}
}
