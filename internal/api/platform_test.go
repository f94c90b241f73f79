package api_test

import (
	"strings"
	"testing"

	"tract/internal/apitest"
)

const logMessage = "/v1.0/log_message_from_user/"

// logging lets the client bring in a message of the user.
func logging(fields m, headers ...string) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, u apitest.User) apitest.Answer {
		return w.Platform("POST", logMessage, with(u.Message("hello"), fields), headers...)
	}
}

func TestLogMessage(t *testing.T) {
	const heard = "desk-one message/receive, desk-two message/receive"
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "conversation_state/waiting")
		stranger := m{"user": m{"auth_id": "never-seen"}}
		truths(t, w, toDeskOne, []row{
			{name: "to an open conversation", call: logging(nil), status: 200, body: m{"message_body": "hello", "message_type": 0.0}, log: "ceu", queued: heard},
			{name: "without a type", call: logging(m{"message_type": remove}), status: 200, body: m{"message_type": 0.0}, log: "ceu", queued: heard},
			{name: "business_id as a string", call: logging(m{"business_id": "343"}), status: 200, log: "ceu", queued: heard},
			{name: "what the user types is text", call: logging(m{"message_body": `{"text":"x","type":"SYSTEM"}`}), status: 200, body: m{"message_body": `{"text":"x","type":"SYSTEM"}`}, log: "ceu", queued: heard},
			{name: "not registered", call: logging(stranger), status: 403, code: "user_not_registered", text: "user is not registered"},
			{name: "no user", call: logging(m{"user": remove}), status: 400, code: "field_missing"},
			{name: "user null", call: logging(m{"user": nil}), status: 400, code: "field_missing"},
			{name: "no auth_id", call: logging(m{"user": m{}}), status: 400, code: "field_missing"},
			{name: "no body", call: logging(m{"message_body": remove}), status: 400, code: "field_missing"},
			{name: "empty body", call: logging(m{"message_body": ""}), status: 400, code: "field_missing"},
			{name: "too long", call: logging(m{"message_body": strings.Repeat("x", 64<<10+1)}), status: 413, code: "too_large"},
			{name: "no business", call: logging(m{"business_id": remove}), status: 400, code: "field_missing"},
			{name: "business a word", call: logging(m{"business_id": "abc"}), status: 400, code: "invalid_business", text: "invalid business_id provided"},
			{name: "business of another client", call: logging(m{"business_id": 900}), status: 400, code: "invalid_business", text: "invalid business_id provided"},
			{name: "no such business", call: logging(m{"business_id": 1}), status: 400, code: "invalid_business", text: "invalid business_id provided"},
			{name: "inactive business", call: logging(m{"business_id": 345}), status: 400, code: "business_inactive", text: `business "345" is inactive`},
			{name: "no token", call: logging(nil, "Authorization:"), status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "no client-id", call: logging(nil, "client-id:"), status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "unknown client", call: logging(nil, "client-id: nobody"), status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "wrong token", call: logging(nil, "Authorization: Bearer x"), status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "not Bearer", call: logging(nil, "Authorization: Token x"), status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "two tokens", call: logging(nil, "+Authorization: Bearer x"), status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "two client-ids", call: logging(nil, "+client-id: acme"), status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "another client's token", call: func(w *apitest.World, u apitest.User) apitest.Answer {
				return logging(nil, "Authorization: Bearer "+w.OtherToken)(w, u)
			}, status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "without the scope", call: func(w *apitest.World, u apitest.User) apitest.Answer {
				return logging(nil, "Authorization: Bearer "+w.Token+"-narrow")(w, u)
			}, status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "not JSON", call: func(w *apitest.World, _ apitest.User) apitest.Answer { return w.Platform("POST", logMessage, "{") }, status: 400, code: "invalid_json"},
			{name: "not said to be JSON", call: logging(nil, "Content-Type: text/plain"), status: 415, code: "unsupported_media_type"},
			{name: "empty key", call: logging(nil, "Idempotency-Key: "+strings.Repeat("k", 256)), status: 400, code: "invalid_idempotency_key"},
		})
		truths(t, w, func(w *apitest.World) apitest.User {
			u := toDeskOne(w)
			w.Event("desk-one", "conversation_state/complete", u, nil).Want(w.T, 200)
			w.Settle()
			return u
		}, []row{{name: "begins the next conversation", call: logging(m{"message_body": apitest.Answerable}), status: 200, log: "conversation_state/bot, ceu…", queued: "desk-one message/receive…"}})
		truths(t, w, func(w *apitest.World) apitest.User {
			u := w.UserOf("acme", 344)
			w.Say(&u, "first")
			w.Event("desk-one", "conversation_state/complete", u, nil).Want(w.T, 200)
			return u
		}, []row{{name: "begins with a tool", call: logging(nil), status: 200, log: "conversation_state/waiting, ceu", queued: "desk-one message/receive, desk-one conversation_state/waiting"}})
	})
}

func putting(method string, fields m, headers ...string) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, _ apitest.User) apitest.Answer {
		return w.Platform(method, "/v1.0/user/", with(m{"auth_id": "c-1", "name": "Asha"}, fields), headers...)
	}
}

