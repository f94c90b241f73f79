package nlu

import (
	"context"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"

	"tract"
)

// Step is one thing the matcher can recognise: its name and sentences that
// mean it. The name counts as one more sentence.
type Step struct {
	Name     string
	Examples []string
}

// Options are the choices of a training; the zero value is a good one.
type Options struct {
	// Language is a tag such as "en", "hi", "es", "de", "fr" or "pt-BR".
	// English and Hindi, also in Latin letters, are read by one set of lists,
	// which serves any language without its own, too.
	Language string
	// Workers is how many processors to use; 0 means all. It does not change
	// the model.
	Workers int
}

// ErrNoExamples refuses a training without a single usable sentence.
var ErrNoExamples = &tract.Error{Kind: tract.KindInvalid, Code: "no_examples", Msg: "there is no step with a sentence to learn from"}

// Train makes a model of the steps. The same steps and language give the same
// model. Only an ended context or the lack of any sentence makes it fail.
func Train(ctx context.Context, steps []Step, o Options) (*Model, error) {
	set := newTrainingSet(steps, newLexicon(o.Language))
	m, err := set.fit(ctx, o.workers())
	if err != nil {
		return nil, err
	}
	if m.calibration, err = set.calibrate(ctx, o.workers()); err != nil {
		return nil, err
	}
	return m, nil
}

func (o Options) workers() int {
	if o.Workers > 0 {
		return o.Workers
	}
	return runtime.GOMAXPROCS(0)
}

// trainingSet is the sentences of a training, read once.
type trainingSet struct {
	steps     []string
	lex       *lexicon
	rich      float64
	large     bool       // see large.go
	sentences []sentence // of the steps in order, then the background
}

type sentence struct {
	text   string
	tokens []token
	class  int32 // the step, or the number of steps for the background
	name   bool  // the step's name
}

// similarBackground is the part of a background sentence's own words that may
// occur in the steps; a more similar one would argue against them.
const similarBackground = 0.5

func newTrainingSet(steps []Step, lex *lexicon) *trainingSet {
	t := &trainingSet{lex: lex, rich: richness(steps), large: len(steps) > manySteps}
	r := reader{lex: lex, function: t.functionFactor()}
	stems := make(map[string]bool)
	for i, s := range steps {
		t.steps = append(t.steps, s.Name)
		seen := make(map[string]bool)
		for k := range len(s.Examples) + 1 {
			text := spaced(s.Name)
			if k < len(s.Examples) {
				text = s.Examples[k]
			}
			tokens := r.read(nil, text)
			if len(tokens) == 0 || seen[sound(tokens)] {
				continue
			}
			seen[sound(tokens)] = true
			for _, tok := range tokens {
				stems[tok.stem] = stems[tok.stem] || tok.topic
			}
			t.sentences = append(t.sentences, sentence{text, tokens, int32(i), k == len(s.Examples)})
		}
	}
	if len(t.sentences) == 0 {
		return t
	}
	for text := range strings.Lines(lex.background) {
		if tokens := r.read(nil, text); ownPart(tokens, stems) < similarBackground {
			t.sentences = append(t.sentences, sentence{text, tokens, int32(len(steps)), false})
		}
	}
	return t
}

// sound is what two sentences that read alike have in common.
func sound(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteString(t.stem)
		b.WriteByte(' ')
	}
	return b.String()
}

// ownPart is the part of a sentence's topic words that are in the set.
func ownPart(tokens []token, set map[string]bool) float64 {
	n, hits := 0, 0
	for _, t := range tokens {
		if t.topic {
			n++
			if set[t.stem] {
				hits++
			}
		}
	}
	return float64(hits) / float64(max(n, 1))
}

// subset is the set with only the sentences that keep allows. The steps and
// their numbers stay.
func (t *trainingSet) subset(keep func(i int) bool) *trainingSet {
	s := &trainingSet{steps: t.steps, lex: t.lex, rich: t.rich, large: t.large}
	for i := range t.sentences {
		if keep(i) {
			s.sentences = append(s.sentences, t.sentences[i])
		}
	}
	return s
}

