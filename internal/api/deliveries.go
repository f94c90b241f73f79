package api

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
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

// logQuery is a page of the delivery log that is asked for. What was given up is
// listed by when that was, everything else by its place in the log.
type logQuery struct {
	store.LogFilter
	dead store.DeadCursor
}

// deadStates are those of what was given up.
var deadStates = []string{store.DeliveryDead, store.DeliveryReplayed, store.DeliveryWithdrawn}

func (q *logQuery) givenUp() bool {
	return len(q.States) > 0 && !slices.ContainsFunc(q.States, func(s string) bool { return !slices.Contains(deadStates, s) })
}

// at takes the place where the page before ended.
func (q *logQuery) at(position string) error {
	if q.givenUp() {
		var us int64
		err := scanAt("%d %d %d %d", &us, &q.dead.Thread, &q.dead.Endpoint, &q.dead.Seq)(position)
		q.dead.At = time.UnixMicro(us)
		return err
	}
	return scanAt("%d %d %d", &q.Before.Entry, &q.Before.Endpoint, &q.Before.Seq)(position)
}

// read gives the page and where it ended, "" at the end of the log.
func (q *logQuery) read(tx *store.Tx, client int64) (lines []store.LogLine, next string, err error) {
	if q.givenUp() {
		lines, at, err := tx.ListDead(client, q.LogFilter, q.dead)
		if at != nil {
			next = fmt.Sprintf("%d %d %d %d", at.At.UnixMicro(), at.Thread, at.Endpoint, at.Seq)
		}
		return lines, next, err
	}
	lines, at, err := tx.ListLog(q.LogFilter)
	if at != nil {
		next = fmt.Sprintf("%d %d %d", at.Entry, at.Endpoint, at.Seq)
	}
	return lines, next, err
}

