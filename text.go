package tract

import "strings"

// Text is one wording of a client, in its languages: what {{text:key}} stands for.
type Text struct {
	// Fallback is the language that stands for all that In lacks.
	Fallback string `json:"fallback,omitempty"`
	// In holds the wording by language, as Language writes it; "" is the one that
	// is said to be of no language.
	In map[string]string `json:"in"`
}

// For gives the wording for the first of some languages that the text has: each
// as it is, then without its region; else the fallback.
func (t Text) For(languages ...string) string {
	for _, l := range languages {
		tag, ok := Language(l)
		if !ok {
			continue
		}
		if s, ok := t.In[tag]; ok {
			return s
		}
		primary, _, _ := strings.Cut(tag, "-")
		if s, ok := t.In[primary]; ok {
			return s
		}
	}
	return t.In[t.Fallback]
}

// mostTag bounds a language tag, in bytes.
const mostTag = 35

// Language writes a language tag in its usual case, such as en, pt-BR or
// zh-Hant; ok is false when it is none.
func Language(tag string) (canonical string, ok bool) {
	parts := strings.Split(strings.ReplaceAll(tag, "_", "-"), "-")
	if len(tag) > mostTag || len(parts[0]) < 2 || len(parts[0]) > 3 {
		return "", false
	}
	for i, p := range parts {
		for _, r := range []byte(p) {
			letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
			if !letter && (i == 0 || r < '0' || r > '9') {
				return "", false
			}
		}
		if len(p) < 1 || len(p) > 8 {
			return "", false
		}
		p = strings.ToLower(p)
		switch {
		case i > 0 && len(p) == 2:
			p = strings.ToUpper(p)
		case i > 0 && len(p) == 4:
			p = strings.ToUpper(p[:1]) + p[1:]
		}
		parts[i] = p
	}
	return strings.Join(parts, "-"), true
}
