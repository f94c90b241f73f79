// Package texts owns what stands in wording for something else: {{text:key}}
// for a text of the client, {{user.name}} for the user's name. It finds these
// places, fills them in, and says which texts may not be stored.
//
// It must not know where texts are stored, nor who says what to whom.
//
// Invariants: a filled in element is a valid element of at most hsl.MaxBody
// bytes, or the one that was given; what comes from the user is never looked at
// for places to fill.
package texts

import (
	"net/url"
	"regexp"
	"slices"
	"strings"

	"tract"
	"tract/internal/hsl"
)

const (
	// MostDepth is how deep texts may name texts: one that a message names may
	// name another, and that one more.
	MostDepth = 3
	// Most is the most bytes of a text together with all that it names.
	Most = 16 << 10
	// MostKey is the most bytes of a key.
	MostKey = 64
)

// places finds what is to be filled in. The groups are the key, and the name.
var places = regexp.MustCompile(`\{\{ *(?:text:([A-Za-z0-9][A-Za-z0-9._-]*)|(user\.name)) *\}\}`)

// Named lists the keys that wording names, each once, in order.
func Named(s string) (keys []string) {
	if !strings.Contains(s, "{{") {
		return nil
	}
	for _, m := range places.FindAllStringSubmatch(s, -1) {
		if m[1] != "" && !slices.Contains(keys, m[1]) {
			keys = append(keys, m[1])
		}
	}
	return keys
}

// Filler fills in what is said to one user.
type Filler struct {
	Texts     map[string]tract.Text
	Languages []string // the user's, then the bot's
	UserName  string
}

// MayName says whether there could be something to fill in in an element's JSON.
// It is quick.
func MayName(body string) bool {
	return strings.Contains(body, "{{") || strings.Contains(body, `\u007b`) || strings.Contains(body, `\u007B`)
}

// Body fills in an element, given and returned as JSON. unknown are the keys
// that name no text; what named them stays. err says why nothing was filled in
// although there was something: the result would be no valid element.
func (f Filler) Body(body string) (filled string, unknown []string, err error) {
	if !MayName(body) {
		return body, nil, nil
	}
	e, err := hsl.Parse([]byte(body))
	if err != nil {
		return body, nil, err
	}
	e, err = e.Replace(func(s string, url bool) string {
		if !strings.Contains(s, "{{") {
			return s
		}
		r := run{Filler: f, url: url, unknown: unknown}
		filled := r.fill(s)
		unknown = r.unknown
		if r.tooMuch() {
			return s
		}
		return filled
	})
	if err != nil {
		return body, unknown, err
	}
	return e.Body(), unknown, nil
}

// run is the filling in of one string.
type run struct {
	Filler
	url     bool
	out     []byte
	open    []string // the texts that are being filled in
	unknown []string
	done    int // how many texts were filled in
}

// mostPlaces bounds what is filled in within one string.
const mostPlaces = 10_000

// tooMuch says that there is no end to it in reason.
func (r *run) tooMuch() bool { return len(r.out) > hsl.MaxBody || r.done > mostPlaces }

func (r *run) fill(s string) string {
	r.add(s)
	return string(r.out)
}

// add appends wording. It ends early when it has become too large.
func (r *run) add(s string) {
	from := 0
	for _, m := range places.FindAllStringSubmatchIndex(s, -1) {
		r.out = append(r.out, s[from:m[0]]...)
		from = m[1]
		if m[4] >= 0 {
			r.name()
		} else {
			r.text(s[m[0]:m[1]], s[m[2]:m[3]])
		}
		if r.tooMuch() {
			return
		}
	}
	r.out = append(r.out, s[from:]...)
}

// name appends the user's name; without one, the space before it goes too.
func (r *run) name() {
	switch {
	case r.UserName == "":
		if n := len(r.out); n > 0 && r.out[n-1] == ' ' {
			r.out = r.out[:n-1]
		}
	case r.url:
		r.out = append(r.out, strings.ReplaceAll(url.QueryEscape(r.UserName), "+", "%20")...)
	default:
		r.out = append(r.out, r.UserName...)
	}
}

// text appends the text of a key; place is what named it.
func (r *run) text(place, key string) {
	t, ok := r.Texts[key]
	if !ok && !slices.Contains(r.unknown, key) {
		r.unknown = append(r.unknown, key)
	}
	if !ok || len(r.open) == MostDepth || slices.Contains(r.open, key) {
		r.out = append(r.out, place...)
		return
	}
	r.done++
	r.open = append(r.open, key)
	r.add(t.For(r.Languages...))
	r.open = r.open[:len(r.open)-1]
}
