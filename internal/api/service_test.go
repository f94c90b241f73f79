package api_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"tract/internal/apitest"
	"tract/internal/sign"
)

func calling(method, path string, body any, headers ...string) func(w *apitest.World, u apitest.User) apitest.Answer {
	return func(w *apitest.World, _ apitest.User) apitest.Answer { return w.Call(method, path, body, headers...) }
}

func TestService(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		metrics := []string{"Authorization: Bearer scrape"}
		truths(t, w, nobody, []row{
			{name: "healthz", call: calling("GET", "/healthz", nil), status: 200, body: m{"status": "ok"}},
			{name: "healthz with a slash", call: calling("GET", "/healthz/", nil), status: 200},
			{name: "readyz", call: calling("GET", "/readyz", nil), status: 200, body: m{"status": "ready", "checks.store": "ok", "checks.bot": "ok", "checks.dispatcher": "ok"}},
			{name: "openapi.json", call: calling("GET", "/openapi.json", nil), status: 200, body: m{"openapi": "3.0.3"}},
			{name: "docs", call: calling("GET", "/docs", nil), status: 200},
			{name: "docs script", call: calling("GET", "/docs/reference.js", nil), status: 200},
			{name: "docs style", call: calling("GET", "/docs/reference.css", nil), status: 200},
			{name: "docs icon", call: calling("GET", "/docs/reference.svg", nil), status: 200},
			{name: "docs nothing", call: calling("GET", "/docs/passwd", nil), status: 404, code: "not_found"},
			{name: "docs above", call: calling("GET", "/docs/..%2f..%2fetc%2fpasswd", nil), status: 404, code: "not_found"},
			{name: "metrics without a token", call: calling("GET", "/metrics", nil), status: 401},
			{name: "metrics", call: calling("GET", "/metrics", nil, metrics...), status: 200},
			{name: "HT-04 unknown path", call: calling("GET", "/tract/nothing/", nil), status: 404, code: "not_found"},
			{name: "HT-04 unknown platform path", call: calling("GET", "/v1.0/nothing/", nil), status: 404, code: "not_found"},
			{name: "HT-04 wrong method", call: calling("PUT", send, nil), status: 405, code: "method_not_allowed"},
			{name: "HT-04 OPTIONS", call: calling("OPTIONS", send, nil), status: 204},
			{name: "HT-04 override", call: calling("GET", send, nil, "X-HTTP-Method-Override: POST"), status: 405, code: "method_not_allowed"},
			{name: "HT-05 double slash", call: calling("GET", "/tract//hooks/list/", nil), status: 404, code: "not_found"},
			{name: "HT-05 dots", call: calling("GET", "/tract/x/../hooks/list/", nil), status: 404, code: "not_found"},
			{name: "HT-12 wants HTML", call: calling("GET", "/tract/hooks/list/", nil, "Accept: text/html"), status: 401, code: "invalid_token"},
		})
		if a := w.Call("GET", "/healthz", nil, "X-Request-Id: abc.1-x_Y"); a.Header.Get("X-Request-Id") != "abc.1-x_Y" {
			t.Errorf("the caller's request id is not kept: %v", a.Header)
		}
		if a := w.Call("GET", "/healthz", nil, "X-Request-Id: a b"); a.Header.Get("X-Request-Id") == "a b" {
			t.Error("an unclean request id is kept")
		}
		for _, origin := range []string{"null", "https://good.example.evil.example"} { // HT-14
			if a := w.Call("GET", "/healthz", nil, "Origin: "+origin); a.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("origin %s is allowed: %v", origin, a.Header)
			}
		}
		if csp := w.Call("GET", "/docs", nil).Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'self'") {
			t.Errorf("policy of the docs: %q", csp)
		}
	}, func(s *apitest.Settings) { s.Server.MetricsToken = sign.Secret("scrape") })
}

