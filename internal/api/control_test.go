package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/apitest"
)

// asking lets a tool ask for an operation in its own name.
func asking(tool, op, receiver string, more ...m) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, u apitest.User) apitest.Answer {
		return w.Control(tool, op, u, receiver, more...)
	}
}

func TestThreadControl(t *testing.T) {
	granted := func(epoch float64) m { return m{"success": true, "control_epoch": epoch, "changed": true} }
	refused := func(owner string, epoch float64) m {
		return m{"success": false, "reason.thread_owner": owner, "reason.control_epoch": epoch}
	}
	kept := func(epoch float64) m { return m{"success": true, "control_epoch": epoch, "changed": false} }
	one := func(op, receiver string, more ...m) func(w *apitest.World, u apitest.User) apitest.Answer {
		return asking("desk-one", op, receiver, more...)
	}
	two := func(op, receiver string, more ...m) func(w *apitest.World, u apitest.User) apitest.Answer {
		return asking("desk-two", op, receiver, more...)
	}
	const queued = ", conversation_state/waiting"
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.Hooks("desk-two", "thread_control/passed", "thread_control/requested", "thread_control/offered")
		truths(t, w, toDeskOne, []row{
			{name: "pass to the desk", call: one("pass", "sac"), status: 200, body: granted(5), log: "thread_control/passed" + queued, queued: "desk-two thread_control/passed"},
			{name: "pass to a team", call: one("pass", "sac", m{"metadata": m{"team_name": "Billing"}, "reason": "an invoice"}), status: 200, body: granted(5), log: "thread_control/passed" + queued, queued: "desk-two thread_control/passed"},
			{name: "pass with the epoch", call: one("pass", "sac", m{"control_epoch": 4}), status: 200, body: granted(5), log: "thread_control/passed" + queued, queued: "desk-two thread_control/passed"},
			{name: "TC-08 pass to the bot completes", call: one("pass", "iva"), status: 200, body: granted(5), log: "thread_control/passed, conversation_state/complete",
				queued: "desk-two thread_control/passed, channel chat_complete, channel webhook_conversation_complete"},
			{name: "release", call: one("release", ""), status: 200, body: granted(5), log: "thread_control/released, conversation_state/bot…", queued: "…"},
			{name: "offer to the desk", call: one("offer", "sac"), status: 200, body: kept(4), log: "thread_control/offered", queued: "desk-two thread_control/offered"},
			{name: "take with the permission", call: two("take", "desk-two"), status: 200, body: granted(5), log: "thread_control/taken" + queued},
			{name: "take without naming oneself", call: two("take", ""), status: 200, body: granted(5), log: "thread_control/taken" + queued},
			{name: "request with the permission", call: two("request", "desk-two"), status: 200, body: kept(4), log: "thread_control/requested", queued: "desk-two thread_control/requested"},

			{name: "TC-03 take without the permission", call: one("take", "desk-one"), status: 200, code: "not_supported", body: refused("desk-one", 4)},
			{name: "TC-03 request without the permission", call: one("request", "desk-one"), status: 200, code: "not_supported", body: refused("desk-one", 4)},
			{name: "TC-04 pass by another", call: two("pass", "sac"), status: 200, code: "not_owner", body: refused("desk-one", 4)},
			{name: "TC-04 offer by another", call: two("offer", "sac"), status: 200, code: "not_owner"},
			{name: "TC-04 release by another", call: two("release", ""), status: 200, code: "not_owner"},
			{name: "TC-05 to another tool", call: one("pass", "desk-two"), status: 200, code: "receiver_not_allowed", body: refused("desk-one", 4)},
			{name: "TC-05 offer to another tool", call: one("offer", "desk-two"), status: 200, code: "receiver_not_allowed"},
			{name: "TC-05 to nobody", call: one("pass", "nobody"), status: 200, code: "unknown_receiver"},
			{name: "TC-05 to oneself", call: one("pass", "desk-one"), status: 200, code: "already_owner", body: refused("desk-one", 4)},
			{name: "TC-06 for another", call: one("pass", "sac", m{"requester": "desk-two"}), status: 403, code: "requester_mismatch"},
			{name: "TC-06 for nobody", call: one("pass", "sac", m{"requester": ""}), status: 400, code: "field_missing"},
			{name: "TC-07 in capitals", call: one("TAKE", "sac"), status: 400, code: "field_value"},
			{name: "TC-07 with a blank", call: one(" take", "sac"), status: 400, code: "field_value"},
			{name: "TC-07 SQL", call: one("drop table", "sac"), status: 400, code: "field_value"},
			{name: "TC-07 one of the hub's own", call: one("reset", "sac"), status: 400, code: "field_value"},
			{name: "TC-07 missing", call: one("", "sac"), status: 400, code: "field_missing"},
			{name: "pass without a receiver", call: one("pass", ""), status: 400, code: "field_missing"},
			{name: "offer without a receiver", call: one("offer", ""), status: 400, code: "field_missing"},
			{name: "receiver too long", call: one("pass", strings.Repeat("x", 129)), status: 400, code: "field_value"},
			{name: "reason too long", call: one("pass", "sac", m{"reason": strings.Repeat("x", 1025)}), status: 400, code: "field_value"},
			{name: "metadata not flat", call: one("pass", "sac", m{"metadata": m{"a": m{}}}), status: 400, code: "field_value"},
			{name: "metadata too large", call: one("pass", "sac", m{"metadata": m{"a": strings.Repeat("x", 4<<10)}}), status: 400, code: "field_value"},
			{name: "metadata a string", call: one("pass", "sac", m{"metadata": "x"}), status: 400, code: "field_type"},
			{name: "another epoch", call: one("pass", "sac", m{"control_epoch": 3}), status: 200, code: "epoch_mismatch", body: refused("desk-one", 4)},
			{name: "to an unknown team", call: one("pass", "sac", m{"metadata": m{"team_name": "Nope"}}), status: 200, code: "receiver_unavailable"},
			{name: "to an inactive team", call: one("pass", "sac", m{"metadata": m{"team_name": "Closed"}}), status: 200, code: "receiver_unavailable"},
			{name: "to an inactive team by force", call: one("pass", "sac", m{"metadata": m{"team_name": "Closed", "force": true}}), status: 200, body: granted(5), log: "thread_control/passed" + queued, queued: "desk-two thread_control/passed"},
			{name: "take for another", call: two("take", "sac"), status: 200, code: "receiver_not_allowed"},
			{name: "accept without an offer", call: two("accept", ""), status: 200, code: "no_offer"},
			{name: "decline without an offer", call: one("decline", ""), status: 200, code: "no_offer"},
			{name: "malformed before requester", call: one("grab", "sac", m{"requester": "desk-two"}), status: 400, code: "field_value"},
			{name: "requester before user", call: one("pass", "sac", m{"requester": "desk-two", "user_id": "nope"}), status: 403, code: "requester_mismatch"},
			{name: "TC-15 unknown user", call: one("pass", "sac", m{"user_id": "nope"}), status: 404, code: "not_found"},
		})
		truths(t, w, toDeskTwo, []row{
			{name: "pass to any", call: two("pass", "desk-one"), status: 200, body: granted(4), log: "thread_control/passed" + queued, queued: "desk-two thread_control/passed"},
			{name: "take what one has", call: two("take", "desk-two"), status: 200, code: "already_owner"},
			{name: "request what one has", call: two("request", "desk-two"), status: 200, code: "already_owner"},
		})
		truths(t, w, func(w *apitest.World) apitest.User {
			u := toDeskOne(w)
			w.Event("desk-one", "conversation_state/complete", u, nil).Want(w.T, http.StatusOK)
			return u
		}, []row{
			{name: "complete before owner", call: two("pass", "sac"), status: 200, code: "conversation_complete", body: refused("iva", 5)},
			{name: "complete before epoch", call: one("release", "", m{"control_epoch": 1}), status: 200, code: "conversation_complete"},
			{name: "permission before complete", call: one("take", ""), status: 200, code: "not_supported"},
		})
		truths(t, w, func(w *apitest.World) apitest.User {
			u := toDeskOne(w)
			w.Granted("desk-two", "request", u, "")
			return u
		}, []row{{name: "request twice", call: two("request", ""), status: 200, code: "request_pending"}})
	})
}

