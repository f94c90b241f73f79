package nlu

import (
	"encoding/json"
	"math"
	"slices"
	"time"
)

// OutOfScope labels a question that no step answers.
const OutOfScope = "NO_NODES_DETECTED"

// DefaultThreshold is the confidence from which a bot should answer: more
// likely right than wrong.
const DefaultThreshold = 0.5

// Question is a sentence and the name of the step that it means, or OutOfScope.
// A name that is no step of the model counts as in scope and is never matched.
type Question struct {
	Text string
	Step string
}

// Evaluation says how well questions were matched. Ratios lie between 0 and 1;
// one that has nothing to count is 0, and null in JSON, as is a time that was
// not taken.
type Evaluation struct {
	Questions  int     `json:"questions"`
	OutOfScope int     `json:"out_of_scope"`
	Threshold  float64 `json:"threshold"`
	// InScopeAccuracy is the share of in-scope questions whose best candidate
	// is right, whatever its confidence.
	InScopeAccuracy float64 `json:"in_scope_accuracy"`
	// InScopeAccuracyAtThreshold counts those that were confident, too.
	InScopeAccuracyAtThreshold float64 `json:"in_scope_accuracy_at_threshold"`
	// OOSRecall is the share of out-of-scope questions that stay unanswered.
	OOSRecall float64 `json:"oos_recall"`
	// MCC is the multi-class correlation at the threshold, out of scope being
	// one more class.
	MCC float64 `json:"mcc"`
	// Precision is the share of the given answers that are right.
	Precision float64 `json:"precision"`
	// Answered is the share of all questions that get an answer.
	Answered float64 `json:"answered"`
	// AUROC is the probability that an in-scope question is more confident
	// than one out of scope.
	AUROC float64 `json:"auroc"`
	// Top3 is the share of in-scope questions whose step is among the first
	// three candidates.
	Top3    float64 `json:"top3"`
	TrainMS float64 `json:"train_ms"` // filled by whoever trained
	P50US   float64 `json:"p50_us"`
	P99US   float64 `json:"p99_us"`
}

// MarshalJSON writes null for what could not be measured.
func (e Evaluation) MarshalJSON() ([]byte, error) {
	type plain Evaluation
	inScope := e.Questions - e.OutOfScope
	return json.Marshal(struct {
		plain
		InScopeAccuracy            *float64 `json:"in_scope_accuracy"`
		InScopeAccuracyAtThreshold *float64 `json:"in_scope_accuracy_at_threshold"`
		OOSRecall                  *float64 `json:"oos_recall"`
		MCC                        *float64 `json:"mcc"`
		Precision                  *float64 `json:"precision"`
		Answered                   *float64 `json:"answered"`
		AUROC                      *float64 `json:"auroc"`
		Top3                       *float64 `json:"top3"`
		TrainMS                    *float64 `json:"train_ms"`
		P50US                      *float64 `json:"p50_us"`
		P99US                      *float64 `json:"p99_us"`
	}{
		plain(e),
		known(e.InScopeAccuracy, inScope > 0), known(e.InScopeAccuracyAtThreshold, inScope > 0), known(e.OOSRecall, e.OutOfScope > 0),
		known(e.MCC, e.Questions > 0), known(e.Precision, e.Answered > 0), known(e.Answered, e.Questions > 0),
		known(e.AUROC, inScope > 0 && e.OutOfScope > 0), known(e.Top3, inScope > 0),
		known(e.TrainMS, e.TrainMS > 0), known(e.P50US, e.P50US > 0), known(e.P99US, e.P99US > 0),
	})
}

func known(v float64, ok bool) *float64 {
	if !ok {
		return nil
	}
	return &v
}

