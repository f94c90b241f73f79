package delivery

import (
	"context"
	"slices"
	"time"

	"tract/internal/store"
)

// lane is what the dispatcher knows of a lane. All fields are guarded by the
// dispatcher's mutex.
type lane struct {
	key   store.LaneKey
	ep    *endpoint
	known bool // merged with the store's row at least once
	fence int64
	last  int64
	done  int64
	queue []store.Delivery // done+1, done+2, …: may be shorter than what is open

	attempt int
	firstAt time.Time
	nextAt  time.Time

	pins   int  // commits under way that append
	marks  int  // marks not yet written
	busy   bool // in flight, or being read from the store
	queued bool // in its endpoint's list
	timer  *time.Timer
}

// lane finds or makes the entry of a lane.
func (d *Dispatcher) lane(k store.LaneKey) *lane {
	l := d.lanes[k]
	if l == nil {
		l = &lane{key: k, ep: d.endpoint(k.Endpoint)}
		d.lanes[k] = l
		l.ep.lanes++
	}
	return l
}

// merge takes in a row of the store. With the same fence memory is ahead of the
// store; with a newer one the store is right.
func (d *Dispatcher) merge(l *lane, s store.Lane) {
	switch {
	case !l.known || s.Fence > l.fence:
		l.known, l.fence, l.done, l.attempt, l.firstAt, l.nextAt = true, s.Fence, s.Done, s.Attempt, s.FirstAt, s.NextAt
		d.freePayloads(l)
	case s.Fence < l.fence:
		return
	case s.Done > l.done: // settled by a bot's answer
		d.settle(l, s.Done)
	}
	l.last = max(l.last, s.Last)
	l.ep.client = s.Client
}

// settle moves the lane on.
func (d *Dispatcher) settle(l *lane, seq int64) {
	for len(l.queue) > 0 && l.queue[0].Seq <= seq {
		d.bytes -= len(l.queue[0].Payload)
		l.queue = l.queue[1:]
	}
	if seq > l.done {
		l.done = seq
	}
	l.attempt, l.firstAt, l.nextAt = 0, time.Time{}, time.Time{}
}

func (l *lane) open() bool { return l.known && l.last > l.done }

func (l *lane) stopTimer() {
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
}

// tidy forgets a lane that holds nothing anybody needs.
func (d *Dispatcher) tidy(l *lane) {
	if l.pins > 0 || l.marks > 0 || l.busy || (l.open() && l.ep.usable()) || l.queued {
		return
	}
	d.drop(l)
}

func (d *Dispatcher) drop(l *lane) {
	if d.lanes[l.key] != l {
		return
	}
	l.stopTimer()
	d.freePayloads(l)
	delete(d.lanes, l.key)
	l.ep.lanes--
	if l.ep.loaded && l.ep.row.Category == "user_events" {
		d.introduced(l, string(l.ep.row.Tool))
	}
}

// forget makes a lane unknown: somebody else may have it.
func (d *Dispatcher) forget(l *lane) {
	l.stopTimer()
	d.freePayloads(l)
	l.known, l.last, l.done = false, 0, 0
	d.tidy(l)
}

func (d *Dispatcher) freePayloads(l *lane) {
	for i := range l.queue {
		d.bytes -= len(l.queue[i].Payload)
	}
	l.queue = nil
}

// offer puts a lane where its next step is: ready, waiting for its time, or nowhere.
func (d *Dispatcher) offer(l *lane) {
	if !l.open() || l.busy || l.queued || d.stopping {
		if !l.open() {
			d.tidy(l)
		}
		return
	}
	if l.ep.loaded && !l.ep.usable() {
		d.freePayloads(l)
		d.tidy(l)
		return
	}
	if in := l.nextAt.Sub(d.cfg.Now()); in > 0 {
		d.later(l, in)
		return
	}
	l.queued = true
	if l.attempt > 0 {
		l.ep.retries = append(l.ep.retries, l)
	} else {
		l.ep.ready = append(l.ep.ready, l)
	}
	d.enter(l.ep)
	if !l.ep.loaded {
		d.load(l.ep)
	}
}

// later offers the lane again after a while.
func (d *Dispatcher) later(l *lane, in time.Duration) {
	l.stopTimer()
	l.timer = time.AfterFunc(in, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.lanes[l.key] == l && !d.stopping {
			d.offer(l)
			d.pump()
		}
	})
}

func (d *Dispatcher) enter(e *endpoint) {
	if !e.inRing {
		e.inRing = true
		d.ring = append(d.ring, e)
	}
}

// retryShare is the part of all calls that retries may take.
const retryShare = 4

