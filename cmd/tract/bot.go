package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"tract/internal/bot"
	"tract/internal/bot/nlu"
	"tract/internal/clock"
	"tract/internal/store"
)

// botCmd works on files alone: it reads no settings of the server.
type botCmd struct {
	Train botTrainCmd `cmd:"" help:"Train on an FAQ file, or on a file of sentence,label, and say how good the bot will be."`
	Eval  botEvalCmd  `cmd:"" help:"Train on one file and measure on another; NO_NODES_DETECTED labels what no step answers."`
	Ask   botAskCmd   `cmd:"" help:"Ask one question and see the ranking with its signals."`
}

// readExamples reads a file of sentences. Its errors name the file.
func readExamples(path string) ([]bot.Example, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	examples, err := bot.ReadExamples(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return examples, nil
}

// readSteps reads what to train on.
func readSteps(path string) ([]nlu.Step, error) {
	examples, err := readExamples(path)
	if err != nil {
		return nil, err
	}
	steps := bot.StepsOf(examples)
	if len(steps) == 0 {
		return nil, fmt.Errorf("%s: every sentence is labelled %s: there is no step to learn", path, nlu.OutOfScope)
	}
	return steps, nil
}

// trainOn trains and says how long it took.
func trainOn(ctx context.Context, path string, steps []nlu.Step, o nlu.Options) (*nlu.Model, time.Duration, error) {
	begin := clock.System()
	m, err := nlu.Train(ctx, steps, o)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, err)
	}
	return m, clock.System().Sub(begin), nil
}

// checkThreshold gives the threshold as the matcher takes it: there 0 is the default.
func checkThreshold(t float64) (float64, error) {
	if !(t >= 0 && t <= 1) {
		return 0, fmt.Errorf("--threshold: %v does not lie between 0 and 1", t)
	}
	return max(t, math.SmallestNonzeroFloat64), nil
}

type botTrainCmd struct {
	CSV       string  `name:"csv" required:"" help:"The file to train on." placeholder:"FILE"`
	Model     string  `help:"Write the model to this file." placeholder:"FILE"`
	Threshold float64 `default:"0.5" help:"The confidence from which the bot answers." placeholder:"T"`
	Language  string  `default:"en" help:"The bot's language." placeholder:"TAG"`
	JSON      bool    `name:"json" help:"Print JSON."`
}

func (b *botTrainCmd) Run(ctx context.Context, c *console) error {
	threshold, err := checkThreshold(b.Threshold)
	if err != nil {
		return err
	}
	steps, err := readSteps(b.CSV)
	if err != nil {
		return err
	}
	o := nlu.Options{Language: b.Language}
	m, took, err := trainOn(ctx, b.CSV, steps, o)
	if err != nil {
		return err
	}
	if b.Model != "" {
		if err := writeModel(b.Model, m); err != nil {
			return err
		}
	}
	r, err := nlu.Review(ctx, m, steps, o, threshold)
	if err != nil {
		return err
	}
	r.Random.Threshold, r.Hard.Threshold = b.Threshold, b.Threshold
	if b.JSON {
		return c.json(r)
	}
	c.say("trained %d steps on %d different sentences in %s", r.Steps, r.Examples, took.Round(time.Millisecond))
	if b.Model != "" {
		c.say("wrote the model to %s", b.Model)
	}
	printReport(c, r)
	return nil
}

// writeModel replaces the file at once: who reads it sees the old or the new one.
func writeModel(path string, m *nlu.Model) error {
	b, err := m.MarshalBinary()
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tract-model-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing to remove
	_, err = f.Write(b)
	if err := errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// printReport is the report for people.
func printReport(c *console, r nlu.Report) {
	c.say("\nCross-validation: models trained on some of the sentences were asked about the others.")
	if r.Validated < r.Steps {
		c.say("Of so many steps it is about %d only, which makes it easier.", r.Validated)
	}
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "asked with\taccuracy\tanswered at %v\tprecision of these\n", r.Random.Threshold)
	for _, row := range []struct {
		name string
		e    nlu.Evaluation
	}{{"questions like the examples", r.Random}, {"questions in new words", r.Hard}} {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", row.name, percent(row.e.InScopeAccuracy, row.e.Questions > 0), percent(row.e.Answered, row.e.Questions > 0), percent(row.e.Precision, row.e.Answered > 0))
	}
	w.Flush()
	if len(r.Confused) > 0 {
		c.say("\nSteps taken for each other:")
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		for _, p := range r.Confused {
			fmt.Fprintf(w, "  %d×\t%s / %s\t%s\n", p.Count, shown(p.Steps[0]), shown(p.Steps[1]), quoted(p.Sentences))
		}
		w.Flush()
	}
	if len(r.Thin) > 0 {
		c.say("\nSteps with fewer than 3 sentences:")
		w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
		for _, t := range r.Thin {
			fmt.Fprintf(w, "  %s\t%d\n", shown(t.Name), t.Examples)
		}
		w.Flush()
		if more := r.ThinSteps - len(r.Thin); more > 0 {
			c.say("  and %d more", more)
		}
	}
	if len(r.Shared) > 0 {
		c.say("\nSentences under more than one step:")
		for _, s := range r.Shared {
			steps := make([]string, len(s.Steps))
			for i, name := range s.Steps {
				steps[i] = shown(name)
			}
			c.say("  %s: %s", quoted([]string{s.Sentence}), strings.Join(steps, ", "))
		}
	}
}

