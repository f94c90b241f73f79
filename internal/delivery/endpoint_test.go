package delivery_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/clock"
	"tract/internal/delivery"
	"tract/internal/safehttp"
	"tract/internal/store"
)

func TestGoneDisablesAtOnce(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.net.host("tool", answer(410, ""))
		e := w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		w.add(w.threads[0], e.ID, "crm", "a")
		w.add(w.threads[0], e.ID, "crm", "b")
		pass(time.Second)
		if got := w.endpoint(e.ID); got.Enabled || got.DisabledReason != store.DisabledGone {
			t.Fatalf("endpoint %+v", got)
		}
		w.add(w.threads[1], e.ID, "crm", "c")
		pass(5 * time.Minute)
		if n := len(w.net.to("tool")); n != 1 {
			t.Errorf("called %d times", n)
		}
		w.empty()
		w.net.host("tool", answer(200, ""))
		w.update(func(tx *store.Tx) error { return tx.EnableEndpoint(e) })
		pass(time.Second)
		if diff := cmp.Diff([]string{"a delivered", "b delivered", "c delivered"}, w.states(e.ID)); diff != "" {
			t.Error(diff)
		}
		// The 410 stays in the log beside the success.
		if l := w.log(e.ID)[0]; l.Attempts != 2 || l.LastStatus != 200 {
			t.Errorf("log line: %d attempts, last status %d", l.Attempts, l.LastStatus)
		}
		w.empty()
	})
}

// A call to the old address that ends after the hook was registered anew says
// nothing about the new one.
func TestLateGoneFromAnOldAddress(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.net.host("old", func(c *call) *safehttp.Response { <-time.After(3 * time.Second); return answer(410, "")(c) })
		w.net.host("new", answer(200, ""))
		e := w.hook("crm", "message", "receive", "https://old/")
		w.run()
		w.add(w.threads[0], e.ID, "crm", "a")
		pass(time.Second)
		w.hook("crm", "message", "receive", "https://new/")
		pass(time.Minute)
		if !w.endpoint(e.ID).Enabled {
			t.Error("the new address was disabled for what the old one said")
		}
		if diff := cmp.Diff([]string{"a"}, w.net.bodies("new")); diff != "" {
			t.Error(diff)
		}
	})
}

// What is queued goes to the new address, in order; the old one gets nothing
// that begins after the answer to the registration.
func TestRegisterAgainWhileSending(t *testing.T) {
	bubble(t, 20, func(t *testing.T, w *world) {
		w.net.host("old", hang)
		w.net.host("new", answer(200, ""))
		e := w.hook("crm", "message", "receive", "https://old/")
		w.run()
		for n := range 3 {
			for _, thread := range w.threads {
				w.add(thread, e.ID, "crm", fmt.Sprintf("%d %d", thread, n))
			}
		}
		pass(7 * time.Second)
		w.hook("crm", "message", "receive", "https://new/")
		answered := clock.System()
		pass(10 * time.Minute)
		for _, c := range w.net.to("old") {
			if c.at.After(answered) {
				t.Errorf("%q went to the old address %v after the answer", c.body, c.at.Sub(answered))
			}
		}
		if done := checkOrder(t, w.net.to("new")); len(done) != 20 || len(w.net.to("new")) != 60 {
			t.Errorf("%d calls over %d threads reached the new address", len(w.net.to("new")), len(done))
		}
		w.empty()
	})
}

