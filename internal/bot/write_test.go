package bot_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"tract"
	"tract/internal/bot"
	"tract/internal/store"
)

func export(t interface{ Fatal(...any) }, steps []tract.Step) []byte {
	var b bytes.Buffer
	if err := bot.WriteCSV(&b, func(fn func(tract.Step) error) error {
		for _, s := range steps {
			if err := fn(s); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWriteCSV(t *testing.T) {
	plain := tract.Step{Name: "A", Questions: []string{"q", "r"}, Answers: []string{"x", "y"}}
	tests := []struct {
		name  string
		steps []tract.Step
		want  string
	}{
		{"nothing", nil, "node_name,question,answer\n"},
		{"plain", []tract.Step{plain}, "node_name,question,answer\nA,q|r,x<m>y\n"},
		{"CS-15 formulas", []tract.Step{plain, {Name: "=B", Questions: []string{"+1"}, Answers: []string{"-1", "@SUM"}}},
			"node_name,question,answer,apostrophe_added\nA,q|r,x<m>y,\n'=B,'+1,'-1<m>@SUM,node_name question answer\n"},
		{"an apostrophe of the text's own", []tract.Step{{Name: "'=A", Questions: []string{"''"}, Answers: []string{"'"}}}, "node_name,question,answer\n'=A,''," + "'\n"},
		{"both", []tract.Step{{Name: "'=A", Questions: []string{"=q"}, Answers: []string{"x"}}}, "node_name,question,answer,apostrophe_added\n'=A,'=q,x,question\n"},
		{"wide signs", []tract.Step{{Name: "＝A", Questions: []string{"q"}, Answers: []string{"x"}}}, "node_name,question,answer,apostrophe_added\n'＝A,q,x,node_name\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			out := export(t, tt.steps)
			diff(t, "file", tt.want, string(out))
			if len(tt.steps) == 0 {
				return
			}
			back, warnings, err := bot.ParseCSV(out)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("read again: %v %v", err, warnings)
			}
			diff(t, "steps", tt.steps, back)
		})
	}
}

func TestApostropheColumn(t *testing.T) {
	one := func(name, question, answer string) []tract.Step {
		return []tract.Step{{Name: name, Questions: []string{question}, Answers: []string{answer}}}
	}
	tests := []struct {
		name, in string
		want     []tract.Step
	}{
		{"without the column an apostrophe stays", "node_name,question,answer\n'=A,'+q,'@x\n", one("'=A", "'+q", "'@x")},
		{"only what is named", "node_name,question,answer,apostrophe_added\n'=A,'+q,'@x,question\n", one("'=A", "+q", "'@x")},
		{"only one is taken", "node_name,question,answer,apostrophe_added\n''A,q,x,node_name\n", one("'A", "q", "x")},
		{"a cell that somebody changed", "node_name,question,answer,apostrophe_added\nA,q,x,answer\n", one("A", "q", "x")},
		{"another order and case, saved by a spreadsheet", "Apostrophe_Added,Answer,Question,Node_Name\r\nANSWER,'=x,q,A\r\n", one("A", "q", "=x")},
		{"other words in it", "node_name,question,answer,apostrophe_added\n'A,q,x,yes apostrophe_added node\n", one("'A", "q", "x")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, warnings, err := bot.ParseCSV([]byte(tt.in))
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			diff(t, "steps", tt.want, got)
		})
	}
	// The longest cell still fits with its apostrophe.
	long := []tract.Step{{Name: "A", Questions: []string{"=" + strings.Repeat("q", 32<<10-1)}, Answers: []string{"x"}}}
	back, _, err := bot.ParseCSV(export(t, long))
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "the longest cell", long, back)
}

// anyText likes what is special to the format and to spreadsheets.
func anyText(t *rapid.T, label string, without ...string) string {
	part := rapid.OneOf(rapid.SampledFrom([]string{"'", "''", "=", "+", "-", "@", "\t", "\r", "\n", "\r\n", "\"", ",", ";", "|", "<m>", "<m", "{", "{\"", "}", "＝", "é", "\u00a0", "\ufeff", "\\.", " "}), rapid.StringN(1, 4, -1))
	s := strings.Join(rapid.SliceOfN(part, 1, 6).Draw(t, label), "")
	for _, w := range without {
		for strings.Contains(s, w) {
			s = strings.ReplaceAll(s, w, "")
		}
	}
	return strings.TrimSpace(strings.ReplaceAll(s, "\x00", ""))
}

// anySteps are steps as an import may leave them.
func anySteps(t *rapid.T) (out []tract.Step) {
	names := map[string]bool{}
	for range rapid.IntRange(1, 5).Draw(t, "steps") {
		s := tract.Step{Name: strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return -1
			}
			return r
		}, anyText(t, "name"))}
		s.Name = strings.TrimSpace(s.Name)
		for range rapid.IntRange(1, 3).Draw(t, "questions") {
			s.Questions = append(s.Questions, anyText(t, "question", "|"))
		}
		for range rapid.IntRange(1, 3).Draw(t, "answers") {
			if rapid.Bool().Draw(t, "object") {
				text, err := json.Marshal(anyText(t, "text") + "<m>")
				if err != nil {
					t.Fatal(err)
				}
				s.Answers = append(s.Answers, `{"text": `+string(text)+`, "type": "TEXT", "data": {}}`)
				continue
			}
			a := anyText(t, "answer", "<m>")
			if strings.HasPrefix(a, "{") {
				a = "." + a // else it might be meant for an object
			}
			s.Answers = append(s.Answers, a)
		}
		empty := func(s string) bool { return s == "" }
		s.Questions, s.Answers = slices.DeleteFunc(s.Questions, empty), slices.DeleteFunc(s.Answers, empty)
		if key := store.StepKey(s.Name); key != "" && !names[key] && len(s.Questions) > 0 && len(s.Answers) > 0 {
			names[key] = true
			out = append(out, s)
		}
	}
	return out
}

func TestExportIsReversible(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		steps := anySteps(t)
		if len(steps) == 0 {
			t.Skip("no step")
		}
		out := export(t, steps)
		back, warnings, err := bot.ParseCSV(out)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%v %v\n%q", err, warnings, out)
		}
		if !slices.EqualFunc(steps, back, func(a, b tract.Step) bool {
			return a.Name == b.Name && slices.Equal(a.Questions, b.Questions) && slices.Equal(a.Answers, b.Answers)
		}) {
			t.Fatalf("came back as %q\nwas %q\nfile %q", back, steps, out)
		}
		if again := export(t, back); !bytes.Equal(out, again) {
			t.Fatalf("exported again: %q, before %q", again, out)
		}
		rows, err := csv.NewReader(bytes.NewReader(out)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			for _, cell := range row {
				if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
					t.Fatalf("the cell %q is like a formula", cell)
				}
			}
		}
	})
}
