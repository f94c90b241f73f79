package store

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tract"
)

// Delivery states.
const (
	DeliveryQueued    = "queued"    // not tried yet, or held back by one before it
	DeliveryRetrying  = "retrying"  // tried in vain, to be tried again
	DeliveryDelivered = "delivered" // answered with 2xx, or taken by a synchronous caller
	DeliveryDead      = "dead"      // given up
	DeliveryReplayed  = "replayed"  // given up, and queued again as another delivery
	DeliveryWithdrawn = "withdrawn" // its user was erased before
)

// LogLine is a delivery with what became of it, for the delivery log.
type LogLine struct {
	Delivery
	State      string
	Pxut       string // "" when the user was erased
	Attempts   int
	LastStatus int
	LastError  string
	NextAt     time.Time
	DeadAt     time.Time // when it was given up
	ReplayedAt time.Time
	Endpoint   LogEndpoint

	reason string // it was given up for
}

// LogEndpoint is an endpoint as the delivery log knows it: also one that was
// removed, without its address.
type LogEndpoint struct {
	Endpoint
	Removed bool
}

// ListLogEndpoints returns a client's endpoints, those that were removed, too.
func (tx *Tx) ListLogEndpoints(client int64) (out []LogEndpoint, err error) {
	err = tx.each(func(r row) error {
		var e LogEndpoint
		err := r.Scan(&e.ID, &e.Client, &e.Kind, &e.Tool, &e.Category, &e.Subcategory, &e.Business, flag(&e.Enabled), flag(&e.Removed))
		out = append(out, e)
		return err
	}, `select id, client, kind, tool, category, subcategory, business, enabled, 0 from endpoints where client = $1
		union all select id, client, kind, tool, category, subcategory, business, 0, 1 from removed_endpoints where client = $1 order by 1`, client)
	return out, err
}

// LogFilter narrows the delivery log. A zero field filters nothing, but for
// Endpoints: there are only the deliveries to these.
type LogFilter struct {
	Endpoints []LogEndpoint
	Thread    int64
	States    []string
	Since     time.Time
	Until     time.Time
	Before    LogCursor // continue after this line; zero = from the newest
	Limit     int
	Payloads  bool // else they are left out
}

// LogCursor is a place in the delivery log, which runs from new to old.
type LogCursor struct {
	Entry    tract.MessageID
	Endpoint int64
	Seq      int64
}

func (a LogCursor) compare(b LogCursor) int {
	return cmp.Or(cmp.Compare(a.Entry, b.Entry), cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Seq, b.Seq))
}

func (l *LogLine) cursor() LogCursor { return LogCursor{l.Entry, l.Lane.Endpoint, l.Seq} }

// openLanes is up to how many open lanes of an endpoint are looked through for
// what waits; beyond it what waits is found among the newest.
const openLanes = 1000

// logWalk is how many deliveries of one endpoint a page looks at.
const logWalk = 2000