// pump begins calls while there is room: one lane of each endpoint in turn.
func (d *Dispatcher) pump() {
	if d.stopping || !d.leased() {
		return
	}
	stuck := 0
	for len(d.ring) > 0 && stuck < len(d.ring) && d.inFlight < d.cfg.InFlight {
		e := d.ring[0]
		copy(d.ring, d.ring[1:])
		d.ring[len(d.ring)-1] = e
		if l := d.take(e); l != nil {
			stuck = 0
			d.begin(l)
		} else {
			stuck++
		}
		if len(e.ready)+len(e.retries) == 0 {
			e.inRing = false
			d.ring = d.ring[:len(d.ring)-1]
			stuck = 0
		}
	}
}

// take gives the endpoint's next lane, if it may be called now.
func (d *Dispatcher) take(e *endpoint) *lane {
	if !e.loaded {
		return nil
	}
	if !e.usable() {
		for _, l := range slices.Concat(e.ready, e.retries) {
			l.queued = false
			d.freePayloads(l)
			d.tidy(l)
		}
		e.ready, e.retries = nil, nil
		return nil
	}
	if e.inFlight >= e.window() || d.clients[e.client] >= d.cfg.PerClient {
		return nil
	}
	if len(e.retries) > 0 && d.retrying < max(1, d.cfg.InFlight/retryShare) && (len(e.ready) == 0 || e.retrying < max(1, e.window()/retryShare)) {
		l := e.retries[0]
		e.retries = e.retries[1:]
		return l
	}
	if len(e.ready) > 0 {
		l := e.ready[0]
		e.ready = e.ready[1:]
		return l
	}
	return nil
}

// begin sends the lane's next delivery, or reads it first.
func (d *Dispatcher) begin(l *lane) {
	l.queued = false
	if !l.open() {
		d.tidy(l)
		return
	}
	if meeting := d.mustWait(l); meeting != nil {
		meeting.waiting = append(meeting.waiting, l)
		return
	}
	l.busy = true
	d.inFlight++
	d.clients[l.ep.client]++
	l.ep.inFlight++
	retry := l.attempt > 0
	if retry {
		d.retrying++
		l.ep.retrying++
	}
	d.wg.Go(func() { d.work(l, retry) })
}

// mustWait: a tool's first message waits for one attempt to introduce its user.
func (d *Dispatcher) mustWait(l *lane) *meeting {
	if l.done != 0 || len(l.queue) == 0 {
		return nil
	}
	first := &l.queue[0]
	if first.Tool == "" || first.DeliverySeq == 0 {
		return nil
	}
	m := d.meetings[introduction{l.key.Thread, string(first.Tool)}]
	if m == nil || m.lane.attempt > 0 || !m.lane.open() || !m.lane.ep.usable() {
		return nil
	}
	return m
}

// introduced lets the lanes go on that waited for a create_user call.
func (d *Dispatcher) introduced(l *lane, tool string) {
	k := introduction{l.key.Thread, tool}
	m := d.meetings[k]
	if m == nil || m.lane != l {
		return
	}
	delete(d.meetings, k)
	for _, other := range m.waiting {
		d.offer(other)
	}
}

// work is one call of a lane from start to end.
func (d *Dispatcher) work(l *lane, retry bool) {
	out := d.attempt(l)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inFlight--
	l.ep.inFlight--
	if d.clients[l.ep.client]--; d.clients[l.ep.client] == 0 {
		delete(d.clients, l.ep.client)
	}
	if retry {
		d.retrying--
		l.ep.retrying--
	}
	l.busy = false
	d.conclude(l, out)
	d.offer(l)
	d.pump()
}

// next gives the delivery to send, reading the outbox when memory has none.
func (d *Dispatcher) next(l *lane) (item store.Delivery, ok bool) {
	d.mu.Lock()
	if len(l.queue) > 0 {
		item, ok = l.queue[0], true
	}
	key, done, fence := l.key, l.done, l.fence
	d.mu.Unlock()
	if ok {
		return item, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var rows []store.Delivery
	err := d.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		rows, err = tx.ListDeliveries(key, done, lanePayloads)
		return err
	})
	if err != nil {
		d.cfg.Log.Error("outbox read failed", "error", err)
		return store.Delivery{}, false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.fence != fence || l.done != done || len(rows) == 0 || rows[0].Seq != done+1 {
		return store.Delivery{}, false
	}
	if len(l.queue) == 0 {
		l.queue = rows
		for i := range rows {
			d.bytes += len(rows[i].Payload)
		}
	}
	return rows[0], true
}
