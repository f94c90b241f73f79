package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"tract"
	"tract/internal/manifest"
	"tract/internal/store"
	"tract/internal/web"
)

func badParameter(name, format string, args ...any) error {
	return tract.Invalid("invalid_parameter", name+" "+format, args...)
}

// objectID is the id in the path, as it is stored.
func objectID(c *adminCall, kind, name string) string {
	id := c.r.PathValue(name)
	if kind == store.KindAgent {
		id = strings.ToLower(id)
	}
	return id
}

func (a *API) listObjects(kind, plural string) func(*adminCall) (web.Answer, error) {
	return func(c *adminCall) (web.Answer, error) {
		scope := "objects/" + c.client() + "/" + kind
		after, limit, err := a.listPage(c.r, scope)
		if err != nil {
			return web.Answer{}, err
		}
		var list []manifest.Object
		err = a.Store.View(c.r.Context(), func(tx *store.Tx) (err error) {
			list, err = a.Manifest.List(tx, c.client(), kind, after, limit+1)
			return err
		})
		if err != nil {
			return web.Answer{}, err
		}
		list, next := cut(a, scope, list, limit, func(o manifest.Object) string { return o.ID })
		out := make([]json.RawMessage, len(list))
		for i, o := range list {
			out[i] = o.Body
		}
		return web.JSON(http.StatusOK, map[string]any{plural: out, "next_cursor": next}), nil
	}
}

func (a *API) getObject(kind, name string) func(*adminCall) (web.Answer, error) {
	return func(c *adminCall) (web.Answer, error) {
		var o manifest.Object
		err := a.Store.View(c.r.Context(), func(tx *store.Tx) (err error) {
			o, err = a.Manifest.Get(tx, c.client(), kind, objectID(c, kind, name))
			return err
		})
		if err != nil {
			return web.Answer{}, err
		}
		c.w.Header().Set("ETag", o.ETag)
		return web.JSON(http.StatusOK, o.Body), nil
	}
}

func (a *API) putObject(kind, name string, patch bool) func(*adminCall) (web.Answer, error) {
	return func(c *adminCall) (web.Answer, error) {
		body, err := readObject(c.r, patch)
		if err != nil {
			return web.Answer{}, err
		}
		w := manifest.Write{Client: c.client(), Kind: kind, ID: objectID(c, kind, name), Body: body, Patch: patch, Actor: c.actor}
		if w.If, err = condition(c.r.Header); err != nil {
			return web.Answer{}, err
		}
		o, created, err := a.Manifest.Put(c.r.Context(), w)
		if err != nil {
			return web.Answer{}, err
		}
		c.w.Header().Set("ETag", o.ETag)
		if created {
			return web.JSON(http.StatusCreated, o.Body), nil
		}
		return web.JSON(http.StatusOK, o.Body), nil
	}
}

func (a *API) deleteObject(kind, name string) func(*adminCall) (web.Answer, error) {
	return func(c *adminCall) (web.Answer, error) {
		w := manifest.Write{Client: c.client(), Kind: kind, ID: objectID(c, kind, name), Actor: c.actor}
		var err error
		if w.If, err = condition(c.r.Header); err != nil {
			return web.Answer{}, err
		}
		if err := a.Manifest.Delete(c.r.Context(), w); err != nil {
			return web.Answer{}, err
		}
		return web.NoContent(), nil
	}
}

// errClientExists is a client that POST would replace.
var errClientExists = &tract.Error{Kind: tract.KindConflict, Code: "client_exists", Msg: "there is a client with this id already"}

func (a *API) createClient(c *adminCall) (web.Answer, error) {
	body, err := readObject(c.r, false)
	if err != nil {
		return web.Answer{}, err
	}
	var in struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &in); err != nil || in.ID == "" {
		return web.Answer{}, tract.Invalid("field_missing", "field id is missing, or no text")
	}
	w := manifest.Write{Client: in.ID, Kind: manifest.KindClient, ID: in.ID, Body: body, Actor: c.actor, If: manifest.Condition{NoneMatch: []string{"*"}}}
	out, err := a.adminOnce(c, body, func(tx *store.Tx) (web.Answer, error) {
		o, _, err := a.Manifest.PutIn(tx, w)
		if err != nil {
			return web.Answer{}, err
		}
		return web.JSON(http.StatusCreated, o.Body), nil
	})
	switch {
	case tract.KindOf(err) == tract.KindPrecondition:
		return web.Answer{}, errClientExists
	case err != nil:
		return web.Answer{}, err
	}
	c.w.Header().Set("Location", "/api/clients/"+url.PathEscape(in.ID)+"/")
	return out, nil
}
