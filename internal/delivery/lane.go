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
	known bool // the store has said that it is ours, by this fence
	owner int64
	fence int64
	last  int64
	done  int64
	queue []store.Delivery // done+1, done+2, …: may be shorter than what is open

	attempt int
	firstAt time.Time
	nextAt  time.Time
	again   bool // an earlier ladder of this delivery was cut off

	pins    int  // commits under way that append
	marks   int  // marks not yet written
	busy    bool // in flight, or being read from the store
	queued  bool // in its endpoint's list
	doubted bool // not to be sent from before the store was read again
	meeting *meeting
	timer   *time.Timer
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

// merge takes in a row of the store that names us as the owner. With the same
// fence memory is ahead of the store; with a newer one the store is right. A
// fence that was lost stays lost, whatever a late answer says.
func (d *Dispatcher) merge(l *lane, s store.Lane) {
	switch {
	case s.Fence > l.fence:
		l.known, l.owner, l.fence, l.done, l.attempt, l.firstAt, l.nextAt, l.again = true, s.Owner, s.Fence, s.Done, s.Attempt, s.FirstAt, s.NextAt, false
		d.freePayloads(l)
	case s.Fence < l.fence || !l.known:
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
		l.queue[0] = store.Delivery{} // the array lives on
		l.queue = l.queue[1:]
	}
	if seq > l.done {
		l.done = seq
	}
	l.attempt, l.firstAt, l.nextAt, l.again = 0, time.Time{}, time.Time{}, false
}

// restart begins the ladder anew if the endpoint was enabled since it began: who
// mended a tool gets all attempts again, and at once.
func (l *lane) restart() {
	if l.attempt > 0 && l.ep.loaded && l.firstAt.Before(l.ep.row.EnabledAt) {
		l.attempt, l.firstAt, l.nextAt, l.again = 0, time.Time{}, time.Time{}, true
	}
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
	if l.known && !l.open() {
		d.settled[l.key] = d.cfg.Now()
	}
	e := l.ep
	if e.lanes--; e.lanes == 0 && (e.gone || !e.loaded && !e.loading) {
		delete(d.endpoints, e.id)
	}
	d.introduced(l)
}

// forget makes a lane unknown: somebody else may have it.
func (d *Dispatcher) forget(l *lane) {
	l.stopTimer()
	d.freePayloads(l)
	l.known, l.last, l.done, l.attempt = false, 0, 0, 0
	d.introduced(l)
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
		if l.ep.gone {
			d.bury(l.ep.id)
		}
		d.freePayloads(l)
		d.tidy(l)
		return
	}
	l.restart()
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
	// passed counts those in a row that had nothing to begin.
	for passed := 0; passed < len(d.ring) && d.inFlight < d.cfg.InFlight; {
		e := d.ring[0]
		d.ring = d.ring[1:]
		e.inRing = false
		l := d.take(e)
		if len(e.ready)+len(e.retries) > 0 {
			d.enter(e)
		}
		switch {
		case l != nil:
			passed = 0
			d.begin(l)
		case e.inRing:
			passed++
		}
	}
}

// take gives the endpoint's next lane, if it may be called now.
func (d *Dispatcher) take(e *endpoint) *lane {
	if !e.loaded || e.stale {
		return nil
	}
	if !e.usable() {
		d.unqueue(e)
		return nil
	}
	window := d.window(e)
	if e.inFlight >= window || d.clients[e.client] >= d.cfg.PerClient {
		return nil
	}
	if len(e.retries) > 0 && d.retrying < max(1, d.cfg.InFlight/retryShare) && (len(e.ready) == 0 || e.retrying < max(1, window/retryShare)) {
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

// unqueue lets go of the lanes of an endpoint that may not be called.
func (d *Dispatcher) unqueue(e *endpoint) {
	lanes := slices.Concat(e.ready, e.retries)
	e.ready, e.retries = nil, nil
	for _, l := range lanes {
		l.queued = false
		d.offer(l)
	}
}

// begin sends the lane's next delivery, or reads it first.
func (d *Dispatcher) begin(l *lane) {
	l.queued = false
	// A bot's answer moves the lane in the store itself, past no mark of ours.
	if !l.open() || l.doubted || (l.marks > 0 && l.ep.row.Kind == store.EndpointBot) {
		d.tidy(l)
		return
	}
	if meeting := d.mustWait(l); meeting != nil {
		meeting.wait(l)
		return
	}
	l.restart()
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
	key, done, fence, known := l.key, l.done, l.fence, l.known
	d.mu.Unlock()
	if ok || !known {
		return item, ok
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
	if len(rows) > 0 {
		if len(rows[0].Payload) == 0 { // erased: the lane was settled by that
			d.mu.Lock()
			defer d.mu.Unlock()
			l.doubted = true
			d.doubt(l.key, 0)
			return store.Delivery{}, false
		}
		if waits, err := d.stranger(&rows[0]); err != nil || waits {
			return store.Delivery{}, false
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !l.known || l.fence != fence || l.done != done || len(rows) == 0 || rows[0].Seq != done+1 {
		return store.Delivery{}, false
	}
	if len(l.queue) == 0 {
		for i := range rows {
			if i > 0 && d.bytes+len(rows[i].Payload) > payloadBytes {
				rows = rows[:i]
				break
			}
			d.bytes += len(rows[i].Payload)
		}
		l.queue = rows
	}
	return rows[0], true
}
