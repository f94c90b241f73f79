package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/apitest"
	"tract/internal/manifest"
	"tract/internal/store"
	"tract/internal/web"
)

// knows says whether a client's token gets through.
func knows(w *apitest.World, token string) bool {
	a := w.Call("GET", "/mogambo_api/nodes/faq/?domain_name=acme_faq", nil, "client-id: acme", "Authorization: Bearer "+token)
	return a.Status == http.StatusOK
}

func TestTokens(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		path := acmeAPI + "tokens"
		body := m{"name": "kms one", "scopes": []string{"transfer", "faq"}, "expires_at": "2100-01-01T00:00:00+01:00"}
		made := w.Admin("POST", path, body, "Idempotency-Key: t1").Want(t, 201)
		value := made.Text("value")
		if len(value) < 40 || !knows(w, value) {
			t.Fatalf("the token does not work: %s", made)
		}
		if made.Text("token.expires_at") != "2099-12-31T23:00:00.000000Z" || !cmp.Equal(made.At("token.scopes"), any([]any{"faq", "transfer"})) {
			t.Errorf("%s", made)
		}
		again := w.Admin("POST", path+"/", body, "Idempotency-Key: t1").Want(t, 201)
		if string(again.Body) != string(made.Body) {
			t.Errorf("the answers differ: %s and %s", made, again)
		}
		// The answer is remembered, but not what it shows.
		req, err := http.NewRequest("POST", path, bytes.NewReader(nil))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Idempotency-Key", "t1")
		sent, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		key, err := (&web.Idempotency{Store: w.Store}).Key(req, sent, "admin", "admin", path)
		if err != nil {
			t.Fatal(err)
		}
		w.Update(func(tx *store.Tx) error {
			a, known, err := key.Replay(tx)
			if !known || strings.Contains(string(a.Body), value) || !strings.Contains(string(a.Body), "kms one") {
				t.Errorf("remembered %v: %s", known, a.Body)
			}
			return err
		})
		truths(t, w, nobody, []row{
			{name: "the name again", call: admin("POST", path, body), status: 409, code: "token_exists"},
			{name: "its value again", call: admin("POST", path, m{"name": "x", "value": value}), status: 400, code: "invalid_configuration"},
			{name: "another client's value", call: admin("POST", path, m{"name": "x", "value": w.OtherToken}), status: 400, code: "invalid_configuration"},
			{name: "no name", call: admin("POST", path, m{}), status: 400, code: "invalid_configuration", body: m{"problems.0.path": "name"}},
			{name: "scope", call: admin("POST", path, m{"name": "x", "scopes": []string{"fag"}}), status: 400, code: "invalid_configuration", body: m{"problems.0.path": "scopes[0]"}},
			{name: "expired", call: admin("POST", path, m{"name": "x", "expires_at": "2020-01-01T00:00:00Z"}), status: 400, code: "invalid_configuration", body: m{"problems.0.path": "expires_at"}},
			{name: "no time", call: admin("POST", path, m{"name": "x", "expires_at": "tomorrow"}), status: 400, code: "invalid_configuration", body: m{"problems.0.path": "expires_at"}},
			{name: "no object", call: admin("POST", path, []string{}), status: 400, code: "invalid_configuration"},
			{name: "another body", call: admin("POST", path, m{"name": "x"}, "Idempotency-Key: t1"), status: 422, code: "idempotency_mismatch"},
			{name: "no client", call: admin("POST", "/api/clients/none/tokens", m{"name": "x"}), status: 404, code: "not_found"},
			{name: "revoke none", call: admin("DELETE", path+"/none", nil), status: 404, code: "not_found"},
			{name: "given", call: admin("POST", path, m{"name": "given", "value": "given-" + w.Token}), status: 201, body: m{"value": nil, "token.expires_at": nil}},
			{name: "revoke by name", call: admin("DELETE", path+"/given", nil), status: 204},
			{name: "again", call: admin("DELETE", path+"/given", nil), status: 404, code: "not_found"},
			{name: "revoke by id", call: admin("DELETE", path+"/"+made.Text("token.id"), nil), status: 204},
			{name: "the name is free", call: admin("POST", path, m{"name": "given"}), status: 201},
		})
		if knows(w, value) || knows(w, "given-"+w.Token) {
			t.Error("a revoked token works")
		}
		var names []string
		for _, one := range w.Admin("GET", path, nil).Want(t, 200).At("tokens").([]any) {
			one := one.(map[string]any)
			names = append(names, fmt.Sprintf("%s %t", one["name"], one["revoked_at"] != nil))
		}
		if d := cmp.Diff([]string{"given false", "kms one true", "main false", "narrow false"}, names); d != "" {
			t.Error(d)
		}
	})
}

