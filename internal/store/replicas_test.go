package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/store"
	"tract/internal/tracttest"
)

// A process that is dead is forgotten, and what it saw of endpoints is not.
func TestRetireReplicas(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		clk := tracttest.NewClock()
		o.Now = clk.Now
		s := tracttest.Open(t, o)
		w := newLaneWorld(t, s)
		at := func(sec int) time.Time { return time.Unix(int64(sec), 0).UTC() }
		seen := []store.Health{
			{ConsecutiveFailures: 2, LastSuccessAt: at(50), LastFailureAt: at(20), LastError: "timeout"},
			{ConsecutiveFailures: 5, LastSuccessAt: at(10), LastFailureAt: at(90), LastError: "status 500"},
			{ConsecutiveFailures: 1, LastSuccessAt: at(30), LastFailureAt: at(70), LastError: "refused"},
		}
		want := store.Health{ConsecutiveFailures: 5, LastSuccessAt: at(50), LastFailureAt: at(90), LastError: "status 500"}
		for i, h := range seen {
			if i > 0 {
				if _, err := s.RegisterReplica(context.Background(), "another"); err != nil {
					t.Fatal(err)
				}
			}
			update(t, s, func(tx *store.Tx) error { return tx.PutHealth(w.e.ID, h) })
			clk.Advance(2 * time.Minute)
		}
		if _, err := s.RegisterReplica(context.Background(), "the living"); err != nil {
			t.Fatal(err)
		}
		retire := func(rows int64) {
			t.Helper()
			update(t, s, func(tx *store.Tx) error { return tx.RetireReplicas(100) })
			view(t, s, func(tx *store.Tx) error {
				h, err := tx.Health(w.e.ID)
				if diff := cmp.Diff(want, h); diff != "" {
					t.Error(diff)
				}
				if n := store.CountRows(tx, "endpoint_health"); n != rows {
					t.Errorf("%d rows of health, want %d", n, rows)
				}
				if n := store.CountRows(tx, "replicas"); n != 1 {
					t.Errorf("%d replicas are listed", n)
				}
				return err
			})
		}
		retire(1)
		update(t, s, func(tx *store.Tx) error { return tx.PutHealth(w.e.ID, store.Health{LastSuccessAt: at(40)}) })
		retire(2)
	})
}
