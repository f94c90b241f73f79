package manifest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/manifest"
	"tract/internal/sign"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// fixture uses every part of a file, and flow and block forms.
const fixture = `version: 1
clients:
  - id: acme
    name: Acme Stores
    tokens:
      - {name: main, value: "secret-token-main"}
      - {name: kms, scopes: [transfer, faq]}
    bots:
      - {domain_name: acme_faq, language: en, welcome: "", bot_break: "Sorry, I did not get that.", handover: "Let me get a colleague.", faq: ./faq.csv}
      - {domain_name: acme_import, language: pt-BR, threshold: 1, suggest_from: 0.3, misunderstandings: 3, did_you_mean: "Hm?", file_received: Obrigado, small_talk: {greeting: Oi, more: [{said: ["És um robô?", quem és], answer: "Sim."}]}, human_phrases: [chama a Mia]}
    desk: {enabled: true, assignment: balanced}
    teams:
      - {name: Support, delay_after: 60s, offline_message: "Gone: \"back\" at 9\nor so ☎ $${NOT_A_VARIABLE}"}
      - {name: Billing, recall_after: 8m, complete_when_offline: true}
      - {name: Closed, active: false}
    agents:
      - {email: Mia@acme.example, name: Mia, password: "secret horse battery", role: lead, concurrency: 5, teams: [Support, Billing]}
      - {email: ole@acme.example}
    texts:
      opening_hours: "Mon to Fri, 9 to 18h"
      yes: "true"
    external_chat_tools:
      - {id: desk-one, name: Desk One, fqdn: desk-one.example, certificates: [{file: ./desk-one.pem, uuid: "11111111-2222-4333-8444-555555555555"}]}
      - id: desk-two
        fqdn: Desk-Two.example
        certificates: [{file: ./desk-two.pem}]
        permissions: {take: true, request: true, pass_to: any}
        ca_signed: true
        require_sha256: true
        deliver: active
        history_on_handover: 20
    businesses:
      - id: 343
        name: Acme Support
        bot: acme_faq
        human_assistance: true
        default_team: Support
        external_chat_tools: [desk-one, desk-two]
        failover: [sac, iva]
        failover_message: One moment.
        release_after: 10m
        external_bot: {kind: openai, url: "https://llm.example/v1", model: small-one, api_key: "secret-llm-key", timeout: 4s, max_tokens: 300, price_per_million_input: 0.15, price_per_million_output: 2}
        channels:
          - {platform: webhook, url: "https://acme.example/hooks/chat?key=secret-query", secret: "secret-channel"}
          - {platform: websdk, allowed_origins: ["https://www.acme.example", "http://localhost:8080"], secret: "secret-websdk"}
          - {platform: whatsapp, phone_number_id: "0123", access_token: secret-wa-token, app_secret: secret-wa-app, verify_token: secret-wa-verify}
          - {platform: facebook, page_id: "77", access_token: secret-fb-token, app_secret: secret-fb-app, verify_token: secret-fb-verify}
      - {id: 344, name: Tool first, default_receiver: desk-one, external_chat_tools: [desk-one],
         channels: [{platform: webhook, url: "https://acme.example/hooks/tool", secret: "secret-channel"}]}
      - {id: 1000, name: Shut, bot: acme_faq, active: false, handover_to: sac, external_bot: {kind: webhook, url: "https://bot.example/ask", secret: "secret-bot"}, channels: [{platform: webhook, url: "https://acme.example/plain"}]}
  - id: other
    name: Other Ltd
    active: false
    tokens: [{name: main, value: "secret-token-other"}]
    bots: [{domain_name: other_faq, faq: ./faq.csv}]
    businesses:
      - {id: 343, name: Other, bot: other_faq}
`

