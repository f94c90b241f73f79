package retention_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"tract"
	"tract/internal/retention"
	"tract/internal/store"
	"tract/internal/tracttest"
)

const day = 24 * time.Hour

// world is a client with two hooks of one tool, on a clock that is moved.
type world struct {
	t           *testing.T
	s           *store.Store
	clock       *tracttest.Clock
	client      int64
	hook, other store.Endpoint
}

func stores(t *testing.T, test func(w *world)) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		w := &world{t: t, clock: tracttest.NewClock()}
		o.Now = w.clock.Now
		w.s = tracttest.Open(t, o)
		if _, err := w.s.RegisterReplica(context.Background(), "one"); err != nil {
			t.Fatal(err)
		}
		w.update(func(tx *store.Tx) (err error) {
			if w.client, err = tx.PutClient(tract.Client{ID: "acme", Active: true}); err != nil {
				return err
			}
			for _, e := range []*store.Endpoint{&w.hook, &w.other} {
				e.Client, e.Kind, e.Tool, e.Category, e.Subcategory, e.URL = w.client, store.EndpointHook, "crm", "message", "receive", "https://tool/"
			}
			w.other.Category = "conversation_state"
			if w.hook, err = tx.PutEndpoint(w.hook); err != nil {
				return err
			}
			w.other, err = tx.PutEndpoint(w.other)
			return err
		})
		test(w)
	})
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.s.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) view(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.s.View(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) thread(name string) (id int64) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		u, err := tx.PutUser(store.User{Client: w.client, AuthID: name, UserName: name})
		if err == nil {
			id, err = tx.InsertThread(w.client, 343, u.ID, "pxut-"+name, tract.PlatformWebhook)
		}
		return err
	})
	return id
}

// say adds a message to a conversation, which is then in a state, with a
// delivery, a line of the ledger and a brief.
func (w *world) say(thread int64, conversation int, state tract.State, e store.Endpoint) (id tract.MessageID, seq int64) {
	w.t.Helper()
	w.clock.Advance(time.Second)
	w.update(func(tx *store.Tx) error {
		l, err := tx.LockThread(thread)
		if err != nil {
			return err
		}
		if id, err = tx.NextID(); err != nil {
			return err
		}
		if err := tx.InsertEntry(l, &store.Entry{ID: id, Thread: thread, Conversation: conversation, Sender: tract.SenderCEU, Body: `{"text":"hi"}`, At: tx.Now}); err != nil {
			return err
		}
		if err := tx.AppendDelivery(l, e.ID, store.Delivery{Entry: id, Tool: "crm", DeliverySeq: l.NextDeliverySeq("crm"), Payload: []byte(`{}`)}); err != nil {
			return err
		}
		seq = l.Lanes.Get(e.ID).Last
		if err := tx.InsertLedger(thread, tract.LedgerEntry{Op: tract.OpPass, Granted: true}); err != nil {
			return err
		}
		if err := tx.PutBrief(thread, conversation, map[string]any{"n": conversation}); err != nil {
			return err
		}
		next := l.State
		next.Conversation, next.State = conversation, state
		return tx.SaveThread(l, next)
	})
	return id, seq
}

// settle marks a delivery, given up when dead says why.
func (w *world) settle(thread int64, e store.Endpoint, seq int64, dead string) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		l, _, err := tx.Lane(store.LaneKey{Thread: thread, Endpoint: e.ID})
		if err != nil {
			return err
		}
		return tx.MarkLanes([]*store.Mark{{Lane: l.LaneKey, Fence: l.Fence, Seq: seq, Done: true, Dead: dead, Attempt: &store.Attempt{At: tx.Now, Status: 200}}})
	})
}

func (w *world) sweeper(name string, keep retention.Settings, count prometheus.Registerer) *retention.Sweeper {
	return retention.New(retention.Config{Store: w.s, Keep: keep, Name: name, Now: w.clock.Now, Rows: 2, Count: count})
}

func (w *world) steps(s *retention.Sweeper, most int) (n int) {
	w.t.Helper()
	for n < most {
		worked, err := s.Step(context.Background())
		if err != nil {
			w.t.Fatal(err)
		}
		if !worked {
			return n
		}
		n++
	}
	return n
}

