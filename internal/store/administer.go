package store

import (
	"encoding/json"
	"time"

	"tract"
)

// Document reads one piece of a client's configuration; found is false when
// there is none.
func (tx *Tx) Document(client int64, kind, id string) (d Document, found bool, err error) {
	var body string
	found, err = tx.one([]any{&d.Kind, &d.ID, &body, &d.Version}, `select kind, id, body, version from config where client = $1 and kind = $2 and id = $3`, client, kind, id)
	d.Body = json.RawMessage(body)
	return d, found, err
}

// ListDocumentsAfter returns up to limit documents of one kind by id, beginning
// behind an id ("" = with the first).
func (tx *Tx) ListDocumentsAfter(client int64, kind, after string, limit int) (out []Document, err error) {
	err = tx.each(func(r row) error {
		var d Document
		var body string
		err := r.Scan(&d.Kind, &d.ID, &body, &d.Version)
		d.Body = json.RawMessage(body)
		out = append(out, d)
		return err
	}, `select kind, id, body, version from config where client = $1 and kind = $2 and id > $3 order by id limit $4`, client, kind, after, limit)
	return out, err
}

// ListClientsAfter returns up to limit clients by id, beginning behind an id.
func (tx *Tx) ListClientsAfter(after string, limit int) (out []tract.Client, err error) {
	err = tx.each(func(r row) error {
		var c tract.Client
		var key int64
		err := r.Scan(&key, js(&c))
		c.Key = key
		out = append(out, c)
		return err
	}, `select key, body from clients where id > $1 and body <> '{}' order by id limit $2`, after, limit)
	return out, err
}

// AuditFilter narrows the audit log.
type AuditFilter struct {
	Actor, Action string // "" = all
	Target        string // what the target begins with
	Since, Until  time.Time
	Before        int64 // continue behind this line; 0 = from the newest
	Limit         int
}

// auditScan bounds the lines that one call looks at: a filter that few lines
// pass must not read the whole log.
const auditScan = 2000

// FindAudit returns a client's audit lines, newest first. next is where to go on
// (Before), 0 at the end: there may be more even when few lines, or none, came.
func (tx *Tx) FindAudit(client int64, f AuditFilter) (out []AuditLine, next int64, err error) {
	if f.Before == 0 {
		f.Before = 1<<63 - 1
	}
	until := micros(f.Until)
	if until == 0 {
		until = 1 << 62
	}
	var seen, oldest, oldestAt int64
	err = tx.many(
		query{`select id, at, actor, action, target, detail from (select id, at, actor, action, target, detail from audit where client = $1 and id < $2 order by id desc limit $3) a
			where (actor = $4 or $4 = '') and (action = $5 or $5 = '') and substr(target, 1, length($6)) = $6 and at >= $7 and at < $8 order by id desc limit $9`,
			[]any{client, f.Before, auditScan, f.Actor, f.Action, f.Target, micros(f.Since), until, f.Limit + 1}, func(r row) error {
				var l AuditLine
				var detail string
				err := r.Scan(&l.ID, at(&l.At), &l.Actor, &l.Action, &l.Target, &detail)
				l.Detail = json.RawMessage(detail)
				out = append(out, l)
				return err
			}},
		query{`select count(*), coalesce(min(id), 0), coalesce(min(at), 0) from (select id, at from audit where client = $1 and id < $2 order by id desc limit $3) a`,
			[]any{client, f.Before, auditScan}, func(r row) error { return r.Scan(&seen, &oldest, &oldestAt) }},
	)
	switch {
	case err != nil:
		return nil, 0, err
	case len(out) > f.Limit:
		out = out[:f.Limit]
		return out, out[f.Limit-1].ID, nil
	case seen == auditScan && oldestAt >= micros(f.Since):
		return out, oldest, nil
	}
	return out, 0, nil
}