// Refusals that could be for several reasons name the first in the documented
// order.
func TestOrderOfRefusals(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		u := w.ToDeskOne()
		for _, tt := range []struct {
			want, tool, op, receiver string
			epoch                    int
		}{
			{"not_supported", "desk-one", "take", "nobody", 1},
			{"not_owner", "desk-two", "pass", "nobody", 1},
			{"epoch_mismatch", "desk-one", "pass", "nobody", 1},
			{"unknown_receiver", "desk-one", "pass", "nobody", 4},
			{"already_owner", "desk-one", "pass", "desk-one", 4},
			{"receiver_not_allowed", "desk-one", "pass", "desk-two", 4},
		} {
			if got := w.Control(tt.tool, tt.op, u, tt.receiver, m{"control_epoch": tt.epoch}).Want(t, 200).Code(); got != tt.want {
				t.Errorf("%s %s %s at epoch %d: %s, want %s", tt.tool, tt.op, tt.receiver, tt.epoch, got, tt.want)
			}
		}
	})
}

func TestListeners(t *testing.T) {
	flags := func(a apitest.Answer) map[string][]string {
		out := map[string][]string{}
		list, _ := a.At("listeners").([]any)
		for _, l := range list {
			r := l.(map[string]any)
			for _, flag := range []string{"is_default", "is_primary", "active", "available", "self"} {
				if r[flag] == true {
					out[flag] = append(out[flag], r["id"].(string))
				}
			}
		}
		return out
	}
	listeners := func(w *apitest.World, tool string, u apitest.User) apitest.Answer {
		return w.Tool(tool, "POST", "/tract/thread_control/listeners/", m{"user_id": u.ID})
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.ToDeskOne()
		a := listeners(w, "desk-one", u).Want(t, 200)
		want := map[string][]string{"is_default": {"iva"}, "is_primary": {"iva", "sac"}, "active": {"desk-one"}, "available": {"iva", "sac", "desk-one", "desk-two"}, "self": {"desk-one"}}
		if diff := cmp.Diff(want, flags(a)); diff != "" {
			t.Errorf("flags (-want +got):\n%s", diff)
		}
		if a.Int("control_epoch") != 4 || a.At("pending") != nil || a.At("expires_at") != nil {
			t.Errorf("epoch, pending, expires_at: %s", a)
		}
		if got := []any{a.At("listeners.0.type"), a.At("listeners.1.type"), a.At("listeners.2.type")}; !cmp.Equal(got, []any{"iva", "sac", "ect"}) {
			t.Errorf("types: %v", got)
		}
		w.Granted("desk-two", "request", u, "")
		if a := listeners(w, "desk-two", u); a.Text("pending.type") != "request" || a.Text("pending.receiver") != "desk-two" || a.Text("pending.expires_at") == "" {
			t.Errorf("pending: %s", a)
		}
		// Without its message hook a tool is not available.
		w.Tool("desk-two", "DELETE", "/tract/hooks/", m{"category": "message", "subcategory": "receive"}).Want(t, 200)
		if got := flags(listeners(w, "desk-one", u))["available"]; !cmp.Equal(got, []string{"iva", "sac", "desk-one"}) {
			t.Errorf("available without a hook: %v", got)
		}
		v := w.UserOf("acme", 344)
		w.Say(&v, "hi")
		want = map[string][]string{"is_default": {"desk-one"}, "is_primary": {"sac"}, "active": {"desk-one"}, "available": {"sac", "desk-one"}, "self": {"desk-one"}}
		if diff := cmp.Diff(want, flags(listeners(w, "desk-one", v).Want(t, 200))); diff != "" {
			t.Errorf("flags on 344 (-want +got):\n%s", diff)
		}
		truths(t, w, nobody, []row{
			{name: "TC-15 not attached", call: func(w *apitest.World, _ apitest.User) apitest.Answer { return listeners(w, "desk-two", v) }, status: 404, code: "not_found"},
			{name: "TC-15 unknown", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return listeners(w, "desk-two", apitest.User{ID: "nope"})
			}, status: 404, code: "not_found"},
			{name: "no user_id", call: func(w *apitest.World, _ apitest.User) apitest.Answer { return listeners(w, "desk-two", apitest.User{}) }, status: 400, code: "field_missing"},
		})
	})
}

