package nlu

import (
	"math"
	"slices"
)

// entry is a feature's weight in a vector.
type entry struct {
	id    int32
	value float32
}

// vectors are sparse rows stored end to end, ids ascending within a row.
type vectors struct {
	start   []int32 // row i is entries[start[i]:start[i+1]]
	entries []entry
}

func (v *vectors) rows() int         { return len(v.start) - 1 }
func (v *vectors) row(i int) []entry { return v.entries[v.start[i]:v.start[i+1]] }

func (v *vectors) add(row []entry) {
	if len(v.start) == 0 {
		v.start = append(v.start, 0)
	}
	v.entries = append(v.entries, row...)
	v.start = append(v.start, int32(len(v.entries)))
}

// vectorizer turns features into weighted vectors. It is read-only once built.
type vectorizer struct {
	ids    map[uint64]int32
	keys   []uint64  // of each id
	idf    []float32 // of each id
	blocks []uint8   // of each id
	unseen float32   // idf of a feature that no sentence has
}

// newVectorizer learns the features of n sentences; ids follow the order of
// first appearance, so the same sentences give the same ids. The inverse
// document frequency is raised to a power.
func newVectorizer(n int, power float64, features func(i int) []feature) *vectorizer {
	v := &vectorizer{ids: make(map[uint64]int32)}
	var df, lastIn []int32
	for i := range n {
		for _, f := range features(i) {
			id, ok := v.ids[f.key]
			if !ok {
				id = int32(len(v.keys))
				v.ids[f.key] = id
				v.keys = append(v.keys, f.key)
				v.blocks = append(v.blocks, f.block)
				df = append(df, 0)
				lastIn = append(lastIn, -1)
			}
			if lastIn[id] != int32(i) {
				lastIn[id] = int32(i)
				df[id]++
			}
		}
	}
	v.idf = make([]float32, len(df))
	total := float64(n + 1)
	for id, d := range df {
		v.idf[id] = float32(math.Pow(math.Log(total/float64(d+1))+1, power))
	}
	v.unseen = float32(math.Pow(math.Log(total)+1, power))
	return v
}

// size is the number of features.
func (v *vectorizer) size() int { return len(v.keys) }

// counts is room for one sentence's features; all zero between uses.
type counts struct {
	count   []float32
	factor  []float32
	touched []int32
}

func newCounts(size int) *counts {
	return &counts{count: make([]float32, size), factor: make([]float32, size)}
}

// vector appends the weighted vector of one sentence to dst: 1 + ln of the
// count, times idf, each block at its length. Features never seen in training
// count in the length only.
func (v *vectorizer) vector(dst []entry, features []feature, c *counts) []entry {
	var square [blocks]float64
	for _, f := range features {
		id, ok := v.ids[f.key]
		if !ok {
			w := float64(unseenFactor * f.factor * v.unseen)
			square[f.block] += w * w
			continue
		}
		if c.count[id] == 0 {
			c.touched = append(c.touched, id)
		}
		c.count[id]++
		c.factor[id] = max(c.factor[id], f.factor)
	}
	slices.Sort(c.touched)
	from := len(dst)
	for _, id := range c.touched {
		w := c.factor[id] * v.idf[id]
		if n := c.count[id]; n > 1 {
			w *= 1 + float32(math.Log(float64(n)))
		}
		square[v.blocks[id]] += float64(w) * float64(w)
		dst = append(dst, entry{id, w})
		c.count[id], c.factor[id] = 0, 0
	}
	c.touched = c.touched[:0]
	var scale [blocks]float32
	for b := range scale {
		if square[b] > 0 {
			scale[b] = float32(blockLength(b) / math.Sqrt(square[b]))
		}
	}
	for i := from; i < len(dst); i++ {
		dst[i].value *= scale[v.blocks[dst[i].id]]
	}
	return dst
}
