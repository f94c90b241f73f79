package delivery

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"tract"
	"tract/internal/store"
)

// mark is a store.Mark on its way, with what else goes into its transaction.
type mark struct {
	store.Mark
	lane      *lane
	tool      tract.ReceiverID // whose name for the user ectUserID is
	ectUserID string
	disable   string         // reason to disable the endpoint
	disabled  bool           // and whether that was done
	since     time.Time      // first attempt of the delivery whose ladder was used up
	endpoint  store.Endpoint // as it was called
}

// conclude draws the consequences of an attempt: it moves the lane on, or sets
// its next time, and hands a mark to the writer.
func (d *Dispatcher) conclude(l *lane, o outcome) {
	now := d.cfg.Now()
	if !o.nothing {
		d.introduced(l)
	}
	if !l.known || (!o.nothing && o.item.Seq != l.done+1) {
		return // the lane was lost or settled meanwhile
	}
	if o.nothing {
		l.nextAt = now.Add(o.holdFor)
		return
	}
	e := l.ep
	m := &mark{lane: l, endpoint: o.row}
	m.Lane, m.Fence, m.Seq = l.key, l.fence, o.item.Seq
	ev := d.event(l, &o)
	switch {
	case o.skip:
		m.Done, ev.Outcome = true, "held"
	case o.refused != "":
		m.Done, m.Dead, ev.Outcome, ev.Error = true, o.refused, "dead", o.refused
	case e.row.Kind == store.EndpointBot:
		d.turnEnded(l, &o, m, &ev)
	case o.ok():
		d.delivered(l, &o, m, &ev)
	default:
		d.failed(l, &o, m, &ev)
	}
	if m.Done {
		d.settle(l, o.item.Seq)
	} else {
		d.freePayloads(l) // a lane that waits keeps no memory from those that do not
	}
	if e.row.Kind == store.EndpointBot && m.Done && m.Dead == "" {
		d.turnSettled(l, &o)
	} else {
		l.marks++
		d.marks = append(d.marks, m)
		token(d.marked)
	}
	d.cfg.Metrics.observe(&ev)
	d.log(&ev)
	if d.cfg.Observe != nil {
		d.cfg.Observe(ev)
	}
}

func (d *Dispatcher) event(l *lane, o *outcome) Event {
	row := &l.ep.row
	name := row.Kind
	if row.Kind == store.EndpointHook {
		name = row.Category + "/" + row.Subcategory
	}
	return Event{Client: l.ep.client, Thread: l.key.Thread, Endpoint: l.key.Endpoint, Kind: row.Kind, Tool: string(row.Tool), Name: name, DeliveryID: o.item.ID(), Entry: int64(o.item.Entry),
		DeliverySeq: o.item.DeliverySeq, Attempt: l.attempt + 1, Status: o.status, Error: o.err, Latency: o.latency}
}

func (d *Dispatcher) log(ev *Event) {
	level := d.cfg.Log.Debug
	if ev.Outcome == "dead" || ev.Outcome == "disabled" {
		level = d.cfg.Log.Warn
	}
	level("delivery attempted", "delivery_id", ev.DeliveryID, "endpoint", ev.Endpoint, "hook", ev.Name, "attempt", ev.Attempt, "status", ev.Status, "outcome", ev.Outcome, "error", ev.Error, "latency_ms", ev.Latency.Milliseconds())
}

// turnTries is how often a turn is begun that fails for another reason than a
// store that does not answer: one that cannot be answered must not keep what
// the user writes next from the bot.
const turnTries = 5

// turnEnded: the bot settled its turn in its own transaction. One that failed is
// tried again shortly.
func (d *Dispatcher) turnEnded(l *lane, o *outcome, m *mark, ev *Event) {
	if o.ok() {
		m.Done, ev.Outcome = true, "delivered"
		return
	}
	l.attempt++
	if l.firstAt.IsZero() {
		l.firstAt = o.at
	}
	if l.attempt >= turnTries && !o.down {
		m.Done, m.Dead, ev.Outcome = true, "bot_failed", "dead"
		return
	}
	l.nextAt = d.cfg.Now().Add(min(time.Duration(l.attempt)*time.Second, 30*time.Second))
	m.Attempts, m.FirstAt, m.NextAt = l.attempt, l.firstAt, l.nextAt
	ev.Outcome, ev.NextAt = "retry", l.nextAt
}

// turnSettled learns what was appended meanwhile, which for other lanes the mark tells.
func (d *Dispatcher) turnSettled(l *lane, o *outcome) {
	if o.lane.Fence == 0 { // it could not be read
		l.doubted = true
		d.doubt(l.key, 0)
		return
	}
	d.recall(l.key, o.lane)
}

func (d *Dispatcher) delivered(l *lane, o *outcome, m *mark, ev *Event) {
	e := l.ep
	d.grow(e)
	e.health.LastSuccessAt, e.health.ConsecutiveFailures, e.dirty = d.cfg.Now(), 0, true
	m.Done = true
	if e.row.Category == "user_events" {
		m.tool, m.ectUserID = e.row.Tool, o.ectUserID
	}
	if l.attempt > 0 || l.again || o.said != "" || o.status != 200 { // a clean first success needs no row
		m.Attempt = &store.Attempt{At: o.at, Latency: o.latency, Status: o.status, Error: o.said, Excerpt: o.excerpt}
	}
	ev.Outcome, ev.Error = "delivered", o.said
}

