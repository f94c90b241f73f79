package bot_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"tract"
	"tract/internal/bot"
	"tract/internal/store"
	"tract/internal/tracttest"
)

func TestParseCSV(t *testing.T) {
	plain := []tract.Step{{Name: "A", Questions: []string{"q1", "q2"}, Answers: []string{"x"}}, {Name: "B", Questions: []string{"q3"}, Answers: []string{"y", "z"}}}
	one := func(answers ...string) []tract.Step {
		return []tract.Step{{Name: "A", Questions: []string{"q"}, Answers: answers}}
	}
	tests := []struct {
		name, in string
		want     []tract.Step
		warnings []string
	}{
		{"plain", "node_name,question,answer\nA,q1|q2,x\nB,q3,y<m>z\n", plain, nil},
		{"CS-01 byte order mark and a quoted header", "\ufeff\"node_name\",question,answer\nA,q1|q2,x\nB,q3,y<m>z\n", plain, nil},
		{"CS-02 CRLF, blank lines, no last line end", "node_name,question,answer\r\n\r\nA,q1|q2,x\r\n,,\r\n  \r\nB,q3,y<m>z", plain, nil},
		{"CS-04 quotes", "node_name,question,answer\nA,q,\"say \"\"hi\"\",\nthen\r\ngo\"\n", one("say \"hi\",\nthen\r\ngo"), nil},
		{"CS-09 order, case and further columns", "Answer,Topic,NODE_NAME , Question,\nx,t,A,q1|q2,\ny<m>z,t,B,q3,\n", plain, []string{`column "Topic" is not known and ignored`, `column "" is not known and ignored`}},
		{"spaces and empty parts", "node_name,question,answer\n A , | q1 ||q2| ,<m> x <m>\nB,q3,y <m><m> z\n", plain, nil},
		{"CS-15 formulas stay as they are", "node_name,question,answer\nA,q,\"=HYPERLINK(\"\"x\"\")<m>+1<m>-1<m>@SUM<m>'=\"\n", one(`=HYPERLINK("x")`, "+1", "-1", "@SUM", "'="), nil},
		{"CS-16 a separator in capitals is text", "node_name,question,answer\nA,q,x<M>y\n", one("x<M>y"), nil},
		{"CS-18 markup", "node_name,question,answer\nA,q,<script>alert(1)</script>\n", one("<script>alert(1)</script>"), nil},
		{"an object, byte for byte", "node_name,question,answer\nA,q,\"Well<m> { \"\"text\"\": \"\"a\\u00e9 <m> b\"\",\n\"\"type\"\":\"\"TEXT\"\"} <m>end\"\n", one("Well", "{ \"text\": \"a\\u00e9 <m> b\",\n\"type\":\"TEXT\"}", "end"), nil},
		{"braces that are text", "node_name,question,answer\nA,q,{{text:hours}} and {name}<m>{user.name}!<m>{{user.name}}\n", one("{{text:hours}} and {name}", "{user.name}!", "{{user.name}}"), nil},
		{"names that are not the same", "node_name,question,answer\nA,q,x\nA1,q,x\nÄ,q,x\n", []tract.Step{{Name: "A", Questions: []string{"q"}, Answers: []string{"x"}}, {Name: "A1", Questions: []string{"q"}, Answers: []string{"x"}}, {Name: "Ä", Questions: []string{"q"}, Answers: []string{"x"}}}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, warnings, err := bot.ParseCSV([]byte(tt.in))
			if err != nil {
				t.Fatal(err)
			}
			diff(t, "steps", tt.want, got)
			diff(t, "warnings", tt.warnings, warnings)
			if err := bot.CheckFAQ([]byte(tt.in)); err != nil {
				t.Error(err)
			}
			// A reader that gives single bytes must not matter.
			n := 0
			if _, err := bot.ReadCSV(iotest.OneByteReader(strings.NewReader(tt.in)), func(int, tract.Step) error { n++; return nil }); err != nil || n != len(tt.want) {
				t.Errorf("byte by byte: %d steps, %v", n, err)
			}
		})
	}
}

