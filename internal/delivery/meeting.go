package delivery

import (
	"context"
	"slices"
	"time"

	"tract/internal/store"
)

// introduction is a tool's first meeting with a thread.
type introduction struct {
	thread int64
	tool   string
}

// meeting is a create_user call with the lanes that wait for its first attempt.
type meeting struct {
	of      introduction
	lane    *lane
	waiting []*lane
}

// meet notes that a lane holds a create_user call that was not yet tried.
func (d *Dispatcher) meet(l *lane, of introduction) {
	if !l.open() || l.attempt > 0 || l.meeting != nil || d.meetings[of] != nil {
		return
	}
	l.meeting = &meeting{of: of, lane: l}
	d.meetings[of] = l.meeting
}

// join queues a lane behind a meeting when its first delivery is appended, not
// when it could be sent: which endpoint is read first must not decide the order.
func (d *Dispatcher) join(l *lane, first *store.Delivery) {
	m := d.meetings[introduction{l.key.Thread, string(first.Tool)}]
	if m != nil && m.lane != l && l.known && l.done == 0 && introduces(first) {
		m.wait(l)
	}
}

func (m *meeting) wait(l *lane) {
	if !slices.Contains(m.waiting, l) {
		m.waiting = append(m.waiting, l)
	}
}

// mustWait: a tool's first message waits for one attempt to introduce its user.
func (d *Dispatcher) mustWait(l *lane) *meeting {
	if l.done != 0 || len(l.queue) == 0 || !introduces(&l.queue[0]) {
		return nil
	}
	m := d.meetings[introduction{l.key.Thread, string(l.queue[0].Tool)}]
	if m == nil || m.lane == l || !m.lane.open() || !m.lane.ep.usable() {
		return nil
	}
	return m
}

// introduces says whether a delivery may be the first that its tool hears of a thread.
func introduces(first *store.Delivery) bool {
	return first.Seq == 1 && first.Tool != "" && first.DeliverySeq > 0
}

// introduced lets the lanes go on that waited for a lane's create_user call, one
// after the other: what a tool first hears of a thread begins in the order of the
// log, whichever hooks it goes to.
func (d *Dispatcher) introduced(l *lane) {
	m := l.meeting
	if m == nil {
		return
	}
	l.meeting = nil
	for len(m.waiting) > 0 {
		next := m.waiting[0]
		m.waiting = m.waiting[1:]
		if d.lanes[next.key] != next {
			continue // forgotten while it waited
		}
		if next.meeting == nil && next.open() && next.ep.usable() && next.done == 0 && next.attempt == 0 && len(next.queue) > 0 && introduces(&next.queue[0]) {
			next.meeting, m.lane = m, next
			d.offer(next)
			return
		}
		d.offer(next)
	}
	delete(d.meetings, m.of)
}

// stranger looks in the store whether a create_user call has to be tried before
// a first delivery: after a take-over memory knows of none, and another replica
// may have it.
func (d *Dispatcher) stranger(first *store.Delivery) (bool, error) {
	if !introduces(first) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var waits bool
	err := d.cfg.Store.View(ctx, func(tx *store.Tx) (err error) {
		waits, err = tx.AwaitsIntroduction(first.Lane.Thread, first.Tool)
		return err
	})
	return waits, err
}
