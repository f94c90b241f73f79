package nlu

import (
	"cmp"
	"math"
	"slices"
)

// Beyond manySteps everything that would grow faster than the steps, or with the
// product of steps and features, is bounded. Smaller bots are not touched by it.
const (
	manySteps       = 20_000
	sampledSteps    = 10_000 // confidence and report are learnt of so many
	commonRowsLarge = 400    // in place of commonRows
	keptWeights     = 128    // of a class, the strongest
	keptClasses     = 4000   // of a feature, the strongest
	keptFeatures    = 64     // of an example, to liken questions to
)

// sampled is the set itself or, when it is large, one of only some of its steps:
// every n-th, at most most.
func (t *trainingSet) sampled(most int) *trainingSet {
	if !t.large || len(t.steps) <= most {
		return t
	}
	every := (len(t.steps) + most - 1) / most
	s := &trainingSet{lex: t.lex, rich: t.rich, large: true}
	for i := 0; i < len(t.steps); i += every {
		s.steps = append(s.steps, t.steps[i])
	}
	for _, sentence := range t.sentences {
		switch {
		case int(sentence.class) == len(t.steps):
			sentence.class = int32(len(s.steps))
		case int(sentence.class)%every == 0:
			sentence.class /= int32(every)
		default:
			continue
		}
		s.sentences = append(s.sentences, sentence)
	}
	return s
}

// strongest keeps the entries with the largest values, whatever their sign, in
// the order of their ids. It changes the row.
func strongest(row []entry, most int) []entry {
	if len(row) <= most {
		return row
	}
	slices.SortFunc(row, func(a, b entry) int {
		return cmp.Or(cmp.Compare(math.Abs(float64(b.value)), math.Abs(float64(a.value))), cmp.Compare(a.id, b.id))
	})
	row = slices.Clone(row[:most])
	slices.SortFunc(row, func(a, b entry) int { return cmp.Compare(a.id, b.id) })
	return row
}

// prune leaves each feature the classes that it says most about. The weights
// are lists.
func (w *weights) prune(most int) {
	next := int32(0)
	for f := range len(w.start) - 1 {
		from, to := w.start[f], w.start[f+1]
		w.start[f] = next
		row := make([]entry, 0, to-from)
		for k := from; k < to; k++ {
			row = append(row, entry{w.class[k], w.value[k]})
		}
		for _, e := range strongest(row, most) {
			w.class[next], w.value[next] = e.id, e.value
			next++
		}
	}
	w.start[len(w.start)-1] = next
	w.class, w.value = w.class[:next], w.value[:next]
}
