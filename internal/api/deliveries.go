package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"tract"
	"tract/internal/delivery"
	"tract/internal/store"
	"tract/internal/web"
)

// Limits of lists.
const (
	defaultPage = 50
	maxPage     = 100
	maxReplay   = 1000
)

func checkState(s string) error {
	switch s {
	case "", store.DeliveryQueued, store.DeliveryDelivered, store.DeliveryDead:
		return nil
	}
	return tract.Invalid("field_value", "state must be queued, delivered or dead")
}

func parseTime(name, s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, tract.Invalid("field_value", "%s must be a time such as 2026-11-20T10:30:00Z", name)
	}
	return t.UTC(), nil
}

func (a *API) listDeliveries(c *toolCall) (web.Answer, error) {
	f, scope, err := a.deliveryFilter(c)
	if err != nil {
		return web.Answer{}, err
	}
	limit := f.Limit
	f.Limit++ // one more says whether there is a next page
	var lines []store.LogLine
	err = a.view(c, func(tx *store.Tx) (err error) {
		if f.Endpoints, err = toolEndpoints(tx, c); err != nil {
			return err
		}
		lines, err = tx.ListLog(f)
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	var next any
	if len(lines) > limit {
		lines = lines[:limit]
		last := lines[limit-1]
		next = web.EncodeCursor(a.CursorKey, scope, fmt.Sprintf("%d %d %d", last.Entry, last.Lane.Endpoint, last.Seq))
	}
	out := make([]map[string]any, len(lines))
	for i := range lines {
		l := &lines[i]
		var lastError, status any
		if l.LastError != "" {
			lastError = l.LastError
		}
		if l.LastStatus != 0 {
			status = l.LastStatus
		}
		out[i] = map[string]any{"id": l.ID(), "state": l.State, "user_id": l.Pxut, "category": l.Category, "subcategory": l.Subcategory, "message_id": l.Entry,
			"attempts": l.Attempts, "last_status": status, "last_error": lastError, "created_at": stamp(l.CreatedAt), "next_attempt_at": stampOrNil(l.NextAt)}
	}
	return web.JSON(http.StatusOK, map[string]any{"deliveries": out, "next_cursor": next}), nil
}

func (a *API) deliveryFilter(c *toolCall) (f store.LogFilter, scope string, err error) {
	var since, cursor string
	for name, dest := range map[string]*string{"state": &f.State, "since": &since, "cursor": &cursor} {
		if *dest, _, err = web.Query(c.r, name); err != nil {
			return f, "", err
		}
	}
	if err := checkState(f.State); err != nil {
		return f, "", err
	}
	if f.Since, err = parseTime("since", since); err != nil {
		return f, "", err
	}
	if f.Limit, err = web.Limit(c.r, defaultPage, maxPage); err != nil {
		return f, "", err
	}
	scope = "deliveries/" + c.id.ClientID + "/" + string(c.id.Tool)
	if cursor != "" {
		at, err := web.DecodeCursor(a.CursorKey, scope, cursor)
		if err != nil {
			return f, "", err
		}
		if _, err := fmt.Sscanf(at, "%d %d %d", &f.Before.Entry, &f.Before.Endpoint, &f.Before.Seq); err != nil {
			return f, "", tract.Invalid("invalid_cursor", "cursor is not one that this list gave")
		}
	}
	return f, scope, nil
}

func toolEndpoints(tx *store.Tx, c *toolCall) ([]int64, error) {
	es, err := tx.ListEndpoints(c.id.ClientKey, store.EndpointHook, c.id.Tool)
	ids := make([]int64, len(es))
	for i := range es {
		ids[i] = es[i].ID
	}
	return ids, err
}

func (a *API) replayDeliveries(c *toolCall) (web.Answer, error) {
	var in struct {
		DeliveryIDs []string `json:"delivery_ids"`
		Since       string   `json:"since"`
		Until       string   `json:"until"`
		State       string   `json:"state"`
	}
	if _, err := web.ReadJSON(c.r, web.MaxBody, &in); err != nil {
		return web.Answer{}, err
	}
	if len(in.DeliveryIDs) > maxReplay {
		return web.Answer{}, badValue("delivery_ids", "holds more than %d ids", maxReplay)
	}
	var todo []store.Delivery
	err := a.view(c, func(tx *store.Tx) error {
		todo = nil
		endpoints, err := toolEndpoints(tx, c)
		if err != nil {
			return err
		}
		if len(in.DeliveryIDs) > 0 {
			todo, err = named(tx, endpoints, in.DeliveryIDs)
			return err
		}
		f := store.LogFilter{Endpoints: endpoints, State: in.State, Limit: maxReplay}
		if in.Since == "" || in.Until == "" || in.State == "" {
			return tract.Invalid("field_missing", "give delivery_ids, or since, until and state")
		}
		if err := checkState(in.State); err != nil {
			return err
		}
		if in.State == store.DeliveryQueued {
			return badValue("state", "must be dead or delivered: what is queued will be sent anyway")
		}
		if f.Since, err = parseTime("since", in.Since); err != nil {
			return err
		}
		if f.Until, err = parseTime("until", in.Until); err != nil {
			return err
		}
		lines, err := tx.ListLog(f)
		for i := len(lines) - 1; i >= 0; i-- { // oldest first
			todo = append(todo, lines[i].Delivery)
		}
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	for _, d := range todo {
		if err := a.Store.UpdateThread(c.ctx(), d.Lane.Thread, func(tx *store.Tx) error {
			if err := a.Auth.CheckIdentity(tx, c.id); err != nil {
				return err
			}
			return delivery.Replay(tx, d.Lane, d.Seq)
		}); err != nil {
			return web.Answer{}, err
		}
	}
	return web.JSON(http.StatusOK, map[string]any{"error": nil, "replayed": len(todo)}), nil
}

// named finds deliveries of the caller's endpoints by their ids.
func named(tx *store.Tx, endpoints []int64, ids []string) (out []store.Delivery, err error) {
	mine := map[int64]bool{}
	for _, id := range endpoints {
		mine[id] = true
	}
	for _, id := range ids {
		k, seq, ok := store.ParseDeliveryID(id)
		if !ok || !mine[k.Endpoint] {
			return nil, store.ErrNotFound.With("delivery_ids: no delivery %.64q", id)
		}
		d, err := tx.Delivery(k, seq)
		if err != nil {
			return nil, store.ErrNotFound.With("delivery_ids: no delivery %.64q", id)
		}
		l, _, err := tx.Lane(k)
		if err != nil {
			return nil, err
		}
		if seq > l.Done {
			return nil, tract.ErrConflict.With("delivery_ids: %s is queued and will be sent anyway", id)
		}
		out = append(out, d)
	}
	return out, nil
}

func (a *API) feed(c *toolCall) (web.Answer, error) {
	user, _, err := web.Query(c.r, "user_id")
	if err != nil {
		return web.Answer{}, err
	}
	if err := checkUserID(user); err != nil {
		return web.Answer{}, err
	}
	after, _, err := web.QueryInt(c.r, "after_seq")
	if err != nil {
		return web.Answer{}, err
	}
	if after < 0 {
		return web.Answer{}, tract.Invalid("field_value", "after_seq must not be negative")
	}
	limit, err := web.Limit(c.r, defaultPage, maxPage)
	if err != nil {
		return web.Answer{}, err
	}
	items := []map[string]any{}
	next := after
	err = a.view(c, func(tx *store.Tx) error {
		items, next = items[:0], after
		t, _, err := a.Conversation.ForTool(tx, c.id.ClientKey, c.id.Tool, user)
		if err != nil {
			return err
		}
		ds, err := tx.ListFeed(t.ID, c.id.Tool, after, limit)
		for _, d := range ds {
			name, err := nameOf(d.Payload)
			if err != nil {
				return err
			}
			items = append(items, map[string]any{"delivery_seq": d.DeliverySeq, "category": name.Category, "subcategory": name.Subcategory, "payload": json.RawMessage(d.Payload)})
			next = d.DeliverySeq
		}
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, map[string]any{"items": items, "next_after_seq": next}), nil
}

// nameOf is the name under which a payload was sent. The payload says it itself,
// so that it is known also when its hook is gone.
func nameOf(payload []byte) (n hookName, err error) {
	err = json.Unmarshal(payload, &n)
	if n.Category == "" {
		n = hookName{"message", "receive"}
	}
	return n, err
}
