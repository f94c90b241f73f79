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
