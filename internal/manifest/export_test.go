package manifest_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"tract"
	"tract/internal/manifest"
	"tract/internal/store"
	"tract/internal/tracttest"
)

func TestExportRoundTrip(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		h.apply(t, fixture, manifest.Flags{})
		out := h.export(t)
		for _, hidden := range []string{"secret-channel", "secret-token", "secret-websdk", "secret-wa", "secret-fb", "secret-llm", "secret-bot", "secret horse", "made-token", "hash ", "s1."} {
			if strings.Contains(out, hidden) {
				t.Errorf("%q shows in\n%s", hidden, out)
			}
		}
		if again := h.export(t); again != out {
			t.Errorf("the second time differs:\n%s", cmp.Diff(out, again))
		}
		before := h.dump(t)
		for _, flags := range []manifest.Flags{{}, {Prune: true}} {
			if r := h.apply(t, out, flags); len(r.Changes) > 0 || len(r.Generated) > 0 {
				t.Errorf("with %+v: %s\n%s", flags, lines(r.Changes), out)
			}
		}
		if diff := cmp.Diff(before, h.dump(t)); diff != "" {
			t.Errorf("the round trip wrote:\n%s", diff)
		}
	})
}

// TestExportMovesToAnotherStore: all but the secrets is in the file.
func TestExportMovesToAnotherStore(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		text := fixture[:strings.Index(fixture, "          - {platform: whatsapp")] + fixture[strings.Index(fixture, "      - {id: 344"):]
		h.apply(t, text, manifest.Flags{})
		out := h.export(t)
		other := newHub(t, tracttest.Open(t, store.Options{Dir: t.TempDir(), Now: tracttest.NewClock().Now}))
		other.apply(t, out, manifest.Flags{})
		if diff := cmp.Diff(out, other.export(t)); diff != "" {
			t.Errorf("-first +second:\n%s", diff)
		}
	})
}

func TestExportForm(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		if got := h.export(t); got != "version: 1\nclients:\n  []\n" {
			t.Errorf("empty store: %q", got)
		}
		h.apply(t, small, manifest.Flags{})
		h.apply(t, "version: 1\nclients: [{id: gone}]", manifest.Flags{})
		h.update(t, func(tx *store.Tx) error {
			c, err := tx.Client("gone")
			if err != nil {
				return err
			}
			return tx.DeleteClient(c.Key)
		})
		want := `version: 1
clients:
  - id: acme
    name: "Acme Stores"
    desk:
      enabled: true
    tokens:
      - name: main
        scopes: [delivery, faq, transcripts, transfer]
    external_chat_tools:
      - id: desk-one
        name: desk-one
        fqdn: desk-one.example
    businesses:
      - id: 344
        name: "Tool first"
        default_receiver: desk-one
        external_chat_tools: [desk-one]
`
		if diff := cmp.Diff(want, h.export(t)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
}

// TestAnyTextSurvives: whatever text is stored, the exported file says it.
func TestAnyTextSurvives(t *testing.T) {
	h := newHub(t, tracttest.Open(t, store.Options{Dir: t.TempDir(), Now: tracttest.NewClock().Now}))
	h.apply(t, "version: 1\nclients: [{id: acme}]", manifest.Flags{})
	key := h.key(t, "acme")
	rapid.Check(t, func(rt *rapid.T) {
		wording := tract.Text{In: map[string]string{}}
		languages := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"", "no", "en", "pt-BR", "zh-Hant"}), 1, 3, rapid.ID).Draw(rt, "languages")
		for _, l := range languages {
			wording.In[l] = rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("${}ab: #-'\"\\\n\r\t &*!|>%@`\u0085\u2028\ufeff\u00a0😀0~?,[]")))).Draw(rt, "text")
			if strings.ContainsRune(wording.In[l], 0) {
				rt.Skip("texts hold no NUL")
			}
		}
		if _, ok := wording.In[""]; !ok {
			wording.Fallback = languages[0]
		}
		name := rapid.SampledFrom([]string{"t", "yes", "1e3", "a.b-c_d"}).Draw(rt, "key")
		if err := h.store.Update(context.Background(), func(tx *store.Tx) error {
			_, err := tx.PutText(key, name, &wording, "x", store.ViaREST)
			return err
		}); err != nil {
			rt.Fatal(err)
		}
		out, err := h.Export(context.Background())
		if err != nil {
			rt.Fatal(err)
		}
		f, err := manifest.Parse(strings.NewReader(string(out)), "f", options(nil))
		if err != nil {
			rt.Fatalf("%q: %v\n%s", wording, err, out)
		}
		changes, err := h.Plan(context.Background(), f, true)
		if err != nil || len(changes) > 0 {
			rt.Fatalf("%q: %v %s\n%s", wording, err, lines(changes), out)
		}
	})
}

