package hsl_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/hsl"
)

// elements are one of each published shape, with the liberties samples take.
var elements = []struct{ name, raw, text, kind string }{
	{"text", `{"text":"hi","type":"TEXT","data":{}}`, "hi", "TEXT"},
	{"text, other order and spaces", " {\n\"data\" : {\"quick_replies\":[]}, \"type\":\"TEXT\", \"text\":\"h\\u00ef<\" }\n", "hï<", "TEXT"},
	{"text without data", `{"text":"","type":"TEXT"}`, "", "TEXT"},
	{"text with null data", `{"text":"a","type":"TEXT","data":null}`, "a", "TEXT"},
	{"quick replies", `{"text":"Well?","type":"TEXT","data":{"quick_replies":[
		{"actionable_text":"Yes","is_default":1,"type":"TEXT_ONLY","payload":{"message":"Yes, please","gogo_message":"yes{task}","link":""}},
		{"actionable_text":"No","is_default":"0","type":"TEXT_ONLY","payload":{"message":"No","gogo_message":null}}]},"isNew":false}`, "Well?", "TEXT"},
	{"buttons", `{"text":"Pick","type":"BUTTON","data":{"items":[
		{"actionable_text":"Open","location_required":"false","is_default":0,"uri":"LINK","type":"APP_ACTION","payload":{"url":"https://x.example/a b","gogo_message":"","message":""}},
		{"actionable_text":"Call","location_required":false,"is_default":false,"uri":"CALL","type":"APP_ACTION","payload":{"url":"tel:+49123"}},
		{"actionable_text":"Write","uri":"LINK","type":"APP_ACTION","payload":{"link":"mailto:a@x.example","url":null}},
		{"actionable_text":"Track","location_required":true,"is_default":true,"uri":"LAUNCH_CHANNEL","type":"TEXT_ONLY","emoji":"📦","payload":{"message":"Track it","gogo_message":""}},
		{"actionable_text":"Help","uri":"","type":"TEXT","payload":null},
		{"actionable_text":"Form","type":"FORM_SHOW","uri":"","payload":{"id":7}},
		{"actionable_text":"More","uri":"CAROUSEL_DEFAULT","type":"MESSAGE_BAR","payload":{"title":"T","images":["https://x.example/1.png",{"image":"https://x.example/2.png","title":"2"}],
			"items":[{"title":"x","actionables":[{"actionable_text":"y"}]}]}}]}}`, "Pick", "BUTTON"},
	{"carousel", `{"text":"Cards","type":"CAROUSEL","data":{"image_aspect_ratio":1.69,"width":"MEDIUM","items":[
		{"thumbnail":{"image":"HTTPS://x.example/a.png","type":"LANDSCAPE"},"title":"A","sub_title":null,"description":"d","meta":{"a":1},"tool_name":"t",
		 "actionables":[{"actionable_text":"Buy A","type":"TEXT_ONLY","uri":"","payload":{"message":"Buy A"}}],
		 "mini_actionable":{"type":"SHARE","uri":"","payload":{"show_share_option":true,"image":"https://x.example/s.png"}}},
		{"thumbnail":null,"title":"B","actionable":[{"actionable_text":"Watch","payload":{"message":"Watch B","gogo_message":"watch"}}]}]}}`, "Cards", "CAROUSEL"},
	{"image", `{"type":"CAROUSEL","data":{"image_aspect_ratio":"1000.1","items":[{"thumbnail":{"image":"https://x.example/i.png"},"actionables":[]}]}}`, "", "CAROUSEL"},
	{"system", `{"text":"Mia has entered the conversation","type":"SYSTEM","data":{"event_name":"chat_pinned","payload":{"profile_image":"","agent_name":"Mia"}}}`, "Mia has entered the conversation", "SYSTEM"},
	{"unknown type", `{"text":"Tabs","type":"TAB_LIST","data":{"tabs":[1,{"items":"x"}]}}`, "Tabs", "TAB_LIST"},
	{"unknown type, no text", `{"type":"RECEIPT"}`, "", "RECEIPT"},
	{"U+2028 and more", "{\"text\":\"\u2028\uffff\U0001F469\u200d\U0001F680e\u0301\u202e\",\"type\":\"TEXT\",\"data\":{}}", "\u2028\uffff\U0001F469\u200d\U0001F680e\u0301\u202e", "TEXT"},
}