func TestParseCSVRefuses(t *testing.T) {
	const head = "node_name,question,answer\n"
	tests := []struct {
		name, in       string
		line           int
		column, reason string
		text           string
	}{
		{"CS-03 CR only", "node_name,question,answer\rA,q,x\r", 1, "", "line_endings", "CR alone"},
		{"CS-03 a CR in between", head + "A,q,x\rB,q,x\n", 2, "answer", "line_endings", "CR alone"},
		{"CS-05 bare quote", head + "A,q,x\nB,q\"r,x\n", 3, "question", "quote", "double the quotes"},
		{"CS-05 text behind a quote", head + "A,\"q\"r,x\n", 2, "question", "quote", "behind the closing quote"},
		{"CS-05 never closed", head + "A,q,x\nB,q,\"x\n\n", 3, "answer", "quote", "opened on line 3 is never closed"},
		{"CS-06 never closed and long", head + "A,q,\"" + strings.Repeat("x", 1<<20), 2, "answer", "field_too_long", "32768"},
		{"CS-08 empty", "", 1, "", "no_rows", "empty"},
		{"CS-08 blank", "\ufeff\n\n", 1, "", "no_rows", "empty"},
		{"CS-08 header only", head, 2, "", "no_rows", "no step"},
		{"CS-08 no column", "node_name,answer\nA,x\n", 1, "", "column_missing", "it names node_name, answer"},
		{"CS-08 misspelt", "node name,question,answer\nA,q,x\n", 1, "", "column_missing", "node name"},
		{"CS-10 column twice", "node_name,question,answer,Answer\nA,q,x,y\n", 1, "answer", "column_duplicate", "twice"},
		{"CS-11 name twice", head + "A,\"q\nr\",x\nA,q,x\n", 4, "node_name", "duplicate", "line 2"},
		{"CS-11 but for case and spaces", head + "Opening  hours,q,x\n\nopening Hours ,q,x\n", 4, "node_name", "duplicate", "line 2"},
		{"CS-11 but for composition", head + "\u00c9t\u00e9,q,x\nE\u0301te\u0301,q,x\n", 3, "node_name", "duplicate", "line 2"},
		{"CS-12 short row", head + "A,q,x\nB,q\n", 3, "", "field_count", "2 fields, the header 3"},
		{"CS-12 long row", head + "A,q,x,y\n", 2, "", "field_count", "4 fields"},
		{"CS-13 Windows-1252", head + "A,caf\xe9,x\n", 2, "question", "encoding", "UTF-8"},
		{"CS-13 UTF-16", "\xff\xfen\x00o\x00", 1, "", "encoding", "UTF-16"},
		{"CS-13 NUL", head + "A,q\x00,x\n", 2, "question", "encoding", "NUL"},
		{"CS-14 semicolons", "node_name;question;answer\nA;q;x\n", 1, "", "delimiter", `";"`},
		{"CS-14 tabs", "node_name\tquestion\tanswer\nA\tq\tx\n", 1, "", "delimiter", `"\t"`},
		{"CS-16 too many messages", head + "A,q," + strings.Repeat("x<m>", 101) + "\n", 2, "answer", "too_many_messages", "100"},
		{"CS-17 unsafe URL", head + `A,q,"{""text"":""a"",""type"":""BUTTON"",""data"":{""items"":[{""actionable_text"":""b"",""payload"":{""url"":""javascript:1""}}]}}"`, 2, "answer", "unsafe_url", "response 1: data.items[0].payload.url"},
		{"CS-19 columns", strings.Repeat("c,", 100) + "c\n", 1, "", "too_many_columns", "100"},
		{"CS-19 field", head + "A,q," + strings.Repeat("x", 32<<10+1) + "\n", 2, "answer", "field_too_long", "32768"},
		{"CS-20 spreadsheet", "PK\x03\x04...", 1, "", "encoding", "spreadsheet"},
		{"CS-20 gzip", "\x1f\x8b\x08...", 1, "", "encoding", "compressed"},
		{"no name", head + "A,q,x\n ,q,x\n", 3, "node_name", "empty", "no name"},
		{"name too long", head + strings.Repeat("n", 201) + ",q,x\n", 2, "node_name", "field_too_long", "200"},
		{"name of two lines", head + "\"A\nB\",q,x\n", 2, "node_name", "control_character", "line break"},
		{"no question", head + "A,q,x\nB,,No question.\n", 3, "question", "empty", "no user message"},
		{"bars only", head + "A,||,x\n", 2, "question", "empty", "no user message"},
		{"no answer", head + "A,q,<m> <m>\n", 2, "answer", "empty", "no response"},
		{"broken object", head + "A,q,\"ok<m>{\"\"type\"\": 5}\"\n", 2, "answer", "invalid_message_body", "response 2: "},
		{"cut object", head + "A,q,\"{\"\"type\"\": \"\n", 2, "answer", "invalid_message_body", "response 1: "},
		{"object with text behind", head + "A,q,\"{\"\"text\"\":\"\"a\"\",\"\"type\"\":\"\"TEXT\"\"} more\"\n", 2, "answer", "invalid_message_body", "response 1: "},
		{"the first fault counts", head + "A,q,x\nA,q,x\nB,q\n", 3, "node_name", "duplicate", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			steps, _, err := bot.ParseCSV([]byte(tt.in))
			var e *tract.Error
			if !errors.As(err, &e) || steps != nil {
				t.Fatalf("got %v, %v", steps, err)
			}
			diff(t, "error", []any{tract.KindInvalid, "csv_invalid", tt.line, tt.column, tt.reason}, []any{e.Kind, e.Code, e.Fields["line"], e.Fields["column"], e.Fields["reason"]})
			where := fmt.Sprintf("line %d", tt.line)
			if tt.column != "" {
				where += ", column " + tt.column
			}
			if !strings.HasPrefix(err.Error(), where+": ") || !strings.Contains(err.Error(), tt.text) || len(err.Error()) > 600 {
				t.Errorf("text: %s", err)
			}
		})
	}
}

