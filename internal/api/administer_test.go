package api_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
	"tract/internal/manifest"
	"tract/internal/store"
)

const acmeAPI = "/api/clients/acme/"

// life is an object of each kind: how it is made, changed, and what it becomes.
type life struct {
	kind, path, id string
	put            m // the least that it needs
	is             m // what then is stored, but for the key of its id
	patch          m
	becomes        m // the keys that the patch changes
}

func lives(w *apitest.World) []life {
	hook := w.Channel.URL("/new")
	return []life{
		{"bots", "bots/new_faq", "domain_name", m{}, m{"domain_name": "new_faq", "language": "en", "threshold": 0.5, "suggest_from": 0.25, "misunderstandings": 2.0, "welcome": "",
			"bot_break": "Sorry, I did not get that.", "handover": "Let me get a colleague.", "did_you_mean": "Did you mean:", "something_else": "Something else", "file_received": "Thank you, I have received your file. I cannot look into it myself.",
			"small_talk": m{"enabled": true, "greeting": "", "thanks": "", "bye": "", "more": []any{}}, "human_phrases": []any{}, "active": true},
			m{"threshold": 1, "welcome": "Hi <you> & all"}, m{"threshold": 1.0, "welcome": "Hi <you> & all"}},
		{"teams", "teams/R&D%20%2F%20EU", "name", m{"delay_after": "90s"}, m{"name": "R&D / EU", "offline_message": "", "delay_message": "", "delay_after": "1m30s", "recall_message": "", "recall_after": "4m0s", "complete_when_offline": false, "active": true},
			m{"delay_after": nil, "active": false}, m{"delay_after": "1m0s", "active": false}},
		{"agents", "agents/Ole@acme.example", "email", m{"name": "Ole", "teams": []string{"Support"}, "password": "correct horse battery"}, m{"email": "ole@acme.example", "name": "Ole", "role": "agent", "concurrency": 3.0, "teams": []any{"Support"}, "active": true},
			m{"role": "lead", "teams": []string{}}, m{"role": "lead", "teams": []any{}}},
		{"tools", "tools/desk-new", "id", m{"fqdn": "Desk-New.example"}, m{"id": "desk-new", "name": "desk-new", "fqdn": "desk-new.example", "certificates": []any{}, "ca_signed": false, "require_sha256": false,
			"permissions": m{"take": false, "request": false, "pass_to": "default"}, "deliver": "all", "history_on_handover": 0.0, "active": true},
			m{"permissions": m{"take": true}, "history_on_handover": 20}, m{"permissions": m{"take": true, "request": false, "pass_to": "default"}, "history_on_handover": 20.0}},
		{"businesses", "businesses/400", "id", m{"bot": "acme_faq", "external_chat_tools": []string{"desk-one"}, "channels": []m{{"platform": "webhook", "url": hook, "secret": "secret-of-400"}, {"platform": "websdk", "allowed_origins": []string{"https://acme.example"}}}},
			m{"id": 400.0, "name": "", "bot": "acme_faq", "human_assistance": false, "default_team": "", "default_receiver": "", "external_chat_tools": []any{"desk-one"}, "failover": []any{}, "failover_message": "", "ack_timeout": "1m0s", "handover_to": "", "release_after": "0s", "auto_complete_after": "8m0s", "external_bot": nil, "active": true,
				"channels": []any{m{"platform": "webhook", "url": hook}, m{"platform": "websdk", "allowed_origins": []any{"https://acme.example"}}}},
			m{"failover": []string{"desk-one"}, "ack_timeout": "5m"}, m{"failover": []any{"desk-one"}, "ack_timeout": "5m0s"}},
	}
}

// etag is the entity tag of an answer; there must be one.
func etag(t *testing.T, a apitest.Answer) string {
	t.Helper()
	tag := a.Header.Get("ETag")
	if len(tag) < 10 {
		t.Fatalf("no entity tag: %s %v", a, a.Header)
	}
	return tag
}

func TestObjectsLive(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		for _, l := range lives(w) {
			t.Run(l.kind, func(t *testing.T) { l.run(t, w.On(t)) })
		}
		t.Run("clients", func(t *testing.T) { clientLife(t, w.On(t)) })
	})
}