func TestParse(t *testing.T) {
	for _, tt := range elements {
		t.Run(tt.name, func(t *testing.T) {
			in := []byte(tt.raw)
			got, err := hsl.Parse(in)
			if err != nil {
				t.Fatal(err)
			}
			clear(in) // the element must own its bytes
			want := hsl.Element{Text: tt.text, Type: tt.kind, Raw: json.RawMessage(tt.raw)}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
			again, err := hsl.ParseBody(got.Body())
			if d := cmp.Diff(want, again); d != "" || err != nil {
				t.Error(err, d)
			}
		})
	}
}

func button(item string) string {
	return `{"text":"t","type":"BUTTON","data":{"items":[{"actionable_text":"ok"},` + item + `]}}`
}

func TestParseRefuses(t *testing.T) {
	const bad = "invalid_message_body"
	tests := []struct{ name, in, code, text string }{
		{"JS-15 not JSON", `{"text":`, bad, "not valid JSON"},
		{"JS-15 not an object", `["TEXT"]`, bad, "must be an object"},
		{"JS-15 not HSL", `{"a":1}`, bad, "message_body: type must name"},
		{"JS-15 duplicate inside", `{"text":"a","type":"TEXT","data":{"x":{"b":1,"b":2}}}`, bad, "twice, at byte 45 in data.x.b"},
		{"JS-15 case variant inside", `{"text":"a","Text":"b","type":"TEXT"}`, bad, "differs only in case from text"},
		{"JS-15 depth 65 inside", `{"text":"a","type":"X","data":` + strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 65), bad, "nested more than 64 deep"},
		{"no type", `{"text":"a","data":{}}`, bad, "type must name"},
		{"empty type", `{"text":"a","type":""}`, bad, "type must name"},
		{"type in another case", `{"text":"a","Type":"TEXT"}`, bad, "type must name"},
		{"type not a string", `{"text":"a","type":1}`, bad, "message_body: type must be a string"},
		{"type null", `{"text":"a","type":null}`, bad, "type must be a string"},
		{"no text", `{"type":"TEXT","data":{}}`, bad, "text is missing"},
		{"null text", `{"text":null,"type":"SYSTEM","data":{}}`, bad, "text is missing"},
		{"no text on buttons", `{"type":"BUTTON","data":{"items":[]}}`, bad, "text is missing"},
		{"text not a string", `{"text":{"a":1},"type":"RECEIPT"}`, bad, "text must be a string"},
		{"data not an object", `{"text":"a","type":"RECEIPT","data":[]}`, bad, "data must be an object"},
		{"data a string", `{"text":"a","type":"TEXT","data":"{}"}`, bad, "data must be an object"},
		{"number out of range", `{"text":"a","type":"X","data":{"n":1e999}}`, bad, "data.n: "},
		{"quick replies not a list", `{"text":"a","type":"TEXT","data":{"quick_replies":{}}}`, bad, "data.quick_replies must be an array"},
		{"quick reply not an object", `{"text":"a","type":"TEXT","data":{"quick_replies":["Yes"]}}`, bad, "data.quick_replies[0] must be an object"},
		{"quick reply without caption", `{"text":"a","type":"TEXT","data":{"quick_replies":[{"payload":{"message":"m"}}]}}`, bad, "data.quick_replies[0].actionable_text is missing"},
		{"quick reply without payload", `{"text":"a","type":"TEXT","data":{"quick_replies":[{"actionable_text":"m"}]}}`, bad, "data.quick_replies[0].payload.message is missing"},
		{"quick reply without message", `{"text":"a","type":"TEXT","data":{"quick_replies":[{"actionable_text":"m","payload":{"message":null}}]}}`, bad, "data.quick_replies[0].payload.message is missing"},
		{"quick reply, gogo_message", `{"text":"a","type":"TEXT","data":{"quick_replies":[{"actionable_text":"m","payload":{"message":"a","gogo_message":1}}]}}`, bad, "data.quick_replies[0].payload.gogo_message must be a string"},
		{"buttons without data", `{"text":"a","type":"BUTTON"}`, bad, "data.items is missing"},
		{"buttons without items", `{"text":"a","type":"BUTTON","data":{"Items":[]}}`, bad, "data.items is missing"},
		{"button items", `{"text":"a","type":"BUTTON","data":{"items":"x"}}`, bad, "data.items must be an array"},
		{"button without caption", button(`{}`), bad, "data.items[1].actionable_text is missing"},
		{"button caption", button(`{"actionable_text":1}`), bad, "data.items[1].actionable_text must be a string"},
		{"button uri", button(`{"actionable_text":"a","uri":1}`), bad, "data.items[1].uri must be a string"},
		{"button type", button(`{"actionable_text":"a","type":[]}`), bad, "data.items[1].type must be a string"},
		{"button emoji", button(`{"actionable_text":"a","emoji":{}}`), bad, "data.items[1].emoji must be a string"},
		{"button is_default", button(`{"actionable_text":"a","is_default":2}`), bad, "data.items[1].is_default: must be 0 or 1"},
		{"button location_required", button(`{"actionable_text":"a","location_required":"no"}`), bad, "data.items[1].location_required: must be 0 or 1"},
		{"button payload", button(`{"actionable_text":"a","payload":"x"}`), bad, "data.items[1].payload must be an object"},
		{"button payload url", button(`{"actionable_text":"a","payload":{"url":7}}`), bad, "data.items[1].payload.url must be a string"},
		{"button payload images", button(`{"actionable_text":"a","payload":{"images":"x"}}`), bad, "data.items[1].payload.images must be an array"},
		{"button opening bad cards", button(`{"actionable_text":"a","payload":{"items":[{"actionables":[{}]}]}}`), bad, "data.items[1].payload.items[0].actionables[0].actionable_text is missing"},
		{"carousel without data", `{"type":"CAROUSEL"}`, bad, "data.items is missing"},
		{"carousel items", `{"type":"CAROUSEL","data":{"items":{}}}`, bad, "data.items must be an array"},
		{"carousel width", `{"type":"CAROUSEL","data":{"items":[],"width":3}}`, bad, "data.width must be a string"},
		{"carousel ratio", `{"type":"CAROUSEL","data":{"items":[],"image_aspect_ratio":"wide"}}`, bad, "data.image_aspect_ratio: must be a number"},
		{"carousel ratio true", `{"type":"CAROUSEL","data":{"items":[],"image_aspect_ratio":true}}`, bad, "data.image_aspect_ratio: must be a number"},
		{"card thumbnail", `{"type":"CAROUSEL","data":{"items":[{"thumbnail":"x"}]}}`, bad, "data.items[0].thumbnail must be an object"},
		{"card title", `{"type":"CAROUSEL","data":{"items":[{},{"title":1}]}}`, bad, "data.items[1].title must be a string"},
		{"card button", `{"type":"CAROUSEL","data":{"items":[{"actionables":[{}]}]}}`, bad, "data.items[0].actionables[0].actionable_text is missing"},
		{"card button, other name", `{"type":"CAROUSEL","data":{"items":[{"actionable":[{}]}]}}`, bad, "data.items[0].actionable[0].actionable_text is missing"},
		{"card mini button", `{"type":"CAROUSEL","data":{"items":[{"mini_actionable":{"payload":{"items":[{"actionables":[{}]}]}}}]}}`, bad, "data.items[0].mini_actionable.payload.items[0].actionables[0].actionable_text is missing"},
		{"JS-16 image", `{"type":"CAROUSEL","data":{"items":[{"thumbnail":{"image":"data:image/png;base64,AA"}}]}}`, "unsafe_url", "data.items[0].thumbnail.image must begin with"},
		{"JS-16 in a list of images", button(`{"actionable_text":"a","payload":{"images":["https://a","javascript:1"]}}`), "unsafe_url", "data.items[1].payload.images[1] must begin with"},
		{"JS-16 profile image", `{"text":"a","type":"SYSTEM","data":{"payload":{"profile_image":"/p.png"}}}`, "unsafe_url", "data.payload.profile_image must begin with"},
		{"JS-16 unknown type", `{"text":"a","type":"TAB_LIST","data":{"tabs":[{"URL":"vbscript:x"}]}}`, "unsafe_url", "data.tabs[0].URL must begin with"},
		{"JS-16 a long path is cut", `{"text":"a","type":"X","data":{"` + strings.Repeat("é", 900) + `":{"link":"x:y"}}}`, "unsafe_url", "éé.link must begin with"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := hsl.Parse([]byte(tt.in))
			if tract.CodeOf(err) != tt.code || tract.KindOf(err) != tract.KindInvalid || !strings.Contains(err.Error(), tt.text) {
				t.Fatalf("got %v (%s), want %s (%s)", err, tract.CodeOf(err), tt.text, tt.code)
			}
			if !strings.HasPrefix(err.Error(), "message_body: ") || len(err.Error()) > 500 {
				t.Errorf("text: %s", err)
			}
		})
	}
}

