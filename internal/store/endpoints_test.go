package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/store"
	"tract/internal/tracttest"
)

func TestEndpointLife(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		clk := tracttest.NewClock()
		o.Now = clk.Now
		s := tracttest.Open(t, o)
		client, _ := newThread(t, s)
		made := clk.Now()
		e := store.Endpoint{Client: client, Kind: store.EndpointHook, Tool: "crm", Category: "message", Subcategory: "receive", URL: "https://one/", Secrets: []string{"s1"}}
		put := func(e store.Endpoint) (out store.Endpoint) {
			update(t, s, func(tx *store.Tx) error {
				p, err := tx.PutEndpoint(e)
				if err != nil {
					return err
				}
				out, err = tx.Endpoint(p.ID)
				return err
			})
			return out
		}
		first := put(e)
		if !first.Enabled || !first.EnabledAt.Equal(made) || !first.CreatedAt.Equal(made) || first.Generation != 1 || first.URL != "https://one/" {
			t.Fatalf("made %+v", first)
		}
		clk.Advance(time.Minute)
		e.URL, e.Secrets, e.SecretUntil = "https://two/", []string{"s2", "s1"}, clk.Now().Add(time.Hour)
		second := put(e)
		// It was never off: nothing that waits for it has expired.
		if second.ID != first.ID || second.URL != "https://two/" || second.Generation != 2 || !second.EnabledAt.Equal(made) || len(second.Secrets) != 2 || !second.SecretUntil.Equal(e.SecretUntil) {
			t.Errorf("registered again %+v", second)
		}
		disable := func(want bool) {
			t.Helper()
			update(t, s, func(tx *store.Tx) error {
				changed, err := tx.DisableEndpoint(second, store.DisabledGone)
				if changed != want {
					t.Errorf("disabled: %v", changed)
				}
				return err
			})
		}
		disable(true)
		disable(false)
		clk.Advance(time.Minute)
		third := put(e)
		if !third.Enabled || third.DisabledReason != "" || !third.EnabledAt.Equal(clk.Now()) {
			t.Errorf("registered again after it was disabled %+v", third)
		}
		disable(true)
		clk.Advance(time.Minute)
		for range 2 {
			update(t, s, func(tx *store.Tx) error { return tx.EnableEndpoint(third) })
		}
		update(t, s, func(tx *store.Tx) error {
			got, err := tx.FindEndpoint(e)
			if !got.Enabled || !got.EnabledAt.Equal(clk.Now()) || got.Generation != 6 {
				t.Errorf("enabled %+v", got)
			}
			clk.Advance(time.Minute)
			return err
		})
		view(t, s, func(tx *store.Tx) error {
			changed, err := tx.ListChangedEndpoints(map[int64]int64{first.ID: 6, 4711: 1})
			if diff := cmp.Diff([]int64{4711}, changed); diff != "" {
				t.Error(diff)
			}
			old, oerr := tx.ListChangedEndpoints(map[int64]int64{first.ID: 5})
			if diff := cmp.Diff([]int64{first.ID}, old); diff != "" {
				t.Error(diff)
			}
			return errors.Join(err, oerr)
		})
		update(t, s, func(tx *store.Tx) error { return tx.DeleteEndpoint(third) })
		view(t, s, func(tx *store.Tx) error {
			if _, err := tx.Endpoint(first.ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("deleted: %v", err)
			}
			if _, err := tx.FindEndpoint(e); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("deleted: %v", err)
			}
			return nil
		})
		if again := put(e); again.ID == first.ID {
			t.Error("a new hook has the number of the old one, and with it its lanes")
		}
	})
}

func TestChangesReachTheCaches(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		version := func() (v int64) {
			view(t, s, func(tx *store.Tx) (err error) { v, err = tx.ConfigVersion(w.client); return err })
			return v
		}
		for _, step := range []struct {
			name   string
			change func(*store.Tx) error
		}{
			{"put", func(tx *store.Tx) error { _, err := tx.PutEndpoint(w.e); return err }},
			{"disable", func(tx *store.Tx) error { _, err := tx.DisableEndpoint(w.e, store.DisabledGone); return err }},
			{"enable", func(tx *store.Tx) error { return tx.EnableEndpoint(w.e) }},
			{"delete", func(tx *store.Tx) error { return tx.DeleteEndpoint(w.e) }},
		} {
			before := version()
			update(t, s, step.change)
			if version() <= before {
				t.Errorf("%s left the configuration's version as it was", step.name)
			}
		}
	})
}

