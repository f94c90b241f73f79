package api_test

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"tract/internal/apitest"
	"tract/internal/store"
)

// ids are identifiers by the name of their kind.
type ids map[string]string

// walled is an endpoint with the identifiers that a caller puts into a good call.
type walled struct {
	route  string
	fields []string
	call   func(w *apitest.World, id ids) apitest.Answer
}

var placeholder = regexp.MustCompile(`\{(\w+)\}`)

// wall makes the good call of an endpoint: {kind} in path and body stands for an
// identifier.
func wall(route, path, body string) walled {
	method, _, _ := strings.Cut(route, " ")
	out := walled{route: route}
	for _, f := range placeholder.FindAllStringSubmatch(path+body, -1) {
		out.fields = append(out.fields, f[1])
	}
	out.call = func(w *apitest.World, id ids) apitest.Answer {
		path := placeholder.ReplaceAllStringFunc(path, func(s string) string { return url.QueryEscape(id[s[1:len(s)-1]]) })
		filled := placeholder.ReplaceAllStringFunc(body, func(s string) string { return id[s[1:len(s)-1]] })
		switch {
		case strings.HasPrefix(path, "/tract/management"), strings.HasPrefix(path, "/jwt"):
			return w.Signed("desk-one", path, m{"client_id": id["client_id"]})
		case strings.HasPrefix(path, "/tract/") && body == "":
			return w.Tool("desk-one", method, path, nil)
		case strings.HasPrefix(path, "/tract/"):
			return w.Tool("desk-one", method, path, filled)
		case body == "":
			return w.Platform(method, path, nil)
		case strings.HasPrefix(body, "form:"):
			form, kind := formOf(strings.TrimPrefix(filled, "form:"))
			return w.Platform(method, path, form, "Content-Type: "+kind)
		}
		return w.Platform(method, path, filled)
	}
	return out
}

// formOf makes a multipart form of "name=value&…"; a name with an @ is a file.
func formOf(text string) (*bytes.Buffer, string) {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	for pair := range strings.SplitSeq(text, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if name, file, ok := strings.Cut(name, "@"); ok {
			part, _ := form.CreateFormFile(name, file)
			fmt.Fprint(part, value)
			continue
		}
		_ = form.WriteField(name, value)
	}
	form.Close()
	return &b, form.FormDataContentType()
}

