package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/store"
)

func TestDeliveries(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.Hooks("desk-two", "message/receive")
		u := w.User()
		w.One.Script(func(h *apitest.Hook) (int, string) {
			if h.Said() == "poison" {
				return 500, `{"error": "no"}`
			}
			return 0, ""
		})
		w.Say(&u, apitest.Answerable)
		w.Say(&u, "poison")
		// Another thread's messages get through meanwhile, so that the hook stays.
		w.One.Wait(t, "the first attempt", apitest.Saying(u, "poison"))
		v := w.User()
		w.Say(&v, apitest.Answerable)
		w.One.Wait(t, "the other thread's message", apitest.Saying(v, apitest.Answerable))
		w.Settle()
		list := func(query string) apitest.Answer {
			return w.Tool("desk-one", "GET", "/tract/deliveries/"+query, nil).Want(t, 200)
		}
		dead := list("?state=dead")
		if n, _ := dead.At("deliveries").([]any); len(n) != 1 || dead.Int("deliveries.0.last_status") != 500 || dead.Int("deliveries.0.attempts") != 7 || dead.Text("deliveries.0.user_id") != u.ID {
			t.Fatalf("dead letters: %s", dead)
		}
		if q := list("?state=queued"); !strings.Contains(string(q.Body), `"deliveries":[]`) {
			t.Errorf("queued: %s", q)
		}
		var seen, ids []string
		for cursor := ""; ; {
			a := list("?limit=1" + cursor)
			if a.At("deliveries.1") != nil {
				t.Fatalf("more than the limit: %s", a)
			}
			seen = append(seen, a.Text("deliveries.0.state"))
			ids = append(ids, a.Text("deliveries.0.id"))
			if a.At("next_cursor") == nil {
				break
			}
			cursor = "&cursor=" + url.QueryEscape(a.Text("next_cursor"))
		}
		slices.Sort(ids)
		if len(slices.Compact(ids)) != 6 || slices.Index(seen, "dead") < 0 {
			t.Errorf("pages: %v %v", seen, ids)
		}
		future := clock.System().Add(time.Hour).UTC().Format(time.RFC3339)
		if a := list("?since=" + future); a.At("deliveries.0") != nil {
			t.Errorf("since the future: %s", a)
		}

		// Replayed with the same bytes and the same id.
		w.One.Script(nil)
		id := dead.Text("deliveries.0.id")
		if a := w.Tool("desk-one", "POST", "/tract/deliveries/replay/", m{"delivery_ids": []any{id}}).Want(t, 200); a.Int("replayed") != 1 {
			t.Errorf("replay: %s", a)
		}
		poison := w.One.WaitN(t, 8, "the dead letter again", apitest.Saying(u, "poison"))
		for _, h := range poison {
			if string(h.Raw) != string(poison[0].Raw) || h.Header.Get("Webhook-Id") != poison[0].Header.Get("Webhook-Id") {
				t.Errorf("an attempt differs: %s %s", h.Header.Get("Webhook-Id"), h.Raw)
			}
		}
		w.Settle()
		if a := list("?state=dead"); a.At("deliveries.0") != nil {
			t.Errorf("dead after the replay: %s", a)
		}
		span := m{"since": "2020-01-01T00:00:00Z", "until": future, "state": "delivered"}
		if a := w.Tool("desk-one", "POST", "/tract/deliveries/replay/", span).Want(t, 200); a.Int("replayed") != 6 {
			t.Errorf("replay of a span: %s", a)
		}
		if a := list("?state=replayed"); a.Text("deliveries.0.id") != id || a.At("deliveries.1") != nil {
			t.Errorf("what was replayed: %s", a)
		}
		w.Settle()
		replay := func(fields m) func(*apitest.World, apitest.User) apitest.Answer {
			return func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.Tool("desk-one", "POST", "/tract/deliveries/replay/", fields)
			}
		}
		theirs := w.Tool("desk-two", "GET", "/tract/deliveries/", nil).Want(t, 200)
		cursor := list("?limit=1").Text("next_cursor")
		truths(t, w, nobody, []row{
			{name: "replay nothing", call: replay(m{}), status: 400, code: "field_missing"},
			{name: "replay half a span", call: replay(m{"since": "2020-01-01T00:00:00Z"}), status: 400, code: "field_missing"},
			{name: "replay what is queued", call: replay(m{"since": "2020-01-01T00:00:00Z", "until": future, "state": "queued"}), status: 400, code: "field_value"},
			{name: "replay in an unknown state", call: replay(m{"since": "2020-01-01T00:00:00Z", "until": future, "state": "x"}), status: 400, code: "field_value"},
			{name: "replay since whenever", call: replay(m{"since": "yesterday", "until": future, "state": "dead"}), status: 400, code: "field_value"},
			{name: "replay an unknown one", call: replay(m{"delivery_ids": []any{"dlv_1_2_3"}}), status: 404, code: "not_found"},
			{name: "replay not an id", call: replay(m{"delivery_ids": []any{"x"}}), status: 404, code: "not_found"},
			{name: "replay another tool's", call: replay(m{"delivery_ids": []any{theirs.Text("deliveries.0.id")}}), status: 404, code: "not_found"},
			{name: "replay too many", call: replay(m{"delivery_ids": repeat("x", 1001)}), status: 400, code: "field_value"},
			{name: "HT-01 limit 0", call: get("/tract/deliveries/?limit=0"), status: 400, code: "invalid_limit"},
			{name: "HT-01 limit -1", call: get("/tract/deliveries/?limit=-1"), status: 400, code: "invalid_limit"},
			{name: "HT-01 limit 101", call: get("/tract/deliveries/?limit=101"), status: 400, code: "invalid_limit"},
			{name: "HT-01 limit 10^9", call: get("/tract/deliveries/?limit=1000000000"), status: 400, code: "invalid_limit"},
			{name: "HT-01 limit abc", call: get("/tract/deliveries/?limit=abc"), status: 400, code: "invalid_limit"},
			{name: "HT-01 limit 1e2", call: get("/tract/deliveries/?limit=1e2"), status: 400, code: "invalid_limit"},
			{name: "HT-01 limit in other digits", call: get("/tract/deliveries/?limit=" + url.QueryEscape("１０")), status: 400, code: "invalid_limit"},
			{name: "HT-01 limit twice", call: get("/tract/deliveries/?limit=1&limit=1"), status: 400, code: "invalid_limit"},
			{name: "HT-02 cursor cut", call: get("/tract/deliveries/?cursor=" + cursor[:len(cursor)-2]), status: 400, code: "invalid_cursor"},
			{name: "HT-02 cursor changed", call: get("/tract/deliveries/?cursor=" + swapCase(cursor)), status: 400, code: "invalid_cursor"},
			{name: "HT-02 cursor of another tool", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.Tool("desk-two", "GET", "/tract/deliveries/?cursor="+cursor, nil)
			}, status: 400, code: "invalid_cursor"},
			{name: "unknown state", call: get("/tract/deliveries/?state=lost"), status: 400, code: "field_value"},
			{name: "since whenever", call: get("/tract/deliveries/?since=yesterday"), status: 400, code: "field_value"},
			{name: "HT-15 a semicolon", call: get("/tract/deliveries/?a=1;b=2"), status: 400, code: "invalid_query"},
			{name: "HT-15 a bad escape", call: get("/tract/deliveries/?a=%zz"), status: 400, code: "invalid_query"},
			{name: "HT-15 2049 bytes", call: get("/tract/deliveries/?a=" + strings.Repeat("x", 2048)), status: 414, code: "uri_too_long"},
			{name: "feed of nobody", call: get("/tract/feed/"), status: 400, code: "field_missing"},
			{name: "feed of an unknown user", call: get("/tract/feed/?user_id=nope"), status: 404, code: "not_found"},
			{name: "feed after a word", call: get("/tract/feed/?user_id=" + u.ID + "&after_seq=x"), status: 400, code: "invalid_parameter"},
			{name: "feed after -1", call: get("/tract/feed/?user_id=" + u.ID + "&after_seq=-1"), status: 400, code: "field_value"},
			{name: "feed limit 101", call: get("/tract/feed/?user_id=" + u.ID + "&limit=101"), status: 400, code: "invalid_limit"},
		})
	})
}

