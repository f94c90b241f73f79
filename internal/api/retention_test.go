package api_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/retention"
)

// sweep removes everything that may go: to be kept for a nanosecond is to be old.
func sweep(t *testing.T, w *apitest.World, keep retention.Settings) {
	t.Helper()
	s := retention.New(retention.Config{Store: w.Store, Keep: keep, Name: "apitest", Now: clock.System})
	for worked := true; worked; {
		var err error
		if worked, err = s.Step(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// What callers see of old data that is gone.
func TestAfterRetention(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "conversation_state/complete")
		u := w.ToDeskOne()
		w.One.Script(func(h *apitest.Hook) (int, string) {
			if h.Said() == "poison" {
				return 500, `{"error": "no"}`
			}
			return 0, ""
		})
		w.Say(&u, "poison")
		w.One.Wait(t, "the first attempt", apitest.Saying(u, "poison"))
		v := w.User()
		w.Say(&v, apitest.Answerable) // gets through meanwhile, so that the hook stays
		w.Settle()
		w.One.Script(nil)
		lastID := w.Say(&u, "that is all")
		w.Event("desk-one", "conversation_state/complete", u, "solved").Want(t, 200)
		w.Settle()
		feed := func() apitest.Answer {
			return w.Tool("desk-one", "GET", "/tract/feed/?user_id="+u.ID, nil).Want(t, 200)
		}
		all := len(feed().At("items").([]any))
		if feed().Int("oldest_seq") != 1 || all < 3 {
			t.Fatalf("the feed before: %s", feed())
		}
		gone := w.Tool("desk-one", "GET", "/tract/deliveries/?state=delivered", nil).Want(t, 200).Text("deliveries.0.id")
		dead := w.Tool("desk-one", "GET", "/tract/deliveries/?state=dead", nil).Want(t, 200).Text("deliveries.0.id")

		sweep(t, w, retention.Settings{Deliveries: time.Nanosecond})
		f := feed()
		if items := f.At("items").([]any); len(items) != 1 || !strings.Contains(string(f.Body), "poison") || f.Int("oldest_seq") != f.Int("items.0.delivery_seq") || f.Int("next_after_seq") != f.Int("oldest_seq") {
			t.Errorf("only the dead letter is left: %s", f)
		}
		w.Tool("desk-one", "POST", "/tract/deliveries/replay/", m{"delivery_ids": []any{gone}}).Want(t, 404)
		if a := w.Tool("desk-one", "POST", "/tract/deliveries/replay/", m{"delivery_ids": []any{dead}}).Want(t, 200); a.Int("replayed") != 1 {
			t.Errorf("replay: %s", a)
		}
		w.One.WaitN(t, 8, "the dead letter again", apitest.Saying(u, "poison"))
		w.Settle()
		if a := history("2.0", "business_id=343&user_name=%U&conversation_no=1")(w, u).Want(t, 200); !strings.Contains(string(a.Body), "that is all") {
			t.Errorf("the log stays: %s", a)
		}

		sweep(t, w, retention.Settings{Log: time.Nanosecond})
		if a := history("2.0", "business_id=343&user_name=%U&conversation_no=1")(w, u).Want(t, 200); len(a.At("chat_json").([]any)) != 0 {
			t.Errorf("a removed conversation: %s", a)
		}
		// The thread lives on, its numbers and ids as if nothing had been removed.
		if id := w.Say(&u, "I am back"); id <= lastID {
			t.Errorf("message id %d after %d", id, lastID)
		}
		w.Settle()
		if f := feed(); f.Int("next_after_seq") <= int64(all) {
			t.Errorf("the feed goes on: %s", f)
		}
	})
}
