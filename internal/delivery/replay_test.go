package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/delivery"
	"tract/internal/safehttp"
	"tract/internal/store"
)

func (w *world) replay(thread, endpoint, seq int64) error {
	return w.s.UpdateThread(context.Background(), thread, func(tx *store.Tx) error {
		return delivery.Replay(tx, store.LaneKey{Thread: thread, Endpoint: endpoint}, seq)
	})
}

func TestReplay(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.net.host("tool", func(c *call) *safehttp.Response {
			if c.body == "a" {
				return answer(500, "")(c)
			}
			return answer(200, "")(c)
		})
		e, other := w.hook("crm", "message", "receive", "https://tool/"), w.hook("crm", "message", "other", "https://tool/")
		w.cfg.Ladder = []time.Duration{time.Second}
		w.run()
		thread := w.threads[0]
		w.add(thread, e.ID, "crm", "a")
		w.add(thread, e.ID, "crm", "b")
		pass(time.Millisecond)
		w.add(thread, other.ID, "crm", "elsewhere")
		pass(time.Millisecond)
		w.add(w.threads[1], e.ID, "crm", "well") // so that the endpoint is not disabled
		pass(time.Minute)
		if diff := cmp.Diff([]string{"a dead", "b delivered", "well delivered"}, w.states(e.ID)); diff != "" {
			t.Fatal(diff)
		}
		w.net.host("tool", answer(200, ""))
		if err := w.replay(thread, e.ID, 1); err != nil {
			t.Fatal(err)
		}
		if err := w.replay(thread, e.ID, 2); err != nil { // a delivered one, too
			t.Fatal(err)
		}
		pass(time.Second)
		calls := w.net.to("tool")
		if diff := cmp.Diff([]string{"a", "elsewhere", "well", "a", "b", "a", "b"}, w.net.bodies("tool")); diff != "" {
			t.Fatal(diff)
		}
		for i, c := range calls[5:] {
			first := calls[map[int]int{0: 0, 1: 4}[i]]
			if c.id != first.id || c.body != first.body || c.attempt != 1 {
				t.Errorf("replayed %q under %q as attempt %d, first under %q", c.body, c.id, c.attempt, first.id)
			}
		}
		w.view(func(tx *store.Tx) error {
			feed, err := tx.ListFeed(thread, "crm", 0, 10)
			var seqs []int64
			for _, d := range feed {
				seqs = append(seqs, d.DeliverySeq)
			}
			if diff := cmp.Diff([]int64{1, 2, 3}, seqs); diff != "" {
				t.Errorf("feed: %s", diff)
			}
			if _, dead, _ := tx.Dead(store.LaneKey{Thread: thread, Endpoint: e.ID}, 1); dead {
				t.Error("it is still a dead letter")
			}
			st, serr := tx.Stats()
			if st.Dead != 0 || st.Queued != 0 {
				t.Errorf("stats %+v", st)
			}
			return errors.Join(err, serr)
		})
		w.add(thread, e.ID, "crm", "c")
		pass(time.Second)
		if last := w.net.to("tool")[7]; last.body != "c" || last.id != fmt.Sprintf("msg_%s_%d_4", entryOf(last.id), e.ID) {
			t.Errorf("after a replay came %q under %q: delivery_seq must go on without a gap", last.body, last.id)
		}
		w.empty()
	})
}

func entryOf(id string) string {
	var entry, endpoint, seq int64
	_, _ = fmt.Sscanf(id, "msg_%d_%d_%d", &entry, &endpoint, &seq)
	return fmt.Sprint(entry)
}

func TestReplayRefused(t *testing.T) {
	bubble(t, 2, func(t *testing.T, w *world) {
		w.net.host("tool", answer(200, ""))
		e := w.hook("crm", "message", "receive", "https://tool/")
		bot := w.put(store.Endpoint{Kind: store.EndpointBot, Business: 343})
		w.cfg.Bot = func(_ context.Context, _ []byte, k store.LaneKey, seq int64) error { return settle(w.s, k, seq) }
		w.run()
		thread := w.threads[0]
		w.turn(thread, bot.ID, "turn")
		w.add(thread, e.ID, "crm", "a")
		pass(time.Second)
		w.update(func(tx *store.Tx) error { _, err := tx.DisableEndpoint(e, store.DisabledByOwner); return err })
		w.add(thread, e.ID, "crm", "b")
		for _, tt := range []struct {
			name          string
			endpoint, seq int64
			want          error
			thread        int64
		}{
			{"queued", e.ID, 2, delivery.ErrNotSettled, thread},
			{"unknown delivery", e.ID, 9, store.ErrNotFound, thread},
			{"unknown lane", e.ID, 1, store.ErrNotFound, w.threads[1]},
			{"unknown thread", e.ID, 1, store.ErrNotFound, 999},
			{"turn", bot.ID, 1, delivery.ErrNoReplay, thread},
		} {
			if err := w.replay(tt.thread, tt.endpoint, tt.seq); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v", tt.name, err)
			}
		}
		if err := w.replay(thread, e.ID, 1); err != nil { // disabled: it queues
			t.Fatal(err)
		}
		pass(time.Minute)
		if n := len(w.net.to("tool")); n != 1 {
			t.Errorf("%d calls", n)
		}
		w.update(func(tx *store.Tx) error { return tx.EnableEndpoint(e) })
		pass(time.Second)
		if diff := cmp.Diff([]string{"a", "b", "a"}, w.net.bodies("tool")); diff != "" {
			t.Error(diff)
		}
		w.update(func(tx *store.Tx) error { return tx.DeleteEndpoint(e) })
		if err := w.replay(thread, e.ID, 1); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("removed endpoint: %v", err)
		}
	})
}

// A replayed create_user call still teaches us the tool's name for the user.
func TestReplayOfAnIntroduction(t *testing.T) {
	bubble(t, 1, func(t *testing.T, w *world) {
		w.net.host("users", answer(200, `{"success": false}`))
		w.net.host("tool", answer(200, ""))
		users, messages := w.hook("crm", "user_events", "create_user", "https://users/"), w.hook("crm", "message", "receive", "https://tool/")
		w.run()
		w.introduce(w.threads[0], users.ID, messages.ID, "crm", "hello")
		pass(time.Second)
		w.net.host("users", answer(200, `{"success": true, "ect_user_id": "u-9"}`))
		if err := w.replay(w.threads[0], users.ID, 1); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		w.update(func(tx *store.Tx) error {
			l, err := tx.LockThread(w.threads[0])
			if err == nil && (len(l.Tools) != 1 || l.Tools.Get("crm").ECTUserID != "u-9") {
				t.Errorf("tools %+v", l.Tools)
			}
			return err
		})
	})
}
