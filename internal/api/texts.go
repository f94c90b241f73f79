package api

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"tract"
	"tract/internal/manifest"
	"tract/internal/store"
	"tract/internal/texts"
	"tract/internal/web"
)

// textRoutes registers the endpoints of the clients' wording.
func (a *API) textRoutes(m *web.Mux) {
	m.Handle("GET /api/clients/{client}/texts/", web.Hub, a.administer(a.listTexts))
	m.Handle("GET /api/clients/{client}/texts/{key}/", web.Hub, a.administer(a.text))
	m.Handle("PUT /api/clients/{client}/texts/{key}/", web.Hub, a.administer(a.putText))
	m.Handle("DELETE /api/clients/{client}/texts/{key}/", web.Hub, a.administer(a.deleteText))
	m.Handle("PUT /api/clients/{client}/texts/{key}/{language}/", web.Hub, a.administer(a.putTextIn))
	m.Handle("GET /api/clients/{client}/texts/{key}/history/", web.Hub, a.administer(a.textHistory))
	m.Handle("POST /api/clients/{client}/texts/{key}/restore/", web.Hub, a.administer(a.restoreText))
}

// textForm is a text as it is written and read: by language tag or "default".
type textForm struct {
	Texts    map[string]string `json:"texts"`
	Fallback string            `json:"fallback"`
}

func formOf(t tract.Text) textForm {
	f := textForm{map[string]string{}, texts.Name(t.Fallback)}
	for tag, s := range t.In {
		f.Texts[texts.Name(tag)] = s
	}
	return f
}

// formOrNil is what there was, or null.
func formOrNil(t *tract.Text) any {
	if t == nil {
		return nil
	}
	return formOf(*t)
}

func textObject(t store.Text) map[string]any {
	f := formOf(t.Text)
	return map[string]any{"key": t.Key, "texts": f.Texts, "fallback": f.Fallback, "version": t.Version, "updated_at": stamp(t.At), "updated_by": t.Actor}
}

// etag is the entity tag of a text. A text that is made anew has another one.
func etag(t store.Text) string { return `"` + strconv.FormatInt(t.Version, 10) + `"` }

