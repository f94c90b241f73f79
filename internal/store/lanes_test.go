package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// laneWorld is a thread with an endpoint, on a store that dispatches.
type laneWorld struct {
	t              *testing.T
	s              *store.Store
	client, thread int64
	e              store.Endpoint
	k              store.LaneKey
	me             int64
}

func newLaneWorld(t *testing.T, s *store.Store) *laneWorld {
	t.Helper()
	w := &laneWorld{t: t, s: s}
	w.client, w.thread = newThread(t, s)
	w.e = w.put("message", "receive")
	w.k = store.LaneKey{Thread: w.thread, Endpoint: w.e.ID}
	var err error
	if w.me, err = s.RegisterReplica(context.Background(), "one"); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *laneWorld) put(category, subcategory string) (e store.Endpoint) {
	w.t.Helper()
	update(w.t, w.s, func(tx *store.Tx) error {
		put, err := tx.PutEndpoint(store.Endpoint{Client: w.client, Kind: store.EndpointHook, Tool: "crm", Category: category, Subcategory: subcategory, URL: "https://tool/"})
		if err != nil {
			return err
		}
		e, err = tx.Endpoint(put.ID)
		return err
	})
	return e
}

// add appends deliveries to the lane in one command.
func (w *laneWorld) add(s *store.Store, k store.LaneKey, payloads ...string) {
	w.t.Helper()
	update(w.t, s, func(tx *store.Tx) error {
		l, err := tx.LockThread(k.Thread)
		if err != nil {
			return err
		}
		for _, p := range payloads {
			id, err := tx.NextID()
			if err != nil {
				return err
			}
			if err := tx.AppendDelivery(l, k.Endpoint, store.Delivery{Entry: id, Tool: "crm", DeliverySeq: l.NextDeliverySeq("crm"), Payload: []byte(p)}); err != nil {
				return err
			}
		}
		return tx.SaveThread(l, l.State)
	})
}

func (w *laneWorld) lane(k store.LaneKey) (l store.Lane) {
	w.t.Helper()
	view(w.t, w.s, func(tx *store.Tx) (err error) { l, _, err = tx.Lane(k); return err })
	return l
}

func (w *laneWorld) mark(s *store.Store, marks ...*store.Mark) {
	w.t.Helper()
	update(w.t, s, func(tx *store.Tx) error { return tx.MarkLanes(marks) })
}

func (w *laneWorld) attempts(seq int64) (out []store.Attempt) {
	w.t.Helper()
	view(w.t, w.s, func(tx *store.Tx) (err error) { out, err = tx.ListAttempts(w.k, seq); return err })
	return out
}

func view(t *testing.T, s *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := s.View(context.Background(), fn); err != nil {
		t.Fatalf("view: %v", err)
	}
}

// other is a second replica on the same database, which only PostgreSQL allows.
func other(t *testing.T, o store.Options) (*store.Store, int64) {
	t.Helper()
	s := tracttest.Open(t, o)
	id, err := s.RegisterReplica(context.Background(), "two")
	if err != nil {
		t.Fatal(err)
	}
	return s, id
}

