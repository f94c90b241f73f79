package strictjson_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tract"
	"tract/internal/strictjson"
)

type agent struct {
	Name  string  `json:"name"`
	Email *string `json:"email,omitempty"`
}

type common struct {
	UserID string `json:"user_id"`
	Type   string `json:"type"`
}

type upper string

func (u *upper) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		return tract.Invalid("field_value", "must not be empty")
	}
	*u = upper(strings.ToUpper(string(b)))
	return nil
}

type request struct {
	common
	Type     int                        `json:"type"` // hides the embedded one
	Epoch    uint64                     `json:"control_epoch"`
	Small    int8                       `json:"small"`
	Ratio    float64                    `json:"ratio"`
	Yes      bool                       `json:"yes"`
	Agent    agent                      `json:"agent"`
	Maybe    *agent                     `json:"maybe"`
	Agents   []agent                    `json:"agents"`
	Labels   map[string]string          `json:"labels"`
	Raw      json.RawMessage            `json:"raw"`
	RawMap   map[string]json.RawMessage `json:"raw_map"`
	Any      any                        `json:"any"`
	Business strictjson.IntOrString     `json:"business_id"`
	At       time.Time                  `json:"at"`
	Upper    upper                      `json:"upper"`
	Plain    string
	*agent          // a pointer is not looked into
	Hidden   string `json:"-"`
	//lint:ignore U1000 it is there to stay untouched
	private string
}

