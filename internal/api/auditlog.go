package api

import (
	"net/http"
	"strconv"

	"tract"
	"tract/internal/store"
	"tract/internal/web"
)

func (a *API) listAudit(c *adminCall) (web.Answer, error) {
	f, scope, err := a.auditFilter(c)
	if err != nil {
		return web.Answer{}, err
	}
	var lines []store.AuditLine
	var next int64
	err = a.Store.View(c.r.Context(), func(tx *store.Tx) error {
		client, err := tx.Client(c.client())
		if err != nil {
			return err
		}
		lines, next, err = tx.FindAudit(client.Key, f)
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	out := make([]map[string]any, len(lines))
	for i, l := range lines {
		out[i] = map[string]any{"id": l.ID, "at": stamp(l.At), "actor": l.Actor, "action": l.Action, "target": l.Target, "detail": l.Detail}
	}
	var cursor any
	if next != 0 {
		cursor = web.EncodeCursor(a.CursorKey, scope, strconv.FormatInt(next, 10))
	}
	return web.JSON(http.StatusOK, map[string]any{"entries": out, "next_cursor": cursor}), nil
}

func (a *API) auditFilter(c *adminCall) (f store.AuditFilter, scope string, err error) {
	var since, until string
	for name, dest := range map[string]*string{"actor": &f.Actor, "action": &f.Action, "target": &f.Target, "since": &since, "until": &until} {
		if *dest, _, err = web.Query(c.r, name); err != nil {
			return f, "", err
		}
	}
	if f.Since, err = parseTime("since", since); err != nil {
		return f, "", err
	}
	if f.Until, err = parseTime("until", until); err != nil {
		return f, "", err
	}
	scope = "audit/" + c.client()
	at, limit, err := a.listPage(c.r, scope)
	if err != nil {
		return f, "", err
	}
	f.Limit = limit
	if at != "" {
		if f.Before, err = strconv.ParseInt(at, 10, 64); err != nil {
			return f, "", tract.Invalid("invalid_cursor", "cursor is not one that this list gave")
		}
	}
	return f, scope, nil
}
