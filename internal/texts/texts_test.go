package texts_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/hsl"
	"tract/internal/texts"
)

func plain(s string) tract.Text { return tract.Text{In: map[string]string{"": s}} }

// book is a client's wording for the tests.
var book = map[string]tract.Text{
	"hours":   {In: map[string]string{"": "Mon to Fri", "de": "Mo bis Fr", "de-AT": "Mo bis Fr, Servus", "pt-BR": "Seg a Sex"}},
	"english": {Fallback: "en", In: map[string]string{"en": "Hi", "fr": "Salut"}},
	"both":    plain("{{text:hours}}, {{text:quote}}"),
	"deep":    plain("<{{text:both}}>"),
	"deeper":  plain("[{{text:deep}}]"),
	"circle":  plain("a {{text:circle}}"),
	"quote":   plain("\"9\" \\ 18\n"),
	"greet":   plain("Hi {{user.name}}!"),
	"path":    plain("a/b?c=d"),
	"scheme":  plain("javascript:alert(1)"),
	"a.b-c_d": plain("odd"),
	"empty":   plain(""),
	"huge":    plain(strings.Repeat("h", 16<<10)),
}

func TestFillIn(t *testing.T) {
	tests := []struct {
		name, in, want string
		unknown        []string
	}{
		{"nothing", "hello {task} {{text}} {{name}} {{text:}} {{text: hours}} {{texthours}} {text:hours}", "hello {task} {{text}} {{name}} {{text:}} {{text: hours}} {{texthours}} {text:hours}", nil},
		{"text", "Open {{text:hours}}.", "Open Mon to Fri.", nil},
		{"spaces", "{{ text:hours }}", "Mon to Fri", nil},
		{"any key", "{{text:a.b-c_d}}{{text:empty}}", "odd", nil},
		{"braces around", "{{{text:hours}}}", "{Mon to Fri}", nil},
		{"quotes", `say {{text:quote}}`, "say \"9\" \\ 18\n", nil},
		{"two deep", "{{text:both}}", "Mon to Fri, \"9\" \\ 18\n", nil},
		{"three deep", "{{text:deep}}", "<Mon to Fri, \"9\" \\ 18\n>", nil},
		{"too deep is cut", "{{text:deeper}}", "[<{{text:hours}}, {{text:quote}}>]", nil},
		{"circle is cut", "{{text:circle}}", "a {{text:circle}}", nil},
		{"unknown stays", "{{text:nope}} {{text:hours}} {{ text:nope }} {{text:no}}", "{{text:nope}} Mon to Fri {{ text:nope }} {{text:no}}", []string{"nope", "no"}},
		{"name", "Dear {{user.name}}, {{text:greet}}", "Dear {{text:hours}} \"A\", Hi {{text:hours}} \"A\"!", nil},
		{"larger than an element", strings.Repeat("{{text:huge}}", 5), strings.Repeat("{{text:huge}}", 5), nil},
		{"very many", strings.Repeat("{{text:empty}}", 4000), "", nil},
	}
	f := texts.Filler{Texts: book, UserName: `{{text:hours}} "A"`}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, unknown, err := f.Body(hsl.Text(tt.in).Body())
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(hsl.Text(tt.want).Body(), got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.unknown, unknown); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestWithoutName(t *testing.T) {
	for in, want := range map[string]string{"Hello {{user.name}}!": "Hello!", "{{user.name}}, hello": ", hello", "{{text:greet}}": "Hi!"} {
		if got, _, _ := (texts.Filler{Texts: book}).Body(hsl.Text(in).Body()); got != hsl.Text(want).Body() {
			t.Errorf("%s: got %s", in, got)
		}
	}
}

func TestLanguages(t *testing.T) {
	tests := []struct{ key, user, bot, want string }{
		{"hours", "de", "en", "Mo bis Fr"},
		{"hours", "de-AT", "en", "Mo bis Fr, Servus"},
		{"hours", "DE_at", "en", "Mo bis Fr, Servus"},
		{"hours", "de-CH", "en", "Mo bis Fr"},
		{"hours", "pt", "en", "Mon to Fri"},
		{"hours", "fr", "de", "Mo bis Fr"},
		{"hours", "", "pt-BR", "Seg a Sex"},
		{"hours", "not a tag", "de-CH", "Mo bis Fr"},
		{"hours", "", "", "Mon to Fri"},
		{"english", "de", "de", "Hi"},
		{"english", "fr-CA", "en", "Salut"},
		{"english", "en", "fr", "Hi"},
	}
	for _, tt := range tests {
		f := texts.Filler{Texts: book, Languages: []string{tt.user, tt.bot}}
		if got, _, _ := f.Body(hsl.Text("{{text:" + tt.key + "}}").Body()); got != hsl.Text(tt.want).Body() {
			t.Errorf("%s for %q and a bot in %q: got %s", tt.key, tt.user, tt.bot, got)
		}
	}
}

// In an element the places are filled in within strings and nowhere else.
func TestFillInAnElement(t *testing.T) {
	f := texts.Filler{Texts: book, UserName: `A&B "ö"/?`}
	tests := []struct{ name, in, want, code string }{
		{"within strings", `{"text":"{{text:quote}}","type":"BUTTON","data":{"items":[{"actionable_text":"{{text:hours}}","payload":{"gogo_message":"{{text:hours}}{task}"}}],"{{text:hours}}":1}}`,
			`{"text":"\"9\" \\ 18\n","type":"BUTTON","data":{"items":[{"actionable_text":"Mon to Fri","payload":{"gogo_message":"Mon to Fri{task}"}}],"{{text:hours}}":1}}`, ""},
		{"escaped braces", `{"text":"\u007b\u007Btext:hours}}","type":"TEXT"}`, `{"text":"Mon to Fri","type":"TEXT"}`, ""},
		{"URL", `{"text":"{{user.name}}","type":"TEXT","data":{"link":"https://x.example/{{text:path}}&n={{user.name}}"}}`,
			`{"text":"A&B \"ö\"/?","type":"TEXT","data":{"link":"https://x.example/a/b?c=d&n=A%26B%20%22%C3%B6%22%2F%3F"}}`, ""},
		{"unsafe URL", `{"text":"{{text:hours}}","type":"TEXT","data":{"link":"tel:{{text:nope}}","image":"mailto:{{text:scheme}}\u0020"}}`,
			`{"text":"Mon to Fri","type":"TEXT","data":{"link":"tel:{{text:nope}}","image":"mailto:javascript:alert(1) "}}`, ""},
		{"a URL that none would be", `{"text":"{{text:hours}}","type":"TEXT","data":{"link":"https://{{text:quote}}"}}`, "", hsl.CodeUnsafeURL},
		{"no element", `{"text":"{{text:hours}}"`, "", hsl.CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := f.Body(tt.in)
			if tt.want == "" {
				tt.want = tt.in
			}
			if code := tract.CodeOf(err); err != nil && code != tt.code || err == nil && tt.code != "" {
				t.Errorf("error %v, want %q", err, tt.code)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNew(t *testing.T) {
	type in = map[string]string
	tests := []struct {
		name     string
		in       in
		fallback string
		want     tract.Text
		bad      string
	}{
		{"default", in{"default": "a", "pt_br": "b"}, "", tract.Text{In: in{"": "a", "pt-BR": "b"}}, ""},
		{"the only one", in{"EN": "a"}, "", tract.Text{Fallback: "en", In: in{"en": "a"}}, ""},
		{"named", in{"en": "a", "de": "b"}, "de", tract.Text{Fallback: "de", In: in{"en": "a", "de": "b"}}, ""},
		{"said again", in{"default": "a"}, "default", tract.Text{In: in{"": "a"}}, ""},
		{"none", in{}, "", tract.Text{}, "at least one language"},
		{"not said", in{"en": "a", "de": "b"}, "", tract.Text{}, "which language is the fallback"},
		{"none of them", in{"en": "a"}, "de", tract.Text{}, "it is de"},
		{"beside a default", in{"default": "a", "en": "b"}, "en", tract.Text{}, "it is en"},
		{"not a language", in{"english": "a"}, "", tract.Text{}, `"english" is neither`},
		{"twice", in{"pt-br": "a", "pt-BR": "b"}, "", tract.Text{}, "pt-BR is named twice"},
		{"NUL", in{"en": "a\x00"}, "", tract.Text{}, "NUL"},
		{"not UTF-8", in{"en": "a\xff"}, "", tract.Text{}, "UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := texts.New(tt.in, tt.fallback)
			if tt.bad != "" {
				if err == nil || !strings.Contains(err.Error(), tt.bad) || tract.CodeOf(err) != texts.CodeInvalid {
					t.Errorf("error %v, want %s", err, tt.bad)
				}
				return
			}
			if err != nil || cmp.Diff(tt.want, got) != "" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestCheckKey(t *testing.T) {
	for key, ok := range map[string]bool{"a": true, "A.b-c_9": true, strings.Repeat("k", 64): true, strings.Repeat("k", 65): false, "": false, ".a": false, "-": false, "a b": false, " a": false, "a }}{{text:b": false, "ä": false} {
		if err := texts.CheckKey(key); (err == nil) != ok || err != nil && tract.CodeOf(err) != texts.CodeKey {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestCheck(t *testing.T) {
	names := func(keys ...string) tract.Text {
		s := ""
		for _, k := range keys {
			s += "{{text:" + k + "}}"
		}
		return plain(s)
	}
	long := plain(strings.Repeat("x", 8<<10))
	tests := []struct {
		name, key string
		all       map[string]tract.Text
		bad       string
	}{
		{"alone", "a", map[string]tract.Text{"a": plain("a")}, ""},
		{"unknown ones", "a", map[string]tract.Text{"a": names("x", "y")}, ""},
		{"three deep", "b", map[string]tract.Text{"a": names("b"), "b": names("c", "c"), "c": plain("")}, ""},
		{"itself", "a", map[string]tract.Text{"a": names("a")}, "circle: a → a"},
		{"circle", "b", map[string]tract.Text{"a": names("b"), "b": names("c"), "c": names("a")}, "circle: b → c → a → b"},
		{"circle in another language", "b", map[string]tract.Text{"a": {In: map[string]string{"": "", "de": "{{text:b}}"}}, "b": names("a")}, "circle: b → a → b"},
		{"circle elsewhere", "z", map[string]tract.Text{"a": names("b"), "b": names("a"), "z": plain("")}, ""},
		{"too deep below", "a", map[string]tract.Text{"a": names("x", "b"), "b": names("c"), "c": names("d"), "d": plain("")}, "not a → b → c → d"},
		{"too deep above", "d", map[string]tract.Text{"a": names("b"), "b": names("c"), "c": names("d"), "d": plain("")}, "not a → b → c → d"},
		{"too deep around", "b", map[string]tract.Text{"a": names("b"), "b": names("c"), "c": names("d"), "d": plain("")}, "not a → b → c → d"},
		{"too deep elsewhere", "z", map[string]tract.Text{"a": names("b", "z"), "b": names("c"), "c": names("d"), "d": plain(""), "z": plain("")}, ""},
		{"long", "a", map[string]tract.Text{"a": plain(strings.Repeat("x", texts.Most))}, ""},
		{"too long", "a", map[string]tract.Text{"a": plain(strings.Repeat("x", texts.Most+1))}, "a has 16385 bytes"},
		{"too long by what it names", "a", map[string]tract.Text{"a": names("l", "l"), "l": long}, "a has 16404 bytes"},
		{"too long in who names it", "l", map[string]tract.Text{"a": names("l", "l"), "l": long}, "a has 16404 bytes"},
		{"too long elsewhere", "l", map[string]tract.Text{"a": names("x", "x"), "x": long, "l": long}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := texts.Check(tt.all, tt.key)
			if tt.bad == "" && err != nil || tt.bad != "" && (err == nil || !strings.Contains(err.Error(), tt.bad)) {
				t.Errorf("got %v, want %q", err, tt.bad)
			}
		})
	}
}

// TestCheckOfMany: texts that all name each other do not keep anybody busy.
func TestCheckOfMany(t *testing.T) {
	all := map[string]tract.Text{}
	for level := range 4 {
		for i := range 300 {
			var s strings.Builder
			for j := range 300 {
				fmt.Fprintf(&s, "{{text:%d.%d}}", level+1, j)
			}
			all[fmt.Sprintf("%d.%d", level, i)] = plain(s.String())
		}
	}
	if err := texts.Check(all, "0.0"); tract.CodeOf(err) != texts.CodeNesting {
		t.Errorf("got %v", err)
	}
	delete(all, "2.0")
	if err := texts.Check(all, "1.0"); tract.CodeOf(err) != texts.CodeNesting {
		t.Errorf("got %v", err)
	}
	f := texts.Filler{Texts: all}
	if got, _, err := f.Body(hsl.Text("{{text:0.0}}").Body()); err != nil || got != hsl.Text("{{text:0.0}}").Body() {
		t.Errorf("filled in %d bytes, %v", len(got), err)
	}
}

func FuzzFillIn(f *testing.F) {
	f.Add(`{"text":"{{text:hours}} {{user.name}}","type":"TEXT","data":{"link":"https://x.example/{{text:path}}"}}`, "quote\"\\", "{{text:a}}", "de")
	f.Add(`{"type":"CAROUSEL","data":{"items":[{"title":"\u007b{text:a}}","actionables":[{"actionable_text":"{{text:b}}"}]}]}`, "{{text:a}}{{text:b}}", "\u2028\x00\xff", "pt-BR")
	f.Add(`{"text":"{{{{text:a}}}}","type":"SYSTEM","data":{"{{text:a}}":"{{text:b}}","image":"{{user.name}}"}}`, "{{text:b}}", "javascript:x", "")
	f.Fuzz(func(t *testing.T, body, text, name, language string) {
		filler := texts.Filler{Texts: map[string]tract.Text{"a": plain(text), "b": {Fallback: "de", In: map[string]string{"de": text + "{{text:a}}", "pt-BR": "x"}}, "hours": plain("h"), "path": plain(text)},
			Languages: []string{language}, UserName: name}
		before, invalid := hsl.Parse([]byte(body))
		got, _, err := filler.Body(body)
		if invalid != nil || err != nil {
			if got != body {
				t.Fatalf("%q became %q in spite of %v, %v", body, got, invalid, err)
			}
			return
		}
		after, err := hsl.Parse([]byte(got))
		if err != nil {
			t.Fatalf("%q became %q: %v", body, got, err)
		}
		if len(got) > max(hsl.MaxBody, len(body)) {
			t.Fatalf("%d bytes became %d", len(body), len(got))
		}
		if !strings.Contains(before.Text, "{{") && after.Text != before.Text {
			t.Fatalf("text %q became %q", before.Text, after.Text)
		}
		if shape(t, before.Raw) != shape(t, after.Raw) {
			t.Fatalf("%q became %q", body, got)
		}
	})
}

// shape is an element without what its strings say.
func shape(t *testing.T, raw []byte) string {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	var bare func(v any) any
	bare = func(v any) any {
		switch v := v.(type) {
		case string:
			return ""
		case []any:
			for i := range v {
				v[i] = bare(v[i])
			}
		case map[string]any:
			for k := range v {
				v[k] = bare(v[k])
			}
		}
		return v
	}
	return fmt.Sprint(bare(v))
}