func TestApplyFixture(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		r := h.apply(t, fixture, manifest.Flags{})
		want := `+ acme
+ acme/token/main
+ acme/token/kms
+ acme/text/opening_hours
+ acme/text/yes
+ acme/team/Support
+ acme/team/Billing
+ acme/team/Closed
+ acme/bot/acme_faq
+ acme/bot/acme_import
+ acme/tool/desk-one
+ acme/tool/desk-one/certificate/11111111-2222-4333-8444-555555555555
+ acme/tool/desk-two
+ acme/tool/desk-two/certificate/00000000-0000-4000-8000-000000000004
+ acme/agent/mia@acme.example
+ acme/agent/ole@acme.example
+ acme/business/343
+ acme/business/344
+ acme/business/1000
+ other
+ other/token/main
+ other/bot/other_faq
+ other/business/343
+ acme/bot/acme_faq/faq
+ other/bot/other_faq/faq`
		if diff := cmp.Diff(want, lines(r.Changes)); diff != "" {
			t.Errorf("changes -want +got:\n%s", diff)
		}
		generated := []manifest.Secret{{What: "acme/token/kms", Value: "made-token-3"}, {What: "acme/tool/desk-two certificate", Value: "00000000-0000-4000-8000-000000000004"}}
		if diff := cmp.Diff(generated, r.Generated); diff != "" {
			t.Errorf("generated -want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]string{"acme/tool/desk-one: the certificate is not for desk-one.example"}, r.Warnings); diff != "" {
			t.Errorf("warnings -want +got:\n%s", diff)
		}
		h.checkFixture(t)
		if jobs := h.jobs(t); !slices.Equal(jobs, []string{"adopt {}", "adopt {}"}) {
			t.Errorf("jobs %v", jobs)
		}

		before := h.dump(t)
		for _, flags := range []manifest.Flags{{}, {Prune: true}, {DryRun: true}} {
			if r := h.apply(t, fixture, flags); len(r.Changes) > 0 || len(r.Generated) > 0 {
				t.Errorf("again with %+v: %s %v", flags, lines(r.Changes), r.Generated)
			}
		}
		if diff := cmp.Diff(before, h.dump(t)); diff != "" {
			t.Errorf("applying again wrote something:\n%s", diff)
		}
		if h.hashed != 1 || len(h.loaded) != 2 || len(h.jobs(t)) > 0 {
			t.Errorf("hashed %d times, loaded %v", h.hashed, h.loaded)
		}
	})
}

func (h *hub) checkFixture(t *testing.T) {
	t.Helper()
	cfg := h.config(t, "acme")
	b := cfg.Businesses[343]
	if b == nil || !cfg.Client.Active || !cfg.Client.Desk.Enabled || len(cfg.Businesses) != 3 || len(cfg.Tools) != 2 || cfg.Bots["acme_import"].Threshold != 1 {
		t.Fatalf("config %+v", cfg)
	}
	if diff := cmp.Diff(tract.Tool{ID: "desk-two", Name: "desk-two", FQDN: "desk-two.example", CASigned: true, RequireSHA256: true,
		Permissions: tract.Permissions{Take: true, Request: true, PassTo: "any"}, Deliver: "active", HistoryOnHandover: 20, Active: true}, *cfg.Tools["desk-two"]); diff != "" {
		t.Errorf("tool -want +got:\n%s", diff)
	}
	if got := cfg.Teams["Support"].OfflineMessage; got != "Gone: \"back\" at 9\nor so ☎ ${NOT_A_VARIABLE}" {
		t.Errorf("text %q", got)
	}
	key := cfg.Client.Key
	h.view(t, func(tx *store.Tx) error {
		e, err := tx.FindEndpoint(store.Endpoint{Client: key, Kind: store.EndpointChannel, Business: 343})
		if err != nil {
			return err
		}
		if len(e.Secrets) != 1 || h.open(t, key, e.Secrets[0]) != "secret-channel" || e.URL != "https://acme.example/hooks/chat?key=secret-query" || !e.Enabled {
			t.Errorf("channel endpoint %+v", e)
		}
		if cfg.Channels[343] != e.ID || cfg.BotLanes[343] == 0 || cfg.BotLanes[344] != 0 {
			t.Errorf("lanes %v %v", cfg.Channels, cfg.BotLanes)
		}
		tokens, err := tx.ListTokens(key)
		if err != nil || len(tokens) != 2 || tokens[1].Hash != sum([]byte("secret-token-main")) || !slices.Equal(tokens[0].Scopes, []string{"faq", "transfer"}) {
			t.Errorf("tokens %+v %v", tokens, err)
		}
		a, err := tx.ListAudit(key, 100)
		if err != nil || len(a) < 20 || a[len(a)-1].Actor != "tester" || a[len(a)-1].Action != "configuration_added" || a[len(a)-1].Target != "acme" {
			t.Errorf("%d audit lines, %+v, %v", len(a), a[len(a)-1], err)
		}
		owners, err := tx.ListOwners(store.KindAgent, "mia@acme.example")
		if !slices.Equal(owners, []int64{key}) {
			t.Errorf("agent's client %v", owners)
		}
		return err
	})
	if strings.Contains(h.dump(t), "secret-") {
		t.Errorf("a secret is stored in clear:\n%s", h.dump(t))
	}
	settings := map[string]any{}
	if err := json.Unmarshal(b.Channels[2].Settings, &settings); err != nil || settings["phone_number_id"] != "0123" || h.open(t, key, settings["app_secret"].(string)) != "secret-wa-app" {
		t.Errorf("whatsapp %v %v", settings, err)
	}
	if x := *b.ExternalBot; h.open(t, key, x.Secret) != "secret-llm-key" {
		t.Error("the API key is another one")
	} else if x.Secret = ""; x != (tract.ExternalBot{Kind: "openai", URL: "https://llm.example/v1", Model: "small-one", Timeout: tract.Duration(4 * time.Second), MaxTokens: 300, PriceIn: 0.15, PriceOut: 2}) {
		t.Errorf("external bot %+v", x)
	}
	if x := cfg.Businesses[1000].ExternalBot; h.open(t, key, x.Secret) != "secret-bot" || x.Kind != "webhook" || x.Timeout != tract.Duration(5*time.Second) || cfg.Businesses[344].ExternalBot != nil {
		t.Errorf("external bot %+v", x)
	}
	if h.open(t, key, b.Channels[1].Secret) != "secret-websdk" || b.Channels[0].Secret != "" {
		t.Errorf("websdk %+v", b.Channels[1])
	}
}

