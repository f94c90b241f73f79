package nlu_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"tract/internal/bot/nlu"
)

// The figures of docs/bot.md. They need the public data sets, which are not
// part of the project:
//
//	TRACT_NLU_DATA=/path/to/data go test -run '^$' -bench Figures -benchtime 1x -timeout 30m ./internal/bot/nlu
func dataDir(b *testing.B) string {
	dir := os.Getenv("TRACT_NLU_DATA")
	if dir == "" {
		b.Fatal("TRACT_NLU_DATA must name the folder that holds hint3-train, banking77 and clinc150")
	}
	return dir
}

func BenchmarkFiguresHINT3(b *testing.B) { hint3(b, nlu.CrossValidate) }

// BenchmarkFiguresHINT3Plain goes without the concept lists.
func BenchmarkFiguresHINT3Plain(b *testing.B) { hint3(b, nlu.CrossValidatePlain) }

func hint3(b *testing.B, crossValidate func(context.Context, []nlu.Step, nlu.Options, bool) (nlu.Evaluation, error)) {
	dir := dataDir(b)
	for _, hard := range []bool{false, true} {
		var full nlu.Evaluation
		for _, set := range []string{"curekart", "powerplay11", "sofmattress", "curekart_subset", "powerplay11_subset", "sofmattress_subset"} {
			steps := stepsOf(readCSV(b, filepath.Join(dir, "hint3-train", set+"_train.csv")))
			b.Run(fmt.Sprintf("%s/hard=%v", set, hard), func(b *testing.B) {
				for b.Loop() {
					e, err := crossValidate(context.Background(), steps, nlu.Options{}, hard)
					if err != nil {
						b.Fatal(err)
					}
					report(b, e)
					if !strings.HasSuffix(set, "_subset") {
						full.InScopeAccuracy += e.InScopeAccuracy / 3
						full.InScopeAccuracyAtThreshold += e.InScopeAccuracyAtThreshold / 3
						full.Precision += e.Precision / 3
						full.MCC += e.MCC / 3
						full.Top3 += e.Top3 / 3
					}
				}
			})
		}
		b.Run(fmt.Sprintf("mean of the three/hard=%v", hard), func(b *testing.B) {
			for b.Loop() {
			}
			report(b, full)
		})
	}
}

func BenchmarkFiguresBanking77(b *testing.B) {
	dir := dataDir(b)
	steps := stepsOf(readCSV(b, filepath.Join(dir, "banking77", "train.csv")))
	test := readCSV(b, filepath.Join(dir, "banking77", "test.csv"))
	for b.Loop() {
		begin := time.Now()
		m := train(b, steps, nlu.Options{})
		took := time.Since(begin)
		e := nlu.Evaluate(m, test, 0, time.Now)
		report(b, e)
		b.ReportMetric(took.Seconds(), "train_s")
		b.ReportMetric(100*nlu.Evaluate(m, misspelled(test), 0, nil).InScopeAccuracy, "misspelled_%")
	}
}

func BenchmarkFiguresCLINC150(b *testing.B) {
	dir := dataDir(b)
	raw, err := os.ReadFile(filepath.Join(dir, "clinc150", "data_full.json"))
	if err != nil {
		b.Fatal(err)
	}
	var sets map[string][][2]string
	if err := json.Unmarshal(raw, &sets); err != nil {
		b.Fatal(err)
	}
	questions := func(part string) []nlu.Question {
		var list []nlu.Question
		for _, q := range sets[part] {
			list = append(list, nlu.Question{Text: q[0], Step: q[1]})
		}
		for _, q := range sets["oos_"+part] {
			list = append(list, nlu.Question{Text: q[0], Step: nlu.OutOfScope})
		}
		return list
	}
	test, validation := questions("test"), questions("val")
	for b.Loop() {
		var part []nlu.Question
		for _, q := range sets["train"] {
			part = append(part, nlu.Question{Text: q[0], Step: q[1]})
		}
		begin := time.Now()
		m := train(b, stepsOf(part), nlu.Options{})
		took := time.Since(begin)
		// The published rule: the threshold that is best on the validation
		// part, out of scope being one more class.
		rule, best := 0.0, -1.0
		for t := 0.01; t < 1; t += 0.01 {
			e := nlu.Evaluate(m, validation, t, nil)
			in := float64(e.Questions - e.OutOfScope)
			if right := e.InScopeAccuracyAtThreshold*in + e.OOSRecall*float64(e.OutOfScope); right > best {
				rule, best = t, right
			}
		}
		e := nlu.Evaluate(m, test, rule, nil)
		b.ReportMetric(rule, "rule_threshold")
		b.ReportMetric(100*e.InScopeAccuracyAtThreshold, "rule_in_scope_%")
		b.ReportMetric(100*e.OOSRecall, "rule_oos_%")
		report(b, nlu.Evaluate(m, test, 0, time.Now))
		b.ReportMetric(took.Seconds(), "train_s")
		b.ReportMetric(100*nlu.Evaluate(m, misspelled(test), 0, nil).InScopeAccuracy, "misspelled_%")
	}
}

// report shows an evaluation in place of the time of a loop, which says nothing.
func report(b *testing.B, e nlu.Evaluation) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(100*e.InScopeAccuracy, "in_scope_%")
	b.ReportMetric(100*e.InScopeAccuracyAtThreshold, "at_threshold_%")
	b.ReportMetric(100*e.Top3, "top3_%")
	b.ReportMetric(100*e.Precision, "precision_%")
	b.ReportMetric(e.MCC, "mcc")
	if e.OutOfScope > 0 {
		b.ReportMetric(100*e.OOSRecall, "oos_%")
		b.ReportMetric(e.AUROC, "auroc")
	}
	if e.P50US > 0 {
		b.ReportMetric(e.P50US, "p50_us")
		b.ReportMetric(e.P99US, "p99_us")
	}
}

