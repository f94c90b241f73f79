package store

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"

	"tract"
)

// Thread is a thread with its state, as read or locked.
type Thread struct {
	ID          int64
	Client      int64
	Business    int64
	User        User
	Pxut        string
	Platform    int
	State       tract.Thread
	LastEntry   tract.MessageID
	LastEntryAt time.Time
	CreatedAt   time.Time
}

// erasedPrefix begins what stands for the name of somebody who was erased: no
// pxut and no auth id begins so.
const erasedPrefix = "\x7ferased/"

// Erased says that the thread's user was erased: only what is counted is left.
func (t *Thread) Erased() bool { return strings.HasPrefix(t.Pxut, erasedPrefix) }

// Locked is a thread that the transaction holds, with what its commands need.
type Locked struct {
	Thread
	ConfigVersion int64
	Lanes         Few[int64, Lane]                  // by endpoint; of some only their newest sequences
	Tools         Few[tract.ReceiverID, ToolThread] // those that were told of it

	found foundBy // as stored
}

// foundBy is what threads are indexed by that changes.
type foundBy struct {
	owner  tract.ReceiverID
	state  tract.State
	active int64 // minute of the last activity, in microseconds since 1970
}

// ToolThread is what one tool knows of a thread.
type ToolThread struct {
	Tool        tract.ReceiverID
	DeliverySeq int64
	ECTUserID   string
}

const threadColumns = `t.id, t.client, t.business, t.pxut, t.platform, t.owner, t.epoch, t.conversation, t.state, t.team, t.agent, t.last_entry, t.last_entry_at, t.rest, t.created_at,
	u.id, u.auth_id, u.user_name, u.details, u.created_at`

func scanThread(r row, t *Thread, more ...any) error {
	var team, agent string
	s := &t.State
	dest := []any{&t.ID, &t.Client, &t.Business, &t.Pxut, &t.Platform, &s.Owner, &s.Epoch, &s.Conversation, &s.State, &team, &agent, &t.LastEntry, at(&t.LastEntryAt), js(s), at(&t.CreatedAt),
		&t.User.ID, &t.User.AuthID, &t.User.UserName, js(&t.User.Details), at(&t.User.CreatedAt)}
	if err := r.Scan(append(dest, more...)...); err != nil {
		return err
	}
	t.User.Client = t.Client
	return nil
}

// ThreadKey finds a thread by its pxut within a client; ErrNotFound when there
// is none. The business is needed to see whether a tool is attached.
func (tx *Tx) ThreadKey(client int64, pxut string) (id, business int64, err error) {
	if strings.HasPrefix(pxut, erasedPrefix) {
		return 0, 0, ErrNotFound.With("no such user_id")
	}
	found, err := tx.one([]any{&id, &business}, `select id, business from threads where client = $1 and pxut = $2`, client, pxut)
	if err == nil && !found {
		err = ErrNotFound.With("no such user_id")
	}
	return id, business, err
}

// ThreadOf finds the thread of a user with a business; 0 when there is none.
func (tx *Tx) ThreadOf(client, business, user int64) (id int64, err error) {
	_, err = tx.one([]any{&id}, `select id from threads where client = $1 and business = $2 and user_id = $3`, client, business, user)
	return id, err
}

// InsertThread makes the thread of a user with a business, or finds it; 0 when
// the user was erased.
func (tx *Tx) InsertThread(client, business, user int64, pxut string, platform int) (id int64, err error) {
	// The user is locked so that nobody erases it meanwhile.
	if err := tx.exec(insertThreadInto+tx.s.engine.forUpdate(insertThreadFrom, "u")+insertThreadElse, client, business, user, pxut, platform, tx.Now); err != nil {
		return 0, err
	}
	return tx.ThreadOf(client, business, user)
}

// Thread reads a thread to show it; ErrNotFound when there is none.
func (tx *Tx) Thread(id int64) (t Thread, err error) {
	found := false
	err = tx.each(func(r row) error { found = true; return scanThread(r, &t) },
		`select `+threadColumns+` from threads t join users u on u.id = t.user_id where t.id = $1`, id)
	if err == nil && !found {
		err = ErrNotFound.With("no such thread")
	}
	return t, err
}