func admin(method, path string, body any, headers ...string) func(*apitest.World, apitest.User) apitest.Answer {
	return func(w *apitest.World, _ apitest.User) apitest.Answer { return w.Admin(method, path, body, headers...) }
}

// A certificate that is revoked proves nobody, and what was made with it is
// void at once: SM-23, JT-15.
func TestCertificates(t *testing.T) {
	ends := map[string]func(w *apitest.World){
		"revoked": func(w *apitest.World) {
			w.Admin("DELETE", acmeAPI+"tools/desk-one/certificates/"+strings.ToUpper(apitest.CertUUID("desk-one")), nil).Want(w.T, 204)
		},
		"no longer named": func(w *apitest.World) {
			w.Admin("PATCH", acmeAPI+"tools/desk-one", m{"certificates": []any{}}).Want(w.T, 200)
		},
		"pruned": func(w *apitest.World) {
			i := strings.Index(w.Fixture(), "certificates: [{file: ./desk-one.pem")
			end := strings.Index(w.Fixture()[i:], "}]") + i + 2
			w.Apply(w.Fixture()[:i]+"active: true"+w.Fixture()[end:], manifest.Flags{Prune: true})
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			apitest.Engines(t, func(t *testing.T, w *apitest.World) {
				w.Tool("desk-one", "GET", "/tract/hooks/list/", nil).Want(t, 200)
				w.Tool("desk-two", "GET", "/tract/hooks/list/", nil).Want(t, 200)
				end(w)
				if a := w.Tool("desk-one", "GET", "/tract/hooks/list/", nil).Want(t, 401); a.Code() != "invalid_token" {
					t.Errorf("%s", a)
				}
				w.Signed("desk-one", "/tract/management/token/issue/", m{"client_id": "acme"}).Want(t, 400)
				w.Tool("desk-two", "GET", "/tract/hooks/list/", nil).Want(t, 200)

				path := acmeAPI + "tools/desk-one/certificates"
				if list := w.Admin("GET", path, nil).Want(t, 200); list.Text("certificates.0.revoked_at") == "" || list.At("certificates.1") != nil {
					t.Errorf("%s", list)
				}
				pem := m{"pem": string(apitest.CertPEM("desk-one"))}
				truths(t, w, nobody, []row{
					{name: "its UUID again", call: admin("POST", path, with(pem, m{"uuid": apitest.CertUUID("desk-one")})), status: 409, code: "certificate_exists"},
					{name: "for another tool", call: admin("POST", acmeAPI+"tools/desk-two/certificates", pem), status: 400, code: "invalid_configuration", body: m{"problems.0.path": "pem"}},
					{name: "no tool", call: admin("POST", acmeAPI+"tools/none/certificates", pem), status: 404, code: "not_found"},
					{name: "no PEM", call: admin("POST", path, m{"pem": "x"}), status: 400, code: "invalid_configuration", body: m{"problems.0.path": "pem"}},
					{name: "a file", call: admin("POST", path, m{"file": "/etc/passwd"}), status: 400, code: "invalid_configuration", body: m{"problems.0.path": "file"}},
					{name: "revoked already", call: admin("DELETE", path+"/"+apitest.CertUUID("desk-one"), nil), status: 404, code: "not_found"},
					{name: "another tool's", call: admin("DELETE", path+"/"+apitest.CertUUID("desk-two"), nil), status: 404, code: "not_found"},
				})
				made := w.Admin("POST", path, pem, "Idempotency-Key: c").Want(t, 201)
				if again := w.Admin("POST", path, pem, "Idempotency-Key: c").Want(t, 201); string(made.Body) != string(again.Body) || made.At("not_after") == nil {
					t.Errorf("%s and %s", made, again)
				}
				body := w.SignedBody("desk-one", m{"client_id": "acme"})
				fresh := w.Call("POST", "/tract/management/token/issue/", body, "Signature: "+apitest.Sign("desk-one", body), "SignatureCertUUID: "+made.Text("uuid")).Want(t, 200).Text("token")
				w.Call("GET", "/tract/hooks/list/", nil, "Authorization: Bearer "+fresh).Want(t, 200)
				// Access alone can be taken, too.
				w.Admin("DELETE", acmeAPI+"tools/desk-one/tokens", nil).Want(t, 204)
				w.Call("GET", "/tract/hooks/list/", nil, "Authorization: Bearer "+fresh).Want(t, 401)
				body = w.SignedBody("desk-one", m{"client_id": "acme"})
				fresh = w.Call("POST", "/tract/management/token/issue/", body, "Signature: "+apitest.Sign("desk-one", body), "SignatureCertUUID: "+made.Text("uuid")).Want(t, 200).Text("token")
				w.Call("GET", "/tract/hooks/list/", nil, "Authorization: Bearer "+fresh).Want(t, 200)
			})
		})
	}
}