func TestDeleteWhileSending(t *testing.T) {
	bubble(t, 20, func(t *testing.T, w *world) {
		w.net.host("tool", answer(500, ""))
		e := w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		for _, thread := range w.threads {
			w.add(thread, e.ID, "crm", "a")
			w.add(thread, e.ID, "crm", "b")
		}
		pass(4 * time.Second)
		w.net.host("tool", hang)
		pass(2 * time.Second) // the second attempts hang
		w.update(func(tx *store.Tx) error { return tx.DeleteEndpoint(e) })
		answered := clock.System()
		pass(3 * time.Minute)
		for _, c := range w.net.to("tool") {
			if c.at.After(answered) || c.ended.After(answered.Add(5*time.Second)) {
				t.Errorf("a call began %v and ended %v after the answer", c.at.Sub(answered), c.ended.Sub(answered))
			}
		}
		for _, thread := range w.threads {
			if l := w.lane(thread, e.ID); l.Last != l.Done {
				t.Errorf("lane %+v is still open", l)
			}
			w.view(func(tx *store.Tx) error {
				for seq := range int64(2) {
					d, ok, err := tx.Dead(store.LaneKey{Thread: thread, Endpoint: e.ID}, seq+1)
					if err != nil || !ok || d.Reason != "removed" {
						t.Errorf("dead letter %+v, %v, %v", d, ok, err)
					}
				}
				return nil
			})
		}
		w.empty()
		if _, endpoints, _, _, _ := w.d.Leftovers(); endpoints != 0 {
			t.Errorf("%d endpoints left in memory", endpoints)
		}
	})
}

// A command that had read the configuration before the hook was deleted may
// append after it: that is a dead letter, too, and not queued for ever.
func TestAppendAfterDelete(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.net.host("tool", answer(200, ""))
		e := w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		w.add(w.threads[0], e.ID, "crm", "a")
		pass(time.Second)
		w.update(func(tx *store.Tx) error { return tx.DeleteEndpoint(e) })
		w.add(w.threads[0], e.ID, "crm", "b")
		w.add(w.threads[1], e.ID, "crm", "c")
		pass(time.Second)
		if diff := cmp.Diff([]string{"a"}, w.net.bodies("tool")); diff != "" {
			t.Error(diff)
		}
		for i, thread := range w.threads {
			if l := w.lane(thread, e.ID); l.Last != l.Done {
				t.Errorf("lane %+v is still open", l)
			}
			w.view(func(tx *store.Tx) error {
				d, ok, err := tx.Dead(store.LaneKey{Thread: thread, Endpoint: e.ID}, int64(2-i))
				if !ok || d.Reason != "removed" {
					t.Errorf("dead letter %+v, %v", d, ok)
				}
				return err
			})
		}
		w.empty()
	})
}

// Changes may come faster than they are read.
func TestEnableAndDisableInQuickTurns(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.net.host("tool", answer(200, ""))
		e := w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		for n := range 50 {
			w.add(w.threads[0], e.ID, "crm", fmt.Sprintf("x %d", n))
			w.update(func(tx *store.Tx) error { _, err := tx.DisableEndpoint(e, store.DisabledByOwner); return err })
			w.update(func(tx *store.Tx) error { return tx.EnableEndpoint(e) })
		}
		pass(time.Minute)
		if done := checkOrder(t, w.net.to("tool")); done["x"] != 50 {
			t.Errorf("%d of 50 were delivered", done["x"])
		}
		w.empty()
	})
}

func TestDisabledEndpointIsNotCalled(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.net.host("tool", answer(200, ""))
		e := w.hook("crm", "message", "receive", "https://tool/")
		w.update(func(tx *store.Tx) error { _, err := tx.DisableEndpoint(e, store.DisabledByOwner); return err })
		w.run()
		w.add(w.threads[0], e.ID, "crm", "a")
		pass(time.Minute)
		if n := len(w.net.to("tool")); n != 0 {
			t.Fatalf("called %d times", n)
		}
		w.empty()
		if err := w.stop(); err != nil {
			t.Fatal(err)
		}
		w.run() // another process finds it disabled and hears of nothing but the change
		w.add(w.threads[1], e.ID, "crm", "b")
		pass(time.Second)
		w.update(func(tx *store.Tx) error { return tx.EnableEndpoint(e) })
		pass(6 * time.Second)
		if diff := cmp.Diff([]string{"a delivered", "b delivered"}, w.states(e.ID)); diff != "" {
			t.Error(diff)
		}
	})
}

