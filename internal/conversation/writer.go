package conversation

import (
	"encoding/json"
	"slices"

	"tract"
	"tract/internal/store"
)

// writer puts one outcome into the log and the outbox.
type writer struct {
	s        *Service
	tx       *store.Tx
	l        *store.Locked
	cfg      *tract.Config
	settings *tract.Settings
	o        Options
	before   tract.Thread
	out      tract.Outcome
	res      *Result
	brief    map[string]any
}

func (w *writer) write() error {
	if err := w.makeBrief(); err != nil {
		return err
	}
	for i := range w.out.Entries {
		if err := w.entry(i); err != nil {
			return err
		}
	}
	if err := w.handOver(); err != nil {
		return err
	}
	if w.out.FirstAnswer {
		if err := w.tx.SetFirstAnswer(w.l.ID, w.out.Thread.Epoch, w.tx.Now.Sub(w.out.Thread.GainedAt)); err != nil {
			return err
		}
	}
	return w.tx.SaveThread(w.l, w.out.Thread)
}

func (w *writer) entry(i int) error {
	d := &w.out.Entries[i]
	if d.Body == "" && d.Text != "" {
		d.Body = textBody(d.Text)
	}
	template := w.fillIn(d)
	e, err := newEntry(w.tx, w.l, d)
	if err != nil {
		return err
	}
	e.Meta.Template = template
	if err := w.tx.InsertEntry(w.l, &e); err != nil {
		return err
	}
	w.res.Entries = append(w.res.Entries, e)
	if err := w.tellTools(d, &e); err != nil {
		return err
	}
	if err := w.tellChannel(d, &e); err != nil {
		return err
	}
	if i == w.out.BotTurn {
		return w.botTurn(&e, w.out.Thread.Epoch)
	}
	return nil
}

// newEntry makes a line of the log of what the rules wrote.
func newEntry(tx *store.Tx, l *store.Locked, d *tract.Entry) (store.Entry, error) {
	id, err := tx.NextID()
	e := store.Entry{ID: id, Thread: l.ID, Conversation: d.Conversation, Event: d.Event, Sender: d.Sender, By: d.By, MessageType: d.MessageType, Body: d.Body, At: tx.Now,
		Meta: store.EntryMeta{Op: d.Op, Reason: d.Reason, From: d.From, To: d.To, Team: d.Team, Owner: d.Owner, Epoch: d.Epoch, Metadata: d.Metadata}}
	if d.Agent != (tract.Agent{}) {
		e.Meta.Agent = &d.Agent
	}
	return e, err
}