func TestManifestAPI(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		admin := "Authorization: Bearer " + w.AdminToken
		exported := w.Call("GET", "/api/manifest/", nil, admin).Want(t, 200)
		if text := string(exported.Body); !strings.Contains(text, "desk-one.example") || strings.Contains(text, apitest.ChannelSecret) || strings.Contains(text, w.Token) {
			t.Errorf("exported: %s", text)
		}
		bundle := func(yaml string) m { return m{"name": "new.yaml", "manifest": yaml, "env": m{}, "files": m{}} }
		small := "version: 1\nclients:\n  - id: small\n    name: Small\n    desk: {enabled: true}\n    teams: [{name: All}]\n    businesses: [{id: 1, name: One}]\n"
		apply := func(query string, body any, headers ...string) func(*apitest.World, apitest.User) apitest.Answer {
			return calling("POST", "/api/manifest/"+query, body, append([]string{admin}, headers...)...)
		}
		truths(t, w, nobody, []row{
			{name: "dry run", call: apply("?dry_run=true", bundle(small)), status: 200, body: m{"changes.0.op": "+"}},
			{name: "apply", call: apply("", bundle(small)), status: 200, body: m{"changes.0.op": "+", "warnings": []any{}}},
			{name: "apply again", call: apply("", bundle(small)), status: 200, body: m{"changes": []any{}}},
			{name: "a wrong file", call: apply("", bundle("version: 1\nclients: [{id: x, nmae: y}]\n")), status: 400, code: "invalid_manifest"},
			{name: "not a bundle", call: apply("", m{"x": 1}), status: 400, code: "bundle"},
			{name: "dry_run a word", call: apply("?dry_run=perhaps", bundle(small)), status: 400, code: "invalid_parameter"},
			{name: "no token", call: calling("POST", "/api/manifest/", bundle(small)), status: 401, code: "invalid_token"},
			{name: "a client's token", call: calling("POST", "/api/manifest/", bundle(small), "Authorization: Bearer "+w.Token), status: 401, code: "invalid_token"},
			{name: "export without a token", call: calling("GET", "/api/manifest/", nil), status: 401, code: "invalid_token"},
			{name: "compressed", call: apply("", bundle(small), "Content-Encoding: gzip"), status: 415, code: "unsupported_media_type"},
		})
		a := apply("", bundle("version: 1\nclients: [{id: x, nmae: y}]\n"))(w, apitest.User{})
		if list, _ := a.At("problems").([]any); len(list) == 0 || !strings.HasPrefix(list[0].(string), "new.yaml:2:") {
			t.Errorf("problems: %s", a)
		}
	})
}

// The one-time link makes the first administrator, once.
func TestSetup(t *testing.T) {
	const typed = "Content-Type: application/x-www-form-urlencoded"
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		link, err := w.Server.SetupLink(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		token := strings.TrimPrefix(link, "/setup?token=")
		submit := func(token, email string) func(*apitest.World, apitest.User) apitest.Answer {
			return calling("POST", "/setup", "token="+token+"&name=Mia&email="+email+"&password=correct+horse+battery", typed)
		}
		truths(t, w, nobody, []row{
			{name: "the page", call: calling("GET", link, nil), status: 200},
			{name: "the first page", call: calling("GET", "/", nil), status: 200},
			{name: "without the link", call: calling("GET", "/setup", nil), status: 200},
			{name: "two links", call: calling("GET", "/setup?token=a&token=b", nil), status: 400},
			{name: "style", call: calling("GET", "/ui/base.css", nil), status: 200},
			{name: "no such file", call: calling("GET", "/ui/passwd", nil), status: 404, code: "not_found"},
			{name: "JSON", call: calling("POST", "/setup", m{}), status: 415},
			{name: "too large", call: calling("POST", "/setup", strings.Repeat("x", 9<<10), typed), status: 413},
			{name: "not an address", call: submit(token, "mia"), status: 400},
			{name: "a wrong link", call: submit("x", "mia@x.example"), status: 403},
		})
		page := string(submit(token, "mia@x.example")(w, apitest.User{}).Want(t, 200).Body)
		submit(token, "eve@x.example")(w, apitest.User{}).Want(t, 403)
		if again := w.Call("GET", link, nil).Want(t, 403); !strings.Contains(string(again.Body), "has its administrator") {
			t.Errorf("the link that was used shows: %s", again.Body)
		}
		works := false
		for _, word := range regexp.MustCompile(`[A-Za-z0-9_-]{20,}`).FindAllString(page, -1) {
			works = works || w.Call("GET", "/api/manifest/", nil, "Authorization: Bearer "+word).Status == 200
		}
		if !works {
			t.Errorf("the page holds no token that works: %s", page)
		}
	})
}

