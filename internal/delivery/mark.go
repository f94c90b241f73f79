package delivery

import (
	"context"
	"time"

	"tract"
	"tract/internal/store"
)

// mark is a store.Mark on its way, with what else goes into its transaction.
type mark struct {
	store.Mark
	lane      *lane
	tool      tract.ReceiverID
	ectUserID string
	disable   string    // reason to disable the endpoint
	since     time.Time // first attempt of the delivery whose ladder was used up
	endpoint  store.Endpoint
}

// conclude draws the consequences of an attempt: it moves the lane on, or sets
// its next time, and hands a mark to the writer.
func (d *Dispatcher) conclude(l *lane, o outcome) {
	now := d.cfg.Now()
	if !l.known || (!o.nothing && o.item.Seq != l.done+1) {
		return // the lane was lost or settled meanwhile
	}
	if o.nothing {
		l.nextAt = now.Add(o.holdFor)
		return
	}
	e := l.ep
	if o.item.DeliverySeq == 0 && o.item.Tool != "" {
		defer d.introduced(l, string(o.item.Tool))
	}
	m := &mark{lane: l, tool: o.item.Tool, endpoint: e.row}
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
	}
	if e.row.Kind != store.EndpointBot || !m.Done || m.Dead != "" {
		l.marks++
		d.send(m)
	}
	d.cfg.Metrics.observe(&ev)
	d.log(&ev)
	if d.cfg.Observe != nil {
		d.cfg.Observe(ev)
	}
}

// send hands a mark to the writer without holding up those who hold the mutex.
func (d *Dispatcher) send(m *mark) {
	select {
	case d.marks <- m:
	default:
		d.wg.Go(func() { d.marks <- m })
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

// turnEnded: the bot settled its turn in its own transaction. One that failed is
// tried again shortly; it never becomes a dead letter.
func (d *Dispatcher) turnEnded(l *lane, o *outcome, m *mark, ev *Event) {
	if o.ok() {
		m.Done, ev.Outcome = true, "delivered"
		return
	}
	l.attempt++
	l.nextAt = d.cfg.Now().Add(min(time.Duration(l.attempt)*time.Second, 30*time.Second))
	m.Attempts, m.FirstAt, m.NextAt = l.attempt, o.at, l.nextAt
	ev.Outcome, ev.NextAt = "retry", l.nextAt
}

func (d *Dispatcher) delivered(l *lane, o *outcome, m *mark, ev *Event) {
	e := l.ep
	e.grow()
	e.health.LastSuccessAt, e.health.ConsecutiveFailures, e.dirty = d.cfg.Now(), 0, true
	m.Done, m.ectUserID = true, o.ectUserID
	said := o.said()
	if l.attempt > 0 || said != "" || o.status != 200 { // a clean first success needs no row
		m.Attempt = &store.Attempt{Number: l.attempt + 1, At: o.at, Latency: o.latency, Status: o.status, Error: said, Excerpt: o.excerpt}
	}
	ev.Outcome, ev.Error = "delivered", said
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
	m.Attempt = &store.Attempt{Number: l.attempt, At: o.at, Latency: o.latency, Status: o.status, Error: o.err, Excerpt: o.excerpt}
	in, more := wait(d.cfg.Ladder, l.attempt, o.retryAfter, d.random())
	switch {
	case o.gone:
		m.disable = store.DisabledGone
		ev.Outcome = "disabled"
		l.attempt-- // what is queued keeps its whole ladder
		m.Attempts, m.FirstAt = l.attempt, time.Time{}
		l.firstAt = time.Time{}
	case more:
		l.nextAt = now.Add(in)
		m.Attempts, m.FirstAt, m.NextAt = l.attempt, l.firstAt, l.nextAt
		ev.Outcome, ev.NextAt = "retry", l.nextAt
	default:
		m.Done, m.Dead, ev.Outcome = true, "exhausted", "dead"
		if e.health.LastSuccessAt.Before(l.firstAt) { // nothing else got through either
			m.disable, m.since = store.DisabledExhausted, l.firstAt
		}
	}
	if m.disable != "" {
		e.row.Enabled = false // at once here; the mark makes it so for everybody
	}
}

// markLoop writes marks in batches: what came while the last one was written
// goes into the next.
func (d *Dispatcher) markLoop() {
	const most = 512
	for m := range d.marks {
		batch := []*mark{m}
	fill:
		for len(batch) < most {
			select {
			case m, ok := <-d.marks:
				if !ok {
					break fill
				}
				batch = append(batch, m)
			default:
				break fill
			}
		}
		d.write(batch)
	}
}

func (d *Dispatcher) write(batch []*mark) {
	for try := 0; ; try++ {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		err := d.cfg.Store.Update(ctx, func(tx *store.Tx) error { return d.writeTx(tx, batch) })
		cancel()
		if err == nil {
			break
		}
		d.cfg.Log.Error("marks not written", "count", len(batch), "error", err)
		select {
		case <-d.done: // what was sent and not marked is sent again after the start
			if try > 3 {
				return
			}
		default:
		}
		<-time.After(min(time.Duration(try+1)*100*time.Millisecond, 2*time.Second))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range batch {
		d.written(m)
	}
	d.pump()
}

func (d *Dispatcher) writeTx(tx *store.Tx, batch []*mark) error {
	marks := make([]*store.Mark, len(batch))
	for i, m := range batch {
		marks[i] = &m.Mark
	}
	if err := tx.MarkLanes(marks); err != nil {
		return err
	}
	for _, m := range batch {
		if m.ectUserID != "" {
			if err := tx.SetECTUserID(m.Lane.Thread, m.tool, m.ectUserID); err != nil {
				return err
			}
		}
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
	if m.disable == store.DisabledExhausted {
		h, err := tx.Health(m.endpoint.ID)
		if err != nil {
			return err
		}
		if !h.LastSuccessAt.Before(m.since) { // another replica got through
			return tx.TouchEndpoint(m.endpoint)
		}
	}
	changed, err := tx.DisableEndpoint(m.endpoint, m.disable)
	if err != nil || !changed {
		return err
	}
	if m.endpoint.Kind == store.EndpointHook && m.endpoint.Category == "message" && m.endpoint.Subcategory == "receive" {
		if err := tx.InsertJob(store.JobHookDisabled, m.endpoint.Client, map[string]any{"tool": m.endpoint.Tool}, tx.Now); err != nil {
			return err
		}
	}
	return tx.InsertAudit(m.endpoint.Client, "delivery", "endpoint_disabled", string(m.endpoint.Tool), map[string]any{"endpoint": m.endpoint.ID, "reason": m.disable})
}

// written takes back what the store said of a mark.
func (d *Dispatcher) written(m *mark) {
	l := m.lane
	l.marks--
	if m.disable != "" && d.cfg.Alarm != nil {
		d.cfg.Alarm("endpoint_disabled", m.endpoint.Client, m.endpoint.ID)
	}
	if d.lanes[l.key] != l {
		return
	}
	switch {
	case l.fence != m.Fence:
	case !m.Held:
		d.forget(l) // another replica has it
	case m.Last > l.last:
		l.last = m.Last // appended by another replica
		d.offer(l)
	}
	d.tidy(l)
}
