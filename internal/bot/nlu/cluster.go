package nlu

import (
	"context"
	"math"
	"slices"
)

const (
	// alike is the likeness from which a sentence belongs to a cluster.
	alike = 0.5
	// clusterFunction is the factor of function words: clusters are about topics.
	clusterFunction = 0.2
	// mostRivals is how many clusters a sentence is compared with in full, and
	// mostHolders how many are looked at for one of its words.
	mostRivals  = 8
	mostHolders = 300
	// leastValue of a feature in a sentence: function words have less.
	leastValue = 0.1
)

// Clusters groups sentences that mean nearly the same and gives, for each, the
// number of the first sentence of its cluster. A sentence joins the cluster whose
// first sentence is most like it. How like two sentences are does not depend on
// the others: sentences added behind leave the rest as it was, and so, but for
// rare cases at the edge, does a whole cluster that is removed. The time grows
// with the number of sentences. Only an ended context makes it fail.
func Clusters(ctx context.Context, sentences []string, language string) ([]int, error) {
	r := reader{lex: newLexicon(language), function: clusterFunction}
	first := map[string]int{} // sentence by what reads alike
	out := make([]int, len(sentences))
	var own []int // the sentences that are the first to read so
	var read [][]token
	for i, text := range sentences {
		tokens := r.read(nil, text)
		n, ok := first[sound(tokens)]
		if !ok {
			n, first[sound(tokens)] = i, i
			own, read = append(own, i), append(read, tokens)
		}
		out[i] = n
	}
	var features []feature
	v := newVectorizer(len(read), 0, func(i int) []feature {
		features = r.lex.extract(features[:0], read[i])
		return features
	})
	l := leaders{holders: make([][]entry, v.size()), blocks: v.blocks, dense: make([]float32, v.size())}
	c := newCounts(v.size())
	cluster := map[int]int{}
	var row []entry
	for k, i := range own {
		if k%64 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		row = unit(v.vector(row[:0], r.lex.extract(nil, read[k]), c))
		cluster[i] = l.place(i, row)
	}
	for i := range out {
		out[i] = cluster[out[i]]
	}
	return out, nil
}

func unit(row []entry) []entry {
	var square float64
	for _, e := range row {
		square += float64(e.value) * float64(e.value)
	}
	for i := range row {
		row[i].value /= float32(math.Sqrt(square))
	}
	return row
}

// leaders are the first sentences of the clusters so far.
type leaders struct {
	rows     vectors
	sentence []int
	holders  [][]entry // leaders by feature
	blocks   []uint8   // of each feature
	score    []float32 // of each leader; all zero between uses
	dense    []float32 // of each feature; all zero between uses
	touched  []int32
}

// place gives the leader of the cluster that a sentence belongs to, maybe itself.
func (l *leaders) place(sentence int, row []entry) int {
	best, likeness := -1, float32(alike)
	for _, rival := range l.rivals(row) {
		if s := l.likeness(rival, row); s >= likeness && (best < 0 || s > likeness) {
			best, likeness = int(rival), s
		}
	}
	if best >= 0 {
		return l.sentence[best]
	}
	n := int32(len(l.sentence))
	l.rows.add(row)
	l.sentence, l.score = append(l.sentence, sentence), append(l.score, 0)
	for _, e := range row {
		if l.telling(e) && len(l.holders[e.id]) < mostHolders {
			l.holders[e.id] = append(l.holders[e.id], entry{n, e.value})
		}
	}
	return sentence
}

// rivals are the clusters that share most with a sentence by words and concepts,
// those that say little left out; of equals the earlier.
func (l *leaders) rivals(row []entry) (top []int32) {
	l.touched = l.touched[:0]
	for _, e := range row {
		if l.telling(e) {
			for _, h := range l.holders[e.id] {
				if l.score[h.id] == 0 {
					l.touched = append(l.touched, h.id)
				}
				l.score[h.id] += e.value * h.value
			}
		}
	}
	for _, n := range l.touched {
		i := len(top)
		for i > 0 && (l.score[top[i-1]] < l.score[n] || l.score[top[i-1]] == l.score[n] && top[i-1] > n) {
			i--
		}
		if i < mostRivals {
			top = slices.Insert(top, i, n)
			top = top[:min(len(top), mostRivals)]
		}
	}
	for _, n := range l.touched {
		l.score[n] = 0
	}
	return top
}

// telling says whether a feature helps to find sentences of like meaning.
func (l *leaders) telling(e entry) bool {
	return (l.blocks[e.id] == blockWords || l.blocks[e.id] == blockConcepts) && e.value >= leastValue
}

func (l *leaders) likeness(leader int32, row []entry) (sum float32) {
	for _, e := range row {
		l.dense[e.id] = e.value
	}
	for _, e := range l.rows.row(int(leader)) {
		sum += e.value * l.dense[e.id]
	}
	for _, e := range row {
		l.dense[e.id] = 0
	}
	return sum
}
