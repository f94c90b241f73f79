package demo

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"tract"
	"tract/internal/ect"
	"tract/internal/store"
)

const (
	mostEntries = 250 // of the log, as shown
	mostHeard   = 120 // of what a tool heard
	mostSettled = 60
	mostQueued  = 40 // of one lane
)

// snapshot is what the store says of a customer's thread at one moment.
type snapshot struct {
	customer customer // a copy
	thread   store.Thread
	settings *tract.Settings
	entries  []store.Entry
	ledger   []store.LedgerLine
	queued   []queued
	disabled map[tract.ReceiverID]string // why the hub does not call a tool
}

// queued is a delivery that is not settled yet.
type queued struct {
	store.Delivery
	endpoint store.Endpoint
	next     bool // the one its lane is at
	nextAt   time.Time
}

// refresh makes the sections of a visitor's page anew.
func (d *demo) refresh(ctx context.Context, v *visitor) error {
	if err := hold(ctx, v.draw); err != nil {
		return err
	}
	defer func() { <-v.draw }()
	c, err := d.visitors.customer(v)
	if err != nil {
		return err
	}
	s := &snapshot{customer: d.visitors.copyOf(c)}
	if err := d.srv.Store.View(ctx, func(tx *store.Tx) error { return d.read(tx, s) }); err != nil {
		return err
	}
	heard := make([]ect.Thread, len(d.tools))
	for i, t := range d.tools {
		heard[i], _ = t.Thread(s.thread.Pxut)
	}
	names := d.names(s.settings)
	rows := d.deliveries(s, names)
	steps := d.visitors.done(c, steps(s, rows))
	made := make([]section, 0, 6)
	for _, one := range []struct {
		name string
		view any
	}{
		{"thread", d.threadView(s, names, steps)},
		{"chat", s.customer.lines},
		{"tools", d.toolViews(s, names, heard)},
		{"log", logView(s, names)},
		{"ledger", ledgerView(s, names)},
		{"deliveries", rows},
	} {
		data, err := json.Marshal(one.view)
		if err != nil {
			return err
		}
		made = append(made, section{name: one.name, data: data})
	}
	d.visitors.publish(v, c, made)
	return nil
}

// copyOf gives a customer that nobody else changes.
func (s *visitors) copyOf(c *customer) customer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return customer{authID: c.authID, name: c.name, thread: c.thread, user: c.user, lines: append([]chatLine{}, c.lines...), steps: c.steps}
}

// done adds what a customer has seen by now of the guide; it is not unseen when
// the log runs out of the page.
func (s *visitors) done(c *customer, now [4]bool) [4]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, yes := range now {
		c.steps[i] = c.steps[i] || yes
	}
	return c.steps
}

func (d *demo) read(tx *store.Tx, s *snapshot) (err error) {
	s.entries, s.ledger, s.queued, s.disabled = nil, nil, nil, map[tract.ReceiverID]string{}
	if s.settings, err = d.srv.Conversation.Settings(tx, d.client, business); err != nil {
		return err
	}
	var endpoints []store.Endpoint
	for _, kind := range []string{store.EndpointHook, store.EndpointChannel, store.EndpointBot} {
		some, err := tx.ListEndpoints(d.client, kind, "")
		if err != nil {
			return err
		}
		endpoints = append(endpoints, some...)
	}
	for _, e := range endpoints {
		if e.Kind == store.EndpointHook && !e.Enabled {
			s.disabled[e.Tool] = e.DisabledReason
		}
	}
	if s.customer.thread == 0 {
		return nil
	}
	if s.thread, err = tx.Thread(s.customer.thread); err != nil {
		return err
	}
	if s.entries, err = tx.ListRecentEntries(s.thread.ID, mostEntries); err != nil {
		return err
	}
	if s.ledger, err = tx.ListLedger(s.thread.ID); err != nil {
		return err
	}
	for _, e := range endpoints {
		if err := s.readLane(tx, e); err != nil {
			return err
		}
	}
	return nil
}

func (s *snapshot) readLane(tx *store.Tx, e store.Endpoint) error {
	key := store.LaneKey{Thread: s.thread.ID, Endpoint: e.ID}
	l, ok, err := tx.Lane(key)
	if err != nil || !ok || l.Last == l.Done {
		return err
	}
	waiting, err := tx.ListDeliveries(key, l.Done, mostQueued)
	for _, dl := range waiting {
		q := queued{Delivery: dl, endpoint: e, next: dl.Seq == l.Done+1}
		if q.next {
			q.nextAt = l.NextAt
		}
		s.queued = append(s.queued, q)
	}
	return err
}

// names gives every receiver's name as people know it.
func (d *demo) names(s *tract.Settings) map[tract.ReceiverID]string {
	out := map[tract.ReceiverID]string{}
	if s != nil {
		for _, r := range s.Receivers {
			out[r.ID] = r.Name
		}
	}
	out[tract.IVA], out[tract.SAC] = "Bot", "Built-in desk"
	return out
}