func TestAppendAndMark(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		w.add(s, w.k, "a", "b", "c")
		l := w.lane(w.k)
		if l.Last != 3 || l.Done != 0 || l.Owner != w.me || l.Fence != 1 || l.Client != w.client {
			t.Fatalf("after appending: %+v", l)
		}
		view(t, s, func(tx *store.Tx) error {
			ds, err := tx.ListDeliveries(w.k, 1, 10)
			if len(ds) != 2 || ds[0].Seq != 2 || string(ds[1].Payload) != "c" || ds[1].DeliverySeq != 3 || ds[0].ID() != fmt.Sprintf("dlv_%d_%d_2", w.e.ID, w.thread) {
				t.Errorf("queued after 1: %+v", ds)
			}
			return err
		})
		first, next := time.UnixMicro(1_000_000).UTC(), time.UnixMicro(6_000_000).UTC()
		retry := &store.Mark{Lane: w.k, Fence: 1, Seq: 1, Attempt: &store.Attempt{At: first, Status: 500, Error: "status 500"}, Attempts: 1, FirstAt: first, NextAt: next}
		w.mark(s, retry)
		if l := w.lane(w.k); !retry.Held || retry.Last != 3 || l.Attempt != 1 || !l.FirstAt.Equal(first) || !l.NextAt.Equal(next) || l.Done != 0 {
			t.Errorf("after a failure: held %v, last %d, %+v", retry.Held, retry.Last, l)
		}
		done := &store.Mark{Lane: w.k, Fence: 1, Seq: 1, Done: true, Attempt: &store.Attempt{At: next, Status: 200}}
		dead := &store.Mark{Lane: w.k, Fence: 1, Seq: 2, Done: true, Dead: "exhausted"}
		w.mark(s, done, dead)
		if l := w.lane(w.k); !done.Held || !dead.Held || l.Done != 2 || l.Attempt != 0 || !l.NextAt.IsZero() || !l.FirstAt.IsZero() {
			t.Errorf("after success and a dead letter: %+v", l)
		}
		if as := w.attempts(1); len(as) != 2 || as[0].Number != 1 || as[1].Number != 2 || as[1].Status != 200 {
			t.Errorf("attempts %+v", as)
		}
		view(t, s, func(tx *store.Tx) error {
			d, ok, err := tx.Dead(w.k, 2)
			if !ok || d.Reason != "exhausted" || d.Client != w.client {
				t.Errorf("dead letter %+v, %v", d, ok)
			}
			return err
		})
	})
}

// A batch may hold many marks of a lane, also of one delivery; their order is
// that of the attempts.
func TestMarksOfOneLaneInABatch(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		const n = 20
		var payloads []string
		for i := range n {
			payloads = append(payloads, fmt.Sprint(i))
		}
		w.add(s, w.k, payloads...)
		var marks []*store.Mark
		for seq := int64(1); seq <= n; seq++ {
			marks = append(marks,
				&store.Mark{Lane: w.k, Fence: 1, Seq: seq, Attempt: &store.Attempt{Status: 500}, Attempts: 1},
				&store.Mark{Lane: w.k, Fence: 1, Seq: seq, Attempt: &store.Attempt{Status: 503}, Attempts: 2},
				&store.Mark{Lane: w.k, Fence: 1, Seq: seq, Attempt: &store.Attempt{Status: 200}, Done: true})
		}
		w.mark(s, marks...)
		for _, m := range marks {
			if !m.Held || m.Last != n {
				t.Fatalf("mark of %d: held %v, last %d", m.Seq, m.Held, m.Last)
			}
		}
		if l := w.lane(w.k); l.Done != n || l.Attempt != 0 {
			t.Errorf("lane %+v", l)
		}
		var got []int
		for _, a := range w.attempts(n) {
			got = append(got, a.Number, a.Status)
		}
		if diff := cmp.Diff([]int{1, 500, 2, 503, 3, 200}, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestMarksThatDoNotCount(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		w.add(s, w.k, "a", "b")
		w.mark(s, &store.Mark{Lane: w.k, Fence: 1, Seq: 1, Done: true})
		before := w.lane(w.k)
		for name, m := range map[string]*store.Mark{
			"old fence":         {Lane: w.k, Fence: 0, Seq: 2, Done: true, Dead: "exhausted"},
			"newer fence":       {Lane: w.k, Fence: 2, Seq: 2, Done: true, Dead: "exhausted"},
			"settled already":   {Lane: w.k, Fence: 1, Seq: 1, Done: true, Dead: "exhausted"},
			"failure, old":      {Lane: w.k, Fence: 0, Seq: 2, Attempts: 5},
			"failure, settled":  {Lane: w.k, Fence: 1, Seq: 1, Attempts: 5},
			"failure, not next": {Lane: w.k, Fence: 1, Seq: 3, Attempts: 5},
			"no such lane":      {Lane: store.LaneKey{Thread: w.thread, Endpoint: 999}, Fence: 1, Seq: 1, Done: true, Dead: "exhausted"},
		} {
			m.Held = true
			if name != "failure, not next" {
				m.Attempt = &store.Attempt{Status: 500}
			}
			w.mark(s, m)
			if m.Held {
				t.Errorf("%s: it counted", name)
			}
		}
		if diff := cmp.Diff(before, w.lane(w.k), cmp.AllowUnexported(store.Lane{})); diff != "" {
			t.Error(diff)
		}
		if as := append(w.attempts(1), w.attempts(2)...); len(as) != 0 {
			t.Errorf("attempts were kept: %+v", as)
		}
		view(t, s, func(tx *store.Tx) error {
			st, err := tx.Stats()
			if st.Dead != 0 {
				t.Errorf("%d dead letters", st.Dead)
			}
			return err
		})
	})
}

