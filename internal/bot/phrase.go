package bot

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"tract"
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
		case r >= 0x300 && r <= 0x36f || r == '\'' || r == '’' || r == '‘' || r == '`' || r == '\u200c' || r == '\u200d' || r == '\ufe0f' || r == '\u20e3':
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
	numbers   []phrase // of the first choice, the second and so on
	smallTalk []smallTalk
}

// smallTalk is a set of whole messages and what is answered.
type smallTalk struct {
	kind   talkKind
	said   []phrase
	answer string
}

// talkKind is what of small talk a bot can answer in its own way.
type talkKind int

const (
	talkGreeting talkKind = iota
	talkThanks
	talkBye
	talkOwn // of the bot's own sets
)

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

// chat answers small talk, with what the bot's settings have for it.
func (b *phrasebook) chat(words []string, set *tract.SmallTalk) (answer string, ok bool) {
	if set.Off {
		return "", false
	}
	for _, t := range b.smallTalk {
		if !isOne(t.said, words) {
			continue
		}
		switch t.kind {
		case talkGreeting:
			return orElse(set.Greeting, t.answer), true
		case talkThanks:
			return orElse(set.Thanks, t.answer), true
		case talkBye:
			return orElse(set.Bye, t.answer), true
		}
		return t.answer, true
	}
	return "", false
}

// number reads the number of a choice, from 1; 0 when it is none.
func (b *phrasebook) number(words []string) int {
	return 1 + slices.IndexFunc(b.numbers, func(p phrase) bool { return p.begins(words, true) })
}

// ownBook is what a bot's settings add to the books of its languages.
func ownBook(bot *tract.Bot, books []*phrasebook) *phrasebook {
	own := &phrasebook{}
	for _, p := range bot.HumanPhrases {
		if words := wordsOf(p); len(words) == 1 {
			own.justHuman = append(own.justHuman, literal(words))
		} else if len(words) > 1 {
			own.human = append(own.human, literal(words))
		}
	}
	if len(bot.HumanPhrases) > 0 {
		for _, b := range books {
			own.fillers, own.not = append(own.fillers, b.fillers...), append(own.not, b.not...)
		}
	}
	for _, t := range bot.SmallTalk.More {
		set := smallTalk{kind: talkOwn, answer: t.Answer}
		for _, s := range t.Said {
			if words := wordsOf(s); len(words) > 0 {
				set.said = append(set.said, literal(words))
			}
		}
		own.smallTalk = append(own.smallTalk, set)
	}
	return own
}

// literal is the phrase of just these words.
func literal(words []string) (p phrase) {
	for _, w := range words {
		p = append(p, slot{words: []string{w}})
	}
	return p
}

// phrasebooks are the languages the bot has phrases for, by language code.
type phrasebooks map[string]*phrasebook

func newPhrasebooks() phrasebooks {
	books := phrasebooks{}
	for code, w := range wordings() {
		b := &phrasebook{human: newPhrases(w.human), justHuman: newPhrases(w.justHuman), fillers: wordsOf(w.fillers), not: wordsOf(w.not), numbers: newPhrases(w.numbers)}
		for kind, t := range w.smallTalk {
			b.smallTalk = append(b.smallTalk, smallTalk{talkKind(kind), newPhrases(t[0]), t[1]})
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
