package manifest_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/manifest"
	"tract/internal/store"
	"tract/internal/tracttest"
)

// The examples of RFC 7396, appendix A, but for those whose patch is no object:
// here they are refused.
func TestMergePatchOfTheRFC(t *testing.T) {
	tests := []struct{ object, patch, want string }{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`["a","b"]`, `["c","d"]`, ""},
		{`{"a":"b"}`, `["c"]`, ""},
		{`{"a":"foo"}`, `null`, ""},
		{`{"a":"foo"}`, `"bar"`, ""},
		{`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"n":12345678901234567890}`, `{"m":0.10}`, `{"m":0.10,"n":12345678901234567890}`},
	}
	for _, tt := range tests {
		got, err := manifest.MergePatch(tt.object, tt.patch)
		if got != tt.want || (tt.want == "") != (tract.CodeOf(err) == "object_expected") {
			t.Errorf("%s patched by %s: %s, %v, want %s", tt.object, tt.patch, got, err, tt.want)
		}
	}
}

// Every object that a file can say comes back as it was when it is written by
// itself, and writing it changes nothing.
func TestObjectsOfAFileAreWrittenBack(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h, ctx := newHub(t, s), context.Background()
		h.apply(t, fixture, manifest.Flags{})
		before, n := h.dump(t), 0
		for _, kind := range []string{manifest.KindClient, store.KindBot, store.KindTeam, store.KindAgent, store.KindTool, store.KindBusiness} {
			var list []manifest.Object
			h.view(t, func(tx *store.Tx) (err error) { list, err = h.List(tx, "acme", kind, "", 100); return err })
			for _, o := range list {
				n++
				client := "acme"
				if kind == manifest.KindClient {
					client = o.ID
				}
				w := manifest.Write{Client: client, Kind: kind, ID: o.ID, Body: o.Body, Actor: "test"}
				got, created, err := h.Put(ctx, w)
				if err != nil || created || string(got.Body) != string(o.Body) {
					t.Errorf("%s %s: %v, created %v\n%s\n%s", kind, o.ID, err, created, o.Body, got.Body)
				}
				w.Body, w.Patch = []byte(`{}`), true
				if _, _, err := h.Put(ctx, w); err != nil {
					t.Errorf("%s %s: %v", kind, o.ID, err)
				}
			}
		}
		if diff := cmp.Diff(before, h.dump(t)); diff != "" || n < 10 {
			t.Errorf("writing %d objects back wrote:\n%s", n, diff)
		}
	})
}

func TestLimitsAndExpiryOfAFile(t *testing.T) {
	const head = "version: 1\nclients:\n  - id: acme\n    tokens: [{name: a, value: v, expires_at: %E}]\n    rate_limit: %R\n"
	text := func(expires, rates string) string {
		return strings.NewReplacer("%E", expires, "%R", rates).Replace(head)
	}
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		h := newHub(t, s)
		first := text(`"2030-01-01T00:00:00Z"`, "{per_token: {per_second: 5}}")
		h.apply(t, first, manifest.Flags{})
		for _, step := range []struct{ text, want string }{
			{first, ""},
			{h.export(t), ""},
			{text("null", "{per_token: {per_second: 5, burst: 10}}"), ""},
			{text(`"2030-01-01T02:00:00+01:00"`, "{per_token: {per_second: 5}}"), "~ acme/token/a: expires_at → 2030-01-01T01:00:00Z"},
			{text("null", "{per_token: {per_second: 5}, per_client: {per_second: 9, burst: 1}}"), "~ acme: rate_limit.per_client.burst (none) → 1, rate_limit.per_client.per_second (none) → 9"},
		} {
			if got := lines(h.apply(t, step.text, manifest.Flags{}).Changes); strings.TrimSpace(got) != step.want {
				t.Errorf("%s\ngives %q, want %q", step.text, got, step.want)
			}
		}
		for _, bad := range []string{text(`tomorrow`, "{}"), text(`1`, "{}"), text("null", "{per_token: {burst: 1}}"), text("null", "{per_client: {per_second: 0}}"), text("null", "{per_hour: 1}")} {
			_, err := manifest.Parse(strings.NewReader(bad), "f", options(nil))
			var e *tract.Error
			if !errors.As(err, &e) {
				t.Errorf("accepted: %s", bad)
			}
		}
	})
}