func (h *hub) open(t *testing.T, client int64, sealed string) string {
	t.Helper()
	plain, err := h.sealer.Open(sealed, store.SecretContext(client))
	if err != nil {
		t.Errorf("open a secret: %v", err)
	}
	return string(plain)
}

// dump writes all configuration, but for URLs, with its versions.
func (h *hub) dump(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	h.view(t, func(tx *store.Tx) error {
		out.Reset()
		clients, err := tx.ListClients()
		if err != nil {
			return err
		}
		for _, c := range clients {
			version, err := tx.ConfigVersion(c.Key)
			fmt.Fprintf(&out, "%+v version %d %v\n", c, version, err)
			docs, err := tx.ListDocuments(c.Key)
			for _, d := range docs {
				fmt.Fprintf(&out, "%s %s %d %s %v\n", d.Kind, d.ID, d.Version, strings.ReplaceAll(string(d.Body), "?key=secret-query", ""), err)
			}
			tokens, err := tx.ListTokens(c.Key)
			fmt.Fprintf(&out, "%+v %v\n", tokens, err)
			certs, err := tx.ListCertificates(c.Key)
			fmt.Fprintf(&out, "%+v %v\n", certs, err)
			audit, err := tx.ListAudit(c.Key, 1000)
			fmt.Fprintf(&out, "%d audit lines %v\n", len(audit), err)
			for _, kind := range []string{store.EndpointChannel, store.EndpointBot, store.EndpointHook} {
				es, err := tx.ListEndpoints(c.Key, kind, "")
				for _, e := range es {
					e.URL = ""
					fmt.Fprintf(&out, "%+v %v\n", e, err)
				}
			}
		}
		return nil
	})
	return out.String()
}

func TestDryRunChangesNothing(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		empty := h.dump(t)
		changes, err := h.Plan(context.Background(), parse(t, fixture), false)
		if err != nil || len(changes) != 25 || !strings.Contains(lines(changes), "+ acme/tool/desk-two/certificate/(new)\n") {
			t.Errorf("plan %v:\n%s", err, lines(changes))
		}
		if strings.Contains(lines(changes), "secret") {
			t.Errorf("a secret shows:\n%s", lines(changes))
		}
		if got := h.dump(t); got != empty || len(h.loaded) > 0 || h.hashed > 0 || h.made > 0 {
			t.Errorf("the plan did something: %s", got)
		}
		h.apply(t, fixture, manifest.Flags{})
		h.jobs(t)
		full := h.dump(t)
		if r := h.apply(t, small, manifest.Flags{DryRun: true, Prune: true}); len(r.Changes) == 0 {
			t.Error("nothing to do")
		}
		if diff := cmp.Diff(full, h.dump(t)); diff != "" || len(h.jobs(t)) > 0 {
			t.Errorf("a dry run wrote:\n%s", diff)
		}
	})
}

// small is a small file of the same client.
const small = `version: 1
clients:
  - id: acme
    name: Acme Stores
    tokens: [{name: main, value: secret-token-main}]
    desk: {enabled: true}
    external_chat_tools: [{id: desk-one, fqdn: desk-one.example}]
    businesses: [{id: 344, name: Tool first, default_receiver: desk-one, external_chat_tools: [desk-one]}]
`