// TestTenantsAreWalls: with an identifier of another client in the place of its
// own, a caller gets exactly the answer for one that does not exist. The matrix
// is every endpoint with every identifier that can be put into it.
func TestTenantsAreWalls(t *testing.T) {
	endpoints := []walled{
		wall("POST /tract/management/token/issue/", "/tract/management/token/issue/", "{client_id}"),
		wall("POST /jwt/issue/", "/jwt/issue/", "{client_id}"),
		wall("POST /tract/user/", "/tract/user/", `{"user_id": "{user_id}"}`),
		wall("POST /tract/user/details/", "/tract/user/details/", `{"user_id": "{user_id}", "details_requested": ["name"]}`),
		wall("POST /tract/message/send/", "/tract/message/send/", `{"user_id": "{user_id}", "message_body": "x", "sender": "ect"}`),
		wall("POST /tract/events/send/", "/tract/events/send/", `{"user_id": "{user_id}", "category": "aeu_events", "subcategory": "received"}`),
		wall("POST /tract/event/send/", "/tract/event/send/", `{"user_id": "{user_id}", "category": "aeu_events", "subcategory": "received"}`),
		wall("POST /tract/thread_control/listeners/", "/tract/thread_control/listeners/", `{"user_id": "{user_id}"}`),
		wall("POST /tract/thread_control/request/", "/tract/thread_control/request/", `{"user_id": "{user_id}", "type": "offer", "requester": "desk-one", "receiver": "{receiver}"}`),
		wall("GET /tract/thread_control/ledger/", "/tract/thread_control/ledger/?user_id={user_id}", ""),
		wall("GET /tract/feed/", "/tract/feed/?user_id={user_id}", ""),
		wall("POST /tract/deliveries/replay/", "/tract/deliveries/replay/", `{"delivery_ids": ["{delivery}"]}`),
		wall("PUT /v1.0/user/", "/v1.0/user/", `{"auth_id": "{auth_id}"}`),
		wall("POST /v1.0/log_message_from_user/", "/v1.0/log_message_from_user/", `{"user": {"auth_id": "{auth_id}"}, "message_body": "x", "business_id": {business_id}}`),
		wall("POST /v1.0/message/sync/", "/v1.0/message/sync/", `{"user": {"auth_id": "{auth_id}"}, "message_body": "x", "business_id": {business_id}}`),
		wall("POST /v1.0/webhook/", "/v1.0/webhook/", `{"enabled": true, "business_id": {business_id}}`),
		wall("POST /v1.0/log_feedback_from_user/", "/v1.0/log_feedback_from_user/", `{"auth_id": "{auth_id}", "business_id": {business_id}, "query_resolved": true, "query_rating": 5}`),
		wall("POST /v1.0/log_file_from_user/", "/v1.0/log_file_from_user/", "form:auth_id={auth_id}&business_id={business_id}&message_type=52&file@a.csv=a,b\n1,2\n"),
		wall("POST /integration/external/v1.0/send_chat_to_agent/", "/integration/external/v1.0/send_chat_to_agent/", `{"user_name": "{user_name}", "business_id": {business_id}, "team_name": "{team}"}`),
		wall("POST /integration/external/v2.0/send_chat_to_agent/", "/integration/external/v2.0/send_chat_to_agent/", `{"user_name": "{user_name}", "business_id": "{business_id}", "team_name": "{team}", "receiver": "{receiver2}"}`),
		wall("GET /integration/external/v1.0/get_chat_history/", "/integration/external/v1.0/get_chat_history/?user_name={user_name}&business_id={business_id}&conversation_no=1", ""),
		wall("GET /integration/external/v2.0/get_chat_history/", "/integration/external/v2.0/get_chat_history/?user_name={user_name}&business_id={business_id}&conversation_no=1", ""),
		wall("GET /integration/external/v2.0/get_chat_history/", "/integration/external/v2.0/get_chat_history/?pxut={user_id}&conversation_no=1", ""),
		wall("POST /mogambo_api/nodes/faq/create/", "/mogambo_api/nodes/faq/create/", "form:domain_name={domain}&csv_file@a.csv=node_name,question,answer\nA,what,That.\n"),
		wall("GET /mogambo_api/nodes/faq/create/status/{task_id}/", "/mogambo_api/nodes/faq/create/status/{task}/", ""),
		wall("GET /mogambo_api/nodes/faq/", "/mogambo_api/nodes/faq/?domain_name={domain}", ""),
		wall("POST /mogambo_api/nodes/faq/restore/", "/mogambo_api/nodes/faq/restore/", `{"domain_name": "{domain}", "node_names": ["A"]}`),
	}
	// These take no identifier: they are about the caller itself.
	own := []string{"POST /tract/management/clients/list/", "POST /tract/hooks/register/", "GET /tract/hooks/list/", "DELETE /tract/hooks/", "POST /tract/hooks/enable/", "POST /tract/hooks/test/", "GET /tract/deliveries/", "POST /v1.0/user/"}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		for _, route := range w.Server.Mux.Routes() {
			_, path, _ := strings.Cut(route, " ")
			first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
			known := slices.Contains(own, route) || slices.ContainsFunc(endpoints, func(e walled) bool { return e.route == route })
			if slices.Contains([]string{"tract", "jwt", "v1.0", "integration", "mogambo_api"}, first) && !known {
				t.Errorf("%s is not in the matrix", route)
			}
		}
		mine, theirs, nobodys := sides(t, w)
		for _, e := range endpoints {
			for _, field := range e.fields {
				t.Run(e.route+" "+field, func(t *testing.T) {
					w := w.On(t)
					before := w.Log(apitest.User{AuthID: theirs["auth_id"], Business: 900, Client: "other"})
					answer := func(value ids) string {
						id := ids{}
						for k, v := range mine {
							id[k] = v
						}
						id[field] = value[field]
						a := e.call(w, id)
						if a.Status/100 == 2 && a.At("reason") == nil {
							return "a success"
						}
						text := strings.ReplaceAll(string(a.Body), a.Text("request_id"), "")
						return fmt.Sprint(a.Status, strings.ReplaceAll(text, value[field], "ID"))
					}
					other, missing := answer(theirs), answer(nobodys)
					if diff := cmp.Diff(missing, other); diff != "" {
						t.Errorf("the answer for another client's (+) is not that for none (-):\n%s", diff)
					}
					if own := answer(mine); own != "a success" && !strings.Contains(own, "duplicate feedback") {
						t.Errorf("the good call is refused: %s", own)
					}
					if diff := cmp.Diff(before, w.Log(apitest.User{AuthID: theirs["auth_id"], Business: 900, Client: "other"})); diff != "" {
						t.Errorf("the other client's log changed:\n%s", diff)
					}
				})
			}
		}
	})
}

