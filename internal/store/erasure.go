package store

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"tract"
)

// States of an erasure.
const (
	ErasureWaiting = "waiting" // nothing was emptied yet
	ErasureRunning = "running"
	ErasureFiles   = "files" // all but the content of files, which is removed apart
	ErasureDone    = "done"
)

// Erasure is a user who is being erased, or was. From its first transaction on
// nobody finds the user or its threads any more, and nothing is sent of them;
// what they said is emptied afterwards, in small steps.
type Erasure struct {
	ID          string
	Client      int64
	User        int64
	State       string
	Counts      map[string]int64 // what was emptied
	RequestedAt time.Time
	FinishedAt  time.Time

	progress progress
}

// progress is how far an erasure is: the next step and where it goes on.
type progress struct {
	Step      string    `json:"step"`
	Thread    int64     `json:"thread"`
	Endpoint  int64     `json:"endpoint"`
	After     int64     `json:"after"`
	Withdrawn []stretch `json:"withdrawn,omitempty"`
}

// stretch are the deliveries of a lane that were not sent any more.
type stretch struct {
	Thread   int64 `json:"thread"`
	Endpoint int64 `json:"endpoint"`
	From     int64 `json:"from"` // after this one
	To       int64 `json:"to"`
}

// The steps of an erasure: for each thread those up to lanes, then the others.
const (
	stepEntries = "entries"
	stepLedger  = "ledger"
	stepRest    = "rest"
	stepLanes   = "lanes"
	stepKeys    = "keys"
	stepFiles   = "files"
)

// erasePage is how many rows one step empties.
const erasePage = 500

// erased is the name of somebody or something that was erased.
func erased(id int64) string { return erasedPrefix + strconv.FormatInt(id, 10) }

// LockUserByAuthID reads a user to change it; ErrNotFound when there is none. It
// comes before the user's threads.
func (tx *Tx) LockUserByAuthID(client int64, authID string) (u User, err error) {
	tx.wrote = true
	found, err := tx.one([]any{&u.ID, &u.Client, &u.AuthID, &u.UserName, js(&u.Details), at(&u.CreatedAt)},
		tx.s.engine.forUpdate(`select u.id, u.client, u.auth_id, u.user_name, u.details, u.created_at from users u where u.client = $1 and u.auth_id = $2`, "u"), client, authID)
	if err == nil && !found {
		err = ErrNotFound.With("no such user")
	}
	return u, err
}

// ListThreadsOfUser names the threads of a user, one for each business at most.
func (tx *Tx) ListThreadsOfUser(user int64) (ids []int64, err error) {
	err = tx.each(func(r row) error {
		var id int64
		err := r.Scan(&id)
		ids = append(ids, id)
		return err
	}, `select id from threads where user_id = $1 order by id`, user)
	return ids, err
}

// InsertErasure takes a locked user's name and details and those of its locked
// threads, withdraws what is queued about them, and notes what is left to do.
// subject stands for the auth id: asking again finds this erasure by it.
func (tx *Tx) InsertErasure(id string, u User, threads []*Locked, subject []byte) error {
	p := progress{Step: stepEntries}
	for _, l := range threads {
		waits, err := tx.withdraw(l)
		if err != nil {
			return err
		}
		p.Withdrawn = append(p.Withdrawn, waits...)
	}
	if err := tx.exec(`update users set auth_id = $2, user_name = $2, details = '{}', updated_at = $3, erased_at = $3 where id = $1`, u.ID, erased(u.ID), tx.Now); err != nil {
		return err
	}
	if err := tx.exec(`insert into erasures (id, client, user_id, subject, state, progress, counts, requested_at, finished_at) values ($1, $2, $3, $4, $5, $6, '{}', $7, 0)`,
		id, u.Client, u.ID, subject, ErasureWaiting, toJSON(p), tx.Now); err != nil {
		return err
	}
	tx.about = 0 // what this call is answered is not the user's
	return tx.InsertJob(JobErase, u.Client, map[string]string{"erasure": id}, tx.Now)
}

// withdraw makes a thread nobody's and settles its lanes.
func (tx *Tx) withdraw(l *Locked) (waits []stretch, err error) {
	err = tx.each(func(r row) error {
		s := stretch{Thread: l.ID}
		err := r.Scan(&s.Endpoint, &s.From, &s.To)
		waits = append(waits, s)
		tx.commit.Withdrawn = append(tx.commit.Withdrawn, LaneKey{l.ID, s.Endpoint})
		return err
	}, tx.s.engine.forUpdate(`select n.endpoint, n.done, n.last from lanes n where n.thread = $1 and n.last > n.done order by n.endpoint`, "n"), l.ID)
	if err != nil {
		return nil, err
	}
	for _, q := range []string{
		`update lanes set done = last, attempt = 0, first_at = 0, next_at = 0, fence = fence + 1, open = 0 where thread = $1 and last > done`,
		`delete from timers where thread = $1`,
	} {
		if err := tx.exec(q, l.ID); err != nil {
			return nil, err
		}
	}
	if err := tx.exec(`update audit set target = $3 where client = $1 and target = $2`, l.Client, l.Pxut, erased(l.ID)); err != nil {
		return nil, err
	}
	return waits, tx.exec(`update threads set pxut = $2 where id = $1`, l.ID, erased(l.ID))
}