// most reads up to maxReplay lines, over as many pages as hold them.
func (q *logQuery) most(tx *store.Tx, client int64) (lines []store.LogLine, err error) {
	for len(lines) < maxReplay {
		q.Limit = min(maxReplay-len(lines), maxPage)
		page, next, err := q.read(tx, client)
		lines = append(lines, page...)
		if err != nil || next == "" {
			return lines, err
		}
		if err := q.at(next); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// toolStates are the states as tools know them: what is tried again is queued.
var toolStates = map[string][]string{
	"": nil, store.DeliveryQueued: {store.DeliveryQueued, store.DeliveryRetrying}, store.DeliveryDelivered: {store.DeliveryDelivered},
	store.DeliveryDead: {store.DeliveryDead}, store.DeliveryReplayed: {store.DeliveryReplayed},
}

func checkState(s string) error {
	if _, ok := toolStates[s]; !ok {
		return tract.Invalid("field_value", "state must be queued, delivered, dead or replayed")
	}
	return nil
}

func (a *API) listDeliveries(c *toolCall) (web.Answer, error) {
	q, scope, err := a.deliveryFilter(c)
	if err != nil {
		return web.Answer{}, err
	}
	var lines []store.LogLine
	var at string
	err = a.view(c, func(tx *store.Tx) (err error) {
		if q.Endpoints, err = toolEndpoints(tx, c); err != nil {
			return err
		}
		lines, at, err = q.read(tx, c.id.ClientKey)
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	var next any
	if at != "" {
		next = web.EncodeCursor(a.CursorKey, scope, at)
	}
	out := []map[string]any{}
	for i := range lines {
		l := &lines[i]
		if l.Pxut == "" {
			continue // its user was erased
		}
		state := l.State
		if state == store.DeliveryRetrying {
			state = store.DeliveryQueued
		}
		out = append(out, map[string]any{"id": l.ID(), "state": state, "user_id": l.Pxut, "category": l.Endpoint.Category, "subcategory": l.Endpoint.Subcategory, "message_id": l.Entry,
			"attempts": l.Attempts, "last_status": orNilStatus(l.LastStatus), "last_error": orNil(l.LastError), "created_at": stamp(l.CreatedAt), "next_attempt_at": stampOrNil(l.NextAt)})
	}
	return web.JSON(http.StatusOK, map[string]any{"deliveries": out, "next_cursor": next}), nil
}

func orNilStatus(status int) any {
	if status == 0 {
		return nil
	}
	return status
}

func (a *API) deliveryFilter(c *toolCall) (q logQuery, scope string, err error) {
	var state, since, cursor string
	for name, dest := range map[string]*string{"state": &state, "since": &since, "cursor": &cursor} {
		if *dest, _, err = web.Query(c.r, name); err != nil {
			return q, "", err
		}
	}
	if err := checkState(state); err != nil {
		return q, "", err
	}
	q.States = toolStates[state]
	if q.Since, err = parseTime("since", since); err != nil {
		return q, "", err
	}
	if q.Limit, err = web.Limit(c.r, defaultPage, maxPage); err != nil {
		return q, "", err
	}
	scope = "deliveries/" + c.id.ClientID + "/" + string(c.id.Tool)
	if state != "" {
		scope += "/" + state
	}
	if cursor != "" {
		at, err := web.DecodeCursor(a.CursorKey, scope, cursor)
		if err != nil {
			return q, "", err
		}
		if q.at(at) != nil {
			return q, "", tract.Invalid("invalid_cursor", "cursor is not one that this list gave")
		}
	}
	return q, scope, nil
}

// toolEndpoints are a tool's hooks, those that it deleted, too.
func toolEndpoints(tx *store.Tx, c *toolCall) (out []store.LogEndpoint, err error) {
	all, err := tx.ListLogEndpoints(c.id.ClientKey)
	for _, e := range all {
		if e.Kind == store.EndpointHook && e.Tool == c.id.Tool {
			out = append(out, e)
		}
	}
	return out, err
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
		q := logQuery{LogFilter: store.LogFilter{Endpoints: standing(endpoints), States: toolStates[in.State]}}
		if in.Since == "" || in.Until == "" || in.State == "" {
			return tract.Invalid("field_missing", "give delivery_ids, or since, until and state")
		}
		if err := checkState(in.State); err != nil {
			return err
		}
		if in.State != store.DeliveryDead && in.State != store.DeliveryDelivered {
			return badValue("state", "must be dead or delivered: what is queued will be sent anyway")
		}
		if q.Since, err = parseTime("since", in.Since); err != nil {
			return err
		}
		if q.Until, err = parseTime("until", in.Until); err != nil {
			return err
		}
		lines, err := q.most(tx, c.id.ClientKey)
		slices.SortFunc(lines, oldestFirst)
		for i := range lines {
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

// standing are the endpoints that can be called.
func standing(all []store.LogEndpoint) []store.LogEndpoint {
	return slices.DeleteFunc(slices.Clone(all), func(e store.LogEndpoint) bool { return e.Removed })
}

// oldestFirst is the order in which deliveries are sent again: that of their lanes.
func oldestFirst(a, b store.LogLine) int {
	return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Lane.Endpoint, b.Lane.Endpoint), cmp.Compare(a.Seq, b.Seq))
}

// named finds deliveries of the caller's endpoints by their ids.
func named(tx *store.Tx, endpoints []store.LogEndpoint, ids []string) (out []store.Delivery, err error) {
	mine := map[int64]bool{}
	for _, e := range endpoints {
		mine[e.ID] = true
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
	next, oldest := after, int64(0)
	err = a.view(c, func(tx *store.Tx) error {
		items, next = items[:0], after
		t, _, err := a.Conversation.ForTool(tx, c.id.ClientKey, c.id.Tool, user)
		if err != nil {
			return err
		}
		if oldest, err = tx.FeedStart(t.ID, c.id.Tool); err != nil {
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
	return web.JSON(http.StatusOK, map[string]any{"items": items, "next_after_seq": next, "oldest_seq": oldest}), nil
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