func (a *API) listTexts(c *adminCall) (web.Answer, error) {
	id := c.r.PathValue("client")
	prefix, _, err := web.Query(c.r, "prefix")
	if err != nil {
		return web.Answer{}, err
	}
	if prefix != "" {
		if err := texts.CheckKey(prefix); err != nil {
			return web.Answer{}, err
		}
	}
	limit, err := web.Limit(c.r, defaultPage, maxPage)
	if err != nil {
		return web.Answer{}, err
	}
	scope := "texts/" + id + "/" + prefix
	after, err := a.cursor(c.r, scope)
	if err != nil {
		return web.Answer{}, err
	}
	var list []store.Text
	err = a.Store.View(c.r.Context(), func(tx *store.Tx) error {
		client, err := tx.Client(id)
		if err == nil {
			list, err = tx.ListTexts(client.Key, prefix, after, limit+1)
		}
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	list, next := cut(a, scope, list, limit, func(t store.Text) string { return t.Key })
	out := make([]map[string]any, len(list))
	for i, t := range list {
		out[i] = textObject(t)
	}
	return web.JSON(http.StatusOK, map[string]any{"texts": out, "next_cursor": next}), nil
}

// cursor reads the position that a list of a scope gave; "" without one.
func (a *API) cursor(r *http.Request, scope string) (position string, err error) {
	text, given, err := web.Query(r, "cursor")
	if err != nil || !given {
		return "", err
	}
	return web.DecodeCursor(a.CursorKey, scope, text)
}

// readText reads the text that a path names.
func readText(tx *store.Tx, r *http.Request) (client tract.Client, t store.Text, err error) {
	if client, err = tx.Client(r.PathValue("client")); err != nil {
		return client, t, err
	}
	t, err = tx.Text(client.Key, r.PathValue("key"))
	return client, t, err
}

func (a *API) text(c *adminCall) (web.Answer, error) {
	var t store.Text
	err := a.Store.View(c.r.Context(), func(tx *store.Tx) (err error) { _, t, err = readText(tx, c.r); return err })
	if err != nil {
		return web.Answer{}, err
	}
	c.w.Header().Set("ETag", etag(t))
	return web.JSON(http.StatusOK, textObject(t)), nil
}

func (a *API) putText(c *adminCall) (web.Answer, error) {
	var in textForm
	if _, err := web.ReadJSON(c.r, web.MaxBody, &in); err != nil {
		return web.Answer{}, err
	}
	if in.Texts == nil {
		return web.Answer{}, missing("texts")
	}
	next, err := texts.New(in.Texts, in.Fallback)
	if err != nil {
		return web.Answer{}, err
	}
	return a.changeText(c, func(*store.Tx, int64, *store.Text) (*tract.Text, error) { return &next, nil })
}

func (a *API) putTextIn(c *adminCall) (web.Answer, error) {
	var in struct {
		Text *string `json:"text"`
	}
	if _, err := web.ReadJSON(c.r, web.MaxBody, &in); err != nil {
		return web.Answer{}, err
	}
	if in.Text == nil {
		return web.Answer{}, missing("text")
	}
	tag, err := texts.Tag(c.r.PathValue("language"))
	if err != nil {
		return web.Answer{}, err
	}
	return a.changeText(c, func(_ *store.Tx, _ int64, was *store.Text) (*tract.Text, error) {
		form := textForm{Texts: map[string]string{}}
		if was != nil {
			form = formOf(was.Text)
		}
		if tag == "" {
			form.Fallback = "" // a default is one
		}
		form.Texts[texts.Name(tag)] = *in.Text
		next, err := texts.New(form.Texts, form.Fallback)
		return &next, err
	})
}

func (a *API) deleteText(c *adminCall) (web.Answer, error) {
	return a.changeText(c, func(*store.Tx, int64, *store.Text) (*tract.Text, error) { return nil, nil })
}

func (a *API) restoreText(c *adminCall) (web.Answer, error) {
	var in struct {
		Version *int64 `json:"version"`
	}
	if _, err := web.ReadJSON(c.r, web.MaxBody, &in); err != nil {
		return web.Answer{}, err
	}
	switch {
	case in.Version == nil:
		return web.Answer{}, missing("version")
	case *in.Version < 1:
		return web.Answer{}, badValue("version", "must be at least 1")
	}
	return a.changeText(c, func(tx *store.Tx, client int64, _ *store.Text) (*tract.Text, error) {
		was, err := tx.TextChange(client, c.r.PathValue("key"), *in.Version)
		if err == nil && was.After == nil {
			err = badValue("version", "is the removal of the text: there is nothing to restore")
		}
		return was.After, err
	})
}

// changeText makes a text what next says, nil to remove it. was is nil when
// there is none yet. Whoever changes wording at the same time waits: what texts
// name is checked across all of them.
func (a *API) changeText(c *adminCall, next func(tx *store.Tx, client int64, was *store.Text) (*tract.Text, error)) (web.Answer, error) {
	key := c.r.PathValue("key")
	if err := texts.CheckKey(key); err != nil {
		return web.Answer{}, err
	}
	match, err := condition(c.r.Header)
	if err != nil {
		return web.Answer{}, err
	}
	var out web.Answer
	var tag string
	err = a.Store.Update(c.r.Context(), func(tx *store.Tx) error {
		tag = ""
		if err := tx.LockConfiguration(); err != nil {
			return err
		}
		var was *store.Text
		client, t, err := readText(tx, c.r)
		switch {
		case err == nil:
			was, tag = &t, etag(t)
		case client.Key == 0 || !errors.Is(err, store.ErrNotFound):
			return err
		}
		if !match.Met(tag) {
			return manifest.ErrPrecondition
		}
		tag = ""
		to, err := next(tx, client.Key, was)
		if err != nil {
			return err
		}
		if to == nil && was == nil {
			return store.ErrNotFound.With("no text %q", key)
		}
		changed, err := tx.PutText(client.Key, key, to, c.actor, store.ViaREST)
		if err != nil {
			return err
		}
		action := "configuration_changed"
		switch {
		case to == nil:
			action, out = "configuration_removed", web.NoContent()
		default:
			if out, tag, err = storedText(tx, client.Key, key, was == nil); err != nil {
				return err
			}
			if was == nil {
				action = "configuration_added"
			}
		}
		if !changed {
			return nil
		}
		return tx.InsertAudit(client.Key, c.actor, action, client.ID+"/text/"+key, map[string]any{"changes": []string{}})
	})
	if err == nil && tag != "" {
		c.w.Header().Set("ETag", tag)
	}
	return out, err
}

// storedText answers with a text as it was just stored, if it may stay.
func storedText(tx *store.Tx, client int64, key string, created bool) (out web.Answer, tag string, err error) {
	all, err := tx.Texts(client)
	if err != nil {
		return out, "", err
	}
	if err := texts.Check(all, key); err != nil {
		return out, "", err
	}
	t, err := tx.Text(client, key)
	if err != nil {
		return out, "", err
	}
	object, warnings := textObject(t), []string{}
	for _, s := range t.In {
		for _, w := range texts.Missing(all, "it", s) {
			if !slices.Contains(warnings, w) {
				warnings = append(warnings, w)
			}
		}
	}
	slices.Sort(warnings)
	object["warnings"] = warnings
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return web.JSON(status, object), etag(t), nil
}

func (a *API) textHistory(c *adminCall) (web.Answer, error) {
	id, key := c.r.PathValue("client"), c.r.PathValue("key")
	limit, err := web.Limit(c.r, defaultPage, maxPage)
	if err != nil {
		return web.Answer{}, err
	}
	scope := "texts/" + id + "/" + key + "/history"
	position, err := a.cursor(c.r, scope)
	if err != nil {
		return web.Answer{}, err
	}
	before := int64(0)
	if position != "" {
		if before, err = strconv.ParseInt(position, 10, 64); err != nil {
			return web.Answer{}, err
		}
	}
	var list []store.TextChange
	err = a.Store.View(c.r.Context(), func(tx *store.Tx) error {
		client, err := tx.Client(id)
		if err != nil {
			return err
		}
		if list, err = tx.ListTextChanges(client.Key, key, before, limit+1); err == nil && len(list) == 0 && before == 0 {
			err = store.ErrNotFound.With("there never was a text %.64q", key)
		}
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	list, next := cut(a, scope, list, limit, func(c store.TextChange) string { return strconv.FormatInt(c.Version, 10) })
	out := make([]map[string]any, len(list))
	for i, c := range list {
		out[i] = map[string]any{"version": c.Version, "at": stamp(c.At), "actor": c.Actor, "via": c.Via, "from": formOrNil(c.Before), "to": formOrNil(c.After)}
	}
	return web.JSON(http.StatusOK, map[string]any{"changes": out, "next_cursor": next}), nil
}
