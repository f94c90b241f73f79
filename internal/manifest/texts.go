package manifest

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"tract"
	"tract/internal/store"
	"tract/internal/texts"
)

// texts reads the wording. A text is one of no language, or a mapping of
// languages; then "default", else the first one, is the fallback.
func (d *decoder) texts(o *object) (out []*wording) {
	v := o.get("texts")
	if v == nil {
		return nil
	}
	if v.kind != isMap {
		o.bad("texts", "must be a mapping of keys to texts")
		return nil
	}
	for _, p := range v.pairs {
		if err := texts.CheckKey(p.key); err != nil {
			d.bad.add(p.at, "%v", err)
			continue
		}
		if p.val == nil || p.val.kind == isNull {
			continue
		}
		in, fallback := map[string]string{texts.Default: p.val.text}, ""
		if p.val.kind == isMap {
			in, fallback = d.languages(p.val)
		} else if !d.isWording(p.at, p.val) {
			continue
		}
		if in == nil {
			continue // which was reported
		}
		body, err := texts.New(in, fallback)
		if err != nil {
			d.bad.add(p.at, "%v", err)
			continue
		}
		out = append(out, &wording{p.at, p.key, body})
	}
	return out
}

// languages reads a text that is written in several; nil when one is wrong.
func (d *decoder) languages(v *value) (in map[string]string, fallback string) {
	in = map[string]string{}
	good := true
	for _, p := range v.pairs {
		if p.val == nil || p.val.kind == isNull {
			continue
		}
		if good = d.isWording(p.at, p.val) && good; !good {
			continue
		}
		if fallback == "" || p.key == texts.Default {
			fallback = p.key
		}
		in[p.key] = p.val.text
	}
	if !good {
		return nil, ""
	}
	return in, fallback
}

func (d *decoder) isWording(at place, v *value) bool {
	switch v.kind {
	case isText:
		return true
	case isMap, isList:
		d.bad.add(at, "must be text, or a mapping of languages to texts")
	default:
		d.bad.add(at, "must be text; put it in quotes")
	}
	return false
}

// texts plans the wording: what the file names, checked with what stays.
func (p *planner) texts(c *client, t *tenant) {
	all := map[string]tract.Text{}
	if !p.flags.Prune {
		maps.Copy(all, t.texts)
	}
	for _, w := range c.texts {
		all[w.key] = w.body
	}
	for _, w := range c.texts {
		if err := texts.Check(all, w.key); err != nil {
			p.bad.add(w.at, "%v", err)
		}
		old, known := t.texts[w.key]
		op, details := "+", []string(nil)
		if known {
			if details = differences(plainText(old), plainText(w.body)); len(details) == 0 && old.Fallback == w.body.Fallback {
				continue
			}
			if op = "~"; old.Fallback != w.body.Fallback {
				details = append(details, "fallback "+texts.Name(old.Fallback)+" → "+texts.Name(w.body.Fallback))
			}
		}
		p.step(t, op, "text/"+w.key, details, func(tx *store.Tx, s *step) error {
			_, err := tx.PutText(s.t.key, w.key, &w.body, p.flags.Actor, store.ViaManifest)
			return err
		})
	}
	p.missingTexts(c, t, all)
}

// plainText is a text as a document: a string when it is of no language.
func plainText(t tract.Text) json.RawMessage {
	if s, ok := t.In[""]; ok && len(t.In) == 1 {
		return raw(s)
	}
	in := map[string]string{}
	for tag, s := range t.In {
		in[texts.Name(tag)] = s
	}
	return raw(in)
}

// missingTexts warns of wording in the file that names texts which do not exist.
func (p *planner) missingTexts(c *client, t *tenant, all map[string]tract.Text) {
	look := func(where, wording string) {
		for _, w := range texts.Missing(all, t.id+"/"+where, wording) {
			if !slices.Contains(p.warnings, w) {
				p.warn("%s", w)
			}
		}
	}
	for _, w := range c.texts {
		for _, tag := range slices.Sorted(maps.Keys(w.body.In)) {
			look("text/"+w.key, w.body.In[tag])
		}
	}
	for _, b := range c.bots {
		for _, s := range []string{b.body.Welcome, b.body.BotBreak, b.body.Handover} {
			look("bot/"+b.body.DomainName, s)
		}
		if b.faq != nil {
			look("bot/"+b.body.DomainName+"/faq", string(b.faq.content))
		}
	}
	for _, one := range c.teams {
		for _, s := range []string{one.body.OfflineMessage, one.body.DelayMessage, one.body.RecallMessage} {
			look("team/"+one.body.Name, s)
		}
	}
	for _, b := range c.businesses {
		look("business/"+strconv.FormatInt(b.body.ID, 10), b.body.FailoverMessage)
	}
}

// pruneTexts plans the removal of the texts that the file does not name.
func (p *planner) pruneTexts(c *client, t *tenant) {
	for _, key := range slices.Sorted(maps.Keys(t.texts)) {
		if slices.ContainsFunc(c.texts, func(w *wording) bool { return w.key == key }) {
			continue
		}
		p.step(t, "-", "text/"+key, nil, func(tx *store.Tx, s *step) error {
			_, err := tx.PutText(s.t.key, key, nil, p.flags.Actor, store.ViaManifest)
			return err
		})
	}
}

// exportTexts writes the wording; of a text in several languages the fallback
// comes first.
func exportTexts(all map[string]tract.Text) (out fields) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		t := all[key]
		if s, ok := t.In[""]; ok && len(t.In) == 1 {
			out = append(out, field{key, s})
			continue
		}
		languages := fields{{texts.Name(t.Fallback), t.In[t.Fallback]}}
		for _, tag := range slices.Sorted(maps.Keys(t.In)) {
			if tag != t.Fallback {
				languages = append(languages, field{texts.Name(tag), t.In[tag]})
			}
		}
		out = append(out, field{key, languages})
	}
	return out
}