func TestChanges(t *testing.T) {
	replace := func(pairs ...string) func(string) string {
		return func(s string) string {
			for i := 0; i < len(pairs); i += 2 {
				if strings.Count(s, pairs[i]) != 1 {
					panic(pairs[i] + " stands there not once")
				}
			}
			return strings.NewReplacer(pairs...).Replace(s)
		}
	}
	tests := []struct {
		name string
		edit func(string) string
		want string
		jobs []string
	}{
		{"team", replace("delay_after: 60s", "delay_after: 2m"), "~ acme/team/Support: delay_after 1m0s → 2m0s", nil},
		{"client", replace("name: Acme Stores", "name: Acme"), `~ acme: name "Acme Stores" → Acme`, []string{"adopt {}"}},
		{"desk off", replace("assignment: balanced", "assignment: speedy"), "~ acme: desk.assignment balanced → speedy", []string{"adopt {}"}},
		{"tool", replace("take: true, ", "", "history_on_handover: 20", "history_on_handover: 0"), "~ acme/tool/desk-two: history_on_handover 20 → 0, permissions.take true → false", []string{"adopt {}"}},
		{"tool inactive", replace("ca_signed: true", "ca_signed: true\n        active: false"), "~ acme/tool/desk-two: active true → false", []string{`tool_gone {"tool":"desk-two"}`, "adopt {}"}},
		{"business", replace("failover: [sac, iva]", "failover: [iva]", "human_assistance: true", "human_assistance: false"),
			"~ acme/business/343: failover [sac, iva] → [iva], human_assistance true → false", []string{"adopt {}"}},
		{"bot goes", replace("bot: other_faq}", "default_receiver: t, external_chat_tools: [t]}\n    external_chat_tools: [{id: t, fqdn: t.example}]"),
			"+ other/tool/t\n~ other/business/343: bot other_faq → \"\", default_receiver \"\" → t, external_chat_tools [] → [t]", []string{"adopt {}"}},
		{"password", replace("secret horse battery", "secret horse"), "~ acme/agent/mia@acme.example: password set", nil},
		{"agent", replace("concurrency: 5", "concurrency: 4"), "~ acme/agent/mia@acme.example: concurrency 5 → 4", nil},
		{"token value", replace("secret-token-main", "secret-token-new"), "~ acme/token/main: value changed", nil},
		{"token scopes", replace("[transfer, faq]", "[faq]"), "~ acme/token/kms: scopes [faq, transfer] → [faq]", nil},
		{"token scopes in another order", replace("[transfer, faq]", "[faq, transfer]"), "", nil},
		{"text", replace("9 to 18h", "9 to 19h"), `~ acme/text/opening_hours: "Mon to Fri, 9 to 18h" → "Mon to Fri, 9 to 19h"`, nil},
		{"webhook address", replace("hooks/chat?key=secret-query", "hooks/other"), "~ acme/business/343: channel webhook: url changed", []string{"adopt {}"}},
		{"webhook secret", replace("/hooks/tool\", secret: \"secret-channel\"", "/hooks/tool\", secret: \"secret-new\""), "~ acme/business/344: channel webhook: secret set", []string{"adopt {}"}},
		{"webhook secret away", replace("/hooks/tool\", secret: \"secret-channel\"", "/hooks/tool\", secret: \"\""), "~ acme/business/344: channel webhook: secret removed", []string{"adopt {}"}},
		{"webhook secret left out", replace("/hooks/tool\", secret: \"secret-channel\"", "/hooks/tool\""), "", nil},
		{"channel away", replace("channels: [{platform: webhook, url: \"https://acme.example/plain\"}]", "channels: []"), "~ acme/business/1000: channel webhook removed", []string{"adopt {}"}},
		{"channel added", replace("bot: other_faq}", "bot: other_faq, channels: [{platform: webhook, url: 'https://o.example', secret: secret-o}]}"), "~ other/business/343: channel webhook added", []string{"adopt {}"}},
		{"sealed setting", replace("secret-wa-app", "secret-wa-new", "\"0123\"", "\"0124\""), `~ acme/business/343: channel whatsapp: app_secret set, channel whatsapp: phone_number_id 0123 → 0124`, []string{"adopt {}"}},
		{"origins", replace(", \"http://localhost:8080\"", ""), "~ acme/business/343: channel websdk: allowed_origins [https://www.acme.example, http://localhost:8080] → [https://www.acme.example]", []string{"adopt {}"}},
		{"certificate", replace(`[{file: ./desk-two.pem}]`, "[{file: ./desk-two.pem}, {file: ./desk-one.pem, uuid: 99999999-2222-4333-8444-555555555555}]"),
			"+ acme/tool/desk-two/certificate/99999999-2222-4333-8444-555555555555", nil},
		{"FAQ", replace("colleague.\", faq: ./faq.csv", "colleague.\", faq: ./junk.pem"), "~ acme/bot/acme_faq/faq", nil},
		{"client active", replace("    active: false\n", ""), "~ other: active false → true", []string{"adopt {}"}},
	}
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				h := newHub(t, s)
				h.apply(t, fixture, manifest.Flags{Prune: true}) // back to where it was
				h.jobs(t)
				next := tt.edit(fixture)
				changes, err := h.Plan(context.Background(), parse(t, next), false)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, lines(changes)); diff != "" {
					t.Errorf("plan -want +got:\n%s", diff)
				}
				r := h.apply(t, next, manifest.Flags{})
				if diff := cmp.Diff(tt.want, lines(r.Changes)); diff != "" {
					t.Errorf("apply -want +got:\n%s", diff)
				}
				if strings.Contains(lines(r.Changes), "secret-") {
					t.Error("a secret shows")
				}
				if diff := cmp.Diff(tt.jobs, h.jobs(t)); diff != "" {
					t.Errorf("jobs -want +got:\n%s", diff)
				}
				if r := h.apply(t, next, manifest.Flags{}); len(r.Changes) > 0 {
					t.Errorf("again: %s", lines(r.Changes))
				}
			})
		}
	})
}

