// Package strictjson owns the rules for JSON that comes from outside: [Check]
// refuses what two parsers could read differently, [Decode] fills a struct
// without guessing.
//
// It must not know what any field means, nor about statuses or limits of size.
//
// Invariants: whatever Check accepts, encoding/json accepts too, with the same
// meaning; time is linear in the input; the call stack grows only with the
// depth of what was accepted.
package strictjson

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"unicode/utf8"

	"tract"
)

// The codes of refusals.
const (
	CodeInvalidJSON     = "invalid_json"
	CodeTrailingData    = "trailing_data"
	CodeDuplicateMember = "duplicate_member"
	CodeInvalidUTF8     = "invalid_utf8"
	CodeInvalidUnicode  = "invalid_unicode"
	CodeNulCharacter    = "nul_character"
	CodeTooDeep         = "too_deep"
	CodeTooManyMembers  = "too_many_members"
	CodeObjectExpected  = "object_expected"
	CodeFieldType       = "field_type"
)

// Limits bound the shape of a text. A zero field stands for its default.
type Limits struct {
	Depth   int // nested arrays and objects, the outermost counted; 64
	Members int // of one object; 1000
}

// Check reports why b is not one JSON text that every parser reads alike: bad
// syntax, bad UTF-8, anything after the value, two members of one object whose
// names are equal but for case, lone surrogates, NUL, or a limit exceeded. The
// error is a [tract.Error] of kind invalid that says where.
func Check(b []byte, lim Limits) error {
	if lim.Depth == 0 {
		lim.Depth = 64
	}
	if lim.Members == 0 {
		lim.Members = 1000
	}
	s := scanner{b: b, lim: lim, names: nameSet{seed: maphash.MakeSeed()}}
	if bytes.HasPrefix(b, []byte("\ufeff")) {
		return s.syntax("it must not begin with a byte order mark")
	}
	return s.text()
}

// scanner walks over one text. It keeps the open containers itself instead of
// recursing.
type scanner struct {
	b      []byte
	i      int
	lim    Limits
	frames []frame
	names  nameSet
}

// frame is one open array or object.
type frame struct {
	object   bool
	count    int // members seen, or the index of the current element
	base     int // where this object's names begin in the set
	key, end int // the current member's name as written, quotes included; 0 = none
}

func (s *scanner) text() error {
	for {
		opened, err := s.value()
		if err != nil {
			return err
		}
		if opened {
			continue
		}
		more, err := s.after()
		if err != nil || !more {
			return err
		}
	}
}

// value reads a scalar or an empty container whole; of any other container it
// reads up to the first value inside and reports it as opened.
func (s *scanner) value() (opened bool, err error) {
	s.space()
	switch c := s.peek(); c {
	case '{', '[':
		return s.open(c == '{')
	case '"':
		return false, s.str()
	case 't':
		return false, s.literal("true")
	case 'f':
		return false, s.literal("false")
	case 'n':
		return false, s.literal("null")
	default:
		return false, s.number()
	}
}

func (s *scanner) open(object bool) (opened bool, err error) {
	if len(s.frames) == s.lim.Depth {
		return false, s.fail(CodeTooDeep, "arrays and objects are nested more than %d deep", s.lim.Depth)
	}
	s.i++
	s.frames = append(s.frames, frame{object: object, base: len(s.names.entries)})
	s.space()
	if s.peek() == s.top().closer() {
		s.close()
		return false, nil
	}
	if object {
		return true, s.member()
	}
	return true, nil
}

func (s *scanner) close() {
	s.i++
	s.names.truncate(s.top().base)
	s.frames = s.frames[:len(s.frames)-1]
}

// after reads what follows a value, up to the next one; more is false at the
// end of the text.
func (s *scanner) after() (more bool, err error) {
	for len(s.frames) > 0 {
		s.space()
		f := s.top()
		switch s.peek() {
		case f.closer():
			s.close()
		case ',':
			s.i++
			if f.object {
				return true, s.member()
			}
			f.count++
			return true, nil
		default:
			return false, s.syntax("expected a comma or %q", f.closer())
		}
	}
	s.space()
	if s.i < len(s.b) {
		return false, s.fail(CodeTrailingData, "there is something after the JSON value")
	}
	return false, nil
}

// member reads a name and the colon.
func (s *scanner) member() error {
	f := s.top()
	f.key, f.end = 0, 0
	s.space()
	start := s.i
	if s.peek() != '"' {
		return s.syntax("expected a member name in double quotes")
	}
	if err := s.str(); err != nil {
		return err
	}
	if f.count++; f.count > s.lim.Members {
		s.i = start
		return s.fail(CodeTooManyMembers, "an object has more than %d members", s.lim.Members)
	}
	f.key, f.end = start, s.i
	if twin, dup := s.names.add(s.b, start, s.i, f.base, len(s.frames)); dup {
		s.i = start
		return s.duplicate(s.string(twin.key, twin.end), s.string(f.key, f.end))
	}
	s.space()
	if s.peek() != ':' {
		return s.syntax("expected a colon")
	}
	s.i++
	return nil
}

