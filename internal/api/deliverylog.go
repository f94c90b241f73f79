package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"tract"
	"tract/internal/delivery"
	"tract/internal/store"
	"tract/internal/web"
)

// errReplayed refuses to replay a dead letter twice.
var errReplayed = &tract.Error{Kind: tract.KindConflict, Code: "already_replayed", Msg: "the dead letter was queued again before; replay what it was queued as"}

// deliveryWish is what deliveries an administrator asks for.
type deliveryWish struct {
	State       string `json:"state"`
	Kind        string `json:"kind"`
	Tool        string `json:"tool"`
	Endpoint    int64  `json:"endpoint"`
	Business    int64  `json:"business_id"`
	Category    string `json:"category"`
	Subcategory string `json:"subcategory"`
	UserID      string `json:"user_id"`
	Since       string `json:"since"`
	Until       string `json:"until"`
}

var deliveryStates = []string{store.DeliveryQueued, store.DeliveryRetrying, store.DeliveryDelivered, store.DeliveryDead, store.DeliveryReplayed, store.DeliveryWithdrawn}

// query checks the wish and makes of it what the log is asked.
func (d *deliveryWish) query() (q logQuery, err error) {
	if d.State != "" {
		if q.States = []string{d.State}; !slices.Contains(deliveryStates, d.State) {
			return q, badValue("state", "must be %s", strings.Join(deliveryStates, ", "))
		}
	}
	if d.Kind != "" && d.Kind != store.EndpointHook && d.Kind != store.EndpointChannel && d.Kind != store.EndpointBot {
		return q, badValue("kind", "must be hook, channel or bot")
	}
	if q.Since, err = parseTime("since", d.Since); err != nil {
		return q, err
	}
	q.Until, err = parseTime("until", d.Until)
	return q, err
}

// find looks up the endpoints and the thread that are asked for; none says that
// there are no such ones. Turns of the bot are listed when they are asked for,
// or were given up.
func (d *deliveryWish) find(tx *store.Tx, client int64, q *logQuery) (none bool, err error) {
	q.Endpoints = nil
	all, err := tx.ListLogEndpoints(client)
	if err != nil {
		return false, err
	}
	for _, e := range all {
		if d.wants(&e) && (e.Kind != store.EndpointBot || d.Kind == e.Kind || q.givenUp()) {
			q.Endpoints = append(q.Endpoints, e)
		}
	}
	if d.UserID != "" {
		q.Thread, _, err = tx.ThreadKey(client, d.UserID)
		if tract.KindOf(err) == tract.KindNotFound {
			return true, nil
		}
	}
	return len(q.Endpoints) == 0, err
}

func (d *deliveryWish) wants(e *store.LogEndpoint) bool {
	return (d.Kind == "" || d.Kind == e.Kind) && (d.Tool == "" || d.Tool == string(e.Tool)) && (d.Endpoint == 0 || d.Endpoint == e.ID) && (d.Business == 0 || d.Business == e.Business) &&
		(d.Category == "" || d.Category == e.Category) && (d.Subcategory == "" || d.Subcategory == e.Subcategory)
}