func TestLedger(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.ToDeskOne()
		w.Control("desk-one", "take", u, "", m{"reason": "mine", "metadata": m{"ticket": 7}}).Want(t, 200)
		w.Write("desk-one", u, "bye", m{"thread_control": m{"type": "pass", "receiver": "desk-two"}}).Want(t, 409)
		w.Write("desk-one", u, "hello").Want(t, 200)
		w.Granted("desk-one", "pass", u, "sac", m{"reason": "billing", "metadata": m{"team_name": "Billing"}})
		a := w.Tool("desk-one", "GET", "/tract/thread_control/ledger/?user_id="+u.ID, nil).Want(t, 200)
		type line struct {
			Type, From, To, Requester, Code, Reason string
			Granted                                 bool
			Epoch                                   float64
			Answered                                bool
		}
		var got []line
		list, _ := a.At("entries").([]any)
		for _, l := range list {
			e := l.(map[string]any)
			s := func(k string) string { v, _ := e[k].(string); return v }
			epoch, _ := e["control_epoch"].(float64)
			got = append(got, line{s("type"), s("from"), s("to"), s("requester"), s("code"), s("reason"), e["granted"] == true, epoch, e["first_answer_ms"] != nil})
		}
		want := []line{
			{"begin", "", "iva", "", "", "new_conversation", true, 1, false},
			{"pass", "iva", "sac", "iva", "", "bot_break", true, 2, false},
			{"take", "sac", "desk-two", "desk-two", "", "", true, 3, false},
			{"pass", "desk-two", "desk-one", "desk-two", "", "", true, 4, false},
			{"take", "desk-one", "desk-one", "desk-one", "not_supported", "mine", false, 4, false},
			{"pass", "desk-one", "desk-two", "desk-one", "receiver_not_allowed", "", false, 4, false}, // it came with a message
			{"pass", "desk-one", "sac", "desk-one", "", "billing", true, 5, false},
		}
		want[3].Answered = true
		want[0].Answered = len(got) > 0 && got[0].Answered // the specification does not say whether a hand-over is an answer
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("ledger (-want +got):\n%s\n%s", diff, a)
		}
		if a.At("entries.4.metadata.ticket") != 7.0 {
			t.Errorf("metadata of a refusal: %s", a)
		}
		truths(t, w, nobody, []row{
			{name: "unknown user", call: get("/tract/thread_control/ledger/?user_id=nope"), status: 404, code: "not_found"},
			{name: "no user", call: get("/tract/thread_control/ledger/"), status: 400, code: "field_missing"},
			{name: "two users", call: get("/tract/thread_control/ledger/?user_id=a&user_id=b"), status: 400, code: "invalid_parameter"},
		})
	})
}

