package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// committed keeps what commits append.
type committed struct{ appends []store.Append }

func (c *committed) Appending([]store.LaneKey)   {}
func (c *committed) Aborted([]store.LaneKey)     {}
func (c *committed) Committed(got *store.Commit) { c.appends = append(c.appends, got.Appends...) }

// Many commands and many marks in one transaction leave what each of them would
// have left alone, also where two of them are about the same row.
func TestManyInOneTransaction(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		s := tracttest.Open(t, o)
		var heard committed
		s.Watch(&heard)
		w := newLaneWorld(t, s)
		second := w.put("conversation_state", "complete")
		threads := []int64{w.thread}
		update(t, s, func(tx *store.Tx) error {
			threads = threads[:1]
			for i := range 4 {
				u, err := tx.PutUser(store.User{Client: w.client, AuthID: fmt.Sprint("a", i), UserName: fmt.Sprint("n", i)})
				if err != nil {
					return err
				}
				id, err := tx.InsertThread(w.client, 343, u.ID, fmt.Sprint("pxut-of-", i), tract.PlatformWebhook)
				if err != nil {
					return err
				}
				threads = append(threads, id)
			}
			return nil
		})
		// Each round appends to all threads and both lanes, and twice to the first.
		round := func(n int) {
			update(t, s, func(tx *store.Tx) error {
				for i, thread := range append(threads, threads[0]) {
					l, err := tx.LockThread(thread)
					if err != nil {
						return err
					}
					id, err := tx.NextID()
					if err != nil {
						return err
					}
					e := store.Entry{ID: id, Thread: thread, Conversation: n, Sender: tract.SenderCEU, Body: fmt.Sprint("body ", n, i), At: tx.Now}
					if err := tx.InsertEntry(l, &e); err != nil {
						return err
					}
					for _, endpoint := range []int64{w.e.ID, second.ID} {
						d := store.Delivery{Entry: id, Tool: "crm", DeliverySeq: l.NextDeliverySeq("crm"), Payload: fmt.Append(nil, "payload ", n, i, endpoint == second.ID)}
						if err := tx.AppendDelivery(l, endpoint, d); err != nil {
							return err
						}
					}
					next := l.State
					next.Conversation, next.Owner, next.State = n, "crm", tract.StateAssigned
					if err := tx.SaveThread(l, next); err != nil {
						return err
					}
				}
				return nil
			})
		}
		round(1)
		heard.appends = nil
		round(2)
		if len(heard.appends) != 12 {
			t.Errorf("%d appends were heard of", len(heard.appends))
		}
		for _, a := range heard.appends {
			last := int64(2)
			if a.Lane.Thread == threads[0] {
				last = 4
			}
			if a.State.LaneKey != a.Lane || a.State.Owner != w.me || a.State.Fence != 1 || a.State.Done != 0 || a.Seq > last {
				t.Errorf("delivery %d of %v is heard of with %+v", a.Seq, a.Lane, a.State)
			}
		}
		view(t, s, func(tx *store.Tx) error {
			for i, thread := range threads {
				l, err := tx.Thread(thread)
				if err != nil {
					return err
				}
				es, err := tx.ListEntries(thread, 0, 100)
				if err != nil {
					return err
				}
				bodies, payloads := []string{}, []string{}
				for _, e := range es {
					bodies = append(bodies, e.Body)
				}
				for _, endpoint := range []int64{w.e.ID, second.ID} {
					ds, err := tx.ListDeliveries(store.LaneKey{Thread: thread, Endpoint: endpoint}, 0, 100)
					if err != nil {
						return err
					}
					for _, d := range ds {
						payloads = append(payloads, fmt.Sprint(d.Seq, " ", d.DeliverySeq, " ", string(d.Payload)))
					}
				}
				want := []string{fmt.Sprint("body ", 1, i), fmt.Sprint("body ", 2, i)}
				sent := []string{}
				for k, other := range []bool{false, true} {
					if i > 0 {
						sent = append(sent, fmt.Sprint(1, " ", 1+k, " payload ", 1, i, other), fmt.Sprint(2, " ", 3+k, " payload ", 2, i, other))
						continue
					}
					for n, of := range [][2]int{{1, 0}, {1, 5}, {2, 0}, {2, 5}} {
						sent = append(sent, fmt.Sprint(n+1, " ", 2*n+1+k, " payload ", of[0], of[1], other))
					}
				}
				if i == 0 {
					want = []string{"body 1 0", "body 1 5", "body 2 0", "body 2 5"}
				}
				if d := cmp.Diff(want, bodies); d != "" {
					t.Errorf("log of thread %d: %s", i, d)
				}
				if d := cmp.Diff(sent, payloads); d != "" {
					t.Errorf("deliveries of thread %d: %s", i, d)
				}
				if l.State.Conversation != 2 || l.LastEntry != es[len(es)-1].ID {
					t.Errorf("thread %d stands at conversation %d, entry %d", i, l.State.Conversation, l.LastEntry)
				}
			}
			return nil
		})
		// Marks of all lanes, two of one lane, one with an old fence.
		var marks []*store.Mark
		for _, thread := range threads {
			marks = append(marks, &store.Mark{Lane: store.LaneKey{Thread: thread, Endpoint: w.e.ID}, Fence: 1, Seq: 1, Done: true})
		}
		twice := &store.Mark{Lane: w.k, Fence: 1, Seq: 2, Done: true}
		old := &store.Mark{Lane: store.LaneKey{Thread: threads[1], Endpoint: second.ID}, Fence: 0, Seq: 1, Done: true}
		failed := &store.Mark{Lane: store.LaneKey{Thread: threads[2], Endpoint: second.ID}, Fence: 1, Seq: 1, Attempts: 1, FirstAt: time.UnixMicro(7), NextAt: time.UnixMicro(8), Attempt: &store.Attempt{At: time.UnixMicro(7), Status: 500}}
		w.mark(s, slices.Concat(marks, []*store.Mark{twice, old, failed})...)
		for i, m := range slices.Concat(marks, []*store.Mark{twice, failed}) {
			last := int64(2)
			if m.Lane.Thread == threads[0] {
				last = 4
			}
			if !m.Held || m.Last != last {
				t.Errorf("mark %d: held %t, last %d, want %d", i, m.Held, m.Last, last)
			}
		}
		if old.Held {
			t.Error("a mark with an old fence counted")
		}
		for i, thread := range threads {
			done := int64(1)
			if i == 0 {
				done = 2
			}
			if got := w.lane(store.LaneKey{Thread: thread, Endpoint: w.e.ID}); got.Done != done {
				t.Errorf("lane of thread %d is done up to %d, want %d", i, got.Done, done)
			}
			if got := w.lane(store.LaneKey{Thread: thread, Endpoint: second.ID}); got.Done != 0 || got.Attempt != b2i(i == 2) {
				t.Errorf("second lane of thread %d: done %d, attempts %d", i, got.Done, got.Attempt)
			}
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
