package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tract/internal/apitest"
	"tract/internal/store"
)

func TestUnanswered(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		admin := "Authorization: Bearer " + w.AdminToken
		path := "/api/clients/acme/bots/acme_faq/unanswered"
		for _, said := range []string{"do you repair old blenders", "can you repair my old blender", "zanzibar zeppelins", "Do you repair old blenders?"} {
			u := w.UserOf("acme", 346)
			w.Say(&u, said)
			w.Answered(u)
		}
		list := w.Call("GET", path, nil, admin).Want(t, http.StatusOK)
		if list.Int("clusters") != 2 || list.Int("questions") != 4 || list.At("next_cursor") != nil || list.Text("unanswered.0.question") != "do you repair old blenders" ||
			list.Int("unanswered.0.count") != 3 || list.Int("unanswered.0.did.broke") != 3 || list.Int("unanswered.0.examples.0.count") != 2 || list.Text("unanswered.0.nearest_steps.0.step") == "" {
			t.Fatalf("list %s", list.Body)
		}
		page := w.Call("GET", path+"/?limit=1", nil, admin).Want(t, http.StatusOK)
		next := page.Text("next_cursor")
		if rest := w.Call("GET", path+"/?limit=1&cursor="+next, nil, admin).Want(t, http.StatusOK); rest.Text("unanswered.0.question") != "zanzibar zeppelins" || rest.At("next_cursor") != nil {
			t.Errorf("second page %s", rest.Body)
		}
		id := list.Int("unanswered.0.id")
		resolve := fmt.Sprintf("%s/%d/resolve", path, id)
		add := m{"add_to_step": "Nothing"}
		truths(t, w, nobody, []row{
			{name: "no token", call: calling("GET", path, nil), status: 401, code: "invalid_token"},
			{name: "a client's token", call: calling("GET", path, nil, "Authorization: Bearer "+w.Token), status: 401, code: "invalid_token"},
			{name: "no such client", call: calling("GET", strings.Replace(path, "acme/", "nobody/", 1), nil, admin), status: 404, code: "not_found"},
			{name: "another client's bot", call: calling("GET", strings.Replace(path, "acme/", "other/", 1), nil, admin), status: 404, code: "not_found"},
			{name: "limit", call: calling("GET", path+"?limit=101", nil, admin), status: 400, code: "invalid_limit"},
			{name: "cursor", call: calling("GET", path+"?cursor=x", nil, admin), status: 400, code: "invalid_cursor"},
			{name: "another list's cursor", call: calling("GET", strings.Replace(path, "acme_faq", "acme_import", 1)+"?cursor="+next, nil, admin), status: 400, code: "invalid_cursor"},
			{name: "resolve without a token", call: calling("POST", resolve, add), status: 401, code: "invalid_token"},
			{name: "resolve in no way", call: calling("POST", resolve, m{}, admin), status: 400, code: "field_value"},
			{name: "resolve in two ways", call: calling("POST", resolve, m{"dismiss": true, "add_to_step": "A"}, admin), status: 400, code: "field_value"},
			{name: "no such step", call: calling("POST", resolve, add, admin), status: 400, code: "unknown_step"},
			{name: "no such question", call: calling("POST", path+"/1/resolve/", m{"dismiss": true}, admin), status: 404, code: "not_found"},
			{name: "no number", call: calling("POST", path+"/x/resolve/", m{"dismiss": true}, admin), status: 404, code: "not_found"},
			{name: "a step without answers", call: calling("POST", resolve, m{"new_step": m{"name": "A", "answers": []string{}}}, admin), status: 400, code: "field_missing"},
		})
		body := m{"new_step": m{"name": "Repairs", "answers": []string{"We mend it."}}}
		var first apitest.Answer
		for range 2 { // the second is answered from memory
			first = w.Call("POST", resolve+"/", body, admin, "Idempotency-Key: once").Want(t, http.StatusOK)
			if first.Int("removed") != 3 || first.Int("added") != 2 || first.Text("step") != "Repairs" {
				t.Fatalf("resolved %s", first.Body)
			}
		}
		w.Call("POST", resolve, body, admin).Want(t, http.StatusNotFound)
		w.Until("the bot is trained", func(*store.Tx) (bool, error) {
			u := w.UserOf("acme", 346)
			w.Say(&u, "do you repair old blenders")
			w.Answered(u)
			log := w.Log(u)
			return strings.Contains(log[len(log)-1].Body, "We mend it."), nil
		})
	})
}

// A channel may send the hidden message of a quick reply, or only what was shown.
func TestSuggestionsOnTheChannel(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.UserOf("acme", 346)
		last := func() store.Entry {
			t.Helper()
			w.Answered(u)
			log := w.Log(u)
			return log[len(log)-1]
		}
		choices := func() (texts, hidden []string) {
			t.Helper()
			var e struct {
				Data struct {
					QuickReplies []struct {
						Payload struct {
							Message     string
							GogoMessage string `json:"gogo_message"`
						}
					} `json:"quick_replies"`
				}
			}
			if err := json.Unmarshal([]byte(last().Body), &e); err != nil || len(e.Data.QuickReplies) < 2 {
				t.Fatalf("no suggestion: %s", last().Body)
			}
			for _, r := range e.Data.QuickReplies {
				texts, hidden = append(texts, r.Payload.Message), append(hidden, r.Payload.GogoMessage)
			}
			return texts, hidden
		}
		w.Say(&u, "delivery time")
		_ = last()
		answer := last().Body
		for _, how := range []string{"shown", "hidden", "number"} {
			w.Say(&u, "delivery time")
			texts, hidden := choices()
			said := map[string]string{"shown": texts[0], "number": "1", "hidden": `{"text":"` + texts[0] + `","type":"TEXT","data":{"gogo_message":"` + hidden[0] + `"}}`}[how]
			w.Say(&u, said)
			if got := last().Body; strings.Contains(got, "quick_replies") || got == answer {
				t.Errorf("%s: %s", how, got)
			}
		}
	}, func(s *apitest.Settings) {
		s.Fixture = func(yaml string) string {
			return strings.Replace(yaml, `language: en, welcome: ""`, `language: en, threshold: 1, suggest_from: 0.01, welcome: ""`, 1)
		}
	})
}
