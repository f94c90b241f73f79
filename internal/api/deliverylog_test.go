package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"time"
	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/store"
)

func TestAnyDeliveries(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "conversation_state/bot")
		w.Hooks("desk-two", "message/receive")
		u, v := w.User(), w.User()
		w.One.Script(func(h *apitest.Hook) (int, string) {
			if strings.HasPrefix(h.Said(), "poison") {
				return 500, "no " + h.Said()
			}
			return 0, ""
		})
		w.Say(&v, apitest.Answerable)
		w.Say(&u, "poison one")
		w.Say(&u, "poison two")
		w.One.Wait(t, "the first attempt", apitest.Saying(u, "poison one"))
		w.Say(&v, apitest.TwoAnswers) // gets through meanwhile, so that the hook stays
		w.One.Wait(t, "the second one's attempt", apitest.Saying(u, "poison two"))
		w.Say(&v, apitest.Answerable)
		w.Settle()
		count := func(query string) int { return len(listed(w, "deliveries/"+query, "deliveries", "id")) }
		all := count("")
		if all < 10 || count("?limit=3") != all {
			t.Errorf("%d deliveries, %d by threes", all, count("?limit=3"))
		}
		if n := count("?tool=desk-one") + count("?tool=desk-two") + count("?kind=channel"); n != all {
			t.Errorf("%d to the tools and the channel, %d in all", n, all)
		}
		if n := count("?user_id="+u.ID) + count("?user_id="+v.ID); n != all {
			t.Errorf("%d of the threads, %d in all", n, all)
		}
		if count("?user_id="+u.ID+"&limit=1") != count("?user_id="+u.ID) {
			t.Error("a thread by ones")
		}
		if n := count("?category=conversation_state&subcategory=bot"); n != 2 {
			t.Errorf("%d of the event, want 2", n)
		}
		if count("?kind=bot") == 0 || count("?kind=bot&state=delivered") != count("?kind=bot") {
			t.Error("turns of the bot")
		}
		if n := count("?state=delivered"); n != all-2 {
			t.Errorf("%d delivered, want %d", n, all-2)
		}
		if count("?since="+clock.System().Add(time.Hour).UTC().Format(time.RFC3339)) != 0 || count("?state=dead&until=2020-01-01T00:00:00Z") != 0 {
			t.Error("outside of the time")
		}
		dead := operate(w, "GET", "deliveries/?state=dead", nil).Want(t, 200)
		if dead.At("deliveries.2") != nil || dead.Text("deliveries.0.tool") != "desk-one" || dead.Int("deliveries.0.attempts") != 7 || dead.Text("deliveries.0.given_up_at") == "" || dead.At("deliveries.0.payload") != nil {
			t.Errorf("dead letters: %s", dead)
		}
		if strings.Contains(string(dead.Body), "poison") {
			t.Errorf("the list says what was said: %s", dead)
		}
		if a := operate(w, "GET", "deliveries/?state=dead&include=payload", nil).Want(t, 200); !strings.Contains(a.Text("deliveries.0.payload.message_body"), "poison") {
			t.Errorf("with payloads: %s", a)
		}
		id := dead.Text("deliveries.0.id")
		one := operate(w, "GET", "deliveries/"+id, nil).Want(t, 200)
		if one.Text("id") != id || one.Int("attempts_made.6.attempt") != 7 || one.Int("attempts_made.6.status") != 500 || strings.Contains(string(one.Body), "poison") {
			t.Errorf("one: %s", one)
		}
		if a := operate(w, "GET", "deliveries/"+id+"?include=payload", nil).Want(t, 200); !strings.Contains(a.Text("attempts_made.0.answer"), "no poison") {
			t.Errorf("one with what was answered: %s", a)
		}
		call := func(method, path string, body any) func(*apitest.World, apitest.User) apitest.Answer {
			return func(w *apitest.World, _ apitest.User) apitest.Answer { return operate(w, method, path, body) }
		}
		truths(t, w, nobody, []row{
			{name: "unknown state", call: call("GET", "deliveries/?state=lost", nil), status: 400, code: "field_value"},
			{name: "unknown kind", call: call("GET", "deliveries/?kind=pigeon", nil), status: 400, code: "field_value"},
			{name: "unknown include", call: call("GET", "deliveries/?include=all", nil), status: 400, code: "field_value"},
			{name: "no endpoint", call: call("GET", "deliveries/?endpoint=-1", nil), status: 400, code: "invalid_parameter"},
			{name: "no id", call: call("GET", "deliveries/dlv_1", nil), status: 404, code: "not_found"},
			{name: "another client's", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.Call("GET", "/api/clients/other/deliveries/"+id, nil, "Authorization: Bearer "+w.AdminToken)
			}, status: 404, code: "not_found"},
			{name: "replay nothing", call: call("POST", "deliveries/replay/", m{}), status: 400, code: "field_missing"},
			{name: "replay both", call: call("POST", "deliveries/replay/", m{"delivery_ids": []any{id}, "filter": m{"state": "dead"}}), status: 400, code: "field_missing"},
			{name: "replay whatever", call: call("POST", "deliveries/replay/", m{"filter": m{"tool": "desk-one"}}), status: 400, code: "field_value"},
			{name: "replay since whenever", call: call("POST", "deliveries/replay/", m{"filter": m{"state": "dead", "since": "x"}}), status: 400, code: "field_value"},
			{name: "replay too many", call: call("POST", "deliveries/replay/", m{"delivery_ids": repeat("x", 1001)}), status: 400, code: "field_value"},
		})

		// Replayed in their order, once, also by two at the same time.
		w.One.Script(nil)
		before := len(w.One.Got(apitest.Saying(u, "poison one")))
		var replayed [3]int64
		apitest.Race(3, func(i int) {
			replayed[i] = operate(w, "POST", "deliveries/replay/", m{"filter": m{"state": "dead", "tool": "desk-one"}}).Check(t, 200).Int("replayed")
		})
		if n := replayed[0] + replayed[1] + replayed[2]; n != 2 {
			t.Errorf("%d replayed: %v", n, replayed)
		}
		w.Settle()
		if n := len(w.One.Got(apitest.Saying(u, "poison one"))); n != before+1 {
			t.Errorf("sent %d times more", n-before)
		}
		var order []string
		for _, h := range w.One.Got(func(h *apitest.Hook) bool { return strings.HasPrefix(h.Said(), "poison") }) {
			order = append(order, h.Said())
		}
		if got := order[len(order)-2:]; !slices.Equal(got, []string{"poison one", "poison two"}) {
			t.Errorf("replayed in the order %v", got)
		}
		if count("?state=dead") != 0 || count("?state=replayed") != 2 {
			t.Errorf("after the replay %d dead, %d replayed", count("?state=dead"), count("?state=replayed"))
		}
		again := operate(w, "POST", "deliveries/replay/", m{"delivery_ids": []any{id, "dlv_9_9_9"}}, "Idempotency-Key: k").Want(t, 200)
		var codes []string
		for i := range 2 {
			codes = append(codes, again.Text(fmt.Sprintf("refused.%d.code", i)))
		}
		slices.Sort(codes)
		if again.Int("replayed") != 0 || !slices.Equal(codes, []string{"already_replayed", "not_found"}) {
			t.Errorf("once more: %s", again)
		}
		if b := operate(w, "POST", "deliveries/replay/", m{"delivery_ids": []any{id, "dlv_9_9_9"}}, "Idempotency-Key: k").Want(t, 200); string(b.Body) != string(again.Body) {
			t.Errorf("the same key: %s", b)
		}
	})
}