func TestAdministeredHooks(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		w.Hooks("desk-one", "message/receive", "conversation_state/complete")
		w.Admin("PATCH", acmeAPI+"businesses/343", m{"failover": []string{"sac"}}).Want(t, 200)
		thread := w.Thread(w.ToDeskOne()).ID
		w.Settle()
		path := acmeAPI + "tools/desk-one/hooks/"
		list := w.Admin("GET", path, nil).Want(t, 200)
		if n := len(list.At("hooks").([]any)); n != 2 || list.Text("hooks.0.subcategory") != "receive" {
			t.Fatalf("%s", list)
		}
		hook := path + fmt.Sprint(list.Int("hooks.0.id"))
		if a := w.Admin("POST", hook+"/test", nil).Want(t, 200); a.Int("status") != 200 {
			t.Errorf("%s", a)
		}
		w.One.Wait(t, "a ping", func(h *apitest.Hook) bool { return h.Name() == "ping" })
		off := w.Admin("POST", hook+"/disable", nil, "Idempotency-Key: d").Want(t, 200)
		if off.At("enabled") != false || off.Text("state") != "disabled: switched_off" {
			t.Errorf("%s", off)
		}
		// Without its message hook the tool is not available: its thread goes to somebody else.
		w.Until("the thread left", func(tx *store.Tx) (bool, error) {
			th, err := tx.Thread(thread)
			return th.State.Owner == "sac", err
		})
		on := w.Admin("POST", hook+"/enable/", nil).Want(t, 200)
		if on.At("enabled") != true || on.Text("state") != "ok" {
			t.Errorf("%s", on)
		}
		if a := w.Admin("POST", hook+"/disable", nil, "Idempotency-Key: d").Want(t, 200); string(a.Body) != string(off.Body) {
			t.Errorf("the answers differ: %s and %s", off, a)
		}
		if a := w.Admin("GET", hook, nil).Want(t, 200); a.At("enabled") != true {
			t.Errorf("a repeated call disabled it again: %s", a)
		}
		w.Admin("DELETE", hook, nil).Want(t, 204)
		w.Admin("GET", hook, nil).Want(t, 404)
		w.Admin("GET", acmeAPI+"tools/none/hooks", nil).Want(t, 404)

		channels := w.Admin("GET", acmeAPI+"businesses/343/channels", nil).Want(t, 200)
		channel := acmeAPI + "businesses/343/channels/" + fmt.Sprint(channels.Int("channels.0.id"))
		if n := len(channels.At("channels").([]any)); n != 1 {
			t.Fatalf("%s", channels)
		}
		w.Admin("POST", channel+"/disable", nil).Want(t, 200)
		v := w.User()
		w.Say(&v, apitest.Answerable)
		w.Answered(v)
		w.Until("the answer is queued", func(tx *store.Tx) (bool, error) {
			q, err := tx.Queue(channels.Int("channels.0.id"))
			return q.Length > 0, err
		})
		if a := w.Admin("GET", channel, nil).Want(t, 200); a.Int("queued") == 0 || a.At("enabled") != false || a.Text("oldest_queued_at") == "" {
			t.Errorf("%s", a)
		}
		w.Admin("POST", channel+"/enable", nil).Want(t, 200)
		w.Channel.Wait(t, "the answer", apitest.Saying(v, apitest.AnswerText))
		w.Admin("POST", channel+"/test", nil).Want(t, 200)
		w.Channel.Wait(t, "a ping", func(h *apitest.Hook) bool { return h.Name() == "ping" })
		w.Admin("DELETE", channel, nil).Want(t, 405)
		w.Admin("GET", acmeAPI+"businesses/346/channels/"+fmt.Sprint(channels.Int("channels.0.id")), nil).Want(t, 404)
	})
}

