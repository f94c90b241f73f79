package nlu

import (
	"slices"
	"strings"
)

// reader turns sentences into tokens.
type reader struct {
	lex     *lexicon
	speller *speller // nil while the vocabulary is being learnt
	// function is the factor of function words.
	function float32
}

// read appends the tokens of a sentence to dst. A sentence of nothing but stop
// words keeps them: better little than nothing.
func (r *reader) read(dst []token, text string) []token {
	words := split(text)
	from := len(dst)
	dst = r.words(dst, words, true)
	if !slices.ContainsFunc(dst[from:], func(t token) bool { return t.factor > 0 }) {
		dst = r.words(dst[:from], words, false)
	}
	return dst
}

func (r *reader) words(dst []token, words []string, stop bool) []token {
	for _, w := range words {
		meaning, ok := r.lex.slang.find(w)
		if !ok {
			dst = r.word(dst, w, stop)
			continue
		}
		for meaning != "" {
			var next string
			next, meaning, _ = strings.Cut(meaning, " ")
			dst = r.word(dst, next, stop)
		}
	}
	return dst
}

func (r *reader) word(dst []token, w string, stop bool) []token {
	t := token{word: w, stem: w, factor: 1, number: w[0] == '#'}
	switch {
	case t.number:
	case r.lex.function.has(w):
		t.factor = r.function
	case r.lex.stop.has(w):
		t.factor = r.function
		if stop {
			// A stop word may still stand for a concept, as "kab" for when.
			if len(r.lex.concepts[r.lex.stem(w)]) == 0 {
				return dst
			}
			t.factor = 0
		}
	default:
		t.topic = true
		t.stem = r.lex.stem(w)
		if r.speller != nil && !r.speller.stems[t.stem] {
			if mended := r.speller.mend(w); mended != w {
				t.word, t.stem = mended, r.lex.stem(mended)
			}
		}
	}
	return append(dst, t)
}