// get reads as desk-one.
func get(path string) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, _ apitest.User) apitest.Answer { return w.Tool("desk-one", "GET", path, nil) }
}

// Offers, requests and their ends reach everyone concerned.
func TestOffersAndRequests(t *testing.T) {
	names := []string{"requested", "offered", "accepted", "declined", "expired", "passed", "taken"}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		for _, n := range names {
			w.Hooks("desk-one", "thread_control/"+n)
			w.Hooks("desk-two", "thread_control/"+n)
		}
		both := func(t *testing.T, u apitest.User, name string) (one, two *apitest.Hook) {
			t.Helper()
			return w.One.Wait(t, name, apitest.About(u, "thread_control/"+name)), w.Two.Wait(t, name, apitest.About(u, "thread_control/"+name))
		}
		t.Run("a request is answered by passing", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskTwo()
			w.Granted("desk-two", "pass", u, "sac")
			w.Granted("desk-two", "request", u, "", m{"metadata": m{"why": "VIP"}})
			one, _ := both(t, u, "requested")
			if one.Text("metadata.by") != "desk-two" || one.Text("metadata.thread_owner") != "sac" || one.Text("metadata.metadata.why") != "VIP" {
				t.Errorf("requested: %s", one.Raw)
			}
			if _, err := w.Do(u, tract.Control{By: tract.SAC, Op: tract.OpPass, To: "desk-two"}); err != nil {
				t.Fatalf("pass by sac: %v", err)
			}
			if s := w.Thread(u).State; s.Pending != nil || s.Owner != "desk-two" {
				t.Errorf("after the pass: owner %s, pending %v", s.Owner, s.Pending)
			}
		})
		t.Run("an offer is accepted", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskTwo()
			a := w.Granted("desk-two", "offer", u, "desk-one", m{"reason": "shift ends"})
			both(t, u, "offered")
			if s := w.Thread(u).State; s.Owner != "desk-two" || s.Epoch != a.Int("control_epoch") {
				t.Errorf("an offer moved the thread: %+v", s)
			}
			w.TrySay(u, "still there?").Want(t, 200)
			if h := w.One.Wait(t, "a message while pending", apitest.Saying(u, "still there?")); h.At("metadata.pending") != true || h.At("metadata.standby") != true {
				t.Errorf("flags of the pending receiver: %s", h.Raw)
			}
			w.Write("desk-one", u, "too early").Want(t, 403)
			w.Write("desk-two", u, "one moment").Want(t, 200)
			w.Granted("desk-one", "accept", u, "")
			one, two := both(t, u, "accepted")
			for _, h := range []*apitest.Hook{one, two} {
				if h.Text("metadata.from") != "desk-two" || h.Text("metadata.to") != "desk-one" || h.Text("metadata.thread_owner") != "desk-one" {
					t.Errorf("accepted: %s", h.Raw)
				}
			}
			w.Write("desk-two", u, "too late").Want(t, 403)
			w.Write("desk-one", u, "hello").Want(t, 200)
		})
		t.Run("an offer is declined", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskTwo()
			w.Granted("desk-two", "offer", u, "desk-one")
			if got := w.Control("desk-two", "accept", u, "").Code(); got != "no_offer" {
				t.Errorf("accept of another's offer: %q", got)
			}
			w.Granted("desk-one", "decline", u, "", m{"reason": "busy"})
			if one, two := both(t, u, "declined"); two.Text("metadata.reason") != "busy" || one.Text("metadata.to") != "desk-two" {
				t.Errorf("declined: %s", two.Raw)
			}
			if s := w.Thread(u).State; s.Owner != "desk-two" || s.Pending != nil {
				t.Errorf("after declining: %+v", s)
			}
			if got := w.Control("desk-one", "accept", u, "").Code(); got != "no_offer" {
				t.Errorf("accept after declining: %q", got)
			}
		})
		t.Run("a new offer supersedes", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskTwo()
			w.Granted("desk-two", "offer", u, "desk-one")
			w.Granted("desk-two", "offer", u, "sac")
			if one, _ := both(t, u, "expired"); one.Text("metadata.reason") != "superseded" {
				t.Errorf("expired: %s", one.Raw)
			}
			if got := w.Control("desk-one", "accept", u, "").Code(); got != "no_offer" {
				t.Errorf("accept of a superseded offer: %q", got)
			}
		})
		t.Run("any change of owner cancels", func(t *testing.T) {
			w := w.On(t)
			u := w.ToDeskTwo()
			w.Granted("desk-two", "offer", u, "desk-one")
			w.Granted("desk-two", "pass", u, "sac")
			if got := w.Control("desk-one", "accept", u, "").Code(); got != "no_offer" {
				t.Errorf("accept after a pass: %q", got)
			}
		})
		w.Settle()
	})
}
