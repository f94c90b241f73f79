package bot

import (
	"errors"
	"io"
	"slices"
	"strings"

	"tract/internal/bot/nlu"
	"tract/internal/store"
)

// Example is one sentence of a file and what it means.
type Example struct {
	Text string // may be empty
	Step string // name of the step, or nlu.OutOfScope
}

// ReadExamples reads the sentences of a file of one of two kinds: one sentence
// a row with its label, or an FAQ file, of which the answers are not looked at.
// The header tells which: sentence (or text) and label (or category, intent),
// or node_name and question, in any order and case, beside any others. Steps of
// the same name, as people read it, are one; it has the first one's spelling.
// An error names the line.
func ReadExamples(r io.Reader) ([]Example, error) {
	t := &table{scan: newScanner(r), added: -1}
	if err := t.scan.sniff(); err != nil {
		return nil, err
	}
	line, header, err := t.next()
	if errors.Is(err, io.EOF) {
		return nil, badCSV(1, "", "no_rows", "the file is empty")
	}
	if err != nil {
		return nil, err
	}
	text, step, split, err := exampleColumns(line, header)
	if err != nil {
		return nil, err
	}
	t.header = slices.Clone(header)
	if split {
		if t.added = slices.Index(header, columnAdded); t.added >= 0 {
			t.scan.most++
		}
	}
	var out []Example
	spelling := map[string]string{store.StepKey(nlu.OutOfScope): nlu.OutOfScope}
	for {
		line, fields, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(fields) != len(t.header) {
			return nil, badCSV(line, "", "field_count", "the row has %d fields, the header %d", len(fields), len(t.header))
		}
		t.takeApostrophes(fields)
		name := strings.TrimSpace(fields[step])
		if name == "" {
			return nil, badCSV(line, t.header[step], "empty", "the sentence has no label")
		}
		key := store.StepKey(name)
		if first, ok := spelling[key]; ok {
			name = first
		}
		spelling[key] = name
		sentences := []string{fields[text]}
		if split {
			sentences = strings.Split(fields[text], "|")
		}
		for _, s := range sentences {
			if s = strings.TrimSpace(s); s != "" || !split {
				out = append(out, Example{s, name})
			}
		}
	}
	if len(out) == 0 {
		return nil, badCSV(t.scan.line, "", "no_rows", "the file holds no sentence")
	}
	return out, nil
}

// exampleColumns finds the columns of a file of examples; split says that a
// field holds several sentences. It leaves the header in small letters.
func exampleColumns(line int, header []string) (text, step int, split bool, err error) {
	for i, h := range header {
		header[i] = strings.ToLower(strings.TrimSpace(h))
	}
	find := func(names ...string) int {
		return slices.IndexFunc(header, func(h string) bool { return slices.Contains(names, h) })
	}
	if text, step = find(columnQuestion), find(columnName); text >= 0 && step >= 0 {
		return text, step, true, nil
	}
	if text, step = find("sentence", "text"), find("label", "category", "intent"); text >= 0 && step >= 0 {
		return text, step, false, nil
	}
	return 0, 0, false, badCSV(line, "", "column_missing", "the header must name sentence and label, or %s and %s, separated by commas; it names %.200s", columnName, columnQuestion, strings.Join(header, ", "))
}

// StepsOf groups examples by step, in the order in which the steps first occur.
// Those out of scope belong to none.
func StepsOf(examples []Example) []nlu.Step {
	var steps []nlu.Step
	at := map[string]int{}
	for _, e := range examples {
		if e.Step == nlu.OutOfScope {
			continue
		}
		i, ok := at[e.Step]
		if !ok {
			i = len(steps)
			at[e.Step] = i
			steps = append(steps, nlu.Step{Name: e.Step})
		}
		if e.Text != "" {
			steps[i].Examples = append(steps[i].Examples, e.Text)
		}
	}
	return steps
}
