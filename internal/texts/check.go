package texts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"tract"
)

// The codes of refusals.
const (
	CodeKey     = "text_key"
	CodeInvalid = "text_invalid"
	CodeNesting = "text_nesting"
	CodeTooLong = "text_too_long"
)

// Default is what people write for the wording that is of no language.
const Default = "default"

// CheckKey says what is wrong with a key.
func CheckKey(key string) error {
	if m := places.FindStringSubmatch("{{text:" + key + "}}"); m == nil || m[1] != key || len(key) > MostKey {
		return tract.Invalid(CodeKey, "%.64q is not a key: letters, digits, '.', '_' and '-', at most %d, the first one a letter or digit", key, MostKey)
	}
	return nil
}

// New makes a text of what people write: the wording by language tag or
// "default", and which of them is the fallback. Without one it is the default,
// else the only one there is.
func New(in map[string]string, fallback string) (tract.Text, error) {
	t := tract.Text{In: make(map[string]string, len(in))}
	if len(in) == 0 {
		return t, tract.Invalid(CodeInvalid, "a text needs at least one language, or %q", Default)
	}
	for _, name := range slices.Sorted(maps.Keys(in)) {
		tag, err := Tag(name)
		if err != nil {
			return t, err
		}
		if _, twice := t.In[tag]; twice {
			return t, tract.Invalid(CodeInvalid, "the language %s is named twice", Name(tag))
		}
		if s := in[name]; !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return t, tract.Invalid(CodeInvalid, "the text in %s must be UTF-8 without NUL characters", Name(tag))
		}
		t.In[tag] = in[name]
	}
	_, hasDefault := t.In[""]
	switch {
	case fallback != "":
		tag, err := Tag(fallback)
		if err != nil {
			return t, err
		}
		if _, ok := t.In[tag]; !ok || hasDefault && tag != "" {
			return t, tract.Invalid(CodeInvalid, "the fallback must be %q where there is such a text, else one of the languages; it is %s", Default, Name(tag))
		}
		t.Fallback = tag
	case len(t.In) == 1:
		for t.Fallback = range t.In {
		}
	case !hasDefault:
		return t, tract.Invalid(CodeInvalid, "which language is the fallback? Name it, or give a %q", Default)
	}
	return t, nil
}

// Tag is the language that people name: a language tag, or "default" for none.
func Tag(name string) (string, error) {
	if name == Default {
		return "", nil
	}
	tag, ok := tract.Language(name)
	if !ok {
		return "", tract.Invalid(CodeInvalid, "%.64q is neither a language code such as en or pt-BR nor %q", name, Default)
	}
	return tag, nil
}

// Name is the reverse of Tag.
func Name(tag string) string {
	if tag == "" {
		return Default
	}
	return tag
}

// Check says what is wrong with the text of a key among all texts of a client:
// with what it names and with those that name it. What has nothing to do with
// the key is not its fault.
func Check(all map[string]tract.Text, key string) error {
	down, up := map[string][]string{}, map[string][]string{}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		down[k] = namedBy(all, k)
		for _, n := range down[k] {
			up[n] = append(up[n], k)
		}
	}
	above, below := chains{next: up}, chains{next: down}
	if circle := below.circle(key); circle != nil {
		return tract.Invalid(CodeNesting, "texts name each other in a circle: %s", strings.Join(circle, " → "))
	}
	path := above.longest(key)
	slices.Reverse(path)
	if path = append(path, below.longest(key)[1:]...); len(path) > MostDepth {
		return tract.Invalid(CodeNesting, "texts may name texts %d deep, not %s", MostDepth, strings.Join(path, " → "))
	}
	sizes := map[string]int{}
	for _, k := range above.reach(key) {
		if n := size(all, k, sizes); n > Most {
			return tract.Invalid(CodeTooLong, "the text %s has %d bytes with all that it names; at most %d are possible", k, n, Most)
		}
	}
	return nil
}

// namedBy are the texts that a text names in any language.
func namedBy(all map[string]tract.Text, key string) (keys []string) {
	t := all[key]
	for _, tag := range slices.Sorted(maps.Keys(t.In)) {
		for _, k := range Named(t.In[tag]) {
			if _, known := all[k]; known && !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// chains are the ways along which texts name each other.
type chains struct {
	next map[string][]string
	best map[string][]string // the longest way from a key, which is its first
}

// reach lists everything on a way from a key, itself first.
func (c *chains) reach(key string) []string {
	seen, list := map[string]bool{key: true}, []string{key}
	for i := 0; i < len(list); i++ {
		for _, n := range c.next[list[i]] {
			if !seen[n] {
				seen[n] = true
				list = append(list, n)
			}
		}
	}
	return list
}

// circle is a way from a key back to it; nil when there is none.
func (c *chains) circle(key string) []string {
	from, list := map[string]string{}, []string{key}
	for i := 0; i < len(list); i++ {
		for _, n := range c.next[list[i]] {
			if n == key {
				way := []string{key}
				for at := list[i]; at != key; at = from[at] {
					way = append(way, at)
				}
				way = append(way, key)
				slices.Reverse(way)
				return way
			}
			if _, seen := from[n]; !seen {
				from[n] = list[i]
				list = append(list, n)
			}
		}
	}
	return nil
}

// longest is the longest way from a key. A circle elsewhere counts once.
func (c *chains) longest(key string) []string {
	if way, known := c.best[key]; known {
		return way
	}
	if c.best == nil {
		c.best = map[string][]string{}
	}
	c.best[key] = []string{key}
	way := []string{key}
	for _, n := range c.next[key] {
		if on := c.longest(n); len(on) >= len(way) {
			way = append([]string{key}, on...)
		}
	}
	c.best[key] = way
	return way
}

// size is the most bytes that a text can have once it is filled in.
func size(all map[string]tract.Text, key string, known map[string]int) (most int) {
	if n, ok := known[key]; ok {
		return n
	}
	known[key] = 0 // for a circle elsewhere
	for _, s := range all[key].In {
		n := len(s)
		for _, m := range places.FindAllStringSubmatch(s, -1) {
			if m[1] != "" && n <= Most {
				n += size(all, m[1], known)
			}
		}
		most = max(most, n)
	}
	known[key] = most
	return most
}

// Missing lists the keys that wording names and a client has no text for, as
// sentences about the place where they stand.
func Missing(all map[string]tract.Text, where, wording string) (out []string) {
	for _, key := range Named(wording) {
		if _, ok := all[key]; !ok {
			out = append(out, fmt.Sprintf("%s names the text %s, which does not exist: it is shown as written", where, key))
		}
	}
	return out
}
