package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/apitest"
	"tract/internal/conversation"
	"tract/internal/hsl"
	"tract/internal/intake"
	"tract/internal/sign"
	"tract/internal/store"
)

func TestSynchronousMessage(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		say := func(u apitest.User, text string, headers ...string) apitest.Answer {
			return w.Platform("POST", "/v1.0/message/sync/", u.Message(text), headers...)
		}
		u := w.User()
		a := say(u, apitest.TwoAnswers).Want(t, 200)
		if a.Text("version") != "1.0" || a.At("agent.is_automated") != true || a.Text("agent.name") != "gogo" || a.Text("message.0.body.text") != "You can return items within 30 days." ||
			a.Text("message.1.body.text") != "Shall I send you a label?" || a.At("message.2") != nil {
			t.Errorf("both replies: %s", a)
		}
		key := "Idempotency-Key: sync-1"
		first, again := say(u, apitest.Answerable, key).Want(t, 200), say(u, apitest.Answerable, key).Want(t, 200)
		if string(first.Body) != string(again.Body) || first.Text("message.0.body.text") != apitest.AnswerText {
			t.Errorf("repeated: %s and %s", first, again)
		}
		w.Settle()
		if got := w.Channel.Got(apitest.About(u, "")); len(got) > 0 {
			t.Errorf("the channel got a reply, too: %s", got[0].Raw)
		}
		u.ID = w.Thread(u).Pxut
		if n := len(w.Log(u)); n != 6 { // began, two questions, three replies
			t.Errorf("the log has %d entries", n)
		}
		v := w.ToDeskOne()
		if a := say(v, "hello?").Want(t, 200); !cmp.Equal(a.At("message"), any([]any{})) {
			t.Errorf("a person has the thread: %s", a)
		}
		// The call that hands over gets what the bot said; the person's messages go
		// to the channel.
		x := w.User()
		if a := say(x, apitest.Unanswerable).Want(t, 200); a.Text("message.0.body.text") != apitest.Handover {
			t.Errorf("handed over: %s", a)
		}
		truths(t, w, nobody, []row{
			{name: "not registered", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return say(apitest.User{AuthID: "never", Business: 343}, "x")
			}, status: 403, code: "user_not_registered"},
			{name: "another client's business", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return say(apitest.User{AuthID: u.AuthID, Business: 900}, "x")
			}, status: 400, code: "invalid_business"},
			{name: "another body", call: func(w *apitest.World, _ apitest.User) apitest.Answer { return say(u, "x", key) }, status: 422, code: "idempotency_mismatch"},
			{name: "empty", call: func(w *apitest.World, _ apitest.User) apitest.Answer { return say(u, "") }, status: 400, code: "field_missing"},
		})
	})
}

// What a caller did not wait for goes to the channel, once and not before.
func TestSynchronousMessageTimesOut(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.User()
		w.Say(&u, apitest.Answerable)
		w.Channel.Wait(t, "the first answer", apitest.Saying(u, apitest.AnswerText))
		var res *conversation.Result
		thread := w.Thread(u)
		w.Update(func(tx *store.Tx) (err error) {
			res, err = w.Server.Intake.Append(tx, intake.Message{Client: thread.Client, Business: 343, AuthID: thread.User.AuthID, Platform: 13, Body: hsl.Text(apitest.TwoAnswers).Body(), Hold: 400 * time.Millisecond})
			return err
		})
		h := w.Channel.Wait(t, "the held answer", apitest.Saying(u, "You can return items within 30 days."))
		if h.When.Before(res.Turn.HoldUntil) {
			t.Errorf("sent at %s, held until %s", h.When, res.Turn.HoldUntil)
		}
		w.Channel.Wait(t, "the second", apitest.Saying(u, "Shall I send you a label?"))
		w.Settle()
		if got := len(w.Channel.Got(apitest.About(u, ""))); got != 3 {
			t.Errorf("the channel got %d messages, want 3", got)
		}
	})
}

