package bot

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// phrase is a pattern of words: every slot takes one of its words, an optional
// one may take none. It is written as "talk/speak to a/an/the? agent/human".
type phrase []slot

type slot struct {
	words    []string
	optional bool
}

func newPhrase(pattern string) phrase {
	var p phrase
	for field := range strings.FieldsSeq(pattern) {
		field, optional := strings.CutSuffix(field, "?")
		s := slot{optional: optional}
		for word := range strings.SplitSeq(field, "/") {
			s.words = append(s.words, strings.Join(wordsOf(word), ""))
		}
		p = append(p, s)
	}
	return p
}

// newPhrases reads one pattern a line.
func newPhrases(patterns string) (out []phrase) {
	for line := range strings.Lines(patterns) {
		if p := newPhrase(line); len(p) > 0 {
			out = append(out, p)
		}
	}
	return out
}

// begins says whether words begin with the phrase; with whole they must be
// nothing else.
func (p phrase) begins(words []string, whole bool) bool {
	if len(p) == 0 {
		return !whole || len(words) == 0
	}
	if len(words) > 0 && slices.Contains(p[0].words, words[0]) && p[1:].begins(words[1:], whole) {
		return true
	}
	return p[0].optional && p[1:].begins(words, whole)
}

// isOne says whether words are one of the phrases.
func isOne(phrases []phrase, words []string) bool {
	return slices.ContainsFunc(phrases, func(p phrase) bool { return p.begins(words, true) })
}

// mostWords bounds what is read of a message when looking for phrases.
const mostWords = 100

// wordsOf cuts a text into words: lower case, without Latin accents and
// apostrophes.
func wordsOf(text string) (words []string) {
	var word strings.Builder
	flush := func() {
		if word.Len() > 0 {
			words = append(words, word.String())
			word.Reset()
		}
	}
	for _, r := range norm.NFKD.String(text) {
		switch {
		case r >= 0x300 && r <= 0x36f || r == '\'' || r == '’' || r == '‘' || r == '`' || r == '\u200c' || r == '\u200d':
		case unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r):
			word.WriteRune(unicode.ToLower(r))
		default:
			if flush(); len(words) >= mostWords {
				return words
			}
		}
	}
	flush()
	return words
}

// trim takes words off both ends that say nothing.
func trim(words, fillers []string) []string {
	for len(words) > 0 && slices.Contains(fillers, words[0]) {
		words = words[1:]
	}
	for len(words) > 0 && slices.Contains(fillers, words[len(words)-1]) {
		words = words[:len(words)-1]
	}
	return words
}

// phrasebook is what the bot understands of a language beside its steps.
type phrasebook struct {
	human     []phrase // asks for a human, anywhere in a message
	justHuman []phrase // does so when it is the whole message
	fillers   []string // may stand around a justHuman
	not       []string // shortly before a human phrase: the opposite is meant
	smallTalk []smallTalk
}

// smallTalk is a set of whole messages and what is answered.
type smallTalk struct {
	said   []phrase
	answer string
}

// nearby is how many words before a phrase a negation counts for it.
const nearby = 4

// asksForHuman says whether the user wants to talk to a person.
func (b *phrasebook) asksForHuman(words []string) bool {
	if isOne(b.justHuman, trim(words, b.fillers)) {
		return true
	}
	for i := range words {
		for _, p := range b.human {
			if p.begins(words[i:], false) {
				return !slices.ContainsFunc(words[max(0, i-nearby):i], func(w string) bool { return slices.Contains(b.not, w) })
			}
		}
	}
	return false
}

// chat answers small talk.
func (b *phrasebook) chat(words []string) (answer string, ok bool) {
	for _, t := range b.smallTalk {
		if isOne(t.said, words) {
			return t.answer, true
		}
	}
	return "", false
}

// phrasebooks are the languages the bot has phrases for, by language code.
type phrasebooks map[string]*phrasebook

func newPhrasebooks() phrasebooks {
	books := phrasebooks{}
	for code, w := range wordings() {
		b := &phrasebook{human: newPhrases(w.human), justHuman: newPhrases(w.justHuman), fillers: wordsOf(w.fillers), not: wordsOf(w.not)}
		for _, t := range w.smallTalk {
			b.smallTalk = append(b.smallTalk, smallTalk{newPhrases(t[0]), t[1]})
		}
		books[code] = b
	}
	return books
}

// of gives the books of some languages, in their order, and English: its
// phrases are used everywhere.
func (b phrasebooks) of(tags ...string) (out []*phrasebook) {
	for _, tag := range append(tags, "en") {
		code, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if book := b[code]; book != nil && !slices.Contains(out, book) {
			out = append(out, book)
		}
	}
	return out
}
