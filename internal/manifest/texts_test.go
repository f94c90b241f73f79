package manifest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/manifest"
	"tract/internal/store"
	"tract/internal/tracttest"
)

const worded = `version: 1
clients:
  - id: acme
    bots: [{domain_name: f, welcome: "Hi {{text:hello}} {{text:gone}}", handover: "{{text:gone}}"}]
    teams: [{name: T, delay_message: "{{text:late}}"}]
    desk: {enabled: true}
    texts:
      hello: {en: "Hello", de: "Hallo", pt-br: "Olá"}
      bye: {de: "Tschüss", default: "Bye {{text:never}}"}
      plain: "Plain"
      "no": {"no": "Nei"}
      nothing:
    businesses: [{id: 1, bot: f, failover_message: "{{text:moment}}"}]
`

func TestTexts(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		r := h.apply(t, worded, manifest.Flags{Actor: "mia"})
		want := []string{
			"acme/text/bye names the text never, which does not exist: it is shown as written",
			"acme/bot/f names the text gone, which does not exist: it is shown as written",
			"acme/team/T names the text late, which does not exist: it is shown as written",
			"acme/business/1 names the text moment, which does not exist: it is shown as written",
		}
		if d := cmp.Diff(want, r.Warnings); d != "" {
			t.Errorf("warnings -want +got:\n%s", d)
		}
		stored := map[string]tract.Text{
			"hello": {Fallback: "en", In: map[string]string{"en": "Hello", "de": "Hallo", "pt-BR": "Olá"}},
			"bye":   {In: map[string]string{"": "Bye {{text:never}}", "de": "Tschüss"}},
			"plain": {In: map[string]string{"": "Plain"}},
			"no":    {Fallback: "no", In: map[string]string{"no": "Nei"}},
		}
		if d := cmp.Diff(stored, h.config(t, "acme").Texts); d != "" {
			t.Errorf("stored -want +got:\n%s", d)
		}
		if err := s.Update(context.Background(), func(tx *store.Tx) error { // as the version before does
			return tx.PutDocument(h.keyIn(tx, t), "text", "old", "", "x")
		}); err != nil {
			t.Fatal(err)
		}
		out, err := h.Export(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		const texts = "    texts:\n      bye:\n        default: \"Bye {{text:never}}\"\n        de: \"Tschüss\"\n      hello:\n        en: Hello\n        de: Hallo\n        pt-BR: \"Olá\"\n      \"no\":\n        \"no\": Nei\n      plain: Plain\n"
		if !strings.Contains(string(out), texts) {
			t.Errorf("exported:\n%s", out)
		}
		if changes, err := h.Plan(context.Background(), parse(t, string(out)), true); err != nil || len(changes) > 0 {
			t.Errorf("what was exported changes %s, %v", lines(changes), err)
		}
		next := strings.NewReplacer(`{en: "Hello", de: "Hallo", pt-br: "Olá"}`, `{de: "Hallo", en: "Hello"}`, `plain: "Plain"`, `plain: {en: "Plain"}`, `"no": {"no": "Nei"}`, "").Replace(worded)
		r = h.apply(t, next, manifest.Flags{Actor: "tom", Prune: true})
		if d := cmp.Diff("- acme/text/no\n~ acme/text/hello: pt-BR \"Olá\" → (none), fallback en → de\n~ acme/text/plain: Plain → (none), en (none) → Plain, fallback default → en", strings.TrimSpace(lines(r.Changes))); d != "" {
			t.Errorf("changes -want +got:\n%s", d)
		}
		h.view(t, func(tx *store.Tx) error {
			list, err := tx.ListTextChanges(h.keyIn(tx, t), "no", 0, 10)
			if len(list) != 2 || list[0].Actor != "tom" || list[0].Via != store.ViaManifest || list[0].After != nil || list[0].Before == nil || list[1].Actor != "mia" || list[1].Before != nil || list[1].Version != 1 {
				t.Errorf("changes of a text: %+v", list)
			}
			return err
		})
	})
}

// What a file says is checked together with what is stored and stays.
func TestTextsThatMayNotBe(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		const head = "version: 1\nclients:\n  - id: acme\n    texts:\n"
		h.apply(t, head+"      a: 'a {{text:b}}'\n", manifest.Flags{})
		long := strings.Repeat("x", 17<<10)
		for _, tt := range []struct {
			name, text, bad string
			prune           bool
		}{
			{"circle", "      b: '{{text:a}}'\n", "5:7: clients[0].texts.b: texts name each other in a circle: b → a → b", false},
			{"no circle without the other", "      b: '{{text:a}}'\n", "", true},
			{"too deep", "      b: '{{text:c}}'\n      c: {en: x, de: '{{text:d}}'}\n      d: x\n", "texts may name texts 3 deep, not a → b → c → d", false},
			{"too long", "      x: " + long + "\n", "the text x has 17408 bytes", false},
			{"no language", "      x: {}\n", "a text needs at least one language", false},
			{"wrong language", "      x: {english: y}\n", `"english" is neither a language code`, false},
			{"twice", "      x: {en: y, EN: z}\n", "the language en is named twice", false},
			{"a list", "      x: [y]\n", "must be text, or a mapping of languages to texts", false},
			{"a number in a language", "      x: {en: 1}\n", "clients[0].texts.x.en: must be text; put it in quotes", false},
		} {
			f, err := manifest.Parse(strings.NewReader(head+tt.text), "f", options(nil))
			if err == nil {
				_, err = h.Plan(context.Background(), f, tt.prune)
			}
			if (err == nil) != (tt.bad == "") || err != nil && !strings.Contains(err.Error(), tt.bad) {
				t.Errorf("%s: got %v, want %q", tt.name, err, tt.bad)
			}
		}
	})
}
