package api_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/store"
)

// operate makes an administrator's call about the client acme.
func operate(w *apitest.World, method, path string, body any, headers ...string) apitest.Answer {
	w.T.Helper()
	return w.Call(method, "/api/clients/acme/"+path, body, append([]string{"Authorization: Bearer " + w.AdminToken}, headers...)...)
}

// listed follows a list to its end and gives one field of each line.
func listed(w *apitest.World, path, list, field string) (out []string) {
	w.T.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	for cursor, pages := "", 0; ; pages++ {
		a := operate(w, "GET", path+cursor, nil).Want(w.T, 200)
		lines, _ := a.At(list).([]any)
		for i := range lines {
			out = append(out, fmt.Sprint(a.At(fmt.Sprintf("%s.%d.%s", list, i, field))))
		}
		if a.At("next_cursor") == nil {
			return out
		}
		if pages > 200 {
			w.T.Fatalf("%s has no end", path)
		}
		cursor = sep + "cursor=" + url.QueryEscape(a.Text("next_cursor"))
	}
}

func TestSearchThreads(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		bot := w.User()
		w.Say(&bot, apitest.Answerable)
		w.Answered(bot)
		between := clock.System()
		queued := w.ToDesk()
		tool := w.ToDeskTwo()
		w.Write("desk-two", tool, "hello", m{"metadata": m{"agent": m{"name": "Mia"}}}).Want(t, 200)
		done := w.ToDesk()
		if _, err := w.Do(done, tract.Close{}); err != nil {
			t.Fatal(err)
		}
		other := w.UserOf("acme", 346)
		w.Say(&other, apitest.Answerable)
		w.Answered(other)
		silent := w.User() // has no thread
		foreign := w.UserOf("other", 900)
		w.Say(&foreign, apitest.Answerable)
		w.Answered(foreign)
		w.Settle()
		names := map[string]string{bot.ID: "bot", queued.ID: "queued", tool.ID: "tool", done.ID: "done", other.ID: "other"}
		find := func(query string) (out []string) {
			for _, id := range listed(w, "threads/"+query, "threads", "user_id") {
				out = append(out, names[id])
			}
			return out
		}
		at := url.QueryEscape(between.UTC().Format(time.RFC3339Nano))
		for _, tt := range []struct {
			query string
			want  []string
		}{
			{"", []string{"other", "done", "tool", "queued", "bot"}},
			{"?limit=2", []string{"other", "done", "tool", "queued", "bot"}},
			{"?limit=1&state=open", []string{"other", "tool", "queued", "bot"}},
			{"?state=bot", []string{"other", "bot"}},
			{"?state=queued", []string{"queued"}},
			{"?state=assigned", []string{"tool"}},
			{"?state=waiting_for_user", nil},
			{"?state=complete", []string{"done"}},
			{"?owner=sac", []string{"queued"}},
			{"?owner=desk-two", []string{"tool"}},
			{"?owner=iva&business_id=343", []string{"done", "bot"}},
			{"?business_id=346", []string{"other"}},
			{"?business_id=4711", nil},
			{"?team=Support", []string{"queued"}},
			{"?team=Billing", nil},
			{"?agent=Mia", []string{"tool"}},
			{"?device_platform=13", []string{"other", "done", "tool", "queued", "bot"}},
			{"?device_platform=14", nil},
			{"?user_id=" + tool.ID, []string{"tool"}},
			{"?user_id=" + foreign.ID, nil},
			{"?auth_id=" + bot.AuthID, []string{"bot"}},
			{"?auth_id=" + silent.AuthID, nil},
			{"?auth_id=" + foreign.AuthID, nil},
			{"?user_name=" + queued.Name, []string{"queued"}},
			{"?user_name=" + queued.Name + "&state=bot", nil},
			{"?until=" + at, []string{"bot"}},
			{"?since=" + at, []string{"other", "done", "tool", "queued"}},
			{"?since=" + at + "&limit=1&state=open", []string{"other", "tool", "queued"}},
		} {
			if diff := cmp.Diff(tt.want, find(tt.query)); diff != "" {
				t.Errorf("%s: %s", tt.query, diff)
			}
		}
		cursor := operate(w, "GET", "threads/?limit=1", nil).Want(t, 200).Text("next_cursor")
		call := func(path string, headers ...string) func(*apitest.World, apitest.User) apitest.Answer {
			return func(w *apitest.World, _ apitest.User) apitest.Answer { return operate(w, "GET", path, nil, headers...) }
		}
		truths(t, w, nobody, []row{
			{name: "unknown state", call: call("threads/?state=lost"), status: 400, code: "field_value"},
			{name: "no state", call: call("threads/?state=open&state=bot"), status: 400, code: "invalid_parameter"},
			{name: "two names", call: call("threads/?auth_id=a&user_name=b"), status: 400, code: "invalid_parameter"},
			{name: "a time that is none", call: call("threads/?since=yesterday"), status: 400, code: "field_value"},
			{name: "a business that is none", call: call("threads/?business_id=x"), status: 400, code: "invalid_parameter"},
			{name: "limit 0", call: call("threads/?limit=0"), status: 400, code: "invalid_limit"},
			{name: "limit 101", call: call("threads/?limit=101"), status: 400, code: "invalid_limit"},
			{name: "a cursor of another list", call: call("threads/?state=bot&cursor=" + cursor), status: 400, code: "invalid_cursor"},
			{name: "a cursor cut", call: call("threads/?cursor=" + cursor[:8]), status: 400, code: "invalid_cursor"},
			{name: "another client's thread", call: call("threads/" + foreign.ID), status: 404, code: "not_found"},
			{name: "its log", call: call("threads/" + foreign.ID + "/log"), status: 404, code: "not_found"},
			{name: "its ledger", call: call("threads/" + foreign.ID + "/ledger/"), status: 404, code: "not_found"},
			{name: "no token", call: call("threads/", "Authorization: "), status: 401, code: "invalid_token"},
			{name: "a client's token", call: call("threads/", "Authorization: Bearer "+w.Token), status: 401, code: "invalid_token"},
			{name: "no such client", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.Call("GET", "/api/clients/nobody/threads/", nil, "Authorization: Bearer "+w.AdminToken)
			}, status: 404, code: "not_found"},
		})
	})
}

