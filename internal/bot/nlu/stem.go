package nlu

import "strings"

// The stemmers are light on purpose: they join the forms of one word and leave
// different words apart; what they miss, the letter n-grams see.

// stemEnglish takes off plural, -ing, -ed and a few noun endings.
func stemEnglish(w string) string {
	if len(w) < 4 || !ascii(w) {
		return w
	}
	switch {
	case strings.HasSuffix(w, "ies") && len(w) > 4:
		w = w[:len(w)-3] + "y"
	case strings.HasSuffix(w, "sses"), strings.HasSuffix(w, "xes"), strings.HasSuffix(w, "ches"), strings.HasSuffix(w, "shes"):
		w = w[:len(w)-2]
	case strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") && !strings.HasSuffix(w, "us") && !strings.HasSuffix(w, "is"):
		w = w[:len(w)-1]
	}
	for _, end := range [...]string{"ing", "ed"} {
		if root, ok := strings.CutSuffix(w, end); ok && len(root) >= 3 && hasVowel(root) {
			w = undouble(root)
			break
		}
	}
	for _, end := range [...]string{"ation", "ment", "ly"} {
		if root, ok := strings.CutSuffix(w, end); ok && len(root) >= 4 {
			w = undouble(root)
			break
		}
	}
	if len(w) > 4 && w[len(w)-1] == 'e' {
		w = w[:len(w)-1]
	}
	if len(w) > 3 && w[len(w)-1] == 'y' && !vowel(w[len(w)-2]) {
		w = w[:len(w)-1] + "i"
	}
	return w
}

// stemRomance takes off plural and gender of Spanish, Portuguese and French,
// and their commonest verb and noun endings.
func stemRomance(w string) string {
	if len(w) < 4 || !ascii(w) {
		return w
	}
	for _, end := range [...]string{"aciones", "acoes", "acion", "acao", "ation", "ations", "amentos", "amento", "amientos", "amiento", "amente", "ando", "endo", "iendo", "ados", "adas", "ado", "ada", "idos", "idas", "ido", "ida"} {
		if root, ok := strings.CutSuffix(w, end); ok && len(root) >= 3 {
			return root
		}
	}
	for _, end := range [...]string{"oes", "es", "os", "as", "s", "x"} {
		if root, ok := strings.CutSuffix(w, end); ok && len(root) >= 3 {
			w = root
			break
		}
	}
	for _, end := range [...]string{"ar", "er", "ir", "a", "o", "e"} {
		if root, ok := strings.CutSuffix(w, end); ok && len(root) >= 3 {
			return root
		}
	}
	return w
}

// stemGerman takes off inflection, not word formation.
func stemGerman(w string) string {
	if len(w) < 4 || !ascii(w) {
		return w
	}
	for _, end := range [...]string{"ungen", "ung", "ern", "em", "en", "er", "es", "e", "s", "n"} {
		if root, ok := strings.CutSuffix(w, end); ok && len(root) >= 4 {
			return root
		}
	}
	return w
}

func vowel(c byte) bool {
	switch c {
	case 'a', 'e', 'i', 'o', 'u', 'y':
		return true
	}
	return false
}

func hasVowel(w string) bool {
	for i := range len(w) {
		if vowel(w[i]) {
			return true
		}
	}
	return false
}

// undouble turns "cancell" into "cancel", and leaves "call" and "process".
func undouble(w string) string {
	n := len(w)
	if n > 4 && w[n-1] == w[n-2] && !vowel(w[n-1]) && w[n-1] != 's' {
		return w[:n-1]
	}
	return w
}