// endless gives a header and then the same row for ever, each under a new name.
type endless struct {
	buf  bytes.Buffer
	rows int
	row  func(n int) string
	read int64
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rows == 0 {
		e.buf.WriteString("node_name,question,answer\n")
	}
	for e.buf.Len() < len(p) {
		e.rows++
		e.buf.WriteString(e.row(e.rows))
	}
	n, err := e.buf.Read(p)
	e.read += int64(n)
	return n, err
}

func TestReadCSVLimits(t *testing.T) {
	nothing := func(int, tract.Step) error { return nil }
	few := &endless{row: func(n int) string { return fmt.Sprintf("n%d,q,x\n", n) }}
	_, err := bot.ReadCSV(few, nothing)
	var e *tract.Error
	if !errors.As(err, &e) || e.Fields["reason"] != "too_many_rows" || e.Fields["line"] != bot.MaxCSVRows+2 {
		t.Errorf("rows: %v", err)
	}
	long := strings.Repeat("x", 30<<10)
	big := &endless{row: func(n int) string { return fmt.Sprintf("n%d,q,%s\n", n, long) }}
	if _, err := bot.ReadCSV(big, nothing); !errors.Is(err, bot.ErrCSVTooLarge) || tract.KindOf(err) != tract.KindTooLarge {
		t.Errorf("bytes: %v", err)
	}
	if big.read > bot.MaxCSVBytes+1<<20 {
		t.Errorf("%d bytes were read", big.read)
	}
	// Blank lines count, too.
	if _, err := bot.ReadCSV(io.MultiReader(strings.NewReader("node_name,question,answer\n"), &lines{}), nothing); !errors.Is(err, bot.ErrCSVTooLarge) {
		t.Errorf("blank lines: %v", err)
	}
}

// lines are line ends for ever.
type lines struct{}

func (lines) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '\n'
	}
	return len(p), nil
}

