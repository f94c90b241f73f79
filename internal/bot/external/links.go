package external

import (
	"regexp"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// leadForms are the forms in which a text leads its reader elsewhere: places that
// are filled in later, what a channel may make a link of, and, last, telephone
// numbers. The first that fits a place has it.
var leadForms = []*regexp.Regexp{
	regexp.MustCompile(`\{\{[^{}]*\}\}`),
	regexp.MustCompile(`(?i)[a-z][a-z0-9+.\-]*://[^\s<>"'()\[\]{}]+`),
	regexp.MustCompile(`(?i)\b(?:javascript|data|vbscript|mailto|tel|sms|file|intent|whatsapp|tg):[^\s<>"'()\[\]{}]+`),
	regexp.MustCompile(`[\pL\pN._%+\-]+@[\pL\pN.\-]+`),
	regexp.MustCompile(`(?:[\pL\pN][\pL\pN\-_]*\.)+\pL{2,}(?::\d+)?(?:[/?#][^\s<>"'()\[\]{}]*)?`),
	regexp.MustCompile(`\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?:[/?#][^\s<>"'()\[\]{}]*)?`),
	regexp.MustCompile(`\+?\pN[\pN\s().\-/]{5,}\pN`),
}

// holdsOnlyLinksOf says whether every link, address and telephone number in a
// text is in one of the sources, too.
func holdsOnlyLinksOf(text string, sources []string) bool {
	found := linksOf(text)
	if len(found) == 0 {
		return true
	}
	known := map[string]bool{}
	for _, s := range sources {
		for _, l := range linksOf(s) {
			known[l] = true
		}
	}
	for _, l := range found {
		if !known[l] {
			return false
		}
	}
	return true
}

// linksOf finds links, addresses and telephone numbers in a form in which they
// can be compared.
func linksOf(text string) (out []string) {
	// What looks the same to the reader or to a channel is the same here.
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cf, r):
			return -1
		case r == '。' || r == '․' || r == '｡':
			return '.'
		}
		return r
	}, norm.NFKC.String(text))
	number := len(leadForms) - 1
	for i, form := range leadForms {
		text = form.ReplaceAllStringFunc(text, func(found string) string {
			if i == number {
				if digits := digitsOf(found); len(digits) >= 7 {
					out = append(out, digits)
				}
			} else {
				out = append(out, plainLink(found))
			}
			return " "
		})
	}
	return out
}

func plainLink(s string) string {
	s = strings.ToLower(strings.TrimRight(s, ".,;:!?*_~/"))
	for _, prefix := range []string{"https://", "http://", "www."} {
		s = strings.TrimPrefix(s, prefix)
	}
	return s
}

func digitsOf(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsNumber(r) {
			return r
		}
		return -1
	}, s)
}
