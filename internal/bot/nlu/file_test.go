package nlu_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"tract/internal/bot/nlu"
)

func marshal(t testing.TB, m *nlu.Model) []byte {
	t.Helper()
	b, err := m.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// resealed gives the bytes, changed, with a fitting checksum.
func resealed(b []byte, change func([]byte)) []byte {
	body := bytes.Clone(b[:len(b)-sha256.Size])
	change(body)
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

func TestLoadedModelIsTheSame(t *testing.T) {
	m := train(t, shop(t), nlu.Options{Language: "en"})
	b := marshal(t, m)
	loaded, err := nlu.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, marshal(t, loaded)) {
		t.Error("a loaded model writes other bytes")
	}
	for _, q := range readCSV(t, filepath.Join("testdata", "shop_questions.csv")) {
		if diff := cmp.Diff(m.Match(q.Text), loaded.Match(q.Text)); diff != "" {
			t.Errorf("%q: %s", q.Text, diff)
		}
	}
}

// TestManySteps takes the way of the bots that are too large for one table.
// Names without examples spare it the calibration.
func TestManySteps(t *testing.T) {
	var steps []nlu.Step
	for _, s := range madeUp(1300, 5) {
		steps = append(steps, nlu.Step{Name: s.Examples[4]})
	}
	m := train(t, steps, nlu.Options{})
	b := marshal(t, m)
	if len(b) > 20<<20 {
		t.Errorf("a file of %d bytes: the table of all weights", len(b))
	}
	loaded, err := nlu.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, marshal(t, train(t, steps, nlu.Options{Workers: 1}))) {
		t.Error("one worker made another model")
	}
	var questions []nlu.Question
	for _, s := range steps {
		questions = append(questions, nlu.Question{Text: s.Name + " kindly", Step: s.Name})
	}
	e := nlu.Evaluate(loaded, questions, 0, nil)
	if e.InScopeAccuracy < 0.95 || e.Answered < 0.5 {
		t.Errorf("%+v", e)
	}
	if diff := cmp.Diff(e, nlu.Evaluate(m, questions, 0, nil)); diff != "" {
		t.Error(diff)
	}
}

// TestVeryManySteps takes the way of the bots of more than 20,000 steps.
func TestVeryManySteps(t *testing.T) {
	steps := madeUp(120, 5)
	large := func(workers int) *nlu.Model {
		m, err := nlu.TrainLarge(t.Context(), steps, nlu.Options{Workers: workers}, 60)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	m := large(0)
	b := marshal(t, m)
	if !bytes.Equal(b, marshal(t, large(1))) {
		t.Error("one worker made another model")
	}
	loaded, err := nlu.Load(b)
	if err != nil {
		t.Fatal(err)
	}
	var questions []nlu.Question
	for _, s := range steps {
		questions = append(questions, nlu.Question{Text: s.Examples[2] + " kindly", Step: s.Name})
	}
	for _, q := range readCSV(t, filepath.Join("testdata", "shop_questions.csv")) {
		questions = append(questions, nlu.Question{Text: q.Text, Step: nlu.OutOfScope})
	}
	e, exact := nlu.Evaluate(loaded, questions, 0, nil), nlu.Evaluate(train(t, steps, nlu.Options{}), questions, 0, nil)
	t.Logf("in scope %.3f for %.3f, at the threshold %.3f for %.3f, out of scope %.3f for %.3f", e.InScopeAccuracy, exact.InScopeAccuracy, e.InScopeAccuracyAtThreshold, exact.InScopeAccuracyAtThreshold, e.OOSRecall, exact.OOSRecall)
	if e.InScopeAccuracy < exact.InScopeAccuracy-0.02 || e.InScopeAccuracyAtThreshold < exact.InScopeAccuracyAtThreshold-0.05 || e.OOSRecall < exact.OOSRecall-0.1 {
		t.Errorf("%+v\nwithout the bounds %+v", e, exact)
	}
}

func TestLoadRefuses(t *testing.T) {
	b := marshal(t, train(t, shop(t)[:3], nlu.Options{}))
	tests := []struct {
		name string
		file []byte
		want error
	}{
		{"nothing", nil, nlu.ErrCorrupt},
		{"something else", bytes.Repeat([]byte("not a model "), 20), nlu.ErrCorrupt},
		{"cut short", b[:len(b)-1], nlu.ErrCorrupt},
		{"one byte more", append(bytes.Clone(b), 0), nlu.ErrCorrupt},
		{"newer format", resealed(b, func(b []byte) { b[8]++ }), nlu.ErrVersion},
		{"a length that lies", resealed(b, func(b []byte) { b[12] = 0xff }), nlu.ErrCorrupt},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if m, err := nlu.Load(tt.file); !errors.Is(err, tt.want) || m != nil {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	for i := 0; i < len(b); i += 97 {
		bad := bytes.Clone(b)
		bad[i] ^= 0x40
		if _, err := nlu.Load(bad); !errors.Is(err, nlu.ErrCorrupt) {
			t.Fatalf("byte %d flipped gives %v", i, err)
		}
	}
}

// FuzzLoad flips what it likes under a right checksum: a loaded model may
// answer nonsense, but must answer.
func FuzzLoad(f *testing.F) {
	b := marshal(f, train(f, shop(f)[:2], nlu.Options{}))
	f.Add(uint32(20), uint64(0xffffffff))
	f.Add(uint32(len(b)/2), uint64(1)<<63)
	f.Fuzz(func(t *testing.T, at uint32, value uint64) {
		bad := resealed(b, func(b []byte) {
			for i := range 8 {
				b[(int(at)+i)%len(b)] ^= byte(value >> (8 * i))
			}
		})
		m, err := nlu.Load(bad)
		if err != nil {
			return
		}
		m.Match("where is my order")
		m.Match("zxqv refund cancl 12")
	})
}

func FuzzMatch(f *testing.F) {
	m := train(f, shop(f), nlu.Options{})
	for _, seed := range []string{"where is my order", "PLEEEASE cancle!!", "मेरा ऑर्डर", "１２３ ＡＢＣ", "a\u0301\u0301\u0301", "\xff\x00ß", "ﷺ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, question string) {
		r := m.Match(question)
		if len(r.Candidates) > 5 || len(r.Read) > 256 || !(r.Confidence >= 0 && r.Confidence <= 1) {
			t.Fatalf("%q gives %+v", question, r)
		}
		for _, v := range []float64{r.Signals.Known, r.Signals.Coverage, r.Signals.Jaccard, r.Signals.Probability} {
			if !(v >= 0 && v <= 1+1e-6) {
				t.Fatalf("%q gives signals %+v", question, r.Signals)
			}
		}
		if diff := cmp.Diff(r, m.Match(question)); diff != "" {
			t.Fatalf("%q is answered differently the second time: %s", question, diff)
		}
	})
}