// Threads that become active while somebody pages move to the front: what has
// not moved is given once.
func TestPagesWhileThreadsMove(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		var users []apitest.User
		for range 8 {
			u := w.User()
			w.Say(&u, apitest.Answerable)
			w.Answered(u)
			users = append(users, u)
		}
		seen := map[string]int{}
		cursor := ""
		for page := 0; ; page++ {
			a := operate(w, "GET", "threads/?limit=2"+cursor, nil).Want(t, 200)
			lines, _ := a.At("threads").([]any)
			for i := range lines {
				seen[a.Text(fmt.Sprintf("threads.%d.user_id", i))]++
			}
			if a.At("next_cursor") == nil {
				break
			}
			cursor = "&cursor=" + url.QueryEscape(a.Text("next_cursor"))
			if page < 2 { // the oldest moves to the front
				w.Say(&users[page], apitest.Answerable)
				w.Answered(users[page])
			}
		}
		for i, u := range users {
			if n := seen[u.ID]; n != 1 && i >= 2 || n > 1 {
				t.Errorf("thread %d was given %d times", i, n)
			}
		}
	})
}

func TestReadThread(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.ToDeskTwo()
		w.Write("desk-two", u, "hello", m{"metadata": m{"agent": m{"name": "Mia"}}}).Want(t, 200)
		w.Settle()
		a := operate(w, "GET", "threads/"+u.ID, nil).Want(t, 200)
		s := w.Thread(u)
		if a.Text("owner") != "desk-two" || a.Text("state") != "assigned" || a.Text("agent") != "Mia" || a.Int("control_epoch") != s.State.Epoch || a.Text("user.auth_id") != u.AuthID || a.Text("user.name") != "Asha" {
			t.Errorf("thread: %s", a)
		}
		if got, want := a.Header.Get("ETag"), fmt.Sprintf(`"%d-%d"`, s.State.Epoch, s.LastEntry); got != want {
			t.Errorf("ETag %s, want %s", got, want)
		}
		if a.Text("tools.0.tool") != "desk-two" || a.Int("tools.0.delivery_seq") == 0 || a.At("lanes.1") == nil || a.Int("lanes.0.queued") != 0 {
			t.Errorf("tools and lanes: %s", a)
		}
		// What waits shows in its lane.
		w.Two.Script(func(*apitest.Hook) (int, string) { return 503, "" })
		w.Say(&u, "are you there")
		w.Two.Wait(t, "the first attempt", apitest.Saying(u, "are you there"))
		w.Until("the lane has failed", func(tx *store.Tx) (bool, error) {
			ls, err := tx.ListThreadLanes(s.ID)
			return slices.ContainsFunc(ls, func(l store.Lane) bool { return l.Attempt > 0 }), err
		})
		a = operate(w, "GET", "threads/"+u.ID, nil).Want(t, 200)
		waits := false
		for i := range 5 {
			lane := fmt.Sprintf("lanes.%d.", i)
			waits = waits || a.Text(lane+"tool") == "desk-two" && a.Int(lane+"queued") > 0 && a.Text(lane+"oldest_queued_at") != ""
		}
		if !waits {
			t.Errorf("nothing waits: %s", a)
		}
		w.Two.Script(nil)
		w.Settle()
	})
}

