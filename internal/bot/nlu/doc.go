// Package nlu matches a question to the FAQ step that means it, and says how
// likely the match is right. It learns from a few example sentences per step,
// needs no downloaded model, and answers in well under a millisecond.
//
// It owns reading (normalisation, spelling), features, the linear classifiers,
// the confidence and the model file. It knows nothing of bots, businesses,
// threads, files or clocks, and of the project imports the error type only.
//
// [Train] makes a [Model]; [Model.Match] ranks the steps for a question;
// [Model.MarshalBinary] and [Load] store it; [Evaluate], [CrossValidate] and
// [Review] say how good it is.
//
// Invariants: the same steps and options give the same bytes of model, however
// many workers trained it (on one processor architecture); a model never
// changes once it is made, so Match needs no locks; Match never fails, never
// panics, and its cost is bounded for any input.
package nlu