func (d *Dispatcher) failed(l *lane, o *outcome, m *mark, ev *Event) {
	now, e := d.cfg.Now(), l.ep
	if o.slow {
		e.shrink(now)
	}
	e.health.LastFailureAt, e.health.LastError, e.dirty = now, o.err, true
	e.health.ConsecutiveFailures++
	l.attempt++
	if l.firstAt.IsZero() {
		l.firstAt = o.at
	}
	m.Attempt = &store.Attempt{At: o.at, Latency: o.latency, Status: o.status, Error: o.err, Excerpt: o.excerpt}
	in, more := wait(d.cfg.Ladder, l.attempt, o.retryAfter, rand.Float64())
	// What an address said before it was replaced is no verdict on the new one.
	same := e.row.URL == o.row.URL && e.row.EnabledAt.Equal(o.row.EnabledAt)
	switch {
	case o.gone && same:
		m.disable = store.DisabledGone
		ev.Outcome = "disabled"
		m.Attempts, m.FirstAt = l.attempt, l.firstAt // what is queued gets a new ladder when it is enabled
	case more:
		l.nextAt = now.Add(in)
		m.Attempts, m.FirstAt, m.NextAt = l.attempt, l.firstAt, l.nextAt
		ev.Outcome, ev.NextAt = "retry", l.nextAt
	default:
		m.Done, m.Dead, ev.Outcome = true, "exhausted", "dead"
		if same && e.health.LastSuccessAt.Before(l.firstAt) { // nothing else got through either
			m.disable, m.since = store.DisabledExhausted, l.firstAt
		}
	}
	if m.disable != "" {
		e.row.Enabled = false // at once here; the mark makes it so for everybody
	}
}

// markLoop writes marks in batches: what came while the last one was written
// goes into the next. Their order is that of the attempts.
func (d *Dispatcher) markLoop() {
	const most = 512
	for {
		d.mu.Lock()
		n := min(len(d.marks), most)
		batch, last := d.marks[:n:n], d.unmarked
		d.marks = d.marks[n:]
		d.mu.Unlock()
		switch {
		case n > 0:
			if !d.write(batch) {
				return
			}
		case last:
			return
		default:
			<-d.marked
		}
	}
}

// write stores a batch, and tries until it is stored: only a process that ends
// gives up, and what it sent and did not mark is sent again by the next.
func (d *Dispatcher) write(batch []*mark) bool {
	for try := 1; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error { return d.writeTx(tx, batch) })
		cancel()
		if err == nil {
			break
		}
		d.cfg.Log.Error("marks not written", "count", len(batch), "error", err)
		if d.stopped() && try > 3 {
			return false
		}
		<-time.After(min(time.Duration(try)*100*time.Millisecond, 2*time.Second))
	}
	d.mu.Lock()
	for _, m := range batch {
		d.written(m)
	}
	d.pump()
	d.mu.Unlock()
	for _, m := range batch {
		if m.disabled && d.cfg.Alarm != nil {
			d.cfg.Alarm("endpoint_disabled", m.endpoint.Client, m.endpoint.ID)
		}
	}
	return true
}

func (d *Dispatcher) writeTx(tx *store.Tx, batch []*mark) error {
	// Threads before lanes, each in order, as commands lock them.
	told := slices.DeleteFunc(slices.Clone(batch), func(m *mark) bool { return m.ectUserID == "" })
	slices.SortStableFunc(told, func(a, b *mark) int {
		return cmp.Or(cmp.Compare(a.Lane.Thread, b.Lane.Thread), cmp.Compare(a.tool, b.tool))
	})
	for _, m := range told {
		if err := tx.SetECTUserID(m.Lane.Thread, m.tool, m.ectUserID); err != nil {
			return err
		}
	}
	marks := make([]*store.Mark, len(batch))
	for i, m := range batch {
		marks[i] = &m.Mark
	}
	if err := tx.MarkLanes(marks); err != nil {
		return err
	}
	for _, m := range batch {
		if m.disable != "" {
			if err := d.disable(tx, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// disable stops calls to an endpoint for everybody. Threads that the tool owns
// are looked after by a job: delivery never changes threads.
func (d *Dispatcher) disable(tx *store.Tx, m *mark) error {
	m.disabled = false
	row, err := tx.Endpoint(m.endpoint.ID) // a read: after it m.Held is known
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !m.Held || row.URL != m.endpoint.URL || !row.EnabledAt.Equal(m.endpoint.EnabledAt) {
		return nil // the lane is another's, or the endpoint was replaced
	}
	if m.disable == store.DisabledExhausted {
		h, err := tx.Health(row.ID)
		if err != nil || !h.LastSuccessAt.Before(m.since) { // another replica got through
			return err
		}
	}
	if m.disabled, err = tx.DisableEndpoint(row, m.disable); err != nil || !m.disabled {
		return err
	}
	if row.Kind == store.EndpointHook && row.Category == "message" && row.Subcategory == "receive" {
		if err := tx.InsertJob(store.JobHookDisabled, row.Client, map[string]any{"tool": row.Tool}, tx.Now); err != nil {
			return err
		}
	}
	return tx.InsertAudit(row.Client, "delivery", "endpoint_disabled", string(row.Tool), map[string]any{"endpoint": row.ID, "reason": m.disable})
}

// written takes back what the store said of a mark.
func (d *Dispatcher) written(m *mark) {
	l := m.lane
	l.marks--
	if m.disable != "" && !m.disabled {
		d.load(l.ep) // it was taken for disabled here
	}
	switch {
	case l.fence != m.Fence:
	case !m.Held: // another replica has it, or a bot's answer was faster
		l.doubted = true
		d.doubt(l.key, 0)
	case m.Last > l.last:
		l.last = m.Last // appended by another replica
	}
	d.offer(l)
}