func TestReadLogAndLedger(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.ToDeskTwo()
		w.Write("desk-two", u, "hello").Want(t, 200)
		w.Event("desk-two", "conversation_state/complete", u, nil).Want(t, 200)
		w.Say(&u, apitest.Answerable)
		w.Answered(u)
		var want, second []string
		for _, e := range w.Log(u) {
			want = append(want, fmt.Sprint(float64(e.ID)))
			if e.Conversation == 2 {
				second = append(second, fmt.Sprint(float64(e.ID)))
			}
		}
		path := "threads/" + u.ID + "/log/"
		if diff := cmp.Diff(want, listed(w, path+"?limit=3", "entries", "message_id")); diff != "" {
			t.Errorf("forwards: %s", diff)
		}
		if diff := cmp.Diff(second, listed(w, path+"?limit=2&conversation_no=2", "entries", "message_id")); diff != "" {
			t.Errorf("of one conversation: %s", diff)
		}
		var back []string
		for cursor := ""; ; {
			a := operate(w, "GET", path+"?limit=3&start=newest"+cursor, nil).Want(t, 200)
			lines, _ := a.At("entries").([]any)
			var page []string
			for i := range lines {
				page = append(page, fmt.Sprint(a.At(fmt.Sprintf("entries.%d.message_id", i))))
			}
			back = append(page, back...)
			if a.At("previous_cursor") == nil {
				break
			}
			cursor = "&cursor=" + url.QueryEscape(a.Text("previous_cursor"))
		}
		if diff := cmp.Diff(want, back); diff != "" {
			t.Errorf("backwards: %s", diff)
		}
		one := operate(w, "GET", path+"?limit=1", nil).Want(t, 200)
		if !strings.Contains(one.Text("entries.0.message_body"), "conversation") && one.Text("entries.0.event") == "" && one.Text("entries.0.message_body") == "" {
			t.Errorf("first line: %s", one)
		}
		if one.At("previous_cursor") != nil || one.At("next_cursor") == nil {
			t.Errorf("cursors at the start: %s", one)
		}
		var ops []string
		id := w.Thread(u).ID
		w.View(func(tx *store.Tx) error {
			ls, err := tx.ListLedger(id)
			for _, l := range ls {
				ops = append(ops, string(l.Op))
			}
			return err
		})
		if diff := cmp.Diff(ops, listed(w, "threads/"+u.ID+"/ledger/?limit=2", "entries", "type")); diff != "" || len(ops) < 4 {
			t.Errorf("ledger: %v %s", ops, diff)
		}
		truths(t, w, nobody, []row{
			{name: "start anywhere", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return operate(w, "GET", path+"?start=middle", nil)
			}, status: 400, code: "field_value"},
		})
	})
}