// Who has a lane: an owner that lives keeps it while it is open; else whoever
// appends gets it, with a higher fence.
func TestOwnersOfALane(t *testing.T) {
	o := tracttest.Fresh(t, "postgres")
	clk := tracttest.NewClock()
	o.Now = clk.Now
	one := tracttest.Open(t, o)
	w := newLaneWorld(t, one)
	two, secondID := other(t, o)
	check := func(what string, owner, fence, last, done int64) {
		t.Helper()
		if l := w.lane(w.k); l.Owner != owner || l.Fence != fence || l.Last != last || l.Done != done {
			t.Fatalf("%s: %+v, want owner %d, fence %d, %d of %d done", what, l, owner, fence, done, last)
		}
	}
	w.add(one, w.k, "a")
	check("one appends", w.me, 1, 1, 0)
	w.add(two, w.k, "b")
	check("two appends while one has it", w.me, 1, 2, 0)
	m := &store.Mark{Lane: w.k, Fence: 1, Seq: 1, Done: true}
	w.mark(one, m)
	if !m.Held || m.Last != 2 {
		t.Fatalf("one is not told of what two appended: %+v", m)
	}
	stolen := &store.Mark{Lane: w.k, Fence: 1, Seq: 2, Done: true}
	w.mark(two, stolen)
	if stolen.Held {
		t.Fatal("a mark of a replica that does not have the lane counted")
	}
	w.mark(one, &store.Mark{Lane: w.k, Fence: 1, Seq: 2, Done: true})
	w.add(two, w.k, "c")
	check("two appends to an idle lane", secondID, 2, 3, 2)
	clk.Advance(10 * time.Second)
	for _, s := range []*store.Store{one, two} {
		if alive, err := s.Heartbeat(t.Context()); !alive || err != nil {
			t.Fatalf("heartbeat: %v, %v", alive, err)
		}
	}
	clk.Advance(10 * time.Second)
	if alive, err := one.Heartbeat(t.Context()); !alive || err != nil {
		t.Fatalf("heartbeat: %v, %v", alive, err)
	}
	claimed := func(s *store.Store) (out []store.Lane) {
		update(t, s, func(tx *store.Tx) (err error) { out, err = tx.ClaimLanes(10); return err })
		return out
	}
	if got := claimed(one); len(got) != 0 {
		t.Fatalf("took over from the living: %+v", got)
	}
	clk.Advance(10 * time.Second) // the second is silent for 20 s
	if got := claimed(one); len(got) != 1 || got[0].LaneKey != w.k || got[0].Fence != 3 || got[0].Owner != w.me || got[0].Done != 2 {
		t.Fatalf("take-over: %+v", got)
	}
	if alive, err := two.Heartbeat(t.Context()); alive || err != nil {
		t.Errorf("two does not learn that it was given up: %v, %v", alive, err)
	}
	late := &store.Mark{Lane: w.k, Fence: 2, Seq: 3, Done: true}
	w.mark(two, late)
	if late.Held {
		t.Error("a late mark counted")
	}
	check("after the take-over", w.me, 3, 3, 2)
	if err := one.LeaveReplica(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := two.RegisterReplica(t.Context(), "two again"); err != nil {
		t.Fatal(err)
	}
	if got := claimed(two); len(got) != 1 || got[0].Fence != 4 {
		t.Errorf("what a replica left behind: %+v", got)
	}
}

func TestClaimLanes(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		settled, off, gone := w.put("a", "settled"), w.put("b", "off"), w.put("c", "gone")
		var lanes []store.LaneKey
		for _, e := range []store.Endpoint{w.e, settled, off, gone} {
			k := store.LaneKey{Thread: w.thread, Endpoint: e.ID}
			w.add(s, k, "x")
			lanes = append(lanes, k)
		}
		w.mark(s, &store.Mark{Lane: lanes[1], Fence: 1, Seq: 1, Done: true})
		update(t, s, func(tx *store.Tx) error {
			if _, err := tx.DisableEndpoint(off, store.DisabledByOwner); err != nil {
				return err
			}
			return tx.DeleteEndpoint(gone)
		})
		if err := s.LeaveReplica(t.Context()); err != nil {
			t.Fatal(err)
		}
		me, err := s.RegisterReplica(t.Context(), "next")
		if err != nil {
			t.Fatal(err)
		}
		for round, want := range []int{1, 0} { // its own are not claimed again
			var got []store.Lane
			update(t, s, func(tx *store.Tx) (err error) { got, err = tx.ClaimLanes(10); return err })
			if len(got) != want || (want == 1 && (got[0].LaneKey != w.k || got[0].Owner != me)) {
				t.Errorf("round %d: %+v", round, got)
			}
		}
		view(t, s, func(tx *store.Tx) error {
			own, err := tx.ListOwnLanes(w.e.ID, 0, 10)
			if len(own) != 1 || own[0].LaneKey != w.k {
				t.Errorf("own lanes %+v", own)
			}
			after, aerr := tx.ListOwnLanes(w.e.ID, w.thread, 10)
			if len(after) != 0 {
				t.Errorf("own lanes after the last thread: %+v", after)
			}
			return errors.Join(err, aerr)
		})
	})
}