// held is what the store has of a thread.
type held struct {
	Entries, Ledger, Briefs int
	Feed                    []int64
	FeedStart               int64
	Dead                    []int64 // sequences of the first hook
	Attempts                int
	Last, Done              int64
}

func (w *world) held(thread int64) (h held) {
	w.t.Helper()
	w.view(func(tx *store.Tx) error {
		h = held{}
		es, err := tx.ListEntries(thread, 0, 1000)
		if err != nil {
			return err
		}
		h.Entries = len(es)
		lines, err := tx.ListLedger(thread)
		if err != nil {
			return err
		}
		h.Ledger = len(lines)
		for c := range 10 {
			if b, err := tx.Brief(thread, c); err != nil {
				return err
			} else if b != nil {
				h.Briefs++
			}
		}
		ds, err := tx.ListFeed(thread, "crm", 0, 1000)
		if err != nil {
			return err
		}
		for _, d := range ds {
			h.Feed = append(h.Feed, d.DeliverySeq)
		}
		if h.FeedStart, err = tx.FeedStart(thread, "crm"); err != nil {
			return err
		}
		k := store.LaneKey{Thread: thread, Endpoint: w.hook.ID}
		for seq := int64(1); seq <= 10; seq++ {
			if _, ok, err := tx.Dead(k, seq); err != nil {
				return err
			} else if ok {
				h.Dead = append(h.Dead, seq)
			}
			as, err := tx.ListAttempts(k, seq)
			if err != nil {
				return err
			}
			h.Attempts += len(as)
		}
		l, _, err := tx.Lane(k)
		h.Last, h.Done = l.Last, l.Done
		return err
	})
	return h
}