// Evaluate asks a model questions whose steps are known. A threshold of 0
// means the default. Without a clock the times stay 0.
func Evaluate(m *Model, questions []Question, threshold float64, now func() time.Time) Evaluation {
	if threshold == 0 {
		threshold = DefaultThreshold
	}
	t := newTally(threshold)
	var times []time.Duration
	for _, q := range questions {
		var begin time.Time
		if now != nil {
			begin = now()
		}
		r := m.Match(q.Text)
		if now != nil {
			times = append(times, now().Sub(begin))
		}
		t.count(q.Text, q.Step, r)
	}
	e := t.evaluation()
	e.P50US, e.P99US = percentile(times, 0.50), percentile(times, 0.99)
	return e
}

func percentile(times []time.Duration, p float64) float64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	i := int(math.Ceil(p*float64(len(times)))) - 1
	return float64(times[max(i, 0)]) / float64(time.Microsecond)
}

// tally counts results.
type tally struct {
	threshold                            float64
	inScope, right, rightConfident, top3 int
	oos, refused                         int
	answered, answeredRight              int
	inConfidence, outConfidence          []float64
	truth, guess                         map[string]int // of each class, for MCC
	agreed                               int
}

func newTally(threshold float64) *tally {
	return &tally{threshold: threshold, truth: make(map[string]int), guess: make(map[string]int)}
}

func (t *tally) count(_, step string, r Result) {
	best := OutOfScope
	if len(r.Candidates) > 0 {
		best = r.Candidates[0].Name
	}
	given := OutOfScope
	if r.Confidence >= t.threshold {
		given = best
	}
	t.truth[step]++
	t.guess[given]++
	if given == step {
		t.agreed++
	}
	if given != OutOfScope {
		t.answered++
		if given == step {
			t.answeredRight++
		}
	}
	if step == OutOfScope {
		t.oos++
		t.outConfidence = append(t.outConfidence, r.Confidence)
		if given == OutOfScope {
			t.refused++
		}
		return
	}
	t.inScope++
	t.inConfidence = append(t.inConfidence, r.Confidence)
	if best == step {
		t.right++
	}
	if given == step {
		t.rightConfident++
	}
	for _, c := range r.Candidates[:min(3, len(r.Candidates))] {
		if c.Name == step {
			t.top3++
			break
		}
	}
}

func (t *tally) evaluation() Evaluation {
	return Evaluation{
		Questions:                  t.inScope + t.oos,
		OutOfScope:                 t.oos,
		Threshold:                  t.threshold,
		InScopeAccuracy:            ratio(t.right, t.inScope),
		InScopeAccuracyAtThreshold: ratio(t.rightConfident, t.inScope),
		OOSRecall:                  ratio(t.refused, t.oos),
		MCC:                        t.mcc(),
		Precision:                  ratio(t.answeredRight, t.answered),
		Answered:                   ratio(t.answered, t.inScope+t.oos),
		AUROC:                      auroc(t.inConfidence, t.outConfidence),
		Top3:                       ratio(t.top3, t.inScope),
	}
}

func ratio(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// mcc is the multi-class correlation coefficient of Gorodkin (2004).
func (t *tally) mcc() float64 {
	n := float64(t.inScope + t.oos)
	var cross, truth, guess float64
	for class, k := range t.truth {
		cross += float64(k) * float64(t.guess[class])
		truth += float64(k) * float64(k)
	}
	for _, k := range t.guess {
		guess += float64(k) * float64(k)
	}
	below := math.Sqrt(n*n-guess) * math.Sqrt(n*n-truth)
	if below == 0 {
		return 0
	}
	return min(max((float64(t.agreed)*n-cross)/below, -1), 1)
}

// auroc is the share of pairs in which the first is higher; a tie counts half.
func auroc(high, low []float64) float64 {
	if len(high) == 0 || len(low) == 0 {
		return 0
	}
	slices.Sort(low)
	var sum float64
	for _, h := range high {
		from, _ := slices.BinarySearch(low, h)
		to, _ := slices.BinarySearch(low, math.Nextafter(h, 2))
		sum += float64(from) + float64(to-from)/2
	}
	return sum / float64(len(high)) / float64(len(low))
}