func (l life) run(t *testing.T, w *apitest.World) {
	path := acmeAPI + l.path
	w.Admin("GET", path, nil).Want(t, 404)
	w.Admin("PATCH", path, l.patch).Want(t, 404)
	lines := auditLines(t, w)
	made := w.Admin("PUT", path, l.put, "If-None-Match: *").Want(t, 201)
	if d := cmp.Diff(any(l.is), plainJSON(made)); d != "" {
		t.Errorf("made -want +got:\n%s", d)
	}
	first := etag(t, made)
	if a := w.Admin("PUT", path+"/", l.put).Want(t, 200); etag(t, a) != first || string(a.Body) != string(made.Body) {
		t.Errorf("the same again: %s %s", a, etag(t, a))
	}
	if n := auditLines(t, w); n != lines+1 {
		t.Errorf("%d audit lines for one change", n-lines)
	}
	changed := w.Admin("PATCH", path, l.patch, "If-Match: "+first, "Content-Type: application/merge-patch+json").Want(t, 200)
	want := with(l.is, l.becomes)
	if d := cmp.Diff(any(want), plainJSON(changed)); d != "" {
		t.Errorf("changed -want +got:\n%s", d)
	}
	second := etag(t, changed)
	if read := w.Admin("GET", path, nil).Want(t, 200); etag(t, read) != second || second == first || string(read.Body) != string(changed.Body) {
		t.Errorf("read: %s %s", read, etag(t, read))
	}
	// What was read can be written back, and says the same.
	if a := w.Admin("PUT", path, changed.Body, "If-Match: "+second, "Content-Type: application/json").Want(t, 200); etag(t, a) != second {
		t.Errorf("written back: %s", a)
	}
	if n := auditLines(t, w); n != lines+2 {
		t.Errorf("%d audit lines for two changes", n-lines)
	}
	found := false
	list, _ := w.Admin("GET", acmeAPI+l.kind+"?limit=100", nil).Want(t, 200).At(l.kind).([]any)
	for _, one := range list {
		found = found || cmp.Equal(one, any(want))
	}
	if !found {
		t.Errorf("the list does not have it: %v", list)
	}
	for _, one := range list { // what the list shows is what reading it shows
		id := fmt.Sprint(one.(map[string]any)[l.id])
		if l.id == "name" && strings.Contains(id, "/") {
			id = "R&D%20%2F%20EU"
		}
		if a := w.Admin("GET", acmeAPI+l.kind+"/"+id, nil).Want(t, 200); !cmp.Equal(plainJSON(a), one) {
			t.Errorf("%s in the list is %v, read it is %s", id, one, a)
		}
	}
	w.Admin("DELETE", path, nil, "If-Match: "+first).Want(t, 412)
	w.Admin("DELETE", path, nil, "If-Match: "+second).Want(t, 204)
	w.Admin("GET", path, nil).Want(t, 404)
	w.Admin("DELETE", path, nil).Want(t, 404)
	if n := auditLines(t, w); n != lines+3 {
		t.Errorf("%d audit lines for three changes", n-lines)
	}
}

