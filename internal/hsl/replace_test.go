package hsl_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/hsl"
)

func TestReplace(t *testing.T) {
	type seen struct {
		S   string
		URL bool
	}
	var got []seen
	raw := ` {"text" : "a\n\"b\" \\","type":"BUTTON","data":{"items":[{"actionable_text":"\u0041" , "is_default":0,"type":"LINK","payload":{"url":"https://x.example/a","images":["https://y.example"],"n":-1.5e3}}],"z":["k",{"k":"v"},"w"]}} `
	e, err := hsl.Parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	same, err := e.Replace(func(s string, url bool) string { got = append(got, seen{s, url}); return s })
	if err != nil || same.Body() != raw {
		t.Fatalf("got %s, %v", same.Raw, err)
	}
	want := []seen{{"a\n\"b\" \\", false}, {"BUTTON", false}, {"A", false}, {"LINK", false}, {"https://x.example/a", true}, {"https://y.example", true}, {"k", false}, {"v", false}, {"w", false}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	next, err := e.Replace(func(s string, _ bool) string {
		return strings.NewReplacer("a\n\"b\" \\", "x\"\\\n\x01", "A", "ä", "https://y.example", "https://z.example").Replace(s)
	})
	wanted := strings.NewReplacer(`a\n\"b\" \\`, `x\"\\\n\u0001`, `"\u0041"`, `"ä"`, "https://y.example", "https://z.example").Replace(raw)
	if err != nil || next.Body() != wanted {
		t.Errorf("got  %s, %v\nwant %s", next.Raw, err, wanted)
	}
}

func TestReplaceStaysAnElement(t *testing.T) {
	e, err := hsl.Parse([]byte(`{"text":"a","type":"TEXT","data":{"link":"https://x.example/","b":"` + strings.Repeat("b", 60_000) + `"}}`))
	if err != nil {
		t.Fatal(err)
	}
	to := func(from, next string) (hsl.Element, error) {
		return e.Replace(func(s string, _ bool) string {
			if s == from {
				return next
			}
			return s
		})
	}
	if _, err := to("https://x.example/", "javascript:alert(1)"); tract.CodeOf(err) != hsl.CodeUnsafeURL {
		t.Errorf("an unsafe URL: %v", err)
	}
	if got, err := to("a", strings.Repeat("c", 10_000)); err != nil || got.Body() != e.Body() {
		t.Errorf("too large: %.40s, %v", got.Raw, err)
	}
	if got, err := to("a", strings.Repeat("c", 5_000)); err != nil || len(got.Raw) != len(e.Raw)+4_999 || got.Text[:3] != "ccc" {
		t.Errorf("large: %.40s, %v", got.Raw, err)
	}
}
