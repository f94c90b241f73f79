package manifest

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"tract"
)

// decoder turns values into what they describe. Wrong ones are noted and the
// default is taken, so that one pass finds everything.
type decoder struct {
	bad      *problems
	readFile func(string) ([]byte, error)
}

// object is a mapping whose keys are known.
type object struct {
	d      *decoder
	at     place
	fields map[string]pair
	broken bool // it was no mapping, which was reported
}

func (d *decoder) object(v *value, keys ...string) *object {
	o := &object{d: d, fields: map[string]pair{}}
	if v == nil {
		o.broken = true
		return o
	}
	o.at = v.at
	if v.kind != isMap {
		d.bad.add(v.at, "must be a mapping with the keys %s", strings.Join(keys, ", "))
		o.broken = true
		return o
	}
	for _, p := range v.pairs {
		if !slices.Contains(keys, p.key) {
			d.bad.add(p.at, "unknown key%s", DidYouMean(p.key, keys))
			continue
		}
		o.fields[p.key] = p
	}
	return o
}

// has says whether the key is there and not null. A value that could not be
// read counts as there.
func (o *object) has(key string) bool {
	p, ok := o.fields[key]
	return ok && (p.val == nil || p.val.kind != isNull)
}

// get returns the value of a key; nil when there is none to look at.
func (o *object) get(key string) *value {
	p := o.fields[key]
	if p.val == nil || p.val.kind == isNull {
		return nil
	}
	return p.val
}

// place is where the key is, or would be.
func (o *object) place(key string) place {
	if p, ok := o.fields[key]; ok {
		return place{p.at.line, p.at.col, join(o.at.path, key)}
	}
	return place{o.at.line, o.at.col, join(o.at.path, key)}
}

func (o *object) bad(key, format string, args ...any) {
	o.d.bad.add(o.place(key), format, args...)
}

// need reports a key that is missing.
func (o *object) need(key string) bool {
	if o.broken {
		return false
	}
	if !o.has(key) {
		o.bad(key, "is needed")
		return false
	}
	return true
}

func (o *object) text(key, otherwise string) string {
	v := o.get(key)
	if v == nil {
		return otherwise
	}
	switch v.kind {
	case isText:
		return v.text
	case isMap, isList:
		o.bad(key, "must be text")
	default:
		o.bad(key, "must be text; put it in quotes")
	}
	return otherwise
}

// needText is a text that must not be empty.
func (o *object) needText(key string) string {
	if !o.need(key) {
		return ""
	}
	before := len(o.d.bad.list)
	s := o.text(key, "")
	if s == "" && o.get(key) != nil && len(o.d.bad.list) == before {
		o.bad(key, "must not be empty")
	}
	return s
}

// optional is nil when the key is not there: then what is stored is kept.
func (o *object) optional(key string) *string {
	if o.get(key) == nil {
		return nil
	}
	s := o.text(key, "")
	return &s
}

// id is a needed text of the characters that an identifier may have.
func (o *object) id(key string) string {
	s := o.needText(key)
	if s != "" && !isID(s) {
		o.bad(key, "%s is not an id: letters, digits, '.', '_' and '-', at most 64, the first one a letter or digit", o.get(key).shown())
		return ""
	}
	return s
}

// label is a needed name for people that other keys may refer to.
func (o *object) label(key string) string {
	s := o.needText(key)
	switch {
	case len([]rune(s)) > 100:
		o.bad(key, "is longer than 100 characters")
	case strings.TrimSpace(s) != s || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' }):
		o.bad(key, "must not begin or end with a space or hold line breaks")
	}
	return s
}

func (o *object) flag(key string, otherwise bool) bool {
	v := o.get(key)
	if v == nil {
		return otherwise
	}
	if (v.kind == isFlag || v.fromVariable()) && (v.text == "true" || v.text == "false") {
		return v.text == "true"
	}
	o.bad(key, "must be true or false")
	return otherwise
}

func (o *object) number(key string, otherwise, least, most int64) int64 {
	v := o.get(key)
	if v == nil {
		return otherwise
	}
	n, err := strconv.ParseInt(v.text, 10, 64)
	if (v.kind != isInt && !v.fromVariable()) || err != nil || n < least || n > most {
		o.bad(key, "must be a whole number from %d to %d", least, most)
		return otherwise
	}
	return n
}

func (o *object) ratio(key string, otherwise float64) float64 {
	v := o.get(key)
	if v == nil {
		return otherwise
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if (v.kind != isInt && v.kind != isFloat && !v.fromVariable()) || err != nil || !(f >= 0 && f <= 1) {
		o.bad(key, "must be a number from 0 to 1")
		return otherwise
	}
	return f
}

func (o *object) duration(key string, otherwise, most time.Duration) tract.Duration {
	v := o.get(key)
	if v == nil {
		return tract.Duration(otherwise)
	}
	var d tract.Duration
	if (v.kind != isText && v.text != "0") || d.UnmarshalText([]byte(v.text)) != nil {
		o.bad(key, "must be a duration such as 60s or 8m")
		return tract.Duration(otherwise)
	}
	if most > 0 && time.Duration(d) > most {
		o.bad(key, "must be at most %s", most)
	}
	return d
}

// instant is a point in time; zero when the key is not there.
func (o *object) instant(key string) time.Time {
	v := o.get(key)
	if v == nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, v.text)
	if v.kind != isText || err != nil || t.Year() < 2000 || t.Year() > 9999 {
		o.bad(key, "must be a time such as 2026-11-20T10:30:00Z")
		return time.Time{}
	}
	return t.UTC().Truncate(time.Microsecond)
}

// choice is one of some words.
func (o *object) choice(key, otherwise string, words ...string) string {
	s := o.text(key, otherwise)
	if s == otherwise || slices.Contains(words, s) {
		return s
	}
	v := o.get(key)
	o.bad(key, "%s is not one of %s%s", v.shown(), strings.Join(words, ", "), suggestion(v, words))
	return otherwise
}

// list returns the items of a list; none when the key is missing.
func (o *object) list(key string) []*value {
	v := o.get(key)
	if v == nil {
		return nil
	}
	if v.kind != isList {
		o.bad(key, "must be a list")
		return nil
	}
	return v.items
}

// names is a list of texts, none of them twice; never nil. Its items, with
// their places, are those of list.
func (o *object) names(key string) []string {
	out := []string{}
	for _, item := range o.list(key) {
		switch {
		case item.kind != isText || item.text == "":
			o.d.bad.add(item.at, "must be text")
		case slices.Contains(out, item.text):
			o.d.bad.add(item.at, "%s is named twice", item.shown())
		default:
			out = append(out, item.text)
		}
	}
	return out
}

func isID(s string) bool {
	if len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')
		if !letter && (i == 0 || (c != '.' && c != '_' && c != '-')) {
			return false
		}
	}
	return s != ""
}

func suggestion(v *value, words []string) string {
	if v.fromVariable() {
		return "" // near to a secret is too near
	}
	return DidYouMean(v.text, words)
}

// DidYouMean names the nearest word when it is near enough for a slip, as a text
// to follow what was refused; "" when none is.
func DidYouMean(s string, words []string) string {
	best, least := "", 1+max(1, len(s)/3)
	for _, w := range words {
		if n := distance(strings.ToLower(s), strings.ToLower(w)); n < least {
			best, least = w, n
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + strconv.Quote(best) + "?)"
}

// distance counts the letters to insert, drop or change from a to b.
func distance(a, b string) int {
	if len(a) > 100 || len(b) > 100 {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := left
			if a[i] != b[j] {
				cost++
			}
			left = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