func TestDeleteEndpointBuriesWhatIsQueued(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		bystander := w.put("message", "other")
		beside := store.LaneKey{Thread: w.thread, Endpoint: bystander.ID}
		w.add(s, w.k, "a", "b", "c")
		w.add(s, beside, "x")
		w.mark(s, &store.Mark{Lane: w.k, Fence: 1, Seq: 1, Done: true})
		update(t, s, func(tx *store.Tx) error { return tx.PutHealth(w.e.ID, store.Health{ConsecutiveFailures: 1}) })
		update(t, s, func(tx *store.Tx) error { return tx.BuryOrphans(w.e.ID) })
		if l := w.lane(w.k); l.Done != 1 {
			t.Fatalf("what waits for a living endpoint was buried: %+v", l)
		}
		update(t, s, func(tx *store.Tx) error { return tx.DeleteEndpoint(w.e) })
		late := &store.Mark{Lane: w.k, Fence: 1, Seq: 2, Done: true}
		w.mark(s, late)
		if l := w.lane(w.k); l.Done != 3 || late.Held {
			t.Errorf("lane %+v, late mark held %v", l, late.Held)
		}
		if l := w.lane(beside); l.Done != 0 || l.Fence != 1 {
			t.Errorf("another endpoint's lane %+v", l)
		}
		w.add(s, w.k, "d") // by a command that had read the old configuration
		for range 2 {
			update(t, s, func(tx *store.Tx) error { return tx.BuryOrphans(w.e.ID) })
		}
		view(t, s, func(tx *store.Tx) error {
			for seq, want := range []bool{false, true, true, true} {
				d, ok, err := tx.Dead(w.k, int64(seq+1))
				if err != nil || ok != want || (ok && d.Reason != "removed") {
					t.Errorf("delivery %d: dead %v, %+v, %v", seq+1, ok, d, err)
				}
			}
			h, err := tx.Health(w.e.ID)
			if h != (store.Health{}) {
				t.Errorf("health %+v", h)
			}
			st, serr := tx.Stats()
			if st.Queued != 1 || st.Dead != 3 {
				t.Errorf("stats %+v", st)
			}
			return errors.Join(err, serr)
		})
	})
}

func TestHealth(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	o.Now = tracttest.NewClock().Now
	one := tracttest.Open(t, o)
	w := newLaneWorld(t, one)
	two, _ := other(t, o)
	at := func(s int) time.Time { return time.Unix(int64(s), 0).UTC() }
	put := func(s *store.Store, h store.Health) {
		t.Helper()
		update(t, s, func(tx *store.Tx) error { return tx.PutHealths(map[int64]store.Health{w.e.ID: h}) })
	}
	check := func(want store.Health) {
		t.Helper()
		view(t, one, func(tx *store.Tx) error {
			got, err := tx.Health(w.e.ID)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			return err
		})
	}
	check(store.Health{})
	put(one, store.Health{ConsecutiveFailures: 3, LastSuccessAt: at(5), LastFailureAt: at(20), LastError: "timeout"})
	check(store.Health{ConsecutiveFailures: 3, LastSuccessAt: at(5), LastFailureAt: at(20), LastError: "timeout"})
	put(two, store.Health{ConsecutiveFailures: 1, LastSuccessAt: at(10), LastFailureAt: at(15), LastError: "status 500"})
	check(store.Health{ConsecutiveFailures: 3, LastSuccessAt: at(10), LastFailureAt: at(20), LastError: "timeout"})
	put(two, store.Health{LastSuccessAt: at(30), LastFailureAt: at(15), LastError: "status 500"})
	check(store.Health{LastSuccessAt: at(30), LastFailureAt: at(20), LastError: "timeout"})
}

