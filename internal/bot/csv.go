package bot

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"tract"
	"tract/internal/hsl"
	"tract/internal/store"
)

// Limits of an FAQ file.
const (
	MaxCSVBytes   = 50 << 20
	MaxCSVRows    = 100_000
	maxFieldBytes = 32 << 10
	maxColumns    = 100
	maxNameBytes  = 200
	maxMessages   = 100 // responses of one answer
)

// The columns of an FAQ file.
const (
	columnName     = "node_name"
	columnQuestion = "question"
	columnAnswer   = "answer"
	// columnAdded names the cells of its row that WriteCSV put an apostrophe before.
	columnAdded = "apostrophe_added"
)

// separator stands between the responses of an answer.
const separator = "<m>"

// ErrCSVTooLarge refuses an FAQ file beyond MaxCSVBytes.
var ErrCSVTooLarge = &tract.Error{Kind: tract.KindTooLarge, Code: "csv_too_large", Msg: fmt.Sprintf("the file is larger than %d MiB", MaxCSVBytes>>20)}

// badCSV is a file that is refused: the line where the row begins, the column
// ("" when it is not known) and a stable word for the reason are facts of it.
func badCSV(line int, column, reason, format string, args ...any) error {
	where := fmt.Sprintf("line %d", line)
	if column != "" {
		where += ", column " + column
	}
	return tract.Invalid("csv_invalid", "%s: %s", where, fmt.Sprintf(format, args...)).Fact("line", line).Fact("column", column).Fact("reason", reason)
}

// ReadCSV reads an FAQ file as it comes and calls each for every step, with the
// line on which its row begins; the file is never held whole. It ends with the
// first error, its own or one of each: what was handed out before is to be
// dropped then.
func ReadCSV(r io.Reader, each func(line int, s tract.Step) error) (warnings []string, err error) {
	t, warnings, err := openTable(r)
	if err != nil {
		return nil, err
	}
	names := map[string]int{}
	for {
		line, fields, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(names) == MaxCSVRows {
			return nil, badCSV(line, "", "too_many_rows", "a file may hold %d rows", MaxCSVRows)
		}
		s, err := t.step(line, fields)
		if err != nil {
			return nil, err
		}
		key := store.StepKey(s.Name)
		if first, ok := names[key]; ok {
			return nil, badCSV(line, columnName, "duplicate", "%q stands on line %d already", s.Name, first)
		}
		names[key] = line
		if err := each(line, s); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		return nil, t.noRows()
	}
	return warnings, nil
}

