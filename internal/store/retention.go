package store

import (
	"strconv"
	"time"
)

// Removed counts rows that were removed because of their age, by kind.
type Removed map[string]int64

// Kinds of rows that are removed because of their age.
const (
	RemovedDeliveries = "deliveries"
	RemovedAttempts   = "attempts"
	RemovedDead       = "dead_letters"
	RemovedEntries    = "log_entries"
	RemovedBriefs     = "briefs"
	RemovedLedger     = "ledger_lines"
	RemovedAudit      = "audit_lines"
	RemovedKeys       = "keys" // idempotency keys and used signed bodies
)

// SweepPlace is how far a sweep over a table is; its zero value is the beginning.
// Of deliveries Key is the endpoint and ID the entry, of dead letters Key is the
// client, elsewhere ID is the row's.
type SweepPlace struct {
	Key int64 `json:"key"`
	ID  int64 `json:"id"`
}

// LockMeta reads a value of the store itself to change it; "" when it is not set.
func (tx *Tx) LockMeta(key string) (v string, err error) {
	if err := tx.exec(`insert into meta (key, value) values ($1, '') on conflict do nothing`, key); err != nil {
		return "", err
	}
	_, err = tx.one([]any{&v}, tx.s.engine.forUpdate(`select m.value from meta m where m.key = $1`, "m"), key)
	return v, err
}

// EntriesSince is the least id of the log from which on nothing is older than an
// instant; the same of the ledger and of the audit log are LedgerSince, AuditSince.
func (tx *Tx) EntriesSince(t time.Time) (int64, error) {
	return tx.since(t, `select id from entries order by id desc limit 1`, `select id, at from entries where id >= $1 order by id limit 1`)
}

// LedgerSince is EntriesSince of the ledger.
func (tx *Tx) LedgerSince(t time.Time) (int64, error) {
	return tx.since(t, `select id from ledger order by id desc limit 1`, `select id, at from ledger where id >= $1 order by id limit 1`)
}

// AuditSince is EntriesSince of the audit log.
func (tx *Tx) AuditSince(t time.Time) (int64, error) {
	return tx.since(t, `select id from audit order by id desc limit 1`, `select id, at from audit where id >= $1 order by id limit 1`)
}

// since bisects: ids grow with time, and no table needs an index by time for it.
func (tx *Tx) since(t time.Time, newest, first string) (int64, error) {
	var high int64
	if found, err := tx.one([]any{&high}, newest); err != nil || !found {
		return 0, err
	}
	low := int64(0)
	for high++; low < high; {
		middle := low + (high-low)/2
		var id int64
		var made time.Time
		found, err := tx.one([]any{&id, at(&made)}, first, middle)
		switch {
		case err != nil:
			return 0, err
		case found && made.Before(t):
			low = id + 1
		default:
			high = middle
		}
	}
	return low, nil
}

// DeleteOldDeliveries removes settled deliveries made before an instant, with
// their attempts, of log entries below an id: those of some limit rows after a
// place. Dead letters keep theirs. more is false when nothing is left to look at.
func (tx *Tx) DeleteOldDeliveries(before time.Time, below int64, from SweepPlace, limit int) (next SweepPlace, removed Removed, more bool, err error) {
	next = from
	var last, rows int64
	if next.Key != 0 {
		if _, err := tx.one([]any{&last, &rows}, `select coalesce(max(entry), 0), count(*) from (select entry from outbox where endpoint = $1 and entry > $2 and entry < $3 order by entry limit $4) stretch`,
			next.Key, next.ID, below, limit); err != nil {
			return next, nil, false, err
		}
	}
	if rows == 0 { // on to the next endpoint, also of those that were removed
		found, err := tx.one([]any{&next.Key}, `select endpoint from outbox where endpoint > $1 order by endpoint limit 1`, next.Key)
		next.ID = 0
		return next, nil, found, err
	}
	const old = `(select o.thread, o.endpoint, o.seq from outbox o join lanes l on l.thread = o.thread and l.endpoint = o.endpoint
		where o.endpoint = $1 and o.entry > $2 and o.entry <= $3 and o.created_at < $4 and o.seq <= l.done
			and not exists (select 1 from dead d where d.thread = o.thread and d.endpoint = o.endpoint and d.seq = o.seq))`
	removed = Removed{}
	args := func() []any { return []any{next.Key, next.ID, last, before} }
	if removed[RemovedAttempts], err = tx.count(`delete from attempts where (thread, endpoint, seq) in `+old, args()...); err != nil {
		return next, nil, false, err
	}
	if removed[RemovedDeliveries], err = tx.count(`delete from outbox where (thread, endpoint, seq) in `+old, args()...); err != nil {
		return next, nil, false, err
	}
	next.ID = last
	return next, removed, true, nil
}