// ListLog returns deliveries, newest first. next is where to go on, nil at the
// end: a page may hold less than its limit before it.
func (tx *Tx) ListLog(f LogFilter) (out []LogLine, next *LogCursor, err error) {
	if f.Before.Entry == 0 {
		f.Before.Entry = 1<<53 - 1
	}
	lanes, err := tx.fewOpenLanes(&f)
	if err != nil {
		return nil, nil, err
	}
	found := make([][]LogLine, len(f.Endpoints))
	var reads []query
	for i := range f.Endpoints {
		e := &f.Endpoints[i]
		sql, args := f.lines(e.ID, lanes[e.ID])
		reads = append(reads, query{sql, args, func(r row) error {
			l := LogLine{Endpoint: *e}
			err := scanLogLine(r, &l)
			found[i] = append(found[i], l)
			return err
		}})
	}
	// How far down each endpoint was looked at: below the highest of these
	// places another may hold what was not seen yet.
	var seen LogCursor
	low := func(r row) error {
		var at LogCursor
		if err := r.Scan(&at.Entry, &at.Endpoint, &at.Seq); err != nil {
			return err
		}
		if at.compare(seen) > 0 {
			seen = at
		}
		return nil
	}
	for i := range f.Endpoints {
		e := f.Endpoints[i].ID
		from, args := f.walk(`o.entry, o.endpoint, o.seq`, e, lanes[e])
		reads = append(reads, query{fmt.Sprintf(`%s limit 1 offset %d`, from, logWalk-1), args, low})
	}
	if f.Thread != 0 {
		reads = append(reads, query{fmt.Sprintf(`select id, 0, 0 from entries where thread = $1 and id <= $2 order by conversation desc, id desc limit 1 offset %d`, logWalk-1), []any{f.Thread, int64(f.Before.Entry)}, low})
	}
	if len(reads) == 0 {
		return nil, nil, nil
	}
	if err := tx.many(reads...); err != nil {
		return nil, nil, err
	}
	out = slices.Concat(found...)
	slices.SortFunc(out, func(a, b LogLine) int { return b.cursor().compare(a.cursor()) })
	cut := slices.IndexFunc(out, func(l LogLine) bool { return l.cursor().compare(seen) < 0 })
	if cut >= 0 {
		out = out[:cut]
	}
	if len(out) > f.Limit {
		out = out[:f.Limit]
		at := out[f.Limit-1].cursor()
		next = &at
	} else if seen != (LogCursor{}) {
		next = &seen
	}
	return out, next, tx.lastAttempts(out)
}

// lastAttempts completes lines by the last attempt that was recorded.
func (tx *Tx) lastAttempts(lines []LogLine) error {
	var reads []query
	for i := range lines {
		l := &lines[i]
		reads = append(reads, query{`select attempt, status, error from attempts where thread = $1 and endpoint = $2 and seq = $3 order by attempt desc limit 1`, []any{l.Lane.Thread, l.Lane.Endpoint, l.Seq},
			func(r row) error {
				var n int
				err := r.Scan(&n, &l.LastStatus, &l.LastError)
				l.Attempts = max(l.Attempts, n)
				return err
			}})
	}
	if len(reads) == 0 {
		return nil
	}
	if err := tx.many(reads...); err != nil {
		return err
	}
	for i := range lines {
		l := &lines[i]
		if l.State == DeliveryDelivered && l.Attempts == 0 {
			l.Attempts, l.LastStatus = 1, 200 // a clean first success leaves no row
		}
		if l.LastError == "" {
			l.LastError = l.reason
		}
	}
	return nil
}

// waiting says whether only what waits is asked for.
func (f *LogFilter) waiting() bool {
	return len(f.States) > 0 && !slices.ContainsFunc(f.States, func(s string) bool { return s != DeliveryQueued && s != DeliveryRetrying })
}

// fewOpenLanes says of which endpoints what waits can be found by their lanes.
func (tx *Tx) fewOpenLanes(f *LogFilter) (map[int64]bool, error) {
	few := map[int64]bool{}
	if !f.waiting() || f.Thread != 0 || len(f.Endpoints) == 0 {
		return few, nil
	}
	var reads []query
	for i := range f.Endpoints {
		id := f.Endpoints[i].ID
		reads = append(reads, query{fmt.Sprintf(`select count(*) from (select 1 from lanes where endpoint = $1 and open = 1 and last > done limit %d) n`, openLanes+1), []any{id}, func(r row) error {
			var n int
			err := r.Scan(&n)
			few[id] = n <= openLanes
			return err
		}})
	}
	return few, tx.many(reads...)
}

