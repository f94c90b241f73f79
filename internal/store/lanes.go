package store

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	"tract"
)

// LaneKey names a lane: the ordered way to one endpoint for one thread.
type LaneKey struct{ Thread, Endpoint int64 }

// compare orders keys as commands lock lanes.
func (k LaneKey) compare(o LaneKey) int {
	return cmp.Or(cmp.Compare(k.Thread, o.Thread), cmp.Compare(k.Endpoint, o.Endpoint))
}

// Lane is where a lane stands.
type Lane struct {
	LaneKey
	Client     int64
	Last, Done int64 // sequences: the newest, and up to where everything is settled
	Owner      int64 // replica that sends
	Fence      int64 // raised with each change of owner; a mark with an older one changes nothing
	Attempt    int   // failed attempts of delivery Done+1
	FirstAt    time.Time
	NextAt     time.Time
	Open       bool // something waits, or did a short while ago

	changed bool
	whole   bool // everything is known of it, not its newest sequence alone
}

// Delivery is one row of the outbox: bytes that go to one endpoint.
type Delivery struct {
	Lane        LaneKey
	Seq         int64
	Entry       tract.MessageID
	Tool        tract.ReceiverID // "" for a channel or the bot
	DeliverySeq int64            // of the tool in this thread; 0 for a channel or the bot
	HoldUntil   time.Time        // kept back for a synchronous caller until then
	Taken       bool             // a synchronous caller took it
	Payload     []byte
	CreatedAt   time.Time
}

// Append is a delivery that a commit added, with the lane as the commit left it.
type Append struct {
	Delivery
	State Lane
}

// WebhookID is the id a receiver sees: the same for every attempt and replay.
func (d *Delivery) WebhookID() string {
	return "msg_" + strconv.FormatInt(int64(d.Entry), 10) + "_" + strconv.FormatInt(d.Lane.Endpoint, 10) + "_" + strconv.FormatInt(d.DeliverySeq, 10)
}

// ID names the delivery in the delivery log.
func (d *Delivery) ID() string {
	return fmt.Sprintf("dlv_%d_%d_%d", d.Lane.Endpoint, d.Lane.Thread, d.Seq)
}

// ParseDeliveryID is the reverse of ID.
func ParseDeliveryID(id string) (k LaneKey, seq int64, ok bool) {
	n, err := fmt.Sscanf(id, "dlv_%d_%d_%d", &k.Endpoint, &k.Thread, &seq)
	d := Delivery{Lane: k, Seq: seq}
	return k, seq, err == nil && n == 3 && d.ID() == id
}