func clientLife(t *testing.T, w *apitest.World) {
	body := m{"id": "fresh", "rate_limit": m{"per_client": m{"per_second": 7}}}
	made := w.Admin("POST", "/api/clients", body, "Idempotency-Key: c1").Want(t, 201)
	want := m{"id": "fresh", "name": "fresh", "active": true, "desk": m{"enabled": false, "assignment": "balanced"}, "rate_limit": m{"per_token": nil, "per_client": m{"per_second": 7.0, "burst": 14.0}}}
	if d := cmp.Diff(any(want), plainJSON(made)); d != "" || made.Header.Get("Location") != "/api/clients/fresh/" {
		t.Errorf("%v -want +got:\n%s", made.Header, d)
	}
	if again := w.Admin("POST", "/api/clients/", body, "Idempotency-Key: c1").Want(t, 201); string(again.Body) != string(made.Body) || again.Header.Get("Location") == "" {
		t.Errorf("again: %s", again)
	}
	w.Admin("POST", "/api/clients/", m{"id": "fresh2"}, "Idempotency-Key: c1").Want(t, 422)
	if a := w.Admin("POST", "/api/clients/", body).Want(t, 409); a.Code() != "client_exists" {
		t.Errorf("there is one: %s", a)
	}
	tag := etag(t, w.Admin("GET", "/api/clients/fresh", nil).Want(t, 200))
	a := w.Admin("PATCH", "/api/clients/fresh", m{"desk": m{"enabled": true}, "rate_limit": nil}, "If-Match: "+tag).Want(t, 200)
	if a.At("desk.enabled") != true || a.At("desk.assignment") != "balanced" || a.At("rate_limit.per_client") != nil {
		t.Errorf("patched: %s", a)
	}
	w.Admin("PUT", "/api/clients/fresh", m{}, "If-Match: "+tag).Want(t, 412)
	w.Admin("PUT", "/api/clients/second", m{"name": "Second"}, "If-None-Match: *").Want(t, 201)
	w.Admin("PUT", "/api/clients/fresh/teams/All", m{}).Want(t, 201)
	w.Admin("PUT", "/api/clients/fresh/businesses/1", m{"default_team": "All"}).Want(t, 201)
	// The desk is the only receiver of the business.
	if a := w.Admin("PATCH", "/api/clients/fresh", m{"desk": m{"enabled": false}}).Want(t, 400); a.Text("problems.0.path") != "businesses/1" {
		t.Errorf("without a receiver: %s", a)
	}
	var ids []string
	for _, c := range w.Admin("GET", "/api/clients/", nil).Want(t, 200).At("clients").([]any) {
		ids = append(ids, c.(map[string]any)["id"].(string))
	}
	if d := cmp.Diff([]string{"acme", "fresh", "other", "second"}, ids); d != "" {
		t.Error(d)
	}
	w.Admin("DELETE", "/api/clients/fresh", nil).Want(t, 204)
	w.Admin("GET", "/api/clients/fresh", nil).Want(t, 404)
	w.Admin("GET", "/api/clients/fresh/teams/", nil).Want(t, 404)
	w.Admin("DELETE", "/api/clients/fresh", nil).Want(t, 404)
	w.Admin("DELETE", "/api/clients/second", nil).Want(t, 204)
}

func plainJSON(a apitest.Answer) any {
	var v any
	if err := json.Unmarshal(a.Body, &v); err != nil {
		return string(a.Body)
	}
	return v
}

func auditLines(t *testing.T, w *apitest.World) (n int) {
	t.Helper()
	key := w.ClientKey("acme")
	w.View(func(tx *store.Tx) error {
		lines, err := tx.ListAudit(key, 100_000)
		n = len(lines)
		return err
	})
	return n
}

func TestObjectConditions(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		path := acmeAPI + "teams/Support"
		now := etag(t, w.Admin("GET", path, nil))
		put := func(headers ...string) func(*apitest.World, apitest.User) apitest.Answer {
			return func(w *apitest.World, _ apitest.User) apitest.Answer { return w.Admin("PUT", path, m{}, headers...) }
		}
		truths(t, w, nobody, []row{
			{name: "only create what is there", call: put("If-None-Match: *"), status: 412, code: "precondition_failed"},
			{name: "not that one", call: put("If-None-Match: " + now), status: 412, code: "precondition_failed"},
			{name: "not that one, weakly", call: put("If-None-Match: W/" + now), status: 412, code: "precondition_failed"},
			{name: "not another one", call: put(`If-None-Match: "x"`), status: 200},
			{name: "another one", call: put(`If-Match: "x"`), status: 412, code: "precondition_failed"},
			{name: "weak never matches", call: put("If-Match: W/" + now), status: 412, code: "precondition_failed"},
			{name: "this one", call: put("If-Match: " + now), status: 200},
			{name: "this one among others", call: put(`If-Match: "x", ` + now), status: 200},
			{name: "this one in two headers", call: put(`If-Match: "x"`, "+If-Match: "+now), status: 200},
			{name: "any", call: put("If-Match: *"), status: 200},
			{name: "bare", call: put("If-Match: x"), status: 400, code: "invalid_parameter"},
			{name: "open", call: put(`If-Match: "x`), status: 400, code: "invalid_parameter"},
			{name: "quote inside", call: put(`If-Match: "x"y"`), status: 400, code: "invalid_parameter"},
			{name: "empty", call: put(`If-Match: ,`), status: 400, code: "invalid_parameter"},
			{name: "any that is not there", call: func(w *apitest.World, _ apitest.User) apitest.Answer {
				return w.Admin("PUT", acmeAPI+"teams/None", m{}, "If-Match: *")
			}, status: 412, code: "precondition_failed"},
		})
		// Secrets are part of what is stored.
		for path, body := range map[string]m{
			acmeAPI + "agents/mia@acme.example": {"password": "another horse battery"},
			acmeAPI + "businesses/343":          {"channels": []m{{"platform": "webhook", "url": w.Channel.URL("/channel"), "secret": "another"}}},
		} {
			before := w.Admin("GET", path, nil).Want(t, 200)
			after := w.Admin("PATCH", path, body).Want(t, 200)
			if string(before.Body) != string(after.Body) || etag(t, before) == etag(t, after) {
				t.Errorf("%s: %s and %s, %s", path, before, after, etag(t, after))
			}
			if a := w.Admin("PATCH", path, body).Want(t, 200); etag(t, a) != etag(t, after) {
				t.Errorf("%s: the same secret again changed it", path)
			}
		}
	})
}