// walk is the stretch of an endpoint's deliveries that a page looks at, newest
// first, yet without its limit.
func (f *LogFilter) walk(columns string, endpoint int64, lanes bool) (string, []any) {
	args := []any{endpoint, int64(f.Before.Entry), f.Before.Endpoint, f.Before.Seq}
	from := `outbox o where `
	switch {
	case f.Thread != 0:
		from = fmt.Sprintf(`(select id from entries where thread = $5 and id <= $2 order by conversation desc, id desc limit %d) n join outbox o on o.entry = n.id where `, logWalk)
		args = append(args, f.Thread)
	case lanes:
		from = fmt.Sprintf(`(select thread, done from lanes where endpoint = $1 and open = 1 and last > done limit %d) n join outbox o on o.thread = n.thread and o.endpoint = $1 and o.seq > n.done where `, openLanes+1)
	}
	return `select ` + columns + ` from ` + from + `o.endpoint = $1 and o.entry <= $2 and (o.entry < $2 or o.endpoint < $3 or (o.endpoint = $3 and o.seq < $4)) order by o.entry desc, o.seq desc`, args
}

// lines are the deliveries of an endpoint with what became of them.
func (f *LogFilter) lines(endpoint int64, lanes bool) (string, []any) {
	payload := `null`
	if f.Payloads {
		payload = `o.payload`
	}
	from, args := f.walk(`o.thread, o.endpoint, o.seq, o.entry, o.tool, o.delivery_seq, o.hold_until, `+payload+` as payload, o.created_at`, endpoint, lanes)
	until := micros(f.Until)
	if until == 0 {
		until = far
	}
	args = append(args, micros(f.Since), until, f.Limit+1)
	n := len(args)
	states := ""
	for i, s := range f.States {
		args = append(args, s)
		states += fmt.Sprintf("%s$%d", map[bool]string{true: " and state in (", false: ", "}[i == 0], len(args))
	}
	if states != "" {
		states += ")"
	}
	return fmt.Sprintf(`select * from (`+logLine+` from (%s limit %d) o `+logJoins+`) lines where created_at >= $%d and created_at < $%d%s order by entry desc, seq desc limit $%d`,
		from, logWalk, n-2, n-1, states, n), args
}

// logLine are the columns of a line, logJoins what they are read from beside the
// delivery o itself.
const (
	logLine = `select o.thread, o.endpoint, o.seq, o.entry, o.tool, o.delivery_seq, o.hold_until, o.payload, o.created_at,
		case when d.replayed_at = 0 then 'dead' when d.replayed_at > 0 then 'replayed' when d.replayed_at < 0 then 'withdrawn'
			when o.seq = l.done + 1 and l.attempt > 0 then 'retrying' when o.seq > l.done then 'queued' else 'delivered' end as state,
		t.pxut, case when o.seq = l.done + 1 then l.attempt else 0 end as trying,
		coalesce(d.reason, '') as reason, coalesce(d.at, 0) as dead_at, coalesce(d.replayed_at, 0) as replayed_at,
		case when o.seq = l.done + 1 then l.next_at else 0 end as next_at`
	logJoins = `join lanes l on l.thread = o.thread and l.endpoint = o.endpoint join threads t on t.id = o.thread
		left join dead d on d.thread = o.thread and d.endpoint = o.endpoint and d.seq = o.seq`
)

func scanLogLine(r row, l *LogLine) error {
	var hold, replayed int64
	var pxut string
	d := &l.Delivery
	if err := r.Scan(&d.Lane.Thread, &d.Lane.Endpoint, &d.Seq, &d.Entry, &d.Tool, &d.DeliverySeq, &hold, &d.Payload, at(&d.CreatedAt),
		&l.State, &pxut, &l.Attempts, &l.reason, at(&l.DeadAt), &replayed, at(&l.NextAt)); err != nil {
		return err
	}
	if l.ReplayedAt = instant(max(replayed, 0)); !strings.HasPrefix(pxut, erasedPrefix) {
		l.Pxut = pxut
	}
	return nil
}

