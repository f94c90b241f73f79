package api_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
)

func history(version, query string, headers ...string) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, u apitest.User) apitest.Answer {
		query := strings.NewReplacer("%U", u.Name, "%P", u.ID).Replace(query)
		return w.Platform("GET", "/integration/external/v"+version+"/get_chat_history/?"+query, nil, headers...)
	}
}

var lineTime = regexp.MustCompile(`^\d\d/\d\d/\d\d (0[1-9]|1[0-2]):\d\d:\d\d [AP]M UTC$`)

func TestTranscripts(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.Hooks("desk-two", "message/receive")
		u := w.User()
		w.Say(&u, "tell me about\nzanzibar\r\nplease{hidden}")
		w.Answered(u)
		w.Granted("desk-two", "take", u, "")
		w.Granted("desk-two", "pass", u, "desk-one")
		w.Write("desk-one", u, "Sure, here it is", m{"metadata": m{"agent": m{"name": "Mia"}}}).Want(t, 200)
		w.Write("desk-one", u, `{"text":"","type":"CAROUSEL","data":{"items":[]}}`, m{"sender": "ect"}).Want(t, 200)
		w.Event("desk-one", "conversation_state/complete", u, nil).Want(t, 200)
		w.Say(&u, apitest.Answerable)
		w.Answered(u)
		for version, agent := range map[string]func(string) string{"1.0": func(n string) string { return "agent(" + n + ")" }, "2.0": func(n string) string { return n }} {
			t.Run("v"+version, func(t *testing.T) {
				w := w.On(t)
				full := "business_id=343&user_name=%U&conversation_no=1"
				a := history(version, full)(w, u).Want(t, 200)
				var got []string
				var last int64
				list, _ := a.At("chat_json").([]any)
				for _, l := range list {
					line := l.(map[string]any)
					got = append(got, line["sender"].(string)+": "+line["text"].(string))
					if id := int64(line["message_id"].(float64)); id <= last {
						t.Errorf("ids do not increase: %s", a)
					} else {
						last = id
					}
					if at := line["timestamp"].(string); !lineTime.MatchString(at) {
						t.Errorf("timestamp %q", at)
					}
				}
				want := []string{"user: tell me about\nzanzibar\r\nplease{hidden}", "bot: " + apitest.Handover, agent("Mia") + ": Sure, here it is", agent("desk-one") + ": CAROUSEL"}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("as a list (-want +got):\n%s", diff)
				}
				asText := "user: tell me about zanzibar please{hidden}\nbot: " + apitest.Handover + "\n" + agent("Mia") + ": Sure, here it is\n" + agent("desk-one") + ": CAROUSEL\n"
				names := []string{"response_type"}
				if version == "1.0" {
					names = append(names, "respose_type")
				}
				for _, name := range names {
					if got := history(version, full+"&"+name+"=text")(w, u).Want(t, 200).At("chat_text"); got != asText {
						t.Errorf("%s=text: %q, want %q", name, got, asText)
					}
				}
				truths(t, w, func(*apitest.World) apitest.User { return u }, []row{
					{name: "the newest", call: history(version, full+"&limit=1"), status: 200, body: m{"chat_json.0.text": "CAROUSEL", "chat_json.1": nil}},
					{name: "before", call: func(w *apitest.World, u apitest.User) apitest.Answer {
						return history(version, full+"&limit=1&before="+itoa(last))(w, u)
					}, status: 200, body: m{"chat_json.0.text": "Sure, here it is", "chat_json.1": nil}},
					{name: "the second conversation", call: history(version, "business_id=343&user_name=%U&conversation_no=2"), status: 200, body: m{"chat_json.1.text": apitest.AnswerText, "chat_json.2": nil}},
					{name: "no such conversation", call: history(version, "business_id=343&user_name=%U&conversation_no=7"), status: 200, body: m{"chat_json": []any{}}},
					{name: "no such conversation as text", call: history(version, "business_id=343&user_name=%U&conversation_no=7&response_type=text"), status: 200, body: m{"chat_text": ""}},
					{name: "conversation 0", call: history(version, "business_id=343&user_name=%U&conversation_no=0"), status: 200, body: m{"chat_json": []any{}}},
					{name: "limit 0", call: history(version, full+"&limit=0"), status: 400, code: "invalid_limit"},
					{name: "limit 1001", call: history(version, full+"&limit=1001"), status: 400, code: "invalid_limit"},
					{name: "limit a word", call: history(version, full+"&limit=x"), status: 400, code: "invalid_limit"},
					{name: "before a word", call: history(version, full+"&before=x"), status: 400, code: "field_value"},
					{name: "unknown format", call: history(version, full+"&response_type=xml"), status: 400, code: "field_value"},
					{name: "a parameter twice", call: history(version, full+"&user_name=x"), status: 400, code: "invalid_parameter"},
					{name: "a body", call: bodied(version, m{"business_id": 343, "user_name": u.Name, "conversation_no": 1, "limit": 1}, ""), status: 200, body: m{"chat_json.0.text": "CAROUSEL"}},
					{name: "the query wins", call: bodied(version, m{"business_id": 343, "user_name": u.Name, "conversation_no": 1, "limit": 2}, "limit=1"), status: 200, body: m{"chat_json.1": nil}},
					{name: "a body with everything as strings", call: bodied(version, m{"business_id": "343", "user_name": u.Name, "conversation_no": "1", "limit": "1"}, ""), status: 200, body: m{"chat_json.0.text": "CAROUSEL"}},
					{name: "a bad body", call: func(w *apitest.World, u apitest.User) apitest.Answer {
						return w.Platform("GET", "/integration/external/v"+version+"/get_chat_history/", "{")
					}, status: 400, code: "invalid_json"},
				})
			})
		}
		silent := w.User()
		truths(t, w, func(*apitest.World) apitest.User { return u }, []row{
			{name: "v2 by pxut", call: history("2.0", "pxut=%P&conversation_no=1&limit=1"), status: 200, body: m{"chat_json.0.text": "CAROUSEL"}},
			{name: "v2 both groups", call: history("2.0", "business_id=343&user_name=%U&pxut=nonsense&conversation_no=1&limit=1"), status: 200, body: m{"chat_json.0.text": "CAROUSEL"}},
			{name: "v1 no client", call: history("1.0", "", "client-id:"), status: 401, code: "invalid_token", text: "invalid client_id"},
			{name: "v1 unknown client", call: history("1.0", "", "client-id: nobody"), status: 401, code: "invalid_token", text: "invalid client_id"},
			{name: "v1 wrong token", call: history("1.0", "", "Authorization: Bearer x"), status: 401, code: "invalid_token", text: "invalid token"},
			{name: "v1 no token", call: history("1.0", "", "Authorization:"), status: 401, code: "invalid_token", text: "invalid token"},
			{name: "v1 without the scope", call: func(w *apitest.World, u apitest.User) apitest.Answer {
				return history("1.0", "", "Authorization: Bearer "+w.Token+"-narrow")(w, u)
			}, status: 401, code: "invalid_token", text: "invalid token"},
			{name: "v1 no user_name", call: history("1.0", "business_id=343&conversation_no=1"), status: 400, code: "field_missing", text: "user_name missing"},
			{name: "v1 no business_id", call: history("1.0", "user_name=%U&conversation_no=1"), status: 400, code: "field_missing", text: "business_id missing"},
			{name: "v1 no conversation_no", call: history("1.0", "user_name=%U&business_id=343"), status: 400, code: "field_missing", text: "conversation_no missing"},
			{name: "v1 unknown user", call: history("1.0", "business_id=343&user_name=nobody&conversation_no=1"), status: 400, code: "invalid_user", text: "invalid user_name"},
			{name: "v1 silent user", call: history("1.0", "business_id=343&user_name="+silent.Name+"&conversation_no=1"), status: 400, code: "no_conversation", text: "user has not sent a message"},
			{name: "v1 conversation_no a word", call: history("1.0", "business_id=343&user_name=%U&conversation_no=one"), status: 400, code: "field_type"},
			{name: "v1 business_id a word", call: history("1.0", "business_id=abc&user_name=%U&conversation_no=1"), status: 400, code: "invalid_business"},
			{name: "v2 unknown client", call: history("2.0", "", "client-id: nobody"), status: 401, code: "invalid_token", text: "Invalid token"},
			{name: "v2 wrong token", call: history("2.0", "", "Authorization: Bearer x"), status: 401, code: "invalid_token", text: "Invalid token"},
			{name: "v2 no group", call: history("2.0", "conversation_no=1"), status: 400, code: "no_valid_group", text: "Argument group validation: no valid group.",
				body: m{"data": m{"group_1": m{"missing": []any{"business_id", "user_name"}}, "group_2": m{"missing": []any{"pxut"}}}}},
			{name: "v2 half a group", call: history("2.0", "user_name=%U&conversation_no=1"), status: 400, code: "no_valid_group"},
			{name: "v2 wrong type", call: history("2.0", "business_id=343&user_name=%U&conversation_no=one"), status: 400, code: "invalid_group", text: "Argument group validation: invalid group found.",
				body: m{"data": m{"group_1": m{"conversation_no": "must be a whole number"}}}},
			{name: "v2 wrong type in a body", call: bodied("2.0", m{"business_id": 343, "user_name": 5, "conversation_no": 1}, ""), status: 400, code: "invalid_group"},
			{name: "v2 business_id a word", call: history("2.0", "business_id=abc&user_name=%U&conversation_no=1"), status: 400, code: "invalid_business", text: "Invalid business_id"},
			{name: "v2 another client's business", call: history("2.0", "business_id=900&user_name=%U&conversation_no=1"), status: 400, code: "invalid_business", text: "Invalid business_id"},
			{name: "v2 unknown pxut", call: history("2.0", "pxut=tw389ysgd._aksdjknsk-545641964-B&conversation_no=2"), status: 400, code: "invalid_pxut", text: "Unable to decode pxut-client_id pair"},
			{name: "v2 silent user", call: history("2.0", "business_id=343&user_name="+silent.Name+"&conversation_no=1"), status: 400, code: "no_conversation",
				text: "Either the user has not sent a message yet, or the provided user_name-business_id pair is invalid."},
			{name: "v2 unknown user", call: history("2.0", "business_id=343&user_name=nobody&conversation_no=1"), status: 400, code: "no_conversation",
				text: "Either the user has not sent a message yet, or the provided user_name-business_id pair is invalid."},
		})
	})
}

func bodied(version string, body m, query string) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, _ apitest.User) apitest.Answer {
		return w.Platform("GET", "/integration/external/v"+version+"/get_chat_history/?"+query, body)
	}
}

// The hub's own messages are not part of a transcript.
func TestTranscriptLeavesOutTheSystem(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.ToDesk()
		if _, err := w.Do(u, systemSays("All colleagues are busy.")); err != nil {
			t.Fatal(err)
		}
		w.Channel.Wait(t, "the system's message", apitest.Saying(u, "All colleagues are busy."))
		a := history("2.0", "pxut=%P&conversation_no=1&response_type=text")(w, u).Want(t, 200)
		if strings.Contains(a.Text("chat_text"), "busy") {
			t.Errorf("transcript: %s", a)
		}
	})
}
