package nlu

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits on what is read of one sentence: a question is short, and its cost
// must not grow with what somebody pastes.
const (
	maxBytes  = 4096
	maxTokens = 256
	maxWord   = 40 // runes
)

// token is one word of a sentence as the matcher sees it.
type token struct {
	word   string  // normalised and corrected
	stem   string  // word without its ending
	factor float32 // 1, less for function words, 0 for stop words
	topic  bool    // says what the sentence is about
	number bool
}

// split cuts a sentence into normalised words: NFKC, lower case, Latin accents
// and apostrophes off, letter runs cut to two, digits apart and replaced by
// '#' and their count.
func split(text string) []string {
	text = cut(text, maxBytes)
	if !ascii(text) {
		text = norm.NFKC.String(text)
	}
	words := make([]string, 0, 16)
	var b []byte // the word being read
	var last rune
	runes, run, digits := 0, 0, 0
	flush := func() {
		if digits > 0 {
			words = append(words, "#"+string(rune('0'+min(digits, 9))))
		}
		if len(b) > 0 {
			words = append(words, string(b))
		}
		b, last, runes, run, digits = b[:0], 0, 0, 0, 0
	}
	for _, r := range text {
		if len(words) >= maxTokens {
			return words
		}
		switch {
		case r >= '0' && r <= '9' || r > 127 && unicode.IsDigit(r):
			if len(b) > 0 {
				flush()
			}
			digits++
			continue
		case r == '\'' || r == '’' || r == '‘' || r == '`' || r == '´' || r == '\u200c' || r == '\u200d' || r == '\u00ad':
			continue
		case !letter(r):
			flush()
			if r == '%' {
				words = append(words, "percent")
			}
			continue
		}
		if digits > 0 {
			flush()
		}
		for _, l := range fold(r) {
			if l == last {
				run++
			} else {
				last, run = l, 1
			}
			if run <= 2 && runes < maxWord {
				b = utf8.AppendRune(b, l)
				runes++
			}
		}
	}
	flush()
	return words
}

// letter tells what words are made of: letters and the marks upon them.
func letter(r rune) bool {
	if r < utf8.RuneSelf {
		return r|32 >= 'a' && r|32 <= 'z'
	}
	return unicode.IsLetter(r) || unicode.IsMark(r)
}

// fold gives the lower-case letters a rune stands for, Latin ones without
// their accents. Marks of other scripts carry sounds and stay.
func fold(r rune) string {
	if r < utf8.RuneSelf {
		return lowerASCII[r : r+1]
	}
	r = unicode.ToLower(r)
	switch r {
	case 'ß':
		return "ss"
	case 'æ':
		return "ae"
	case 'œ':
		return "oe"
	case 'ø':
		return "o"
	case 'ł':
		return "l"
	case 'đ', 'ð':
		return "d"
	case 'ı':
		return "i"
	}
	if r >= 0x300 && r <= 0x36f {
		return ""
	}
	if r < 0x250 || r >= 0x1e00 && r < 0x1f00 {
		base, _ := utf8.DecodeRuneInString(norm.NFD.String(string(r)))
		if base < utf8.RuneSelf && letter(base) {
			return lowerASCII[base : base+1]
		}
	}
	return string(r)
}

const lowerASCII = "\x00\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f" +
	"\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f" +
	" !\"#$%&'()*+,-./0123456789:;<=>?@abcdefghijklmnopqrstuvwxyz[\\]^_" +
	"`abcdefghijklmnopqrstuvwxyz{|}~\x7f"

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// cut shortens s to at most n bytes without splitting a rune.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// spaced turns a step's name into words: ORDER_STATUS and OrderStatus both
// read "order status".
func spaced(name string) string {
	var b strings.Builder
	var last rune
	for _, r := range name {
		if unicode.IsUpper(r) && unicode.IsLower(last) {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
		last = r
	}
	return b.String()
}
