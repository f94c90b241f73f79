package strictjson

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

// hex4 reads an escape of the form \uXXXX at the beginning of b.
func hex4(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// appendString appends what a checked string literal, quotes included, stands for.
func appendString(dst, literal []byte) []byte {
	s := literal[1 : len(literal)-1]
	for {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...)
		}
		dst = append(dst, s[:i]...)
		s = s[i:]
		r, ok := hex4(s)
		if !ok {
			c := s[1]
			if j := strings.IndexByte("bfnrt", c); j >= 0 {
				c = "\b\f\n\r\t"[j]
			}
			dst, s = append(dst, c), s[2:]
			continue
		}
		s = s[6:]
		if utf16.IsSurrogate(r) {
			low, _ := hex4(s)
			r, s = utf16.DecodeRune(r, low), s[6:]
		}
		dst = utf8.AppendRune(dst, r)
	}
}

// path is a place in a text, such as metadata.items[2].name.
type path []segment

// segment is a member's name, or an element's index where that is not negative.
type segment struct {
	name  string
	index int
}

func member(name string) segment { return segment{name: name, index: -1} }

// String renders a path for people. It is shortened: names come from outside.
func (p path) String() string {
	var b strings.Builder
	for _, s := range p {
		if b.Len() > 300 {
			b.WriteString("…")
			break
		}
		if s.index >= 0 {
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(printable(s.name))
	}
	return b.String()
}

// printable gives a name for people: a plain word as it is, anything else
// quoted, and neither very long.
func printable(name string) string {
	plain := name != ""
	for i, r := range name {
		if i >= 64 {
			name = name[:i] + "…"
			break
		}
		plain = plain && (r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
	}
	if plain {
		return name
	}
	return strconv.Quote(name)
}
