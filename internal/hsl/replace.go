package hsl

import (
	"bytes"
	"encoding/json"
)

// Replace puts every string of the element's JSON through fn, member names left
// out; url says that the string stands where a URL does. What fn leaves as it is
// stays byte for byte. A string that would make the element larger than MaxBody
// stays, too. An error says that the result is no element any more: then use
// the old one.
func (e Element) Replace(fn func(s string, url bool) string) (Element, error) {
	out := make([]byte, 0, len(e.Raw)+256)
	changed := false
	var outer []string // the members around the present one
	member := ""
	for i := 0; i < len(e.Raw); {
		switch c := e.Raw[i]; c {
		case '{', '[':
			outer = append(outer, member)
		case '}', ']':
			member, outer = outer[len(outer)-1], outer[:len(outer)-1]
		case '"':
			end := i + endOfString(e.Raw[i:])
			literal := e.Raw[i:end]
			i = end
			var s string
			if err := json.Unmarshal(literal, &s); err != nil {
				return Element{}, invalid("string", "cannot be read")
			}
			if rest := bytes.TrimLeft(e.Raw[end:], " \t\r\n"); len(rest) > 0 && rest[0] == ':' {
				member = s
			} else if next := fn(s, isURLMember(member)); next != s {
				quoted := appendQuoted(nil, next)
				if len(quoted) <= len(literal) || len(out)+len(quoted)+len(e.Raw)-end <= MaxBody {
					literal, changed = quoted, true
				}
			}
			out = append(out, literal...)
			continue
		}
		out = append(out, e.Raw[i])
		i++
	}
	if !changed {
		return e, nil
	}
	return Parse(out)
}

// endOfString is the length of the JSON string that b begins with.
func endOfString(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// Summary reads text and type of an element that passed Parse before, such as one
// in the log. It is several times quicker.
func Summary(raw []byte) Element {
	e := Element{Raw: raw}
	depth, member := 0, ""
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := i + endOfString(raw[i:])
			literal := raw[i:end]
			i = end - 1
			if depth != 1 {
				continue
			}
			rest := bytes.TrimLeft(raw[end:], " \t\r\n")
			if isName := len(rest) > 0 && rest[0] == ':'; isName {
				member = unquote(literal)
				continue
			}
			switch member {
			case "text":
				e.Text = unquote(literal)
			case "type":
				e.Type = unquote(literal)
			}
		}
	}
	return e
}

// unquote reads a JSON string that was checked.
func unquote(literal []byte) string {
	if len(literal) >= 2 && bytes.IndexByte(literal, '\\') < 0 {
		return string(literal[1 : len(literal)-1])
	}
	var s string
	_ = json.Unmarshal(literal, &s) // it was checked
	return s
}
