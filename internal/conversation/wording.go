package conversation

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"tract"
	"tract/internal/store"
	"tract/internal/texts"
)

// Template identifies what a message was written as, before the client's texts
// were filled in.
func Template(e *store.Entry) string {
	if e.Meta.Template != "" {
		return e.Meta.Template
	}
	return TemplateOf(e.Body)
}

// TemplateOf is the Template of a message that is written with a body.
func TemplateOf(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:8])
}

// fillIn puts the client's texts and the user's name into what is said to the
// user, so that log, channel and tools have the same words. It gives the
// template of what was changed.
func (w *writer) fillIn(d *tract.Entry) (template string) {
	if d.Event != "" || d.Sender == tract.SenderCEU || !texts.MayName(d.Body) {
		return ""
	}
	f := texts.Filler{Texts: w.cfg.Texts, UserName: w.l.User.Details.Name, Languages: []string{w.l.User.Details.LanguageCode}}
	if bot := w.cfg.Bots[w.cfg.Businesses[w.l.Business].Bot]; bot != nil {
		f.Languages = append(f.Languages, bot.Language)
	}
	filled, unknown, err := f.Body(d.Body)
	for _, key := range unknown {
		if w.s.Log != nil && w.s.missing.first(w.l.Client, key) {
			w.s.Log.Warn("text missing", "client", w.l.Client, "key", key)
		}
	}
	if err != nil && w.s.Log != nil {
		w.s.Log.Warn("texts not filled in", "client", w.l.Client, "thread", w.l.ID, "code", tract.CodeOf(err))
	}
	if filled == d.Body {
		return ""
	}
	template = TemplateOf(d.Body)
	d.Body = filled
	return template
}

// missing remembers of which missing texts the log speaks already.
type missing struct {
	mu   sync.Mutex // guards have
	have map[missingText]bool
}

type missingText struct {
	client int64
	key    string
}

// mostMissing bounds the memory; of more texts the log does not speak.
const mostMissing = 1000

func (m *missing) first(client int64, key string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.have == nil {
		m.have = map[missingText]bool{}
	}
	k := missingText{client, key}
	if m.have[k] || len(m.have) == mostMissing {
		return false
	}
	m.have[k] = true
	return true
}
