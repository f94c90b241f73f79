package nlu

import (
	"context"
	"slices"
)

// With very many steps each one is trained in its own features only, against
// the sentences most like its own and some drawn from the rest: the others
// would hardly move its border.
const (
	nearRows   = 200
	drawnRows  = 60
	commonRows = 2000 // a feature of more sentences does not help finding
)

// fitNear trains each class against sentences near to it.
func (t *trainingSet) fitNear(ctx context.Context, workers int, rows *vectors, features int) (*weights, error) {
	classes := len(t.steps) + 1
	members := make([][]int32, classes)
	for i, s := range t.sentences {
		members[s.class] = append(members[s.class], int32(i))
	}
	limit := commonRows
	if t.large {
		limit = commonRowsLarge
	}
	index := invert(rows, features, limit)
	columns := make([][]entry, classes)
	constant := make([]float32, classes)
	free := make(chan *nearRoom, workers)
	for range workers {
		free <- &nearRoom{local: make([]int32, features), likeness: make([]float32, rows.rows())}
	}
	err := parallel(ctx, workers, classes, func(class int) {
		room := <-free
		defer func() { free <- room }()
		columns[class], constant[class] = room.train(t, int32(class), members[class], rows, index)
		if t.large {
			columns[class] = strongest(columns[class], keptWeights)
		}
	})
	if err != nil {
		return nil, err
	}
	w := sparseWeights(features, columns, constant)
	if t.large {
		w.prune(keptClasses)
	}
	return w, nil
}

// invert lists for each feature the rows that have it; none for a feature of
// more than limit rows.
func invert(rows *vectors, features, limit int) *vectors {
	v := &vectors{start: make([]int32, features+1)}
	for _, e := range rows.entries {
		v.start[e.id+1]++
	}
	for f := range features {
		if int(v.start[f+1]) > limit {
			v.start[f+1] = 0
		}
		v.start[f+1] += v.start[f]
	}
	v.entries = make([]entry, v.start[features])
	next := slices.Clone(v.start[:features])
	for i := range rows.rows() {
		for _, e := range rows.row(i) {
			if v.start[e.id] < v.start[e.id+1] {
				v.entries[next[e.id]] = entry{int32(i), e.value}
				next[e.id]++
			}
		}
	}
	return v
}

// nearRoom is one worker's space; zero between classes.
type nearRoom struct {
	local    []int32   // number of a feature within the class, plus one
	likeness []float32 // of each row to the class
	touched  []int32
}

// train gives the weights of a class, by feature, and its constant.
func (r *nearRoom) train(t *trainingSet, class int32, members []int32, rows, index *vectors) ([]entry, float32) {
	if len(members) == 0 {
		return nil, -1
	}
	var own []int32
	for _, i := range members {
		for _, e := range rows.row(int(i)) {
			if r.local[e.id] == 0 {
				own = append(own, e.id)
				r.local[e.id] = int32(len(own))
			}
		}
	}
	p := problem{rows: &vectors{start: []int32{0}}, seed: uint64(class)}
	for _, i := range append(r.opponents(t, class, members, rows, index), members...) {
		var row []entry
		for _, e := range rows.row(int(i)) {
			if n := r.local[e.id]; n > 0 {
				row = append(row, entry{n - 1, e.value})
			}
		}
		p.rows.add(row)
		p.label(t, class, int(i))
	}
	p.square = squares(p.rows)
	w := make([]float64, len(own)+1)
	svm(&p, w)
	column := make([]entry, len(own))
	for n, id := range own {
		column[n] = entry{id, float32(w[n])}
		r.local[id] = 0
	}
	return column, float32(w[len(own)])
}

// opponents picks the rows of other classes that a class is trained against.
func (r *nearRoom) opponents(t *trainingSet, class int32, members []int32, rows, index *vectors) []int32 {
	for _, i := range members {
		for _, e := range rows.row(int(i)) {
			for _, o := range index.row(int(e.id)) {
				if r.likeness[o.id] == 0 {
					r.touched = append(r.touched, o.id)
				}
				r.likeness[o.id] += e.value * o.value
			}
		}
	}
	picked := r.likest(t, class)
	rng := random(class)
	for range drawnRows {
		i := int32(rng.below(rows.rows()))
		if r.likeness[i] == 0 && t.sentences[i].class != class && !slices.Contains(picked[max(0, len(picked)-drawnRows):], i) {
			picked = append(picked, i)
		}
	}
	for _, i := range r.touched {
		r.likeness[i] = 0
	}
	r.touched = r.touched[:0]
	return picked
}

// likest gives the rows of other classes that are most like a class, the most
// first, of equals the first.
func (r *nearRoom) likest(t *trainingSet, class int32) []int32 {
	before := func(a, b int32) bool {
		if r.likeness[a] != r.likeness[b] {
			return r.likeness[a] > r.likeness[b]
		}
		return a < b
	}
	// A heap of the best so far, the worst of them on top.
	best := make([]int32, 0, nearRows)
	down := func(i int) {
		for {
			worst := i
			for child := 2*i + 1; child <= 2*i+2 && child < len(best); child++ {
				if before(best[worst], best[child]) {
					worst = child
				}
			}
			if worst == i {
				return
			}
			best[i], best[worst] = best[worst], best[i]
			i = worst
		}
	}
	for _, row := range r.touched {
		switch {
		case t.sentences[row].class == class:
		case len(best) < nearRows:
			if best = append(best, row); len(best) == nearRows {
				for i := nearRows/2 - 1; i >= 0; i-- {
					down(i)
				}
			}
		case before(row, best[0]):
			best[0] = row
			down(0)
		}
	}
	slices.SortFunc(best, func(a, b int32) int {
		if before(a, b) {
			return -1
		}
		return 1
	})
	return best
}