func (w *world) want(what string, thread int64, want held) {
	w.t.Helper()
	if d := cmp.Diff(want, w.held(thread)); d != "" {
		w.t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestWhatGoesAndWhatStays(t *testing.T) {
	stores(t, func(w *world) {
		over, open, down := w.thread("over"), w.thread("open"), w.thread("down")
		for i := range 5 { // a completed conversation; the third message was given up
			_, seq := w.say(over, 1, tract.StateComplete, w.hook)
			w.settle(over, w.hook, seq, map[int]string{2: "exhausted"}[i])
		}
		for range 3 { // a first conversation, and a second that is open
			_, seq := w.say(open, 1, tract.StateComplete, w.hook)
			w.settle(open, w.hook, seq, "")
		}
		for range 3 {
			_, seq := w.say(open, 2, tract.StateBot, w.hook)
			w.settle(open, w.hook, seq, "")
		}
		for range 3 { // a hook that nobody answers
			w.say(down, 1, tract.StateComplete, w.hook)
		}
		keep := retention.Settings{Deliveries: 30 * day, Dead: 90 * day, Log: 60 * day, Audit: 400 * day}
		reg := prometheus.NewRegistry()

		w.clock.Advance(29 * day)
		s := w.sweeper("one", keep, reg)
		w.steps(s, 1000)
		w.want("young", over, held{Entries: 5, Ledger: 5, Briefs: 1, Feed: []int64{1, 2, 3, 4, 5}, FeedStart: 1, Dead: []int64{3}, Attempts: 5, Last: 5, Done: 5})

		w.clock.Advance(2 * day)
		w.steps(s, 1000)
		w.want("deliveries went", over, held{Entries: 5, Ledger: 5, Briefs: 1, Feed: []int64{3}, FeedStart: 3, Dead: []int64{3}, Attempts: 1, Last: 5, Done: 5})
		w.want("deliveries went", open, held{Entries: 6, Ledger: 6, Briefs: 2, FeedStart: 7, Last: 6, Done: 6})
		w.want("not settled", down, held{Entries: 3, Ledger: 3, Briefs: 1, Feed: []int64{1, 2, 3}, FeedStart: 1, Last: 3})

		w.clock.Advance(30 * day)
		w.steps(s, 1000)
		w.want("the log went", over, held{Feed: []int64{3}, FeedStart: 3, Dead: []int64{3}, Attempts: 1, Last: 5, Done: 5})
		w.want("the open conversation stays", open, held{Entries: 3, Ledger: 6, Briefs: 1, FeedStart: 7, Last: 6, Done: 6})
		w.want("not settled", down, held{Feed: []int64{1, 2, 3}, FeedStart: 1, Last: 3})

		w.clock.Advance(30 * day)
		w.steps(s, 1000)
		w.want("dead letters went", over, held{FeedStart: 6, Last: 5, Done: 5})
		w.want("not settled", down, held{Feed: []int64{1, 2, 3}, FeedStart: 1, Last: 3})

		// Numbers go on where they were.
		_, seq := w.say(over, 2, tract.StateBot, w.hook)
		w.want("after a new message", over, held{Entries: 1, Ledger: 1, Briefs: 1, Feed: []int64{6}, FeedStart: 6, Last: 6, Done: 5})
		if seq != 6 {
			w.t.Errorf("the next delivery has the sequence %d", seq)
		}
		want := map[string]float64{"deliveries": 10, "attempts": 10, "dead_letters": 1, "log_entries": 11, "ledger_lines": 8, "briefs": 3, "audit_lines": 0, "keys": 0}
		if d := cmp.Diff(want, counts(w.t, reg)); d != "" {
			w.t.Errorf("counted (-want +got):\n%s", d)
		}
	})
}

func counts(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	fams, err := reg.Gather()
	if err != nil || len(fams) != 1 || fams[0].GetName() != "tract_retention_removed_total" {
		t.Fatalf("metrics: %v %v", fams, err)
	}
	out := map[string]float64{}
	for _, m := range fams[0].GetMetric() {
		out[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
	}
	return out
}

// For ever is for ever.
func TestNothingGoesWithoutRetention(t *testing.T) {
	stores(t, func(w *world) {
		th := w.thread("a")
		for i := range 4 {
			_, seq := w.say(th, 1, tract.StateComplete, w.hook)
			w.settle(th, w.hook, seq, map[int]string{2: "exhausted"}[i])
		}
		before := w.held(th)
		w.clock.Advance(5000 * day)
		w.steps(w.sweeper("one", retention.Settings{}, nil), 1000)
		w.want("kept for ever", th, before)
	})
}

// A process that dies between two steps is followed by another, which goes on
// where it was; traffic meanwhile loses nothing.
func TestStoppedAndResumed(t *testing.T) {
	stores(t, func(w *world) {
		var threads []int64
		for i := range 4 {
			th := w.thread(fmt.Sprint(i))
			threads = append(threads, th)
			for _, e := range []store.Endpoint{w.hook, w.other, w.hook} {
				_, seq := w.say(th, 1, tract.StateComplete, e)
				w.settle(th, e, seq, "")
			}
		}
		w.clock.Advance(100 * day)
		keep := retention.Settings{Deliveries: 30 * day, Log: 30 * day}
		first, second := w.sweeper("first", keep, nil), w.sweeper("second", keep, nil)
		if n := w.steps(first, 9); n != 9 {
			w.t.Fatalf("the first made %d steps", n)
		}
		left := 0
		for _, th := range threads {
			h := w.held(th)
			left += h.Entries + len(h.Feed)
		}
		if left == 0 || left == 24 {
			w.t.Fatalf("%d of 24 rows are left half-way", left)
		}
		if n := w.steps(second, 1); n != 0 {
			w.t.Error("two processes work at the same time")
		}
		for _, th := range threads {
			_, seq := w.say(th, 2, tract.StateComplete, w.hook)
			w.settle(th, w.hook, seq, "")
		}
		w.clock.Advance(time.Minute)
		if n := w.steps(second, 1000); n == 0 {
			w.t.Error("nobody follows a process that died")
		}
		for _, th := range threads {
			w.want("afterwards", th, held{Entries: 1, Ledger: 1, Briefs: 1, Feed: []int64{4}, FeedStart: 4, Attempts: 1, Last: 3, Done: 3})
		}
	})
}

// A conversation goes as a whole, not its older half.
func TestConversationGoesAsAWhole(t *testing.T) {
	stores(t, func(w *world) {
		th := w.thread("a")
		w.say(th, 1, tract.StateComplete, w.hook)
		w.say(th, 2, tract.StateBot, w.hook)
		w.clock.Advance(40 * day)
		w.say(th, 2, tract.StateComplete, w.hook)
		s := w.sweeper("one", retention.Settings{Log: 30 * day}, nil)
		w.steps(s, 1000)
		if h := w.held(th); h.Entries != 2 || h.Briefs != 1 {
			w.t.Errorf("half a conversation: %+v", h)
		}
		w.clock.Advance(31 * day)
		w.steps(s, 1000)
		if h := w.held(th); h.Entries != 0 || h.Briefs != 0 || h.Ledger != 0 {
			w.t.Errorf("the conversation stays: %+v", h)
		}
	})
}

// Idempotency keys and the audit log go as well, however many there are.
func TestKeysAndAudit(t *testing.T) {
	stores(t, func(w *world) {
		w.update(func(tx *store.Tx) error {
			for i := range 7 {
				if err := tx.PutIdempotency([]byte{byte(i)}, store.Remembered{RequestHash: []byte{1}, Status: 200, Response: []byte("{}")}); err != nil {
					return err
				}
				if err := tx.InsertAudit(w.client, "admin", "apply", "x", nil); err != nil {
					return err
				}
			}
			return nil
		})
		w.clock.Advance(401 * day)
		w.update(func(tx *store.Tx) error { return tx.InsertAudit(w.client, "admin", "apply", "y", nil) })
		reg := prometheus.NewRegistry()
		w.steps(w.sweeper("one", retention.Settings{Audit: 400 * day}, reg), 1000)
		got := counts(w.t, reg)
		w.view(func(tx *store.Tx) error {
			lines, err := tx.ListAudit(w.client, 100)
			for _, l := range lines {
				if l.Target == "x" {
					w.t.Errorf("an old line stays: %+v", l)
				}
			}
			if len(lines) == 0 {
				w.t.Error("the young line is gone")
			}
			return err
		})
		if got["keys"] != 7 || got["audit_lines"] < 7 {
			w.t.Errorf("counted %v", got)
		}
	})
}

// Run works by itself and ends when told to.
func TestRun(t *testing.T) {
	stores(t, func(w *world) {
		th := w.thread("a")
		_, seq := w.say(th, 1, tract.StateComplete, w.hook)
		w.settle(th, w.hook, seq, "")
		w.clock.Advance(31 * day)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- w.sweeper("one", retention.Settings{Deliveries: 30 * day}, nil).Run(ctx) }()
		late := time.NewTimer(30 * time.Second)
		defer late.Stop()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for gone := false; !gone; {
			select {
			case <-late.C:
				w.t.Fatal("the old delivery stays")
			case <-tick.C:
				gone = len(w.held(th).Feed) == 0
			}
		}
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("ended with %v", err)
		}
	})
}

// The file of a removed message goes with it.
func TestFilesGoWithTheirMessages(t *testing.T) {
	stores(t, func(w *world) {
		th := w.thread("a")
		file := func(name string, conversation int, state tract.State) {
			id, _ := w.say(th, conversation, state, w.hook)
			w.update(func(tx *store.Tx) error {
				if _, err := tx.InsertFile(store.File{ID: name, Client: w.client, Name: name, Size: 1}, 100); err != nil {
					return err
				}
				_, err := tx.SettleFile(name, th, id)
				return err
			})
		}
		file("old", 1, tract.StateComplete)
		file("new", 2, tract.StateBot)
		w.clock.Advance(40 * day)
		w.steps(w.sweeper("one", retention.Settings{Log: 30 * day}, nil), 1000)
		w.view(func(tx *store.Tx) error {
			gone, err := tx.ListGoneFiles(10)
			if d := cmp.Diff([]string{"old"}, gone); d != "" {
				w.t.Errorf("files without a message (-want +got):\n%s", d)
			}
			return err
		})
	})
}
