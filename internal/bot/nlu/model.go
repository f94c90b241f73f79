package nlu

import (
	"math"
	"slices"
	"sync"
)

// Model is a trained matcher. It never changes, so any number of goroutines
// may use it at once.
type Model struct {
	steps       []string
	reader      reader
	vec         *vectorizer
	weights     *weights
	examples    examples
	calibration calibration

	rooms sync.Pool // of *room
}

// examples are what the steps were trained with, for the signals.
type examples struct {
	first []int32  // examples of step s are first[s] to first[s+1]-1
	rows  *vectors // one per example
	// words are the topic words of each example: ids ascending, values idf.
	words *vectors
}

func (t *trainingSet) examples(vec *vectorizer, rows *vectors) examples {
	ex := examples{words: &vectors{start: []int32{0}}}
	i := 0
	for step := range t.steps {
		ex.first = append(ex.first, int32(i))
		for ; i < len(t.sentences) && int(t.sentences[i].class) == step; i++ {
			words, _ := vec.topic(nil, t.sentences[i].tokens)
			ex.words.add(words)
		}
	}
	ex.first = append(ex.first, int32(i))
	if t.large {
		ex.rows = &vectors{start: []int32{0}}
		for k := range i {
			ex.rows.add(strongest(slices.Clone(rows.row(k)), keptFeatures))
		}
		return ex
	}
	// The background's rows stand behind them.
	ex.rows = &vectors{rows.start[: i+1 : i+1], rows.entries[:rows.start[i]:rows.start[i]]}
	return ex
}

// topic appends the distinct known topic words of a sentence, ids ascending,
// and gives the weight of the unknown ones. A sentence without topic words
// takes all its words for them.
func (v *vectorizer) topic(dst []entry, tokens []token) (known []entry, unknown float64) {
	all := !slices.ContainsFunc(tokens, func(t token) bool { return t.topic })
	from := len(dst)
	for _, t := range tokens {
		if !t.topic && !all {
			continue
		}
		if id, ok := v.ids[wordKey(t.stem)]; ok {
			dst = append(dst, entry{id, v.idf[id]})
		} else {
			unknown += float64(v.unseen)
		}
	}
	slices.SortFunc(dst[from:], func(a, b entry) int { return int(a.id - b.id) })
	return dst[:from+len(slices.Compact(dst[from:]))], unknown
}

// ready finishes a model whose parts are set.
func (m *Model) ready() *Model {
	m.rooms.New = func() any {
		return &room{
			counts: newCounts(m.vec.size()),
			margin: make([]float32, len(m.steps)+1),
			dense:  make([]float32, m.vec.size()),
		}
	}
	return m
}

// room is one question's working space.
type room struct {
	counts   *counts
	margin   []float32 // of each step, then of the background
	dense    []float32 // all zero between uses
	tokens   []token
	features []feature
	row      []entry
	words    []entry
	unknown  float64 // weight of the unknown topic words
}

// maxCandidates bounds the ranking of a result.
const maxCandidates = 5

// Result is what a question probably means.
type Result struct {
	// Candidates are the likeliest steps, best first, at most five. There are
	// none when the question has no words.
	Candidates []Candidate `json:"candidates"`
	// Confidence is the probability that the first candidate is right.
	Confidence float64 `json:"confidence"`
	// Signals are what the confidence was made of.
	Signals Signals `json:"signals"`
	// Read is the question as the matcher read it, spelling corrected.
	Read []string `json:"read"`
}

// Candidate is one step that a question may mean.
type Candidate struct {
	Step       int     `json:"step"` // its place in the steps given to Train
	Name       string  `json:"name"`
	Confidence float64 `json:"confidence"`
	Score      float64 `json:"score"` // the classifier's margin; above 0 is a yes
}

// Signals tell how well a question fits its best step.
type Signals struct {
	Margin      float64 `json:"margin"`      // the classifier's own verdict
	Probability float64 `json:"probability"` // share of the best among all margins
	Gap         float64 `json:"gap"`         // margin ahead of the next
	Nearest     float64 `json:"nearest"`     // likeness to the step's nearest example
	Known       float64 `json:"known"`       // share of the words that training knows
	Coverage    float64 `json:"coverage"`    // share of the words that the step's examples have
	Jaccard     float64 `json:"jaccard"`     // most words shared with one example
}