// What waits is found among its lanes, and what was queued for a hook that was
// deleted stays in sight, for administrators and for the tool.
func TestDeliveriesOfADeletedHook(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.One.Script(func(h *apitest.Hook) (int, string) { return 503, "" })
		u := w.User()
		w.Say(&u, apitest.Answerable)
		w.Answered(u)
		w.One.Wait(t, "the first attempt", apitest.Saying(u, apitest.Answerable))
		w.Until("it failed", func(tx *store.Tx) (bool, error) {
			ls, err := tx.ListThreadLanes(w.Thread(u).ID)
			return slices.ContainsFunc(ls, func(l store.Lane) bool { return l.Attempt > 0 }), err
		})
		list := func(state string) []string {
			return listed(w, "deliveries/?tool=desk-one&state="+state, "deliveries", "message_id")
		}
		if len(list("retrying")) != 1 || len(list("queued")) != 1 {
			t.Errorf("retrying %v, queued %v", list("retrying"), list("queued"))
		}
		mine := w.Tool("desk-one", "GET", "/tract/deliveries/?state=queued", nil).Want(t, 200)
		if mine.At("deliveries.1") == nil || mine.At("deliveries.2") != nil {
			t.Errorf("queued for the tool: %s", mine)
		}
		w.Tool("desk-one", "DELETE", "/tract/hooks/", m{"category": "message", "subcategory": "receive"}).Want(t, 200)
		w.Settle()
		dead := operate(w, "GET", "deliveries/?state=dead", nil).Want(t, 200)
		if dead.Text("deliveries.1.endpoint_state") != "removed" || dead.Text("deliveries.1.category") != "message" || dead.Text("deliveries.1.last_error") == "" {
			t.Errorf("dead letters of a hook that is gone: %s", dead)
		}
		if a := w.Tool("desk-one", "GET", "/tract/deliveries/?state=dead", nil).Want(t, 200); a.At("deliveries.1") == nil {
			t.Errorf("the tool's: %s", a)
		}
		if diff := cmp.Diff(2, len(listed(w, "deliveries/?tool=desk-one&limit=1", "deliveries", "id"))); diff != "" {
			t.Error(diff)
		}
		if a := operate(w, "POST", "deliveries/replay", m{"delivery_ids": []any{dead.Text("deliveries.0.id")}}).Want(t, 200); a.Text("refused.0.code") != "not_found" {
			t.Errorf("replay to nowhere: %s", a)
		}
		w.One.Script(nil)
	})
}