// DeleteOldDead removes up to limit dead letters given up before an instant,
// replayed or not, with their payloads and attempts. It goes from client to client.
func (tx *Tx) DeleteOldDead(before time.Time, from SweepPlace, limit int) (next SweepPlace, removed Removed, more bool, err error) {
	next = from
	type key struct{ thread, endpoint, seq int64 }
	var keys []key
	if err := tx.each(func(r row) error {
		var k key
		err := r.Scan(&k.thread, &k.endpoint, &k.seq)
		keys = append(keys, k)
		return err
	}, `select thread, endpoint, seq from dead where client = $1 and at < $2 order by at limit $3`, next.Key, before, limit); err != nil {
		return next, nil, false, err
	}
	if len(keys) == 0 {
		found, err := tx.one([]any{&next.Key}, `select key from clients where key > $1 order by key limit 1`, next.Key)
		return next, nil, found, err
	}
	for _, k := range keys {
		for _, q := range []string{
			`delete from attempts where thread = $1 and endpoint = $2 and seq = $3`,
			`delete from outbox where thread = $1 and endpoint = $2 and seq = $3`,
			`delete from dead where thread = $1 and endpoint = $2 and seq = $3`,
		} {
			if err := tx.exec(q, k.thread, k.endpoint, k.seq); err != nil {
				return next, nil, false, err
			}
		}
	}
	return next, Removed{RemovedDead: int64(len(keys))}, true, nil
}

// DeleteOldEntries removes log entries below an id, with the briefs and files
// that belong to them: those of limit rows after a place. A conversation goes as
// a whole: one that is open, or goes on at the id or after it, stays.
func (tx *Tx) DeleteOldEntries(below int64, from SweepPlace, limit int) (next SweepPlace, removed Removed, more bool, err error) {
	next = from
	last, err := tx.stretch(`select coalesce(max(id), 0) from (select id from entries where id > $1 and id < $2 order by id limit $3) stretch`, next.ID, below, limit)
	if err != nil || last == 0 {
		return next, nil, false, err
	}
	// The limit takes nothing away. It tells PostgreSQL that these are few rows.
	old := ` from (select id, thread, conversation from entries where id > $1 and id <= $2 order by id limit ` + strconv.Itoa(limit) + `) e join threads t on t.id = e.thread where not (t.conversation = e.conversation and t.state not in ('', 'complete'))
		and coalesce((select x.conversation from entries x where x.thread = e.thread and x.id >= $3 order by x.id limit 1), -1) <> e.conversation`
	removed = Removed{}
	if err = tx.exec(`update files set state = '`+fileGone+`' where state = '`+fileLive+`' and id in (select f.id from files f join (select e.id, e.thread`+old+`) gone on f.thread = gone.thread and f.entry = gone.id)`, next.ID, last, below); err != nil {
		return next, nil, false, err
	}
	if removed[RemovedBriefs], err = tx.count(`delete from briefs where (thread, conversation) in (select e.thread, e.conversation`+old+`)`, next.ID, last, below); err != nil {
		return next, nil, false, err
	}
	if removed[RemovedEntries], err = tx.count(`delete from entries where id in (select e.id`+old+`)`, next.ID, last, below); err != nil {
		return next, nil, false, err
	}
	next.ID = last
	return next, removed, true, nil
}

// DeleteOldLedger removes the ledger's lines below an id, of limit rows after a
// place, but not those of threads in an open conversation.
func (tx *Tx) DeleteOldLedger(below int64, from SweepPlace, limit int) (next SweepPlace, removed Removed, more bool, err error) {
	next = from
	last, err := tx.stretch(`select coalesce(max(id), 0) from (select id from ledger where id > $1 and id < $2 order by id limit $3) stretch`, next.ID, below, limit)
	if err != nil || last == 0 {
		return next, nil, false, err
	}
	n, err := tx.count(`delete from ledger where id in (select g.id from (select id, thread from ledger where id > $1 and id <= $2 order by id limit `+strconv.Itoa(limit)+`) g
		join threads t on t.id = g.thread where t.state in ('', 'complete'))`, next.ID, last)
	next.ID = last
	return next, Removed{RemovedLedger: n}, true, err
}

// DeleteOldAudit removes lines of the audit log below an id, limit at a time.
func (tx *Tx) DeleteOldAudit(below int64, from SweepPlace, limit int) (next SweepPlace, removed Removed, more bool, err error) {
	next = from
	last, err := tx.stretch(`select coalesce(max(id), 0) from (select id from audit where id > $1 and id < $2 order by id limit $3) stretch`, next.ID, below, limit)
	if err != nil || last == 0 {
		return next, nil, false, err
	}
	n, err := tx.count(`delete from audit where id > $1 and id <= $2`, next.ID, last)
	next.ID = last
	return next, Removed{RemovedAudit: n}, true, err
}

// stretch is the last id of the next rows; 0 when there are none.
func (tx *Tx) stretch(sql string, after, below int64, limit int) (last int64, err error) {
	_, err = tx.one([]any{&last}, sql, after, below, limit)
	return last, err
}