func (h *hub) export(t *testing.T) string {
	t.Helper()
	out, err := h.Export(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

const bundled = `version: 1
clients:
  - id: acme
    tokens: [{name: a, value: "${TOKEN}"}]
    bots: [{domain_name: f, faq: ./faq.csv}]
    external_chat_tools: [{id: t, fqdn: desk-two.example, certificates: [{file: ./desk-one.pem}]}]
`

func TestBundle(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "acme.yaml")
	for name, text := range map[string]string{"acme.yaml": bundled, "faq.csv": files()["./faq.csv"], "desk-one.pem": files()["./desk-one.pem"], "other": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := func(name string) (string, bool) { return "secret-" + name, name != "NOPE" }
	body, err := manifest.EncodeBundle(path, nil, env)
	if err != nil {
		t.Fatal(err)
	}
	f, err := manifest.DecodeBundle(body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"./desk-one.pem", "./faq.csv"}, f.Files()); diff != "" || f.Name() != path {
		t.Errorf("%s: files -want +got:\n%s", f.Name(), diff)
	}
	h := newHub(t, tracttest.Open(t, store.Options{Dir: t.TempDir(), Now: tracttest.NewClock().Now}))
	if _, err := h.Apply(context.Background(), f, manifest.Flags{Actor: "server"}); err != nil {
		t.Fatal(err)
	}
	h.view(t, func(tx *store.Tx) error {
		tokens, err := tx.ListTokens(h.keyIn(tx, t))
		if err == nil && (len(tokens) != 1 || tokens[0].Hash != sum([]byte("secret-TOKEN"))) {
			t.Errorf("tokens %+v", tokens)
		}
		return err
	})

	broken := filepath.Join(dir, "broken.yaml")
	if err := os.WriteFile(broken, []byte(strings.ReplaceAll(bundled, "TOKEN", "NOPE")), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := manifest.EncodeBundle(broken, nil, env); err == nil || !strings.Contains(err.Error(), broken+":4:24: clients[0].tokens[0].value: the environment variable NOPE is not set") {
		t.Errorf("error %v", err)
	}
	if _, err := manifest.EncodeBundle(filepath.Join(dir, "nope.yaml"), nil, env); tract.KindOf(err) != tract.KindInvalid {
		t.Errorf("error %v", err)
	}
	if _, err := manifest.Load("-", strings.NewReader("version: 1\nclients: [{id: a b}]"), env); err == nil || !strings.HasPrefix(err.Error(), "standard input:2:12: clients[0].id: ") {
		t.Errorf("error %v", err)
	}
}

func (h *hub) keyIn(tx *store.Tx, t *testing.T) int64 {
	t.Helper()
	c, err := tx.Client("acme")
	if err != nil {
		t.Fatal(err)
	}
	return c.Key
}

// TestBundleLooksAtNothingElse: a server reads neither its own variables nor
// its own files for a caller.
func TestBundleLooksAtNothingElse(t *testing.T) {
	t.Setenv("TRACT_SECRET_KEY", "the server's own")
	for name, change := range map[string]map[string]any{
		"variable": {"manifest": "version: 1\nclients: [{id: a, tokens: [{name: a, value: '${TRACT_SECRET_KEY}'}]}]"},
		"file":     {"manifest": "version: 1\nclients: [{id: a, bots: [{domain_name: b, faq: /etc/passwd}]}]"},
		"unknown":  {"manifest": "version: 1\nclients: [{id: a}]", "more": 1},
	} {
		body, err := json.Marshal(change)
		if err != nil {
			t.Fatal(err)
		}
		if f, err := manifest.DecodeBundle(body); err == nil {
			t.Errorf("%s: accepted %v", name, f)
		}
	}
	for _, body := range []string{"", "{}", "[]", `{"manifest":"version: 1\nclients: [{id: a}]"} {}`} {
		if _, err := manifest.DecodeBundle([]byte(body)); tract.KindOf(err) != tract.KindInvalid {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestFileHidesItsSecrets(t *testing.T) {
	f := parse(t, head+"    tokens: [{name: a, value: '${TOKEN}'}]\n")
	//lint:ignore SA9005 that nothing comes out is the point
	coded, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	var e error = errors.Join(errors.New(f.String()))
	for _, text := range []string{f.String(), f.GoString(), string(coded), e.Error()} {
		if strings.Contains(text, "token-from-env") {
			t.Errorf("%s", text)
		}
	}
}