// shown is a name on one line without control characters.
func shown(name string) string {
	return strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}

// quoted are sentences, each cut to what fits on a line.
func quoted(sentences []string) string {
	out := make([]string, len(sentences))
	for i, s := range sentences {
		r := []rune(s)
		if len(r) > 60 {
			s = string(r[:57]) + "..."
		}
		out[i] = fmt.Sprintf("%q", s)
	}
	return strings.Join(out, ", ")
}

func percent(v float64, ok bool) string {
	if !ok {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", 100*v)
}

type botEvalCmd struct {
	Train     string  `required:"" help:"The file to train on." placeholder:"FILE"`
	Test      string  `required:"" help:"The file with the questions to ask." placeholder:"FILE"`
	Threshold float64 `default:"0.5" help:"The confidence from which the bot answers." placeholder:"T"`
	Language  string  `default:"en" help:"The bot's language." placeholder:"TAG"`
	JSON      bool    `name:"json" help:"Print JSON."`
}

// figures is what tract bot eval prints as JSON.
type figures struct {
	InScopeAccuracy            json.RawMessage `json:"in_scope_accuracy"`
	InScopeAccuracyAtThreshold json.RawMessage `json:"in_scope_accuracy_at_threshold"`
	OOSRecall                  json.RawMessage `json:"oos_recall"`
	MCC                        json.RawMessage `json:"mcc"`
	Precision                  json.RawMessage `json:"precision"`
	AUROC                      json.RawMessage `json:"auroc"`
	Top3                       json.RawMessage `json:"top3"`
	Threshold                  json.RawMessage `json:"threshold"`
	TrainMS                    json.RawMessage `json:"train_ms"`
	P50US                      json.RawMessage `json:"p50_us"`
	P99US                      json.RawMessage `json:"p99_us"`
}

func (b *botEvalCmd) Run(ctx context.Context, c *console) error {
	threshold, err := checkThreshold(b.Threshold)
	if err != nil {
		return err
	}
	steps, err := readSteps(b.Train)
	if err != nil {
		return err
	}
	test, err := readExamples(b.Test)
	if err != nil {
		return err
	}
	questions, strange := questionsFor(steps, test)
	m, took, err := trainOn(ctx, b.Train, steps, nlu.Options{Language: b.Language})
	if err != nil {
		return err
	}
	e := nlu.Evaluate(m, questions, threshold, clock.System)
	e.Threshold, e.TrainMS = b.Threshold, float64(took.Microseconds())/1000
	if len(strange) > 0 {
		fmt.Fprintf(c.errs, "tract: note: %d labels of %s are no steps of %s, among them %s; their questions count as in scope and wrong\n", len(strange), b.Test, b.Train, quoted(strange[:min(len(strange), 3)]))
	}
	if !b.JSON {
		printEvaluation(c, len(steps), e)
		return nil
	}
	var f figures
	all, err := json.Marshal(e)
	if err == nil {
		err = json.Unmarshal(all, &f)
	}
	if err != nil {
		return err
	}
	return c.json(f)
}

// questionsFor gives test sentences the names of the steps as these write them;
// strange are the labels that are no step.
func questionsFor(steps []nlu.Step, test []bot.Example) (questions []nlu.Question, strange []string) {
	names := map[string]string{store.StepKey(nlu.OutOfScope): nlu.OutOfScope}
	for _, s := range steps {
		names[store.StepKey(s.Name)] = s.Name
	}
	for _, e := range test {
		name, ok := names[store.StepKey(e.Step)]
		if name = cmp.Or(name, e.Step); !ok && !slices.Contains(strange, name) {
			strange = append(strange, name)
		}
		questions = append(questions, nlu.Question{Text: e.Text, Step: name})
	}
	return questions, strange
}

func printEvaluation(c *console, steps int, e nlu.Evaluation) {
	in := e.Questions - e.OutOfScope
	c.say("%d steps; %d questions in scope, %d out of scope; threshold %v\n", steps, in, e.OutOfScope, e.Threshold)
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(w, "%s\t%s\n", name, value) }
	number := func(v float64, ok bool) string {
		if !ok {
			return "–"
		}
		return fmt.Sprintf("%.3f", v)
	}
	row("in-scope accuracy", percent(e.InScopeAccuracy, in > 0))
	row("in-scope accuracy at the threshold", percent(e.InScopeAccuracyAtThreshold, in > 0))
	row("step among the first three", percent(e.Top3, in > 0))
	row("out-of-scope recall", percent(e.OOSRecall, e.OutOfScope > 0))
	row("precision of the given answers", percent(e.Precision, e.Answered > 0))
	row("questions answered", percent(e.Answered, e.Questions > 0))
	row("MCC", number(e.MCC, e.Questions > 0))
	row("AUROC", number(e.AUROC, in > 0 && e.OutOfScope > 0))
	row("training", fmt.Sprintf("%.0f ms", e.TrainMS))
	row("one question", fmt.Sprintf("p50 %.0f µs, p99 %.0f µs", e.P50US, e.P99US))
	w.Flush()
}