// introduce appends a create_user call and a first message in one commit.
func (w *world) introduce(thread, user, message int64, tool tract.ReceiverID, body string) {
	w.t.Helper()
	if err := add(w.s, thread, func(tx *store.Tx, l *store.Locked, id tract.MessageID) error {
		if err := tx.AppendDelivery(l, user, store.Delivery{Entry: id, Tool: tool, Payload: []byte("user")}); err != nil {
			return err
		}
		return tx.AppendDelivery(l, message, store.Delivery{Entry: id, Tool: tool, DeliverySeq: l.NextDeliverySeq(tool), Payload: []byte(body)})
	}); err != nil {
		w.t.Fatal(err)
	}
}

func TestIntroduction(t *testing.T) {
	tests := []struct {
		name   string
		answer func(*call) *safehttp.Response
		before func(w *world, users store.Endpoint) // the message
		after  func(w *world, users store.Endpoint) // it waits
		want   []string
		within time.Duration // until the message is there
		known  string        // the tool's name for the user
	}{
		{name: "answers", answer: answer(200, `{"success": true, "ect_user_id": "u-7"}`), want: []string{"user", "hello"}, known: "u-7"},
		{name: "takes its time", answer: func(c *call) *safehttp.Response {
			<-time.After(3 * time.Second)
			return answer(200, `{"ect_user_id": "u-8"}`)(c)
		}, want: []string{"user", "hello"}, within: 3 * time.Second, known: "u-8"},
		{name: "fails", answer: answer(500, ""), want: []string{"user", "hello", "user"}},
		{name: "hangs", answer: hang, want: []string{"user", "hello", "user"}, within: 5 * time.Second},
		{name: "gone", answer: answer(410, ""), want: []string{"user", "hello"}},
		{name: "disabled", answer: answer(200, ""), want: []string{"hello"}, before: func(w *world, users store.Endpoint) {
			w.update(func(tx *store.Tx) error { _, err := tx.DisableEndpoint(users, store.DisabledByOwner); return err })
		}},
		{name: "deleted while it waits", answer: hang, want: []string{"user", "hello"}, within: 5 * time.Second, after: func(w *world, users store.Endpoint) {
			w.update(func(tx *store.Tx) error { return tx.DeleteEndpoint(users) })
		}},
		{name: "a name that cannot be stored", answer: answer(200, `{"ect_user_id": "a\u0000b"}`), want: []string{"user", "hello"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, 1, func(t *testing.T, w *world) {
				w.net.host("users", tt.answer)
				w.net.host("tool", answer(200, `{"ect_user_id": "not asked for"}`))
				users := w.hook("crm", "user_events", "create_user", "https://users/")
				messages := w.hook("crm", "message", "receive", "https://tool/")
				if tt.before != nil {
					tt.before(w, users)
				}
				w.run()
				begun := clock.System()
				w.introduce(w.threads[0], users.ID, messages.ID, "crm", "hello")
				pass(time.Millisecond)
				if tt.after != nil {
					tt.after(w, users)
				}
				pass(8 * time.Second)
				var got []string
				for _, c := range w.net.calls {
					got = append(got, c.body)
					if c.body == "hello" {
						if in := c.at.Sub(begun); in < tt.within || in > tt.within+100*time.Millisecond {
							t.Errorf("the message came after %v, want %v", in, tt.within)
						}
					}
				}
				if tt.name == "hangs" { // ends at 5 s, is tried again from 10 s on
					got = append(got, "user")
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
				w.update(func(tx *store.Tx) error {
					l, err := tx.LockThread(w.threads[0])
					if err == nil && l.Tools.Get("crm").ECTUserID != tt.known {
						t.Errorf("ect_user_id %q, want %q", l.Tools.Get("crm").ECTUserID, tt.known)
					}
					return err
				})
			})
		})
	}
}

