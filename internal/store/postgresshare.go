package store

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	committers = 3  // shared transactions at a time
	mostShared = 64 // commands in one
)

// share queues a command. What arrives while others commit goes into one
// transaction: the threads are locked in one trip, everything is written in
// another. In a process there is one command on a thread at a time.
func (e *postgres) share(ctx context.Context, thread int64, fn func(*Tx) error) error {
	return e.put(ctx, e.jobs, thread, fn)
}

func (e *postgres) commitShared() {
	for {
		select {
		case j := <-e.jobs:
			e.commitTogether(gather(j, e.jobs, mostShared))
		case <-e.quit:
			for { // what was queued before the end is still served
				select {
				case j := <-e.jobs:
					e.commitTogether(gather(j, e.jobs, mostShared))
				default:
					return
				}
			}
		}
	}
}

// commitTogether runs a batch in one transaction. What cannot be in it, and
// everything if anything in it fails, gets a transaction of its own.
func (e *postgres) commitTogether(batch []*job) {
	batch = slices.DeleteFunc(batch, func(j *job) bool {
		if j.ctx.Err() == nil {
			return false
		}
		j.result <- ErrUnavailable.Because(j.ctx.Err())
		return true
	})
	slices.SortFunc(batch, func(a, b *job) int { return cmp.Compare(a.thread, b.thread) })
	var results []error
	if len(batch) > 0 && !e.s.rerun { // one alone, too: while it commits, the next batch gathers
		results = e.tryTogether(batch)
	}
	for i, j := range batch {
		if results != nil && !errors.Is(results[i], errAlone) {
			j.result <- results[i]
			continue
		}
		// Beside this goroutine: a thread that another process holds keeps only
		// its own command waiting.
		e.done.Go(func() { j.result <- e.update(j.ctx, j.fn, command) })
	}
}

// errAlone says that a thread could not be locked at once.
var errAlone = errors.New("store: another process holds the thread")

// tryTogether gives the results of a batch that was committed; nil when nothing
// of it was.
func (e *postgres) tryTogether(batch []*job) []error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := e.keyed.Acquire(ctx)
	if err != nil {
		return nil
	}
	defer c.Release()
	p := &pgTx{ctx: ctx, c: c.Conn(), held: []query{{sql: "begin"}}}
	results, txs := e.runTogether(ctx, p, batch)
	if results == nil {
		p.rollback()
		return nil
	}
	keys := appended(txs)
	e.s.appending(keys)
	if err := p.flush(query{sql: "commit"}); err != nil {
		e.s.aborted(keys)
		p.rollback()
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Severity == "ERROR" {
			return nil // the server says that nothing was kept
		}
		err = e.unavailable(err)
		for i := range results {
			results[i] = err
		}
		return results
	}
	e.s.metrics.Commits.add(1)
	e.s.metrics.Updates.add(len(txs))
	for _, tx := range txs {
		e.s.committed(&tx.commit)
	}
	return results
}

// runTogether runs the closures of a batch. A closure that fails before it wrote
// anything has its result; one that fails later spoils the batch.
func (e *postgres) runTogether(ctx context.Context, p *pgTx, batch []*job) (results []error, txs []*Tx) {
	ids := make([]int64, len(batch))
	for i, j := range batch {
		ids[i] = j.thread
	}
	first := &Tx{ctx: ctx, s: e.s, c: p, Now: e.s.now()}
	locked, err := first.lockThreads(e.skipLocked, ids...)
	if err != nil {
		return nil, nil
	}
	results = make([]error, len(batch))
	block := first.ids
	for i, j := range batch {
		l := locked[j.thread]
		if l == nil {
			results[i] = errAlone
			continue
		}
		tx := &Tx{ctx: j.ctx, s: e.s, c: p, Now: first.Now, ids: block, locked: map[int64]*Locked{j.thread: l}}
		results[i] = guarded(j.fn, tx)
		switch {
		case tx.err != nil, results[i] != nil && tx.wrote:
			return nil, nil
		case results[i] == nil:
			txs = append(txs, tx)
		}
		if block = tx.ids; block.next == block.end {
			block = idBlock{}
		}
	}
	return results, txs
}