// LockThread reads a thread to change it, in one trip with everything its
// commands need, and moves tx.Now to after its last entry.
func (tx *Tx) LockThread(id int64) (*Locked, error) {
	l := tx.locked[id]
	delete(tx.locked, id)
	if l == nil {
		l = tx.threads.take(id)
	}
	if l == nil || tx.s.verify && tx.threads != nil {
		read, err := tx.lockThreads(tx.s.engine.forUpdate, id)
		if err != nil {
			return nil, err
		}
		if read[id] == nil {
			return nil, ErrNotFound.With("no such thread")
		}
		if l != nil {
			if err := errors.Join(l.differs(read[id]), tx.lanesDiffer(l)); err != nil {
				return nil, tx.spoil("thread cache", err)
			}
		}
		l = read[id]
	}
	tx.about = l.User.ID
	if !tx.Now.After(l.LastEntryAt) {
		tx.Now = l.LastEntryAt.Add(time.Microsecond)
	}
	return l, nil
}

// lockThreads locks threads in the order of their numbers and reads them. It
// leaves out those that do not exist, or that the lock leaves out.
func (tx *Tx) lockThreads(lock func(sql, table string) string, ids ...int64) (map[int64]*Locked, error) {
	out := make(map[int64]*Locked, len(ids))
	var now time.Time
	const lanes, tools = 0, 1
	which, arg := tx.s.engine.among(ids)
	// The second statement sees what was committed while the first waited.
	beside := `select 0, thread, endpoint, last, '', '' from lanes where thread ` + which + ` union all select 1, thread, 0, 0, tool, ect_user_id from tool_threads where thread ` + which
	if q := tx.s.engine.clockAndIDs(); q != "" {
		beside += ` union all select 2, 0, ` + q + `, '', ''`
	}
	err := tx.many(
		query{lock(`select `+threadColumns+`, c.version, t.active_at, t.told from threads t join users u on u.id = t.user_id join clients c on c.key = t.client where t.id `+which+` order by t.id`, "t"), []any{arg}, func(r row) error {
			l := &Locked{}
			var told map[tract.ReceiverID]int64
			err := scanThread(r, &l.Thread, &l.ConfigVersion, &l.found.active, js(&told))
			l.found.owner, l.found.state = l.State.Owner, l.State.State
			for tool, seq := range told {
				l.Tools.Put(tool, ToolThread{Tool: tool, DeliverySeq: seq})
			}
			out[l.ID] = l
			return err
		}},
		query{beside, []any{arg}, func(r row) error {
			var kind, thread, a, b int64
			var tool tract.ReceiverID
			var name string
			if err := r.Scan(&kind, &thread, &a, &b, &tool, &name); err != nil {
				return err
			}
			switch l := out[thread]; {
			case kind == lanes && l != nil:
				l.Lanes.Put(a, Lane{LaneKey: LaneKey{Thread: thread, Endpoint: a}, Last: b})
			case kind == tools && l != nil:
				l.Tools.Put(tool, ToolThread{tool, l.Tools.Get(tool).DeliverySeq, name})
			case kind > tools:
				now, tx.ids = instant(a), idBlock{b, b + idBlockSize}
			}
			return nil
		}})
	if err != nil {
		return nil, err
	}
	if !now.IsZero() && tx.s.dbClock {
		tx.Now = now
	}
	return out, nil
}