// Of many writers who saw the same, one wins; every one without a condition does.
func TestObjectRaces(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		const writers = 12
		for name, write := range map[string]func(i int, tag string) apitest.Answer{
			"PUT": func(i int, tag string) apitest.Answer {
				return w.Admin("PUT", acmeAPI+"teams/Support", m{"delay_after": fmt.Sprintf("%ds", 100+i)}, "If-Match: "+tag)
			},
			"PATCH": func(i int, tag string) apitest.Answer {
				return w.Admin("PATCH", acmeAPI+"teams/Support", m{"delay_message": fmt.Sprintf("n%d", i)}, "If-Match: "+tag)
			},
			"create": func(i int, _ string) apitest.Answer {
				return w.Admin("PUT", acmeAPI+"teams/Raced", m{"delay_after": fmt.Sprintf("%ds", 100+i)}, "If-None-Match: *")
			},
			"DELETE": func(_ int, tag string) apitest.Answer {
				return w.Admin("DELETE", acmeAPI+"teams/Closed", nil)
			},
		} {
			tag := etag(t, w.Admin("GET", acmeAPI+"teams/Support", nil))
			var won atomic.Int32
			lines := auditLines(t, w)
			apitest.Race(writers, func(i int) {
				switch a := write(i, tag); {
				case a.Status/100 == 2:
					won.Add(1)
				case a.Status != 412 && a.Status != 404:
					t.Errorf("%s: %s", name, a)
				}
			})
			if n := auditLines(t, w) - lines; won.Load() != 1 || n != 1 {
				t.Errorf("%s: %d won, %d audit lines", name, won.Load(), n)
			}
		}
		apitest.Race(writers, func(i int) {
			w.Admin("PATCH", acmeAPI+"teams/Billing", m{[]string{"delay_message", "offline_message", "recall_message"}[i%3]: "by all"}).Check(t, 200)
		})
		a := w.Admin("GET", acmeAPI+"teams/Billing", nil)
		for _, key := range []string{"delay_message", "offline_message", "recall_message"} {
			if a.Text(key) != "by all" {
				t.Errorf("a patch of %s was lost: %s", key, a)
			}
		}
	})
}

func TestMergePatch(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		path := acmeAPI + "tools/desk-two"
		tests := []struct {
			name, body string
			want       m
		}{
			{"nothing", `{}`, m{}},
			{"one key", `{"name": "Two"}`, m{"name": "Two"}},
			{"null is the default", `{"name": null}`, m{"name": "desk-two"}},
			{"null of what has none", `{"history_on_handover": null}`, m{"history_on_handover": 0.0}},
			{"inside an object", `{"permissions": {"take": false}}`, m{"permissions": m{"take": false, "request": true, "pass_to": "any"}}},
			{"null inside", `{"permissions": {"request": null}}`, m{"permissions": m{"take": false, "request": false, "pass_to": "any"}}},
			{"null for an object", `{"permissions": null}`, m{"permissions": m{"take": false, "request": false, "pass_to": "default"}}},
		}
		want := plainJSON(w.Admin("GET", path, nil)).(m)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				a := w.On(t).Admin("PATCH", path, tt.body, "Content-Type: application/json").Want(t, 200)
				want = with(want, tt.want)
				if d := cmp.Diff(any(want), plainJSON(a)); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
			})
		}
	})
}

