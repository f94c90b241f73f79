package manifest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/manifest"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// withBot is a file with one business and its external bot, on line 7.
func withBot(external string) string {
	return head + "    bots: [{domain_name: f}]\n    businesses:\n      - {id: 7, bot: f" + external + "}\n"
}

func TestExternalBotProblems(t *testing.T) {
	const at = "7:25: clients[0].businesses[0].external_bot"
	tests := []struct{ name, text, want string }{
		{"no mapping", withBot(", external_bot: on"), at + ": must be a mapping with the keys kind, url, secret, timeout, model, api_key, max_tokens, price_per_million_input, price_per_million_output"},
		{"no kind", withBot(", external_bot: {url: 'https://b.example'}"), "clients[0].businesses[0].external_bot.kind: is needed"},
		{"kind", withBot(", external_bot: {kind: webhok}"), `.kind: "webhok" is not one of webhook, openai (did you mean "webhook"?)`},
		{"no url", withBot(", external_bot: {kind: webhook}"), ".url: is needed"},
		{"key of the other kind", withBot(", external_bot: {kind: webhook, url: 'https://b.example', model: m}"), ".model: unknown key"},
		{"secret of the other kind", withBot(", external_bot: {kind: openai, url: 'https://b.example', model: m, secret: s}"), ".secret: unknown key"},
		{"no model", withBot(", external_bot: {kind: openai, url: 'https://b.example'}"), ".model: is needed"},
		{"time-out too long", withBot(", external_bot: {kind: webhook, url: 'https://b.example', timeout: 6s}"), ".timeout: must be at most 5s"},
		{"no time", withBot(", external_bot: {kind: webhook, url: 'https://b.example', timeout: 0s}"), ".timeout: must be more than 0s"},
		{"tokens", withBot(", external_bot: {kind: openai, url: 'https://b.example', model: m, max_tokens: 0}"), ".max_tokens: must be a whole number from 1 to 8000"},
		{"price", withBot(", external_bot: {kind: openai, url: 'https://b.example', model: m, price_per_million_input: -1}"), ".price_per_million_input: must be a number from 0 to 1000000"},
		{"price as text", withBot(", external_bot: {kind: openai, url: 'https://b.example', model: m, price_per_million_output: '1'}"), ".price_per_million_output: must be a number from 0 to 1000000"},
		{"price that is none", withBot(", external_bot: {kind: openai, url: 'https://b.example', model: m, price_per_million_output: .nan}"), ".price_per_million_output: nan is not supported here"},
		{"whole address", withBot(", external_bot: {kind: openai, url: 'https://b.example/v1/chat/completions', model: m}"), ".url: must be the base of the API"},
		{"query", withBot(", external_bot: {kind: openai, url: 'https://b.example/v1?key=1', model: m}"), ".url: must be the base of the API"},
		{"key that no header takes", withBot(", external_bot: {kind: openai, url: 'https://b.example', model: m, api_key: \"a\\nb\"}"), ".api_key: must be printable ASCII characters without spaces"},
		{"without a bot", head + "    desk: {enabled: true}\n    businesses:\n      - {id: 7, external_bot: {kind: webhook, url: 'https://b.example'}}\n", ".external_bot: needs a bot beside it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := manifest.Parse(strings.NewReader(tt.text), "acme.yaml", options(nil))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestExternalBotAddressIsChecked(t *testing.T) {
	h := newHub(t, tracttest.Open(t, store.Options{Dir: t.TempDir()}))
	for _, external := range []string{"{kind: webhook, url: 'https://10.0.0.1/'}", "{kind: openai, model: m, url: 'https://10.0.0.1/'}"} {
		_, err := h.Apply(context.Background(), parse(t, withBot(", external_bot: "+external)), manifest.Flags{})
		if err == nil || !strings.Contains(err.Error(), "external_bot.url: the address is private") {
			t.Errorf("%s: %v", external, err)
		}
	}
}

// TestExternalBotChanges: what is said of a change, and which secret stands then.
func TestExternalBotChanges(t *testing.T) {
	const hook = ", external_bot: {kind: webhook, url: 'https://b.example'"
	const model = ", external_bot: {kind: openai, url: 'https://l.example/v1', model: m"
	tests := []struct{ before, after, want, secret string }{
		{"", hook + ", secret: secret-one}", "external bot webhook added", "secret-one"},
		{hook + ", secret: secret-one}", hook + ", secret: secret-one}", "", "secret-one"},
		{hook + ", secret: secret-one}", hook + "}", "", "secret-one"},
		{hook + ", secret: secret-one}", hook + ", secret: ''}", "external bot: secret removed", ""},
		{hook + ", secret: secret-one}", hook + ", secret: secret-two}", "external bot: secret set", "secret-two"},
		{hook + ", secret: secret-one}", hook + ", timeout: 2s}", "external bot: timeout 5s → 2s", "secret-one"},
		{hook + ", secret: secret-one}", model + "}", "external bot openai added", ""},
		{hook + ", secret: secret-one}", "", "external bot removed", "-"},
		{hook + ", secret: secret-one}", ", external_bot: {kind: webhook, url: 'https://c.example'}", "!external_bot.secret: is needed again, because the url changes", "secret-one"},
		{hook + ", secret: secret-one}", ", external_bot: {kind: webhook, url: 'https://c.example', secret: secret-one}", "external bot: url changed", "secret-one"},
		{hook + ", secret: secret-one}", ", external_bot: {kind: webhook, url: 'https://c.example', secret: ''}", "external bot: secret removed, external bot: url changed", ""},
		{hook + "}", ", external_bot: {kind: webhook, url: 'https://c.example'}", "external bot: url changed", ""},
		{model + ", api_key: secret-one}", model + ", max_tokens: 9, price_per_million_input: 1.5}", "external bot: max_tokens 500 → 9, external bot: price_per_million_input (none) → 1.5", "secret-one"},
	}
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		for _, tt := range tests {
			t.Run(tt.want, func(t *testing.T) {
				h := newHub(t, s)
				h.apply(t, withBot(""), manifest.Flags{})
				h.apply(t, withBot(tt.before), manifest.Flags{})
				r, err := h.Apply(context.Background(), parse(t, withBot(tt.after)), manifest.Flags{Actor: "tester"})
				if problem, ok := strings.CutPrefix(tt.want, "!"); ok {
					if err == nil || !strings.Contains(err.Error(), problem) {
						t.Errorf("got %v, want %s", err, problem)
					}
				} else {
					want := tt.want
					if want != "" {
						want = "~ acme/business/7: " + want
					}
					if diff := cmp.Diff(want, lines(r.Changes)); diff != "" || err != nil {
						t.Errorf("%v\n%s", err, diff)
					}
				}
				secret := "-"
				if b := h.config(t, "acme").Businesses[7].ExternalBot; b != nil {
					if secret = b.Secret; secret != "" {
						secret = h.open(t, h.key(t, "acme"), secret)
					}
				}
				if secret != tt.secret {
					t.Errorf("the secret is %q, want %q", secret, tt.secret)
				}
				if out := h.dump(t); strings.Contains(out, "secret-") {
					t.Error("a secret is stored in clear")
				}
			})
		}
	})
}
