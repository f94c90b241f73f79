package nlu

import "math"

// random is splitmix64: small, fast, and the same everywhere.
type random uint64

func (r *random) next() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (r *random) below(n int) int { return int(r.next() % uint64(n)) }

func (r *random) shuffle(s []int32) {
	for i := len(s) - 1; i > 0; i-- {
		j := r.below(i + 1)
		s[i], s[j] = s[j], s[i]
	}
}

// problem is one two-class task. The weights get one place more than there are
// features, for the constant term.
type problem struct {
	rows   *vectors
	square []float64 // squared length of each row and of its constant
	sign   []float64 // +1 or -1 of each row
	cost   []float64 // C of each row
	seed   uint64
}

// squares gives each row's squared length, the constant term included.
func squares(rows *vectors) []float64 {
	s := make([]float64, rows.rows())
	for i := range s {
		s[i] = 1
		for _, e := range rows.row(i) {
			s[i] += float64(e.value) * float64(e.value)
		}
	}
	return s
}

func dot(w []float64, row []entry) float64 {
	s := w[len(w)-1]
	for _, e := range row {
		s += w[e.id] * float64(e.value)
	}
	return s
}

func axpy(w []float64, a float64, row []entry) {
	for _, e := range row {
		w[e.id] += a * float64(e.value)
	}
	w[len(w)-1] += a
}

const (
	svmRounds    = 100
	svmPrecision = 0.1
)

// svm minimises the L2-loss support vector objective by coordinate descent in
// the dual (Hsieh et al. 2008) with shrinking, and leaves the weights in w,
// which must be zero.
func svm(p *problem, w []float64) {
	n := p.rows.rows()
	alpha := make([]float64, n)
	active := make([]int32, n)
	for i := range active {
		active[i] = int32(i)
	}
	rng := random(p.seed)
	size := n
	bound := math.Inf(1)
	for range svmRounds {
		rng.shuffle(active[:size])
		highest, lowest := math.Inf(-1), math.Inf(1)
		for k := 0; k < size; k++ {
			i := active[k]
			row := p.rows.row(int(i))
			diag := 0.5 / p.cost[i]
			g := p.sign[i]*dot(w, row) - 1 + diag*alpha[i]
			pg := g
			if alpha[i] == 0 {
				if g > bound {
					size--
					active[k], active[size] = active[size], active[k]
					k--
					continue
				}
				pg = min(g, 0)
			}
			highest, lowest = max(highest, pg), min(lowest, pg)
			if math.Abs(pg) < 1e-10 {
				continue
			}
			old := alpha[i]
			alpha[i] = max(old-g/(p.square[i]+diag), 0)
			axpy(w, (alpha[i]-old)*p.sign[i], row)
		}
		if highest-lowest <= svmPrecision {
			if size == n {
				return
			}
			size, bound = n, math.Inf(1)
			continue
		}
		bound = highest
		if bound <= 0 {
			bound = math.Inf(1)
		}
	}
}