// ParseCSV reads an FAQ file that is in memory.
func ParseCSV(b []byte) (steps []tract.Step, warnings []string, err error) {
	warnings, err = ReadCSV(bytes.NewReader(b), func(_ int, s tract.Step) error {
		steps = append(steps, s)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return steps, warnings, nil
}

// CheckFAQ says what is wrong with an FAQ file.
func CheckFAQ(b []byte) error {
	_, err := ReadCSV(bytes.NewReader(b), func(int, tract.Step) error { return nil })
	return err
}

// CheckHead says what is wrong with the beginning of an FAQ file: its encoding,
// its header, or that there is nothing behind it.
func CheckHead(r io.Reader) error {
	t, _, err := openTable(r)
	if err != nil {
		return err
	}
	if _, _, err := t.next(); errors.Is(err, io.EOF) {
		return t.noRows()
	}
	return nil
}

// table is an FAQ file behind its header.
type table struct {
	scan                   *scanner
	header                 []string
	name, question, answer int // where their fields are
	added                  int // -1 when there is no such column
}

func (t *table) noRows() error {
	return badCSV(t.scan.line, "", "no_rows", "the file holds no step")
}

func openTable(r io.Reader) (*table, []string, error) {
	t := &table{scan: newScanner(r)}
	if err := t.scan.sniff(); err != nil {
		return nil, nil, err
	}
	line, header, err := t.next()
	if errors.Is(err, io.EOF) {
		return nil, nil, badCSV(1, "", "no_rows", "the file is empty")
	}
	if err != nil {
		return nil, nil, err
	}
	if len(header) == 1 {
		for _, other := range []string{";", "\t"} {
			if strings.Contains(header[0], other) {
				return nil, nil, badCSV(line, "", "delimiter", "the columns are separated by %q; separate them by commas", other)
			}
		}
	}
	var warnings []string
	for i, h := range header {
		h = strings.TrimSpace(h)
		column := strings.ToLower(h)
		switch {
		case column != "" && slices.Contains(header[:i], column):
			return nil, nil, badCSV(line, column, "column_duplicate", "the column is there twice")
		case column != columnName && column != columnQuestion && column != columnAnswer && column != columnAdded:
			warnings = append(warnings, fmt.Sprintf("column %.64q is not known and ignored", h))
		}
		header[i] = column
	}
	for column, at := range map[string]*int{columnName: &t.name, columnQuestion: &t.question, columnAnswer: &t.answer, columnAdded: &t.added} {
		*at = slices.Index(header, column)
	}
	if t.name < 0 || t.question < 0 || t.answer < 0 {
		return nil, nil, badCSV(line, "", "column_missing", "the header must name %s, %s and %s; it names %.200s", columnName, columnQuestion, columnAnswer, strings.Join(header, ", "))
	}
	if t.added >= 0 {
		t.scan.most++ // for the apostrophe
	}
	t.header = slices.Clone(header)
	return t, warnings, nil
}

// next gives the next row that is not blank; its fields hold until the call after.
func (t *table) next() (line int, fields []string, err error) {
	for {
		line, fields, err = t.scan.row()
		if err != nil {
			if bad := (*flaw)(nil); errors.As(err, &bad) {
				err = badCSV(line, t.column(bad.field), bad.reason, "%s", bad.text)
			}
			return 0, nil, err
		}
		if slices.ContainsFunc(fields, func(f string) bool { return strings.TrimSpace(f) != "" }) {
			return line, fields, nil
		}
	}
}

func (t *table) column(field int) string {
	if field < len(t.header) {
		return t.header[field]
	}
	return ""
}

func (t *table) step(line int, fields []string) (s tract.Step, err error) {
	if len(fields) != len(t.header) {
		return s, badCSV(line, "", "field_count", "the row has %d fields, the header %d", len(fields), len(t.header))
	}
	t.takeApostrophes(fields)
	s.Name = strings.TrimSpace(fields[t.name])
	switch {
	case s.Name == "":
		return s, badCSV(line, columnName, "empty", "the step has no name")
	case len(s.Name) > maxNameBytes:
		return s, badCSV(line, columnName, "field_too_long", "the name is longer than %d bytes", maxNameBytes)
	case strings.ContainsFunc(s.Name, unicode.IsControl):
		return s, badCSV(line, columnName, "control_character", "the name holds a line break or another control character")
	}
	for q := range strings.SplitSeq(fields[t.question], "|") {
		if q = strings.TrimSpace(q); q != "" {
			s.Questions = append(s.Questions, q)
		}
	}
	if len(s.Questions) == 0 {
		return s, badCSV(line, columnQuestion, "empty", "the step has no user message")
	}
	if s.Answers, err = splitAnswer(line, fields[t.answer]); err != nil {
		return s, err
	}
	return s, nil
}

// takeApostrophes undoes what WriteCSV did to the cells of a row.
func (t *table) takeApostrophes(fields []string) {
	if t.added < 0 {
		return
	}
	for name := range strings.FieldsSeq(fields[t.added]) {
		if i := slices.Index(t.header, strings.ToLower(name)); i >= 0 && i != t.added {
			fields[i] = strings.TrimPrefix(fields[i], "'")
		}
	}
}

// splitAnswer cuts an answer into its responses. A separator within an object's
// strings is text.
func splitAnswer(line int, answer string) (parts []string, err error) {
	for rest := answer; rest != ""; {
		from := endOfObject(rest)
		part, after := rest, ""
		if i := strings.Index(rest[from:], separator); i >= 0 {
			part, after = rest[:from+i], rest[from+i+len(separator):]
		}
		rest = after
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		if len(parts) == maxMessages {
			return nil, badCSV(line, columnAnswer, "too_many_messages", "an answer may have %d responses", maxMessages)
		}
		if meansObject(part) {
			if _, err := hsl.Parse([]byte(part)); err != nil {
				return nil, badCSV(line, columnAnswer, tract.CodeOf(err), "response %d: %s", len(parts)+1, strings.TrimPrefix(err.Error(), "message_body: "))
			}
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return nil, badCSV(line, columnAnswer, "empty", "the step has no response")
	}
	return parts, nil
}

// meansObject tells an HSL object, also a broken one, from text that begins
// with something in braces.
func meansObject(s string) bool {
	inside, ok := strings.CutPrefix(strings.TrimSpace(s), "{")
	inside = strings.TrimSpace(inside)
	return ok && (inside == "" || inside[0] == '"' || inside[0] == '}')
}

// endOfObject is where the JSON object ends that s begins with, or 0.
func endOfObject(s string) int {
	if !meansObject(s) {
		return 0
	}
	d := json.NewDecoder(strings.NewReader(s))
	var object json.RawMessage
	if d.Decode(&object) != nil {
		return 0
	}
	return int(d.InputOffset())
}

// body is a response, or wording out of a configuration, as a message.
func body(s string) string {
	if meansObject(s) {
		if e, err := hsl.Parse([]byte(s)); err == nil {
			return e.Body()
		}
	}
	return hsl.Text(s).Body()
}
