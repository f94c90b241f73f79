package api_test

import (
	"strings"
	"testing"

	"tract/internal/apitest"
)

const send = "/tract/message/send/"

func sending(fields m) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, u apitest.User) apitest.Answer {
		return w.Tool("desk-one", "POST", send, with(m{"user_id": u.ID, "message_body": "hello", "sender": "aeu"}, fields))
	}
}

func TestSendMessage(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.Hooks("desk-two", "message/receive")
		const heard = "desk-two message/receive, channel message"
		const first = "desk-two message/receive, channel chat_pinned, channel message"
		truths(t, w, toDeskOne, []row{
			{name: "the first message assigns", call: sending(nil), status: 200, body: m{"error": nil, "conversation_number": "1"}, log: "conversation_state/pinned, aeu", queued: first},
			{name: "as a tool", call: sending(m{"sender": "ect"}), status: 200, log: "conversation_state/pinned, ect", queued: first},
			{name: "with the epoch", call: sending(m{"control_epoch": 4}), status: 200, log: "conversation_state/pinned, aeu", queued: first},
			{name: "with an agent", call: sending(m{"metadata": m{"agent": m{"name": "Ravi", "email": "ravi@desk.example", "profile_image": "https://desk.example/r.png"}}}), status: 200, log: "conversation_state/pinned, aeu", queued: first},
			{name: "an element", call: sending(m{"message_body": `{"text":"Did that help?","type":"TEXT","data":{"quick_replies":[]}}`}), status: 200, log: "conversation_state/pinned, aeu", queued: first},
			{name: "TC-09 not the owner", call: func(w *apitest.World, u apitest.User) apitest.Answer { return w.Write("desk-two", u, "me too") }, status: 403, code: "not_owner",
				text: "thread is controlled by desk-one", body: m{"thread_owner": "desk-one", "control_epoch": 4.0}},
			{name: "another epoch", call: sending(m{"control_epoch": 3}), status: 409, code: "epoch_mismatch", body: m{"thread_owner": "desk-one", "control_epoch": 4.0}},
			{name: "epoch 0", call: sending(m{"control_epoch": 0}), status: 400, code: "field_value"},
			{name: "say and pass", call: sending(m{"thread_control": m{"type": "pass", "receiver": "sac", "metadata": m{"team_name": "Billing"}}}), status: 200,
				log: "conversation_state/pinned, aeu, thread_control/passed, conversation_state/waiting", queued: first},
			{name: "say and pass, refused", call: sending(m{"thread_control": m{"type": "pass", "receiver": "desk-two"}}), status: 409, code: "receiver_not_allowed", body: m{"thread_owner": "desk-one"}},
			{name: "say and pass to nobody", call: sending(m{"thread_control": m{"type": "pass", "receiver": "nobody"}}), status: 409, code: "unknown_receiver"},
			{name: "say and pass, unavailable", call: sending(m{"thread_control": m{"type": "pass", "receiver": "sac", "metadata": m{"team_name": "Closed"}}}), status: 409, code: "receiver_unavailable"},
			{name: "say and take", call: sending(m{"thread_control": m{"type": "take", "receiver": "desk-one"}}), status: 400, code: "field_value"},
			{name: "say and pass without a receiver", call: sending(m{"thread_control": m{"type": "pass"}}), status: 400, code: "field_missing"},
			{name: "say and pass, not an object", call: sending(m{"thread_control": "sac"}), status: 400, code: "object_expected"},
			{name: "no user_id", call: sending(m{"user_id": remove}), status: 400, code: "field_missing"},
			{name: "no body", call: sending(m{"message_body": remove}), status: 400, code: "field_missing"},
			{name: "empty body", call: sending(m{"message_body": ""}), status: 400, code: "field_missing"},
			{name: "body null", call: sending(m{"message_body": nil}), status: 400, code: "field_missing"},
			{name: "JS-17 no sender", call: sending(m{"sender": remove}), status: 400, code: "field_missing"},
			{name: "agent without a name", call: sending(m{"metadata": m{"agent": m{"email": "x"}}}), status: 400, code: "field_missing"},
			{name: "agent's image runs code", call: sending(m{"metadata": m{"agent": m{"name": "x", "profile_image": "javascript:alert(1)"}}}), status: 400, code: "field_value"},
			{name: "agent's name too long", call: sending(m{"metadata": m{"agent": m{"name": strings.Repeat("x", 257)}}}), status: 400, code: "field_value"},
			{name: "64 KiB", call: sending(m{"message_body": strings.Repeat("x", 64<<10)}), status: 200, log: "conversation_state/pinned, aeu", queued: first},
			{name: "64 KiB and one", call: sending(m{"message_body": strings.Repeat("x", 64<<10+1)}), status: 413, code: "too_large"},
			{name: "unknown user", call: sending(m{"user_id": "AAAAAAAAAAAAAAAAAAAAAA"}), status: 404, code: "not_found"},
			{name: "another user's id in other case", call: func(w *apitest.World, u apitest.User) apitest.Answer {
				return sending(m{"user_id": swapCase(u.ID)})(w, u)
			}, status: 404, code: "not_found"},
			{name: "GET", call: func(w *apitest.World, _ apitest.User) apitest.Answer { return w.Tool("desk-one", "GET", send, nil) }, status: 405, code: "method_not_allowed"},
			{name: "without the slash", call: func(w *apitest.World, u apitest.User) apitest.Answer {
				return w.Tool("desk-one", "POST", "/tract/message/send", m{"user_id": u.ID, "message_body": "x", "sender": "aeu"})
			}, status: 200, log: "conversation_state/pinned, aeu", queued: first},
		})
		truths(t, w, func(w *apitest.World) apitest.User {
			u := toDeskOne(w)
			w.Write("desk-one", u, "first").Want(w.T, 200)
			return u
		}, []row{{name: "a later message", call: sending(nil), status: 200, log: "aeu", queued: heard}})
		truths(t, w, func(w *apitest.World) apitest.User {
			u := toDeskOne(w)
			w.Event("desk-one", "conversation_state/complete", u, nil).Want(w.T, 200)
			return u
		}, []row{
			{name: "complete", call: sending(nil), status: 409, code: "conversation_complete"},
			{name: "complete, and another's", call: func(w *apitest.World, u apitest.User) apitest.Answer { return w.Write("desk-two", u, "x") }, status: 409, code: "conversation_complete"},
		})
	})
}