// fed reads a tool's whole feed of a thread, page by page.
func fed(t *testing.T, w *apitest.World, tool string, u apitest.User, limit int) (out []string) {
	t.Helper()
	for after := int64(0); ; {
		a := w.Tool(tool, "GET", fmt.Sprintf("/tract/feed/?user_id=%s&after_seq=%d&limit=%d", u.ID, after, limit), nil).Want(t, 200)
		list, _ := a.At("items").([]any)
		if len(list) == 0 {
			return out
		}
		var raw struct {
			Items []struct {
				Seq         int64  `json:"delivery_seq"`
				Category    string `json:"category"`
				Subcategory string `json:"subcategory"`
				Payload     rawJSON
			}
		}
		decode(t, a.Body, &raw)
		for _, i := range raw.Items {
			out = append(out, fmt.Sprintf("%d %s/%s %s", i.Seq, i.Category, i.Subcategory, i.Payload))
		}
		after = a.Int("next_after_seq")
	}
}

// The feed is what was sent, byte for byte, numbered without gaps over messages
// and events and over several hooks for one event.
func TestFeedIsWhatWasSent(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "conversation_state/waiting", "conversation_state/incomplete", "collection_state/incomplete", "conversation_state/complete", "collection_state/complete",
			"conversation_state/pinned", "conversation_state/bot", "collection_state/bot", "thread_control/passed", "thread_control/taken", "thread_control/reset", "user_events/create_user")
		w.Hooks("desk-two", "message/receive", "thread_control/passed")
		u := w.ToDeskOne()
		w.Write("desk-one", u, "hello").Want(t, 200)
		w.Say(&u, "thank you")
		w.Event("desk-one", "conversation_state/complete", u, "solved").Want(t, 200)
		w.Say(&u, apitest.Answerable)
		w.Answered(u)
		w.Settle()
		for _, tool := range []string{"desk-one", "desk-two"} {
			r := w.One
			if tool == "desk-two" {
				r = w.Two
			}
			sent := map[int64]string{}
			for _, h := range r.Got(apitest.About(u, "")) {
				if h.Name() == "create_user" {
					continue
				}
				seq := h.Int("metadata.delivery_seq")
				name := h.Name()
				if name == "message" {
					name = "message/receive"
				}
				if sent[seq] != "" {
					t.Errorf("%s: delivery_seq %d twice", tool, seq)
				}
				if h.Path != "/"+name {
					t.Errorf("%s: %s came to %s", tool, name, h.Path)
				}
				sent[seq] = fmt.Sprintf("%d %s %s", seq, name, h.Raw)
			}
			var want []string
			for i := range int64(len(sent)) {
				if sent[i+1] == "" {
					t.Errorf("%s: delivery_seq %d is missing", tool, i+1)
				}
				want = append(want, sent[i+1])
			}
			for _, limit := range []int{1, 3, 100} {
				if got := fed(t, w, tool, u, limit); !slices.Equal(got, want) {
					t.Errorf("%s: the feed in pages of %d is not what was sent (-sent +feed):\n%s", tool, limit, cmp.Diff(want, got))
				}
			}
		}
		// What a hook got while it was registered stays in the feed.
		before := fed(t, w, "desk-one", u, 100)
		w.Tool("desk-one", "DELETE", "/tract/hooks/", m{"category": "conversation_state", "subcategory": "incomplete"}).Want(t, 200)
		if after := fed(t, w, "desk-one", u, 100); !slices.Equal(before, after) {
			t.Errorf("the feed changed with a hook (-before +after):\n%s", cmp.Diff(before, after))
		}
	})
}

