package api_test

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"tract/internal/apitest"
)

// raw sends bytes to message/send; %U stands for the user's id.
func raw(body string, headers ...string) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, u apitest.User) apitest.Answer {
		return w.Tool("desk-one", "POST", send, strings.ReplaceAll(body, "%U", u.ID), headers...)
	}
}

func details(names ...any) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, u apitest.User) apitest.Answer {
		return w.Tool("desk-one", "POST", "/tract/user/details/", m{"user_id": u.ID, "details_requested": names})
	}
}

func body(text string) string {
	b, _ := json.Marshal(text)
	return `{"user_id": "%U", "sender": "aeu", "message_body": ` + string(b) + `}`
}

// The rows JS-01 … JS-26 of the catalogue of bad input.
func TestBadBodies(t *testing.T) {
	const good = `{"user_id": "%U", "sender": "aeu", "message_body": "x"}`
	const accepted = "conversation_state/pinned, aeu"
	const heard = "desk-two message/receive, channel chat_pinned, channel message"
	deep := func(n int) string {
		return `{"user_id": "%U", "sender": "aeu", "message_body": "x", "extra": ` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}`
	}
	button := func(url string) string {
		b, _ := json.Marshal(url)
		return body(`{"text":"x","type":"BUTTON","data":{"items":[{"actionable_text":"go","type":"APP_ACTION","uri":"LINK","payload":{"url":` + string(b) + `}}]}}`)
	}
	members := func(n int) string {
		var b strings.Builder
		b.WriteString(`{"user_id": "%U"`)
		for i := range n {
			fmt.Fprintf(&b, `, "k%d": 1`, i)
		}
		return b.String() + "}"
	}
	rows := []row{
		{name: "JS-01 empty", call: raw(""), status: 400, code: "invalid_json"},
		{name: "JS-01 null", call: raw("null"), status: 400, code: "object_expected"},
		{name: "JS-01 array", call: raw("[]"), status: 400, code: "object_expected"},
		{name: "JS-01 string", call: raw(`"x"`), status: 400, code: "object_expected"},
		{name: "JS-01 number", call: raw("1"), status: 400, code: "object_expected"},
		{name: "JS-02 truncated", call: raw(good[:len(good)-1]), status: 400, code: "invalid_json"},
		{name: "JS-02 trailing comma", call: raw(strings.Replace(good, "}", ",}", 1)), status: 400, code: "invalid_json"},
		{name: "JS-02 comment", call: raw("/* x */" + good), status: 400, code: "invalid_json"},
		{name: "JS-02 NaN", call: raw(strings.Replace(good, `"x"`, "NaN", 1)), status: 400, code: "invalid_json"},
		{name: "JS-02 single quotes", call: raw(strings.ReplaceAll(good, `"`, `'`)), status: 400, code: "invalid_json"},
		{name: "JS-03 two values", call: raw(good + good), status: 400, code: "trailing_data"},
		{name: "JS-03 garbage behind", call: raw(good + "garbage"), status: 400, code: "trailing_data"},
		{name: "JS-04 byte order mark", call: raw("\ufeff" + good), status: 400, code: "invalid_json"},
		{name: "JS-05 duplicate key", call: raw(strings.Replace(good, "{", `{"sender": "ect", `, 1)), status: 400, code: "duplicate_member"},
		{name: "JS-05 duplicate nested key", call: raw(strings.Replace(good, "{", `{"metadata": {"agent": {"name": "a", "name": "b"}}, `, 1)), status: 400, code: "duplicate_member"},
		{name: "JS-05 duplicate key by escape", call: raw(strings.Replace(good, "{", `{"\u0073ender": "ect", `, 1)), status: 400, code: "duplicate_member"},
		{name: "JS-06 other case beside", call: raw(strings.Replace(good, "{", `{"User_Id": "x", `, 1)), status: 400, code: "duplicate_member"},
		{name: "JS-06 other case alone", call: raw(strings.Replace(good, "user_id", "User_Id", 1)), status: 400, code: "field_missing"},
		{name: "JS-07 invalid UTF-8", call: raw(strings.Replace(good, `"x"`, "\"\xff\"", 1)), status: 400, code: "invalid_utf8"},
		{name: "JS-07 overlong", call: raw(strings.Replace(good, `"x"`, "\"\xc0\xaf\"", 1)), status: 400, code: "invalid_utf8"},
		{name: "JS-07 UTF-16", call: raw("\xff\xfe{\x00}\x00"), status: 400, code: "invalid_utf8"},
		{name: "JS-08 lone surrogate", call: raw(strings.Replace(good, `"x"`, `"\ud800"`, 1)), status: 400, code: "invalid_unicode"},
		{name: "JS-08 reversed pair", call: raw(strings.Replace(good, `"x"`, `"\udc00\ud800"`, 1)), status: 400, code: "invalid_unicode"},
		{name: "JS-08 surrogate in an unknown field", call: raw(strings.Replace(good, "{", `{"extra": "\ud800", `, 1)), status: 400, code: "invalid_unicode"},
		{name: "JS-09 escaped NUL", call: raw(strings.Replace(good, `"x"`, `"\u0000"`, 1)), status: 400, code: "nul_character"},
		{name: "JS-09 NUL in a key", call: raw(strings.Replace(good, "{", `{"\u0000": 1, `, 1)), status: 400, code: "nul_character"},
		{name: "JS-09 raw NUL", call: raw(strings.Replace(good, `"x"`, "\"\x00\"", 1)), status: 400, code: "invalid_json"},
		{name: "JS-10 depth 64", call: raw(deep(64)), status: 200, log: accepted, queued: heard},
		{name: "JS-10 depth 65", call: raw(deep(65)), status: 400, code: "too_deep"},
		{name: "JS-10 depth 10001", call: raw(deep(10001)), status: 400, code: "too_deep"},
		{name: "JS-10 brackets without end", call: raw(strings.Repeat("[", 200_000)), status: 400, code: "too_deep"},
		{name: "JS-11 256 KiB and one", call: raw(strings.Repeat(" ", 256<<10+1)), status: 413, code: "too_large"},
		{name: "JS-11 256 KiB and one, chunked", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
			return w.Tool("desk-one", "POST", send, io.MultiReader(strings.NewReader(strings.Repeat(" ", 256<<10+1))), "Content-Type: application/json")
		}, status: 413, code: "too_large"},
		{name: "JS-12 too many members", call: raw(members(10_000)), status: 400, code: "too_many_members"},
		{name: "JS-12 a long key", call: raw(`{"` + strings.Repeat("k", 1<<20) + `": 1}`), status: 413, code: "too_large"},
		{name: "JS-13 user_id a number", call: raw(strings.Replace(good, `"%U"`, "5", 1)), status: 400, code: "field_type"},
		{name: "JS-13 user_id null", call: raw(strings.Replace(good, `"%U"`, "null", 1)), status: 400, code: "field_type"},
		{name: "JS-13 user_id an object", call: raw(strings.Replace(good, `"%U"`, "{}", 1)), status: 400, code: "field_type"},
		{name: "JS-13 user_id empty", call: raw(strings.Replace(good, "%U", "", 1)), status: 400, code: "field_missing"},
		{name: "JS-13 user_id of 129 bytes", call: raw(strings.Replace(good, "%U", strings.Repeat("a", 129), 1)), status: 400, code: "field_value"},
		{name: "JS-13 user_id a path", call: raw(strings.Replace(good, "%U", "../../x%00", 1)), status: 404, code: "not_found"},
		{name: "JS-13 user_id with a control character", call: raw(strings.Replace(good, "%U", `a\nb`, 1)), status: 404, code: "not_found"},
		{name: "JS-14 message_body an object", call: raw(strings.Replace(good, `"x"`, `{"text": "x", "type": "TEXT"}`, 1)), status: 400, code: "field_type"},
		{name: "JS-15 not JSON is text", call: raw(body(`{"text":`)), status: 200, log: accepted, queued: heard},
		{name: "JS-15 JSON but no element", call: raw(body(`{"a": 1}`)), status: 400, code: "invalid_message_body"},
		{name: "JS-15 a button without items", call: raw(body(`{"text": "x", "type": "BUTTON", "data": {}}`)), status: 400, code: "invalid_message_body"},
		{name: "JS-15 inner duplicate keys", call: raw(body(`{"text": "a", "text": "b", "type": "TEXT"}`)), status: 400, code: "invalid_message_body"},
		{name: "JS-15 inner depth 65", call: raw(body(`{"text": "a", "type": "X", "data": {"a": ` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + `}}`)), status: 400, code: "invalid_message_body"},
		{name: "JS-16 javascript", call: raw(button("javascript:alert(1)")), status: 400, code: "unsafe_url"},
		{name: "JS-16 data", call: raw(button("data:text/html,<script>")), status: 400, code: "unsafe_url"},
		{name: "JS-16 a tab within", call: raw(button(" java\tscript:alert(1)")), status: 400, code: "unsafe_url"},
		{name: "JS-16 no scheme", call: raw(button("//evil.example")), status: 400, code: "unsafe_url"},
		{name: "JS-16 3 KiB", call: raw(button("https://a.example/" + strings.Repeat("x", 3<<10))), status: 400, code: "unsafe_url"},
		{name: "JS-16 a good one", call: raw(button("https://a.example/x")), status: 200, log: accepted, queued: heard},
		{name: "JS-17 ceu", call: sending(m{"sender": "ceu"}), status: 400, code: "sender_not_allowed"},
		{name: "JS-17 iva", call: sending(m{"sender": "iva"}), status: 400, code: "sender_not_allowed"},
		{name: "JS-17 haptik", call: sending(m{"sender": "haptik"}), status: 400, code: "sender_not_allowed"},
		{name: "JS-17 other case", call: sending(m{"sender": "ECT"}), status: 400, code: "sender_not_allowed"},
		{name: "JS-18 metadata a string", call: sending(m{"metadata": "x"}), status: 400, code: "field_type"},
		{name: "JS-18 metadata an array", call: sending(m{"metadata": []any{}}), status: 400, code: "field_type"},
		{name: "JS-19 1.0", call: raw(strings.Replace(good, "{", `{"control_epoch": 1.0, `, 1)), status: 400, code: "field_type"},
		{name: "JS-19 1e3", call: raw(strings.Replace(good, "{", `{"control_epoch": 1e3, `, 1)), status: 400, code: "field_type"},
		{name: "JS-19 2^63", call: raw(strings.Replace(good, "{", `{"control_epoch": 9223372036854775808, `, 1)), status: 400, code: "field_type"},
		{name: "JS-19 -1", call: raw(strings.Replace(good, "{", `{"control_epoch": -1, `, 1)), status: 400, code: "field_value"},
		{name: "JS-19 a string", call: raw(strings.Replace(good, "{", `{"control_epoch": "4", `, 1)), status: 400, code: "field_type"},
		{name: "JS-20 unknown event", call: event("x", "y"), status: 400, code: "unknown_event"},
		{name: "JS-20 10 KiB", call: event(strings.Repeat("x", 10<<10), "y"), status: 400, code: "unknown_event"},
		{name: "JS-20 a pattern", call: event("(a+)+$", "(a+)+$"), status: 400, code: "unknown_event"},
		{name: "JS-21 10,000 names", call: details(make([]any, 0, 1)...), status: 400, code: "field_missing"},
		{name: "JS-21 too many names", call: details(repeat("email", 10_000)...), status: 400, code: "field_value"},
		{name: "JS-21 not available", call: details("shoe_size"), status: 400, code: "unknown_detail", text: `details_requested: this user has no "shoe_size"`},
		{name: "JS-22 unknown fields", call: raw(strings.Replace(good, "{", `{"tenant_id": "other", "is_primary": true, "epoch": 99, `, 1)), status: 200, log: accepted, queued: heard},
		{name: "JS-23 no content type", call: raw(good, "Content-Type:"), status: 415, code: "unsupported_media_type"},
		{name: "JS-23 text", call: raw(good, "Content-Type: text/plain"), status: 415, code: "unsupported_media_type"},
		{name: "JS-23 latin1", call: raw(good, "Content-Type: application/json; charset=latin1"), status: 415, code: "unsupported_media_type"},
		{name: "JS-23 UTF-8 said", call: raw(good, "Content-Type: application/json; charset=UTF-8"), status: 200, log: accepted, queued: heard},
		{name: "JS-23 compressed", call: raw(good, "Content-Encoding: gzip"), status: 415, code: "unsupported_media_type"},
		{name: "JS-26 image without a file", call: logging(m{"message_type": 1}), status: 400, code: "message_type"},
		{name: "JS-26 document without a file", call: logging(m{"message_type": 52}), status: 400, code: "message_type"},
		{name: "JS-26 unknown type", call: logging(m{"message_type": 7}), status: 400, code: "message_type"},
		{name: "JS-26 type a string", call: logging(m{"message_type": "0"}), status: 400, code: "field_type"},
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		truths(t, w, toDeskOne, rows)
	})
}

func repeat(v any, n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = v
	}
	return out
}

// JS-25: a name may not turn other text around.
func TestNamesAreCleaned(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		u := w.User(m{"name": "Asha \u202egro.elpmaxe\u202c\u0007"})
		w.Say(&u, "hi")
		if got := w.Tool("desk-one", "POST", "/tract/user/", m{"user_id": u.ID}).Want(t, 200).Text("user_name"); got != "Asha gro.elpmaxe" {
			t.Errorf("the name is %q", got)
		}
	})
}