func TestSettleTurn(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		w.add(s, w.k, "a", "b")
		for _, tt := range []struct {
			seq  int64
			want bool
		}{{2, false}, {1, true}, {1, false}, {2, true}} {
			update(t, s, func(tx *store.Tx) error {
				open, err := tx.SettleTurn(w.k, tt.seq)
				if open != tt.want {
					t.Errorf("turn %d: open %v", tt.seq, open)
				}
				return err
			})
		}
	})
}

func TestHeldDeliveries(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		until := time.Date(2026, 11, 20, 10, 30, 5, 0, time.UTC)
		update(t, s, func(tx *store.Tx) error {
			l, err := tx.LockThread(w.thread)
			if err != nil {
				return err
			}
			for n := range 5 {
				d := store.Delivery{Entry: tract.MessageID(n + 1), Payload: []byte{byte('a' + n)}}
				if n < 4 {
					d.HoldUntil = until
				}
				if err := tx.AppendDelivery(l, w.e.ID, d); err != nil {
					return err
				}
			}
			return tx.SaveThread(l, l.State)
		})
		release := func(seq int64) (send bool) {
			update(t, s, func(tx *store.Tx) (err error) { send, err = tx.ReleaseHeld(w.k, seq); return err })
			return send
		}
		take := func(until time.Time) (taken string) {
			update(t, s, func(tx *store.Tx) error {
				out, err := tx.TakeHeld(w.k, until)
				taken = ""
				for _, d := range out {
					taken += string(d.Payload)
				}
				return err
			})
			return taken
		}
		w.mark(s, &store.Mark{Lane: w.k, Fence: 1, Seq: 1, Done: true})
		for range 2 { // asked again after a lost answer it says the same
			if !release(2) {
				t.Error("what nobody took is not to be sent")
			}
		}
		if got := take(until.Add(time.Microsecond)); got != "" {
			t.Errorf("another caller took %q", got)
		}
		if got := take(until); got != "cd" { // a is settled, b released, e was not held
			t.Errorf("took %q", got)
		}
		if got := take(until); got != "" {
			t.Errorf("took %q twice", got)
		}
		if release(3) {
			t.Error("what was taken is to be sent as well")
		}
		view(t, s, func(tx *store.Tx) error {
			ds, err := tx.ListDeliveries(w.k, 1, 10)
			var got []bool
			for _, d := range ds {
				got = append(got, d.Taken, !d.HoldUntil.IsZero())
			}
			if diff := cmp.Diff([]bool{false, false, true, false, true, false, false, false}, got); diff != "" {
				t.Error(diff)
			}
			return err
		})
	})
}

