package nlu

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"

	"tract"
)

// The model file: magic, format version, payload, SHA-256 of all before it.
// All numbers are little-endian; lists begin with their length.
const (
	fileMagic   = "TRACTNLU"
	fileVersion = 1
)

// recipe counts the changes of reading, features or training that make another
// model of the same steps.
const recipe = 1

// Trainer names how this program trains bots of a language and reads their
// models: two programs of one trainer make the same model of the same steps.
// Another trainer's model may load, but is read with other word lists.
func Trainer(language string) string {
	l := newLexicon(language)
	sum := sha256.New()
	fmt.Fprintf(sum, "%d %d %s\n", fileVersion, recipe, l.code)
	for _, words := range []string{string(l.function), string(l.stop), string(l.slang), string(l.common), l.background, l.groups} {
		fmt.Fprintf(sum, "%d\n%s", len(words), words)
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

var (
	// ErrCorrupt refuses a model file that is damaged or is none.
	ErrCorrupt = &tract.Error{Kind: tract.KindInvalid, Code: "model_corrupt", Msg: "this is not an undamaged model file"}
	// ErrVersion refuses a model file of another format; training again makes a readable one.
	ErrVersion = &tract.Error{Kind: tract.KindUnsupported, Code: "model_version", Msg: "the model file has another format"}
)

// MarshalBinary gives the model as one file that [Load] reads. The same
// training gives the same bytes.
func (m *Model) MarshalBinary() ([]byte, error) {
	w := fileWriter{b: append(make([]byte, 0, m.fileSize()), fileMagic...)}
	w.number(fileVersion)
	w.text(m.reader.lex.code)
	w.texts(m.steps)
	put(&w, []float32{m.reader.function, m.vec.unseen})
	words := slices.Sorted(maps.Keys(m.reader.speller.known))
	w.texts(words)
	for _, word := range words {
		w.number(int(m.reader.speller.known[word]))
	}
	put(&w, m.vec.keys)
	put(&w, m.vec.idf)
	put(&w, m.vec.blocks)
	put(&w, m.weights.constant)
	put(&w, m.weights.table)
	put(&w, m.weights.start)
	put(&w, m.weights.class)
	put(&w, m.weights.value)
	put(&w, m.examples.first)
	w.vectors(m.examples.rows)
	w.vectors(m.examples.words)
	put(&w, append(m.calibration.weight[:], m.calibration.bias))
	sum := sha256.Sum256(w.b)
	return append(w.b, sum[:]...), nil
}

// fileSize guesses the size of the file, so that it is written in one piece of memory.
func (m *Model) fileSize() int {
	w := m.weights
	return 1<<20 + 16*m.vec.size() + 8*len(w.constant) + 4*(len(w.table)+len(w.start)+len(w.class)+len(w.value)) +
		8*(len(m.examples.rows.entries)+len(m.examples.words.entries)+len(m.examples.rows.start)+len(m.examples.words.start)) + 32*len(m.reader.speller.known) + 64*len(m.steps)
}

// Load reads a model written by MarshalBinary. A damaged file is refused with
// [ErrCorrupt], one of another format with [ErrVersion].
func Load(b []byte) (*Model, error) {
	head := len(fileMagic) + 4
	if len(b) < head+sha256.Size || string(b[:len(fileMagic)]) != fileMagic {
		return nil, ErrCorrupt
	}
	body := b[:len(b)-sha256.Size]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], b[len(body):]) {
		return nil, ErrCorrupt.With("the model file is damaged: its checksum does not fit")
	}
	if v := binary.LittleEndian.Uint32(b[len(fileMagic):]); v != fileVersion {
		return nil, ErrVersion.With("the model file has format %d, this program reads format %d: train the bot again", v, fileVersion)
	}
	r := fileReader{b: body[head:]}
	m := &Model{vec: &vectorizer{}, weights: &weights{}}
	m.reader.lex = newLexicon(r.text())
	m.steps = r.texts()
	single := get[float32](&r)
	known := make(map[string]int32)
	for _, word := range r.texts() {
		known[word] = 0
	}
	for _, word := range slices.Sorted(maps.Keys(known)) {
		known[word] = int32(r.number())
	}
	m.reader.speller = newSpeller(known, m.reader.lex)
	m.vec.keys = get[uint64](&r)
	m.vec.idf = get[float32](&r)
	m.vec.blocks = get[uint8](&r)
	m.weights.classes = len(m.steps) + 1
	m.weights.constant = get[float32](&r)
	m.weights.table = get[float32](&r)
	m.weights.start = get[int32](&r)
	m.weights.class = get[int32](&r)
	m.weights.value = get[float32](&r)
	m.examples.first = get[int32](&r)
	m.examples.rows = r.vectors()
	m.examples.words = r.vectors()
	calibration := get[float64](&r)
	if r.failed || len(r.b) > 0 || len(single) != 2 || len(calibration) != signalCount+1 || !m.sound() {
		return nil, ErrCorrupt
	}
	m.reader.function, m.vec.unseen = single[0], single[1]
	m.calibration.bias = calibration[signalCount]
	copy(m.calibration.weight[:], calibration)
	m.vec.ids = make(map[uint64]int32, m.vec.size())
	for id, key := range m.vec.keys {
		m.vec.ids[key] = int32(id)
	}
	return m.ready(), nil
}

