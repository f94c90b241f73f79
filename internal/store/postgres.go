package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"tract/internal/clock"
)

// postgres is the engine for many replicas. Writes wait until the next read or
// the commit and leave in one trip with it: a command costs two.
type postgres struct {
	s    *Store
	pool *pgxpool.Pool
	// keyed are connections for commands on threads, which look everything up by
	// its key. Their statements are planned once: planning one anew each time takes
	// several times what running it does.
	keyed *pgxpool.Pool
	skew  skew
	jobs  chan *job
	queue
	done sync.WaitGroup

	hints hints
}

func openPostgres(ctx context.Context, s *Store, o Options) (engine, error) {
	cfg, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("read the database URL: %w", errors.New("it is not a postgres:// URL"))
	}
	conns := o.Conns
	if conns == 0 {
		conns = 16
	}
	set := cfg.ConnConfig.RuntimeParams
	set["application_name"] = "tract"
	set["synchronous_commit"] = "on"
	set["statement_timeout"] = "15000"
	set["lock_timeout"] = "10000"
	set["jit"] = "off" // compiling takes longer than anything that is asked here
	// A closure takes milliseconds. Who is silent for so long was cut off or
	// stopped, and others wait for the thread it holds.
	set["idle_in_transaction_session_timeout"] = "5000"
	e := &postgres{s: s, jobs: make(chan *job, 4*mostShared), queue: newQueue()}
	keyed := cfg.Copy()
	keyed.MaxConns = int32(max(1, conns*2/3))
	cfg.MaxConns = int32(max(1, conns-conns*2/3))
	// A plan that is made while a table is small must be good when it is large.
	for _, off := range []string{"enable_seqscan", "enable_hashjoin", "enable_mergejoin"} {
		keyed.ConnConfig.RuntimeParams[off] = "off"
	}
	keyed.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	if e.pool, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	if e.keyed, err = pgxpool.NewWithConfig(ctx, keyed); err != nil {
		e.pool.Close()
		return nil, fmt.Errorf("connect to PostgreSQL: %w", err)
	}
	e.hints.init(s, cfg.ConnConfig, e.pool)
	s.Watch(&e.hints)
	if err := e.prepare(ctx); err != nil {
		e.closePools()
		return nil, err
	}
	for range committers {
		e.done.Go(e.commitShared)
	}
	return e, nil
}

func (e *postgres) prepare(ctx context.Context) error {
	if err := e.pool.Ping(ctx); err != nil {
		return ErrUnavailable.With("PostgreSQL does not answer").Because(err)
	}
	db := stdlib.OpenDBFromPool(e.pool)
	defer db.Close()
	if err := migrate(ctx, db, "postgres"); err != nil {
		return err
	}
	if e.s.clock == nil {
		if err := e.skew.measure(ctx, e.pool); err != nil {
			return err
		}
		e.s.dbClock = true
		e.s.clock = func() time.Time { return clock.System().Add(e.skew.get()) }
	}
	_, err := e.pool.Exec(ctx, `select setval('message_ids', $1) where (select last_value from message_ids) < $1`, idFloor(e.s.now()))
	return err
}

func (e *postgres) name() string                   { return "postgres" }
func (e *postgres) ping(ctx context.Context) error { return e.pool.Ping(ctx) }
func (e *postgres) listen()                        { e.hints.listen() }
func (e *postgres) hinted() bool                   { return e.hints.hinted() }

func (e *postgres) close() error {
	close(e.quit)
	e.done.Wait()
	close(e.ended)
	e.hints.close()
	e.closePools()
	return nil
}

func (e *postgres) closePools() {
	e.keyed.Close()
	e.pool.Close()
}

func (e *postgres) forUpdate(sql, t string) string { return sql + " for update of " + t }
func (e *postgres) skipLocked(sql, t string) string {
	return sql + " for update of " + t + " skip locked"
}

func (e *postgres) among(threads []int64) (string, any) { return "= any($1)", threads }

func (e *postgres) raised(by int) string {
	return fmt.Sprintf(`select json_object_agg(key, value::bigint + %d)::text from json_each_text(told::json)`, by)
}

func (e *postgres) clockAndIDs() string {
	return `(extract(epoch from clock_timestamp()) * 1000000)::bigint, nextval('message_ids')`
}

func (e *postgres) update(ctx context.Context, fn func(*Tx) error, w work) error {
	ctx = context.WithValue(ctx, inUpdate{}, true)
	const tries = 4
	var err error
	for try := range tries {
		if try > 0 {
			if err := pause(ctx, time.Duration(1+rand.IntN(20*try))*time.Millisecond); err != nil {
				return ErrUnavailable.Because(err)
			}
		}
		if err = e.once(ctx, fn, w); !again(err) {
			return err
		}
	}
	return e.failed(err) // it lost to others each time
}