// misspelled puts one wrong edit into a fifth of the words.
func misspelled(questions []nlu.Question) []nlu.Question {
	rng := rand.New(rand.NewPCG(1, 2))
	var list []nlu.Question
	for _, q := range questions {
		words := strings.Fields(q.Text)
		for i, w := range words {
			if rng.IntN(5) == 0 {
				words[i] = typo(rng, w)
			}
		}
		list = append(list, nlu.Question{Text: strings.Join(words, " "), Step: q.Step})
	}
	return list
}

// typo leaves a letter out, doubles, swaps or replaces one.
func typo(rng *rand.Rand, w string) string {
	if len(w) < 3 {
		return w
	}
	i := 1 + rng.IntN(len(w)-2)
	switch rng.IntN(4) {
	case 0:
		return w[:i] + w[i+1:]
	case 1:
		return w[:i] + string(rune('a'+rng.IntN(26))) + w[i:]
	case 2:
		return w[:i] + w[i+1:i+2] + w[i:i+1] + w[i+2:]
	}
	return w[:i] + string(rune('a'+rng.IntN(26))) + w[i+1:]
}

// madeUp is a bot of invented words, for size and speed only.
func madeUp(steps, examples int) []nlu.Step {
	rng := rand.New(rand.NewPCG(7, uint64(steps)))
	syllables := strings.Fields("ka ro min tel sa ver do lin pa qui zen bor fi gal hu tra ne os um ij")
	vocabulary := make([]string, 6000)
	for i := range vocabulary {
		for range 2 + rng.IntN(2) {
			vocabulary[i] += syllables[rng.IntN(len(syllables))]
		}
	}
	any := func() string { return vocabulary[rng.IntN(len(vocabulary))] }
	openings := strings.Split("how do i change my|where is the|please cancel my|what does it cost to get|i need help with|why is there a problem with|when will i receive|can i return|tell me about", "|")
	list := make([]nlu.Step, steps)
	for i := range list {
		a, b, c := any(), any(), any()
		opening := openings[rng.IntN(len(openings))]
		list[i].Name = fmt.Sprintf("STEP_%d", i)
		for k := range examples {
			s := [...]string{
				opening + " " + a + " " + b,
				a + " " + b + " " + c,
				opening + " " + c + " " + a + " " + any(),
				"the " + b + " and the " + c + " " + any(),
				opening + " " + a + " " + b + " " + c + " " + any(),
			}[k%5]
			if k >= 5 {
				s += " " + any()
			}
			list[i].Examples = append(list[i].Examples, s)
		}
	}
	return list
}

func BenchmarkTrain60x10(b *testing.B) {
	steps := madeUp(60, 10)
	b.ReportAllocs()
	for b.Loop() {
		train(b, steps, nlu.Options{})
	}
}

func BenchmarkMatch60x10(b *testing.B) {
	m := train(b, madeUp(60, 10), nlu.Options{})
	var questions []nlu.Question
	for range 20 {
		for _, s := range madeUp(60, 12) {
			questions = append(questions, nlu.Question{Text: s.Examples[11] + " plese", Step: s.Name}, nlu.Question{Text: s.Examples[0], Step: s.Name})
		}
	}
	benchmarkMatch(b, m, 60)
	e := nlu.Evaluate(m, questions, 0, time.Now)
	b.ReportMetric(e.P50US, "p50_us")
	b.ReportMetric(e.P99US, "p99_us")
}

func benchmarkMatch(b *testing.B, m *nlu.Model, steps int) {
	var questions []string
	for _, s := range madeUp(steps, 12) {
		questions = append(questions, s.Examples[11]+" plese", s.Examples[0])
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		m.Match(questions[i%len(questions)])
		i++
	}
}

// BenchmarkManySteps trains 10,000 and 100,000 steps of 5 examples once and asks
// them. Each size is best run by itself: process_MB is the highest of the process.
func BenchmarkManySteps(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			steps := madeUp(n, 5)
			begin := time.Now()
			m := train(b, steps, nlu.Options{})
			took := time.Since(begin)
			var mem runtime.MemStats
			runtime.ReadMemStats(&mem)
			var questions []nlu.Question
			for i := 0; i < len(steps); i += n / 1000 {
				questions = append(questions, nlu.Question{Text: steps[i].Examples[i%5] + " kindly", Step: steps[i].Name})
			}
			e := nlu.Evaluate(m, questions, 0, time.Now)
			benchmarkMatch(b, m, n)
			b.ReportMetric(took.Seconds(), "train_s")
			b.ReportMetric(float64(mem.Sys-mem.HeapReleased)/1e6, "process_MB")
			b.ReportMetric(float64(len(marshal(b, m)))/1e6, "file_MB")
			b.ReportMetric(100*e.InScopeAccuracy, "right_%")
			b.ReportMetric(100*e.InScopeAccuracyAtThreshold, "at_threshold_%")
			b.ReportMetric(e.P99US, "p99_us")
		})
	}
}

func BenchmarkLoad60x10(b *testing.B) {
	file := marshal(b, train(b, madeUp(60, 10), nlu.Options{}))
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := nlu.Load(file); err != nil {
			b.Fatal(err)
		}
	}
}
