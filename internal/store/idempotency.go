package store

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tract"
)

// ErrKeyHeld is an idempotency key that another transaction kept too long.
var ErrKeyHeld = &tract.Error{Kind: tract.KindUnavailable, Code: "idempotency_key_held", Msg: "the idempotency key is in use"}

// Remembered is what a call with an idempotency key was answered.
type Remembered struct {
	RequestHash []byte
	Status      int
	Response    []byte
}

// keyLocker is an engine whose transactions run side by side, so that a key has
// to be held before it is looked up.
type keyLocker interface {
	holdKey(scope []byte) query
}

// A lock without a row: a command that is refused leaves nothing behind.
func (e *postgres) holdKey(scope []byte) query {
	return query{sql: `select pg_advisory_xact_lock($1)`, args: []any{int64(binary.BigEndian.Uint64(scope))}}
}

// LockIdempotency reads what was answered under a key, a sha256. Until the
// transaction ends no other one gets past this call with the same key. It comes
// before the thread's lock. found is false when nothing was remembered at or
// after since.
func (tx *Tx) LockIdempotency(scope []byte, since time.Time) (r Remembered, found bool, err error) {
	var steps []query
	if e, ok := tx.s.engine.(keyLocker); ok {
		steps = append(steps, e.holdKey(scope))
	}
	steps = append(steps, query{`select request_hash, status, response from idempotency where scope = $1 and created_at >= $2`, []any{scope, since}, func(row row) error {
		found = true
		return row.Scan(&r.RequestHash, &r.Status, &r.Response)
	}})
	err = tx.many(steps...)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "55P03" { // lock_timeout
		err = ErrKeyHeld.Because(err)
	}
	return r, found, err
}

// PutIdempotency remembers an answer under a key that this transaction locked.
// It is erased with the user that the transaction locked or put.
func (tx *Tx) PutIdempotency(scope []byte, r Remembered) error {
	return tx.exec(`insert into idempotency (scope, request_hash, status, response, created_at, user_id) values ($1, $2, $3, $4, $5, $6)
		on conflict (scope) do update set request_hash = excluded.request_hash, status = excluded.status, response = excluded.response, created_at = excluded.created_at, user_id = excluded.user_id`,
		scope, r.RequestHash, r.Status, r.Response, tx.Now, tx.about)
}

// DeleteIdempotencyBefore forgets at most limit answers older than t and says
// how many.
func (tx *Tx) DeleteIdempotencyBefore(t time.Time, limit int) (int64, error) {
	return tx.count(`delete from idempotency where scope in (select scope from idempotency where created_at < $1 limit $2)`, t, limit)
}