func swapCase(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 32
		case r >= 'A' && r <= 'Z':
			return r + 32
		}
		return r
	}, s)
}

// What was said reaches the log and everyone byte for byte.
func TestTextIsKept(t *testing.T) {
	texts := map[string]string{
		"JS-24 marks":   "e" + strings.Repeat("\u0301", 1000),
		"JS-24 RTL":     "abc \u202e dcba \u202c",
		"JS-24 ZWJ":     "👩‍👩‍👧‍👦 \U0001F3F4\U000E0067",
		"JS-24 U+FFFF":  "\uffff \ufdd0",
		"HTML":          `<b>&amp;"'</b> </script>`,
		"line ends":     "a\r\nb\nc\u2028d",
		"control":       "bell \a tab \t",
		"not JSON":      `{not json`,
		"JSON no HSL":   `[1, 2]`,
		"JSON a string": `"quoted"`,
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.ToDeskOne()
		for name, text := range texts {
			t.Run(name, func(t *testing.T) {
				w := w.On(t)
				w.Write("desk-one", u, text).Want(t, 200)
				w.Two.Wait(t, "what desk-one wrote", apitest.Saying(u, text))
				w.Channel.Wait(t, "what desk-one wrote", apitest.Saying(u, text))
				w.TrySay(u, text).Want(t, 200)
				if got := w.One.Wait(t, "what the user wrote", func(h *apitest.Hook) bool { return apitest.Saying(u, text)(h) && h.Text("sender") == "ceu" }); got.At("metadata.standby") != false {
					t.Errorf("the owner is on standby: %s", got.Raw)
				}
			})
		}
	})
}