// Whatever secret was ever given, no answer shows it, and no audit line.
func TestSecretsNeverComeBack(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		const canary = "canary-SECRET-"
		w.Hooks("desk-one", "message/receive")
		var seen [][]byte
		see := func(a apitest.Answer, status int) { t.Helper(); seen = append(seen, a.Want(t, status).Body) }
		channels := []m{
			{"platform": "webhook", "url": w.Channel.URL("/x"), "secret": canary + "1"}, {"platform": "websdk", "secret": canary + "2"},
			{"platform": "whatsapp", "phone_number_id": "9", "access_token": canary + "3", "app_secret": canary + "4", "verify_token": canary + "5"},
			{"platform": "facebook", "page_id": "9", "access_token": canary + "6", "app_secret": canary + "7", "verify_token": canary + "8"},
		}
		see(w.Admin("PUT", acmeAPI+"businesses/401", m{"bot": "acme_faq", "channels": channels, "external_bot": m{"kind": "openai", "url": w.Channel.URL("/llm"), "model": "x", "api_key": canary + "0"}}), 201)
		see(w.Admin("PUT", acmeAPI+"agents/s@acme.example", m{"password": canary + "9"}), 201)
		see(w.Admin("PATCH", acmeAPI+"agents/s@acme.example", m{"password": canary + "10"}), 200)
		see(w.Admin("POST", acmeAPI+"tokens", m{"name": "s", "value": canary + "11"}, "Idempotency-Key: s"), 201)
		see(w.Admin("POST", acmeAPI+"tokens", m{"name": "s", "value": canary + "11"}, "Idempotency-Key: s"), 201)
		// Wrong ones, too.
		see(w.Admin("POST", acmeAPI+"tokens", m{"name": "s2", "value": canary + "11"}), 400)
		see(w.Admin("POST", acmeAPI+"tokens", m{"name": "s3", "value": canary + "12 with a space"}), 400)
		see(w.Admin("PUT", acmeAPI+"agents/s2@acme.example", m{"password": canary + "13" + strings.Repeat("x", 300)}), 400)
		see(w.Admin("PUT", acmeAPI+"agents/s2@acme.example", m{"password": []string{canary + "14"}}), 400)
		see(w.Admin("PUT", acmeAPI+"businesses/402", m{"bot": "acme_faq", "channels": []m{{"platform": "whatsapp", "phone_number_id": "9", "access_token": canary + "15"}}}), 400)
		for _, path := range []string{"businesses/401", "businesses?limit=100", "agents/s@acme.example", "agents", "tokens", "audit?limit=100", "tools/desk-one/hooks", "businesses/401/channels"} {
			see(w.Admin("GET", acmeAPI+path, nil), 200)
		}
		see(w.Admin("GET", "/api/manifest/", nil), 200)
		// Left out they stay: the channel is still signed with its secret.
		see(w.Admin("PATCH", acmeAPI+"businesses/401", m{"name": "renamed"}), 200)
		see(w.Admin("PUT", acmeAPI+"businesses/401", seenLast(seen)), 200)
		w.View(func(tx *store.Tx) error {
			e, err := tx.FindEndpoint(store.Endpoint{Client: w.ClientKey("acme"), Kind: store.EndpointChannel, Business: 401})
			d, _, err2 := tx.Document(e.Client, store.KindBusiness, "401")
			if n := strings.Count(string(d.Body), `"s1.`); err2 != nil || n < 7 || strings.Contains(string(d.Body), canary) {
				t.Errorf("%d sealed secrets, %v: %s", n, err2, d.Body)
			}
			if err == nil && (len(e.Secrets) != 1 || strings.Contains(e.Secrets[0], canary)) {
				t.Errorf("the channel's secrets: %q", e.Secrets)
			}
			return err
		})
		hidden := regexp.MustCompile(`canary-SECRET|argon2|"password":|_hash|s1\.|"secrets?"|` + regexp.QuoteMeta(w.Token) + `|` + apitest.ChannelSecret)
		for _, body := range seen {
			if hidden.Match(body) {
				t.Errorf("%s shows in %s", hidden.Find(body), body)
			}
		}
	})
}