// Many tools meet many threads while the create_user hook goes away: no lane
// may be left waiting for a meeting that never comes.
func TestManyIntroductionsToAHookThatGoesAway(t *testing.T) {
	for name, end := range map[string]func(tx *store.Tx, e store.Endpoint) error{
		"deleted": func(tx *store.Tx, e store.Endpoint) error { return tx.DeleteEndpoint(e) },
		"disabled": func(tx *store.Tx, e store.Endpoint) error {
			_, err := tx.DisableEndpoint(e, "switched_off")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, 60, func(t *testing.T, w *world) {
				w.net.host("users", hang)
				w.net.host("tool", answer(200, ""))
				users := w.hook("crm", "user_events", "create_user", "https://users/")
				messages := w.hook("crm", "message", "receive", "https://tool/")
				w.run()
				for i, thread := range w.threads {
					w.introduce(thread, users.ID, messages.ID, "crm", fmt.Sprintf("%d 0", i))
				}
				pass(time.Second)
				if n := len(w.net.to("tool")); n != 0 {
					t.Errorf("%d messages came before the first attempt to introduce", n)
				}
				w.update(func(tx *store.Tx) error { return end(tx, users) })
				pass(10 * time.Second)
				if done := checkOrder(t, w.net.to("tool")); len(done) != 60 {
					t.Errorf("%d of 60 messages came", len(done))
				}
				w.empty()
			})
		})
	}
}

// After a crash nothing in memory knows of the meeting.
func TestIntroductionAfterRestart(t *testing.T) {
	bubble(t, 30, func(t *testing.T, w *world) {
		w.net.host("users", slow(time.Second))
		w.net.host("tool", answer(200, ""))
		users := w.hook("crm", "user_events", "create_user", "https://users/")
		messages := w.hook("crm", "message", "receive", "https://tool/")
		for i, thread := range w.threads { // nobody dispatches
			w.introduce(thread, users.ID, messages.ID, "crm", fmt.Sprintf("%d 0", i))
		}
		w.run()
		pass(time.Minute)
		if len(w.net.to("users")) != 30 || len(w.net.to("tool")) != 30 {
			t.Fatalf("%d users and %d messages", len(w.net.to("users")), len(w.net.to("tool")))
		}
		ended := map[string]time.Time{}
		for _, c := range w.net.to("users") {
			var entry, endpoint, seq int64
			fmt.Sscanf(c.id, "msg_%d_%d_%d", &entry, &endpoint, &seq)
			ended[fmt.Sprint(entry)] = c.ended
		}
		for _, c := range w.net.to("tool") {
			var entry, endpoint, seq int64
			fmt.Sscanf(c.id, "msg_%d_%d_%d", &entry, &endpoint, &seq)
			if at := ended[fmt.Sprint(entry)]; c.at.Before(at) {
				t.Errorf("message %s came %v before its user", c.id, at.Sub(c.at))
			}
		}
		w.empty()
	})
}

func TestObserverSeesEveryAttempt(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		n := 0
		w.net.host("tool", func(c *call) *safehttp.Response {
			if n++; n == 1 {
				return answer(500, "")(c)
			}
			return answer(200, "")(c)
		})
		e := w.hook("crm", "message", "receive", "https://tool/")
		var seen []string
		w.cfg.Observe = func(ev delivery.Event) {
			seen = append(seen, fmt.Sprint(ev.Name, " ", ev.Attempt, " ", ev.Status, " ", ev.Outcome, " ", ev.DeliveryID == fmt.Sprintf("dlv_%d_%d_1", e.ID, w.threads[0])))
		}
		w.run()
		w.add(w.threads[0], e.ID, "crm", "a")
		pass(10 * time.Second)
		if diff := cmp.Diff([]string{"message/receive 1 500 retry true", "message/receive 2 200 delivered true"}, seen); diff != "" {
			t.Error(diff)
		}
	})
}