func TestQueueAndLog(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		clk := tracttest.NewClock()
		o.Now = clk.Now
		s := tracttest.Open(t, o)
		w := newLaneWorld(t, s)
		begun := clk.Now()
		for n := range 6 {
			w.add(s, w.k, fmt.Sprint(n))
			clk.Advance(time.Minute)
		}
		w.mark(s, &store.Mark{Lane: w.k, Fence: 1, Seq: 1, Done: true},
			&store.Mark{Lane: w.k, Fence: 1, Seq: 2, Attempt: &store.Attempt{Status: 500, Error: "status 500"}, Attempts: 1},
			&store.Mark{Lane: w.k, Fence: 1, Seq: 2, Attempt: &store.Attempt{Status: 502, Error: "status 502"}, Done: true, Dead: "exhausted"},
			&store.Mark{Lane: w.k, Fence: 1, Seq: 3, Done: true, Dead: "expired_while_disabled"},
			&store.Mark{Lane: w.k, Fence: 1, Seq: 4, Attempt: &store.Attempt{Error: "timeout"}, Attempts: 1, NextAt: clk.Now().Add(5 * time.Second)})
		view(t, s, func(tx *store.Tx) error {
			q, err := tx.Queue(w.e.ID)
			if q.Length != 3 || !q.OldestAt.Equal(begun.Add(3*time.Minute)) {
				t.Errorf("queue %+v", q)
			}
			return err
		})
		lines := func(f store.LogFilter) (out []string) {
			t.Helper()
			f.Endpoints, f.Payloads = []store.LogEndpoint{{Endpoint: w.e}, {Endpoint: store.Endpoint{ID: 4711}}}, true
			if f.Limit == 0 {
				f.Limit = 100
			}
			view(t, s, func(tx *store.Tx) error {
				ls, _, err := tx.ListLog(f)
				out = nil
				for _, l := range ls {
					out = append(out, fmt.Sprintf("%s %s %d %d %s %v", l.Payload, l.State, l.Attempts, l.LastStatus, l.LastError, !l.NextAt.IsZero()))
				}
				return err
			})
			return out
		}
		all := []string{"5 queued 0 0  false", "4 queued 0 0  false", "3 retrying 1 0 timeout true", "2 dead 0 0 expired_while_disabled false", "1 dead 2 502 status 502 false", "0 delivered 1 200  false"}
		for _, tt := range []struct {
			name string
			f    store.LogFilter
			want []string
		}{
			{"all", store.LogFilter{}, all},
			{"queued", store.LogFilter{States: []string{store.DeliveryQueued}}, all[:2]},
			{"retrying", store.LogFilter{States: []string{store.DeliveryRetrying}}, all[2:3]},
			{"waiting", store.LogFilter{States: []string{store.DeliveryQueued, store.DeliveryRetrying}}, all[:3]},
			{"of the thread", store.LogFilter{Thread: w.k.Thread}, nil},
			{"dead", store.LogFilter{States: []string{store.DeliveryDead}}, all[3:5]},
			{"delivered", store.LogFilter{States: []string{store.DeliveryDelivered}}, all[5:]},
			{"since", store.LogFilter{Since: begun.Add(4 * time.Minute)}, all[:2]},
			{"until", store.LogFilter{Until: begun.Add(time.Minute)}, all[5:]},
			{"limit", store.LogFilter{Limit: 2}, all[:2]},
		} {
			if diff := cmp.Diff(tt.want, lines(tt.f)); diff != "" {
				t.Errorf("%s: %s", tt.name, diff)
			}
		}
		var paged []string
		for cursor := (store.LogCursor{}); ; {
			paged = append(paged, lines(store.LogFilter{Before: cursor, Limit: 2})...)
			var next *store.LogCursor
			view(t, s, func(tx *store.Tx) (err error) {
				_, next, err = tx.ListLog(store.LogFilter{Endpoints: []store.LogEndpoint{{Endpoint: w.e}}, Before: cursor, Limit: 2})
				return err
			})
			if next == nil {
				break
			}
			cursor = *next
		}
		if diff := cmp.Diff(all, paged); diff != "" {
			t.Errorf("by pages: %s", diff)
		}
		update(t, s, func(tx *store.Tx) error { return tx.SetReplayed(w.k, 2) })
		if diff := cmp.Diff(all[3:4], lines(store.LogFilter{States: []string{store.DeliveryDead}})); diff != "" {
			t.Errorf("after a replay: %s", diff)
		}
		if diff := cmp.Diff([]string{"1 replayed 2 502 status 502 false"}, lines(store.LogFilter{States: []string{store.DeliveryReplayed}})); diff != "" {
			t.Errorf("what was replayed: %s", diff)
		}
	})
}
