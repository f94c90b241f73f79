package api_test

import (
	"strings"
	"testing"

	"tract/internal/apitest"
)

func event(category, subcategory string) func(w *apitest.World, u apitest.User) apitest.Answer {
	return eventOf("desk-one", m{"category": category, "subcategory": subcategory})
}

func eventOf(tool string, fields m) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, u apitest.User) apitest.Answer {
		return w.Tool(tool, "POST", "/tract/events/send", with(m{"user_id": u.ID}, fields))
	}
}

func named(name string, metadata any) m {
	category, subcategory, _ := strings.Cut(name, "/")
	return m{"category": category, "subcategory": subcategory, "metadata": metadata}
}

func TestSendEvent(t *testing.T) {
	const allocated = "aeu_events/allocated"
	const pinned = "conversation_state/pinned"
	const over = "conversation_state/complete, thread_control/reset"
	const told = "desk-one conversation_state/complete, channel chat_complete, channel webhook_conversation_complete"
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "conversation_state/complete", "conversation_state/pinned")
		one := func(name string, metadata any) func(w *apitest.World, u apitest.User) apitest.Answer {
			return eventOf("desk-one", named(name, metadata))
		}
		ok := m{"error": nil}
		truths(t, w, toDeskOne, []row{
			{name: "received", call: one("aeu_events/received", "in the inbox"), status: 200, body: ok, log: "aeu_events/received"},
			{name: "allocated to a name", call: one(allocated, "Ravi"), status: 200, body: ok, log: pinned, queued: "channel chat_pinned"},
			{name: "allocated as an object", call: one(allocated, m{"agent": m{"name": "Ravi"}}), status: 200, body: ok, log: pinned, queued: "channel chat_pinned"},
			{name: "allocated as JSON", call: one(allocated, `{"agent": {"name": "Ravi", "email": "r@x.example"}}`), status: 200, body: ok, log: pinned, queued: "channel chat_pinned"},
			{name: "allocated by its other name", call: one("message/allocated", "Ravi"), status: 200, body: ok, log: pinned, queued: "channel chat_pinned"},
			{name: "allocated to nobody", call: one(allocated, nil), status: 400, code: "field_missing"},
			{name: "allocated without an agent", call: one(allocated, m{"a": 1}), status: 400, code: "field_missing"},
			{name: "allocated to a number", call: one(allocated, m{"agent": m{"name": 5}}), status: 400, code: "field_missing"},
			{name: "complete", call: one("conversation_state/complete", "solved"), status: 200, body: ok, log: over, queued: told},
			{name: "complete by its other name", call: one("collection_state/complete", `{"closing_reason": "Billing"}`), status: 200, body: ok, log: over, queued: told},
			{name: "user timeout", call: one("aeu_events/user_timeout", nil), status: 200, body: ok, log: over, queued: told},
			{name: "user timeout by its other name", call: one("message/user_timeout", nil), status: 200, body: ok, log: over, queued: told},
			{name: "the alias", call: func(w *apitest.World, u apitest.User) apitest.Answer {
				return w.Tool("desk-one", "POST", "/tract/event/send", with(m{"user_id": u.ID}, named("aeu_events/received", nil)))
			}, status: 200, body: ok, log: "aeu_events/received"},
			{name: "waiting while queued", call: one("conversation_state/waiting", nil), status: 409, code: "invalid_transition"},
			{name: "not the owner", call: eventOf("desk-two", named("conversation_state/complete", nil)), status: 403, code: "not_owner", body: m{"thread_owner": "desk-one"}},
			{name: "not the owner's received", call: eventOf("desk-two", named("aeu_events/received", nil)), status: 403, code: "not_owner"},
			{name: "one of the hub's own", call: one("conversation_state/bot", nil), status: 400, code: "unknown_event",
				text: "a tool cannot send this category and subcategory; valid are: conversation_state/waiting, conversation_state/complete, collection_state/complete, aeu_events/received, aeu_events/allocated, message/allocated, aeu_events/user_timeout, message/user_timeout"},
			{name: "no user", call: one("aeu_events/received", remove), status: 200, body: ok, log: "aeu_events/received"},
			{name: "no user_id", call: eventOf("desk-one", m{"user_id": remove, "category": "aeu_events", "subcategory": "received"}), status: 400, code: "field_missing"},
			{name: "no category", call: eventOf("desk-one", m{"subcategory": "complete"}), status: 400, code: "field_missing"},
			{name: "no subcategory", call: eventOf("desk-one", m{"category": "conversation_state"}), status: 400, code: "field_missing"},
			{name: "unknown user", call: eventOf("desk-one", with(named("aeu_events/received", nil), m{"user_id": "nope"})), status: 404, code: "not_found"},
			{name: "JS-18 metadata an array", call: one("aeu_events/received", []any{}), status: 400, code: "field_type"},
			{name: "JS-18 metadata a number", call: one("aeu_events/received", 5), status: 400, code: "field_type"},
			{name: "JS-18 metadata of 64 KiB and one", call: one("aeu_events/received", strings.Repeat("x", 64<<10+1)), status: 413, code: "too_large"},
		})
		truths(t, w, func(w *apitest.World) apitest.User {
			u := toDeskOne(w)
			w.Event("desk-one", allocated, u, "Ravi").Want(w.T, 200)
			return u
		}, []row{
			{name: "allocated again", call: one(allocated, "Mona"), status: 200, log: pinned, queued: "channel chat_pinned"},
			{name: "waiting for the user", call: one("conversation_state/waiting", nil), status: 200, log: "conversation_state/waiting_for_user"},
		})
		truths(t, w, func(w *apitest.World) apitest.User {
			u := toDeskOne(w)
			w.Event("desk-one", allocated, u, "Ravi").Want(w.T, 200)
			w.Event("desk-one", "conversation_state/waiting", u, nil).Want(w.T, 200)
			return u
		}, []row{
			{name: "the user comes back", call: func(w *apitest.World, u apitest.User) apitest.Answer { return w.TrySay(u, "here I am") }, status: 200,
				log: "ceu, " + pinned, queued: "desk-one message/receive, desk-one " + pinned + ", desk-two message/receive, channel chat_pinned"},
			{name: "waiting twice", call: one("conversation_state/waiting", nil), status: 409, code: "invalid_transition"},
		})
		truths(t, w, func(w *apitest.World) apitest.User {
			u := toDeskOne(w)
			w.Event("desk-one", "conversation_state/complete", u, nil).Want(w.T, 200)
			return u
		}, []row{
			{name: "complete again", call: one("conversation_state/complete", nil), status: 200, body: ok},
			{name: "complete again by another", call: eventOf("desk-two", named("collection_state/complete", nil)), status: 200, body: ok},
			{name: "received after the end", call: one("aeu_events/received", nil), status: 409, code: "conversation_complete"},
			{name: "timed out after the end", call: one("aeu_events/user_timeout", nil), status: 409, code: "conversation_complete"},
		})
	})
}
