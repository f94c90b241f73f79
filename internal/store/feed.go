package store

import (
	"cmp"
	"slices"
	"time"

	"tract"
)

// The feed of a tool about a thread is what lies in the lanes to its hooks, but
// for replays, which name no tool. A lane is ordered by delivery_seq and by time,
// too, so that a place in it is found by bisection: an index for it would be
// written with every delivery.

// toolLanes are a thread's lanes to a tool's hooks, also to those removed.
func (tx *Tx) toolLanes(thread int64, tool tract.ReceiverID) ([]Lane, error) {
	return list(tx, scanLane, `select `+laneColumns+` from lanes l
		where l.thread = $1 and l.endpoint in (select e.id from endpoints e where e.id = l.endpoint and e.tool = $2 union all select r.id from removed_endpoints r where r.id = l.endpoint and r.tool = $2)
		order by l.endpoint`, thread, string(tool))
}

// laneFrom is the least sequence from which on no delivery of a lane is without;
// those within follow those that are not.
func (tx *Tx) laneFrom(l *Lane, within func(deliverySeq int64, created time.Time) bool) (seq int64, err error) {
	low, high := int64(1), l.Last+1
	for low < high {
		middle := low + (high-low)/2
		next, number := middle, int64(0)
		var created time.Time
		found, err := tx.one([]any{&next, &number, at(&created)}, `select seq, delivery_seq, created_at from outbox where thread = $1 and endpoint = $2 and seq >= $3 and tool <> '' order by seq limit 1`, l.Thread, l.Endpoint, middle)
		switch {
		case err != nil:
			return 0, err
		case found && !within(number, created):
			low = next + 1
		default:
			high = middle
		}
	}
	return low, nil
}

// ListFeed returns what was or will be sent to a tool about a thread, in its
// own order after a delivery_seq.
func (tx *Tx) ListFeed(thread int64, tool tract.ReceiverID, after int64, limit int) (out []Delivery, err error) {
	lanes, err := tx.toolLanes(thread, tool)
	if err != nil {
		return nil, err
	}
	for i := range lanes {
		from, err := tx.laneFrom(&lanes[i], func(seq int64, _ time.Time) bool { return seq > max(after, 0) })
		if err != nil {
			return nil, err
		}
		page, err := tx.deliveries(`select `+deliveryColumns+` from outbox where thread = $1 and endpoint = $2 and seq >= $3 and tool <> '' order by seq limit $4`, thread, lanes[i].Endpoint, from, limit)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
	}
	slices.SortFunc(out, func(a, b Delivery) int { return cmp.Compare(a.DeliverySeq, b.DeliverySeq) })
	return out[:min(len(out), limit)], nil
}

// FeedStart is the least delivery_seq that a tool's feed of a thread still holds;
// when it holds none, the number that comes next.
func (tx *Tx) FeedStart(thread int64, tool tract.ReceiverID) (seq int64, err error) {
	first, err := tx.ListFeed(thread, tool, 0, 1)
	if err != nil {
		return 0, err
	}
	if len(first) > 0 {
		return first[0].DeliverySeq, nil
	}
	known, err := tx.ListToolThreads(thread)
	for _, k := range known {
		if k.Tool == tool {
			seq = k.DeliverySeq
		}
	}
	return seq + 1, err
}

// ListToolThreads returns what each tool knows of a thread, by tool.
func (tx *Tx) ListToolThreads(thread int64) (out []ToolThread, err error) {
	var told map[tract.ReceiverID]int64
	names := map[tract.ReceiverID]string{}
	err = tx.many(
		query{`select told from threads where id = $1`, []any{thread}, func(r row) error { return r.Scan(js(&told)) }},
		query{`select tool, ect_user_id from tool_threads where thread = $1`, []any{thread}, func(r row) error {
			var tool tract.ReceiverID
			var name string
			err := r.Scan(&tool, &name)
			names[tool] = name
			return err
		}})
	for _, tool := range sortedKeys(told) {
		out = append(out, ToolThread{tool, told[tool], names[tool]})
	}
	return out, err
}

// HeardSince says whether a tool answered a call about a thread with 2xx since
// an instant, or had none to answer.
func (tx *Tx) HeardSince(thread int64, tool tract.ReceiverID, since time.Time) (bool, error) {
	lanes, err := tx.toolLanes(thread, tool)
	if err != nil {
		return false, err
	}
	idle := true
	for i := range lanes {
		l := &lanes[i]
		from, err := tx.laneFrom(l, func(_ int64, created time.Time) bool { return !created.Before(since) })
		if err != nil {
			return false, err
		}
		var sent, heard int64
		if _, err := tx.one([]any{&sent, &heard}, `select count(*), coalesce(sum(case when o.seq <= $4 and d.seq is null then 1 else 0 end), 0)
			from outbox o left join dead d on d.thread = o.thread and d.endpoint = o.endpoint and d.seq = o.seq
			where o.thread = $1 and o.endpoint = $2 and o.seq >= $3 and o.tool <> ''`, l.Thread, l.Endpoint, from, l.Done); err != nil {
			return false, err
		}
		if heard > 0 {
			return true, nil
		}
		idle = idle && sent == 0
	}
	return idle, nil
}

// AwaitsIntroduction says whether a tool is still to be called once about a
// thread's user before it hears anything else of the thread.
func (tx *Tx) AwaitsIntroduction(thread int64, tool tract.ReceiverID) (bool, error) {
	var n int64
	_, err := tx.one([]any{&n}, `select count(*) from lanes l join endpoints e on e.id = l.endpoint join outbox o on o.thread = l.thread and o.endpoint = l.endpoint and o.seq = l.done + 1
		where l.thread = $1 and e.tool = $2 and e.enabled = 1 and l.attempt = 0 and o.tool = $2 and o.delivery_seq = 0`, thread, string(tool))
	return n > 0, err
}