func (s *scanner) duplicate(first, second string) error {
	if first != second {
		return s.fail(CodeDuplicateMember, "the member name differs only in case from %s", printable(first))
	}
	return s.fail(CodeDuplicateMember, "the member appears twice")
}

func (s *scanner) string(start, end int) string {
	return string(appendString(nil, s.b[start:end]))
}

func (s *scanner) str() error {
	start := s.i
	s.i++
	for s.i < len(s.b) {
		switch c := s.b[s.i]; {
		case c == '"':
			s.i++
			return s.encoding(start)
		case c < ' ':
			return s.syntax("a string must not contain raw control characters")
		case c == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		default:
			s.i++
		}
	}
	return s.syntax("a string is not closed")
}

// encoding looks at the bytes read since start.
func (s *scanner) encoding(start int) error {
	if utf8.Valid(s.b[start:s.i]) {
		return nil
	}
	for s.i = start; !s.badUTF8(); {
		_, n := utf8.DecodeRune(s.b[s.i:])
		s.i += n
	}
	return s.fail(CodeInvalidUTF8, "the text is not UTF-8")
}

// badUTF8 reports whether no whole character begins here.
func (s *scanner) badUTF8() bool {
	r, n := utf8.DecodeRune(s.b[s.i:])
	return r == utf8.RuneError && n == 1
}

func (s *scanner) escape() error {
	if s.i+1 < len(s.b) && bytes.IndexByte([]byte(`"\/bfnrt`), s.b[s.i+1]) >= 0 {
		s.i += 2
		return nil
	}
	r, ok := hex4(s.b[s.i:])
	switch {
	case !ok:
		return s.syntax("bad escape in a string")
	case r == 0:
		return s.fail(CodeNulCharacter, "a string contains the NUL character")
	case r >= 0xDC00 && r <= 0xDFFF:
		return s.fail(CodeInvalidUnicode, "a low surrogate has no high one before it")
	case r >= 0xD800 && r <= 0xDBFF:
		if low, ok := hex4(s.b[s.i+6:]); !ok || low < 0xDC00 || low > 0xDFFF {
			return s.fail(CodeInvalidUnicode, "a high surrogate has no low one after it")
		}
		s.i += 6
	}
	s.i += 6
	return nil
}

func (s *scanner) literal(word string) error {
	if !bytes.HasPrefix(s.b[s.i:], []byte(word)) {
		return s.syntax("expected a value")
	}
	s.i += len(word)
	return nil
}

func (s *scanner) number() error {
	start := s.i
	if s.peek() == '-' {
		s.i++
	}
	switch c := s.peek(); {
	case c == '0':
		s.i++
	case c >= '1' && c <= '9':
		s.digits()
	default:
		s.i = start
		return s.syntax("expected a value")
	}
	if s.peek() == '.' {
		s.i++
		if !s.digits() {
			return s.syntax("expected a digit")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.i++
		if c := s.peek(); c == '+' || c == '-' {
			s.i++
		}
		if !s.digits() {
			return s.syntax("expected a digit")
		}
	}
	return nil
}

func (s *scanner) digits() bool {
	start := s.i
	for c := s.peek(); c >= '0' && c <= '9'; c = s.peek() {
		s.i++
	}
	return s.i > start
}

func (s *scanner) space() {
	for s.i < len(s.b) && isSpace(s.b[s.i]) {
		s.i++
	}
}

// peek gives 0 at the end; a raw NUL is nowhere allowed, so the two may be
// treated alike.
func (s *scanner) peek() byte {
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) top() *frame { return &s.frames[len(s.frames)-1] }

func (f *frame) closer() byte {
	if f.object {
		return '}'
	}
	return ']'
}

func (s *scanner) syntax(format string, args ...any) error {
	switch {
	case s.i >= len(s.b):
		format, args = "the text ends too early", nil
	case s.badUTF8():
		return s.fail(CodeInvalidUTF8, "the text is not UTF-8")
	}
	return s.fail(CodeInvalidJSON, "not valid JSON: "+format, args...)
}

func (s *scanner) fail(code, format string, args ...any) error {
	var p path
	for i := range s.frames {
		f := &s.frames[i]
		switch {
		case !f.object:
			p = append(p, segment{index: f.count})
		case f.end > 0:
			p = append(p, member(s.string(f.key, f.end)))
		}
	}
	msg := fmt.Sprintf(format, args...)
	if len(p) > 0 {
		return tract.Invalid(code, "%s, at byte %d in %s", msg, s.i, p)
	}
	return tract.Invalid(code, "%s, at byte %d", msg, s.i)
}