// Steps are the names of the steps, in the order they were given to Train.
func (m *Model) Steps() []string { return slices.Clone(m.steps) }

// Match ranks the steps for a question. Only the first few thousand bytes of a
// long text are read.
func (m *Model) Match(question string) Result {
	r := m.rooms.Get().(*room)
	defer m.rooms.Put(r)
	r.tokens = m.reader.read(r.tokens[:0], question)
	if len(r.tokens) == 0 {
		return Result{}
	}
	r.features = m.reader.lex.extract(r.features[:0], r.tokens)
	r.row = m.vec.vector(r.row[:0], r.features, r.counts)
	r.words, r.unknown = m.vec.topic(r.words[:0], r.tokens)
	m.weights.score(r.row, r.margin)

	result := Result{Candidates: m.best(r.margin), Read: make([]string, len(r.tokens))}
	for i, t := range r.tokens {
		result.Read[i] = t.word
	}
	result.Signals = m.signals(r, result.Candidates)
	result.Confidence = m.calibration.confidence(result.Signals)
	top := result.Candidates[0].Score
	for i := range result.Candidates {
		c := &result.Candidates[i]
		c.Confidence = result.Confidence * math.Exp(sharpness*(c.Score-top))
	}
	return result
}

// sharpness turns margins into shares; a margin runs from about -1 to 1.
const sharpness = 4

// best gives the steps with the highest margins; of equals the first.
func (m *Model) best(margin []float32) []Candidate {
	top := make([]Candidate, 0, maxCandidates)
	for step, name := range m.steps {
		score := float64(margin[step])
		if len(top) == maxCandidates && score <= top[maxCandidates-1].Score {
			continue
		}
		if len(top) < maxCandidates {
			top = append(top, Candidate{})
		}
		i := len(top) - 1
		for ; i > 0 && top[i-1].Score < score; i-- {
			top[i] = top[i-1]
		}
		top[i] = Candidate{Step: step, Name: name, Score: score}
	}
	return top
}

// signals measures how well the best candidate fits.
func (m *Model) signals(r *room, top []Candidate) Signals {
	best := top[0].Step
	next := float64(r.margin[len(m.steps)]) // the background
	if len(top) > 1 {
		next = max(next, top[1].Score)
	}
	var sum float64
	for _, v := range r.margin {
		sum += math.Exp(sharpness * (float64(v) - top[0].Score))
	}
	s := Signals{Margin: top[0].Score, Probability: 1 / sum, Gap: top[0].Score - next}

	for _, e := range r.row {
		r.dense[e.id] = e.value
	}
	for i := m.examples.first[best]; i < m.examples.first[best+1]; i++ {
		var dot float32
		for _, e := range m.examples.rows.row(int(i)) {
			dot += e.value * r.dense[e.id]
		}
		s.Nearest = max(s.Nearest, float64(dot))
	}
	for _, e := range r.row {
		r.dense[e.id] = 0
	}
	s.Nearest /= fullSquare()
	m.wordSignals(r, best, &s)
	return s
}

// fullSquare is the squared length of a vector with every block.
func fullSquare() float64 {
	var sum float64
	for b := range blocks {
		sum += blockLength(b) * blockLength(b)
	}
	return sum
}

// wordSignals compares the question's topic words with those of the step's
// examples, weighted by how rare they are.
func (m *Model) wordSignals(r *room, best int, s *Signals) {
	total := r.unknown
	for _, w := range r.words {
		r.dense[w.id] = w.value
		total += float64(w.value)
	}
	if total == 0 {
		return
	}
	for i := m.examples.first[best]; i < m.examples.first[best+1]; i++ {
		both, either := 0.0, total
		for _, w := range m.examples.words.row(int(i)) {
			if r.dense[w.id] != 0 {
				both += float64(w.value)
			} else {
				either += float64(w.value)
			}
		}
		s.Jaccard = max(s.Jaccard, both/either)
	}
	s.Known = 1 - r.unknown/total
	var covered float64
	for i := m.examples.first[best]; i < m.examples.first[best+1]; i++ {
		for _, w := range m.examples.words.row(int(i)) {
			covered += float64(r.dense[w.id])
			r.dense[w.id] = 0
		}
	}
	s.Coverage = covered / total
	for _, w := range r.words {
		r.dense[w.id] = 0
	}
}