// A 2xx with an error in it is noted and not sent again.
func TestErrorInAnAnswerIsNoted(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.One.Script(func(*apitest.Hook) (int, string) { return 200, `{"error": "mailbox full"}` })
		u := w.UserOf("acme", 344)
		w.Say(&u, "hi")
		w.Settle()
		a := w.Tool("desk-one", "GET", "/tract/deliveries/?state=delivered", nil).Want(t, 200)
		if !strings.Contains(a.Text("deliveries.0.last_error"), "mailbox full") || a.Int("deliveries.0.attempts") != 1 {
			t.Errorf("the delivery log: %s", a)
		}
		if got := w.One.Got(apitest.Saying(u, "hi")); len(got) != 1 {
			t.Errorf("sent %d times", len(got))
		}
	})
}

// Calls wait while a hook is disabled, and come in order when it is enabled.
func TestDisabledHook(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.One.Script(func(*apitest.Hook) (int, string) { return 410, "" })
		u := w.UserOf("acme", 344)
		w.Say(&u, "one")
		w.Until("the hook is disabled", func(*store.Tx) (bool, error) {
			a := w.Tool("desk-one", "GET", "/tract/hooks/list/", nil)
			return a.At("hooks.0.enabled") == false, nil
		})
		w.TrySay(u, "two").Want(t, 200)
		w.TrySay(u, "three").Want(t, 200)
		a := w.Tool("desk-one", "GET", "/tract/hooks/list/", nil).Want(t, 200)
		if a.Text("hooks.0.state") != "disabled: gone" || a.Int("hooks.0.queued") == 0 || a.At("hooks.0.oldest_queued_at") == nil {
			t.Errorf("the list: %s", a)
		}
		w.One.Script(nil)
		w.Tool("desk-one", "POST", "/tract/hooks/enable/", m{"category": "message", "subcategory": "receive"}).Want(t, 200)
		w.Settle()
		var said []string
		for _, h := range w.One.Got(apitest.About(u, "message")) {
			if h.Status == 200 {
				said = append(said, h.Said())
			}
		}
		if !slices.Equal(said, []string{"one", "two", "three"}) && !slices.Equal(said, []string{"two", "three"}) {
			t.Errorf("delivered: %v", said)
		}
	})
}
