package api_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tract"
	"tract/internal/apitest"
	"tract/internal/clock"
	"tract/internal/store"
)

const (
	transferV1 = "/integration/external/v1.0/send_chat_to_agent/"
	transferV2 = "/integration/external/v2.0/send_chat_to_agent"
)

// altered is a body with fields changed; nil removes one.
func altered(body map[string]any, changes map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range body {
		out[k] = v
	}
	for k, v := range changes {
		out[k] = v
		if v == nil {
			delete(out, k)
		}
	}
	return out
}

// refused checks status and text of an answer.
func refused(t *testing.T, what string, a apitest.Answer, status int, text string) {
	t.Helper()
	if a.Status != status || a.Message() != text {
		t.Errorf("%s: %s, want %d %q", what, a, status, text)
	}
}

func TestTransferChecks(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		silent, spoke := w.User(), w.User()
		w.Say(&spoke, apitest.Answerable)
		stranger := w.UserOf("other", 900)
		w.Say(&stranger, apitest.Answerable)
		ok := map[string]any{"team_name": "Support", "user_name": spoke.Name, "business_id": 343}
		none := map[string]any{}
		// Each check goes before those below it: a call that fails all the later
		// ones, too, is answered by the first.
		worst := map[string]any{"countdown": 99, "receiver": "nobody"}
		headers := []struct {
			name, text string
			headers    []string
		}{
			{"no client-id", "client_id missing in headers", []string{"client-id:", "Authorization:"}},
			{"unknown client", "invalid client_id in headers", []string{"client-id: nobody", "Authorization:"}},
			{"two client-ids", "invalid client_id in headers", []string{"client-id: acme", "+client-id: other"}},
			{"no token", "token missing in headers", []string{"Authorization:"}},
			{"Bearer alone", "token missing in headers", []string{"Authorization: Bearer"}},
			{"another scheme", "invalid authorization in headers", []string{"Authorization: Token x"}},
			{"a token alone", "invalid authorization in headers", []string{"Authorization: " + w.Token}},
			{"two tokens", "invalid authorization in headers", []string{"+Authorization: Bearer x"}},
			{"wrong token", "invalid token provided", []string{"Authorization: Bearer wrong"}},
			{"another client's token", "invalid token provided", []string{"Authorization: Bearer " + w.OtherToken}},
			{"a token without the scope", "invalid token provided", []string{"Authorization: Bearer " + w.Token + "-narrow"}},
		}
		fields := []struct {
			name, text string
			body       map[string]any
		}{
			{"nothing", "user_name missing in the request", none},
			{"user_name null", "user_name missing in the request", map[string]any{"user_name": (*string)(nil), "business_id": 343, "team_name": "Support"}},
			{"user_name empty", "user_name missing in the request", altered(ok, map[string]any{"user_name": "", "business_id": ""})},
			{"business_id absent", "business_id missing in the request", altered(ok, map[string]any{"business_id": nil, "team_name": nil})},
			{"business_id empty", "business_id missing in the request", altered(ok, map[string]any{"business_id": ""})},
			{"business_id null", "business_id missing in the request", map[string]any{"user_name": "x", "business_id": (*int)(nil), "team_name": "Support"}},
			{"team_name absent", "team_name missing in the request", altered(ok, map[string]any{"team_name": nil, "business_id": "abc"})},
			{"business_id not a number", "invalid business_id provided", altered(ok, map[string]any{"business_id": "abc", "user_name": "nobody"})},
			{"business_id a fraction", "invalid business_id provided", altered(ok, map[string]any{"business_id": 343.5})},
			{"business_id an object", "invalid business_id provided", altered(ok, map[string]any{"business_id": none})},
			{"another client's business", "invalid business_id provided", altered(ok, map[string]any{"business_id": 900, "user_name": "nobody"})},
			{"inactive business", `business "345" is inactive`, altered(ok, map[string]any{"business_id": "345", "user_name": "nobody"})},
			{"unknown user", "invalid user_name", altered(ok, map[string]any{"user_name": "nobody", "team_name": "Nope"})},
			{"another client's user", "invalid user_name", altered(ok, map[string]any{"user_name": stranger.Name})},
			{"unknown team", "invalid team_name provided", altered(ok, map[string]any{"team_name": "Nope", "user_name": silent.Name})},
			{"inactive team", `team "Closed" is inactive`, altered(ok, map[string]any{"team_name": "Closed", "user_name": silent.Name})},
			{"a user who has not written", "user has not sent a message", altered(ok, map[string]any{"user_name": silent.Name})},
			{"a user who wrote to another business", "user has not sent a message", altered(ok, map[string]any{"business_id": 344})},
		}
		for _, path := range []string{transferV1, transferV2} {
			for _, tt := range headers {
				refused(t, path+": "+tt.name, w.Platform("POST", path, none, tt.headers...), http.StatusUnauthorized, tt.text)
			}
			for _, tt := range fields {
				refused(t, path+": "+tt.name, w.Platform("POST", path, altered(tt.body, worst)), http.StatusBadRequest, tt.text)
			}
			for _, n := range []any{4, 11, "4", "11", "ten", "", 5.5, true, none, -7, "+7", "07"} {
				refused(t, path+": countdown", w.Platform("POST", path, altered(ok, map[string]any{"countdown": n, "receiver": "nobody"})), http.StatusBadRequest, "countdown must be between 5 and 10")
			}
			for body, code := range map[string]string{
				`{"user_name":"a","user_name":"b"}`: "duplicate_member", `{} {}`: "trailing_data", `[]`: "object_expected", `{"user_name":`: "invalid_json", `{"user_name":5}`: "field_type", "{\"user_name\":\"\xff\"}": "invalid_utf8",
			} {
				if a := w.Platform("POST", path, body); a.Status != http.StatusBadRequest || a.Code() != code || a.Text("error_message") == "" {
					t.Errorf("%s %q: %s", path, body, a)
				}
			}
			w.Platform("POST", path, "{}", "Content-Type: text/plain").Want(t, http.StatusUnsupportedMediaType)
			w.Platform("POST", path, `{"user_name":"`+strings.Repeat("x", 256<<10)+`"}`).Want(t, http.StatusRequestEntityTooLarge)
		}
		for _, r := range []string{"nobody", "iva", "sac", "Athena"} {
			refused(t, "receiver "+r, w.Platform("POST", transferV2, altered(ok, map[string]any{"receiver": r})), http.StatusBadRequest, "invalid receiver")
		}
		w.Platform("POST", transferV1, altered(ok, map[string]any{"receiver": "nobody"})).Want(t, http.StatusOK) // unknown there
		if w.Thread(spoke).State.Countdown == nil || w.Thread(stranger).State.Countdown != nil {
			t.Error("the countdowns are not those that were asked for")
		}
	})
}