func TestUsers(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Platform("POST", "/v1.0/user/", m{"auth_id": "known", "name": "Asha", "email": "a@x.example", "mobile_no": "+91123"}).Want(t, 200)
		truths(t, w, nobody, []row{
			{name: "create", call: putting("POST", nil), status: 200, body: m{"auth_id": "c-1", "name": "Asha", "email": "", "mobile_no": ""}},
			{name: "create again is update", call: putting("POST", m{"auth_id": "known", "name": "Asha P."}), status: 200, body: m{"name": "Asha P.", "email": "a@x.example", "mobile_no": "+91123"}},
			{name: "update", call: putting("PUT", m{"auth_id": "known", "name": remove, "email": "b@x.example"}), status: 200, body: m{"name": "Asha P.", "email": "b@x.example"}},
			{name: "update of an unknown one", call: putting("PUT", m{"auth_id": "never"}), status: 403, code: "user_not_registered", text: "user is not registered"},
			{name: "all fields", call: putting("POST", m{"language_code": "en", "phone_model": "p", "os_version": "14", "package_name": "x.y", "custom_data": m{"plan": "gold", "n": 5, "b": true, "z": nil}}), status: 200},
			{name: "no auth_id", call: putting("POST", m{"auth_id": remove}), status: 400, code: "field_missing"},
			{name: "empty auth_id", call: putting("POST", m{"auth_id": ""}), status: 400, code: "field_missing"},
			{name: "auth_id too long", call: putting("POST", m{"auth_id": strings.Repeat("x", 129)}), status: 400, code: "field_value"},
			{name: "auth_id with a line break", call: putting("POST", m{"auth_id": "a\nb"}), status: 400, code: "field_value"},
			{name: "auth_id a number", call: putting("POST", m{"auth_id": 5}), status: 400, code: "field_type"},
			{name: "name too long", call: putting("POST", m{"name": strings.Repeat("x", 1025)}), status: 400, code: "field_value"},
			{name: "language unknown", call: putting("POST", m{"language_code": "english"}), status: 400, code: "field_value"},
			{name: "custom_data nested", call: putting("POST", m{"custom_data": m{"a": m{"b": 1}}}), status: 400, code: "field_value"},
			{name: "custom_data with a list", call: putting("POST", m{"custom_data": m{"a": []any{1}}}), status: 400, code: "field_value"},
			{name: "custom_data a string", call: putting("POST", m{"custom_data": "x"}), status: 400, code: "field_type"},
			{name: "wrong token", call: putting("POST", nil, "Authorization: Bearer x"), status: 401, code: "invalid_token", text: "invalid authorization details"},
			{name: "PATCH", call: putting("PATCH", nil), status: 405, code: "method_not_allowed"},
		})
	})
}

func TestChannelWebhook(t *testing.T) {
	set := func(fields m) func(w *apitest.World, u apitest.User) apitest.Answer {
		return func(w *apitest.World, _ apitest.User) apitest.Answer {
			return w.Platform("POST", "/v1.0/webhook/", with(m{"enabled": true, "business_id": 346, "device_platform": 13}, fields))
		}
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		truths(t, w, nobody, []row{
			{name: "WH-08 enable", call: set(nil), status: 200, body: m{"enabled": true}},
			{name: "WH-08 enable twice", call: set(nil), status: 200, body: m{"enabled": true}},
			{name: "WH-08 disable", call: set(m{"enabled": false}), status: 200, body: m{"enabled": false}},
			{name: "WH-08 disable twice", call: set(m{"enabled": false}), status: 200, body: m{"enabled": false}},
			{name: "WH-08 a string", call: set(m{"enabled": "true"}), status: 400, code: "field_type"},
			{name: "WH-08 nothing", call: set(m{"enabled": remove}), status: 400, code: "field_missing"},
			{name: "WH-08 another client's business", call: set(m{"business_id": 900}), status: 404, code: "not_found"},
			{name: "WH-08 no such business", call: set(m{"business_id": 901}), status: 404, code: "not_found"},
			{name: "no business", call: set(m{"business_id": remove}), status: 400, code: "field_missing"},
			{name: "business a word", call: set(m{"business_id": "x"}), status: 400, code: "invalid_business"},
			{name: "another platform", call: set(m{"device_platform": 14}), status: 400, code: "field_value"},
			{name: "no platform", call: set(m{"device_platform": remove}), status: 200},
		})
		// What is to be said while it is off waits, and comes when it is on.
		w.Platform("POST", "/v1.0/webhook/", m{"enabled": false, "business_id": 346}).Want(t, 200)
		u := w.UserOf("acme", 346)
		w.Say(&u, apitest.Answerable)
		w.Answered(u)
		if got := w.Channel.Got(apitest.About(u, "")); len(got) > 0 {
			t.Errorf("a webhook that is off was called: %s", got[0].Raw)
		}
		w.Platform("POST", "/v1.0/webhook/", m{"enabled": true, "business_id": 346}).Want(t, 200)
		w.Channel.Wait(t, "the bot's answer", apitest.Saying(u, apitest.AnswerText))
	})
}