func TestResetAndComplete(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-two", "thread_control/reset", "conversation_state/complete")
		u := w.ToDeskTwo()
		w.Settle()
		epoch := w.Thread(u).State.Epoch
		stale := operate(w, "GET", "threads/"+u.ID, nil).Want(t, 200).Header.Get("ETag")
		w.Say(&u, apitest.Answerable)
		path := "threads/" + u.ID + "/"
		body := m{"reason": "the tool is stuck"}
		if a := operate(w, "POST", path+"reset/", body, "If-Match: "+stale); a.Status != 412 || a.Code() != "precondition_failed" || w.Thread(u).State.Epoch != epoch {
			t.Fatalf("a stale tag: %s", a)
		}
		tag := operate(w, "GET", "threads/"+u.ID, nil).Want(t, 200).Header.Get("ETag")
		first := operate(w, "POST", path+"reset", body, "If-Match: "+tag, "Idempotency-Key: r1").Want(t, 200)
		if first.At("changed") != true || first.Text("thread.owner") != "iva" || first.Int("thread.control_epoch") != epoch+1 || first.Text("thread.state") != "bot" || first.Header.Get("ETag") != first.Text("etag") {
			t.Errorf("reset: %s", first)
		}
		again := operate(w, "POST", path+"reset/", body, "If-Match: "+tag, "Idempotency-Key: r1").Want(t, 200)
		if string(again.Body) != string(first.Body) || w.Thread(u).State.Epoch != epoch+1 {
			t.Errorf("the same key again: %s", again)
		}
		operate(w, "POST", path+"reset/", m{"reason": "else"}, "Idempotency-Key: r1").Want(t, 422)
		w.Two.Wait(t, "the reset", func(h *apitest.Hook) bool { return h.Name() == "thread_control/reset" })
		if a := w.Write("desk-two", u, "late").Want(t, 403); a.Code() != "not_owner" {
			t.Errorf("who lost it writes: %s", a)
		}
		w.Answered(u) // the bot takes up what nobody had answered
		if a := operate(w, "POST", path+"reset/", nil).Want(t, 200); a.At("changed") != false {
			t.Errorf("reset of what is there already: %s", a)
		}
		if a := operate(w, "POST", path+"complete/", m{"reason": "solved"}, "If-Match: *").Want(t, 200); a.Text("thread.state") != "complete" {
			t.Errorf("complete: %s", a)
		}
		w.Two.Wait(t, "the completion", func(h *apitest.Hook) bool { return h.Name() == "conversation_state/complete" })
		if a := operate(w, "POST", path+"complete/", nil).Want(t, 409); a.Code() != "conversation_complete" {
			t.Errorf("complete again: %s", a)
		}
		if s := w.Thread(u).State; s.Reason != tract.ReasonOperator {
			t.Errorf("completed for %q", s.Reason)
		}
		call := func(method, path string, body any, headers ...string) func(*apitest.World, apitest.User) apitest.Answer {
			return func(w *apitest.World, _ apitest.User) apitest.Answer {
				return operate(w, method, path, body, headers...)
			}
		}
		truths(t, w, nobody, []row{
			{name: "a long reason", call: call("POST", path+"reset/", m{"reason": strings.Repeat("x", 1025)}), status: 400, code: "field_value"},
			{name: "a reason that is none", call: call("POST", path+"reset/", m{"reason": 1}), status: 400, code: "field_type"},
			{name: "no thread", call: call("POST", "threads/nobody/reset/", nil), status: 404, code: "not_found"},
			{name: "reset by a tool", call: call("POST", path+"reset/", nil, "Authorization: Bearer "+w.JWT("desk-two")), status: 401, code: "invalid_token"},
		})
		key := w.ClientKey("acme")
		w.View(func(tx *store.Tx) error {
			lines, err := tx.ListAudit(key, 100)
			var got []string
			for _, l := range lines {
				if l.Actor == "admin" && strings.HasPrefix(l.Target, "thread/") {
					got = append(got, l.Action)
				}
				if strings.Contains(l.Target, u.ID) || strings.Contains(string(l.Detail), "stuck") {
					t.Errorf("the audit log says too much: %+v", l)
				}
			}
			if diff := cmp.Diff([]string{"thread_completed", "thread_reset", "thread_reset"}, got); diff != "" {
				t.Error(diff)
			}
			return err
		})
	})
}

// An administrator completes while the tool writes: the tool's message is in the
// log before the completion, or refused.
func TestCompleteMeetsAMessage(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		for range 5 {
			u := w.ToDeskTwo()
			var sent atomic.Int64
			apitest.Race(4, func(i int) {
				if i == 0 {
					operate(w, "POST", "threads/"+u.ID+"/complete/", nil).Check(t, 200)
					return
				}
				switch a := w.Write("desk-two", u, "racing"); a.Status {
				case 200:
					sent.Add(1)
				case 409:
					if a.Code() != "conversation_complete" {
						t.Errorf("refused: %s", a)
					}
				default:
					t.Errorf("sent: %s", a)
				}
			})
			written, over := int64(0), false
			for _, e := range w.Log(u) {
				if e.Event == tract.EventComplete {
					over = true
				}
				if e.By == "desk-two" && e.Event == "" {
					if written++; over {
						t.Error("a message after the completion")
					}
				}
			}
			if written != sent.Load() || !over {
				t.Errorf("%d messages in the log, %d accepted, complete %v", written, sent.Load(), over)
			}
		}
	})
}
