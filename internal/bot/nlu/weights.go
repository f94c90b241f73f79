package nlu

// denseLimit is how many weights are kept as a table; beyond it each feature
// keeps only the classes that it speaks for.
const denseLimit = 16 << 20

// weights are the classifiers of all classes. Either table is set, or the
// three lists are.
type weights struct {
	classes  int
	constant []float32 // of each class
	table    []float32 // of feature f: table[f*classes:(f+1)*classes]
	start    []int32   // of feature f: class and value [start[f]:start[f+1]]
	class    []int32
	value    []float32
}

// score sets each class's margin for a row.
func (w *weights) score(row []entry, margin []float32) {
	copy(margin, w.constant)
	if w.table == nil {
		for _, e := range row {
			from, to := w.start[e.id], w.start[e.id+1]
			values := w.value[from:to]
			for k, class := range w.class[from:to] {
				margin[class] += values[k] * e.value
			}
		}
		return
	}
	for _, e := range row {
		line := w.table[int(e.id)*w.classes:][:len(margin)]
		for class, v := range line {
			margin[class] += v * e.value
		}
	}
}

// newTable makes room for the weights of features and classes.
func newTable(features, classes int) *weights {
	return &weights{classes: classes, constant: make([]float32, classes), table: make([]float32, features*classes)}
}

// column sets one class's weights, the constant last. Different classes may be
// set at the same time.
func (w *weights) column(class int, column []float64) {
	last := len(column) - 1
	for f, v := range column[:last] {
		w.table[f*w.classes+class] = float32(v)
	}
	w.constant[class] = float32(column[last])
}

// sparseWeights gathers classes that know only their own features.
func sparseWeights(features int, columns [][]entry, constant []float32) *weights {
	w := &weights{classes: len(columns), constant: constant, start: make([]int32, features+1)}
	for _, c := range columns {
		for _, e := range c {
			w.start[e.id+1]++
		}
	}
	for f := range features {
		w.start[f+1] += w.start[f]
	}
	w.class = make([]int32, w.start[features])
	w.value = make([]float32, w.start[features])
	next := append([]int32(nil), w.start[:features]...)
	for class, c := range columns {
		for _, e := range c {
			w.class[next[e.id]], w.value[next[e.id]] = int32(class), e.value
			next[e.id]++
		}
	}
	return w
}
