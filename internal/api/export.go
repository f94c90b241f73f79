package api

import (
	"bufio"
	"encoding/json"
	"net/http"
	"time"

	"tract"
	"tract/internal/conversation"
	"tract/internal/files"
	"tract/internal/store"
	"tract/internal/web"
)

// exportUser streams everything that is kept about a user. It reads page by
// page, so that no long transaction holds others up; a failure on the way cuts
// the connection, so that no half of it is taken for the whole.
func (a *API) exportUser(c *operation) (web.Answer, error) {
	var u store.User
	var threads []store.Thread
	err := a.Store.Update(c.ctx(), func(tx *store.Tx) (err error) {
		threads = nil
		if u, err = tx.UserByAuthID(c.client.Key, c.r.PathValue("auth_id")); err != nil {
			return err
		}
		ids, err := tx.ListThreadsOfUser(u.ID)
		for _, id := range ids {
			t, err := tx.Thread(id)
			if err != nil {
				return err
			}
			threads = append(threads, t)
		}
		if err != nil {
			return err
		}
		return tx.InsertAudit(c.client.Key, c.actor, "user_exported", auditUser(u.ID), map[string]any{"threads": len(threads)})
	})
	if err != nil {
		return web.Answer{}, err
	}
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.w.Header().Set("Content-Disposition", `attachment; filename="user.json"`)
	c.w.WriteHeader(http.StatusOK)
	x := &exporter{a: a, c: c, out: bufio.NewWriterSize(c.w, 64<<10)}
	defer x.end()
	_, details := conversation.DetailsOf(u)
	x.raw(`{"exported_at":`)
	x.value(stamp(a.Now()))
	x.raw(`,"user":`)
	x.value(map[string]any{"auth_id": u.AuthID, "user_name": u.UserName, "details": details, "created_at": stamp(u.CreatedAt)})
	x.raw(`,"threads":[`)
	for i := range threads {
		if i > 0 {
			x.raw(",")
		}
		x.thread(&threads[i])
	}
	x.raw("]}")
	if x.err == nil {
		x.err = x.out.Flush()
	}
	return web.Answer{}, x.err
}

// exporter writes JSON piece by piece; after an error it does nothing.
type exporter struct {
	a    *API
	c    *operation
	out  *bufio.Writer
	err  error
	stop func() // ends the time for the present piece
}

const (
	exportPage = 200
	exportPace = time.Minute // for each page
)

func (x *exporter) raw(s string) {
	if x.err == nil {
		_, x.err = x.out.WriteString(s)
	}
}

func (x *exporter) value(v any) {
	if x.err != nil {
		return
	}
	b, err := json.Marshal(v)
	if x.err = err; err == nil {
		_, x.err = x.out.Write(b)
	}
}

func (x *exporter) end() {
	if x.stop != nil {
		x.stop()
	}
}

// view reads one page, for which there is a time of its own.
func (x *exporter) view(fn func(*store.Tx) error) {
	if x.err != nil {
		return
	}
	x.end()
	if x.stop, x.err = web.Extend(x.c.w, exportPace); x.err == nil {
		x.err = x.a.Store.View(x.c.ctx(), fn)
	}
}

// list writes pages until one is empty.
func (x *exporter) list(name string, page func(*store.Tx) ([]map[string]any, error)) {
	x.raw(`,"` + name + `":[`)
	for first := true; x.err == nil; first = false {
		var lines []map[string]any
		x.view(func(tx *store.Tx) (err error) { lines, err = page(tx); return err })
		for i, l := range lines {
			if i > 0 || !first {
				x.raw(",")
			}
			x.value(l)
		}
		if len(lines) == 0 {
			break
		}
	}
	x.raw("]")
}

func (x *exporter) thread(t *store.Thread) {
	x.raw(`{"thread":`)
	x.value(threadOf(t))
	var after tract.MessageID
	x.list("log", func(tx *store.Tx) (out []map[string]any, err error) {
		es, _, _, err := tx.ListLogPage(store.LogPage{Thread: t.ID, After: after, Limit: exportPage})
		for i := range es {
			out = append(out, entryOf(&es[i]))
		}
		if n := len(es); n > 0 {
			after = es[n-1].ID
		}
		return out, err
	})
	var line int64
	x.list("ledger", func(tx *store.Tx) (out []map[string]any, err error) {
		ls, err := tx.ListLedgerPage(t.ID, line, exportPage)
		for i := range ls {
			out = append(out, ledgerLine(&ls[i]))
			line = ls[i].ID
		}
		return out, err
	})
	x.rest(t)
	x.deliveries(t)
	x.raw("}")
}