// tellTools appends an entry to the lanes of every tool that registered for it.
// A tool does not hear itself, except of control and completion.
func (w *writer) tellTools(d *tract.Entry, e *store.Entry) error {
	event := d.Event
	if event == "" {
		event = tract.EventMessage
	}
	always := event.Control()
	for _, id := range w.cfg.Businesses[w.l.Business].Tools {
		t := w.cfg.Tools[id]
		if t == nil || !t.Active || (id == d.By && !always && event != tract.EventComplete) {
			continue
		}
		if t.Deliver == tract.DeliverActive && !always && d.Owner != id && d.Pending != id {
			continue
		}
		for _, h := range w.cfg.Hooks[id] {
			if h.Event != event {
				continue
			}
			if err := w.deliver(t, h, d, e, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// deliver appends one entry to one hook's lane. The tool is told of a user it
// has not seen before its first delivery.
func (w *writer) deliver(t *tract.Tool, h tract.Hook, d *tract.Entry, e *store.Entry, history bool) error {
	if err := w.introduce(t, e.ID); err != nil {
		return err
	}
	seq := w.l.NextDeliverySeq(t.ID)
	var payload []byte
	if d.Event == "" {
		payload = w.messagePayload(t, d, e, seq, history)
	} else {
		payload = w.eventPayload(t, h, d, e, seq)
	}
	return w.tx.AppendDelivery(w.l, h.Endpoint, store.Delivery{Entry: e.ID, Tool: t.ID, DeliverySeq: seq, Payload: payload})
}

// introduce tells a tool once of a thread's user, if it wants to know.
func (w *writer) introduce(t *tract.Tool, entry tract.MessageID) error {
	if w.l.Tools.Has(t.ID) {
		return nil
	}
	w.l.Tools.Put(t.ID, store.ToolThread{Tool: t.ID})
	for _, h := range w.cfg.Hooks[t.ID] {
		if h.Event == tract.EventCreateUser {
			return w.tx.AppendDelivery(w.l, h.Endpoint, store.Delivery{Entry: entry, Tool: t.ID, Payload: w.userPayload()})
		}
	}
	return nil
}

func (w *writer) tellChannel(d *tract.Entry, e *store.Entry) error {
	endpoint := w.cfg.Channels[w.l.Business]
	if endpoint == 0 || d.Sender == tract.SenderCEU {
		return nil
	}
	for n, payload := range w.channelPayloads(d, e) {
		dl := store.Delivery{Entry: e.ID, DeliverySeq: int64(n + 1), Payload: payload}
		if d.Event == "" && d.Sender == tract.SenderIVA && w.o.HeldUntil.After(w.tx.Now) {
			dl.HoldUntil = w.o.HeldUntil
		}
		if err := w.tx.AppendDelivery(w.l, endpoint, dl); err != nil {
			return err
		}
	}
	return nil
}

// botTurn gives a user's message to the bot's lane.
func (w *writer) botTurn(e *store.Entry, epoch int64) error {
	endpoint := w.cfg.BotLanes[w.l.Business]
	if endpoint == 0 {
		return store.ErrNotFound.With("business %d has a bot but no lane for it", w.l.Business)
	}
	t := Turn{Client: w.l.Client, Business: w.l.Business, Thread: w.l.ID, Entry: e.ID, Epoch: epoch, Conversation: e.Conversation}
	if w.o.Hold > 0 {
		t.HoldUntil = w.tx.Now.Add(w.o.Hold)
	}
	payload, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := w.tx.AppendDelivery(w.l, endpoint, store.Delivery{Entry: e.ID, Payload: payload}); err != nil {
		return err
	}
	t.Lane, t.Seq = store.LaneKey{Thread: w.l.ID, Endpoint: endpoint}, w.l.Lanes.Get(endpoint).Last
	w.res.Turn = &t
	return nil
}

// mostUnanswered bounds what a gainer is given of what nobody has answered.
const mostUnanswered = 50

// handOver gives the gainer what it has not heard: the history it asked for and
// what the user wrote that nobody has answered.
func (w *writer) handOver() error {
	to := w.out.HandedTo
	since := w.before.UnansweredSince
	if to == "" || to == tract.SAC {
		return nil
	}
	if to == tract.IVA {
		if since.IsZero() || w.out.BotTurn >= 0 || !w.out.Thread.State.Open() {
			return nil
		}
		return w.turnForUnanswered()
	}
	t := w.cfg.Tools[to]
	i := slices.IndexFunc(w.cfg.Hooks[to], func(h tract.Hook) bool { return h.Event == tract.EventMessage })
	if t == nil || i < 0 || (t.HistoryOnHandover == 0 && since.IsZero()) {
		return nil
	}
	hook := w.cfg.Hooks[to][i]
	limit := t.HistoryOnHandover
	if !since.IsZero() {
		limit = max(limit, mostUnanswered)
	}
	recent, err := w.tx.ListRecentMessages(w.l.ID, w.out.Thread.Conversation, w.firstNewID(), limit)
	if err != nil || len(recent) == 0 {
		return err
	}
	had, err := w.tx.ListDelivered(store.LaneKey{Thread: w.l.ID, Endpoint: hook.Endpoint}, recent[0].ID)
	if err != nil {
		return err
	}
	for k := range recent {
		e := &recent[k]
		inHistory := k >= len(recent)-t.HistoryOnHandover
		open := e.Sender == tract.SenderCEU && !since.IsZero() && !e.At.Before(since)
		if had[e.ID] || e.By == to || !(inHistory || open) {
			continue
		}
		d := &tract.Entry{Conversation: e.Conversation, By: e.By, Sender: e.Sender, Body: e.Body, MessageType: e.MessageType, Owner: to, Epoch: w.out.Thread.Epoch}
		if e.Meta.Agent != nil {
			d.Agent = *e.Meta.Agent
		}
		if err := w.deliver(t, hook, d, e, true); err != nil {
			return err
		}
	}
	return nil
}

// firstNewID bounds the history to what was there before this command.
func (w *writer) firstNewID() tract.MessageID {
	if len(w.res.Entries) == 0 {
		return 0
	}
	return w.res.Entries[0].ID
}

// turnForUnanswered lets the bot answer what was asked while nobody had answered.
func (w *writer) turnForUnanswered() error {
	recent, err := w.tx.ListRecentMessages(w.l.ID, w.out.Thread.Conversation, 0, mostUnanswered)
	if err != nil {
		return err
	}
	for _, e := range slices.Backward(recent) {
		if e.Sender == tract.SenderCEU {
			return w.botTurn(&e, w.out.Thread.Epoch)
		}
	}
	return nil
}
