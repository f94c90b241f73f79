package nlu

import (
	"cmp"
	"context"
	"slices"
)

// CrossValidate asks models trained on some of the examples about the others,
// with the confidence of a model of all of them. Random folds show how well
// questions like the examples are matched; with hard folds, nearly equal
// examples of a step stay together, so that every question is put in new words.
func CrossValidate(ctx context.Context, steps []Step, o Options, hard bool) (Evaluation, error) {
	m, err := Train(ctx, steps, o)
	if err != nil {
		return Evaluation{}, err
	}
	set := newTrainingSet(steps, m.reader.lex).sampled(sampledSteps)
	t := newTally(DefaultThreshold)
	err = set.crossValidate(ctx, o.workers(), m.calibration, hard, t.count)
	return t.evaluation(), err
}

// foldsFor gives how many folds a set is dealt to, and how many of them are
// asked: the larger the set, the fewer say enough.
func foldsFor(examples int) (folds, asked int) {
	switch {
	case examples > 20000:
		return 10, 1
	case examples > 2000:
		return 5, 2
	}
	return 5, 5
}

// count is the number of examples.
func (t *trainingSet) count() int {
	n := 0
	for i := range t.sentences {
		if t.answerable(i) {
			n++
		}
	}
	return n
}

// crossValidate hands each held-back example's step and result to see.
func (t *trainingSet) crossValidate(ctx context.Context, workers int, c calibration, hard bool, see func(sentence string, step string, r Result)) error {
	folds, asked := foldsFor(t.count())
	fold := t.folds(folds, hard)
	for f := range asked {
		m, err := t.subset(func(i int) bool { return fold[i] != f }).fit(ctx, workers)
		if err != nil {
			return err
		}
		m.calibration = c
		for i, s := range t.sentences {
			if fold[i] == f {
				see(s.text, t.steps[s.class], m.Match(s.text))
			}
		}
	}
	return nil
}

// folds deals each step's examples out evenly; -1 is for what is always
// trained with. Hard folds keep clusters of examples together.
func (t *trainingSet) folds(folds int, hard bool) []int {
	fold := make([]int, len(t.sentences))
	perStep := make([][]int32, len(t.steps))
	for i := range t.sentences {
		fold[i] = -1
		if t.answerable(i) {
			perStep[t.sentences[i].class] = append(perStep[t.sentences[i].class], int32(i))
		}
	}
	total := make([]int, folds)
	rng := random(3)
	for _, members := range perStep {
		clusters := t.clusters(members, hard)
		for i := len(clusters) - 1; i > 0; i-- {
			j := rng.below(i + 1)
			clusters[i], clusters[j] = clusters[j], clusters[i]
		}
		own := make([]int, folds)
		for _, cluster := range clusters {
			least := 0
			for f := range folds {
				if d := cmp.Or(cmp.Compare(own[f], own[least]), cmp.Compare(total[f], total[least])); d < 0 {
					least = f
				}
			}
			for _, i := range cluster {
				fold[i] = least
			}
			own[least] += len(cluster)
			total[least] += len(cluster)
		}
	}
	return fold
}

// nearDuplicate is the part of all their words from which two examples are
// nearly the same.
const nearDuplicate = 0.5

// clusters groups examples of one step: when hard, those linked by a chain of
// near duplicates, else each alone.
func (t *trainingSet) clusters(members []int32, hard bool) [][]int32 {
	var words [][]string
	for _, i := range members {
		var stems []string
		for _, tok := range t.sentences[i].tokens {
			stems = append(stems, tok.stem)
		}
		slices.Sort(stems)
		words = append(words, slices.Compact(stems))
	}
	cluster := make([]int, len(members)) // number of each member's cluster
	for a := range members {
		cluster[a] = a
		for b := 0; hard && b < a; b++ {
			if cluster[a] == cluster[b] || jaccard(words[a], words[b]) < nearDuplicate {
				continue
			}
			from, to := cluster[a], cluster[b]
			for i := range a + 1 {
				if cluster[i] == from {
					cluster[i] = to
				}
			}
		}
	}
	var groups [][]int32
	at := make(map[int]int)
	for k, c := range cluster {
		if _, ok := at[c]; !ok {
			at[c] = len(groups)
			groups = append(groups, nil)
		}
		groups[at[c]] = append(groups[at[c]], members[k])
	}
	return groups
}

// jaccard is the part of all words that two sorted lists share.
func jaccard(a, b []string) float64 {
	both, i, j := 0, 0, 0
	for i < len(a) && j < len(b) {
		switch d := cmp.Compare(a[i], b[j]); {
		case d < 0:
			i++
		case d > 0:
			j++
		default:
			both, i, j = both+1, i+1, j+1
		}
	}
	return ratio(both, len(a)+len(b)-both)
}