// SaveThread writes a locked thread's state and keeps the timer rows in step
// with it.
func (tx *Tx) SaveThread(l *Locked, next tract.Thread) error {
	before := l.State
	l.State = next
	args := []any{l.ID, next.Epoch, next.Conversation, next.Team, next.Agent.Name, int64(l.LastEntry), l.LastEntryAt, restOf(next), counters(l.Tools)}
	sql, found := touchThread, foundBy{next.Owner, next.State, l.LastEntryAt.Truncate(time.Minute).UnixMicro()}
	if found != l.found {
		sql, l.found = updateThread, found
		args = append(args, string(found.owner), string(found.state), found.active)
	}
	if err := tx.exec(sql, args...); err != nil {
		return err
	}
	if err := tx.saveLanes(l); err != nil {
		return err
	}
	tx.commit.Threads = append(tx.commit.Threads, ThreadChange{Client: l.Client, Thread: l.ID, LastEntry: l.LastEntry})
	tx.threads.put(l)
	return tx.syncTimers(l.ID, before.Timers(), next.Timers())
}

// counters is how far each tool was told, as it is stored.
func counters(tools Few[tract.ReceiverID, ToolThread]) string {
	if len(tools) == 0 {
		return ""
	}
	b := []byte{'{'}
	for i, t := range tools {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, toJSON(t.Key)...), ':')
		b = strconv.AppendInt(b, t.Value.DeliverySeq, 10)
	}
	return string(append(b, '}'))
}

// restOf is the part of the state that has no columns of its own.
func restOf(t tract.Thread) string {
	b, err := json.Marshal(t)
	if err != nil {
		panic("store: " + err.Error()) // metadata comes from JSON
	}
	return string(b)
}

func (tx *Tx) syncTimers(thread int64, before, after map[tract.TimerKind]time.Time) error {
	for k, due := range after {
		if old, ok := before[k]; ok && old.Equal(due) {
			continue
		}
		if err := tx.exec(`insert into timers (thread, kind, due_at) values ($1, $2, $3) on conflict (thread, kind) do update set due_at = excluded.due_at`, thread, string(k), due); err != nil {
			return err
		}
		tx.commit.Timers = true
	}
	for k := range before {
		if _, ok := after[k]; !ok {
			if err := tx.exec(`delete from timers where thread = $1 and kind = $2`, thread, string(k)); err != nil {
				return err
			}
		}
	}
	return nil
}

// DueTimer is a timer whose time has come.
type DueTimer struct {
	Thread int64
	Kind   tract.TimerKind
	DueAt  time.Time
}

// ListDueTimers returns timers due at an instant, the oldest first.
func (tx *Tx) ListDueTimers(now time.Time, limit int) (out []DueTimer, err error) {
	err = tx.each(func(r row) error {
		var d DueTimer
		err := r.Scan(&d.Thread, &d.Kind, at(&d.DueAt))
		out = append(out, d)
		return err
	}, `select thread, kind, due_at from timers where due_at <= $1 order by due_at limit $2`, now, limit)
	return out, err
}

// NextWork is when the next timer or job is due; the zero time when there is none.
func (tx *Tx) NextWork() (due time.Time, err error) {
	_, err = tx.one([]any{at(&due)}, `select at from (select * from (select due_at as at from timers order by due_at limit 1) timer
		union all select * from (select run_at as at from jobs order by run_at limit 1) job) work order by at limit 1`)
	return due, err
}

// OwnedThread is a thread that a receiver holds.
type OwnedThread struct{ ID, Business int64 }

// ListThreadsOwnedBy returns the threads that a receiver of a client holds ("" =
// nobody), after a thread number.
func (tx *Tx) ListThreadsOwnedBy(client int64, owner tract.ReceiverID, after int64, limit int) (out []OwnedThread, err error) {
	err = tx.each(func(r row) error {
		var t OwnedThread
		err := r.Scan(&t.ID, &t.Business)
		out = append(out, t)
		return err
	}, `select id, business from threads where client = $1 and owner = $2 and id > $3 order by id limit $4`, client, string(owner), after, limit)
	return out, err
}

// PostponeTimer moves a timer that cannot be handled now.
func (tx *Tx) PostponeTimer(d DueTimer, to time.Time) error {
	return tx.exec(`update timers set due_at = $4 where thread = $1 and kind = $2 and due_at = $3`, d.Thread, string(d.Kind), d.DueAt, to)
}
