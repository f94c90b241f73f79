package store

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"tract"
)

// Tx is an open transaction. Its methods are the queries.
type Tx struct {
	// Now is the transaction's time (UTC, microseconds). LockThread moves it to
	// after the last entry of the thread, so that a log never runs backwards.
	Now time.Time

	ctx    context.Context
	s      *Store
	c      conn
	err    error // the first failed statement: it spoils the transaction
	wrote  bool
	ids    idBlock
	commit Commit
	// locked are threads that were locked before the closure began.
	locked map[int64]*Locked
	// threads is what the writer of an SQLite store remembers; nil elsewhere.
	threads *threadCache
	settled []func(*Locked) // what is to be told to threads that are saved later
	about   int64           // whom the transaction is about, as far as that is one
}

// conn is what an engine's transaction can do. A write may be held back and
// sent with the next read or the commit; its error comes then.
type conn interface {
	exec(sql string, args []any) error
	count(sql string, args []any) (int64, error)
	// later is a write whose rows are read when it is sent.
	later(sql string, args []any, each func(row) error) error
	query(qs ...query) error
	nextIDs(tx *Tx) (idBlock, error)
}

type query struct {
	sql  string
	args []any
	each func(row) error
}

type row interface{ Scan(dest ...any) error }

// idBlock is a run of message ids that belongs to this transaction.
type idBlock struct{ next, end int64 }

const idBlockSize = 64

// Context is the caller's, marked so that an Update with it is refused.
func (tx *Tx) Context() context.Context { return tx.ctx }

func (tx *Tx) spoil(sql string, err error) error {
	if err == nil {
		return nil
	}
	if tx.err == nil {
		tx.err = fmt.Errorf("%s: %w", firstWords(sql), err)
	}
	return tx.err
}

func (tx *Tx) trace(sql string) {
	if tx.s.trace != nil {
		tx.s.trace(sql)
	}
}

func (tx *Tx) exec(sql string, args ...any) error {
	if tx.err != nil {
		return tx.err
	}
	tx.trace(sql)
	tx.wrote = true
	return tx.spoil(sql, tx.c.exec(sql, values(args)))
}

func (tx *Tx) count(sql string, args ...any) (int64, error) {
	if tx.err != nil {
		return 0, tx.err
	}
	tx.trace(sql)
	tx.wrote = true
	n, err := tx.c.count(sql, values(args))
	return n, tx.spoil(sql, err)
}

func (tx *Tx) later(each func(row) error, sql string, args ...any) error {
	if tx.err != nil {
		return tx.err
	}
	tx.trace(sql)
	tx.wrote = true
	return tx.spoil(sql, tx.c.later(sql, values(args), each))
}

func (tx *Tx) each(each func(row) error, sql string, args ...any) error {
	return tx.many(query{sql, args, each})
}

// many sends several reads in one trip where the engine can.
func (tx *Tx) many(qs ...query) error {
	if tx.err != nil {
		return tx.err
	}
	for i := range qs {
		tx.trace(qs[i].sql)
		qs[i].args = values(qs[i].args)
	}
	return tx.spoil(qs[0].sql, tx.c.query(qs...))
}

// one reads a single row into dest; found is false when there is none.
func (tx *Tx) one(dest []any, sql string, args ...any) (found bool, err error) {
	err = tx.each(func(r row) error {
		found = true
		return r.Scan(dest...)
	}, sql, args...)
	return found, err
}

// writeOne is a write that returns one row at once, in dest.
func (tx *Tx) writeOne(dest []any, sql string, args ...any) (found bool, err error) {
	tx.wrote = true
	return tx.one(dest, sql, args...)
}

// NextID hands out a message id: larger than every id of the thread before.
func (tx *Tx) NextID() (tract.MessageID, error) {
	if tx.ids.next == tx.ids.end {
		b, err := tx.c.nextIDs(tx)
		if err != nil {
			return 0, tx.spoil("next message id", err)
		}
		tx.ids = b
	}
	id := tx.ids.next
	tx.ids.next++
	return tract.MessageID(id), nil
}

func firstWords(sql string) string {
	const most = 40
	if len(sql) > most {
		sql = sql[:most]
	}
	return sql
}

// counter is a number that only grows.
type counter struct{ n atomic.Int64 }

// Load reads it.
func (c *counter) Load() int64 { return c.n.Load() }
func (c *counter) add(n int)   { c.n.Add(int64(n)) }