func TestBadObjects(t *testing.T) {
	channel := func(c string) string { return `{"bot": "acme_faq", "channels": [` + c + `]}` }
	tests := []struct {
		name, path, body string
		code, problem    string // the path of the first problem
	}{
		{"not JSON", "bots/b", `{`, "invalid_json", ""},
		{"a list", "bots/b", `[]`, "object_expected", ""},
		{"null", "bots/b", `null`, "object_expected", ""},
		{"doubled key", "bots/b", `{"language": "en", "Language": "en"}`, "duplicate_member", ""},
		{"unknown key", "bots/b", `{"langauge": "en"}`, "invalid_configuration", "langauge"},
		{"wrong type", "bots/b", `{"threshold": "0.5"}`, "invalid_configuration", "threshold"},
		{"out of range", "bots/b", `{"threshold": 1.5}`, "invalid_configuration", "threshold"},
		{"a variable is no variable", "bots/b", `{"language": "${HOME}"}`, "invalid_configuration", "language"},
		{"another id", "bots/b", `{"domain_name": "c"}`, "invalid_configuration", "domain_name"},
		{"no id", "bots/b%20c", `{}`, "invalid_configuration", "domain_name"},
		{"a file", "bots/b", `{"faq": "/etc/passwd"}`, "invalid_configuration", "faq"},
		{"a file as a certificate", "tools/t", `{"fqdn": "t.example", "certificates": [{"file": "/etc/passwd"}]}`, "invalid_configuration", "certificates[0].file"},
		{"a certificate that cannot prove it", "tools/t", `{"fqdn": "t.example", "certificates": [{"pem": "PEM"}]}`, "invalid_configuration", "certificates[0].pem"},
		{"no fqdn", "tools/t", `{}`, "invalid_configuration", "fqdn"},
		{"fqdn in use", "tools/t", `{"fqdn": "desk-one.example"}`, "invalid_configuration", "fqdn"},
		{"the bot's own id", "tools/iva", `{"fqdn": "t.example"}`, "invalid_configuration", "id"},
		{"inside an object", "tools/t", `{"fqdn": "t.example", "permissions": {"take": 1}}`, "invalid_configuration", "permissions.take"},
		{"no such team", "agents/a@b.example", `{"teams": ["Support", "Suport"]}`, "invalid_configuration", "teams[1]"},
		{"no e-mail", "agents/a", `{}`, "invalid_configuration", "email"},
		{"short password", "agents/a@b.example", `{"password": ""}`, "invalid_configuration", "password"},
		{"duration", "teams/T", `{"delay_after": 60}`, "invalid_configuration", "delay_after"},
		{"name with a space", "teams/%20T", `{}`, "invalid_configuration", "name"},
		{"no number", "businesses/x", `{"bot": "acme_faq"}`, "invalid_configuration", "id"},
		{"another spelling", "businesses/0400", `{"bot": "acme_faq"}`, "invalid_configuration", "id"},
		{"no such bot", "businesses/400", `{"bot": "acme_fq"}`, "invalid_configuration", "bot"},
		{"no such tool", "businesses/400", `{"bot": "acme_faq", "external_chat_tools": ["desk"]}`, "invalid_configuration", "external_chat_tools[0]"},
		{"no such receiver", "businesses/400", `{"bot": "acme_faq", "failover": ["desk-one"]}`, "invalid_configuration", "failover[0]"},
		{"platform", "businesses/400", channel(`{"platform": "pigeon"}`), "invalid_configuration", "channels[0].platform"},
		{"url", "businesses/400", channel(`{"platform": "webhook", "url": "ftp://x"}`), "invalid_configuration", "channels[0].url"},
		{"needed secret", "businesses/400", channel(`{"platform": "whatsapp", "phone_number_id": "1", "access_token": "a", "app_secret": "b"}`), "invalid_configuration", "channels[0].verify_token"},
		{"another platform's key", "businesses/400", channel(`{"platform": "websdk", "url": "https://x.example"}`), "invalid_configuration", "channels[0].url"},
		{"a list with the client", "", `{"bots": []}`, "invalid_configuration", "bots"},
		{"rate", "", `{"rate_limit": {"per_client": {"per_second": 0}}}`, "invalid_configuration", "rate_limit.per_client.per_second"},
		{"rate without its number", "", `{"rate_limit": {"per_token": {"burst": 3}}}`, "invalid_configuration", "rate_limit.per_token.per_second"},
		{"others without a receiver", "", `{"desk": {"enabled": false}}`, "invalid_configuration", "businesses/347"},
	}
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Admin("PUT", acmeAPI+"businesses/347", m{"name": "desk only"}).Want(t, 201)
		before := w.Admin("GET", "/api/manifest/", nil)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				body := strings.ReplaceAll(tt.body, "PEM", strings.ReplaceAll(string(apitest.CertPEM("desk-one")), "\n", `\n`))
				a := w.On(t).Admin("PUT", acmeAPI+tt.path, body, "Content-Type: application/json").Want(t, 400)
				if a.Code() != tt.code || a.Text("problems.0.path") != tt.problem || !strings.Contains(a.Message(), tt.problem) {
					t.Errorf("%s", a)
				}
			})
		}
		w.Admin("PUT", acmeAPI+"bots/b", `{}`, "Content-Type: text/plain").Want(t, 415)
		w.Admin("PUT", acmeAPI+"bots/b", `{}`, "Content-Type: application/merge-patch+json").Want(t, 415)
		w.Admin("PUT", acmeAPI+"bots/b", strings.Repeat(" ", 257<<10), "Content-Type: application/json").Want(t, 413)
		if after := w.Admin("GET", "/api/manifest/", nil); string(after.Body) != string(before.Body) {
			t.Errorf("something was stored:\n%s", cmp.Diff(string(before.Body), string(after.Body)))
		}
	})
}