type botAskCmd struct {
	CSV       string  `name:"csv" xor:"from" help:"The file to train on." placeholder:"FILE"`
	Model     string  `xor:"from" help:"A model written by tract bot train, in place of --csv." placeholder:"FILE"`
	Threshold float64 `default:"0.5" help:"The confidence from which the bot answers." placeholder:"T"`
	Language  string  `default:"en" help:"The bot's language." placeholder:"TAG"`
	JSON      bool    `name:"json" help:"Print JSON."`
	Question  string  `arg:"" help:"What to ask."`
}

func (b *botAskCmd) Run(ctx context.Context, c *console) error {
	if _, err := checkThreshold(b.Threshold); err != nil {
		return err
	}
	m, err := b.model(ctx)
	if err != nil {
		return err
	}
	r := m.Match(b.Question)
	if b.JSON {
		if r.Candidates == nil {
			r.Candidates, r.Read = []nlu.Candidate{}, []string{}
		}
		return c.json(r)
	}
	if len(r.Candidates) == 0 {
		c.say("the question has no words")
		return nil
	}
	verdict := "answered"
	if r.Confidence < b.Threshold {
		verdict = "not answered"
	}
	c.say("read as:     %s", strings.Join(r.Read, " "))
	c.say("confidence:  %.3f, %s at %v\n", r.Confidence, verdict, b.Threshold)
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "rank\tconfidence\tscore\tstep")
	for i, k := range r.Candidates {
		fmt.Fprintf(w, "%d\t%.3f\t%+.3f\t%s\n", i+1, k.Confidence, k.Score, shown(k.Name))
	}
	w.Flush()
	c.say("\nsignals of the first:")
	w = tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, s := range []struct {
		name, meaning string
		value         float64
	}{
		{"margin", "the classifier's own verdict; above 0 is a yes", r.Signals.Margin},
		{"probability", "share of the first among all steps", r.Signals.Probability},
		{"gap", "margin ahead of the next", r.Signals.Gap},
		{"nearest", "likeness to the step's nearest sentence", r.Signals.Nearest},
		{"known", "share of the words that the file knows", r.Signals.Known},
		{"coverage", "share of the words that the step's sentences have", r.Signals.Coverage},
		{"jaccard", "most words shared with one sentence", r.Signals.Jaccard},
	} {
		fmt.Fprintf(w, "  %s\t%+.3f\t%s\n", s.name, s.value, s.meaning)
	}
	w.Flush()
	return nil
}

func (b *botAskCmd) model(ctx context.Context) (*nlu.Model, error) {
	switch {
	case b.Model == "" && b.CSV == "":
		return nil, errors.New("name the file to ask: --csv FILE, or --model FILE")
	case b.Model == "":
		steps, err := readSteps(b.CSV)
		if err != nil {
			return nil, err
		}
		m, _, err := trainOn(ctx, b.CSV, steps, nlu.Options{Language: b.Language})
		return m, err
	}
	file, err := os.ReadFile(b.Model)
	if err != nil {
		return nil, err
	}
	m, err := nlu.Load(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.Model, err)
	}
	return m, nil
}

// json prints a value for programs.
func (c *console) json(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := c.out.Write(b.Bytes())
	return err
}
