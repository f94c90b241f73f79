package store

import (
	"fmt"
	"strings"
	"time"

	"tract"
)

// ThreadFilter narrows a client's threads. A zero field filters nothing.
type ThreadFilter struct {
	Client   int64
	Thread   int64
	User     int64
	State    tract.State
	Open     bool // only conversations that are going on
	Owner    tract.ReceiverID
	Business int64
	Platform int
	Team     string // of conversations that people have
	Agent    string // the same
	Since    time.Time
	Until    time.Time
	Before   ThreadCursor // continue after this thread; zero = from the newest
	Limit    int
}

// ThreadCursor is a place in the list of threads, which runs from the newest
// minute of activity to the oldest.
type ThreadCursor struct {
	At time.Time
	ID int64
}

// walk is how many rows one list looks at: what few rows match is found in
// several pages, and no page reads all that a big client has.
const walk = 5000

// far is later than every instant.
const far = 1 << 62

// ListThreads returns threads by the minute of their last activity, the newest first. Those of
// erased users are left out. next is where to go on, nil at the end: a page may
// hold less than its limit before it.
func (tx *Tx) ListThreads(f ThreadFilter) (out []Thread, next *ThreadCursor, err error) {
	from, args := f.walk()
	where, args := f.conditions(args)
	args = append(args, f.Limit+1)
	out, err = list(tx, func(r row, t *Thread) error { return scanThread(r, t) }, fmt.Sprintf(`select `+threadColumns+` from (select * from (select * %s limit %d) w %s order by active_at desc, id desc limit $%d) t join users u on u.id = t.user_id
		order by t.active_at desc, t.id desc`, from, walk, where, len(args)), args...)
	if err != nil {
		return nil, nil, err
	}
	if len(out) > f.Limit {
		out = out[:f.Limit]
		last := &out[f.Limit-1]
		return out, &ThreadCursor{last.LastEntryAt.Truncate(time.Minute), last.ID}, nil
	}
	var end ThreadCursor
	from, args = f.walk()
	cut, err := tx.one([]any{at(&end.At), &end.ID}, fmt.Sprintf(`select active_at, id %s limit 1 offset %d`, from, walk-1), args...)
	if err != nil || !cut {
		return out, nil, err
	}
	return out, &end, nil
}

// walk is the stretch of an index that holds what the filter may find.
func (f *ThreadFilter) walk() (from string, args []any) {
	before, id := int64(far), int64(far)
	if f.Before.ID != 0 {
		before, id = micros(f.Before.At), f.Before.ID
	}
	if until := micros(f.Until); until != 0 && until <= before {
		before, id = until, far // what is of the same minute is looked at
	}
	args = []any{f.Client, before, id, micros(f.Since.Truncate(time.Minute))}
	from = `from threads where client = $1 and (active_at, id) < ($2, $3) and active_at >= $4`
	switch {
	case f.Thread != 0:
		from, args = from+` and id = $5`, append(args, f.Thread)
	case f.User != 0:
		from, args = from+` and user_id = $5`, append(args, f.User)
	case f.people():
		from += ` and state in ('queued', 'assigned', 'waiting_for_user')`
	}
	return from + ` order by active_at desc, id desc`, args
}

// people says whether only conversations can be found that people have, of which
// there are never many.
func (f *ThreadFilter) people() bool {
	switch f.State {
	case tract.StateQueued, tract.StateAssigned, tract.StateWaitingForUser:
		return true
	}
	return f.Team != "" || f.Agent != ""
}

func (f *ThreadFilter) conditions(args []any) (string, []any) {
	where := []string{`pxut not like '` + erasedPrefix + `%'`}
	add := func(column, compared string, v any) {
		args = append(args, v)
		where = append(where, fmt.Sprintf("%s %s $%d", column, compared, len(args)))
	}
	if !f.Since.IsZero() {
		add("last_entry_at", ">=", micros(f.Since))
	}
	if !f.Until.IsZero() {
		add("last_entry_at", "<", micros(f.Until))
	}
	if f.State != "" {
		add("state", "=", string(f.State))
	}
	if f.Open {
		where = append(where, `state not in ('', 'complete')`)
	}
	if f.Owner != "" {
		add("owner", "=", string(f.Owner))
	}
	if f.Business != 0 {
		add("business", "=", f.Business)
	}
	if f.Platform != 0 {
		add("platform", "=", f.Platform)
	}
	if f.Team != "" {
		add("team", "=", f.Team)
	}
	if f.Agent != "" {
		add("agent", "=", f.Agent)
	}
	return `where ` + strings.Join(where, ` and `), args
}

// LogPage asks for a stretch of a thread's log. After or Before bounds the ids;
// with neither it begins at the start, with Newest at the end.
type LogPage struct {
	Thread       int64
	Conversation int // 0 = all
	After        tract.MessageID
	Before       tract.MessageID
	Newest       bool
	Limit        int
}

// ListLogPage returns a stretch of a thread's log, oldest first, and whether
// there are earlier and later lines.
func (tx *Tx) ListLogPage(p LogPage) (out []Entry, earlier, later bool, err error) {
	where, args := `thread = $1 and id > $2 and id < $3`, []any{p.Thread, int64(p.After), int64(p.Before)}
	back := p.Before != 0 || p.Newest
	if p.Before == 0 {
		args[2] = int64(far)
	}
	if p.Conversation != 0 {
		where, args = where+` and conversation = $4`, append(args, p.Conversation)
	}
	order := ""
	if back {
		order = " desc"
	}
	args = append(args, p.Limit+1)
	out, err = tx.entries(fmt.Sprintf(`select `+entryColumns+` from entries where `+where+` order by conversation%[1]s, id%[1]s limit $%[2]d`, order, len(args)), args...)
	more := len(out) > p.Limit
	out = out[:min(len(out), p.Limit)]
	if !back {
		return out, p.After != 0, more, err
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, more, p.Before != 0, err
}

// ListLedgerPage returns a thread's operations after a line, oldest first.
func (tx *Tx) ListLedgerPage(thread, after int64, limit int) ([]LedgerLine, error) {
	return tx.ledger(`thread = $1 and id > $2 order by id limit $3`, thread, after, limit)
}

// Brief is what a human was given with a hand-over.
type Brief struct {
	Conversation int
	At           time.Time
	Body         map[string]any
}

// ListBriefs returns the briefs of a thread's conversations.
func (tx *Tx) ListBriefs(thread int64) ([]Brief, error) {
	return list(tx, func(r row, b *Brief) error { return r.Scan(&b.Conversation, at(&b.At), js(&b.Body)) },
		`select conversation, at, body from briefs where thread = $1 order by conversation`, thread)
}

// ListThreadLanes returns the lanes of a thread, by endpoint.
func (tx *Tx) ListThreadLanes(thread int64) ([]Lane, error) {
	return list(tx, scanLane, `select `+laneColumns+` from lanes where thread = $1 order by endpoint`, thread)
}
