// Package hsl owns message elements: their shapes, their canonical text, and
// what of them a person gets to read.
//
// It must not know about threads, senders, channels or storage.
//
// Invariants: an [Element] made here passes [Parse]; its Raw holds exactly the
// bytes that came in; no element carries a URL that could run code.
package hsl

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"tract"
	"tract/internal/strictjson"
)

// MaxBody is the most bytes a message_body may have. Whoever reads requests
// checks it.
const MaxBody = 64 << 10

// The types with a shape of their own. Others are kept and shown as their text.
const (
	TypeText     = "TEXT"
	TypeButton   = "BUTTON"
	TypeCarousel = "CAROUSEL"
	TypeSystem   = "SYSTEM"
)

// The codes of refusals.
const (
	CodeInvalid   = "invalid_message_body"
	CodeUnsafeURL = "unsafe_url"
)

// Element is one message.
type Element struct {
	Text string // may be empty
	Type string
	Raw  json.RawMessage // the whole element as it came
}

// Text makes a TEXT element. What JSON cannot carry to everyone (invalid UTF-8,
// NUL) becomes U+FFFD.
func Text(s string) Element {
	return build(s, TypeText, []byte("{}"))
}

// System makes a SYSTEM element; data must encode to a JSON object, nil stands
// for an empty one.
func System(text string, data any) (Element, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(data); err != nil {
		return Element{}, fmt.Errorf("encode data of a system message: %w", err)
	}
	encoded := bytes.TrimSpace(b.Bytes())
	if string(encoded) == "null" {
		encoded = []byte("{}")
	}
	return Parse(build(text, TypeSystem, encoded).Raw)
}

// Offer makes a TEXT element with one quick reply per choice.
func Offer(text string, choices []Choice) Element {
	data := []byte(`{"quick_replies":[`)
	for i, c := range choices {
		if i > 0 {
			data = append(data, ',')
		}
		data = append(data, `{"actionable_text":`...)
		data = appendQuoted(data, c.Caption)
		data = append(data, `,"is_default":0,"type":"TEXT_ONLY","payload":{"message":`...)
		data = appendQuoted(data, c.Message)
		data = append(data, `,"gogo_message":`...)
		data = appendQuoted(data, c.GogoMessage)
		data = append(data, "}}"...)
	}
	return build(text, TypeText, append(data, "]}"...))
}

// ParseBody reads a message_body: an element if it is a JSON object, otherwise
// plain text.
func ParseBody(s string) (Element, error) {
	if isObject([]byte(s)) {
		return Parse([]byte(s))
	}
	if !utf8.ValidString(s) || strings.IndexByte(s, 0) >= 0 {
		return Element{}, tract.Invalid(CodeInvalid, "message_body must be UTF-8 without NUL characters")
	}
	return Text(s), nil
}

// isObject reports whether b is meant as a JSON object: whether its syntax is
// good, or it is nested so deeply that nobody looked further.
func isObject(b []byte) bool {
	b = bytes.TrimLeft(b, " \t\r\n")
	if len(b) == 0 || b[0] != '{' {
		return false
	}
	return json.Valid(b) || tract.CodeOf(strictjson.Check(b, strictjson.Limits{})) == strictjson.CodeTooDeep
}

// Body gives the element as a message_body.
func (e Element) Body() string { return string(e.Raw) }

// MarshalJSON gives Raw. encoding/json compacts and escapes what it is given
// here, so where the bytes themselves matter, write Body.
func (e Element) MarshalJSON() ([]byte, error) { return e.Raw.MarshalJSON() }

// Display gives the text for a person: without the parts in braces, which are
// meant for the bot and the log.
func (e Element) Display() string {
	out := make([]byte, 0, len(e.Text))
	var open []int // where in out each open brace stands
	hidden := false
	for i := range len(e.Text) {
		switch c := e.Text[i]; {
		case c == '}' && len(open) > 0:
			out = out[:open[len(open)-1]]
			open = open[:len(open)-1]
			hidden = true
			continue
		case c == '{':
			open = append(open, len(out))
		}
		out = append(out, e.Text[i])
	}
	if hidden {
		return strings.TrimSpace(string(out))
	}
	return e.Text
}

// Transcript gives the text for a transcript, parts in braces included; an
// element without text is named by its type.
func (e Element) Transcript() string {
	if e.Text == "" {
		return e.Type
	}
	return e.Text
}

// build writes an element in the canonical order.
func build(text, kind string, data []byte) Element {
	text = strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\x00", "\ufffd")
	raw := appendQuoted([]byte(`{"text":`), text)
	raw = append(raw, `,"type":"`+kind+`","data":`...)
	raw = append(append(raw, data...), '}')
	return Element{Text: text, Type: kind, Raw: raw}
}

// appendQuoted writes a JSON string with as few escapes as JSON allows.
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s { // yields U+FFFD for invalid bytes
		switch {
		case r == 0:
			dst = append(dst, "\ufffd"...)
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r < ' ':
			dst = fmt.Appendf(dst, `\u%04x`, r)
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