func TestPrune(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		h.apply(t, fixture, manifest.Flags{})
		key, cfg := h.key(t, "acme"), h.config(t, "acme")
		h.update(t, func(tx *store.Tx) error {
			_, err := tx.PutEndpoint(store.Endpoint{Client: key, Kind: store.EndpointHook, Tool: "desk-two", Category: "message", Subcategory: "receive", URL: "https://two.example", Secrets: []string{}})
			if err != nil {
				return err
			}
			if _, err := tx.RevokeToken(key, "kms"); err != nil {
				return err
			}
			_, err = tx.InsertToken(store.Token{ID: "cli", Client: key, Name: "by hand", Hash: "h", Scopes: tract.Scopes()})
			return err
		})
		h.jobs(t)

		r := h.apply(t, small, manifest.Flags{})
		if diff := cmp.Diff("~ acme/tool/desk-one: name \"Desk One\" → desk-one\n~ acme/business/344: channel webhook removed", lines(r.Changes)); diff != "" {
			t.Errorf("without prune -want +got:\n%s", diff)
		}
		h.jobs(t)
		r = h.apply(t, small, manifest.Flags{Prune: true})
		want := `- other
- acme/business/343
- acme/business/1000
- acme/agent/mia@acme.example
- acme/agent/ole@acme.example
- acme/tool/desk-two
- acme/bot/acme_faq
- acme/bot/acme_import
- acme/team/Billing
- acme/team/Closed
- acme/team/Support
- acme/text/opening_hours
- acme/text/yes
- acme/token/by hand
- acme/tool/desk-one/certificate/11111111-2222-4333-8444-555555555555`
		if diff := cmp.Diff(want, lines(r.Changes)); diff != "" {
			t.Errorf("prune -want +got:\n%s", diff)
		}
		if diff := cmp.Diff([]string{`tool_gone {"tool":"desk-two"}`, "adopt {}"}, h.jobs(t)); diff != "" {
			t.Errorf("jobs -want +got:\n%s", diff)
		}
		after := h.config(t, "acme")
		if len(after.Businesses) != 1 || len(after.Tools) != 1 || len(after.Hooks) != 0 || len(after.Channels) != 0 || len(after.BotLanes) != 0 {
			t.Errorf("what stays: %+v", after)
		}
		h.view(t, func(tx *store.Tx) error {
			if _, err := tx.Endpoint(cfg.Channels[343]); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the channel's endpoint is still there: %v", err)
			}
			certs, err := tx.ListCertificates(key)
			for _, c := range certs {
				if c.RevokedAt.IsZero() {
					t.Errorf("certificate of %s is in force", c.Tool)
				}
			}
			if cutoff, err := tx.TokenCutoff(key, "desk-two"); err != nil || cutoff.IsZero() {
				t.Errorf("the tool's tokens are in force: %v", err)
			}
			if steps, err := tx.ListSteps(key, "acme_faq"); err != nil || len(steps) > 0 {
				t.Errorf("steps of a bot that is gone: %v %v", steps, err)
			}
			if _, err := tx.Client("other"); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the other client is still there: %v", err)
			}
			return err
		})
		if r := h.apply(t, small, manifest.Flags{Prune: true}); len(r.Changes) > 0 {
			t.Errorf("pruned again: %s", lines(r.Changes))
		}
		// What was removed comes back whole, but for what was revoked.
		r = h.apply(t, fixture, manifest.Flags{})
		wantWarnings := []string{
			"acme/token/kms was revoked and stays so: give it another value to use it again",
			"acme/tool/desk-one/certificate/11111111-2222-4333-8444-555555555555 was revoked and stays so: list it under another uuid to use it again",
			"acme/tool/desk-two/certificate/00000000-0000-4000-8000-000000000004 was revoked and stays so: list it under another uuid to use it again",
		}
		if diff := cmp.Diff(wantWarnings, r.Warnings); diff != "" {
			t.Errorf("warnings -want +got:\n%s", diff)
		}
		if got := h.loaded; !slices.Equal(got, []string{"acme_faq", "other_faq", "acme_faq", "other_faq"}) {
			t.Errorf("loaded %v", got)
		}
		if cfg := h.config(t, "acme"); len(cfg.Businesses) != 3 || cfg.Channels[343] == 0 || cfg.BotLanes[343] == 0 {
			t.Errorf("after coming back: %+v", cfg)
		}
	})
}