// richness tells how many examples there are per step, from 0 for some twenty
// or fewer to 1 for a hundred. With more of them the classifier judges better
// than we do which words matter.
func richness(steps []Step) float64 {
	examples := 0
	for _, s := range steps {
		examples += len(s.Examples)
	}
	perStep := float64(max(examples, 1)) / float64(max(len(steps), 1))
	return min(max(math.Log(perStep/20)/math.Log(100.0/20), 0), 1)
}

func (t *trainingSet) functionFactor() float32 { return float32(0.5 + 0.5*t.rich) }
func (t *trainingSet) idfPower() float64       { return 1 - 0.5*t.rich }

const (
	costC            = 1.0
	positiveTimes    = 2.0
	backgroundWeight = 0.5
)

// fit learns the classifiers. The model is not calibrated yet.
func (t *trainingSet) fit(ctx context.Context, workers int) (*Model, error) {
	if len(t.sentences) == 0 || len(t.steps) == 0 {
		return nil, ErrNoExamples
	}
	known := make(map[string]int32)
	for _, s := range t.sentences {
		for _, tok := range s.tokens {
			if int(s.class) < len(t.steps) && !tok.number {
				known[tok.word]++
			}
		}
	}
	m := &Model{
		steps:  t.steps,
		reader: reader{lex: t.lex, speller: newSpeller(known, t.lex), function: t.functionFactor()},
	}
	var features []feature
	m.vec = newVectorizer(len(t.sentences), t.idfPower(), func(i int) []feature {
		features = t.lex.extract(features[:0], t.sentences[i].tokens)
		return features
	})
	rows := &vectors{start: []int32{0}}
	c := newCounts(m.vec.size())
	var row []entry
	for i, s := range t.sentences {
		features = t.lex.extract(features[:0], s.tokens)
		row = m.vec.vector(row[:0], features, c)
		rows.add(row)
		if i == guessAfter { // room for the rest at once
			rows.entries = slices.Grow(rows.entries, len(rows.entries)/(i+1)*(len(t.sentences)-i)*21/20)
		}
	}
	var err error
	if m.vec.size()*(len(t.steps)+1) <= denseLimit && !t.large {
		m.weights, err = t.fitAll(ctx, workers, rows, m.vec.size())
	} else {
		m.weights, err = t.fitNear(ctx, workers, rows, m.vec.size())
	}
	if err != nil {
		return nil, err
	}
	m.examples = t.examples(m.vec, rows)
	return m.ready(), nil
}

// guessAfter is after how many rows the room for all is guessed.
const guessAfter = 5000

// fitAll trains each class against all other sentences.
func (t *trainingSet) fitAll(ctx context.Context, workers int, rows *vectors, features int) (*weights, error) {
	w := newTable(features, len(t.steps)+1)
	square := squares(rows)
	err := parallel(ctx, workers, w.classes, func(class int) {
		p := problem{rows: rows, square: square, seed: uint64(class)}
		for i := range t.sentences {
			p.label(t, int32(class), i)
		}
		column := make([]float64, features+1)
		svm(&p, column)
		w.column(class, column)
	})
	return w, err
}

// label adds sentence i to the problem of a class.
func (p *problem) label(t *trainingSet, class int32, i int) {
	sign, cost := -1.0, costC
	if t.sentences[i].class == class {
		sign, cost = 1, costC*positiveTimes
	}
	if int(t.sentences[i].class) == len(t.steps) {
		cost *= backgroundWeight
	}
	p.sign, p.cost = append(p.sign, sign), append(p.cost, cost)
}

// parallel does work(0) to work(n-1) on some goroutines.
func parallel(ctx context.Context, workers, n int, work func(int)) error {
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(workers, n) {
		wg.Go(func() {
			for i := range next {
				if ctx.Err() == nil {
					work(i)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return ctx.Err()
}
