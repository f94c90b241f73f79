package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/store"
	"tract/internal/tracttest"
)

// A feed goes over all hooks of a tool, in the order of delivery_seq, from any
// place and whatever is gone already; replays are not in it.
func TestListFeed(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		other, gone := w.put("message", "other"), w.put("user_events", "gone")
		someone := w.e
		update(t, s, func(tx *store.Tx) (err error) {
			someone, err = tx.PutEndpoint(store.Endpoint{Client: w.client, Kind: store.EndpointHook, Tool: "someone", Category: "message", Subcategory: "receive", URL: "https://tool/"})
			return err
		})
		hooks := []store.LaneKey{w.k, {Thread: w.thread, Endpoint: other.ID}, {Thread: w.thread, Endpoint: gone.ID}}
		var want []int64
		for i := range 40 {
			w.add(s, hooks[(i*i)%3], fmt.Sprint(i+1))
			want = append(want, int64(i+1))
		}
		replay := store.Delivery{Entry: 1, DeliverySeq: 1, Payload: []byte("1")}
		update(t, s, func(tx *store.Tx) error {
			l, err := tx.LockThread(w.thread)
			if err != nil {
				return err
			}
			if err := tx.AppendDelivery(l, w.e.ID, replay); err != nil {
				return err
			}
			if err := tx.AppendDelivery(l, someone.ID, store.Delivery{Entry: 1, Tool: "someone", DeliverySeq: l.NextDeliverySeq("someone"), Payload: []byte("x")}); err != nil {
				return err
			}
			return tx.SaveThread(l, l.State)
		})
		w.add(s, w.k, "41")
		want = append(want, 41)
		update(t, s, func(tx *store.Tx) error { return tx.DeleteEndpoint(gone) })
		check := func() {
			t.Helper()
			for after := int64(-1); after <= 42; after++ {
				for _, limit := range []int{1, 3, 100} {
					var expect, got []int64
					for _, seq := range want {
						if seq > after && len(expect) < limit {
							expect = append(expect, seq)
						}
					}
					view(t, s, func(tx *store.Tx) error {
						ds, err := tx.ListFeed(w.thread, "crm", after, limit)
						for _, d := range ds {
							if got = append(got, d.DeliverySeq); string(d.Payload) != fmt.Sprint(d.DeliverySeq) {
								t.Errorf("%d carries %q", d.DeliverySeq, d.Payload)
							}
						}
						return err
					})
					if diff := cmp.Diff(expect, got); diff != "" {
						t.Fatalf("%d after %d: %s", limit, after, diff)
					}
				}
			}
			view(t, s, func(tx *store.Tx) error {
				start, err := tx.FeedStart(w.thread, "crm")
				if start != want[0] {
					t.Errorf("the feed starts at %d, want %d", start, want[0])
				}
				return err
			})
		}
		check()
		// What is old and settled goes; of one hook only, the others are behind.
		settled := int64(10)
		w.mark(s, &store.Mark{Lane: w.k, Fence: 1, Seq: settled, Done: true})
		var rest []store.Delivery
		view(t, s, func(tx *store.Tx) (err error) { rest, err = tx.ListDeliveries(w.k, 0, int(settled)); return err })
		for _, d := range rest {
			want = slices.DeleteFunc(want, func(seq int64) bool { return seq == d.DeliverySeq })
		}
		update(t, s, func(tx *store.Tx) error {
			place, more := store.SweepPlace{}, true
			for more {
				var err error
				if place, _, more, err = tx.DeleteOldDeliveries(tx.Now.Add(time.Hour), 1<<53, place, 7); err != nil {
					return err
				}
			}
			return nil
		})
		check()
	})
}

// A lane is open while something waits in it, until somebody says otherwise.
func TestCloseLanes(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		open := func(what string, want bool) {
			t.Helper()
			if got := w.lane(w.k).Open; got != want {
				t.Errorf("%s: open %v", what, got)
			}
		}
		closeIt := func() {
			t.Helper()
			update(t, s, func(tx *store.Tx) error { return tx.CloseLanes([]store.LaneKey{w.k}) })
		}
		for round := range int64(2) {
			w.add(s, w.k, "a")
			w.add(s, w.k, "b") // of an open lane
			closeIt()
			open("something waits", true)
			w.mark(s, &store.Mark{Lane: w.k, Fence: 1, Seq: round*2 + 2, Done: true})
			open("settled a moment ago", true)
			closeIt()
			open("closed", false)
		}
		// What a dead process left open is closed by others, but for what waits.
		e := w.put("message", "other")
		k := store.LaneKey{Thread: w.thread, Endpoint: e.ID}
		w.add(s, k, "waits")
		w.add(s, w.k, "c")
		w.mark(s, &store.Mark{Lane: w.k, Fence: 1, Seq: 5, Done: true})
		if err := s.LeaveReplica(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := s.RegisterReplica(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
		for _, want := range []int{1, 0} {
			update(t, s, func(tx *store.Tx) error {
				n, err := tx.CloseOrphans(10)
				if n != want {
					t.Errorf("closed %d, want %d", n, want)
				}
				return err
			})
		}
		open("left behind", false)
		if l := w.lane(k); !l.Open {
			t.Errorf("a lane in which something waits was closed: %+v", l)
		}
	})
}