func TestURLs(t *testing.T) {
	tests := []struct {
		url  string
		safe bool
	}{
		{"", true},
		{"http://x.example", true},
		{"HTTPS://x.example/%7Ea?b=c#d", true},
		{"https://x.example/ä b", true},
		{"tel:+49-123", true},
		{"mailto:a@x.example?subject=b", true},
		{"https://x.example/" + strings.Repeat("a", 2048-18), true},
		{"https://x.example/" + strings.Repeat("a", 2048-17), false},
		{"https://x.example/" + strings.Repeat("a", 3<<10), false},
		{"javascript:alert(1)", false},
		{"JavaScript:alert(1)", false},
		{"data:text/html,<script>", false},
		{" java\tscript:alert(1)", false},
		{"java\tscript:alert(1)", false},
		{" javascript:alert(1)", false},
		{"\u00a0javascript:alert(1)", false},
		{"//evil", false},
		{`\\evil`, false},
		{"/path", false},
		{"www.x.example", false},
		{"https:evil", false},
		{"https:///evil", false},
		{"https://", false},
		{"https://x.example/\n", false},
		{"https://x.example/%zz", false},
		{"vbscript:x", false},
		{"file:///etc/passwd", false},
		{"blob:https://x.example/1", false},
		{"intent://x#Intent;end", false},
	}
	for _, tt := range tests {
		for _, name := range []string{"url", "link", "callback_link", "image"} {
			quoted, _ := json.Marshal(tt.url)
			_, err := hsl.Parse([]byte(button(`{"actionable_text":"a","payload":{"` + name + `":` + string(quoted) + `}}`)))
			if safe := err == nil; safe != tt.safe {
				t.Errorf("%s %.60q: %v", name, tt.url, err)
			}
			if err != nil && (tract.CodeOf(err) != "unsafe_url" || !strings.Contains(err.Error(), "data.items[1].payload."+name+" must")) {
				t.Errorf("%s %.60q: %v (%s)", name, tt.url, err, tract.CodeOf(err))
			}
		}
	}
}