func TestHeldRace(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		for round := range 30 {
			until := time.Date(2026, 11, 20, 11, 0, 0, round*1000, time.UTC)
			update(t, s, func(tx *store.Tx) error {
				l, err := tx.LockThread(w.thread)
				if err != nil {
					return err
				}
				if err := tx.AppendDelivery(l, w.e.ID, store.Delivery{Entry: 1, HoldUntil: until, Payload: []byte("x")}); err != nil {
					return err
				}
				return tx.SaveThread(l, l.State)
			})
			var took int
			var send bool
			var both sync.WaitGroup
			both.Go(func() {
				update(t, s, func(tx *store.Tx) error { out, err := tx.TakeHeld(w.k, until); took = len(out); return err })
			})
			both.Go(func() {
				update(t, s, func(tx *store.Tx) (err error) { send, err = tx.ReleaseHeld(w.k, int64(round+1)); return err })
			})
			both.Wait()
			if (took == 1) == send {
				t.Fatalf("round %d: taken %d, sent %v", round, took, send)
			}
		}
	})
}

func TestAwaitsIntroduction(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newLaneWorld(t, s)
		users := w.put("user_events", "create_user")
		k := store.LaneKey{Thread: w.thread, Endpoint: users.ID}
		check := func(what string, want bool) {
			t.Helper()
			view(t, s, func(tx *store.Tx) error {
				got, err := tx.AwaitsIntroduction(w.thread, "crm")
				if got != want {
					t.Errorf("%s: %v", what, got)
				}
				return err
			})
		}
		w.add(s, w.k, "message")
		check("only a message", false)
		update(t, s, func(tx *store.Tx) error {
			l, err := tx.LockThread(w.thread)
			if err != nil {
				return err
			}
			if err := tx.AppendDelivery(l, users.ID, store.Delivery{Entry: 1, Tool: "crm", Payload: []byte("user")}); err != nil {
				return err
			}
			return tx.SaveThread(l, l.State)
		})
		check("not tried", true)
		update(t, s, func(tx *store.Tx) error { _, err := tx.DisableEndpoint(users, store.DisabledByOwner); return err })
		check("disabled", false)
		update(t, s, func(tx *store.Tx) error { return tx.EnableEndpoint(users) })
		w.mark(s, &store.Mark{Lane: k, Fence: 1, Seq: 1, Attempts: 1})
		check("tried once", false)
		w.mark(s, &store.Mark{Lane: k, Fence: 1, Seq: 1, Done: true})
		check("answered", false)
	})
}

func TestParseDeliveryID(t *testing.T) {
	d := store.Delivery{Lane: store.LaneKey{Thread: 12, Endpoint: 3}, Seq: 7, Entry: 99, DeliverySeq: 4}
	if d.ID() != "dlv_3_12_7" || d.WebhookID() != "msg_99_3_4" {
		t.Errorf("ids %s, %s", d.ID(), d.WebhookID())
	}
	k, seq, ok := store.ParseDeliveryID(d.ID())
	if k != d.Lane || seq != 7 || !ok {
		t.Errorf("parsed %v, %d, %v", k, seq, ok)
	}
	for _, bad := range []string{"", "dlv_3_12", "dlv_3_12_7_", "dlv_3_12_7 ", "dlv_03_12_7", "dlv_3_12_+7", "msg_3_12_7", "dlv_3_12_99999999999999999999"} {
		if _, _, ok := store.ParseDeliveryID(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}
