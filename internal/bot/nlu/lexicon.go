package nlu

import (
	_ "embed"
	"strings"
)

// list is an embedded word list: sorted lines, each a word or a word, a tab
// and what it stands for. It is searched where it lies.
type list string

// find looks a word up; the second result tells whether it is there.
func (l list) find(word string) (string, bool) {
	lo, hi := 0, len(l)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		start := strings.LastIndexByte(string(l[lo:mid]), '\n') + 1 + lo
		end := len(l)
		if i := strings.IndexByte(string(l[start:]), '\n'); i >= 0 {
			end = start + i
		}
		key, value, _ := strings.Cut(string(l[start:end]), "\t")
		switch strings.Compare(word, key) {
		case 0:
			return value, true
		case -1:
			hi = start
		default:
			lo = end + 1
		}
	}
	return "", false
}

func (l list) has(word string) bool {
	_, ok := l.find(word)
	return ok
}

//go:embed words/common.en.txt
var commonEN list

//go:embed words/common.es.txt
var commonES list

//go:embed words/common.de.txt
var commonDE list

//go:embed words/common.fr.txt
var commonFR list

//go:embed words/common.pt.txt
var commonPT list

//go:embed words/function.en.txt
var functionEN list

//go:embed words/function.hi.txt
var functionHI list

//go:embed words/function.es.txt
var functionES list

//go:embed words/function.de.txt
var functionDE list

//go:embed words/function.fr.txt
var functionFR list

//go:embed words/function.pt.txt
var functionPT list

//go:embed words/slang.en.txt
var slangEN list

//go:embed words/slang.es.txt
var slangES list

//go:embed words/slang.de.txt
var slangDE list

//go:embed words/slang.fr.txt
var slangFR list

//go:embed words/slang.pt.txt
var slangPT list

//go:embed words/concepts.en.txt
var conceptsEN string

//go:embed words/concepts.es.txt
var conceptsES string

//go:embed words/concepts.de.txt
var conceptsDE string

//go:embed words/concepts.fr.txt
var conceptsFR string

//go:embed words/concepts.pt.txt
var conceptsPT string

//go:embed words/background.en.txt
var backgroundEN string

//go:embed words/background.hi.txt
var backgroundHI string

//go:embed words/background.es.txt
var backgroundES string

//go:embed words/background.de.txt
var backgroundDE string

//go:embed words/background.fr.txt
var backgroundFR string

//go:embed words/background.pt.txt
var backgroundPT string

// lexicon is what is known of a language before any training.
type lexicon struct {
	code       string
	function   list // words that carry grammar, not topic
	stop       list // words left out altogether
	slang      list
	common     list   // words that are never mended
	background string // sentences foreign to any FAQ, one a line
	stem       func(string) string
	groups     string              // the concepts as they are written
	concepts   map[string][]uint16 // by stem, or stems with a space between
}

// newLexicon picks the lists of a language tag such as "en" or "pt-BR". Indian
// chats mix English with Hindi in Latin letters, so these two share their
// lists, and they serve any language without lists of its own.
func newLexicon(tag string) *lexicon {
	code, _, _ := strings.Cut(strings.ToLower(strings.ReplaceAll(tag, "_", "-")), "-")
	l := &lexicon{code: code}
	switch code {
	case "es":
		l.function, l.slang, l.stem = functionES, slangES, stemRomance
		l.background, l.common, l.groups = backgroundES, commonES, conceptsES
	case "pt":
		l.function, l.slang, l.stem = functionPT, slangPT, stemRomance
		l.background, l.common, l.groups = backgroundPT, commonPT, conceptsPT
	case "fr":
		l.function, l.slang, l.stem = functionFR, slangFR, stemRomance
		l.background, l.common, l.groups = backgroundFR, commonFR, conceptsFR
	case "de":
		l.function, l.slang, l.stem = functionDE, slangDE, stemGerman
		l.background, l.common, l.groups = backgroundDE, commonDE, conceptsDE
	default:
		l.code = "en"
		l.function, l.stop, l.slang, l.stem = functionEN, functionHI, slangEN, stemEnglish
		l.background, l.common, l.groups = backgroundHI, commonEN, conceptsEN
	}
	l.background += backgroundEN
	l.concepts = concepts(l.groups, l.stem)
	return l
}

// concepts reads groups of words that mean nearly the same, one group a line,
// an underscore within phrases. A word may be in several groups.
func concepts(text string, stem func(string) string) map[string][]uint16 {
	all := make(map[string][]uint16)
	group := uint16(0)
	for line := range strings.Lines(text) {
		for _, phrase := range strings.Fields(line) {
			words := strings.Split(phrase, "_")
			for i := range words {
				words[i] = stem(words[i])
			}
			key := strings.Join(words, " ")
			if has := all[key]; len(has) == 0 || has[len(has)-1] != group {
				all[key] = append(has, group)
			}
		}
		group++
	}
	return all
}