func TestDecode(t *testing.T) {
	mail := "m@x"
	tests := []struct {
		name, in string
		want     request
	}{
		{"nothing", ` {} `, request{}},
		{"embedded", `{"user_id":"u","type":7}`, request{common: common{UserID: "u"}, Type: 7}},
		{"unknown members", `{"tenant_id":["x",{"y":"}]"}],"u":-1.5e3,"type":1,"e\"":null}`, request{Type: 1}},
		{"case variants are other names", `{"User_Id":"v","USER_ID2":1,"Type":"x","plain":"x","Hidden":"x","private":"x"}`, request{}},
		{"embedded pointer", `{"name":"x","email":1}`, request{}},
		{"untagged field", `{"Plain":"x"}`, request{Plain: "x"}},
		{"escapes", `{"user_id":"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00z"}`, request{common: common{UserID: "\"\\/\b\f\n\r\tä😀z"}}},
		{"escaped name", `{"us\u0065r_id":"u"}`, request{common: common{UserID: "u"}}},
		{"integers", `{"type":-9223372036854775808,"control_epoch":18446744073709551615,"small":-128}`, request{Type: math.MinInt64, Epoch: math.MaxUint64, Small: -128}},
		{"float and bool", `{"ratio":1.5e2,"yes":true}`, request{Ratio: 150, Yes: true}},
		{"nested", `{"agent":{"name":"Mia","Name2":1,"email":"m@x"},"maybe":{"name":"Bo"}}`, request{Agent: agent{"Mia", &mail}, Maybe: &agent{Name: "Bo"}}},
		{"null for pointers", `{"agent":{"name":"Mia","email":null},"maybe":null,"any":null}`, request{Agent: agent{Name: "Mia"}}},
		{"arrays", `{"agents":[ {"name":"a"} , {} ]}`, request{Agents: []agent{{Name: "a"}, {}}}},
		{"empty array", `{"agents":[]}`, request{Agents: []agent{}}},
		{"maps", `{"labels":{"a":"1","A b":"2"},"raw_map":{"x":[ 1 ]}}`, request{Labels: map[string]string{"a": "1", "A b": "2"}, RawMap: map[string]json.RawMessage{"x": json.RawMessage(`[ 1 ]`)}}},
		{"raw keeps its bytes", `{"raw": { "a" : [1.0, "\u0041<"] } }`, request{Raw: json.RawMessage(`{ "a" : [1.0, "\u0041<"] }`)}},
		{"any", `{"any":{"a":[1,"x",null]}}`, request{Any: map[string]any{"a": []any{1.0, "x", nil}}}},
		{"own decoders", `{"at":"2026-11-20T10:30:00Z","upper":"a\u0062"}`, request{At: time.Date(2026, 11, 20, 10, 30, 0, 0, time.UTC), Upper: "AB"}},
		{"number", `{"business_id":343}`, request{Business: strictjson.IntOrString{Set: true, Valid: true, Value: 343, Raw: "343"}}},
		{"number in a string", `{"business_id":"34\u0033"}`, request{Business: strictjson.IntOrString{Set: true, Valid: true, Value: 343, Raw: "343"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got request
			if err := strictjson.Decode([]byte(tt.in), &got); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(request{}, common{})); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	tests := []struct{ name, in, code, text string }{
		{"JS-01 empty", ``, "invalid_json", "ends too early"},
		{"JS-01 null", `null`, "object_expected", "must be an object"},
		{"JS-01 array", `[]`, "object_expected", "must be an object"},
		{"JS-01 string", `"x"`, "object_expected", "must be an object"},
		{"JS-01 number", ` 1`, "object_expected", "must be an object"},
		{"checked first", `{"type":"x","a":1,"a":2}`, "duplicate_member", "in a"},
		{"JS-13 number", `{"user_id":5}`, "field_type", "field user_id must be a string"},
		{"JS-13 null", `{"user_id":null}`, "field_type", "field user_id must be a string"},
		{"JS-13 object", `{"user_id":{}}`, "field_type", "field user_id must be a string"},
		{"JS-19 1.0", `{"type":1.0}`, "field_type", "field type must be an integer"},
		{"JS-19 1e3", `{"type":1e3}`, "field_type", "field type must be an integer"},
		{"JS-19 2^63", `{"type":9223372036854775808}`, "field_type", "field type must be an integer"},
		{"JS-19 -1", `{"control_epoch":-1}`, "field_type", "field control_epoch must be an integer"},
		{"JS-19 string", `{"type":"1"}`, "field_type", "field type must be an integer"},
		{"too big for the field", `{"small":128}`, "field_type", "field small must be an integer of at most 8 bits"},
		{"null for integer", `{"type":null}`, "field_type", "field type must be"},
		{"float", `{"ratio":"1"}`, "field_type", "field ratio must be a number"},
		{"float too big", `{"ratio":1e999}`, "field_type", "field ratio must be a number"},
		{"any too big", `{"any":[1e999]}`, "field_type", "field any: "},
		{"bool", `{"yes":1}`, "field_type", "field yes must be true or false"},
		{"bool null", `{"yes":null}`, "field_type", "field yes must be true or false"},
		{"struct", `{"agent":"x"}`, "field_type", "field agent must be an object"},
		{"struct null", `{"agent":null}`, "field_type", "field agent must be an object"},
		{"pointer to struct", `{"maybe":[]}`, "field_type", "field maybe must be an object"},
		{"slice", `{"agents":{}}`, "field_type", "field agents must be an array"},
		{"slice null", `{"agents":null}`, "field_type", "field agents must be an array"},
		{"in a slice", `{"agents":[{},{"name":[]}]}`, "field_type", "field agents[1].name must be a string"},
		{"map", `{"labels":[]}`, "field_type", "field labels must be an object"},
		{"in a map", `{"labels":{"a":"b","c d":1}}`, "field_type", `field labels."c d" must be a string`},
		{"nested", `{"agent":{"email":1}}`, "field_type", "field agent.email must be a string"},
		{"after nested", `{"agent":{"name":"a"},"agents":[{}],"labels":{"a":"b"},"yes":0}`, "field_type", "field yes must be"},
		{"own decoder", `{"at":"yesterday"}`, "field_type", "field at: "},
		{"own decoder with a code", `{"upper":""}`, "field_value", "field upper: must not be empty"},
		{"text decoder wants a string", `{"upper":1}`, "field_type", "field upper must be a string"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := strictjson.Decode([]byte(tt.in), &request{})
			if tract.CodeOf(err) != tt.code || tract.KindOf(err) != tract.KindInvalid || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("got %v (%s), want %s (%s)", err, tract.CodeOf(err), tt.text, tt.code)
			}
		})
	}
}

// Mistakes of ours are not the caller's: they are unclassified.
func TestDecodeWiring(t *testing.T) {
	var nilPointer *request
	for name, target := range map[string]any{
		"not a pointer":    request{},
		"nil pointer":      nilPointer,
		"unsupported type": &struct{ A chan int }{},
		"unsupported map":  &struct{ A map[int]int }{},
	} {
		in := `{"A":{},"name":"x"}`
		if err := strictjson.Decode([]byte(in), target); err == nil || tract.KindOf(err) != tract.KindInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIntOrString(t *testing.T) {
	tests := []struct {
		in   string
		want strictjson.IntOrString
	}{
		{`0`, strictjson.IntOrString{Valid: true, Raw: "0"}},
		{`"-12"`, strictjson.IntOrString{Valid: true, Value: -12, Raw: "-12"}},
		{`9223372036854775807`, strictjson.IntOrString{Valid: true, Value: math.MaxInt64, Raw: "9223372036854775807"}},
		{`"9223372036854775808"`, strictjson.IntOrString{Raw: "9223372036854775808"}},
		{`1.0`, strictjson.IntOrString{Raw: "1.0"}},
		{`1e3`, strictjson.IntOrString{Raw: "1e3"}},
		{`""`, strictjson.IntOrString{}},
		{`"-"`, strictjson.IntOrString{Raw: "-"}},
		{`" 1"`, strictjson.IntOrString{Raw: " 1"}},
		{`"+1"`, strictjson.IntOrString{Raw: "+1"}},
		{`"007"`, strictjson.IntOrString{Raw: "007"}},
		{`"1_0"`, strictjson.IntOrString{Raw: "1_0"}},
		{`"x\u0041"`, strictjson.IntOrString{Raw: "xA"}},
		{`null`, strictjson.IntOrString{Raw: "null"}},
		{`{"a": 1}`, strictjson.IntOrString{Raw: `{"a": 1}`}},
	}
	for _, tt := range tests {
		var got struct {
			N strictjson.IntOrString `json:"n"`
		}
		if err := strictjson.Decode([]byte(`{"n":`+tt.in+`}`), &got); err != nil {
			t.Errorf("%s: %v", tt.in, err)
		}
		tt.want.Set = true
		if d := cmp.Diff(tt.want, got.N); d != "" {
			t.Errorf("%s: %s", tt.in, d)
		}
	}
}

// FuzzDecode holds Decode against encoding/json on texts that Check accepts.
func FuzzDecode(f *testing.F) {
	for _, tt := range checks {
		if len(tt.in) < 1000 {
			f.Add([]byte(tt.in))
		}
	}
	f.Add([]byte(`{"a":"\"\\\/\b\f\n\r\t\u00e4\ud83d\ude00z", "b" : [ {"c":1e999} , -0 ] }`))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = strictjson.Decode(b, &request{}) // must not panic
		var raw map[string]json.RawMessage
		if strictjson.Decode(b, &raw) != nil {
			return
		}
		var got, want map[string]any
		err, wantErr := strictjson.Decode(b, &got), json.Unmarshal(b, &want)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: got %v, encoding/json %v", b, err, wantErr)
		}
		if d := cmp.Diff(want, got); err == nil && d != "" {
			t.Fatalf("%q: %s", b, d)
		}
		var strs, wantStrs struct {
			A string            `json:"a"`
			B []string          `json:"b"`
			C map[string]string `json:"c"`
		}
		if strictjson.Decode(b, &strs) == nil && json.Unmarshal(b, &wantStrs) == nil && want["A"] == nil && want["B"] == nil && want["C"] == nil {
			if d := cmp.Diff(wantStrs, strs); d != "" {
				t.Fatalf("%q: %s", b, d)
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	small := []byte(`{"user_id":"u1","type":3,"agent":{"name":"Mia","email":"m@x"},"raw":{"a":[1,2,3]},"labels":{"a":"b"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := strictjson.Decode(small, &request{}); err != nil {
			b.Fatal(err)
		}
	}
}
