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
