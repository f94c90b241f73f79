package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"tract"
	"tract/internal/conversation"
	"tract/internal/store"
	"tract/internal/web"
)

// searchThreads lists a client's threads, the latest activity first.
func (a *API) searchThreads(c *operation) (web.Answer, error) {
	f, find, err := threadFilter(c)
	if err != nil {
		return web.Answer{}, err
	}
	var us int64
	limit, cursor, err := a.pages(c, "threads", scanAt("%d %d", &us, &f.Before.ID))
	if err != nil {
		return web.Answer{}, err
	}
	if f.Limit = limit; f.Before.ID != 0 {
		f.Before.At = time.UnixMicro(us)
	}
	out := []map[string]any{}
	var next any
	err = a.Store.View(c.ctx(), func(tx *store.Tx) error {
		out, next = out[:0], nil
		none, err := find(tx, &f)
		if none || err != nil {
			return err
		}
		ts, at, err := tx.ListThreads(f)
		for i := range ts {
			out = append(out, threadOf(&ts[i]))
		}
		if at != nil {
			next = cursor(fmt.Sprintf("%d %d", at.At.UnixMicro(), at.ID))
		}
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, map[string]any{"threads": out, "next_cursor": next}), nil
}

// threadFilter reads what is asked for. find looks up those it names; none says
// that there is nobody of that name.
func threadFilter(c *operation) (f store.ThreadFilter, find func(*store.Tx, *store.ThreadFilter) (none bool, err error), err error) {
	f.Client = c.client.Key
	var state, owner, pxut, auth, name string
	var platform int64
	if err := queries(c.r, map[string]*string{"state": &state, "owner": &owner, "team": &f.Team, "agent": &f.Agent, "user_id": &pxut, "auth_id": &auth, "user_name": &name}); err != nil {
		return f, nil, err
	}
	if err := numbers(c.r, map[string]*int64{"business_id": &f.Business, "device_platform": &platform}); err != nil {
		return f, nil, err
	}
	if err := instants(c.r, map[string]*time.Time{"since": &f.Since, "until": &f.Until}); err != nil {
		return f, nil, err
	}
	f.Owner, f.Platform = tract.ReceiverID(owner), int(platform)
	switch s := tract.State(state); {
	case state == "open":
		f.Open = true
	case state == "" || s.Open() && slices.Contains([]tract.State{tract.StateBot, tract.StateQueued, tract.StateAssigned, tract.StateWaitingForUser}, s) || s == tract.StateComplete:
		f.State = s
	default:
		return f, nil, badValue("state", "must be bot, queued, assigned, waiting_for_user, complete or open")
	}
	if auth != "" && name != "" {
		return f, nil, tract.Invalid("invalid_parameter", "give auth_id or user_name, not both")
	}
	find = func(tx *store.Tx, f *store.ThreadFilter) (bool, error) {
		var err error
		if pxut != "" {
			f.Thread, _, err = tx.ThreadKey(f.Client, pxut)
		}
		var u store.User
		switch {
		case err != nil:
		case auth != "":
			u, err = tx.UserByAuthID(f.Client, auth)
		case name != "":
			u, err = tx.UserByName(f.Client, name)
		}
		f.User = u.ID
		if tract.KindOf(err) == tract.KindNotFound {
			return true, nil
		}
		return false, err
	}
	return f, find, nil
}

// threadOf is a thread as lists show it.
func threadOf(t *store.Thread) map[string]any {
	s := &t.State
	return map[string]any{
		"user_id": t.Pxut, "user": map[string]any{"auth_id": t.User.AuthID, "user_name": t.User.UserName}, "business_id": t.Business, "device_platform": t.Platform,
		"state": orNil(string(s.State)), "owner": orNil(string(s.Owner)), "control_epoch": s.Epoch, "conversation_no": s.Conversation, "team": orNil(s.Team), "agent": orNil(s.Agent.Name),
		"last_message_id": orNilID(t.LastEntry), "last_activity_at": stampOrNil(t.LastEntryAt), "created_at": stamp(t.CreatedAt),
	}
}

func orNilID(id tract.MessageID) any {
	if id == 0 {
		return nil
	}
	return id
}

// threadTag is a thread's ETag: it changes with each change of owner and each
// line of the log.
func threadTag(t *store.Thread) string {
	return fmt.Sprintf(`"%d-%d"`, t.State.Epoch, t.LastEntry)
}

// readThread shows where a thread stands.
func (a *API) readThread(c *operation) (web.Answer, error) {
	var out map[string]any
	var tag string
	err := a.Store.View(c.ctx(), func(tx *store.Tx) error {
		t, err := a.threadOfPath(tx, c)
		if err != nil {
			return err
		}
		out, tag = threadOf(&t), threadTag(&t)
		return a.describeThread(tx, &t, out)
	})
	if err != nil {
		return web.Answer{}, err
	}
	c.w.Header().Set("ETag", tag)
	return web.JSON(http.StatusOK, out), nil
}

// threadOfPath reads the thread that the path names; another client's does not exist.
func (a *API) threadOfPath(tx *store.Tx, c *operation) (store.Thread, error) {
	id, _, err := tx.ThreadKey(c.client.Key, c.r.PathValue("pxut"))
	if err != nil {
		return store.Thread{}, err
	}
	return tx.Thread(id)
}

func (a *API) describeThread(tx *store.Tx, t *store.Thread, out map[string]any) error {
	s := &t.State
	names, _ := conversation.DetailsOf(t.User)
	known := make([]string, len(names))
	for i, n := range names {
		known[i] = n.Name
	}
	out["user"] = map[string]any{"auth_id": t.User.AuthID, "user_name": t.User.UserName, "name": orNil(t.User.Details.Name), "details_available": known, "created_at": stamp(t.User.CreatedAt)}
	timers := map[string]any{}
	for kind, due := range s.Timers() {
		timers[string(kind)] = stamp(due)
	}
	out["timers"], out["pending"], out["complete_reason"] = timers, pending(s.Pending), orNil(s.Reason)
	out["last_user_message_at"], out["unanswered_since"], out["owner_since"] = stampOrNil(s.LastUserAt), stampOrNil(s.UnansweredSince), stampOrNil(s.GainedAt)
	known2, err := tx.ListToolThreads(t.ID)
	if err != nil {
		return err
	}
	tools := []map[string]any{}
	for _, k := range known2 {
		tools = append(tools, map[string]any{"tool": k.Tool, "delivery_seq": k.DeliverySeq, "ect_user_id": orNil(k.ECTUserID)})
	}
	out["tools"] = tools
	out["lanes"], err = a.lanesOf(tx, t)
	return err
}

// lanesOf shows the ways out of a thread, and what waits there.
func (a *API) lanesOf(tx *store.Tx, t *store.Thread) ([]map[string]any, error) {
	lanes, err := tx.ListThreadLanes(t.ID)
	if err != nil {
		return nil, err
	}
	ends, err := tx.ListLogEndpoints(t.Client)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, l := range lanes {
		i := slices.IndexFunc(ends, func(e store.LogEndpoint) bool { return e.ID == l.Endpoint })
		if i < 0 {
			continue
		}
		line := endpointOf(&ends[i])
		line["queued"], line["failed_attempts"], line["next_attempt_at"], line["oldest_queued_at"] = l.Last-l.Done, l.Attempt, stampOrNil(l.NextAt), nil
		if l.Last > l.Done {
			oldest, err := tx.ListDeliveries(l.LaneKey, l.Done, 1)
			if err != nil {
				return nil, err
			}
			for _, d := range oldest {
				line["oldest_queued_at"] = stamp(d.CreatedAt)
			}
		}
		out = append(out, line)
	}
	return out, nil
}

// endpointOf names where deliveries go.
func endpointOf(e *store.LogEndpoint) map[string]any {
	out := map[string]any{"endpoint": e.ID, "kind": e.Kind, "tool": orNil(string(e.Tool)), "business_id": nil, "category": orNil(e.Category), "subcategory": orNil(e.Subcategory), "state": "enabled"}
	if e.Business != 0 {
		out["business_id"] = e.Business
	}
	switch {
	case e.Removed:
		out["state"] = "removed"
	case !e.Enabled:
		out["state"] = "disabled"
	}
	return out
}

// readLog shows a thread's log, oldest first, from either end and both ways.
func (a *API) readLog(c *operation) (web.Answer, error) {
	p := store.LogPage{}
	var conversationNo int64
	if err := numbers(c.r, map[string]*int64{"conversation_no": &conversationNo}); err != nil {
		return web.Answer{}, err
	}
	start, _, err := web.Query(c.r, "start")
	if err != nil {
		return web.Answer{}, err
	}
	if start != "" && start != "oldest" && start != "newest" {
		return web.Answer{}, badValue("start", "must be oldest or newest")
	}
	limit, cursor, err := a.pages(c, "log/"+c.r.PathValue("pxut"), scanAt("%d %d", &p.After, &p.Before))
	if err != nil {
		return web.Answer{}, err
	}
	p.Conversation, p.Limit = int(conversationNo), limit
	p.Newest = start == "newest" && p.After == 0 && p.Before == 0
	var entries []store.Entry
	var earlier, later bool
	err = a.Store.View(c.ctx(), func(tx *store.Tx) error {
		t, err := a.threadOfPath(tx, c)
		if err != nil {
			return err
		}
		p.Thread = t.ID
		entries, earlier, later, err = tx.ListLogPage(p)
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	out := make([]map[string]any, len(entries))
	for i := range entries {
		out[i] = entryOf(&entries[i])
	}
	var next, previous any
	if n := len(entries); n > 0 {
		if later {
			next = cursor(fmt.Sprintf("%d 0", entries[n-1].ID))
		}
		if earlier {
			previous = cursor(fmt.Sprintf("0 %d", entries[0].ID))
		}
	}
	return web.JSON(http.StatusOK, map[string]any{"entries": out, "next_cursor": next, "previous_cursor": previous}), nil
}

// entryOf is a line of the log: a message or an event.
func entryOf(e *store.Entry) map[string]any {
	m := &e.Meta
	out := map[string]any{"message_id": e.ID, "conversation_no": e.Conversation, "at": stamp(e.At), "event": orNil(string(e.Event)), "sender": orNil(string(e.Sender)), "by": orNil(string(e.By)),
		"message_type": nil, "message_body": nil, "thread_owner": orNil(string(m.Owner)), "control_epoch": m.Epoch, "type": orNil(string(m.Op)), "reason": orNil(m.Reason),
		"from": orNil(string(m.From)), "to": orNil(string(m.To)), "team": orNil(m.Team), "agent": nil, "metadata": m.Metadata}
	if e.Event == "" {
		out["message_type"], out["message_body"] = e.MessageType, e.Body
	}
	if m.Agent != nil {
		out["agent"] = m.Agent
	}
	return out
}

// readLedger shows who had a thread, and why.
func (a *API) readLedger(c *operation) (web.Answer, error) {
	var after int64
	limit, cursor, err := a.pages(c, "ledger/"+c.r.PathValue("pxut"), scanAt("%d", &after))
	if err != nil {
		return web.Answer{}, err
	}
	out := []map[string]any{}
	var next any
	err = a.Store.View(c.ctx(), func(tx *store.Tx) error {
		out, next = out[:0], nil
		t, err := a.threadOfPath(tx, c)
		if err != nil {
			return err
		}
		lines, err := tx.ListLedgerPage(t.ID, after, limit+1)
		if len(lines) > limit {
			lines = lines[:limit]
			next = cursor(strconv.FormatInt(lines[limit-1].ID, 10))
		}
		for i := range lines {
			out = append(out, ledgerLine(&lines[i]))
		}
		return err
	})
	if err != nil {
		return web.Answer{}, err
	}
	return web.JSON(http.StatusOK, map[string]any{"entries": out, "next_cursor": next}), nil
}

// maxReason bounds what an administrator gives as a reason, in bytes.
const maxReason = 1024

// resetThread gives a thread back to the default receiver.
func (a *API) resetThread(c *operation) (web.Answer, error) {
	return a.commandThread(c, "thread_reset", func(reason string) tract.Command {
		if reason == "" {
			reason = tract.ReasonOperator
		}
		return tract.Reset{Reason: reason}
	})
}

// completeThread ends the conversation, whoever has it.
func (a *API) completeThread(c *operation) (web.Answer, error) {
	return a.commandThread(c, "thread_completed", func(reason string) tract.Command {
		if reason == "" {
			return tract.Close{}
		}
		return tract.Close{Metadata: map[string]any{"closing_reason": reason}}
	})
}

// commandThread runs an administrator's command on the thread of the path, once
// for all calls with the same Idempotency-Key.
func (a *API) commandThread(c *operation, action string, command func(reason string) tract.Command) (web.Answer, error) {
	var in struct {
		Reason string `json:"reason"`
	}
	var body []byte
	if c.r.ContentLength != 0 {
		var err error
		if body, err = web.ReadJSON(c.r, web.MaxBody, &in); err != nil {
			return web.Answer{}, err
		}
	}
	if len(in.Reason) > maxReason {
		return web.Answer{}, badValue("reason", "is longer than %d bytes", maxReason)
	}
	key, err := a.Idempotency.Key(c.r, body, "admin", c.actor, c.client.ID, action, c.r.PathValue("pxut"))
	if err != nil {
		return web.Answer{}, err
	}
	var thread store.Thread
	if err := a.Store.View(c.ctx(), func(tx *store.Tx) (err error) { thread, err = a.threadOfPath(tx, c); return err }); err != nil {
		return web.Answer{}, err
	}
	var tag string
	out, err := key.Update(c.ctx(), thread.ID, func(tx *store.Tx) (web.Answer, error) {
		tag = ""
		res, err := a.Conversation.Apply(tx, thread.ID, command(in.Reason), conversation.Options{Check: func(_ *store.Tx, l *store.Locked, _ *tract.Config) error {
			return unlessStale(c.r, threadTag(&l.Thread))
		}})
		if err == nil {
			err = res.Refused
		}
		if err != nil {
			return web.Answer{}, err
		}
		// Afterwards: what the command appended is the thread's new state.
		t := &res.Thread.Thread
		tag = threadTag(t)
		changed := len(res.Entries) > 0
		if err := tx.InsertAudit(c.client.Key, c.actor, action, auditThread(t.ID), map[string]any{"changed": changed, "control_epoch": t.State.Epoch}); err != nil {
			return web.Answer{}, err
		}
		return web.JSON(http.StatusOK, map[string]any{"changed": changed, "thread": threadOf(t), "etag": tag}), nil
	})
	if err == nil && tag != "" {
		c.w.Header().Set("ETag", tag)
	}
	return out, err
}

// auditThread names a thread in the audit log. It outlives the thread's user, so
// it is not the pxut.
func auditThread(id int64) string { return "thread/" + strconv.FormatInt(id, 10) }