// LogLine reads the line of one delivery, with its payload; ErrNotFound when
// there is none.
func (tx *Tx) LogLine(e LogEndpoint, thread, seq int64) (l LogLine, err error) {
	found := false
	err = tx.each(func(r row) error { found = true; return scanLogLine(r, &l) }, logLine+` from outbox o `+logJoins+` where o.thread = $1 and o.endpoint = $2 and o.seq = $3`, thread, e.ID, seq)
	if err == nil && !found {
		err = ErrNotFound.With("no such delivery")
	}
	if err != nil {
		return l, err
	}
	lines := []LogLine{l}
	err = tx.lastAttempts(lines)
	lines[0].Endpoint = e
	return lines[0], err
}

// DeadCursor is a place among the dead letters, which run from the latest given
// up to the first.
type DeadCursor struct {
	At                    time.Time
	Thread, Endpoint, Seq int64
}

// deadWalk is how many dead letters of a client a page looks at.
const deadWalk = 1000

// ListDead returns what was given up, the latest first: lines in one of the
// states dead, replayed and withdrawn, filtered as ListLog does. next is where
// to go on, nil at the end.
func (tx *Tx) ListDead(client int64, f LogFilter, before DeadCursor) (out []LogLine, next *DeadCursor, err error) {
	at0 := int64(far)
	if before.Thread != 0 {
		at0 = micros(before.At)
	}
	of := map[int64]LogEndpoint{}
	for _, e := range f.Endpoints {
		of[e.ID] = e
	}
	var last DeadCursor
	seen := 0
	full := false
	sql := fmt.Sprintf(`select at, thread, endpoint, seq, replayed_at from dead where client = $1 and at <= $2 and (at, thread, endpoint, seq) < ($2, $3, $4, $5)
		order by at desc, thread desc, endpoint desc, seq desc limit %d`, deadWalk)
	err = tx.each(func(r row) error {
		var c DeadCursor
		var replayed int64
		if err := r.Scan(at(&c.At), &c.Thread, &c.Endpoint, &c.Seq, &replayed); err != nil || full {
			return err
		}
		seen++
		e, ours := of[c.Endpoint]
		if ours && (f.Thread == 0 || f.Thread == c.Thread) && slices.Contains(f.States, deadState(replayed)) {
			if full = len(out) == f.Limit; full {
				return nil
			}
			out = append(out, LogLine{Delivery: Delivery{Lane: LaneKey{c.Thread, c.Endpoint}, Seq: c.Seq}, Endpoint: e})
		}
		last = c
		return nil
	}, sql, client, at0, before.Thread, before.Endpoint, before.Seq)
	if err != nil || len(out) == 0 && seen < deadWalk {
		return nil, nil, err
	}
	if full || seen == deadWalk {
		next = &last
	}
	out, err = tx.readLines(out, &f)
	return out, next, err
}

func deadState(replayed int64) string {
	switch {
	case replayed == 0:
		return DeliveryDead
	case replayed > 0:
		return DeliveryReplayed
	}
	return DeliveryWithdrawn
}

// readLines reads lines whose keys are known; those outside of the filter's time
// are left out.
func (tx *Tx) readLines(lines []LogLine, f *LogFilter) (out []LogLine, err error) {
	var reads []query
	for i := range lines {
		l := &lines[i]
		reads = append(reads, query{logLine + ` from outbox o ` + logJoins + ` where o.thread = $1 and o.endpoint = $2 and o.seq = $3`, []any{l.Lane.Thread, l.Lane.Endpoint, l.Seq}, func(r row) error { return scanLogLine(r, l) }})
	}
	if len(reads) == 0 {
		return nil, nil
	}
	if err := tx.many(reads...); err != nil {
		return nil, err
	}
	for _, l := range lines {
		if l.CreatedAt.Before(f.Since) || !f.Until.IsZero() && !l.CreatedAt.Before(f.Until) {
			continue
		}
		if !f.Payloads {
			l.Payload = nil
		}
		out = append(out, l)
	}
	return out, tx.lastAttempts(out)
}
