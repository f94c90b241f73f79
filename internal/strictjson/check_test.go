package strictjson_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"tract"
	"tract/internal/strictjson"
)

// members returns an object with n members.
func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":1`, i)
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

func nested(open, inner, end string, depth int) string {
	return strings.Repeat(open, depth) + inner + strings.Repeat(end, depth)
}

var checks = []struct {
	name string
	in   string
	code string // "" = accepted
}{
	{"JS-01 empty", "", "invalid_json"},
	{"JS-01 spaces only", " \n", "invalid_json"},
	{"JS-01 null is a text", "null", ""},
	{"JS-02 truncated object", `{"a":1`, "invalid_json"},
	{"JS-02 truncated string", `{"a":"x`, "invalid_json"},
	{"JS-02 truncated escape", `{"a":"\u12`, "invalid_json"},
	{"JS-02 truncated word", `{"a":tru`, "invalid_json"},
	{"JS-02 only a quote", `"`, "invalid_json"},
	{"JS-02 only a backslash", `"\`, "invalid_json"},
	{"JS-02 trailing comma in object", `{"a":1,}`, "invalid_json"},
	{"JS-02 trailing comma in array", `[1,]`, "invalid_json"},
	{"JS-02 leading comma", `[,1]`, "invalid_json"},
	{"JS-02 comment", `{"a":1/* x */}`, "invalid_json"},
	{"JS-02 NaN", `{"a":NaN}`, "invalid_json"},
	{"JS-02 Infinity", `{"a":-Infinity}`, "invalid_json"},
	{"JS-02 single quotes", `{'a':1}`, "invalid_json"},
	{"JS-02 bare name", `{a:1}`, "invalid_json"},
	{"JS-02 no colon", `{"a" 1}`, "invalid_json"},
	{"JS-02 wrong closer", `{"a":1]`, "invalid_json"},
	{"JS-02 leading zero", `{"a":01}`, "invalid_json"},
	{"JS-02 plus", `[+1]`, "invalid_json"},
	{"JS-02 bare dot", `[1.]`, "invalid_json"},
	{"JS-02 bare exponent", `[1e]`, "invalid_json"},
	{"JS-02 bare exponent sign", `[1e+]`, "invalid_json"},
	{"JS-02 hexadecimal", `[0x1]`, "invalid_json"},
	{"JS-02 unknown escape", `["\x41"]`, "invalid_json"},
	{"JS-02 raw newline in string", "[\"a\nb\"]", "invalid_json"},
	{"JS-02 form feed between", "[1,\f2]", "invalid_json"},
	{"JS-03 two values", `{}{}`, "trailing_data"},
	{"JS-03 garbage", `{}garbage`, "trailing_data"},
	{"JS-03 NUL behind", "{}\x00", "trailing_data"},
	{"JS-03 only spaces behind", "{} \r\n\t", ""},
	{"JS-04 byte order mark", "\ufeff{}", "invalid_json"},
	{"JS-05 duplicate", `{"a":1,"b":2,"a":3}`, "duplicate_member"},
	{"JS-05 duplicate of empty name", `{"":1,"":3}`, "duplicate_member"},
	{"JS-05 duplicate after nested", `{"a":{"a":1},"b":[{"a":1}],"a":3}`, "duplicate_member"},
	{"JS-05 duplicate nested", `{"metadata":{"agent":[0,{"name":1,"x":{},"name":2}]}}`, "duplicate_member"},
	{"JS-05 duplicate by escape", `{"\u0061b":1,"ab":2}`, "duplicate_member"},
	{"JS-05 duplicate by surrogate escape", `{"\uD83D\ude00":1,"😀":2}`, "duplicate_member"},
	{"JS-05 duplicate by escaped slash", `{"a\/b":1,"a/b":2}`, "duplicate_member"},
	{"JS-05 same name in siblings", `[{"a":1},{"a":2},{"b":{"a":{"a":1}}}]`, ""},
	{"JS-05 prefix is another name", `{"a":1,"aa":2,"":3}`, ""},
	{"JS-06 case variant", `{"user_id":"u","User_Id":"v"}`, "duplicate_member"},
	{"JS-06 case variant alone", `{"User_Id":"v"}`, ""},
	{"JS-06 Kelvin sign", "{\"key\":1,\"\u212aey\":2}", "duplicate_member"},
	{"JS-06 long s", "{\"user\":1,\"u\u017fer\":2}", "duplicate_member"},
	{"JS-06 Greek", `{"Σ":1,"ς":2}`, "duplicate_member"},
	{"JS-06 not a case pair", `{"ß":1,"ss":2}`, ""},
	{"JS-07 bare continuation byte", "{\"a\":\"\x80\"}", "invalid_utf8"},
	{"JS-07 overlong", "{\"a\":\"\xc0\xaf\"}", "invalid_utf8"},
	{"JS-07 surrogate in UTF-8", "{\"a\":\"\xed\xa0\x80\"}", "invalid_utf8"},
	{"JS-07 truncated sequence", "{\"a\":\"\xf0\x9f\"}", "invalid_utf8"},
	{"JS-07 in a name", "{\"\xff\":1}", "invalid_utf8"},
	{"JS-07 outside strings", "{\"a\":\xff}", "invalid_utf8"},
	{"a character outside strings", "{\"a\":\u00e4}", "invalid_json"},
	{"JS-07 UTF-16 with mark", "\xff\xfe{\x00}\x00", "invalid_utf8"},
	{"JS-07 UTF-16", "{\x00}\x00", "invalid_json"},
	{"JS-07 replacement character is fine", "\"\ufffd\uffff\"", ""},
	{"JS-08 lone high surrogate", `{"a":"\ud800"}`, "invalid_unicode"},
	{"JS-08 high surrogate then character", `{"a":"\ud800\u0041"}`, "invalid_unicode"},
	{"JS-08 two high surrogates", `{"a":"\ud800\ud800"}`, "invalid_unicode"},
	{"JS-08 lone low surrogate", `{"a":"\udc00"}`, "invalid_unicode"},
	{"JS-08 reversed pair", `{"a":"\udc00\ud800"}`, "invalid_unicode"},
	{"JS-08 in a name", `{"\ud800":1}`, "invalid_unicode"},
	{"JS-08 good pair", `{"a":"\ud83d\ude00"}`, ""},
	{"JS-09 NUL escape", `{"a":"x\u0000"}`, "nul_character"},
	{"JS-09 NUL escape in a name", `{"\u0000":1}`, "nul_character"},
	{"JS-09 escaped backslash before u0000", `{"a":"\\u0000"}`, ""},
	{"JS-09 raw NUL", "{\"a\":\"\x00\"}", "invalid_json"},
	{"JS-10 depth 64 of arrays", nested("[", "", "]", 64), ""},
	{"JS-10 depth 65 of arrays", nested("[", "", "]", 65), "too_deep"},
	{"JS-10 depth 64 of objects", nested(`{"a":`, "1", "}", 64), ""},
	{"JS-10 depth 65 of objects", nested(`{"a":`, "1", "}", 65), "too_deep"},
	{"JS-10 depth 10,001", nested("[", "", "]", 10_001), "too_deep"},
	{"JS-10 64 deep twice", "[" + nested("[", "", "]", 63) + "," + nested("[", "", "]", 63) + "]", ""},
	{"JS-12 1,000 members", members(1000), ""},
	{"JS-12 1,001 members", members(1001), "too_many_members"},
	{"JS-12 100,000 members", members(100_000), "too_many_members"},
	{"JS-12 1 MiB name", `{"` + strings.Repeat("k", 1<<20) + `":1}`, ""},
	{"JS-24 odd but sound text", "{\"a\":\"e\u0301\u202e\u200d\U0001F469\u200d\U0001F680\"}", ""},
	{"all kinds", ` { "a" : [ -0.5e+10 , 0 , true , false , null , "" , {} , [] ] , "b" : { } } `, ""},
}

func TestCheck(t *testing.T) {
	for _, tt := range checks {
		t.Run(tt.name, func(t *testing.T) {
			err := strictjson.Check([]byte(tt.in), strictjson.Limits{})
			if tt.code == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if tract.CodeOf(err) != tt.code || tract.KindOf(err) != tract.KindInvalid {
				t.Fatalf("got %v (%s), want %s", err, tract.CodeOf(err), tt.code)
			}
			if len(err.Error()) > 1000 {
				t.Errorf("the text has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestCheckSaysWhere(t *testing.T) {
	tests := []struct{ in, want string }{
		{`{"metadata":{"agent":{"name":1,"name":2}}}`, "the member appears twice, at byte 31 in metadata.agent.name"},
		{`{"user_id":1,"User_Id":2}`, "the member name differs only in case from user_id, at byte 13 in User_Id"},
		{`{"items":[0,{"a b":["\u0000"]}]}`, `a string contains the NUL character, at byte 21 in items[1]."a b"[0]`},
		{`{"a":1,"b":2 "c"}`, "not valid JSON: expected a comma or '}', at byte 13 in b"},
		{`{"a":1,`, "not valid JSON: the text ends too early, at byte 7"},
		{``, "not valid JSON: the text ends too early, at byte 0"},
		{"{\"ab\":\"\u00e4\xff\"}", "the text is not UTF-8, at byte 9 in ab"},
		{`{"":{"` + strings.Repeat("x", 99) + `":!}}`, `not valid JSON: expected a value, at byte 107 in "".` + strings.Repeat("x", 64) + `…`},
	}
	for _, tt := range tests {
		if err := strictjson.Check([]byte(tt.in), strictjson.Limits{}); err == nil || err.Error() != tt.want {
			t.Errorf("%s:\n got %v\nwant %s", tt.in, err, tt.want)
		}
	}
}

func TestLimits(t *testing.T) {
	lim := strictjson.Limits{Depth: 2, Members: 3}
	for in, code := range map[string]string{
		`[[]]`:                          "internal", // no error
		`[[[]]]`:                        "too_deep",
		`{"a":1,"b":2,"c":3}`:           "internal",
		`{"a":1,"b":2,"c":3,"d":4}`:     "too_many_members",
		`[{"a":1,"b":2},{"a":1,"b":2}]`: "internal",
	} {
		if got := tract.CodeOf(strictjson.Check([]byte(in), lim)); got != code {
			t.Errorf("%s: %s, want %s", in, got, code)
		}
	}
}

func TestJS10IsFast(t *testing.T) {
	for name, in := range map[string]string{
		"a million brackets": strings.Repeat("[", 1_000_000),
		"a million braces":   strings.Repeat(`{"a":`, 250_000),
	} {
		body, best := []byte(in), time.Hour
		for range 5 { // the best of a few, since the machine may be busy
			start := time.Now()
			if strictjson.Check(body, strictjson.Limits{}) == nil {
				t.Fatalf("%s: accepted", name)
			}
			best = min(best, time.Since(start))
		}
		if best > 10*time.Millisecond {
			t.Errorf("%s: %v", name, best)
		}
	}
}

// FuzzCheck holds Check against encoding/json: what Check accepts is valid
// there, and what it calls a syntax error is invalid there.
func FuzzCheck(f *testing.F) {
	for _, tt := range checks {
		if len(tt.in) < 1000 {
			f.Add([]byte(tt.in))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := strictjson.Check(b, strictjson.Limits{})
		valid := json.Valid(b)
		switch code := tract.CodeOf(err); {
		case err == nil && !valid:
			t.Fatalf("accepted what encoding/json refuses: %q", b)
		case err != nil && tract.KindOf(err) != tract.KindInvalid:
			t.Fatalf("unclassified error: %v", err)
		case (code == "invalid_json" || code == "trailing_data") && valid:
			t.Fatalf("called invalid what encoding/json takes: %q: %v", b, err)
		case err == nil:
			var x any
			if !bytes.Contains(b, []byte(`e`)) && !bytes.Contains(b, []byte(`E`)) && len(b) < 300 && json.Unmarshal(b, &x) != nil {
				t.Fatalf("encoding/json does not decode %q", b)
			}
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	item := `{"actionable_text":"Track \u00fcber","is_default":1,"type":"TEXT_ONLY","payload":{"message":"Track my order, please","gogo_message":null,"n":-12.5e3}},`
	typical := `{"user_id":"u1","items":[` + strings.Repeat(item, (64<<10)/len(item)) + `{}]}`
	for name, in := range map[string]string{
		"typical 64 KiB": typical,
		"one string":     `{"a":"` + strings.Repeat("x", 64<<10) + `"}`,
		"full objects":   "[" + strings.TrimSuffix(strings.Repeat(members(1000)+",", 6), ",") + "]",
		// The ways to make looking for duplicates slow: many names in one
		// object, and equal names at many depths.
		"full objects, nested": strings.Repeat(strings.TrimSuffix(members(999), "}")+`,"z":`, 60),
		"small body":           `{"user_id":"u1","message_body":"hello","sender":"aeu","metadata":{"agent":{"name":"Mia"}}}`,
		"million brackets":     strings.Repeat("[", 1_000_000),
	} {
		b.Run(name, func(b *testing.B) {
			body := []byte(in)
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				_ = strictjson.Check(body, strictjson.Limits{})
			}
		})
	}
}