func TestInUse(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		tests := []struct {
			path string
			by   []any
		}{
			{"bots/acme_faq", []any{"businesses/343.bot", "businesses/345.bot", "businesses/346.bot"}},
			{"teams/Support", []any{"agents/mia@acme.example.teams[0]", "businesses/343.default_team"}},
			{"tools/desk-one", []any{"businesses/343.external_chat_tools[0]", "businesses/344.external_chat_tools[0]"}},
		}
		for _, tt := range tests {
			a := w.Admin("DELETE", acmeAPI+tt.path, nil).Want(t, 409)
			if d := cmp.Diff(any(tt.by), a.At("referred_by")); d != "" || a.Code() != "in_use" {
				t.Errorf("%s: %s\n%s", tt.path, a, d)
			}
			w.Admin("GET", acmeAPI+tt.path, nil).Want(t, 200)
		}
		w.Admin("DELETE", acmeAPI+"businesses/344", nil).Want(t, 204)
		w.Admin("DELETE", acmeAPI+"teams/Closed", nil).Want(t, 204)
	})
}

// What belongs to another client looks like what does not exist.
func TestAdministrationWalls(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		hooks := w.Admin("GET", acmeAPI+"tools/desk-one/hooks", nil).Want(t, 200)
		channels := w.Admin("GET", acmeAPI+"businesses/343/channels", nil).Want(t, 200)
		hook, channel := hooks.Int("hooks.0.id"), channels.Int("channels.0.id")
		if hook == 0 || channel == 0 {
			t.Fatalf("%s %s", hooks, channels)
		}
		token := w.Admin("GET", acmeAPI+"tokens", nil).Text("tokens.0.id")
		w.Admin("PUT", "/api/clients/other/tools/desk-one", m{"fqdn": "desk-one.example"}).Want(t, 201)
		// The path below the client other, with acme's id (%s) in it.
		for path, own := range map[string]string{
			"bots/%s": "acme_faq", "teams/%s": "Support", "agents/%s": "mia@acme.example", "tools/%s": "desk-two", "businesses/%s": "343", "tokens/%s": token,
			"tools/desk-one/certificates/%s": apitest.CertUUID("desk-one"), "tools/desk-one/hooks/%s": fmt.Sprint(hook), "tools/desk-one/hooks/%s/enable": fmt.Sprint(hook), "tools/desk-one/hooks/%s/test": fmt.Sprint(hook),
			"businesses/900/channels/%s/disable": fmt.Sprint(channel), "tools/%s/tokens": "desk-two", "tools/%s/hooks": "desk-two", "businesses/%s/channels": "343",
		} {
			for _, method := range []string{"GET", "DELETE", "POST"} {
				answer := func(id string) apitest.Answer {
					a := w.Admin(method, "/api/clients/other/"+fmt.Sprintf(path, id), nil)
					a.Body = []byte(strings.ReplaceAll(string(a.Body), id, "ID"))
					a.Body = []byte(strings.ReplaceAll(string(a.Body), a.Header.Get("X-Request-Id"), "REQUEST"))
					return a
				}
				theirs, none := answer(own), answer("77777777")
				if theirs.Status != 404 && theirs.Status != 405 || theirs.String() != none.String() {
					t.Errorf("%s %s: %s, but what does not exist is %s", method, path, theirs, none)
				}
			}
		}
		if a := w.Admin("GET", acmeAPI+"tools/desk-one/hooks/"+fmt.Sprint(hook), nil).Want(t, 200); a.At("enabled") != true {
			t.Errorf("%s", a)
		}
	})
}

