package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/clock"
	"tract/internal/safehttp"
	"tract/internal/store"
)

// turn appends a turn of the bot.
func (w *world) turn(thread, endpoint int64, payload string) {
	w.t.Helper()
	if err := add(w.s, thread, func(tx *store.Tx, l *store.Locked, id tract.MessageID) error {
		return tx.AppendDelivery(l, endpoint, store.Delivery{Entry: id, Payload: []byte(payload)})
	}); err != nil {
		w.t.Fatal(err)
	}
}

// settle is what a bot does when it has answered.
func settle(s *store.Store, k store.LaneKey, seq int64) error {
	return s.Update(context.Background(), func(tx *store.Tx) error { _, err := tx.SettleTurn(k, seq); return err })
}

func TestBotTurns(t *testing.T) {
	tests := []struct {
		name  string
		bot   func(w *world, asked int, k store.LaneKey, seq int64) error // of the first turn
		want  []string                                                    // what was asked
		state string
	}{
		{"answers", func(w *world, _ int, k store.LaneKey, seq int64) error { return settle(w.s, k, seq) }, []string{"one", "two"}, "one delivered"},
		{"fails once", func(w *world, asked int, k store.LaneKey, seq int64) error {
			if asked == 1 {
				return errors.New("no model")
			}
			return settle(w.s, k, seq)
		}, []string{"one", "one", "two"}, "one delivered"},
		{"answers but says it failed", func(w *world, asked int, k store.LaneKey, seq int64) error {
			if err := settle(w.s, k, seq); err != nil {
				return err
			}
			return errors.New("the answer was lost")
		}, []string{"one", "two"}, "one delivered"},
		{"fails always", func(*world, int, store.LaneKey, int64) error { return errors.New("no business") }, []string{"one", "one", "one", "one", "one", "two"}, "one dead"},
		{"panics always", func(*world, int, store.LaneKey, int64) error { panic("index out of range") }, []string{"one", "one", "one", "one", "one", "two"}, "one dead"},
		{"the store does not answer", func(w *world, asked int, k store.LaneKey, seq int64) error {
			if asked < 8 {
				return store.ErrUnavailable
			}
			return settle(w.s, k, seq)
		}, []string{"one", "one", "one", "one", "one", "one", "one", "one", "two"}, "one delivered"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				e := w.put(store.Endpoint{Kind: store.EndpointBot, Business: 343})
				var asked []string
				w.cfg.Bot = func(_ context.Context, payload []byte, k store.LaneKey, seq int64) error {
					if asked = append(asked, string(payload)); string(payload) == "two" {
						return settle(w.s, k, seq)
					}
					return tt.bot(w, len(asked), k, seq)
				}
				w.run()
				w.turn(w.threads[0], e.ID, "one")
				w.turn(w.threads[0], e.ID, "two")
				pass(2 * time.Minute)
				if diff := cmp.Diff(tt.want, asked); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff([]string{tt.state, "two delivered"}, w.states(e.ID)); diff != "" {
					t.Error(diff)
				}
				if !w.endpoint(e.ID).Enabled {
					t.Error("a bot was disabled")
				}
				w.empty()
			})
		})
	}
}

// held appends a delivery to a channel that a synchronous caller may take.
func (w *world) held(thread, endpoint int64, until time.Time, payload string) {
	w.t.Helper()
	if err := add(w.s, thread, func(tx *store.Tx, l *store.Locked, id tract.MessageID) error {
		return tx.AppendDelivery(l, endpoint, store.Delivery{Entry: id, DeliverySeq: 1, HoldUntil: until, Payload: []byte(payload)})
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) take(thread, endpoint int64, until time.Time) (n int) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		out, err := tx.TakeHeld(store.LaneKey{Thread: thread, Endpoint: endpoint}, until)
		n = len(out)
		return err
	})
	return n
}

func TestHold(t *testing.T) {
	const wait = 5 * time.Second
	t.Run("taken", func(t *testing.T) {
		bubble(t, 1, func(t *testing.T, w *world) {
			w.net.host("channel", answer(200, ""))
			e := w.put(store.Endpoint{Kind: store.EndpointChannel, Business: 343, URL: "https://channel/"}, "raw")
			w.run()
			until := clock.System().Add(wait)
			w.held(w.threads[0], e.ID, until, "a")
			w.held(w.threads[0], e.ID, until, "b")
			w.held(w.threads[0], e.ID, time.Time{}, "c")
			pass(time.Second)
			if n := w.take(w.threads[0], e.ID, until.Add(time.Second)); n != 0 {
				t.Errorf("another caller took %d", n)
			}
			if n := w.take(w.threads[0], e.ID, until); n != 2 {
				t.Errorf("took %d, want 2", n)
			}
			if n := w.take(w.threads[0], e.ID, until); n != 0 {
				t.Errorf("took %d twice", n)
			}
			pass(time.Second) // what follows need not wait for the end of the hold
			if diff := cmp.Diff([]string{"c"}, w.net.bodies("channel")); diff != "" {
				t.Error(diff)
			}
			w.empty()
		})
	})
	t.Run("expired", func(t *testing.T) {
		bubble(t, 1, func(t *testing.T, w *world) {
			failures := 2
			w.net.host("channel", func(c *call) *safehttp.Response {
				if failures--; failures >= 0 {
					return answer(500, "")(c)
				}
				return answer(200, "")(c)
			})
			e := w.put(store.Endpoint{Kind: store.EndpointChannel, Business: 343, URL: "https://channel/"}, "raw")
			w.run()
			begun := clock.System()
			until := begun.Add(wait)
			w.held(w.threads[0], e.ID, until, "a")
			w.held(w.threads[0], e.ID, until, "b")
			pass(wait - time.Millisecond)
			if n := len(w.net.to("channel")); n != 0 {
				t.Errorf("%d were sent before the end of the hold", n)
			}
			pass(wait)
			if n := w.take(w.threads[0], e.ID, until); n != 1 { // b waits behind a
				t.Errorf("took %d, want 1", n)
			}
			pass(time.Minute)
			// A held message that failed is tried again like any other.
			if diff := cmp.Diff([]string{"a", "a", "a"}, w.net.bodies("channel")); diff != "" {
				t.Error(diff)
			}
			if in := w.net.to("channel")[0].at.Sub(begun); in < wait || in > wait+250*time.Millisecond {
				t.Errorf("sent after %v", in)
			}
			w.empty()
		})
	})
}

