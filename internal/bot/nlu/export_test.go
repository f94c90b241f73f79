package nlu

import "context"

// CrossValidatePlain is CrossValidate without the concept lists, to see what
// these are worth.
func CrossValidatePlain(ctx context.Context, steps []Step, o Options, hard bool) (Evaluation, error) {
	lex := newLexicon(o.Language)
	lex.concepts = nil
	set := newTrainingSet(steps, lex)
	c, err := set.calibrate(ctx, o.workers())
	if err != nil {
		return Evaluation{}, err
	}
	t := newTally(DefaultThreshold)
	err = set.crossValidate(ctx, o.workers(), c, hard, t.count)
	return t.evaluation(), err
}

// TrainLarge trains as if the steps were very many, with a sample of some of
// them for the confidence.
func TrainLarge(ctx context.Context, steps []Step, o Options, sample int) (*Model, error) {
	set := newTrainingSet(steps, newLexicon(o.Language))
	set.large = true
	m, err := set.fit(ctx, o.workers())
	if err != nil {
		return nil, err
	}
	m.calibration, err = set.sampled(sample).calibrate(ctx, o.workers())
	return m, err
}