// A call over the limit of its token is refused and stores nothing; another
// client is not slowed.
func TestRateLimit(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		u := w.UserOf("acme", 344)
		limited := apitest.Answer{}
		accepted := 0
		for range 50 {
			if a := w.TrySay(u, "hi"); a.Status == 429 {
				limited = a
			} else if a.Status == 200 {
				accepted++
			}
		}
		if limited.Status != 429 || limited.Code() != "rate_limited" || limited.Header.Get("Retry-After") == "" || limited.Header.Get("RateLimit-Limit") == "" {
			t.Fatalf("HT-18 limited: %s %v", limited, limited.Header)
		}
		said := 0
		for _, e := range w.Log(u) {
			if e.Sender == "ceu" {
				said++
			}
		}
		if said != accepted {
			t.Errorf("%d messages accepted, %d stored", accepted, said)
		}
		w.UserOf("other", 900)
	}, func(s *apitest.Settings) { s.Server.RateLimit = 2 })
}

// The same key is the same call: once done, answered alike, for its caller and
// endpoint only.
func TestIdempotency(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive")
		u := w.ToDeskOne()
		key := "Idempotency-Key: k-1"
		body := m{"user_id": u.ID, "message_body": "once", "sender": "aeu"}
		first := w.Tool("desk-one", "POST", send, body, key).Want(t, 200)
		again := w.Tool("desk-one", "POST", "/tract/message/send", body, key).Want(t, 200)
		if string(first.Body) != string(again.Body) {
			t.Errorf("the answers differ: %s and %s", first, again)
		}
		if a := w.Tool("desk-one", "POST", send, with(body, m{"message_body": "other"}), key); a.Status != 422 || a.Code() != "idempotency_mismatch" {
			t.Errorf("HT-17 another body: %s", a)
		}
		// The same key of another caller and at another endpoint is another key.
		w.Tool("desk-two", "POST", send, body, key).Want(t, 403)
		w.Tool("desk-one", "POST", "/tract/events/send/", m{"user_id": u.ID, "category": "aeu_events", "subcategory": "received"}, key).Want(t, 200)
		// A refusal is not remembered.
		other := m{"user_id": u.ID, "message_body": "later", "sender": "aeu"}
		w.Tool("desk-two", "POST", send, other, "Idempotency-Key: k-2").Want(t, 403)
		w.Granted("desk-two", "take", u, "")
		w.Tool("desk-two", "POST", send, other, "Idempotency-Key: k-2").Want(t, 200)

		say := u.Message("and I once")
		x := w.Platform("POST", logMessage, say, key).Want(t, 200)
		y := w.Platform("POST", logMessage, say, key).Want(t, 200)
		if string(x.Body) != string(y.Body) {
			t.Errorf("the answers differ: %s and %s", x, y)
		}
		w.Platform("POST", logMessage, with(say, m{"message_body": "x"}), key).Want(t, 422)
		var said []string
		for _, e := range w.Log(u) {
			var el struct{ Text string }
			if e.Event == "" && json.Unmarshal([]byte(e.Body), &el) == nil {
				said = append(said, el.Text)
			}
		}
		if got := strings.Join(said, "|"); got != strings.Join([]string{apitest.Unanswerable, apitest.Handover, "once", "later", "and I once"}, "|") {
			t.Errorf("the log: %s", got)
		}
	})
}