// Nobody but an administrator gets through, whatever the path.
func TestAdministrationNeedsItsToken(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		n := 0
		for _, route := range apitest.Described() {
			method, path, _ := strings.Cut(route, " ")
			if !strings.HasPrefix(path, "/api/") {
				continue
			}
			n++
			path = placeholder.ReplaceAllString(path, "acme")
			for name, header := range map[string]string{
				"nobody": "X: y", "a client": "Authorization: Bearer " + w.Token, "a tool": "Authorization: Bearer " + w.JWT("desk-one"), "a wrong one": "Authorization: Bearer x", "basic": "Authorization: Basic " + w.AdminToken,
			} {
				if a := w.Call(method, path, nil, header); a.Status != http.StatusUnauthorized || a.Code() != "invalid_token" {
					t.Errorf("%s by %s: %s", route, name, a)
				}
			}
		}
		if n < 40 {
			t.Errorf("only %d routes", n)
		}
	})
}

// What was written here is what a file would have said.
func TestRESTAndFileSayTheSame(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Admin("POST", "/api/clients/", m{"id": "rest", "name": "Rest & Co", "desk": m{"enabled": true, "assignment": "speedy"}, "rate_limit": m{"per_token": m{"per_second": 5, "burst": 9}}}).Want(t, 201)
		for _, step := range []struct {
			path string
			body m
		}{
			{"teams/A%20B", m{"delay_after": "30s"}}, {"bots/rest_faq", m{"language": "de", "threshold": 0.25, "small_talk": m{"bye": "Servus!", "more": []any{m{"said": []any{"wer bist du"}, "answer": "Ein Bot."}}}, "human_phrases": []any{"Chef holen"}}},
			{"tools/x", m{"fqdn": "x.example", "permissions": m{"take": true}, "history_on_handover": 5}},
			{"agents/a@b.example", m{"teams": []string{"A B"}, "password": "correct horse battery", "role": "admin"}},
			{"businesses/9", m{"name": "Neun", "bot": "rest_faq", "external_chat_tools": []string{"x"}, "failover": []string{"x"}, "default_team": "A B", "channels": []m{{"platform": "webhook", "url": w.Channel.URL("/r"), "secret": "s"}, {"platform": "whatsapp", "phone_number_id": "5", "access_token": "a", "app_secret": "b", "verify_token": "c"}}}},
		} {
			w.Admin("PUT", "/api/clients/rest/"+step.path, step.body).Want(t, 201)
		}
		w.Admin("POST", "/api/clients/rest/tokens", m{"name": "kms", "value": "v-" + w.Token, "scopes": []string{"faq"}, "expires_at": "2100-01-01T00:00:00Z"}).Want(t, 201)
		w.Apply(fmt.Sprintf(`version: 1
clients:
  - id: file
    name: "Rest & Co"
    desk: {enabled: true, assignment: speedy}
    rate_limit: {per_token: {per_second: 5, burst: 9}}
    tokens: [{name: kms, scopes: [faq], expires_at: "2100-01-01T00:00:00Z"}]
    bots: [{domain_name: rest_faq, language: de, threshold: 0.25, small_talk: {bye: "Servus!", more: [{said: [wer bist du], answer: Ein Bot.}]}, human_phrases: [Chef holen]}]
    teams: [{name: "A B", delay_after: 30s}]
    agents: [{email: a2@b.example, name: a@b.example, teams: ["A B"], role: admin}]
    external_chat_tools: [{id: x, fqdn: x.example, permissions: {take: true}, history_on_handover: 5}]
    businesses: [{id: 9, name: Neun, bot: rest_faq, external_chat_tools: [x], failover: [x], default_team: "A B", channels: [{platform: webhook, url: %q, secret: s}, {platform: whatsapp, phone_number_id: "5", access_token: a, app_secret: b, verify_token: c}]}]
`, w.Channel.URL("/r")), manifest.Flags{})
		parts := map[string]string{}
		for part := range strings.SplitSeq(string(w.Admin("GET", "/api/manifest/", nil).Want(t, 200).Body), "\n  - id: ") {
			id, rest, _ := strings.Cut(part, "\n")
			parts[id] = rest
		}
		if d := cmp.Diff(strings.TrimSpace(strings.ReplaceAll(parts["file"], "a2@b.example", "a@b.example")), strings.TrimSpace(parts["rest"])); d != "" {
			t.Errorf("-file +rest:\n%s", d)
		}
	})
}

