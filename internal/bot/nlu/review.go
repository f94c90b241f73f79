package nlu

import (
	"cmp"
	"context"
	"slices"
	"strings"
)

// Report tells a bot's author how good the bot is and what to mend.
type Report struct {
	Steps    int `json:"steps"`
	Examples int `json:"examples"` // that read differently
	// Validated is how many steps the cross-validation is about: all of them, or
	// some of very many, which makes it easier.
	Validated int `json:"validated_steps"`
	// Random is the accuracy on questions like the examples, Hard on questions
	// in new words.
	Random Evaluation `json:"random_folds"`
	Hard   Evaluation `json:"hard_folds"`
	// Confused are the pairs of steps taken for each other, most often first.
	Confused []Confusion `json:"confused"`
	// Thin are the steps with fewer than three examples, the first 500 of ThinSteps.
	Thin      []ThinStep `json:"thin"`
	ThinSteps int        `json:"thin_steps"`
	// Shared are sentences that stand under more than one step.
	Shared []SharedSentence `json:"shared"`
}

// Confusion is two steps of which one was taken for the other.
type Confusion struct {
	Steps     [2]string `json:"steps"`
	Count     int       `json:"count"`
	Sentences []string  `json:"sentences"` // some of them
}

// ThinStep is a step that has too few examples.
type ThinStep struct {
	Name     string `json:"name"`
	Examples int    `json:"examples"`
}

// SharedSentence is one sentence and the steps it stands under.
type SharedSentence struct {
	Sentence string   `json:"sentence"`
	Steps    []string `json:"steps"`
}

// Bounds of a report.
const (
	enoughExamples   = 3
	maxConfusions    = 20
	confusionSamples = 3
	maxShared        = 50
	maxSharers       = 20 // steps of one sentence
	maxThin          = 500
	maxSentence      = 200 // characters
)

// brief cuts a sentence to what a report shows.
func brief(s string) string {
	s = strings.TrimSpace(s)
	n := 0
	for i := range s {
		if n == maxSentence {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// Review cross-validates the steps a model was trained with, and lists what
// could be better. A threshold of 0 means the default. It costs about twice
// the training.
func Review(ctx context.Context, m *Model, steps []Step, o Options, threshold float64) (Report, error) {
	set := newTrainingSet(steps, newLexicon(o.Language))
	r := Report{Steps: len(steps), Examples: set.count(), Confused: []Confusion{}, Thin: []ThinStep{}, Shared: set.shared()}
	count := make([]int, len(steps))
	for i, s := range set.sentences {
		if set.answerable(i) {
			count[s.class]++
		}
	}
	for i, s := range steps {
		if count[i] >= enoughExamples {
			continue
		}
		if r.ThinSteps++; len(r.Thin) < maxThin {
			r.Thin = append(r.Thin, ThinStep{s.Name, count[i]})
		}
	}
	set = set.sampled(sampledSteps)
	r.Validated = len(set.steps)
	confused := make(map[[2]string]*Confusion)
	for _, hard := range []bool{false, true} {
		t := newTally(cmp.Or(threshold, DefaultThreshold))
		err := set.crossValidate(ctx, o.workers(), m.calibration, hard, func(text, step string, res Result) {
			t.count(text, step, res)
			if hard || len(res.Candidates) == 0 || res.Candidates[0].Name == step {
				return
			}
			pair := [2]string{step, res.Candidates[0].Name}
			slices.Sort(pair[:])
			c := confused[pair]
			if c == nil {
				c = &Confusion{Steps: pair}
				confused[pair] = c
			}
			c.Count++
			if len(c.Sentences) < confusionSamples {
				c.Sentences = append(c.Sentences, brief(text))
			}
		})
		if err != nil {
			return Report{}, err
		}
		if hard {
			r.Hard = t.evaluation()
		} else {
			r.Random = t.evaluation()
		}
	}
	for _, c := range confused {
		r.Confused = append(r.Confused, *c)
	}
	slices.SortFunc(r.Confused, func(a, b Confusion) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), slices.Compare(a.Steps[:], b.Steps[:]))
	})
	r.Confused = r.Confused[:min(len(r.Confused), maxConfusions)]
	return r, nil
}

// shared finds sentences that read the same under several steps.
func (t *trainingSet) shared() []SharedSentence {
	under := make(map[string][]int)
	for i, s := range t.sentences {
		if t.answerable(i) {
			k := sound(s.tokens)
			under[k] = append(under[k], i)
		}
	}
	list := []SharedSentence{}
	for i, s := range t.sentences {
		all := under[sound(s.tokens)]
		if !t.answerable(i) || len(all) < 2 || all[0] != i || len(list) == maxShared {
			continue
		}
		one := SharedSentence{Sentence: brief(s.text)}
		for _, k := range all[:min(len(all), maxSharers)] {
			one.Steps = append(one.Steps, t.steps[t.sentences[k].class])
		}
		list = append(list, one)
	}
	return list
}