// again says whether a transaction that failed may simply be run anew: nothing
// of it was kept.
func again(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40001" || pg.Code == "40P01"
	}
	return err != nil && pgconn.SafeToRetry(err)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *postgres) once(ctx context.Context, fn func(*Tx) error, w work) error {
	if e.s.rerun {
		_ = e.transaction(ctx, fn, w, true)
	}
	return e.transaction(ctx, fn, w, false)
}

func (e *postgres) transaction(ctx context.Context, fn func(*Tx) error, w work, rehearse bool) error {
	pool := e.pool
	if w == command {
		pool = e.keyed
	}
	c, err := pool.Acquire(ctx)
	if err != nil {
		return e.unavailable(err)
	}
	// The transaction is not cut off half-way by a caller who leaves: the
	// statement timeout bounds it.
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	p := &pgTx{ctx: work, c: c.Conn(), held: []query{{sql: "begin"}}}
	defer c.Release() // a connection left inside a transaction is closed by the pool
	tx := &Tx{ctx: ctx, s: e.s, c: p, Now: e.s.now()}
	err = guarded(fn, tx)
	if err == nil {
		err = tx.err
	}
	if err != nil || rehearse {
		p.rollback()
		if tx.err != nil {
			return e.unavailable(err)
		}
		return err
	}
	keys := tx.laneKeys()
	e.s.appending(keys)
	if err := p.flush(query{sql: "commit"}); err != nil {
		e.s.aborted(keys)
		p.rollback()
		return e.unavailable(err)
	}
	e.s.metrics.Commits.add(1)
	e.s.metrics.Updates.add(1)
	e.s.committed(&tx.commit)
	return nil
}

func (e *postgres) unavailable(err error) error {
	if again(err) {
		return err
	}
	return e.failed(err)
}

func (e *postgres) failed(err error) error {
	e.s.metrics.Failures.add(1)
	e.s.log.Error("transaction failed", "error", err)
	return ErrUnavailable.Because(err)
}

func (e *postgres) view(ctx context.Context, fn func(*Tx) error) error {
	c, err := e.pool.Acquire(ctx)
	if err != nil {
		return ErrUnavailable.Because(err)
	}
	defer c.Release()
	p := &pgTx{ctx: ctx, c: c.Conn(), held: []query{{sql: "begin isolation level repeatable read read only"}}}
	defer p.rollback()
	tx := &Tx{ctx: ctx, s: e.s, c: p, Now: e.s.now()}
	if err = guarded(fn, tx); err == nil {
		err = tx.err
	}
	if tx.err != nil {
		return ErrUnavailable.Because(err)
	}
	return err
}

// pgTx is an open transaction whose writes are held back.
type pgTx struct {
	ctx  context.Context
	c    *pgx.Conn
	held []query
}

func (t *pgTx) exec(sql string, args []any) error {
	t.held = append(t.held, query{sql: sql, args: args})
	return nil
}

func (t *pgTx) later(sql string, args []any, each func(row) error) error {
	t.held = append(t.held, query{sql, args, each})
	return nil
}

func (t *pgTx) count(sql string, args []any) (n int64, err error) {
	err = t.send(query{sql: sql, args: args}, func(tag pgconn.CommandTag) { n = tag.RowsAffected() })
	return n, err
}

func (t *pgTx) query(qs ...query) error {
	t.held = append(t.held, qs[:len(qs)-1]...)
	return t.flush(qs[len(qs)-1])
}

func (t *pgTx) flush(last query) error { return t.send(last, func(pgconn.CommandTag) {}) }

// send runs everything held back, then last, in one trip.
func (t *pgTx) send(last query, tag func(pgconn.CommandTag)) error {
	all := append(together(t.held), last)
	t.held = nil
	b := &pgx.Batch{}
	for _, q := range all {
		b.Queue(q.sql, q.args...)
	}
	res := t.c.SendBatch(t.ctx, b)
	defer res.Close()
	for i, q := range all {
		if q.each == nil {
			ct, err := res.Exec()
			if err != nil {
				return err
			}
			if i == len(all)-1 {
				tag(ct)
			}
			continue
		}
		if err := readRows(res, q.each); err != nil {
			return err
		}
	}
	return res.Close()
}

func readRows(res pgx.BatchResults, each func(row) error) error {
	rows, err := res.Query()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := each(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *pgTx) rollback() {
	t.held = nil
	if t.c.PgConn().TxStatus() != 'I' && !t.c.IsClosed() {
		_, _ = t.c.Exec(t.ctx, "rollback")
	}
}

func (t *pgTx) nextIDs(*Tx) (idBlock, error) {
	var b idBlock
	err := t.query(query{sql: "select nextval('message_ids')", each: func(r row) error { return r.Scan(&b.next) }})
	b.end = b.next + idBlockSize
	return b, err
}