func TestEndpointsAreLeftAlone(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		h.apply(t, fixture, manifest.Flags{})
		id := h.config(t, "acme").Channels[343]
		disable := func(reason string) {
			h.update(t, func(tx *store.Tx) error {
				e, err := tx.Endpoint(id)
				if err != nil {
					return err
				}
				_, err = tx.DisableEndpoint(e, reason)
				return err
			})
		}
		enabled := func() (on bool) {
			h.view(t, func(tx *store.Tx) error {
				e, err := tx.Endpoint(id)
				on = e.Enabled
				return err
			})
			return on
		}
		disable(store.DisabledExhausted)
		r := h.apply(t, strings.Replace(fixture, "name: Acme Support", "name: Acme", 1), manifest.Flags{})
		if lines(r.Changes) != `~ acme/business/343: name "Acme Support" → Acme` || enabled() {
			t.Errorf("a change of the name enabled the channel: %s", lines(r.Changes))
		}
		if h.apply(t, strings.Replace(fixture, "secret-channel", "secret-changed", 1), manifest.Flags{}); !enabled() {
			t.Error("a new secret did not enable the channel")
		}
		disable(store.DisabledRemoved)
		r = h.apply(t, strings.Replace(fixture, "secret-channel", "secret-changed", 1), manifest.Flags{})
		if lines(r.Changes) != "~ acme/business/343: channel webhook set up again" || !enabled() {
			t.Errorf("what was removed did not come back: %s", lines(r.Changes))
		}
	})
}

func TestRefusedApplyChangesNothing(t *testing.T) {
	one := func(lines string) string { return "version: 1\nclients:\n  - id: third\n" + lines }
	tests := []struct {
		name, text string
		flags      manifest.Flags
		want       string
	}{
		{"private address", one("    bots: [{domain_name: f}]\n    businesses: [{id: 1, bot: f, channels: [{platform: webhook, url: 'http://10.0.0.1/'}]}]\n"), manifest.Flags{},
			"acme.yaml:5:65: clients[0].businesses[0].channels[0].url: the address is private"},
		{"FAQ", one("    bots: [{domain_name: f, faq: ./bad.csv}]\n"), manifest.Flags{}, "acme.yaml:4:29: clients[0].bots[0].faq: ./bad.csv: row 3: no answer"},
		{"agent of another client", one("    agents:\n      - email: MIA@acme.example\n"), manifest.Flags{},
			`acme.yaml:5:9: clients[0].agents[0].email: the agent "mia@acme.example" belongs to another client`},
		{"token of another client", one("    tokens: [{name: x, value: secret-token-main}]\n"), manifest.Flags{},
			`acme.yaml:4:24: clients[0].tokens[0].value: the same value is in use as the token "main" already`},
		{"new channel without secrets", one("    bots: [{domain_name: f}]\n    businesses: [{id: 1, bot: f, channels: [{platform: facebook, page_id: '1', app_secret: x}]}]\n"), manifest.Flags{},
			"acme.yaml:5:45: clients[0].businesses[0].channels[0].access_token: is needed: none is stored\nacme.yaml:5:45: clients[0].businesses[0].channels[0].verify_token: is needed: none is stored"},
		{"business not in the file", "version: 1\nclients:\n  - id: acme\n    bots: [{domain_name: acme_faq, active: false}]\n    external_chat_tools: [{id: desk-one, fqdn: desk-one.example, active: false}]\n", manifest.Flags{},
			"acme.yaml:3:5: clients[0]: the business 344, which is not in this file: no default receiver is possible: it has no active bot, the client's desk is not enabled, and it has no active external chat tool"},
		{"another certificate under the uuid", strings.Replace(fixture, "./desk-one.pem", "./desk-two.pem", 1), manifest.Flags{},
			"acme.yaml:23:102: clients[0].external_chat_tools[0].certificates[0].uuid: 11111111-2222-4333-8444-555555555555 stands for another certificate of the client; give this one a UUID of its own"},
	}
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		h.apply(t, fixture, manifest.Flags{})
		before := h.dump(t)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				for _, dry := range []bool{true, false} {
					tt.flags.DryRun = dry
					_, err := h.Apply(context.Background(), parse(t, tt.text), tt.flags)
					if err == nil || err.Error() != tt.want || len(manifest.Problems(err)) == 0 {
						t.Errorf("dry %v: error\n%v\nwant\n%s", dry, err, tt.want)
					}
				}
				if diff := cmp.Diff(before, h.dump(t)); diff != "" {
					t.Errorf("something changed:\n%s", diff)
				}
			})
		}
	})
}