// sound tells whether every number that points somewhere points into its list,
// so that a file made by another hand cannot make Match panic.
func (m *Model) sound() bool {
	n, w, ex := m.vec.size(), m.weights, m.examples
	if len(m.steps) == 0 || len(m.vec.idf) != n || len(m.vec.blocks) != n || len(w.constant) != w.classes {
		return false
	}
	for _, b := range m.vec.blocks {
		if b >= blocks {
			return false
		}
	}
	if len(w.table) > 0 || n == 0 {
		if len(w.table) != n*w.classes {
			return false
		}
	} else {
		w.table = nil
		if !ascending(w.start, n, len(w.class)) || len(w.class) != len(w.value) || !below(w.class, w.classes) {
			return false
		}
	}
	rows := ex.rows.rows()
	return rows == ex.words.rows() && ascending(ex.first, len(m.steps), rows) &&
		ex.rows.sound(n) && ex.words.sound(n)
}

// ascending tells whether start cuts total things into n runs.
func ascending(start []int32, n, total int) bool {
	return len(start) == n+1 && start[0] == 0 && int(start[n]) == total && slices.IsSorted(start)
}

func below(list []int32, limit int) bool {
	for _, v := range list {
		if v < 0 || int(v) >= limit {
			return false
		}
	}
	return true
}

func (v *vectors) sound(features int) bool {
	if len(v.start) == 0 || !ascending(v.start, len(v.start)-1, len(v.entries)) {
		return false
	}
	for _, e := range v.entries {
		if e.id < 0 || int(e.id) >= features {
			return false
		}
	}
	return true
}

// fileWriter appends values.
type fileWriter struct{ b []byte }

func (w *fileWriter) number(n int) { w.b = binary.LittleEndian.AppendUint32(w.b, uint32(n)) }

func (w *fileWriter) text(s string) {
	w.number(len(s))
	w.b = append(w.b, s...)
}

func (w *fileWriter) vectors(v *vectors) {
	ids, values := make([]int32, len(v.entries)), make([]float32, len(v.entries))
	for i, e := range v.entries {
		ids[i], values[i] = e.id, e.value
	}
	put(w, v.start)
	put(w, ids)
	put(w, values)
}

func (w *fileWriter) texts(list []string) {
	w.number(len(list))
	for _, s := range list {
		w.text(s)
	}
}

type fixed interface {
	~uint8 | ~int32 | ~uint64 | ~float32 | ~float64
}

func put[T fixed](w *fileWriter, list []T) {
	w.number(len(list))
	w.b, _ = binary.Append(w.b, binary.LittleEndian, list) // these types cannot fail
}

// fileReader takes values off the front; after the first that does not fit it
// has failed and gives zeros.
type fileReader struct {
	b      []byte
	failed bool
}

func (r *fileReader) take(n int) []byte {
	if r.failed || n < 0 || n > len(r.b) {
		r.failed = true
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *fileReader) number() int {
	b := r.take(4)
	if b == nil {
		return 0
	}
	n := binary.LittleEndian.Uint32(b)
	if n > math.MaxInt32 {
		r.failed = true
		return 0
	}
	return int(n)
}

func (r *fileReader) text() string { return string(r.take(r.number())) }

func (r *fileReader) vectors() *vectors {
	v := &vectors{start: get[int32](r)}
	ids, values := get[int32](r), get[float32](r)
	if len(ids) != len(values) {
		r.failed = true
		return v
	}
	v.entries = make([]entry, len(ids))
	for i := range ids {
		v.entries[i] = entry{ids[i], values[i]}
	}
	return v
}

func (r *fileReader) texts() []string {
	n := r.number()
	if n > len(r.b)/4 {
		r.failed = true
		return nil
	}
	list := make([]string, n)
	for i := range list {
		list[i] = r.text()
	}
	return list
}

func get[T fixed](r *fileReader) []T {
	n := r.number()
	var one T
	size := binary.Size(one)
	if n > len(r.b)/size {
		r.failed = true
		return nil
	}
	list := make([]T, n)
	if _, err := binary.Decode(r.take(n*size), binary.LittleEndian, list); err != nil {
		r.failed = true
	}
	return list
}