// rest is what a thread has little of.
func (x *exporter) rest(t *store.Thread) {
	tools, briefs, feedback, sent := []map[string]any{}, []map[string]any{}, []map[string]any{}, []map[string]any{}
	x.view(func(tx *store.Tx) error {
		ks, err := tx.ListToolThreads(t.ID)
		for _, k := range ks {
			tools = append(tools, map[string]any{"tool": k.Tool, "ect_user_id": orNil(k.ECTUserID)})
		}
		if err != nil {
			return err
		}
		bs, err := tx.ListBriefs(t.ID)
		for _, b := range bs {
			briefs = append(briefs, map[string]any{"conversation_no": b.Conversation, "at": stamp(b.At), "brief": b.Body})
		}
		if err != nil {
			return err
		}
		fs, err := tx.ListFeedback(t.ID)
		for _, f := range fs {
			feedback = append(feedback, map[string]any{"conversation_no": f.Conversation, "resolved": f.Resolved, "rating": f.Rating, "comment": f.Comment})
		}
		if err != nil {
			return err
		}
		all, err := tx.ListFilesOf(t.ID)
		for _, f := range all {
			sent = append(sent, map[string]any{"name": f.Name, "media_type": f.MediaType, "size": f.Size, "sha256": f.Digest, "created_at": stamp(f.CreatedAt), "url": x.a.Files.Link(f.Client, f.ID, files.LinkLife)})
		}
		return err
	})
	for name, v := range map[string][]map[string]any{"tools": tools, "briefs": briefs, "feedback": feedback, "files": sent} {
		x.raw(`,"` + name + `":`)
		x.value(v)
	}
}

// deliveries are the copies that went to tools and channel, or are to go.
func (x *exporter) deliveries(t *store.Thread) {
	var at store.LaneKey // the lane, and after which delivery it goes on
	var seq int64
	var ends []store.LogEndpoint
	x.list("deliveries", func(tx *store.Tx) (out []map[string]any, err error) {
		if ends, err = tx.ListLogEndpoints(t.Client); err != nil {
			return nil, err
		}
		lanes, err := tx.ListThreadLanes(t.ID)
		if err != nil {
			return nil, err
		}
		for _, l := range lanes {
			if l.Endpoint < at.Endpoint {
				continue
			}
			if l.Endpoint > at.Endpoint {
				at, seq = l.LaneKey, 0
			}
			ds, err := tx.ListDeliveries(l.LaneKey, seq, exportPage)
			if err != nil {
				return nil, err
			}
			for i := range ds {
				d := &ds[i]
				line, err := x.delivery(tx, ends, d)
				if err != nil {
					return nil, err
				}
				out, seq = append(out, line), d.Seq
			}
			if len(out) > 0 {
				return out, nil
			}
		}
		return nil, nil
	})
}

func (x *exporter) delivery(tx *store.Tx, ends []store.LogEndpoint, d *store.Delivery) (map[string]any, error) {
	line := map[string]any{"id": d.ID(), "message_id": d.Entry, "created_at": stamp(d.CreatedAt), "payload": json.RawMessage(d.Payload)}
	for i := range ends {
		if ends[i].ID == d.Lane.Endpoint {
			e := endpointOf(&ends[i])
			line["kind"], line["tool"], line["category"], line["subcategory"] = e["kind"], e["tool"], e["category"], e["subcategory"]
		}
	}
	attempts, err := tx.ListAttempts(d.Lane, d.Seq)
	made := []map[string]any{}
	for _, a := range attempts {
		made = append(made, map[string]any{"at": stamp(a.At), "status": a.Status, "error": orNil(a.Error), "answer": a.Excerpt})
	}
	line["attempts"] = made
	return line, err
}