// HT-03: what was there when the first page was read comes once, whatever is
// added or removed meanwhile.
func TestPagesWhileRowsComeAndGo(t *testing.T) {
	const rows = 10_000
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Admin("POST", "/api/clients/", m{"id": "many"}).Want(t, 201)
		key := w.ClientKey("many")
		name := func(i int) string { return fmt.Sprintf("t%06d", i) }
		put := func(tx *store.Tx, i int) error {
			return tx.PutDocument(key, store.KindTeam, name(i), "", m{"name": name(i), "delay_after": "1s", "recall_after": "1s"})
		}
		w.Update(func(tx *store.Tx) error {
			for i := range rows {
				if err := put(tx, 10*i); err != nil {
					return err
				}
			}
			return nil
		})
		seen, cursor, page, gone := map[string]int{}, "", 0, map[string]bool{}
		for {
			a := w.Admin("GET", "/api/clients/many/teams/?limit=100"+cursor, nil).Want(t, 200)
			list := a.At("teams").([]any)
			for _, one := range list {
				seen[one.(map[string]any)["name"].(string)]++
			}
			next := a.Text("next_cursor")
			if next == "" {
				break
			}
			cursor = "&cursor=" + next
			page++
			// Before and behind the cursor: rows that come, the last one read and one to come that go.
			w.Update(func(tx *store.Tx) error {
				for _, i := range []int{10*100*page - 55, 10*100*page + 55} {
					if err := put(tx, i); err != nil {
						return err
					}
				}
				for _, i := range []int{10 * (100*page - 1), 10 * (100*page + 70)} {
					gone[name(i)] = true
					if err := tx.DeleteDocument(key, store.KindTeam, name(i)); err != nil {
						return err
					}
				}
				return nil
			})
		}
		for i := range rows {
			if n := seen[name(10*i)]; n > 1 || n == 0 && !gone[name(10*i)] {
				t.Errorf("row %d came %d times", i, n)
			}
		}
		if page < 99 {
			t.Errorf("only %d pages", page)
		}
	})
}

func TestListParameters(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		lists := []string{"/api/clients/", acmeAPI + "bots", acmeAPI + "teams", acmeAPI + "agents", acmeAPI + "tools", acmeAPI + "businesses", acmeAPI + "tokens", acmeAPI + "tools/desk-one/certificates", acmeAPI + "audit"}
		first := w.Admin("GET", acmeAPI+"teams?limit=1", nil).Want(t, 200)
		foreign := first.Text("next_cursor")
		if foreign == "" {
			t.Fatalf("no next page: %s", first)
		}
		for _, list := range lists {
			for query, code := range map[string]string{
				"limit=0": "invalid_limit", "limit=-1": "invalid_limit", "limit=101": "invalid_limit", "limit=1000000000": "invalid_limit", "limit=abc": "invalid_limit", "limit=1e2": "invalid_limit", "limit=%EF%BC%91%EF%BC%90": "invalid_limit", "limit=1&limit=1": "invalid_limit",
				"cursor=" + foreign[:10]: "invalid_cursor", "cursor=" + strings.Repeat("a", 1500): "invalid_cursor", "cursor=" + foreign: "invalid_cursor", "cursor=": "invalid_cursor", "cursor=a&cursor=a": "invalid_parameter",
			} {
				if query == "cursor="+foreign && strings.HasSuffix(list, "teams") {
					continue // its own
				}
				if a := w.Admin("GET", list+"?"+query, nil); a.Status != 400 || a.Code() != code {
					t.Errorf("HT-01 HT-02 %s?%.60s: %s", list, query, a)
				}
			}
		}
		// Page by page it is the same as at once.
		for _, list := range lists {
			var all []any
			name := list[strings.LastIndexByte(strings.TrimSuffix(list, "/"), '/')+1:]
			name = strings.TrimSuffix(name, "/")
			if name == "audit" {
				name = "entries"
			}
			cursor := ""
			for {
				a := w.Admin("GET", list+"?limit=1"+cursor, nil).Want(t, 200)
				page, _ := a.At(name).([]any)
				if all = append(all, page...); a.Text("next_cursor") == "" {
					break
				}
				cursor = "&cursor=" + a.Text("next_cursor")
			}
			at, _ := w.Admin("GET", list+"?limit=100", nil).Want(t, 200).At(name).([]any)
			if d := cmp.Diff(at, all); d != "" || len(all) == 0 {
				t.Errorf("%s: %d items\n%s", list, len(all), d)
			}
		}
	})
}