// sides gives the identifiers of the caller, of another client, and of nobody.
func sides(t *testing.T, w *apitest.World) (mine, theirs, nobodys ids) {
	t.Helper()
	w.Hooks("desk-one", "message/receive")
	// Something of the other client stands in every place.
	w.Apply(strings.Replace(w.Fixture(), "  - id: other\n    name: Other Ltd\n", "  - id: other\n    name: Other Ltd\n    desk: {enabled: true}\n    teams: [{name: Theirs}]\n"+
		"    external_chat_tools: [{id: their-desk, name: Their Desk, fqdn: their-desk.example, certificates: []}]\n", 1), noFlags)
	u := w.ToDeskOne()
	v := w.UserOf("other", 900)
	w.Say(&v, apitest.Answerable)
	w.Answered(v)
	w.Settle()
	upload := func(call func(method, path string, body any, headers ...string) apitest.Answer, domain string) string {
		form, kind := formOf("domain_name=" + domain + "&csv_file@a.csv=node_name,question,answer\nA,what,That.\n")
		return call("POST", "/mogambo_api/nodes/faq/create/", form, "Content-Type: "+kind).Want(t, 200).Text("body.task_id")
	}
	delivery := w.Tool("desk-one", "GET", "/tract/deliveries/?limit=1", nil).Want(t, 200).Text("deliveries.0.id")
	task := upload(w.Other, "other_faq")
	return ids{"client_id": "acme", "user_id": u.ID, "receiver": "sac", "receiver2": "desk-one", "delivery": delivery, "auth_id": u.AuthID, "business_id": "343", "user_name": u.Name, "team": "Support",
			"domain": "acme_import", "task": upload(w.Platform, "acme_import")},
		ids{"client_id": "other", "user_id": v.ID, "receiver": "their-desk", "receiver2": "their-desk", "delivery": channelDelivery(w, v), "auth_id": v.AuthID, "business_id": "900", "user_name": v.Name, "team": "Theirs",
			"domain": "other_faq", "task": task},
		ids{"client_id": "nobody", "user_id": strings.Repeat("A", 22), "receiver": "none-desk", "receiver2": "none-desk", "delivery": "dlv_9_9_9", "auth_id": "u-nobody", "business_id": "999", "user_name": "nobody", "team": "Nobody",
			"domain": "nobody_faq", "task": uuid.NewString()}
}

// channelDelivery is the id of a delivery to the other client's channel.
func channelDelivery(w *apitest.World, u apitest.User) (id string) {
	w.T.Helper()
	thread := w.Thread(u)
	w.View(func(tx *store.Tx) error {
		cfg, err := w.Server.Conversation.Config(tx, thread.Client)
		if err != nil {
			return err
		}
		d, err := tx.Delivery(store.LaneKey{Thread: thread.ID, Endpoint: cfg.Channels[u.Business]}, 1)
		id = d.ID()
		return err
	})
	return id
}

// Within one client, a tool sees only the threads of businesses it is attached to.
func TestBusinessesAreWalls(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		w.Hooks("desk-two", "message/receive")
		u := w.UserOf("acme", 344)
		w.Say(&u, "hi")
		for path, body := range map[string]m{
			"/tract/user/":                     {},
			"/tract/user/details/":             {"details_requested": []any{"name"}},
			"/tract/message/send/":             {"message_body": "x", "sender": "ect"},
			"/tract/events/send/":              {"category": "aeu_events", "subcategory": "received"},
			"/tract/thread_control/listeners/": {},
			"/tract/thread_control/request/":   {"type": "take", "requester": "desk-two"},
		} {
			there := w.Tool("desk-two", "POST", path, with(body, m{"user_id": u.ID}), "X-Request-Id: same")
			none := w.Tool("desk-two", "POST", path, with(body, m{"user_id": strings.Repeat("A", 22)}), "X-Request-Id: same")
			if there.Status != 404 || string(there.Body) != string(none.Body) {
				t.Errorf("%s: %s, for none %s", path, there, none)
			}
		}
		if got := w.Two.Got(apitest.About(u, "")); len(got) > 0 {
			t.Errorf("a tool that is not attached was called: %s", got[0].Raw)
		}
	})
}