func TestChannelEvents(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		u := w.ToDeskOne()
		w.Write("desk-one", u, "Hello, this is Mia", m{"metadata": m{"agent": m{"name": "Mia", "email": "mia@x.example"}}}).Want(t, 200)
		w.Event("desk-one", "conversation_state/complete", u, m{"closing_reason": "Billing", "closing_sub_reason": "Invoice", "comment": "paid"}).Want(t, 200)
		w.Settle()
		want := []string{"message " + apitest.Handover, "chat_pinned Mia has entered the Conversation", "message Hello, this is Mia", "chat_complete The conversation has been completed", "webhook_conversation_complete"}
		if diff := cmp.Diff(want, names(w.Channel, u)); diff != "" {
			t.Errorf("the channel heard (-want +got):\n%s", diff)
		}
		got := w.Channel.Got(apitest.About(u, ""))
		for i, h := range got {
			if err := sign.VerifyHub(apitest.ChannelSecret, h.Header, h.Raw); err != nil {
				t.Errorf("call %d: %v", i, err)
			}
			if h.Text("user.user_name") != u.Name || h.Text("user.device_platform_name") != "Webhook" || h.Text("business_name") != "Acme Support" || h.Text("version") != "1.0" {
				t.Errorf("call %d: %s", i, h.Raw)
			}
		}
		if h := got[0]; h.Text("agent.name") != "gogo" || h.At("agent.is_automated") != true || h.At("agent.email") != nil {
			t.Errorf("the bot's message: %s", h.Raw)
		}
		if h := got[1]; h.Text("message.body.type") != "SYSTEM" || h.Text("message.body.data.event_name") != "chat_pinned" || h.Text("message.body.data.payload.agent_name") != "Mia" {
			t.Errorf("pinned: %s", h.Raw)
		}
		if h := got[2]; h.Text("agent.name") != "Mia" || h.At("agent.is_automated") != false || h.Text("agent.email") != "mia@x.example" {
			t.Errorf("the agent's message: %s", h.Raw)
		}
		if h := got[4]; h.Int("data.conversation_no") != 1 || h.Text("data.completion_type") != "agent" || h.Text("data.completion_by") != "Mia" || h.Text("data.closing_categories.reason") != "Billing" ||
			h.Text("data.closing_categories.subReason") != "Invoice" || h.Text("data.closing_categories.comment") != "paid" || !strings.Contains(h.Text("data.chat_link"), u.ID) {
			t.Errorf("complete: %s", h.Raw)
		}
	})
}

// Every way a conversation ends is told to the channel as one of three types.
func TestCompletionTypes(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		do := func(u apitest.User, c tract.Command) {
			if _, err := w.Do(u, c); err != nil {
				t.Errorf("%T: %v", c, err)
			}
		}
		tests := []struct {
			reason, want string
			end          func() apitest.User
		}{
			{"tool", "agent", func() apitest.User {
				u := w.ToDeskOne()
				w.Event("desk-one", "conversation_state/complete", u, nil)
				return u
			}},
			{"user_timeout", "agent", func() apitest.User {
				u := w.ToDeskOne()
				w.Event("desk-one", "aeu_events/user_timeout", u, nil)
				return u
			}},
			{"transfer_to_iva", "gogo", func() apitest.User { u := w.ToDeskOne(); w.Granted("desk-one", "pass", u, "iva"); return u }},
			{"agent", "agent", func() apitest.User {
				u := w.ToDesk()
				do(u, tract.RaiseEvent{By: tract.SAC, Event: tract.EventComplete})
				return u
			}},
			{"operator", "agent", func() apitest.User { u := w.ToDesk(); do(u, tract.Close{}); return u }},
			{"bot", "gogo", func() apitest.User {
				u := w.User()
				w.Say(&u, apitest.Answerable)
				w.Answered(u)
				do(u, tract.RaiseEvent{By: tract.IVA, Event: tract.EventComplete})
				return u
			}},
			{"auto", "autocomplete", func() apitest.User {
				u := w.UserOf("acme", 346)
				w.Say(&u, apitest.Answerable)
				return u
			}},
		}
		for _, tt := range tests {
			t.Run(tt.reason, func(t *testing.T) {
				u := tt.end()
				h := w.Channel.Wait(t, "the end", apitest.About(u, "webhook_conversation_complete"))
				if got := h.Text("data.completion_type"); got != tt.want {
					t.Errorf("completion_type %s, want %s", got, tt.want)
				}
				if s := w.Thread(u).State; s.State != tract.StateComplete || s.Reason != tt.reason {
					t.Errorf("state %s, reason %s", s.State, s.Reason)
				}
				all := names(w.Channel, u)
				if n := len(all); n < 2 || all[n-2] != "chat_complete The conversation has been completed" {
					t.Errorf("the channel heard %v", all)
				}
			})
		}
	}, changed("{id: 346, name: Bot only,", "{id: 346, name: Bot only, auto_complete_after: 300ms,"))
}