// shifted runs a test once per engine in a world whose clock can be moved on.
func shifted(t *testing.T, test func(t *testing.T, w *apitest.World, advance func(time.Duration))) {
	t.Helper()
	apitest.Databases(t, func(t *testing.T, o store.Options) {
		var ahead atomic.Int64
		o.Now = func() time.Time { return clock.System().Add(time.Duration(ahead.Load())) }
		w := apitest.New(t, o, func(s *apitest.Settings) { s.Server.Now = o.Now })
		test(t, w, func(d time.Duration) { ahead.Add(int64(d)) })
	})
}

func TestTransferMoves(t *testing.T) {
	shifted(t, func(t *testing.T, w *apitest.World, advance func(time.Duration)) {
		w.Hooks("desk-one", "message/receive", "conversation_state/waiting")
		call := func(u apitest.User, more map[string]any, headers ...string) apitest.Answer {
			t.Helper()
			a := w.Platform("POST", transferV2, altered(map[string]any{"team_name": "Billing", "user_name": u.Name, "business_id": "343"}, more), headers...)
			if a.Status == http.StatusOK && string(a.Body) != `{"success":true}` {
				t.Errorf("answer: %s", a)
			}
			return a
		}
		countdown := func(u apitest.User) tract.Countdown {
			t.Helper()
			th := w.Thread(u)
			if th.State.Countdown == nil {
				t.Fatal("no countdown")
			}
			return *th.State.Countdown
		}
		u := w.User()
		w.Say(&u, apitest.Answerable)
		w.Answered(u)
		before := clock.System()
		call(u, nil).Want(t, http.StatusOK)
		if c := countdown(u); c.To != tract.SAC || c.Team != "Billing" || c.DueAt.Sub(before) < 9*time.Second || c.DueAt.Sub(before) > 12*time.Second {
			t.Errorf("countdown by default: %+v", c)
		}
		call(u, map[string]any{"team_name": "Support", "countdown": "5", "receiver": "desk-one"}).Want(t, http.StatusOK)
		if c := countdown(u); c.To != "desk-one" || c.Team != "Support" || c.DueAt.Sub(before) > 8*time.Second {
			t.Errorf("the second call: %+v", c)
		}

		// A key is for one call: what came after it stays.
		key := "Idempotency-Key: move-1"
		call(u, map[string]any{"receiver": "athena", "countdown": 7}, key).Want(t, http.StatusOK)
		call(u, map[string]any{"receiver": "desk-one", "countdown": 6}).Want(t, http.StatusOK)
		call(u, map[string]any{"receiver": "athena", "countdown": 7}, key).Want(t, http.StatusOK)
		if c := countdown(u); c.To != "desk-one" {
			t.Errorf("a repeated call was carried out again: %+v", c)
		}
		call(u, map[string]any{"receiver": "athena", "countdown": 8}, key).Want(t, http.StatusUnprocessableEntity)

		// When its time has come the tool gets the chat, with the team.
		if owner := w.Thread(u).State.Owner; owner != tract.IVA {
			t.Fatalf("moved before its time, to %s", owner)
		}
		advance(7 * time.Second)
		w.Until("the timer fires", func(tx *store.Tx) (bool, error) { return w.Thread(u).State.Owner == "desk-one", nil })
		hook := w.One.Wait(t, "the chat at the tool", func(h *apitest.Hook) bool {
			return h.Name() == "conversation_state/waiting" && h.Text("user_id") == u.ID
		})
		if hook.Text("metadata.team") != "Billing" || hook.Text("metadata.reason") != "api" {
			t.Errorf("the event: %s", hook.Raw)
		}

		// A conversation that is over has nothing to move.
		w.Event("desk-one", "conversation_state/complete", u, nil).Want(t, http.StatusOK)
		a := call(u, nil).Want(t, http.StatusConflict)
		if a.Code() != "conversation_complete" {
			t.Errorf("a complete conversation: %s", a)
		}
	})
}