func seenLast(seen [][]byte) m {
	out := m{}
	if json.Unmarshal(seen[len(seen)-1], &out) != nil {
		return nil
	}
	return out
}

func TestAudit(t *testing.T) {
	apitest.Engines(t, func(t *testing.T, w *apitest.World) {
		link, err := w.Server.SetupLink(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		person, err := w.Server.CreateAdministrator(context.Background(), strings.TrimPrefix(link, "/setup?token="), "ada@hub.example", "Ada", "correct horse battery")
		if err != nil {
			t.Fatal(err)
		}
		w.Admin("PATCH", acmeAPI+"teams/Support", m{"delay_after": "90s"}).Want(t, 200)
		w.Call("PATCH", acmeAPI+"teams/Support", m{"delay_after": "91s", "active": true}, "Authorization: Bearer "+person).Want(t, 200)
		w.Call("PUT", acmeAPI+"teams/New", m{}, "Authorization: Bearer "+person).Want(t, 201)
		w.Call("DELETE", acmeAPI+"teams/New", nil, "Authorization: Bearer "+person).Want(t, 204)
		type line struct{ Actor, Action, Target, Changes string }
		read := func(query string) (out []line) {
			t.Helper()
			for _, one := range w.Admin("GET", acmeAPI+"audit?"+query, nil).Want(t, 200).At("entries").([]any) {
				e := one.(map[string]any)
				detail, _ := e["detail"].(map[string]any)
				out = append(out, line{e["actor"].(string), e["action"].(string), e["target"].(string), fmt.Sprint(detail["changes"])})
			}
			return out
		}
		first := line{"admin", "configuration_changed", "acme/team/Support", "[delay_after 1m0s → 1m30s]"}
		second := line{"ada@hub.example", "configuration_changed", "acme/team/Support", "[delay_after 1m30s → 1m31s]"}
		added := line{"ada@hub.example", "configuration_added", "acme/team/New", "[]"}
		removed := line{"ada@hub.example", "configuration_removed", "acme/team/New", "[]"}
		for query, want := range map[string][]line{
			"limit=4":                          {removed, added, second, first},
			"actor=ada@hub.example":            {removed, added, second},
			"actor=admin":                      {first},
			"target=acme/team/Support&limit=2": {second, first},
			"target=acme/team/N&action=configuration_added": {added},
			"target=team":                nil,
			"actor=nobody":               nil,
			"since=2100-01-01T00:00:00Z": nil,
			"until=2020-01-01T00:00:00Z": nil,
			"limit=1&since=2020-01-01T00:00:00Z&until=2100-01-01T00:00:00Z": {removed},
		} {
			if d := cmp.Diff(want, read(query)); d != "" {
				t.Errorf("%s -want +got:\n%s", query, d)
			}
		}
		w.Admin("GET", acmeAPI+"audit?since=yesterday", nil).Want(t, 400)
		w.Admin("GET", "/api/clients/none/audit", nil).Want(t, 404)

		// A filter that few lines pass does not read the whole log at once, and
		// still finds everything.
		key := w.ClientKey("acme")
		w.Update(func(tx *store.Tx) error {
			for i := range 4500 {
				actor := "busy"
				if i%2000 == 7 {
					actor = "rare"
				}
				if err := tx.InsertAudit(key, actor, "x", fmt.Sprint(i), struct{}{}); err != nil {
					return err
				}
			}
			return nil
		})
		var targets []string
		pages, cursor := 0, ""
		for {
			a := w.Admin("GET", acmeAPI+"audit?actor=rare&limit=2"+cursor, nil).Want(t, 200)
			for _, one := range a.At("entries").([]any) {
				targets = append(targets, one.(map[string]any)["target"].(string))
			}
			if pages++; a.Text("next_cursor") == "" {
				break
			}
			cursor = "&cursor=" + url.QueryEscape(a.Text("next_cursor"))
		}
		if !slices.Equal(targets, []string{"4007", "2007", "7"}) || pages != 3 {
			t.Errorf("%d pages: %q", pages, targets)
		}
	})
}