const erasureColumns = `e.id, e.client, e.user_id, e.state, e.progress, e.counts, e.requested_at, e.finished_at`

func (tx *Tx) erasures(sql string, args ...any) (out []Erasure, err error) {
	err = tx.each(func(r row) error {
		e := Erasure{Counts: map[string]int64{}}
		err := r.Scan(&e.ID, &e.Client, &e.User, &e.State, js(&e.progress), js(&e.Counts), at(&e.RequestedAt), at(&e.FinishedAt))
		out = append(out, e)
		return err
	}, sql, args...)
	return out, err
}

// Erasure reads one of a client's erasures; ErrNotFound when there is none.
func (tx *Tx) Erasure(client int64, id string) (Erasure, error) {
	es, err := tx.erasures(`select `+erasureColumns+` from erasures e where e.client = $1 and e.id = $2`, client, id)
	if err == nil && len(es) == 0 {
		err = ErrNotFound.With("no such erasure")
	}
	if err != nil {
		return Erasure{}, err
	}
	return es[0], nil
}

// ErasureOf finds the latest erasure of who had an auth id; ok is false when
// there was none.
func (tx *Tx) ErasureOf(client int64, subject []byte) (e Erasure, ok bool, err error) {
	es, err := tx.erasures(`select `+erasureColumns+` from erasures e where e.client = $1 and e.subject = $2 order by e.requested_at desc limit 1`, client, subject)
	if err != nil || len(es) == 0 {
		return e, false, err
	}
	return es[0], true, nil
}

// EraseSome does the next step of an erasure and says where it stands. Several
// processes may do it at once: each step is done by one.
func (tx *Tx) EraseSome(id string) (Erasure, error) {
	tx.wrote = true
	es, err := tx.erasures(tx.s.engine.forUpdate(`select `+erasureColumns+` from erasures e where e.id = $1`, "e"), id)
	if err != nil || len(es) == 0 {
		return Erasure{State: ErasureDone}, err
	}
	e := es[0]
	if e.State == ErasureDone {
		return e, nil
	}
	e.State = ErasureRunning
	if err := tx.eraseStep(&e); err != nil {
		return e, err
	}
	if e.State == ErasureDone {
		e.FinishedAt = tx.Now
	}
	return e, tx.exec(`update erasures set state = $2, progress = $3, counts = $4, finished_at = $5 where id = $1`, e.ID, e.State, toJSON(e.progress), toJSON(e.Counts), e.FinishedAt)
}

func (tx *Tx) eraseStep(e *Erasure) error {
	p := &e.progress
	switch p.Step {
	case stepKeys:
		n, err := tx.count(`delete from idempotency where scope in (select scope from idempotency where user_id = $1 limit $2)`, e.User, erasePage)
		if e.Counts["answers"] += n; n < erasePage {
			p.Step = stepFiles
		}
		return err
	case stepFiles:
		left := 0
		_, err := tx.one([]any{&left}, `select count(*) from files f join threads t on t.id = f.thread where t.user_id = $1`, e.User)
		if e.State = ErasureFiles; left == 0 {
			e.State = ErasureDone
		}
		return err
	}
	if p.Thread == 0 {
		return tx.nextThread(e)
	}
	switch p.Step {
	case stepEntries:
		return tx.eraseEntries(e)
	case stepLedger:
		return tx.eraseLedger(e)
	case stepRest:
		return tx.eraseRest(e)
	case stepLanes:
		return tx.eraseLane(e)
	}
	return fmt.Errorf("erasure %s has the unknown step %q", e.ID, p.Step)
}

// nextThread goes on with the user's next thread, or with what is of none.
func (tx *Tx) nextThread(e *Erasure) error {
	p := &e.progress
	var next int64
	found, err := tx.one([]any{&next}, `select id from threads where user_id = $1 and id > $2 order by id limit 1`, e.User, p.After)
	if err != nil {
		return err
	}
	p.Step, p.Thread, p.Endpoint, p.After = stepEntries, next, 0, 0
	if !found {
		p.Step = stepKeys
		return nil
	}
	e.Counts["threads"]++
	return nil
}

