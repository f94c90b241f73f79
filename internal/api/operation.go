package api

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"tract"
	"tract/internal/store"
	"tract/internal/web"
)

// errStale refuses a change of what is not any more as the caller saw it.
var errStale = &tract.Error{Kind: tract.KindPrecondition, Code: "precondition_failed", Msg: "it is not any more what If-Match names"}

// operation is one call of an administrator about one client.
type operation struct {
	*adminCall
	client tract.Client
}

func (c *operation) ctx() context.Context { return c.r.Context() }

// operate proves an administrator and finds the client of the path.
func (a *API) operate(h func(*operation) (web.Answer, error)) web.Handler {
	return a.administer(func(call *adminCall) (web.Answer, error) {
		c := &operation{adminCall: call}
		id := call.client()
		err := a.Store.View(c.ctx(), func(tx *store.Tx) (err error) {
			c.client, err = tx.Client(id)
			return err
		})
		if err == nil && c.client.ID != id {
			err = store.ErrNotFound.With("no client %q", id) // it was removed
		}
		if err != nil {
			return web.Answer{}, err
		}
		return h(c)
	})
}

// operateRoutes registers what operates: threads, deliveries, users.
func (a *API) operateRoutes(m *web.Mux) {
	on := func(pattern string, h func(*operation) (web.Answer, error)) {
		method, path, _ := strings.Cut(pattern, " ")
		m.Handle(method+" /api/clients/{client}/"+path, web.Hub, a.operate(h))
	}
	on("GET threads/", a.searchThreads)
	on("GET threads/{pxut}/", a.readThread)
	on("GET threads/{pxut}/log/", a.readLog)
	on("GET threads/{pxut}/ledger/", a.readLedger)
	on("POST threads/{pxut}/reset/", a.resetThread)
	on("POST threads/{pxut}/complete/", a.completeThread)
	on("GET deliveries/", a.searchDeliveries)
	on("GET deliveries/{id}/", a.readDelivery)
	on("POST deliveries/replay/", a.replayAny)
	on("DELETE users/{auth_id}/", a.eraseUser)
	on("GET users/{auth_id}/export/", a.exportUser)
	on("GET erasures/{id}/", a.readErasure)
}

// queries reads parameters of the query string into places.
func queries(r *http.Request, dests map[string]*string) (err error) {
	for name, dest := range dests {
		if *dest, _, err = web.Query(r, name); err != nil {
			return err
		}
		if len(*dest) > maxText {
			return tract.Invalid("invalid_parameter", "%s is longer than %d bytes", name, maxText)
		}
	}
	return nil
}

// maxText bounds a parameter of the query string, in bytes.
const maxText = 1024

// numbers reads numbers that are not negative.
func numbers(r *http.Request, dests map[string]*int64) (err error) {
	for name, dest := range dests {
		if *dest, _, err = web.QueryInt(r, name); err != nil {
			return err
		}
		if *dest < 0 {
			return tract.Invalid("invalid_parameter", "%s must not be negative", name)
		}
	}
	return nil
}

// instants reads times.
func instants(r *http.Request, dests map[string]*time.Time) error {
	for name, dest := range dests {
		s, _, err := web.Query(r, name)
		if err != nil {
			return err
		}
		if *dest, err = parseTime(name, s); err != nil {
			return err
		}
	}
	return nil
}

// pages reads limit and cursor. A cursor is good for this list with these
// parameters only; position scans what it holds and is not called without one.
func (a *API) pages(c *operation, list string, position func(string) error) (limit int, next func(string) string, err error) {
	q := url.Values{}
	for name, v := range c.r.URL.Query() {
		if name != "cursor" && name != "limit" {
			q[name] = v
		}
	}
	scope := "api/" + c.client.ID + "/" + list + "?" + q.Encode()
	next = func(at string) string { return web.EncodeCursor(a.CursorKey, scope, at) }
	if limit, err = web.Limit(c.r, defaultPage, maxPage); err != nil {
		return 0, nil, err
	}
	cursor, given, err := web.Query(c.r, "cursor")
	if err != nil || !given || cursor == "" {
		return limit, next, err
	}
	at, err := web.DecodeCursor(a.CursorKey, scope, cursor)
	if err == nil && position(at) != nil {
		err = tract.Invalid("invalid_cursor", "cursor is not one that this list gave")
	}
	return limit, next, err
}

// scanAt reads a position that was written with the same format.
func scanAt(format string, dest ...any) func(string) error {
	return func(at string) error { _, err := fmt.Sscanf(at, format, dest...); return err }
}

// unlessStale holds a thing's tag against If-Match.
func unlessStale(r *http.Request, tag string) error {
	want := r.Header.Values("If-Match")
	if len(want) == 0 {
		return nil
	}
	for one := range strings.SplitSeq(strings.Join(want, ","), ",") {
		if one = strings.TrimSpace(one); one == "*" || one == tag {
			return nil
		}
	}
	return errStale.Fact("etag", tag)
}