func TestReadCSVStops(t *testing.T) {
	stop := errors.New("enough")
	var at []int
	_, err := bot.ReadCSV(strings.NewReader("node_name,question,answer\nA,\"q\nr\",x\nB,q,x\nC,q,x\n"), func(line int, s tract.Step) error {
		at = append(at, line)
		if s.Name == "B" {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) {
		t.Errorf("error: %v", err)
	}
	diff(t, "lines", []int{2, 4}, at)
	broken := errors.New("disk")
	if _, err := bot.ReadCSV(io.MultiReader(strings.NewReader("node_name,question,answer\nA,q"), iotest.ErrReader(broken)), func(int, tract.Step) error { return nil }); !errors.Is(err, broken) {
		t.Errorf("a failing reader: %v", err)
	}
	if _, err := bot.ReadCSV(iotest.ErrReader(broken), func(int, tract.Step) error { return nil }); !errors.Is(err, broken) {
		t.Errorf("a failing reader: %v", err)
	}
}

func TestLoadFAQ(t *testing.T) {
	tracttest.Stores(t, func(t *testing.T, s *store.Store) {
		w := newWorld(t, s)
		stored := func() (names []string, version int64, hash string) {
			w.view(func(tx *store.Tx) error {
				steps, err := tx.ListSteps(w.client, domain)
				if err != nil {
					return err
				}
				for _, s := range steps {
					names = append(names, s.Name)
				}
				version, hash, err = tx.FAQVersion(w.client, domain)
				return err
			})
			return names, version, hash
		}
		load := func(csv string) error { return bot.LoadFAQ(w.ctx, s, w.client, domain, []byte(csv)) }
		const file = "node_name,question,answer\nB,q,x\nA,q,x\n"
		if err := load(file); err != nil {
			t.Fatal(err)
		}
		names, version, hash := stored()
		diff(t, "steps", []any{[]string{"B", "A"}, int64(1), fmt.Sprintf("%x", sha256.Sum256([]byte(file)))}, []any{names, version, hash})
		if err := load("node_name,question,answer\nC,q,x\nC,q,x\n"); tract.CodeOf(err) != "csv_invalid" {
			t.Errorf("a bad file: %v", err)
		}
		if err := load(file); err != nil { // the same again
			t.Fatal(err)
		}
		names, version, _ = stored()
		diff(t, "nothing changed", []any{[]string{"B", "A"}, int64(1)}, []any{names, version})
		if err := load("node_name,question,answer\nC,q,x\nB,q,x\n"); err != nil {
			t.Fatal(err)
		}
		names, version, _ = stored()
		diff(t, "replaced", []any{[]string{"C", "B"}, int64(2)}, []any{names, version})
	})
}

// write gives steps as a file, by another writer than ours.
func write(t *testing.T, steps []tract.Step, crlf bool) []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	rows := [][]string{{"node_name", "question", "answer"}}
	for _, s := range steps {
		rows = append(rows, []string{s.Name, strings.Join(s.Questions, "|"), strings.Join(s.Answers, "<m>")})
	}
	if err := w.WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	if crlf {
		return bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte("\r\n"))
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	steps := []tract.Step{
		{Name: `A "quoted", name`, Questions: []string{"a, b", `"c"`}, Answers: []string{"x\ny", `{"text":"<m>, \"q\"","type":"TEXT","data":{}}`, "=1"}},
		{Name: "Ünïcode 🙂", Questions: []string{"क्या"}, Answers: []string{"ठीक"}},
	}
	got, _, err := bot.ParseCSV(write(t, steps, false))
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "steps", steps, got)
	steps[0].Answers[0] = "x\r\ny"
	in := write(t, steps[:1], false)
	in = bytes.ReplaceAll(bytes.ReplaceAll(in, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	got, _, err = bot.ParseCSV(in)
	if err != nil {
		t.Fatal(err)
	}
	diff(t, "steps with CRLF", steps[:1], got)
}

func FuzzReadCSV(f *testing.F) {
	f.Add([]byte(shopFAQ))
	f.Add([]byte("\ufeffquestion,\"node_name\",x,answer\r\nq|r,A,,\"a\"\"b<m>{\"\"text\"\":\"\"<m>\"\",\"\"type\"\":\"\"TEXT\"\"}\"\r\n"))
	f.Add([]byte("node_name,question,answer\nA,q,\"{\n"))
	f.Add([]byte("node_name;question;answer\n\r"))
	f.Fuzz(func(t *testing.T, in []byte) {
		steps, _, err := bot.ParseCSV(in)
		if err != nil {
			if tract.KindOf(err) == tract.KindInternal {
				t.Fatalf("unclassified: %v", err)
			}
			return
		}
		if len(steps) == 0 {
			t.Fatal("accepted without a step")
		}
		again, warnings, err := bot.ParseCSV(write(t, steps, false))
		if err != nil || len(warnings) > 0 {
			t.Fatalf("what was read cannot be read again: %v %v", err, warnings)
		}
		diff(t, "steps", steps, again)
	})
}