func TestFAQThatCannotBeLoaded(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		text := "version: 1\nclients:\n  - id: acme\n    tokens: [{name: a}]\n    bots: [{domain_name: f, faq: ./heavy.csv}]\n"
		r, err := h.Apply(context.Background(), parse(t, text), manifest.Flags{Actor: "x"})
		if err == nil || err.Error() != "acme.yaml:5:29: clients[0].bots[0].faq: ./heavy.csv: row 7: too long" {
			t.Errorf("error %v", err)
		}
		if lines(r.Changes) != "+ acme\n+ acme/token/a\n+ acme/bot/f" || len(r.Generated) != 1 {
			t.Errorf("result %+v: the token that was made must be shown", r)
		}
		if _, err := h.Apply(context.Background(), parse(t, text), manifest.Flags{}); err == nil {
			t.Error("the second time it must be tried again")
		}
	})
}

func TestMovesBetweenClientsWithPrune(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		h.apply(t, "version: 1\nclients:\n  - {id: a, agents: [{email: mia@a.example}], tokens: [{name: old, value: value-1}]}\n  - {id: b, tokens: [{name: t, value: value-2}]}\n", manifest.Flags{})
		r := h.apply(t, "version: 1\nclients:\n  - {id: a, agents: [{email: mia@a.example}], tokens: [{name: new, value: value-1}, {name: t, value: value-2}]}\n", manifest.Flags{Prune: true})
		if lines(r.Changes) != "- b\n- a/token/old\n+ a/token/new\n+ a/token/t" {
			t.Errorf("changes %s", lines(r.Changes))
		}
	})
}

// TestClosureRunsTwice finds state that survives from a closure's first run.
func TestClosureRunsTwice(t *testing.T) {
	tracttest.Engines(t, func(t *testing.T, o store.Options) {
		o.Now, o.Rerun = tracttest.NewClock().Now, true
		h := newHub(t, tracttest.Open(t, o))
		r := h.apply(t, fixture, manifest.Flags{})
		if len(r.Changes) != 25 || len(r.Generated) != 2 || len(r.Warnings) != 1 {
			t.Errorf("%d changes, %v, %v", len(r.Changes), r.Generated, r.Warnings)
		}
		if r := h.apply(t, fixture, manifest.Flags{}); len(r.Changes) > 0 {
			t.Errorf("again: %s", lines(r.Changes))
		}
	})
}

// TestAnotherKey: secrets sealed with a lost key are sealed anew.
func TestAnotherKey(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		h.apply(t, fixture, manifest.Flags{})
		sealer, err := sign.NewSealer([]byte(strings.Repeat("n", 32)))
		if err != nil {
			t.Fatal(err)
		}
		*h.sealer = *sealer
		r := h.apply(t, fixture, manifest.Flags{})
		if !strings.Contains(lines(r.Changes), "channel webhook: secret set") {
			t.Errorf("changes %s", lines(r.Changes))
		}
		h.checkFixtureSecrets(t)
	})
}

func (h *hub) checkFixtureSecrets(t *testing.T) {
	t.Helper()
	cfg := h.config(t, "acme")
	h.view(t, func(tx *store.Tx) error {
		e, err := tx.Endpoint(cfg.Channels[343])
		if err == nil && h.open(t, cfg.Client.Key, e.Secrets[0]) != "secret-channel" {
			t.Errorf("secret of %+v", e)
		}
		return err
	})
}