// searchDeliveries lists what was, is and could not be sent for a client.
func (a *API) searchDeliveries(c *operation) (web.Answer, error) {
	var d deliveryWish
	include := ""
	if err := queries(c.r, map[string]*string{"state": &d.State, "kind": &d.Kind, "tool": &d.Tool, "category": &d.Category, "subcategory": &d.Subcategory, "user_id": &d.UserID, "since": &d.Since, "until": &d.Until, "include": &include}); err != nil {
		return web.Answer{}, err
	}
	if err := numbers(c.r, map[string]*int64{"endpoint": &d.Endpoint, "business_id": &d.Business}); err != nil {
		return web.Answer{}, err
	}
	q, err := d.query()
	if err != nil {
		return web.Answer{}, err
	}
	if include != "" && include != "payload" {
		return web.Answer{}, badValue("include", "must be payload")
	}
	limit, cursor, err := a.pages(c, "deliveries", q.at)
	if err != nil {
		return web.Answer{}, err
	}
	q.Limit, q.Payloads = limit, include != ""
	out := []map[string]any{}
	var next any
	err = a.Store.View(c.ctx(), func(tx *store.Tx) error {
		out, next = out[:0], nil
		none, err := d.find(tx, c.client.Key, &q)
		if none || err != nil {
			return err
		}
		lines, at, err := q.read(tx, c.client.Key)
		for i := range lines {
			out = append(out, deliveryLine(&lines[i], q.Payloads))
		}
		if at != "" {
			next = cursor(at)
		}
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, map[string]any{"deliveries": out, "next_cursor": next}), nil
}

// deliveryLine is a delivery as an administrator sees it. The payload holds what
// people wrote: it is there only when it was asked for.
func deliveryLine(l *store.LogLine, payload bool) map[string]any {
	out := endpointOf(&l.Endpoint)
	out["endpoint_state"] = out["state"]
	out["id"], out["state"], out["user_id"], out["message_id"], out["delivery_seq"] = l.ID(), l.State, orNil(l.Pxut), l.Entry, nil
	if l.Tool != "" {
		out["delivery_seq"] = l.DeliverySeq
	}
	out["attempts"], out["last_status"], out["last_error"] = l.Attempts, orNilStatus(l.LastStatus), orNil(l.LastError)
	out["created_at"], out["next_attempt_at"], out["given_up_at"], out["replayed_at"] = stamp(l.CreatedAt), stampOrNil(l.NextAt), stampOrNil(l.DeadAt), stampOrNil(l.ReplayedAt)
	if payload {
		out["payload"] = nil
		if len(l.Payload) > 0 {
			out["payload"] = json.RawMessage(l.Payload)
		}
	}
	return out
}

// readDelivery shows one delivery with its attempts.
func (a *API) readDelivery(c *operation) (web.Answer, error) {
	include, _, err := web.Query(c.r, "include")
	if err != nil {
		return web.Answer{}, err
	}
	if include != "" && include != "payload" {
		return web.Answer{}, badValue("include", "must be payload")
	}
	var out map[string]any
	err = a.Store.View(c.ctx(), func(tx *store.Tx) error {
		ends, err := tx.ListLogEndpoints(c.client.Key)
		if err != nil {
			return err
		}
		l, err := lineOf(tx, ends, c.r.PathValue("id"))
		if err != nil {
			return err
		}
		attempts, err := tx.ListAttempts(l.Lane, l.Seq)
		lines := make([]map[string]any, len(attempts))
		for i, t := range attempts {
			lines[i] = map[string]any{"attempt": t.Number, "at": stamp(t.At), "latency_ms": t.Latency.Milliseconds(), "status": orNilStatus(t.Status), "error": orNil(t.Error)}
			if include != "" {
				lines[i]["answer"] = t.Excerpt
			}
		}
		out = deliveryLine(&l, include != "")
		out["attempts_made"] = lines
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, out), nil
}

// lineOf reads a delivery by its id, if it is one to these endpoints.
func lineOf(tx *store.Tx, ends []store.LogEndpoint, id string) (store.LogLine, error) {
	none := store.ErrNotFound.With("no delivery %.64q", id)
	k, seq, ok := store.ParseDeliveryID(id)
	i := slices.IndexFunc(ends, func(e store.LogEndpoint) bool { return e.ID == k.Endpoint })
	if !ok || i < 0 {
		return store.LogLine{}, none
	}
	l, err := tx.LogLine(ends[i], k.Thread, seq)
	if tract.KindOf(err) == tract.KindNotFound {
		err = none
	}
	return l, err
}

// replayAny queues deliveries of a client again: those named, or up to maxReplay
// that are dead or delivered and fit a filter, the oldest first.
func (a *API) replayAny(c *operation) (web.Answer, error) {
	var in struct {
		DeliveryIDs []string      `json:"delivery_ids"`
		Filter      *deliveryWish `json:"filter"`
	}
	body, err := web.ReadJSON(c.r, web.MaxBody, &in)
	if err != nil {
		return web.Answer{}, err
	}
	switch {
	case (len(in.DeliveryIDs) == 0) == (in.Filter == nil):
		return web.Answer{}, tract.Invalid("field_missing", "give delivery_ids or filter, one of them")
	case len(in.DeliveryIDs) > maxReplay:
		return web.Answer{}, badValue("delivery_ids", "holds more than %d ids", maxReplay)
	case in.Filter != nil && in.Filter.State != store.DeliveryDead && in.Filter.State != store.DeliveryDelivered:
		return web.Answer{}, badValue("filter.state", "must be dead or delivered")
	}
	key, err := a.Idempotency.Key(c.r, body, "admin", c.actor, c.client.ID, "deliveries/replay")
	if err != nil {
		return web.Answer{}, err
	}
	var known bool
	var out web.Answer
	todo := []store.LogLine{}
	refused := []map[string]any{}
	// What is about to be done is in the audit log before it is.
	err = a.Store.Update(c.ctx(), func(tx *store.Tx) error {
		todo, refused = todo[:0], refused[:0]
		if out, known, err = key.Replay(tx); known || err != nil {
			return err
		}
		if todo, refused, err = a.toReplay(tx, c.client.Key, in.DeliveryIDs, in.Filter); err != nil || len(todo) == 0 {
			return err
		}
		return tx.InsertAudit(c.client.Key, c.actor, "deliveries_replayed", "", map[string]any{"count": len(todo)})
	})
	if known || err != nil {
		return out, err
	}
	n := 0
	for i := range todo {
		l := &todo[i]
		err := a.Store.UpdateThread(c.ctx(), l.Lane.Thread, func(tx *store.Tx) error { return replayOnce(tx, l) })
		if err, ok := errors.AsType[*tract.Error](err); ok && err.Kind != tract.KindUnavailable {
			refused = append(refused, refusal(l.ID(), err))
			continue
		}
		if err != nil {
			return web.Answer{}, err
		}
		n++
	}
	return key.Update(c.ctx(), 0, func(*store.Tx) (web.Answer, error) {
		return web.JSON(http.StatusOK, map[string]any{"replayed": n, "refused": refused}), nil
	})
}

func refusal(id string, err error) map[string]any {
	return map[string]any{"id": id, "code": tract.CodeOf(err), "error": err.Error()}
}

// toReplay finds what is to be queued again, the oldest first.
func (a *API) toReplay(tx *store.Tx, client int64, ids []string, d *deliveryWish) (todo []store.LogLine, refused []map[string]any, err error) {
	refused = []map[string]any{}
	if d != nil {
		q, err := d.query()
		if err != nil {
			return nil, nil, err
		}
		none, err := d.find(tx, client, &q)
		if none || err != nil {
			return nil, refused, err
		}
		q.Endpoints = slices.DeleteFunc(standing(q.Endpoints), func(e store.LogEndpoint) bool { return e.Kind == store.EndpointBot })
		todo, err = q.most(tx, client)
		slices.SortFunc(todo, oldestFirst)
		return todo, refused, err
	}
	ends, err := tx.ListLogEndpoints(client)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range slices.Compact(slices.Sorted(slices.Values(ids))) {
		l, err := lineOf(tx, ends, id)
		switch {
		case tract.KindOf(err) == tract.KindNotFound:
			refused = append(refused, refusal(id, err))
		case err != nil:
			return nil, nil, err
		default:
			todo = append(todo, l)
		}
	}
	slices.SortFunc(todo, oldestFirst)
	return todo, refused, nil
}

// replayOnce queues a delivery again unless somebody did it meanwhile.
func replayOnce(tx *store.Tx, l *store.LogLine) error {
	if _, err := tx.LockThread(l.Lane.Thread); err != nil {
		return err
	}
	now, err := tx.LogLine(l.Endpoint, l.Lane.Thread, l.Seq)
	if err != nil {
		return err
	}
	if now.State == store.DeliveryReplayed {
		return errReplayed
	}
	return delivery.Replay(tx, l.Lane, l.Seq)
}

// parseTime reads an instant; "" is none.
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