// eraseEntries empties the log: what remains says who spoke or acted, when, and
// what happened.
func (tx *Tx) eraseEntries(e *Erasure) error {
	p := &e.progress
	es, err := tx.ListEntries(p.Thread, tract.MessageID(p.After), erasePage)
	if err != nil {
		return err
	}
	for i := range es {
		one := &es[i]
		one.Body, one.Meta = "", scrub(one.Meta)
		meta := toJSON(one.Meta)
		if err := tx.exec(`update entries set body = '', meta = $2, hash = $3 where id = $1`, int64(one.ID), meta, entryHash(one, meta)); err != nil {
			return err
		}
		p.After = int64(one.ID)
	}
	e.Counts["entries"] += int64(len(es))
	if len(es) < erasePage {
		p.Step, p.After = stepLedger, 0
	}
	return nil
}

// scrub keeps what is counted. Agents are staff, not the user.
func scrub(m EntryMeta) EntryMeta {
	m.Metadata, m.Template = nil, ""
	if !tract.OwnReason(m.Reason) {
		m.Reason = ""
	}
	return m
}

func (tx *Tx) eraseLedger(e *Erasure) error {
	p := &e.progress
	lines, err := tx.ListLedgerPage(p.Thread, p.After, erasePage)
	if err != nil {
		return err
	}
	for i := range lines {
		l := &lines[i]
		if !tract.OwnReason(l.Reason) {
			l.Reason = ""
		}
		if !l.Granted {
			l.To = "" // whatever the caller wrote
		}
		if err := tx.exec(`update ledger set metadata = 'null', reason = $2, to_receiver = $3 where id = $1`, l.ID, l.Reason, string(l.To)); err != nil {
			return err
		}
		p.After = l.ID
	}
	e.Counts["operations"] += int64(len(lines))
	if len(lines) < erasePage {
		p.Step, p.After = stepRest, 0
	}
	return nil
}

// eraseRest empties what a thread has little of.
func (tx *Tx) eraseRest(e *Erasure) error {
	p := &e.progress
	for name, q := range map[string]string{
		"briefs":   `delete from briefs where thread = $1`,
		"feedback": `update feedback set comment = '' where thread = $1 and comment <> ''`,
		"tools":    `update tool_threads set ect_user_id = '' where thread = $1 and ect_user_id <> ''`,
		"files":    `update files set name = '', digest = '' where thread = $1`,
	} {
		n, err := tx.count(q, p.Thread)
		if err != nil {
			return err
		}
		e.Counts[name] += n
	}
	p.Step, p.Endpoint, p.After = stepLanes, 0, 0
	if err := tx.DropUnansweredOf(p.Thread); err != nil {
		return err
	}
	return tx.DropFilesOf(p.Thread)
}

// eraseLane empties a stretch of one lane: payloads, what was answered to them,
// and what of it was never sent.
func (tx *Tx) eraseLane(e *Erasure) error {
	p := &e.progress
	var endpoint, last int64
	found, err := tx.one([]any{&endpoint, &last}, `select endpoint, last from lanes where thread = $1 and endpoint >= $2 order by endpoint limit 1`, p.Thread, p.Endpoint)
	if err != nil {
		return err
	}
	if !found {
		p.Thread, p.After = 0, p.Thread
		return nil
	}
	if endpoint != p.Endpoint {
		p.Endpoint, p.After = endpoint, 0
	}
	from, to := p.After, p.After+erasePage
	n, err := tx.count(`update outbox set payload = $5 where thread = $1 and endpoint = $2 and seq > $3 and seq <= $4`, p.Thread, endpoint, from, to, []byte{})
	if err != nil {
		return err
	}
	e.Counts["deliveries"] += n
	if err := errors.Join(
		tx.exec(`update attempts set excerpt = '', error = case when status between 200 and 299 then '' else error end where thread = $1 and endpoint = $2 and seq > $3 and seq <= $4`, p.Thread, endpoint, from, to),
		tx.exec(`update dead set replayed_at = -1 where thread = $1 and endpoint = $2 and seq > $3 and seq <= $4 and replayed_at = 0`, p.Thread, endpoint, from, to)); err != nil {
		return err
	}
	for _, s := range p.Withdrawn {
		if s.Thread != p.Thread || s.Endpoint != endpoint {
			continue
		}
		if err := tx.exec(`insert into dead (thread, endpoint, seq, client, reason, at, replayed_at) select thread, endpoint, seq, $5, 'erased', $6, -1 from outbox
			where thread = $1 and endpoint = $2 and seq > $3 and seq <= $4 and hold_until >= 0 on conflict do nothing`, p.Thread, endpoint, max(from, s.From), min(to, s.To), e.Client, tx.Now); err != nil {
			return err
		}
	}
	if p.After = to; to >= last {
		p.Endpoint, p.After = endpoint+1, 0
	}
	return nil
}