func TestParseBody(t *testing.T) {
	tests := []struct {
		name, in string
		text     string // of the TEXT element; "" when refused
		code     string
	}{
		{"plain", "hello", "hello", ""},
		{"empty", "", "", ""},
		{"JS-15 string that is not JSON", `{hello`, `{hello`, ""},
		{"braces in front", ` {task} hi`, ` {task} hi`, ""},
		{"object and more", `{"text":"a","type":"TEXT"} bye`, `{"text":"a","type":"TEXT"} bye`, ""},
		{"bad twice, once in syntax", `{"a":1,"a":2 bye`, `{"a":1,"a":2 bye`, ""},
		{"array", `[{"text":"a"}]`, `[{"text":"a"}]`, ""},
		{"JSON string", `"a"`, `"a"`, ""},
		{"number", `12`, `12`, ""},
		{"element", " {\"text\":\"a\",\"type\":\"TEXT\"}", "a", ""},
		{"JS-15 object but not HSL", `{}`, "", "invalid_message_body"},
		{"JS-15 duplicate", `{"text":"a","text":"b","type":"TEXT"}`, "", "invalid_message_body"},
		{"JS-15 lone surrogate", `{"text":"\ud800","type":"TEXT"}`, "", "invalid_message_body"},
		{"JS-15 NUL", `{"text":"\u0000","type":"TEXT"}`, "", "invalid_message_body"},
		{"JS-15 too deep for every parser", `{"a":` + strings.Repeat("[", 11_000) + strings.Repeat("]", 11_000) + `}`, "", "invalid_message_body"},
		{"JS-16", button(`{"actionable_text":"a","payload":{"url":"javascript:x"}}`), "", "unsafe_url"},
		{"not UTF-8", "a\xff", "", "invalid_message_body"},
		{"not UTF-8 in JSON", "{\"text\":\"\xff\",\"type\":\"TEXT\"}", "", "invalid_message_body"},
		{"raw NUL", "a\x00b", "", "invalid_message_body"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := hsl.ParseBody(tt.in)
			if tt.code != "" {
				if tract.CodeOf(err) != tt.code {
					t.Fatalf("got %v, want %s", err, tt.code)
				}
				return
			}
			if err != nil || e.Type != hsl.TypeText || e.Text != tt.text {
				t.Fatalf("got %+v, %v", e, err)
			}
		})
	}
}

func TestTextIsCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"":                       `{"text":"","type":"TEXT","data":{}}`,
		`a "b" \ / <i>&</i>`:     `{"text":"a \"b\" \\ / <i>&</i>","type":"TEXT","data":{}}`,
		"\n\r\t\x01\x1f\x7f":     `{"text":"\n\r\t\u0001\u001f` + "\x7f" + `","type":"TEXT","data":{}}`,
		"\u2028ä\U0001F600":      "{\"text\":\"\u2028ä\U0001F600\",\"type\":\"TEXT\",\"data\":{}}",
		"cut \xf0\x9f and \x00.": "{\"text\":\"cut \ufffd and \ufffd.\",\"type\":\"TEXT\",\"data\":{}}",
	} {
		e := hsl.Text(in)
		if e.Body() != want {
			t.Errorf("%q:\n got %s\nwant %s", in, e.Body(), want)
		}
		if got, err := hsl.Parse(e.Raw); err != nil || cmp.Diff(e, got) != "" {
			t.Errorf("%q: read back %+v, %v", in, got, err)
		}
	}
}

func TestSystem(t *testing.T) {
	var none map[string]string
	for _, tt := range []struct {
		data any
		want string
	}{
		{nil, `{"text":"Mia <b>","type":"SYSTEM","data":{}}`},
		{none, `{"text":"Mia <b>","type":"SYSTEM","data":{}}`},
		{map[string]string{"event_name": "chat_pinned <"}, `{"text":"Mia <b>","type":"SYSTEM","data":{"event_name":"chat_pinned <"}}`},
	} {
		e, err := hsl.System("Mia <b>", tt.data)
		if err != nil || e.Body() != tt.want || e.Text != "Mia <b>" || e.Type != hsl.TypeSystem {
			t.Errorf("got %+v, %v", e, err)
		}
	}
	for name, data := range map[string]any{"list": []int{1}, "not JSON": math.NaN(), "unsafe": map[string]string{"profile_image": "x"}} {
		if _, err := hsl.System("a", data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDisplayAndTranscript(t *testing.T) {
	tests := []struct{ text, display, transcript string }{
		{"hello ", "hello ", "hello "},
		{"Track my order {task}", "Track my order", "Track my order {task}"},
		{"a{api:x, y:z}b", "ab", "a{api:x, y:z}b"},
		{"{feedback}", "", "{feedback}"},
		{"a {b {c} d} e", "a  e", "a {b {c} d} e"},
		{"a } b", "a } b", "a } b"},
		{"a { b {c}", "a { b", "a { b {c}"},
		{"ä{ö}ü", "äü", "ä{ö}ü"},
		{"", "", "TEXT"},
	}
	for _, tt := range tests {
		e := hsl.Text(tt.text)
		if e.Display() != tt.display || e.Transcript() != tt.transcript {
			t.Errorf("%q: shows %q, transcript %q", tt.text, e.Display(), e.Transcript())
		}
	}
	if e, err := hsl.Parse([]byte(`{"type":"CAROUSEL","data":{"items":[]}}`)); err != nil || e.Transcript() != "CAROUSEL" || e.Display() != "" {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestChoices(t *testing.T) {
	want := map[string][]hsl.Choice{
		"quick replies": {{"Yes", "Yes, please", "yes{task}"}, {"No", "No", "No"}},
		"buttons":       {{"Track", "Track it", "Track it"}, {"Help", "Help", "Help"}},
		"carousel":      {{"Buy A", "Buy A", "Buy A"}, {"Watch", "Watch B", "watch"}},
	}
	for _, tt := range elements {
		e, err := hsl.Parse([]byte(tt.raw))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want[tt.name], e.Choices()); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
		if !hsl.MayOffer(tt.raw) && want[tt.name] != nil {
			t.Errorf("%s is said to offer nothing", tt.name)
		}
	}
	if hsl.MayOffer(hsl.Text("Track my order").Body()) {
		t.Error("a plain text is said to offer something")
	}
	if c := (hsl.Element{}).Choices(); c != nil {
		t.Errorf("the zero element offers %v", c)
	}
}

func TestOffer(t *testing.T) {
	e := hsl.Offer("Did you mean?", []hsl.Choice{{Caption: `The "first"`, Message: `The "first"`}, {Caption: "b<\x00", Message: "c", GogoMessage: `"d"{e}`}})
	const want = `{"text":"Did you mean?","type":"TEXT","data":{"quick_replies":[` +
		`{"actionable_text":"The \"first\"","is_default":0,"type":"TEXT_ONLY","payload":{"message":"The \"first\"","gogo_message":""}},` +
		`{"actionable_text":"b<` + "\ufffd" + `","is_default":0,"type":"TEXT_ONLY","payload":{"message":"c","gogo_message":"\"d\"{e}"}}]}}`
	if e.Body() != want {
		t.Errorf("got %s", e.Body())
	}
	got, err := hsl.Parse(e.Raw)
	if err != nil || cmp.Diff(e, got) != "" {
		t.Errorf("read back %+v, %v", got, err)
	}
	choices := []hsl.Choice{{`The "first"`, `The "first"`, `The "first"`}, {"b<\ufffd", "c", `"d"{e}`}}
	if d := cmp.Diff(choices, e.Choices()); d != "" {
		t.Error(d)
	}
	if none := hsl.Offer("a", nil); none.Body() != `{"text":"a","type":"TEXT","data":{"quick_replies":[]}}` {
		t.Errorf("without choices: %s", none.Body())
	}
}

func TestMarshal(t *testing.T) {
	e, err := hsl.Parse([]byte(elements[4].raw))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(map[string]any{"body": e, "none": hsl.Element{}}); err != nil {
		t.Fatal(err)
	}
	var want bytes.Buffer
	if err := json.Compact(&want, []byte(`{"body":`+elements[4].raw+`,"none":null}`)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want.String()+"\n", got.String()); d != "" {
		t.Error(d)
	}
}

func FuzzParse(f *testing.F) {
	for _, tt := range elements {
		f.Add([]byte(tt.raw))
	}
	f.Add([]byte(`{"text":"a","type":"TEXT","data":{"quick\u005freplies":[{"actionable_text":"b","type":"TEXT_ONLY"}]}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := hsl.Parse(raw)
		if err != nil {
			if tract.KindOf(err) != tract.KindInvalid {
				t.Fatalf("unclassified: %v", err)
			}
			return
		}
		if s := hsl.Summary(raw); s.Text != e.Text || s.Type != e.Type {
			t.Fatalf("%q sums up as %q, %q", raw, s.Text, s.Type)
		}
		if !bytes.Equal(e.Raw, raw) || e.Type == "" || e.Transcript() == "" {
			t.Fatalf("%q became %+v", raw, e)
		}
		if len(e.Choices()) > 0 && !hsl.MayOffer(string(raw)) {
			t.Fatalf("%q is said to offer nothing", raw)
		}
		for _, c := range e.Choices() {
			if c.Message == "" && c.Caption != "" {
				t.Fatalf("%q: empty choice %+v", raw, c)
			}
		}
		if strings.Count(e.Display(), "") > strings.Count(e.Text, "") {
			t.Fatalf("%q shows %q", e.Text, e.Display())
		}
	})
}

func FuzzParseBody(f *testing.F) {
	for _, tt := range elements {
		f.Add(tt.raw)
	}
	f.Add("plain {text}")
	f.Add("{\"a\":\"\xff")
	f.Fuzz(func(t *testing.T, body string) {
		e, err := hsl.ParseBody(body)
		if err != nil {
			if tract.KindOf(err) != tract.KindInvalid {
				t.Fatalf("unclassified: %v", err)
			}
			return
		}
		again, err := hsl.ParseBody(e.Body())
		if err != nil {
			t.Fatalf("%q: not read back: %v", e.Body(), err)
		}
		if d := cmp.Diff(e, again); d != "" {
			t.Fatalf("%q: %s", body, d)
		}
	})
}

func BenchmarkParseBody(b *testing.B) {
	for name, body := range map[string]string{"plain": "where is my order?", "text": elements[0].raw, "carousel": elements[6].raw} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := hsl.ParseBody(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