// The caller and the lane meet at the end of the hold: one of them has it.
func TestHoldRace(t *testing.T) {
	bubble(t, 40, func(t *testing.T, w *world) {
		w.net.host("channel", answer(200, ""))
		e := w.put(store.Endpoint{Kind: store.EndpointChannel, Business: 343, URL: "https://channel/"}, "raw")
		w.run()
		taken := map[string]bool{}
		const rounds = 25
		for round := range rounds {
			until := clock.System().Add(300 * time.Millisecond)
			for i, thread := range w.threads {
				w.held(thread, e.ID, until, fmt.Sprint(i, " ", round))
			}
			<-time.After(300 * time.Millisecond)
			for i, thread := range w.threads { // while the lanes do the same
				taken[fmt.Sprint(i, " ", round)] = w.take(thread, e.ID, until) == 1
			}
			pass(time.Second)
		}
		sent := map[string]int{}
		for _, c := range w.net.to("channel") {
			sent[c.body]++
		}
		both := 0
		for i := range w.threads {
			for round := range rounds {
				body := fmt.Sprint(i, " ", round)
				if n := sent[body]; n > 1 || taken[body] == (n == 1) {
					t.Errorf("%q: taken %v, sent %d times", body, taken[body], n)
				}
				if taken[body] {
					both++
				}
			}
		}
		t.Logf("%d of %d were taken", both, rounds*len(w.threads))
		w.empty()
	})
}

func TestStopWhileSending(t *testing.T) {
	bubble(t, 20, func(t *testing.T, w *world) {
		w.net.host("tool", slow(3*time.Second))
		e := w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		for n := range 3 {
			for _, thread := range w.threads {
				w.add(thread, e.ID, "crm", fmt.Sprintf("%d %d", thread, n))
			}
		}
		pass(time.Second) // the first eight are under way
		begun := clock.System()
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		if took := clock.System().Sub(begun); took != 2*time.Second {
			t.Errorf("stopping took %v, want until the calls have ended", took)
		}
		before := len(w.net.to("tool"))
		if before != 8 || w.d.Ready() {
			t.Errorf("%d calls, ready %v", before, w.d.Ready())
		}
		w.add(w.threads[0], e.ID, "crm", fmt.Sprintf("%d 3", w.threads[0])) // nobody sends it yet
		pass(time.Minute)
		if n := len(w.net.to("tool")); n != before {
			t.Errorf("%d calls after the end", n-before)
		}
		w.run()
		pass(time.Minute)
		calls := w.net.to("tool")
		checkOrder(t, calls)
		if len(calls) != 61 { // none twice: what ended before the stop was marked
			t.Errorf("%d calls, want 61", len(calls))
		}
		w.empty()
	})
}

// A lane keeps a few payloads in memory, and none while it waits to try again.
func TestMemoryIsBounded(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.net.host("tool", func(c *call) *safehttp.Response { <-time.After(time.Second); return answer(500, "")(c) })
		e := w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		for n := range 100 {
			w.add(w.threads[0], e.ID, "crm", fmt.Sprintf("x %d%1000s", n, ""))
		}
		pass(time.Millisecond) // the endpoint was read
		if lanes, inFlight, bytes := w.d.Load(); lanes != 1 || inFlight != 1 || bytes == 0 || bytes > 17_000 {
			t.Errorf("%d lanes, %d in flight, %d bytes", lanes, inFlight, bytes)
		}
		pass(2 * time.Second)
		if _, _, bytes := w.d.Load(); bytes != 0 {
			t.Errorf("%d bytes while it waits", bytes)
		}
		w.net.host("tool", answer(200, ""))
		pass(time.Minute)
		if done := checkOrder(t, w.net.to("tool")); done["x"] != 100 {
			t.Errorf("%d of 100 were delivered", done["x"])
		}
		w.empty()
	})
}

// A receiver may call the hub while it is being called, also about the same thread.
func TestReceiverThatCallsBack(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		var e store.Endpoint
		n := 0
		w.net.host("tool", func(c *call) *safehttp.Response {
			if n++; n < 5 {
				w.add(w.threads[0], e.ID, "crm", fmt.Sprint("x ", n))
				w.update(func(tx *store.Tx) error { _, err := tx.PutEndpoint(e); return err })
			}
			return answer(200, "")(c)
		})
		e = w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		w.add(w.threads[0], e.ID, "crm", "x 0")
		pass(time.Minute)
		if done := checkOrder(t, w.net.to("tool")); done["x"] != 5 {
			t.Errorf("%d of 5 were delivered", done["x"])
		}
	})
}