const (
	insertDelivery = `insert into outbox (thread, endpoint, seq, entry, tool, delivery_seq, hold_until, payload, created_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	markDone       = `update lanes set done = $3, attempt = 0, first_at = 0, next_at = 0 where thread = $1 and endpoint = $2 and owner = $4 and fence = $5 and done < $3`
	markRetry      = `update lanes set attempt = $3, first_at = $4, next_at = $5 where thread = $1 and endpoint = $2 and owner = $6 and fence = $7 and done = $8`
	returningLast  = ` returning last`
	settleTurn     = `update lanes set done = $3, attempt = 0, first_at = 0, next_at = 0 where thread = $1 and endpoint = $2 and done = $4`
	closeLane      = `update lanes set open = 0 where thread = $1 and endpoint = $2 and open = 1 and last = done`
)

// AppendDelivery adds a delivery to a lane of a locked thread. The lane itself
// is written by SaveThread.
func (tx *Tx) AppendDelivery(l *Locked, endpoint int64, d Delivery) error {
	lane := l.Lanes.Get(endpoint)
	lane.LaneKey, lane.Client = LaneKey{l.ID, endpoint}, l.Client
	lane.Last++
	lane.changed = true
	l.Lanes.Put(endpoint, lane)
	d.Lane, d.Seq, d.CreatedAt = lane.LaneKey, lane.Last, tx.Now
	tx.commit.Appends = append(tx.commit.Appends, Append{Delivery: d})
	return tx.exec(insertDelivery, l.ID, endpoint, d.Seq, int64(d.Entry), string(d.Tool), d.DeliverySeq, d.HoldUntil, d.Payload, d.CreatedAt)
}

// NextDeliverySeq counts a tool's deliveries in a thread: 1, 2, 3 … SaveThread
// writes the counter.
func (l *Locked) NextDeliverySeq(tool tract.ReceiverID) int64 {
	k := l.Tools.Get(tool)
	k.Tool = tool
	k.DeliverySeq++
	l.Tools.Put(tool, k)
	return k.DeliverySeq
}

// aliveFor is how long after its last heartbeat a replica counts as alive.
const aliveFor = 15 * time.Second

// saveLanes writes the lanes that got deliveries.
func (tx *Tx) saveLanes(l *Locked) error {
	for _, settle := range tx.settled {
		settle(l)
	}
	for i := range l.Lanes {
		endpoint, lane := l.Lanes[i].Key, l.Lanes[i].Value
		if !lane.changed {
			continue
		}
		lane.changed = false
		if tx.threads != nil && lane.whole && lane.Open && lane.Owner == tx.s.replica.Load() {
			n, err := tx.count(extendLane, l.ID, endpoint, lane.Last, lane.Owner)
			if err != nil {
				return err
			}
			if n == 1 {
				l.Lanes[i].Value = lane
				tx.appendedTo(lane)
				continue
			}
		}
		lane.whole = false
		l.Lanes[i].Value = lane
		if err := tx.later(func(r row) error {
			if err := r.Scan(&lane.Done, &lane.Owner, &lane.Fence, &lane.Attempt, at(&lane.FirstAt), at(&lane.NextAt)); err != nil {
				return err
			}
			lane.Open, lane.whole = true, true
			if tx.threads != nil { // where it is read at once, and remembered
				l.Lanes[i].Value = lane
			}
			tx.appendedTo(lane)
			return nil
		}, upsertLane, l.ID, endpoint, l.Client, lane.Last, tx.s.replica.Load(), tx.Now.Add(-aliveFor)); err != nil {
			return err
		}
	}
	return nil
}

// appendedTo tells watchers how the commit leaves a lane.
func (tx *Tx) appendedTo(lane Lane) {
	for i := range tx.commit.Appends {
		if a := &tx.commit.Appends[i]; a.Lane == lane.LaneKey {
			a.State = lane
		}
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Attempt is one try to deliver.
type Attempt struct {
	Number  int // 1, 2, 3 …; counted by the store
	At      time.Time
	Latency time.Duration
	Status  int    // HTTP status; 0 when there was no answer
	Error   string // class and text of a failure
	Excerpt string // of the answer's body
}

// Mark is what came of a delivery, written by the lane's owner.
type Mark struct {
	Lane  LaneKey
	Fence int64
	Seq   int64
	// Attempt is kept as a row unless nil: a clean first success needs none.
	Attempt *Attempt
	// Done settles the delivery; Dead says why it was given up ("" = delivered).
	Done bool
	Dead string
	// of a delivery to be tried again
	Attempts int
	FirstAt  time.Time
	NextAt   time.Time

	// Held and Last are filled in by the commit: whether the mark counted, and
	// the newest sequence of the lane.
	Held bool
	Last int64
}

// MarkLanes writes what came of deliveries. A mark whose fence is old changes
// nothing. Marks of one lane are given in the order of their attempts.
func (tx *Tx) MarkLanes(marks []*Mark) error {
	slices.SortStableFunc(marks, func(a, b *Mark) int { return cmp.Or(a.Lane.compare(b.Lane), cmp.Compare(a.Seq, b.Seq)) })
	for _, m := range marks {
		if err := tx.mark(m); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) mark(m *Mark) error {
	m.Held = false
	me := tx.s.replica.Load()
	if a := m.Attempt; a != nil {
		if err := tx.exec(`insert into attempts (thread, endpoint, seq, attempt, at, latency_us, status, error, excerpt)
			select thread, endpoint, $3, 1 + (select coalesce(max(a.attempt), 0) from attempts a where a.thread = $1 and a.endpoint = $2 and a.seq = $3), $4, $5, $6, $7, $8
			from lanes where thread = $1 and endpoint = $2 and owner = $9 and fence = $10 and done < $3`,
			m.Lane.Thread, m.Lane.Endpoint, m.Seq, a.At, a.Latency.Microseconds(), a.Status, a.Error, a.Excerpt, me, m.Fence); err != nil {
			return err
		}
	}
	if m.Dead != "" {
		if err := tx.exec(`insert into dead (thread, endpoint, seq, client, reason, at, replayed_at)
			select thread, endpoint, $3, client, $4, $5, 0 from lanes where thread = $1 and endpoint = $2 and owner = $6 and fence = $7 and done < $3 on conflict do nothing`,
			m.Lane.Thread, m.Lane.Endpoint, m.Seq, m.Dead, tx.Now, me, m.Fence); err != nil {
			return err
		}
	}
	if m.Done {
		return tx.markLane(m, markDone, func(l *Lane) { l.settle(m.Seq) }, m.Lane.Thread, m.Lane.Endpoint, m.Seq, me, m.Fence)
	}
	return tx.markLane(m, markRetry, func(l *Lane) { l.Attempt, l.FirstAt, l.NextAt = m.Attempts, stored(m.FirstAt), stored(m.NextAt) },
		m.Lane.Thread, m.Lane.Endpoint, m.Attempts, m.FirstAt, m.NextAt, me, m.Fence, m.Seq-1)
}

// markLane changes a lane, and learns whether it did and which sequence is the
// newest: what is remembered of the lane changes with it.
func (tx *Tx) markLane(m *Mark, sql string, change func(*Lane), args ...any) error {
	if tx.threads == nil {
		return tx.later(func(r row) error { m.Held = true; return r.Scan(&m.Last) }, sql+returningLast, args...)
	}
	n, err := tx.count(sql, args...)
	if err != nil || n == 0 {
		return err
	}
	m.Held = true
	if l := tx.threads.lane(m.Lane, change); l != nil {
		m.Last = l.Last
		return nil
	}
	_, err = tx.one([]any{&m.Last}, `select last from lanes where thread = $1 and endpoint = $2`, m.Lane.Thread, m.Lane.Endpoint)
	return err
}

// settle is what a lane is after a delivery was settled.
func (l *Lane) settle(seq int64) {
	l.Done, l.Attempt, l.FirstAt, l.NextAt = seq, 0, time.Time{}, time.Time{}
}

// SettleTurn marks a bot turn answered in the answer's own transaction. It says
// whether the turn was still open: a turn is answered once.
func (tx *Tx) SettleTurn(lane LaneKey, seq int64) (open bool, err error) {
	n, err := tx.count(settleTurn, lane.Thread, lane.Endpoint, seq, seq-1)
	if err != nil || n == 0 {
		return false, err
	}
	settle := func(l *Lane) { l.settle(seq) }
	tx.threads.lane(lane, settle)
	tx.settled = append(tx.settled, func(l *Locked) { // it may have been locked before
		if l.ID == lane.Thread {
			change(l.Lanes, lane.Endpoint, settle)
		}
	})
	return true, nil
}

const laneColumns = `thread, endpoint, client, last, done, owner, fence, attempt, first_at, next_at, open`

func scanLane(r row, l *Lane) error {
	return r.Scan(&l.Thread, &l.Endpoint, &l.Client, &l.Last, &l.Done, &l.Owner, &l.Fence, &l.Attempt, at(&l.FirstAt), at(&l.NextAt), flag(&l.Open))
}

// claimable are the pairs of an enabled endpoint and a dead process that have open
// lanes. It goes from pair to pair in the index: there are few, however many lanes
// wait for an endpoint that is disabled or slow. An owner of -1 begins an endpoint.
const (
	nextOwner = `(select min(l.owner) from lanes l where l.open = 1 and l.endpoint = p.endpoint and l.owner > p.owner)`
	claimable = `with recursive pairs(endpoint, owner) as (select cast(0 as bigint), cast(-1 as bigint) union all
		select case when ` + nextOwner + ` is null then (select min(l.endpoint) from lanes l where l.open = 1 and l.endpoint > p.endpoint) else p.endpoint end, coalesce(` + nextOwner + `, -1)
		from pairs p where p.endpoint is not null)
	select p.endpoint, p.owner from pairs p join endpoints e on e.id = p.endpoint
		where p.owner >= 0 and e.enabled = 1 and p.owner <> $1 and p.owner not in (select id from replicas where heartbeat_at > $2) order by p.endpoint, p.owner`
)

// orphans are an enabled endpoint's open lanes whose owner is dead.
type orphans struct{ endpoint, owner int64 }

func (tx *Tx) listOrphans() ([]orphans, error) {
	return list(tx, func(r row, o *orphans) error { return r.Scan(&o.endpoint, &o.owner) }, claimable, tx.s.replica.Load(), tx.Now.Add(-aliveFor))
}

// ClaimLanes takes lanes of enabled endpoints in which something waits and whose
// owner is dead. The dead stay dead: who was given up registers anew.
func (tx *Tx) ClaimLanes(limit int) (out []Lane, err error) {
	pairs, err := tx.listOrphans()
	if err != nil {
		return nil, err
	}
	me := tx.s.replica.Load()
	for _, p := range pairs {
		if len(out) >= limit {
			break
		}
		tx.wrote = true
		if err := tx.each(func(r row) error {
			var l Lane
			err := scanLane(r, &l)
			out = append(out, l)
			return err
		}, `update lanes set fence = fence + 1, owner = $1 where (thread, endpoint) in (`+
			tx.s.engine.skipLocked(`select l.thread, l.endpoint from lanes l where l.endpoint = $2 and l.owner = $3 and l.open = 1 and l.last > l.done limit $4`, "l")+
			`) returning `+laneColumns, me, p.endpoint, p.owner, limit-len(out)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// CloseOrphans closes lanes that dead owners left open, up to a limit, and says
// how many.
func (tx *Tx) CloseOrphans(limit int) (closed int, err error) {
	pairs, err := tx.listOrphans()
	if err != nil {
		return 0, err
	}
	for _, p := range pairs {
		n, err := tx.count(`update lanes set open = 0 where (thread, endpoint) in (`+
			tx.s.engine.skipLocked(`select l.thread, l.endpoint from lanes l where l.endpoint = $1 and l.owner = $2 and l.open = 1 and l.last = l.done limit $3`, "l")+`)`, p.endpoint, p.owner, limit-closed)
		if closed += int(n); err != nil || closed >= limit {
			return closed, err
		}
	}
	return closed, nil
}

// CloseLanes says of lanes that nothing waits in them, where that is so.
func (tx *Tx) CloseLanes(keys []LaneKey) error {
	slices.SortFunc(keys, LaneKey.compare)
	for _, k := range keys {
		tx.threads.lane(k, func(l *Lane) { l.whole = false })
		if err := tx.exec(closeLane, k.Thread, k.Endpoint); err != nil {
			return err
		}
	}
	return nil
}

// FreeLanes gives lanes of this replica back, those with the fences it knows:
// any other takes them.
func (tx *Tx) FreeLanes(lanes []Lane) error {
	slices.SortFunc(lanes, func(a, b Lane) int { return a.compare(b.LaneKey) })
	for _, l := range lanes {
		if err := tx.exec(`update lanes set owner = 0, fence = fence + 1 where thread = $1 and endpoint = $2 and owner = $3 and fence = $4`, l.Thread, l.Endpoint, tx.s.replica.Load(), l.Fence); err != nil {
			return err
		}
	}
	tx.commit.Lanes = true
	return nil
}

// ListOwnLanes returns open lanes of this replica, after a key.
func (tx *Tx) ListOwnLanes(endpoint int64, afterThread int64, limit int) ([]Lane, error) {
	return list(tx, scanLane, `select `+laneColumns+` from lanes where endpoint = $1 and open = 1 and last > done and owner = $2 and thread > $3 order by thread limit $4`, endpoint, tx.s.replica.Load(), afterThread, limit)
}

// Lane reads a lane; ok is false when nothing was ever appended to it.
func (tx *Tx) Lane(k LaneKey) (l Lane, ok bool, err error) {
	err = tx.each(func(r row) error { ok = true; return scanLane(r, &l) }, `select `+laneColumns+` from lanes where thread = $1 and endpoint = $2`, k.Thread, k.Endpoint)
	return l, ok, err
}

const deliveryColumns = `thread, endpoint, seq, entry, tool, delivery_seq, hold_until, payload, created_at`

func scanDelivery(r row, d *Delivery) error {
	var hold int64
	if err := r.Scan(&d.Lane.Thread, &d.Lane.Endpoint, &d.Seq, &d.Entry, &d.Tool, &d.DeliverySeq, &hold, &d.Payload, at(&d.CreatedAt)); err != nil {
		return err
	}
	d.Taken = hold < 0
	d.HoldUntil = instant(max(hold, 0))
	return nil
}

func (tx *Tx) deliveries(sql string, args ...any) (out []Delivery, err error) {
	err = tx.each(func(r row) error {
		var d Delivery
		err := scanDelivery(r, &d)
		out = append(out, d)
		return err
	}, sql, args...)
	return out, err
}

// ListDeliveries returns what is queued in a lane after a sequence.
func (tx *Tx) ListDeliveries(k LaneKey, after int64, limit int) ([]Delivery, error) {
	return tx.deliveries(`select `+deliveryColumns+` from outbox where thread = $1 and endpoint = $2 and seq > $3 order by seq limit $4`, k.Thread, k.Endpoint, after, limit)
}

// ListDelivered returns which of a thread's entries an endpoint already has.
func (tx *Tx) ListDelivered(k LaneKey, from tract.MessageID) (map[tract.MessageID]bool, error) {
	out := map[tract.MessageID]bool{}
	err := tx.each(func(r row) error {
		var id tract.MessageID
		err := r.Scan(&id)
		out[id] = true
		return err
	}, `select entry from outbox where thread = $1 and endpoint = $2 and entry >= $3`, k.Thread, k.Endpoint, int64(from))
	return out, err
}

// TakeHeld claims the deliveries of a lane that are held until one instant for
// a synchronous caller, who knows them by it. What it returns will not be sent.
func (tx *Tx) TakeHeld(k LaneKey, until time.Time) (out []Delivery, err error) {
	tx.wrote = true
	out, err = tx.deliveries(`update outbox set hold_until = -1 where thread = $1 and endpoint = $2 and seq > (select done from lanes where thread = $1 and endpoint = $2) and hold_until = $3 returning `+deliveryColumns, k.Thread, k.Endpoint, until)
	slices.SortFunc(out, func(a, b Delivery) int { return cmp.Compare(a.Seq, b.Seq) })
	return out, err
}

// ReleaseHeld ends the hold of one delivery and says whether it is to be sent:
// either the caller took it or the lane sends it, never both. Asked again it
// says the same, so that a lost answer loses no delivery.
func (tx *Tx) ReleaseHeld(k LaneKey, seq int64) (send bool, err error) {
	n, err := tx.count(`update outbox set hold_until = 0 where thread = $1 and endpoint = $2 and seq = $3 and hold_until >= 0`, k.Thread, k.Endpoint, seq)
	return n == 1, err
}

// SetECTUserID keeps a tool's own name for a user who was not erased. It locks
// the thread.
func (tx *Tx) SetECTUserID(thread int64, tool tract.ReceiverID, id string) error {
	tx.threads.drop(thread)
	return tx.exec(ectUserIDInto+tx.s.engine.forUpdate(ectUserIDFrom, "t")+ectUserIDElse, thread, string(tool), id)
}