// threadView is what the head of the page and the guide show.
type threadView struct {
	Customer     string           `json:"customer"`
	Known        bool             `json:"known"`
	Owner        tract.ReceiverID `json:"owner"`
	OwnerName    string           `json:"owner_name"`
	Epoch        int64            `json:"epoch"`
	Conversation int              `json:"conversation"`
	State        string           `json:"state"`
	Steps        [4]bool          `json:"steps"`
	AckTimeoutS  int              `json:"ack_timeout_s"`
}

func (d *demo) threadView(s *snapshot, names map[tract.ReceiverID]string, steps [4]bool) threadView {
	t := s.thread.State
	return threadView{Customer: s.customer.name, Known: s.customer.thread != 0, Owner: t.Owner, OwnerName: names[t.Owner], Epoch: t.Epoch, Conversation: t.Conversation,
		State: stateText(&t), Steps: steps, AckTimeoutS: int(d.cfg.AckTimeout.Seconds())}
}

// steps says which parts of the guide have happened.
func steps(s *snapshot, rows []deliveryRow) (done [4]bool) {
	fixed := map[string]bool{}
	for _, e := range s.entries {
		text := plain(e.Body)
		switch {
		case e.Event == "" && e.By == tract.IVA:
			fixed[text] = true
		case e.Event == "" && e.By != "":
			done[1] = true
		case e.Event == tract.EventFailedOver:
			done[3] = true
		}
	}
	// The bot has answered when it said more than it says of itself.
	done[0] = len(fixed) > 1 || done[1]
	for _, l := range s.ledger {
		done[2] = done[2] || l.Granted && l.Requester != "" && l.Requester != tract.IVA
	}
	for _, r := range rows {
		done[3] = done[3] || r.State == stateDelivered && len(r.Attempts) > 1 && r.To != string(tract.IVA)
	}
	return done
}

// deliveryRow is one delivery as the page shows it.
type deliveryRow struct {
	ID       string    `json:"id"`
	To       string    `json:"to"`
	ToName   string    `json:"to_name"`
	Name     string    `json:"name"`
	About    string    `json:"about"`
	ToolSeq  int64     `json:"delivery_seq,omitempty"`
	State    string    `json:"state"`
	Why      string    `json:"why,omitempty"`
	NextAt   string    `json:"next_at,omitempty"`
	Attempts []attempt `json:"attempts"`

	lane store.LaneKey
	seq  int64
}

// deliveries lists what waits, in the order it will go, then what is settled,
// the newest first.
func (d *demo) deliveries(s *snapshot, names map[tract.ReceiverID]string) []deliveryRow {
	about := aboutEntries(s, names)
	name := func(to string) string {
		if to == "customer" {
			return "Customer"
		}
		return names[tract.ReceiverID(to)]
	}
	known := map[string]*tracked{}
	settled := []deliveryRow{}
	tries := d.board.of(s.customer.thread)
	for i := range tries {
		t := &tries[i]
		known[t.id] = t
		if t.state == stateDelivered || t.state == stateDead {
			settled = append(settled, deliveryRow{ID: t.id, To: t.to, ToName: name(t.to), Name: t.name, About: about[t.entry], ToolSeq: t.toolSeq, State: t.state, Why: t.why, Attempts: t.attempts})
		}
	}
	slices.Reverse(settled)
	settled = settled[:min(len(settled), mostSettled)]
	rows := []deliveryRow{}
	for i := range s.queued {
		q := &s.queued[i]
		e := &q.endpoint
		to, hook := recipient(e.Kind, string(e.Tool)), e.Kind
		if e.Kind == store.EndpointHook {
			hook = e.Category + "/" + e.Subcategory
		}
		row := deliveryRow{ID: q.ID(), To: to, ToName: name(to), Name: hook, About: about[int64(q.Entry)], ToolSeq: toolSeq(e.Kind, q.DeliverySeq), State: stateQueued, Attempts: []attempt{}, lane: q.Lane, seq: q.Seq}
		if t := known[row.ID]; t != nil {
			if t.state == stateDelivered || t.state == stateDead {
				continue // the store is about to learn it
			}
			row.State, row.Why, row.Attempts = t.state, t.why, t.attempts
			if !t.nextAt.IsZero() {
				row.NextAt = stamp(t.nextAt)
			}
		}
		if !e.Enabled {
			row.State, row.Why, row.NextAt = stateDisabled, e.DisabledReason, ""
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, byLane)
	return append(rows, settled...)
}

// toolSeq is the delivery_seq of a tool: channels count something else.
func toolSeq(kind string, seq int64) int64 {
	if kind != store.EndpointHook {
		return 0
	}
	return seq
}

// byLane puts the lanes that are being retried first and keeps each together.
func byLane(a, b deliveryRow) int {
	if a.lane == b.lane {
		return int(a.seq - b.seq)
	}
	return int(a.lane.Endpoint - b.lane.Endpoint)
}

// aboutEntries says in a few words what each line of the log is.
func aboutEntries(s *snapshot, names map[tract.ReceiverID]string) map[int64]string {
	out := make(map[int64]string, len(s.entries))
	for i := range s.entries {
		e := &s.entries[i]
		if e.Event == "" {
			out[int64(e.ID)] = "“" + plain(e.Body) + "”"
		} else {
			out[int64(e.ID)], _ = eventText(e, names)
		}
	}
	return out
}

// stamp writes an instant for the page.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