// TestForms: the ways in which YAML can say the same.
func TestForms(t *testing.T) {
	h := newHub(t, tracttest.Open(t, store.Options{Dir: t.TempDir(), Now: tracttest.NewClock().Now}))
	text := "\ufeff%YAML 1.2\n---\n" + `version: 1
clients:
  - id: acme
    desk: {enabled: "${ON}"}
    teams:
      - &base
        name: A
        delay_message: |
          Two ${SEVEN}
          lines
        delay_after: "${SEVEN}m"
      - <<: *base
        name: B
        recall_after: 0
      - name: C
        <<: [*base, {recall_message: "one
          line"}]
    agents: [{email: "a@a.example", concurrency: "${SEVEN}", teams: [A, B]}]
    texts:
      "a": &text 'x ''y'' $${SEVEN} $$${SEVEN} $SEVEN ${SEVEN}$'
      ? b
      : *text
      c:
    businesses:
    - id: 1
      bot: ~
...
`
	h.apply(t, strings.ReplaceAll(text, "\n", "\r\n"), manifest.Flags{})
	h.apply(t, text, manifest.Flags{})
	cfg := h.config(t, "acme")
	minutes := tract.Duration(7 * 60e9)
	want := map[string]*tract.Team{
		"A": {Name: "A", DelayMessage: "Two 7\nlines\n", DelayAfter: minutes, RecallAfter: tract.Duration(240e9), Active: true},
		"B": {Name: "B", DelayMessage: "Two 7\nlines\n", DelayAfter: minutes, Active: true},
		"C": {Name: "C", DelayMessage: "Two 7\nlines\n", DelayAfter: minutes, RecallAfter: tract.Duration(240e9), RecallMessage: "one line", Active: true},
	}
	if diff := cmp.Diff(want, cfg.Teams); diff != "" {
		t.Errorf("teams -want +got:\n%s", diff)
	}
	wording := tract.Text{In: map[string]string{"": `x 'y' ${SEVEN} $${SEVEN} $SEVEN 7$`}}
	if diff := cmp.Diff(map[string]tract.Text{"a": wording, "b": wording}, cfg.Texts); diff != "" {
		t.Errorf("texts -want +got:\n%s", diff)
	}
}

func TestAppliesAtTheSameTime(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		const n = 8
		f := parse(t, fixture)
		results, errs := make([]manifest.Result, n), make([]error, n)
		var wait sync.WaitGroup
		for i := range n {
			h := newHub(t, s)
			h.made = 1000 * i
			wait.Go(func() { results[i], errs[i] = h.Apply(context.Background(), f, manifest.Flags{Actor: "tester"}) })
		}
		wait.Wait()
		winners := 0
		for i := range n {
			if errs[i] != nil {
				t.Errorf("apply %d: %v", i, errs[i])
			}
			if len(results[i].Generated) > 0 {
				winners++
			}
		}
		if winners != 1 {
			t.Errorf("%d of them made secrets", winners)
		}
		h := newHub(t, s)
		if r := h.apply(t, fixture, manifest.Flags{}); len(r.Changes) > 0 {
			t.Errorf("afterwards: %s", lines(r.Changes))
		}
		h.checkFixture(t)
	})
}

func TestBotSettings(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		h.apply(t, fixture, manifest.Flags{})
		var plain, got tract.Bot
		h.view(t, func(tx *store.Tx) error {
			cfg, err := tx.Config(h.keyIn(tx, t))
			plain, got = *cfg.Bots["acme_faq"], *cfg.Bots["acme_import"]
			return err
		})
		want := tract.Bot{DomainName: "acme_import", Language: "pt-BR", Threshold: 1, SuggestFrom: 0.3, Misunderstandings: 3,
			BotBreak: "Desculpe, não entendi.", Handover: "Vou chamar um colega.", DidYouMean: "Hm?", SomethingElse: "Outra coisa", FileReceived: "Obrigado",
			SmallTalk: tract.SmallTalk{Greeting: "Oi", More: []tract.Talk{{Said: []string{"És um robô?", "quem és"}, Answer: "Sim."}}}, HumanPhrases: []string{"chama a Mia"}, Active: true}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		if plain.SuggestFrom != 0.25 || plain.Misunderstandings != 2 || plain.DidYouMean != "Did you mean:" || plain.SmallTalk.Off {
			t.Errorf("by default %+v", plain)
		}
	})
}
